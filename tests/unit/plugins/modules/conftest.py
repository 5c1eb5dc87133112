# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A replication set with its sentinels, and a sentinel of its own that nobody has configured yet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.resultops.celery.tests.unit.replication_set import ReplicationSet


@pytest.fixture
def replication_set(redis_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicationSet]:
    """Three nodes and three sentinels, all running and agreed."""
    with ReplicationSet(tmp_path_factory.mktemp("set"), redis_program) as deployed:
        yield deployed


@pytest.fixture
def one_node(redis_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicationSet]:
    """One node and one sentinel, of which only the node runs."""
    deployed = ReplicationSet(tmp_path_factory.mktemp("set"), redis_program, nodes=1, sentinels=1)
    try:
        deployed.nodes[0].start()
        yield deployed
    finally:
        deployed.kill()
