# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ids of 64 bits, while others write."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _result_schema_steps
from ansible_collections.resultops.celery.tests.unit.result_tables import Application
from ansible_collections.resultops.celery.tests.unit.sql_servers import Mariadb, Postgresql

INTEGER = {"postgresql": "integer", "mysql": "int"}
Run = Callable[..., dict[str, Any]]


@pytest.fixture(params=["postgresql", "mariadb"])
def application(request: pytest.FixtureRequest, run_on_host: Run) -> Application:
    return Application(request.getfixturevalue(request.param), run_on_host)


class Writer:
    """A process of Celery that keeps its connection, and somebody who changes and removes older rows."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self.stored: list[str] = []
        self.removed: set[str] = set()
        self.failures: list[str] = []
        self.slowest = 0.0
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._store), threading.Thread(target=self._change)]

    def __enter__(self) -> Writer:
        for thread in self._threads:
            thread.start()
        time.sleep(0.3)
        return self

    def __exit__(self, *_details: object) -> None:
        time.sleep(0.3)
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _timed(self, action: Callable[[], Any]) -> None:
        begun = time.monotonic()
        try:
            action()
        except Exception as problem:  # noqa: BLE001 - the test shows all of them
            self.failures.append(repr(problem.__cause__ or problem))
        self.slowest = max(self.slowest, time.monotonic() - begun)

    def _store(self) -> None:
        backend = self.application.backend(result_backend_always_retry=True, result_backend_max_retries=3)
        backend.session_manager.forked = True
        while not self._end.wait(0.005):
            name = f"stored-{len(self.stored)}"
            self._timed(lambda name=name: backend.store_result(name, name, "SUCCESS"))
            self.stored.append(name)

    def _change(self) -> None:
        number = 0
        with self.application.session() as sql:
            while not self._end.wait(0.005):
                number += 37
                task = f"task-{number}"
                if number % 2:
                    self.removed.add(task)
                    self._timed(lambda task=task: sql("DELETE FROM celery_taskmeta WHERE task_id = %s", task))
                else:
                    change = "UPDATE celery_taskmeta SET status = 'CHANGED' WHERE task_id = %s"
                    self._timed(lambda task=task, change=change: sql(change, task))


@pytest.mark.parametrize(("start", "target"), [(None, "0006"), ("0006", "0001")])
def test_nobody_waits_or_loses_anything_meanwhile(application: Application, start: str | None, target: str) -> None:
    rows = 20_000
    application.make_tables("5.4")
    application.fill(rows)
    if start:
        application.migrate(revision=start)

    with Writer(application) as writer:
        result = application.migrate(revision=target)

    assert result["revision_after"] == target
    assert writer.failures == []
    assert writer.slowest < 1
    assert application.columns()["id"] == (INTEGER[application.engine] if start else "bigint")
    assert application.count(where="task_id LIKE 'stored-%'") == len(writer.stored)
    removed = {name for name in writer.removed if int(name.partition("-")[2]) <= rows}
    assert application.count(where="task_id LIKE 'task-%'") == rows - len(removed)
    assert application.sql("SELECT count(*) FROM celery_taskmeta WHERE task_id = 'task-37'") == [(0,)]
    assert application.sql("SELECT status FROM celery_taskmeta WHERE task_id = 'task-74'") == [("CHANGED",)]


def test_who_changes_copied_rows_does_not_get_in_the_way_of_the_copying(application: Application) -> None:
    """Names in no order, as those of Celery are: then the rows of all batches are neighbours in the unique key."""
    rows = 6000
    application.make_tables("5.4")
    application.fill(rows)
    application.sql("UPDATE celery_taskmeta SET task_id = md5(task_id)")
    end = threading.Event()
    failures = []

    def change() -> None:
        with application.session() as sql:
            while not end.is_set():
                # Whatever goes wrong is what the test is about; in a thread it would only be printed.
                try:
                    sql("UPDATE celery_taskmeta SET status = 'CHANGED' WHERE id = %s", random.randint(1, rows))
                except Exception as problem:  # noqa: BLE001 - the test shows all of them
                    failures.append(repr(problem))

    threads = [threading.Thread(target=change) for _number in range(4)]
    for thread in threads:
        thread.start()
    try:
        result = application.migrate()
    finally:
        end.set()
        for thread in threads:
            thread.join()

    assert result["revision_after"] == "0006"
    assert failures == []
    assert application.count() == rows


def test_ids_that_need_64_bits_stay(application: Application) -> None:
    application.migrate()
    application.sql("INSERT INTO celery_taskmeta (id, task_id) VALUES (2147483648, 'late')")

    message = application.migrate(revision="0002")["msg"]

    assert "has ids up to 2147483648, for which 32 bits are too few" in message
    assert application.count() == 1
    assert application.columns()["id"] == "bigint"


def test_a_transaction_that_does_not_end_is_named(application: Application) -> None:
    application.make_tables("5.4")
    application.fill(10)

    with contextlib.closing(application.connect()) as other:
        other.cursor().execute("BEGIN")
        other.cursor().execute("SELECT * FROM celery_taskmeta")
        result = application.migrate(timeout=1)

    assert result["failed"] is True
    assert "in use by other transactions for 1 seconds" in result["msg"]
    assert application.count() == 10
    assert application.migrate()["revision_after"] == "0006"


def test_what_depends_on_the_id_is_named(postgresql: Postgresql, run_on_host: Run) -> None:
    application = Application(postgresql, run_on_host)
    application.make_tables("5.4")
    application.sql("CREATE VIEW report AS SELECT id FROM celery_taskmeta")

    assert "cannot change its type while shop.report depends on it" in application.migrate()["msg"]


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        (
            "CREATE TABLE report (id INT PRIMARY KEY, task INT, CONSTRAINT about FOREIGN KEY (task)"
            " REFERENCES celery_taskmeta (id))",
            "report.about",
        ),
        ("CREATE TRIGGER audit AFTER INSERT ON celery_taskmeta FOR EACH ROW SET @seen = 1", "audit"),
    ],
)
def test_what_a_copy_would_not_take_along_is_named(
    mariadb: Mariadb, run_on_host: Run, statement: str, named: str
) -> None:
    application = Application(mariadb, run_on_host)
    application.make_tables("5.4")
    application.sql(statement)

    message = application.migrate()["msg"]

    assert f"celery_taskmeta cannot be changed while {named} depends on it" in message
    assert application.columns()["id"] == "int"
    assert "children" not in application.columns(), "nothing has changed"


def test_tables_of_others_stay(mariadb: Mariadb, run_on_host: Run) -> None:
    application = Application(mariadb, run_on_host)
    application.make_tables("5.4")
    application.sql("CREATE TABLE celery_taskmeta_old LIKE celery_taskmeta")
    application.sql("CREATE TABLE celery_taskmeta_new LIKE celery_taskmeta")

    application.migrate()

    assert application.sql("SELECT count(*) FROM celery_taskmeta_old") == [(0,)]
    assert application.sql("SELECT count(*) FROM celery_taskmeta_new") == [(0,)]


def test_what_happens_while_the_triggers_are_made_is_not_lost(
    mariadb: Mariadb, run_on_host: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is a statement of its own, and stores go on between them."""
    application = Application(mariadb, run_on_host)
    application.make_tables("5.4")
    made = 0

    def run(session: Any, statement: str) -> None:
        nonlocal made
        steps_run(session, statement)
        if statement.startswith("CREATE TRIGGER `celery_taskmeta_"):
            made += 1
            for name in ("kept", "gone"):
                application.sql(
                    "INSERT INTO celery_taskmeta (id, task_id)"
                    " SELECT COALESCE(MAX(id), 0) + 1, %s FROM celery_taskmeta",
                    f"{name}-{made}",
                )
            application.sql("UPDATE celery_taskmeta SET status = 'READY' WHERE task_id = %s", f"kept-{made}")
            application.sql("DELETE FROM celery_taskmeta WHERE task_id = %s", f"gone-{made}")

    steps_run = _result_schema_steps.run
    monkeypatch.setattr(_result_schema_steps, "run", run)
    application.migrate()

    assert made == 3
    assert application.sql("SELECT task_id, status FROM celery_taskmeta ORDER BY id") == [
        ("kept-1", "READY"),
        ("kept-2", "READY"),
        ("kept-3", "READY"),
    ]


def test_a_default_of_the_id_is_kept(postgresql: Postgresql, run_on_host: Run) -> None:
    application = Application(postgresql, run_on_host)
    application.make_tables("5.4")
    application.sql("ALTER TABLE celery_taskmeta ALTER id SET DEFAULT nextval('shop.task_id_sequence')")
    application.sql("ALTER SEQUENCE task_id_sequence OWNED BY celery_taskmeta.id")

    application.migrate()

    application.sql("INSERT INTO celery_taskmeta (task_id) VALUES ('a')")
    assert application.sql("SELECT id FROM celery_taskmeta") == [(1,)]
