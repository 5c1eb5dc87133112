# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from scenario import INVENTORY, MARIADB, POSTGRESQL, SERVERS, Databases, Server


@pytest.fixture(scope="session")
def fleet() -> Databases:
    return Databases(INVENTORY, client="dbpg13")


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Server:
    return SERVERS[request.param]


@pytest.fixture(params=POSTGRESQL)
def postgresql(request: pytest.FixtureRequest) -> Server:
    return POSTGRESQL[request.param]


@pytest.fixture(params=MARIADB)
def mariadb(request: pytest.FixtureRequest) -> Server:
    return MARIADB[request.param]
