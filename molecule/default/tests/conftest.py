# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from fleet import Fleet
from scenario import INVENTORY, REDIS_HOSTS, WORKER_HOSTS


@pytest.fixture(scope="session")
def fleet() -> Fleet:
    return Fleet(INVENTORY, client="worker13")


@pytest.fixture(scope="session", autouse=True)
def denials_before_the_tests(fleet: Fleet) -> dict[str, list[Any]]:
    """What the servers denied up to now, when nothing but the site and its proof had talked to them."""
    password = fleet.secret("vault_redis_admin_password")
    return {server: fleet.redis(server, "admin", password, ["ACL", "LOG"])[0] for server in REDIS_HOSTS}


@pytest.fixture(params=REDIS_HOSTS)
def server(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=sorted(WORKER_HOSTS))
def worker(request: pytest.FixtureRequest) -> str:
    return request.param
