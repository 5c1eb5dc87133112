# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each account may do and may not do, asked from another host as a client asks."""

from __future__ import annotations

import re

import pytest

ACCOUNTS = ("probe", "probe_purge", "other", "results_monitor")
POSTGRESQL_FORBIDDEN = (
    "CREATE TABLE probe.mine (id int)",
    "CREATE TABLE public.mine (id int)",
    "CREATE TEMPORARY TABLE mine (id int)",
    "CREATE SCHEMA mine",
    "CREATE DATABASE mine",
    "CREATE ROLE mine",
    "CREATE TABLE other.mine (id int)",
    "SELECT rolpassword FROM pg_authid",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_reload_conf()",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "ALTER SYSTEM SET work_mem = '1GB'",
    "SET ROLE probe_owner",
    "SET ROLE other",
    "SET ROLE postgres",
    "DROP SCHEMA probe",
)
MARIADB_FORBIDDEN = (
    "CREATE TABLE probe.mine (id int)",
    "CREATE TABLE other.mine (id int)",
    "CREATE DATABASE mine",
    "CREATE USER mine",
    "SELECT * FROM mysql.global_priv",
    "SET GLOBAL max_connections = 1000",
    "SELECT 1 INTO OUTFILE '/tmp/never'",
    "GRANT SELECT ON probe.* TO other@'%'",
    "DROP DATABASE probe",
    "SHUTDOWN",
)
# On the real tables, by both engines: what each account needs, and what it must not do.
ALLOWED = {
    "probe": (
        "INSERT INTO probe.celery_taskmeta (id, task_id, status, result) VALUES ({next_id}, 'mine', 'STARTED', 'x')",
        "UPDATE probe.celery_taskmeta SET status = 'SUCCESS' WHERE task_id = 'mine'",
        "SELECT status FROM probe.celery_taskmeta WHERE task_id = 'mine'",
        "SELECT count(*) FROM probe.celery_tasksetmeta",
    ),
    "results_monitor": (
        "SELECT id, status, date_done, created FROM probe.celery_taskmeta",
        "SELECT id, date_done, created FROM other.celery_tasksetmeta",
        "SELECT started, ended, removed, backlog, oldest, error FROM probe.celery_purge_status",
    ),
    "probe_purge": (
        "SELECT id, date_done, created FROM probe.celery_taskmeta",
        "DELETE FROM probe.celery_taskmeta WHERE id > 0",
        "CALL probe.celery_purge(86400, 604800, 5000, 0.05)",
    ),
}
FORBIDDEN = {
    "probe": (
        "ALTER TABLE probe.celery_taskmeta ADD mine int",
        "CREATE INDEX mine ON probe.celery_taskmeta (status)",
        "DROP TABLE probe.celery_taskmeta",
        "TRUNCATE TABLE probe.celery_taskmeta",
        "DROP SEQUENCE probe.task_id_sequence",
        "DROP PROCEDURE probe.celery_purge",
        "CALL probe.celery_purge(1, 1, 1, 0)",
        "UPDATE probe.celery_schema_version SET version_num = '0001'",
        "SELECT * FROM probe.celery_purge_status",
        "SELECT id FROM other.celery_taskmeta",
        "INSERT INTO other.celery_taskmeta (id, task_id) VALUES (1, 'forged')",
        "DELETE FROM other.celery_tasksetmeta",
    ),
    "results_monitor": (
        "SELECT result FROM probe.celery_taskmeta",
        "SELECT task_id FROM probe.celery_taskmeta",
        "SELECT * FROM other.celery_taskmeta",
        "SELECT result FROM probe.celery_tasksetmeta",
        "DELETE FROM probe.celery_taskmeta",
        "UPDATE probe.celery_purge_status SET error = NULL",
        "CALL probe.celery_purge(1, 1, 1, 0)",
    ),
    "probe_purge": (
        "SELECT result FROM probe.celery_taskmeta",
        "SELECT status FROM probe.celery_taskmeta",
        "SELECT * FROM probe.celery_tasksetmeta",
        "INSERT INTO probe.celery_taskmeta (id, task_id) VALUES (1, 'forged')",
        "UPDATE probe.celery_taskmeta SET status = 'FAILURE'",
        "TRUNCATE TABLE probe.celery_taskmeta",
        "ALTER TABLE probe.celery_taskmeta ADD mine int",
        "SELECT id FROM other.celery_taskmeta",
        "DELETE FROM other.celery_taskmeta",
        "CALL other.celery_purge(1, 1, 1, 0)",
    ),
}


def text(answer) -> str:
    """How a session was refused."""
    assert isinstance(answer, str), answer
    return answer


@pytest.mark.parametrize("user", ACCOUNTS)
def test_each_account_gets_in_with_its_name_and_password(fleet, server, user):
    assert fleet.ask(server, user, "SELECT 1") == [[[1]]]
    assert re.search("authentication failed|Access denied", text(fleet.ask(server, user, password="not this one")))


@pytest.mark.parametrize("user", ACCOUNTS)
def test_plaintext_is_refused(fleet, server, user):
    said = text(fleet.ask(server, user, "SELECT 1", ssl_mode="disable"))
    assert re.search("no encryption|require_secure_transport|Access denied", said)


