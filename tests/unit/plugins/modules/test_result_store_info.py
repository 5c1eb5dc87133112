# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of the results on a real PostgreSQL and a real MariaDB."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _result_schema_purge, _result_store
from ansible_collections.resultops.celery.tests.unit.sql_servers import SqlServer

DAY = 86400
PASSWORD = "p@ss:/w%rd#?&'\"{{ }}\\ "


class Kept:
    """The tables of an application, and an account that may look."""

    def __init__(self, server: SqlServer, look: Callable[..., dict[str, Any]], created: bool = True) -> None:
        self.server, self.look = server, look
        self.engine = server.engine
        self.database = server.create_database()
        self.created = created
        self.role = server.new_name("monitor")
        self.prefix = "app." if self.engine == "postgresql" else ""
        postgresql = self.engine == "postgresql"
        blob, moment = ("bytea", "timestamp") if postgresql else ("longblob", "datetime(6)")
        self.now = "(now() AT TIME ZONE 'utc')" if postgresql else "UTC_TIMESTAMP(6)"
        if postgresql:
            self.sql("CREATE SCHEMA app")
        extra = f", created {moment} NOT NULL DEFAULT ({self.now})" if created else ""
        for table, name in (("celery_taskmeta", "task_id"), ("celery_tasksetmeta", "taskset_id")):
            status = "status VARCHAR(50), " if table == "celery_taskmeta" else ""
            self.sql(
                f"CREATE TABLE {self.prefix}{table} (id bigint PRIMARY KEY, {name} VARCHAR(155) UNIQUE, {status}"
                f"result {blob}, date_done {moment}{extra})"
            )
        if created:
            for statement in _result_schema_purge.upgrade(self.engine, '"app".' if postgresql else ""):
                self.sql(statement)
        self._grant()

    def _grant(self) -> None:
        if self.engine == "postgresql":
            quoted = PASSWORD.replace("'", "''")
            self.sql(f"CREATE ROLE {self.role} LOGIN PASSWORD '{quoted}'")
            self.sql(f"GRANT USAGE ON SCHEMA app TO {self.role}")
            self._grant_columns('"app".')
            return
        with contextlib.closing(self.server.connect()) as connection:
            cursor = connection.cursor()
            cursor.execute(f"CREATE USER {self.role} IDENTIFIED BY {connection.escape(PASSWORD)} REQUIRE SSL")
        self._grant_columns("")

    def _grant_columns(self, prefix: str) -> None:
        if self.created:
            for statement in _result_schema_purge.monitor_grants(prefix, self.role):
                self.sql(statement)
            return
        for table in _result_store.TABLES:
            self.sql(f"GRANT SELECT ON {prefix}{table} TO {self.role}")

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        return self.server.sql(statement, database=self.database)

    def add(self, first: int, last: int, status: str, seconds: float, ready: bool = True) -> None:
        source = (
            f"generate_series({first}, {last}) AS g(n)"
            if self.engine == "postgresql"
            else f"(SELECT seq AS n FROM seq_{first}_to_{last}) AS g"
        )
        moment = f"{self.now} - INTERVAL '{seconds}' SECOND"
        self.sql(
            f"INSERT INTO {self.prefix}celery_taskmeta (id, task_id, status, date_done"
            f"{', created' if self.created else ''}) SELECT n, concat('task ', n), '{status}',"
            f" {moment if ready else 'NULL'}{', ' + moment if self.created else ''} FROM {source}"
        )

    def told(self, **options: Any) -> dict[str, Any]:
        login = {**self.server.login, "login_user": self.role, "login_password": PASSWORD}
        schema = {"schema": "app"} if self.engine == "postgresql" else {}
        given = {name: value for name, value in {**login, **schema, **options}.items() if value is not None}
        return self.look("result_store_info", engine=self.engine, database=self.database, **given)


@pytest.fixture(params=["postgresql", "mariadb"])
def server(request: pytest.FixtureRequest) -> SqlServer:
    found: SqlServer = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def kept(server: SqlServer, run_on_host: Callable[..., dict[str, Any]]) -> Kept:
    return Kept(server, run_on_host)


def test_results_are_counted_by_status_and_by_age(kept: Kept) -> None:
    kept.add(1, 3, "SUCCESS", 2 * DAY)
    kept.add(4, 5, "STARTED", 8 * DAY, ready=False)
    kept.add(6, 6, "RETRY", 60, ready=False)
    kept.add(7, 9, "FAILURE", 60)
    found = kept.told(retention=DAY, retention_unfinished=7 * DAY)
    assert (found["exists"], found["kept"], found["exact"], found["complete"]) == (True, 9, True, True)
    assert found["by_status"] == {"SUCCESS": 3, "STARTED": 2, "RETRY": 1, "FAILURE": 3}
    assert (found["expired"], found["unfinished_old"]) == (3, 2)
    oldest = kept.sql(f"SELECT min(coalesce(date_done, created)) FROM {kept.prefix}celery_taskmeta")[0][0]
    assert found["oldest"] == oldest.isoformat(timespec="seconds")
    assert [table["name"] for table in found["tables"]] == ["celery_taskmeta", "celery_tasksetmeta"]
    assert found["bytes"]["total"] == sum(table["bytes"]["total"] for table in found["tables"]) > 0
    assert found["changed"] is False


