# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from scenario import CLUSTER, INVENTORY, SERVERS, Rpc


@pytest.fixture(scope="session")
def fleet() -> Rpc:
    return Rpc(INVENTORY, client="rpcb")


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=[*SERVERS, *CLUSTER])
def node(request: pytest.FixtureRequest) -> str:
    return request.param