def test_another_name_than_that_of_the_certificate_is_refused(fleet, server):
    host = (
        "elsewhere.example.com" if server.engine == "postgresql" else fleet.address(server.name).replace("172", "172")
    )
    if server.engine == "mysql":
        fleet.host(server.client).check_output(
            "grep -q elsewhere.example.com /etc/hosts || echo %s elsewhere.example.com >> /etc/hosts", host
        )
    said = text(fleet.ask(server, "probe", "SELECT 1", host="elsewhere.example.com"))
    assert re.search("does not match host name|Hostname mismatch", said)


def test_the_superuser_does_not_come_over_the_network(fleet, server):
    user = "postgres" if server.engine == "postgresql" else "root"
    said = text(
        fleet.ask(server, user, password="whatever it may be", database="mysql" if user == "root" else "postgres")
    )
    assert re.search("pg_hba.conf rejects|Access denied", said)


@pytest.mark.parametrize("user", ALLOWED)
def test_each_account_does_its_work_on_the_tables_and_nothing_else(fleet, server, user):
    allowed = [statement.format(next_id=server.next_id) for statement in ALLOWED[user]]
    # With its schema or database in view, as everybody connects.
    database = None if server.engine == "postgresql" else "probe"
    answers = fleet.ask(server, user, *allowed, *FORBIDDEN[user], database=database)
    done = dict(zip(allowed, answers, strict=False))
    assert {statement: answer for statement, answer in done.items() if "Error: " in str(answer)} == {}
    assert user != "probe" or done[allowed[2]] == [["SUCCESS"]]
    refused = dict(zip(FORBIDDEN[user], answers[len(allowed) :], strict=True))
    pattern = "^(InsufficientPrivilege|ReadOnlySqlTransaction)|command denied"
    assert {statement: answer for statement, answer in refused.items() if not re.search(pattern, str(answer))} == {}


class TestPostgresql:
    @pytest.mark.parametrize("user", ["probe", "probe_purge", "results_monitor"])
    def test_nobody_does_more(self, fleet, postgresql, user):
        answers = dict(zip(POSTGRESQL_FORBIDDEN, fleet.ask(postgresql, user, *POSTGRESQL_FORBIDDEN), strict=True))
        refused = ("InsufficientPrivilege", "ReadOnlySqlTransaction")
        assert {statement: answer for statement, answer in answers.items() if not str(answer).startswith(refused)} == {}

    def test_other_databases_are_closed(self, fleet, postgresql):
        assert "pg_hba.conf rejects" in text(fleet.ask(postgresql, "probe", "SELECT 1", database="postgres"))
        assert "pg_hba.conf rejects" in text(fleet.ask(postgresql, "probe", "SELECT 1", database="template1"))

    def test_sessions_begin_with_their_limits(self, fleet, postgresql):
        settings = "SELECT current_setting('search_path'), current_setting('TimeZone'), current_setting('lock_timeout')"
        slow = "SELECT pg_sleep(6)"
        answers = fleet.ask(postgresql, "probe", settings, "SHOW statement_timeout", slow)
        assert answers[:2] == [[["probe", "UTC", "2s"]], [["5s"]]]
        assert answers[2].startswith("QueryCanceled")
        assert fleet.ask(postgresql, "probe_purge", "SHOW statement_timeout") == [[["0"]]]

    def test_passwords_are_kept_as_verifiers(self, fleet, postgresql):
        stored = fleet.on_host(postgresql, "SELECT rolpassword FROM pg_authid WHERE rolpassword IS NOT NULL")
        assert {line.split("$")[0] for line in stored.splitlines()} == {"SCRAM-SHA-256"}
        assert fleet.on_host(postgresql, "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'probe_owner'") == "f"

    def test_a_limit_of_connections_holds(self, fleet, postgresql):
        many = "SELECT rolconnlimit FROM pg_roles WHERE rolname IN ('probe', 'other') ORDER BY rolname"
        assert fleet.on_host(postgresql, many).split() == ["3", "20"]

    def test_pages_have_checksums(self, fleet, postgresql):
        assert fleet.on_host(postgresql, "SHOW data_checksums") == "on"


class TestMariadb:
    @pytest.mark.parametrize("user", ["probe", "results_monitor"])
    def test_nobody_does_more(self, fleet, mariadb, user):
        answers = dict(zip(MARIADB_FORBIDDEN, fleet.ask(mariadb, user, *MARIADB_FORBIDDEN), strict=True))
        assert {statement: answer for statement, answer in answers.items() if "denied" not in str(answer)} == {}

    def test_nobody_sees_other_databases(self, fleet, mariadb):
        (databases,) = fleet.ask(mariadb, "other", "SHOW DATABASES")
        assert "probe" not in [row[0] for row in databases]

    def test_sessions_are_strict_and_in_utc(self, fleet, mariadb):
        settings = "SELECT @@time_zone, @@character_set_server, FIND_IN_SET('STRICT_TRANS_TABLES', @@sql_mode) > 0"
        assert fleet.ask(mariadb, "probe", settings) == [[["+00:00", "utf8mb4", 1]]]

    def test_only_known_accounts_are_there(self, fleet, mariadb):
        users = set(fleet.on_host(mariadb, "SELECT DISTINCT User FROM mysql.global_priv").split())
        known = {"root", "mysql", "mariadb.sys", "probe", "probe_owner", "probe_purge", "other", "results_monitor"}
        assert users == known
        hosts = fleet.on_host(mariadb, "SELECT Host FROM mysql.global_priv WHERE User IN ('root', 'mysql')")
        assert set(hosts.split()) == {"localhost"}
