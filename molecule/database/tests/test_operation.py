# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens on bad days and on later runs: crashes, changes by hand, restarts, rotation."""

from __future__ import annotations

import json
import time

import pytest
from fleet import recap
from scenario import MARIADB, POSTGRESQL, SERVERS

ALL = tuple(SERVERS.values())


def changed(said: str) -> dict[str, int]:
    return {server.name: recap(said, server.name)["changed"] for server in ALL}


NOTHING = dict.fromkeys(SERVERS, 0)


def test_changes_by_hand_are_taken_back_without_a_restart(fleet):
    pids = {server.name: fleet.pid(server) for server in ALL}
    for server in POSTGRESQL.values():
        for statement in (
            "ALTER SYSTEM SET log_statement = 'all'",
            "SELECT pg_reload_conf()",
            "ALTER ROLE probe SUPERUSER CONNECTION LIMIT -1",
            "GRANT CREATE ON SCHEMA other TO probe",
            "GRANT ALL ON DATABASE results TO PUBLIC",
            "ALTER ROLE probe IN DATABASE results SET statement_timeout = 0",
        ):
            fleet.on_host(server, statement)
        rules = server.files[1][0]
        fleet.host(server.name).check_output("sed -i '1i host all all all trust' %s", rules)
    for server in MARIADB.values():
        for statement in (
            "SET GLOBAL require_secure_transport = OFF",
            "SET GLOBAL sql_mode = ''",
            "CREATE USER probe@'%' IDENTIFIED BY 'known to somebody'",
            "CREATE USER root@'%' IDENTIFIED BY 'known to somebody'",
            "GRANT ALL ON *.* TO probe@'172.16.0.0/255.240.0.0'",
        ):
            fleet.on_host(server, statement)
    for server in ALL:
        directory = next(path for path, _group, _mode in server.files if path.endswith("/tls"))
        fleet.host(server.name).check_output("truncate --size 100 %s/server.crt", directory)

    said = fleet.run(*ALL, arguments=("--diff",))
    # Certificate, settings and access; the rules of PostgreSQL besides.
    assert changed(said) == {server.name: 4 if server.engine == "postgresql" else 3 for server in ALL}
    for server in POSTGRESQL.values():
        assert fleet.on_host(server, "SHOW log_statement") == "none"
        assert fleet.on_host(server, "SELECT rolsuper, rolconnlimit FROM pg_roles WHERE rolname = 'probe'") == "f|20"
        assert fleet.ask(server, "probe", "SHOW statement_timeout") == [[["5s"]]]
        assert "no encryption" in fleet.ask(server, "probe", "SELECT 1", ssl_mode="disable")
    for server in MARIADB.values():
        assert fleet.on_host(server, "SELECT @@GLOBAL.require_secure_transport") == "1"
        accounts = "SELECT COUNT(*) FROM mysql.global_priv WHERE Host = '%'"
        assert fleet.on_host(server, accounts) == "0"
    assert {server.name: fleet.pid(server) for server in ALL} == pids
    assert changed(fleet.run(*ALL)) == NOTHING


def variables(tmp_path, values) -> tuple[str, ...]:
    file = tmp_path / "variables.json"
    file.write_text(json.dumps(values))
    return ("--extra-vars", f"@{file}")


def test_a_setting_that_needs_a_restart_waits_when_that_is_wanted(fleet, server, tmp_path):
    pid = fleet.pid(server)
    wanted = {f"{server.engine}_max_connections": 90}
    said = fleet.run(server, arguments=variables(tmp_path, wanted | {f"{server.engine}_restart": "none"}))
    if server.engine == "postgresql":
        assert "waits for a restart for max_connections" in " ".join(said.split())
        assert fleet.pid(server) == pid
        fleet.run(server, arguments=variables(tmp_path, wanted))
        assert fleet.pid(server) != pid
        assert fleet.on_host(server, "SHOW max_connections") == "90"
        fleet.run(server)
    else:
        # MariaDB changes that live.
        assert fleet.on_host(server, "SELECT @@GLOBAL.max_connections") == "90"
        fleet.run(server)
        assert fleet.pid(server) == pid
    assert recap(fleet.run(server), server.name)["changed"] == 0


def test_a_password_is_replaced_and_said_nowhere(fleet, server, tmp_path):
    new = "the next one: p@ss:/w%rd#?&'\"\\ and more"
    applications = [
        {"name": "probe", "password": new, "purge_password": fleet.secret(f"vault_{server.engine}_purge_password")},
        {"name": "other", "password": fleet.secret(f"vault_{server.engine}_other_password"), "connection_limit": 3},
    ]
    # What is given in JSON on the command line would be taken for a template where it holds braces.
    marked = [
        {key: {"__ansible_unsafe": value} if key.endswith("password") else value for key, value in each.items()}
        for each in applications
    ]
    given = variables(tmp_path, {f"{server.engine}_applications": marked})
    said = fleet.run(server, arguments=("-vvv", "--diff", *given))
    assert fleet.secrets_in(said, new=new) == []
    assert fleet.ask(server, "probe", "SELECT 1", password=new) == [[[1]]]
    assert isinstance(fleet.ask(server, "probe", "SELECT 1"), str), "the old one is no longer valid"
    fleet.run(server)
    assert fleet.ask(server, "probe", "SELECT 1") == [[[1]]]


def test_kill_minus_nine_brings_the_server_back(fleet, server):
    before = fleet.pid(server)
    fleet.host(server.name).check_output("kill -9 %s", before)
    deadline = time.monotonic() + 60
    while fleet.pid(server) in (before, "0") or fleet.ask(server, "probe", "SELECT 1") != [[[1]]]:
        assert time.monotonic() < deadline
        time.sleep(1)
    assert recap(fleet.run(server), server.name)["changed"] == 0


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
def test_check_mode_shows_a_change_and_makes_none(fleet, kind, tmp_path):
    server = next(each for each in ALL if each.engine == kind)
    wanted = {f"{kind}_monitor_user": "another_monitor"}
    run = fleet.run(server, arguments=("--check", "--diff", *variables(tmp_path, wanted)))
    assert "another_monitor" in run
    assert recap(run, server.name)["changed"] >= 1
    assert recap(fleet.run(server), server.name)["changed"] == 0