def test_the_last_purge_says_how_long_results_are_kept(kept: Kept) -> None:
    kept.add(1, 3, "SUCCESS", 2 * DAY)
    found = kept.told()
    assert (found["expired"], found["unfinished_old"]) == (None, None)
    assert "The purge has never run" in found["problems"][0]
    batch = ", 5000, 0" if kept.engine == "mysql" else ""
    kept.sql(f"CALL {kept.prefix}celery_purge({5 * DAY}, {5 * DAY}{batch})")
    kept.add(4, 4, "SUCCESS", 6 * DAY)
    found = kept.told()
    assert (found["expired"], found["problems"]) == (1, [])
    assert (found["purge"]["removed"], found["purge"]["backlog"], found["purge"]["retention"]) == (0, 0, 5 * DAY)
    assert found["purge"]["oldest"] < found["purge"]["started"] <= found["purge"]["ended"]


def test_a_purge_that_failed_or_is_long_ago_is_a_problem(kept: Kept) -> None:
    kept.sql(f"UPDATE {kept.prefix}celery_purge_status SET started = {kept.now} - INTERVAL '3' DAY, error = 'No.'")
    found = kept.told()
    assert found["problems"] == [
        "The last purge ended early: No.",
        "The last purge began and did not end 72 hours ago, and 26 are allowed (max_purge_age).",
    ]


def test_what_has_expired_is_found_in_windows(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_result_store, "WINDOW", 10)
    kept.add(1, 25, "SUCCESS", 2 * DAY)
    kept.add(26, 60, "SUCCESS", 60)
    assert kept.told(retention=DAY)["expired"] == 25
    kept.add(61, 61, "SUCCESS", 2 * DAY)
    assert kept.told(retention=DAY)["expired"] == 25
    assert kept.told(retention=DAY, exact=True)["expired"] == 26


def test_a_large_table_is_estimated_and_counted_on_demand(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_result_store, "SMALL", 0)
    monkeypatch.setattr(_result_store, "ROWS_OF_A_SPOT", 50)
    kept.add(1, 3000, "SUCCESS", 60)
    kept.add(3001, 4000, "FAILURE", 60)
    kept.sql(f"{'ANALYZE' if kept.engine == 'postgresql' else 'ANALYZE TABLE'} {kept.prefix}celery_taskmeta")
    found = kept.told()
    assert found["exact"] is False
    assert 3000 < found["kept"] < 5000
    assert 0.6 < found["by_status"]["SUCCESS"] / found["kept"] < 0.9
    found = kept.told(exact=True)
    assert (found["exact"], found["kept"], found["by_status"]) == (True, 4000, {"SUCCESS": 3000, "FAILURE": 1000})


def test_a_count_ends_with_its_time_limit(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_result_store, "WINDOW", 10)
    kept.add(1, 30, "SUCCESS", 2 * DAY)
    found = kept.told(retention=DAY, timeout=0)
    assert (found["complete"], found["expired"]) == (False, 10)


def test_tables_that_celery_made_are_understood(server: SqlServer, run_on_host: Callable[..., dict[str, Any]]) -> None:
    kept = Kept(server, run_on_host, created=False)
    kept.add(1, 3, "SUCCESS", 2 * DAY)
    kept.add(4, 4, "STARTED", 0, ready=False)
    found = kept.told(retention=DAY, retention_unfinished=DAY)
    assert (found["kept"], found["expired"], found["unfinished_old"], found["purge"]) == (4, 3, None, None)
    assert "has no purge" in found["problems"][0]


def test_a_database_without_tables_is_said_to_have_none(kept: Kept) -> None:
    for table in (*_result_store.TABLES, _result_store.STATUS_TABLE):
        kept.sql(f"DROP TABLE {kept.prefix}{table}")
    assert kept.told()["exists"] is False


def test_a_refused_login_gets_a_sentence_without_the_password(kept: Kept) -> None:
    found = kept.told(login_password="not-" + PASSWORD)
    assert found["failed"] is True
    assert found["msg"].startswith(f"No session at localhost:{kept.server.port} as {kept.role}: ")
    assert PASSWORD not in found["msg"]


def test_a_server_of_another_authority_is_refused(kept: Kept) -> None:
    found = kept.told(ca_file=None)
    assert found["failed"] is True
    assert "ertificate" in found["msg"]


def test_a_server_that_is_not_there_gets_a_sentence(kept: Kept) -> None:
    found = kept.told(login_host=None, login_unix_socket=str(kept.server.directory / "ca"))
    assert found["failed"] is True
    assert str(kept.server.directory / "ca") in found["msg"]
