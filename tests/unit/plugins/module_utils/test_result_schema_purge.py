# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The purge on a real PostgreSQL and a real MariaDB."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pymysql
import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _result_schema_purge
from ansible_collections.resultops.celery.tests.unit.sql_servers import SqlServer

PASSWORD = "p@ss:/w%rd#?&'\"{{ }}\\ "
DAY = 86400
REFUSED = (psycopg.Error, pymysql.err.MySQLError)
MAKE = {
    "celery_taskmeta": "task_id VARCHAR(155) UNIQUE, status VARCHAR(50), result {blob}",
    "celery_tasksetmeta": "taskset_id VARCHAR(155) UNIQUE, result {blob}",
}


class Store:
    """An application's tables with the purge, and the account that may purge."""

    def __init__(self, server: SqlServer) -> None:
        self.server = server
        self.engine = server.engine
        self.database = server.create_database()
        self.role = server.new_name("purge")
        self.prefix = "app." if self.engine == "postgresql" else ""
        self.schema = '"app".' if self.engine == "postgresql" else ""
        blob, moment, now = (
            ("bytea", "timestamp", "now() AT TIME ZONE 'utc'")
            if self.engine == "postgresql"
            else ("longblob", "datetime(6)", "UTC_TIMESTAMP(6)")
        )
        if self.engine == "postgresql":
            self.sql("CREATE SCHEMA app")
        for table, columns in MAKE.items():
            self.sql(
                f"CREATE TABLE {self.prefix}{table} (id bigint PRIMARY KEY, {columns.format(blob=blob)},"
                f" date_done {moment}, created {moment} NOT NULL DEFAULT ({now}))"
            )
        for statement in _result_schema_purge.upgrade(self.engine, self.schema):
            self.sql(statement)
        self._grant()

    def _grant(self) -> None:
        if self.engine == "postgresql":
            quoted = PASSWORD.replace("'", "''")
            self.sql(f"CREATE ROLE {self.role} LOGIN PASSWORD '{quoted}'")
            self.sql(f"GRANT USAGE ON SCHEMA app TO {self.role}")
            account = self.role
        else:
            with contextlib.closing(self.server.connect()) as connection:
                account = connection.escape(self.role) + "@'%'"
                password = connection.escape(PASSWORD)
                connection.cursor().execute(f"CREATE USER {account} IDENTIFIED BY {password} REQUIRE SSL")
        for statement in _result_schema_purge.grants(self.engine, self.schema, account):
            self.sql(statement)

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        return self.server.sql(statement, database=self.database)

    def connect(self) -> Any:
        return self.server.connect(self.database, user=self.role, password=PASSWORD)

    def ago(self, seconds: float) -> str:
        if self.engine == "postgresql":
            return f"(now() AT TIME ZONE 'utc') - interval '{seconds} seconds'"
        return f"UTC_TIMESTAMP(6) - INTERVAL {seconds} SECOND"

    def add(self, key: int, done: float | None, created: float, table: str = "celery_taskmeta") -> None:
        """A row that became ready that many seconds ago, and was made that many seconds ago."""
        ready = "NULL" if done is None else self.ago(done)
        named = "task_id" if table == "celery_taskmeta" else "taskset_id"
        self.sql(
            f"INSERT INTO {self.prefix}{table} (id, {named}, date_done, created)"
            f" VALUES ({key}, 'task {key}', {ready}, {self.ago(created)})"
        )

    def fill(self, first: int, last: int, seconds: float) -> None:
        source = (
            f"generate_series({first}, {last}) AS g(n)"
            if self.engine == "postgresql"
            else f"(SELECT seq AS n FROM seq_{first}_to_{last}) AS g"
        )
        self.sql(
            f"INSERT INTO {self.prefix}celery_taskmeta (id, task_id, date_done, created)"
            f" SELECT n, concat('task ', n), {self.ago(seconds)}, {self.ago(seconds)} FROM {source}"
        )

    def purge(
        self, retention: float = DAY, unfinished: float = 7 * DAY, batch: int = 5000, pause: float = 0
    ) -> list[str]:
        with contextlib.closing(self.connect()) as connection:
            return self.purge_in(connection, retention, unfinished, batch, pause)

    def purge_in(self, connection: Any, *values: Any) -> list[str]:
        told: list[str] = []
        cursor = connection.cursor()
        if self.engine == "postgresql":
            connection.add_notice_handler(lambda notice: told.append(notice.message_primary))
        cursor.execute(f"CALL {self.prefix}celery_purge({', '.join(str(value) for value in values)})")
        if self.engine == "mysql" and cursor.description:
            told += [str(row[0]) for row in cursor.fetchall()]
        return told

    def ids(self, table: str = "celery_taskmeta") -> list[int]:
        return [row[0] for row in self.sql(f"SELECT id FROM {self.prefix}{table} ORDER BY id")]

    def status(self) -> dict[str, Any]:
        names = list(_result_schema_purge.STATUS_COLUMNS)
        found = self.sql(f"SELECT {', '.join(names)} FROM {self.prefix}celery_purge_status")
        return dict(zip(names, found[0], strict=True))

    def lock(self, key: int) -> Any:
        """A session that holds a row."""
        connection = self.server.connect(self.database)
        cursor = connection.cursor()
        cursor.execute("BEGIN")
        cursor.execute(f"SELECT id FROM {self.prefix}celery_taskmeta WHERE id = {key} FOR UPDATE")
        return connection


