# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from scenario import INVENTORY, NODES, SETS, ReplicationSet, Sets


@pytest.fixture(scope="session")
def fleet() -> Sets:
    return Sets(INVENTORY, client="haworker13")


@pytest.fixture(scope="session", autouse=True)
def denials_before_the_tests(fleet: Sets) -> dict[str, dict[str, list[str]]]:
    """What was denied up to now, when nothing but the site and its proof had talked to the servers."""
    return {name: fleet.denials(of) for name, of in SETS.items()}


@pytest.fixture(params=SETS)
def of(request: pytest.FixtureRequest) -> ReplicationSet:
    return SETS[request.param]


@pytest.fixture(params=NODES)
def node(request: pytest.FixtureRequest) -> str:
    return request.param
