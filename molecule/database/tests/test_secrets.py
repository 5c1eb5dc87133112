# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the runs said, and what could be seen on the hosts, up to the last of the other tests."""

from __future__ import annotations

import pytest
from scenario import LOG, SERVERS, WORKERS


def test_none_was_said(fleet):
    plays = ("PostgreSQL", "MariaDB", "Result tables in PostgreSQL", "Result tables in MariaDB", "Celery workers")
    assert fleet.secrets_said(LOG, *plays) == []


@pytest.mark.parametrize("name", [*SERVERS, *WORKERS])
def test_none_was_to_be_seen_on_the_hosts(fleet, name):
    assert fleet.secrets_seen_on(name) == []
