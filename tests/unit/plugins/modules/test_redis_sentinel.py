# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module against real sentinels over mutual TLS: they go on running, and what they found out stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.resultops.celery.tests.unit.replication_set import (
    PRIMARY_NAME,
    Process,
    ReplicationSet,
    wait_until,
)

Run = Callable[..., dict[str, Any]]


def primary(deployed: ReplicationSet, name: str = PRIMARY_NAME, **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        **deployed.nodes[0].address,
        "quorum": deployed.quorum,
        "auth_user": "sentinel",
        "auth_password": deployed.passwords["sentinel"],
        "down_after": deployed.down_after,
        "failover_timeout": deployed.failover_timeout,
        "nodes": [node.address for node in deployed.nodes],
        **changes,
    }


def settings_of(deployed: ReplicationSet, sentinel: Process) -> dict[str, Any]:
    """The same as the set's own managed file has, without the secret."""
    wanted = {name: value.strip('"') for name, value in sentinel.all_settings().items()}
    del wanted["sentinel sentinel-pass"]
    return {**wanted, "bind": wanted["bind"].split()}


@pytest.fixture
def manage(run_on_host: Run) -> Run:
    def run(
        deployed: ReplicationSet,
        sentinel: Process | None = None,
        settings: dict[str, Any] | None = None,
        **arguments: Any,
    ) -> dict[str, Any]:
        sentinel = sentinel or deployed.sentinels[0]
        wanted = {
            "path": str(sentinel.managed_file),
            "state_file": str(sentinel.state_file),
            "unix_socket": str(sentinel.socket),
            "login_user": "admin",
            "login_password": deployed.passwords["sentinel-admin"],
            "settings": {**settings_of(deployed, sentinel), **(settings or {})},
            "secret_settings": {"sentinel sentinel-pass": deployed.passwords["peer"]},
            "sentinels": [one.address for one in deployed.sentinels],
            "primaries": [primary(deployed)],
            "server_binary": str(sentinel.program),
            **deployed.tls,
            **arguments,
        }
        return run_on_host("redis_sentinel", **wanted)

    return run


def test_first(replication_set: ReplicationSet, manage: Run) -> None:
    result = manage(replication_set)
    print(result)
    second = manage(replication_set)
    print(second)
    assert not second["changed"], second
