# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module against a real server: it changes what differs, and nothing is left half done."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _mysql
from ansible_collections.resultops.celery.tests.unit.sql_servers import Mariadb

SETTINGS: dict[str, Any] = {
    "require_secure_transport": True,
    "max-connections": 77,
    "max_allowed_packet": "32M",
    "time_zone": "+00:00",
    "sql_mode": "NO_ENGINE_SUBSTITUTION,STRICT_TRANS_TABLES",
    "character_set_server": "utf8mb4",
    "innodb_flush_log_at_trx_commit": 1,
    "long_query_time": 2.5,
    "local_infile": False,
    "init_slave": "SELECT 'it''s'",
}
BEFORE = (
    "SET GLOBAL require_secure_transport = OFF, GLOBAL max_connections = 151, GLOBAL max_allowed_packet = 16777216, "
    "GLOBAL time_zone = 'SYSTEM', GLOBAL sql_mode = '', GLOBAL innodb_flush_log_at_trx_commit = 0, "
    "GLOBAL long_query_time = 10, GLOBAL local_infile = ON, GLOBAL init_slave = ''"
)


@pytest.fixture(scope="module")
def server() -> Iterator[Mariadb]:
    with Mariadb() as started:
        yield started


@pytest.fixture
def manage(server: Mariadb, tmp_path: Any, run_on_host: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    server.sql(BEFORE)

    def run(settings: dict[str, Any] | None = None, **arguments: Any) -> dict[str, Any]:
        wanted = {
            "path": str(tmp_path / "managed.cnf"),
            "unix_socket": str(server.socket),
            "login_user": server.superuser,
            "settings": SETTINGS if settings is None else settings,
            **arguments,
        }
        return run_on_host("mysql_config", **wanted)

    return run


def value(server: Mariadb, name: str) -> Any:
    return server.sql(f"SELECT @@GLOBAL.{name}")[0][0]


def test_all_are_in_force_at_once_and_stay(manage, server, tmp_path):
    first = manage()
    assert first["live"]
    assert first["restart_required"] == []
    assert {"max_connections", "time_zone", "local_infile", "init_slave"} <= set(first["changed_settings"])
    assert value(server, "max_connections") == 77
    assert value(server, "max_allowed_packet") == 32 * 1024**2
    assert value(server, "time_zone") == "+00:00"
    assert value(server, "init_slave") == "SELECT 'it''s'"
    assert set(value(server, "sql_mode").split(",")) == {"NO_ENGINE_SUBSTITUTION", "STRICT_TRANS_TABLES"}
    text = (tmp_path / "managed.cnf").read_text()
    assert "default_time_zone = +00:00" in text
    assert "\nmax_connections = 77\n" in text
    again = manage()
    assert (again["changed"], again["changed_settings"], again["diff"]) == (False, [], [])


def test_a_change_by_hand_is_taken_back(manage, server):
    manage()
    server.sql("SET GLOBAL require_secure_transport = OFF, GLOBAL sql_mode = ''")
    result = manage()
    assert result["changed_settings"] == ["require_secure_transport", "sql_mode"]
    assert value(server, "require_secure_transport") == 1
    assert not manage()["changed"]


def test_what_needs_a_restart_is_named_and_nothing_else_changes(manage):
    wanted = SETTINGS | {"performance_schema": True}
    assert manage(wanted)["restart_required"] == ["performance_schema"]
    second = manage(wanted)
    assert (second["changed"], second["restart_required"]) == (False, ["performance_schema"])
    assert "performance_schema = ON (after a restart)" in second["diff"][0]["after"]


def test_check_mode_changes_nothing(manage, server, tmp_path):
    result = manage(check_mode=True)
    assert result["changed"]
    assert value(server, "max_connections") == 151
    assert not (tmp_path / "managed.cnf").exists()
    live = result["diff"][1]
    assert "max_connections = 151\n" in live["before"]
    assert "max_connections = 77\n" in live["after"]


def test_sizes_follow_the_memory(manage, server):
    result = manage({}, memory="256mb")
    assert result["settings"] == {"innodb_buffer_pool_size": "153M", "innodb_log_file_size": "96M"}
    assert value(server, "innodb_log_file_size") == 96 * 1024**2
    assert manage({"innodb_buffer_pool_size": "64M"}, memory="256mb")["settings"]["innodb_buffer_pool_size"] == "64M"
    assert "memory is 'much'" in manage({}, memory="much")["msg"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"max_conections": 1}, "The server does not know the setting max_conections."),
        ({"sql_mode": "STRICT_SOMEHOW"}, "A setting is refused, and none was changed"),
        ({"skip-grant-tables": True}, "must not have skip_grant_tables"),
        ({"max_connections": 5}, "settings has max_connections twice"),
        ({"time_zone": ["+00:00"]}, "settings.time_zone must be a text"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_everything_as_it_was(manage, server, tmp_path, settings, sentence):
    assert sentence in manage(SETTINGS | settings)["msg"]
    assert value(server, "max_connections") == 151
    assert not (tmp_path / "managed.cnf").exists()


def test_a_new_certificate_is_shown_without_a_restart(manage, server):
    wanted = {"ssl_cert": str(server.certificate)}
    manage(wanted)
    before = _mysql.served_certificate(str(server.socket))
    assert before == _mysql.first_certificate(str(server.certificate))
    time.sleep(1.1)  # the server tells its age in whole seconds
    certificate, key = server.authority.issue("another")
    shutil.copy(certificate, server.certificate)
    shutil.copyfile(key, server.key)
    assert manage(wanted, check_mode=True)["tls_reloaded"]
    assert _mysql.served_certificate(str(server.socket)) == before
    assert manage(wanted)["tls_reloaded"]
    assert _mysql.served_certificate(str(server.socket)) == _mysql.first_certificate(str(server.certificate))
    assert not manage(wanted)["changed"]
    assert manage(wanted, reload_tls=True)["tls_reloaded"]


def test_without_a_server_the_file_is_managed(run_on_host, tmp_path):
    wanted = {"path": str(tmp_path / "managed.cnf"), "unix_socket": str(tmp_path / "none"), "settings": SETTINGS}
    assert run_on_host("mysql_config", check_mode=True, **wanted)["changed"]
    assert not (tmp_path / "managed.cnf").exists()
    first = run_on_host("mysql_config", **wanted)
    assert (first["changed"], first["live"], first["server_version"]) == (True, False, "")
    assert os.stat(tmp_path / "managed.cnf").st_mode & 0o777 == 0o640
    assert not run_on_host("mysql_config", **wanted)["changed"]
    assert json.dumps(first)