@pytest.fixture(params=["postgresql", "mariadb"])
def store(request: pytest.FixtureRequest) -> Store:
    return Store(request.getfixturevalue(request.param))


def test_what_has_expired_goes_from_both_tables(store: Store) -> None:
    for table in MAKE:
        store.add(1, 2 * DAY, 2 * DAY, table)
        store.add(2, DAY / 2, 2 * DAY, table)
        store.add(3, DAY / 2, DAY / 2, table)
    store.purge()
    assert [store.ids(table) for table in MAKE] == [[2, 3], [2, 3]]
    status = store.status()
    assert (status["removed"], status["backlog"], status["error"]) == (2, 0, None)
    assert status["started"] <= status["ended"]
    assert (status["retention"], status["retention_unfinished"]) == (DAY, 7 * DAY)


def test_what_never_got_ready_goes_by_its_own_age(store: Store) -> None:
    store.add(1, None, 8 * DAY)
    store.add(2, None, 6 * DAY)
    store.purge()
    assert store.ids() == [2]


def test_a_shorter_limit_for_what_never_got_ready_reaches_as_far(store: Store) -> None:
    store.fill(1, 30, 2 * DAY)
    store.add(31, None, 2 * DAY)
    store.add(32, None, 60)
    store.purge(7 * DAY, DAY, batch=10)
    store.add(33, None, 2 * DAY)
    store.purge(7 * DAY, DAY, batch=10)
    assert store.ids() == [*range(1, 31), 32]


def test_rows_that_are_older_than_their_column_created_go_by_date_done(store: Store) -> None:
    store.add(1, 2 * DAY, 0)
    store.add(2, 60, 0)
    store.purge()
    assert store.ids() == [2]


def test_such_rows_are_followed_through_batches_after_the_first_walk(store: Store) -> None:
    store.purge()
    for number in range(1, 31):
        store.add(number, 2 * DAY, 0)
    store.purge(batch=10)
    assert store.ids() == []


def test_batches_reach_all_that_has_expired(store: Store) -> None:
    store.fill(1, 95, 2 * DAY)
    store.fill(96, 130, 60)
    store.purge(batch=10)
    assert store.ids() == list(range(96, 131))
    assert store.status()["removed"] == 95


def test_the_first_walk_and_one_a_week_find_what_stands_behind_the_young(store: Store) -> None:
    store.fill(1, 50, 60)
    store.add(51, 2 * DAY, 2 * DAY)
    store.purge(batch=10)
    assert 51 not in store.ids()
    store.add(52, 2 * DAY, 2 * DAY)
    store.purge(batch=10)
    assert 52 in store.ids()
    store.sql(f"UPDATE {store.prefix}celery_purge_status SET walked_all = {store.ago(8 * DAY)}")
    store.purge(batch=10)
    assert 52 not in store.ids()


def test_ids_that_are_not_in_the_order_of_time_within_a_batch_are_found_at_once(store: Store) -> None:
    store.purge()
    store.fill(1, 9, 60)
    store.add(10, 2 * DAY, 2 * DAY)
    store.purge(batch=10)
    assert store.ids() == list(range(1, 10))


def test_a_locked_row_is_left_to_the_next_run(store: Store) -> None:
    store.fill(1, 20, 2 * DAY)
    with contextlib.closing(store.lock(7)):
        started = time.monotonic()
        store.purge(batch=10)
        assert time.monotonic() - started < 4
    assert store.ids() == [7]
    assert (store.status()["removed"], store.status()["backlog"]) == (19, 1)
    store.purge()
    assert (store.ids(), store.status()["backlog"]) == ([], 0)


def test_the_oldest_that_is_left_is_told(store: Store) -> None:
    store.add(1, 3600, 7200)
    store.purge()
    wanted = store.sql(f"SELECT date_done FROM {store.prefix}celery_taskmeta")[0][0]
    assert abs((store.status()["oldest"] - wanted).total_seconds()) <= 1


