# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens on bad days and on later runs: crashes, changes by hand, restarts, rotation."""

from __future__ import annotations

import json

from fleet import recap
from scenario import ALL, MARIADB, POSTGRESQL, REVISION, SERVERS, WORKERS, wait_until

NEW = "the next one: p@ss:/w%rd#?&'\"\\ and more"


def changed(said: str) -> dict[str, int]:
    return {server.name: recap(said, server.name)["changed"] for server in ALL}


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
            "GRANT SELECT ON probe.celery_taskmeta TO results_monitor",
            "REVOKE ALL ON PROCEDURE probe.celery_purge FROM probe_purge",
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
            "GRANT DROP ON probe.celery_taskmeta TO probe@'172.16.0.0/255.240.0.0'",
            "REVOKE EXECUTE ON PROCEDURE probe.celery_purge FROM probe_purge@'127.0.0.1'",
        ):
            fleet.on_host(server, statement)
    for server in ALL:
        directory = next(path for path, _group, _mode in server.files if path.endswith("/tls"))
        fleet.host(server.name).check_output("truncate --size 100 %s/server.crt", directory)
        fleet.host(server.name).check_output("rm /etc/systemd/system/celery-purge-probe.timer")

    said = fleet.run(*ALL, arguments=("--diff",))
    # Certificate, settings, access, rights on the tables, a timer and its start; the rules of PostgreSQL besides.
    assert changed(said) == {server.name: 7 if server.engine == "postgresql" else 6 for server in ALL}
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
    for server in ALL:
        assert fleet.host(server.name).service("celery-purge-probe.timer").is_running


def variables(tmp_path, values) -> tuple[str, ...]:
    """Values for both engines; each name begins with that of the engine."""
    file = tmp_path / "variables.json"
    file.write_text(json.dumps({name.format(engine): value for engine in ENGINES for name, value in values.items()}))
    return ("--extra-vars", f"@{file}")


ENGINES = ("postgresql", "mysql")


def test_restarts_wait_when_that_is_wanted_and_new_passwords_are_said_nowhere(fleet, tmp_path):
    pids = {server.name: fleet.pid(server) for server in ALL}
    applications = {
        f"{engine}_applications": [
            {"name": "probe", "password": NEW, "purge_password": fleet.secret(f"vault_{engine}_purge_password")},
            {"name": "other", "password": fleet.secret(f"vault_{engine}_other_password"), "connection_limit": 3},
        ]
        for engine in ENGINES
    }
    # What is given in JSON on the command line would be taken for a template where it holds braces.
    marked = {
        variable: [
            {key: {"__ansible_unsafe": value} if key.endswith("password") else value for key, value in each.items()}
            for each in given
        ]
        for variable, given in applications.items()
    }
    wanted = {"{}_max_connections": 90}
    given = variables(tmp_path, wanted | {"{}_restart": "none"} | marked)
    said = fleet.run(*ALL, arguments=("-vvv", "--diff", *given))
    assert fleet.secrets_in(said, new=NEW) == []
    assert " ".join(said.split()).count("waits for a restart for max_connections") == len(POSTGRESQL)
    for server in ALL:
        assert fleet.ask(server, "probe", "SELECT 1", password=NEW) == [[[1]]]
        assert isinstance(fleet.ask(server, "probe", "SELECT 1"), str), "the old one is no longer valid"
        assert fleet.pid(server) == pids[server.name]

    fleet.run(*ALL, arguments=variables(tmp_path, wanted))
    for server in ALL:
        # MariaDB changes that live.
        variable = "SHOW max_connections" if server.engine == "postgresql" else "SELECT @@GLOBAL.max_connections"
        assert fleet.on_host(server, variable) == "90"
        assert (fleet.pid(server) != pids[server.name]) == (server.engine == "postgresql")
        assert fleet.ask(server, "probe", "SELECT 1") == [[[1]]]
    fleet.run(*ALL)


def test_check_mode_shows_changes_and_makes_none(fleet, tmp_path):
    wanted = {"{}_monitor_user": "another_monitor", "result_schema_revision": "0005"}
    revisions = {server.name: fleet.on_host(server, REVISION) for server in ALL}
    said = fleet.run(*ALL, arguments=("--check", "--diff", *variables(tmp_path, wanted)))
    # The account and the tables, whose SQL is shown.
    assert all(count >= 2 for count in changed(said).values()), changed(said)
    assert said.count("DROP PROCEDURE") >= 2 * len(ALL), "two applications on each"
    for server in ALL:
        assert isinstance(fleet.ask(server, "another_monitor", "SELECT 1", password="none"), str)
        catalogue = "pg_roles WHERE rolname" if server.engine == "postgresql" else "mysql.user WHERE User"
        assert fleet.on_host(server, f"SELECT count(*) FROM {catalogue} = 'another_monitor'") == "0"
    assert {server.name: fleet.on_host(server, REVISION) for server in ALL} == revisions


def test_kill_minus_nine_brings_the_server_back_and_a_later_run_changes_nothing(fleet):
    workers = {name: fleet.pid_of(name, "celery-probe.service") for name in WORKERS}
    before = {server.name: fleet.pid(server) for server in ALL}
    for server in ALL:
        fleet.host(server.name).check_output("kill -9 %s", before[server.name])
    for server in ALL:
        wait_until(
            lambda server=server: (
                fleet.pid(server) not in (before[server.name], "0")
                and fleet.ask(server, "probe", "SELECT 1") == [[[1]]]
            ),
            60,
            f"{server.name} is not back",
        )
    playbooks = [f"resultops.celery.{name}" for name in (*ENGINES, "schema", "workers")]
    said = fleet.said(*playbooks)
    assert {name: recap(said, name)["changed"] for name in (*SERVERS, *WORKERS)} == dict.fromkeys(
        (*SERVERS, *WORKERS), 0
    )
    assert {name: fleet.pid_of(name, "celery-probe.service") for name in WORKERS} == workers
