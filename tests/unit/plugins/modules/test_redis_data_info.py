# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module says about a real server."""

from __future__ import annotations

from typing import Any


def test_keys_and_role_are_those_of_the_server(redis_server: Any, run_on_host: Any) -> None:
    with redis_server.client() as client:
        client.set("a", "1")
        client.execute_command("SELECT", 3)
        client.set("b", "1")
        version = client.info("server")["redis_version"]
    for check_mode in (False, True):
        found = run_on_host("redis_data_info", check_mode, unix_socket=str(redis_server.socket))
        assert found["changed"] is False
        assert (found["running"], found["role"], found["primary"], found["complete"]) == (True, "primary", "", True)
        assert (found["keys"], found["engine"]) == (2, "Redis")
        assert found["version"] == version


def test_a_replica_without_its_primary_is_not_complete(redis_server: Any, run_on_host: Any, free_port: Any) -> None:
    with redis_server.client() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", free_port())
    found = run_on_host("redis_data_info", unix_socket=str(redis_server.socket))
    assert (found["role"], found["primary"], found["complete"]) == ("replica", "127.0.0.1", False)


def test_a_server_that_does_not_run_is_no_failure(stopped_server: Any, run_on_host: Any) -> None:
    found = run_on_host("redis_data_info", unix_socket=str(stopped_server.socket))
    assert "failed" not in found
    assert found["running"] is False


def test_a_refused_login_is_one_sentence(redis_server: Any, run_on_host: Any) -> None:
    found = run_on_host(
        "redis_data_info", unix_socket=str(redis_server.socket), login_user="nobody", login_password="wrong one"
    )
    assert found["failed"]
    assert "refused user nobody (login_user)" in found["msg"]
    assert "wrong one" not in str({**found, "invocation": ""})