@contextlib.contextmanager
def long_purge(store: Store) -> Iterator[tuple[Any, list[Exception]]]:
    """A purge that pauses for long after its first batch."""
    store.fill(1, 20, 2 * DAY)
    connection, raised = store.connect(), []

    def run() -> None:
        try:
            store.purge_in(connection, DAY, DAY, 10, 30)
        except REFUSED as problem:
            raised.append(problem)

    thread = threading.Thread(target=run)
    thread.start()
    deadline = time.monotonic() + 10
    while len(store.ids()) > 10 and time.monotonic() < deadline:
        time.sleep(0.05)
    yield connection, raised
    if store.engine == "postgresql":
        store.sql(f"SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE usename = '{store.role}'")
    else:
        store.sql(f"KILL QUERY {connection.thread_id()}")
    thread.join(10)
    assert not thread.is_alive()
    connection.close()


def test_a_second_purge_says_so_and_does_nothing(store: Store) -> None:
    with long_purge(store):
        assert store.purge() == ["Another purge is running, so this one does nothing."]
        assert len(store.ids()) == 10
        assert store.status()["ended"] is None


def test_a_canceled_purge_keeps_what_it_did_and_says_that_it_ended_early(store: Store) -> None:
    with long_purge(store) as (_connection, raised):
        pass
    if store.engine == "postgresql":
        assert "The purge ended early" in str(raised[0])
        assert store.status()["error"]
    # MariaDB runs no handler in a query that was killed.
    assert len(store.ids()) == 10
    store.purge()
    assert (store.ids(), store.status()["error"]) == ([], None)


def test_the_lock_of_a_purge_that_ended_early_is_free(store: Store) -> None:
    store.fill(1, 3, 2 * DAY)
    connection = store.connect()
    with contextlib.closing(connection):
        with pytest.raises(REFUSED, match="retention_unfinished must be 1 second or more"):
            store.purge_in(connection, DAY, 0, 10, 0)
        store.purge()
    assert store.ids() == []


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ((0, DAY, 10, 0), "retention and retention_unfinished must be 1 second or more"),
        (("NULL", DAY, 10, 0), "retention and retention_unfinished must be 1 second or more"),
        ((DAY, DAY, 0, 0), "batch must be 1 row or more"),
        ((DAY, DAY, 10, -1), "pause 0 seconds or more"),
    ],
)
def test_bad_arguments_get_a_sentence_and_remove_nothing(store: Store, values: tuple[Any, ...], sentence: str) -> None:
    store.fill(1, 3, 2 * DAY)
    with contextlib.closing(store.connect()) as connection, pytest.raises(REFUSED, match=sentence):
        store.purge_in(connection, *values)
    assert store.ids() == [1, 2, 3]


def test_an_error_stands_in_the_status_and_reaches_who_called(store: Store) -> None:
    store.fill(1, 3, 2 * DAY)
    store.sql(f"DROP TABLE {store.prefix}celery_tasksetmeta")
    with pytest.raises(REFUSED, match=r"celery_tasksetmeta"):
        store.purge()
    status = store.status()
    assert "celery_tasksetmeta" in status["error"]
    assert (status["backlog"], status["removed"]) == (None, 3)


def test_the_account_can_neither_read_results_nor_change_them(store: Store) -> None:
    store.add(1, 60, 60)
    with contextlib.closing(store.connect()) as connection:
        for statement in (
            f"SELECT result FROM {store.prefix}celery_taskmeta",
            f"UPDATE {store.prefix}celery_taskmeta SET status = 'SUCCESS'",
            f"INSERT INTO {store.prefix}celery_taskmeta (id) VALUES (2)",
            f"DROP TABLE {store.prefix}celery_taskmeta",
            f"TRUNCATE TABLE {store.prefix}celery_taskmeta",
        ):
            with pytest.raises(REFUSED):
                connection.cursor().execute(statement)


def test_a_time_limit_for_statements_is_refused(postgresql: SqlServer) -> None:
    store = Store(postgresql)
    store.fill(1, 3, 2 * DAY)
    with contextlib.closing(store.connect()) as connection:
        connection.execute("SET statement_timeout = '5s'")
        with pytest.raises(REFUSED, match=f"statement_timeout is 5s .* for the role {store.role}"):
            store.purge_in(connection, DAY, DAY, 10, 0)
    assert store.ids() == [1, 2, 3]


def test_to_make_it_again_keeps_what_the_last_purge_did(store: Store) -> None:
    store.add(1, 2 * DAY, 2 * DAY)
    store.purge()
    for statement in _result_schema_purge.upgrade(store.engine, store.schema):
        store.sql(statement)
    assert store.status()["removed"] == 1


def test_what_was_made_can_be_taken_away(store: Store) -> None:
    for statement in _result_schema_purge.downgrade(store.schema):
        store.sql(statement)
    with pytest.raises(REFUSED):
        store.status()
