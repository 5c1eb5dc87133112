# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result backend against real servers, beside Celery's own on the same tables."""

from __future__ import annotations

import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from ansible_collections.resultops.celery.tests.unit.sql_servers import Mariadb, Postgresql, SqlServer
from ansible_collections.resultops.celery.tests.unit.worker_store import Store, load
from celery import Celery, chord, group, states
from celery.app.task import Context
from celery.contrib.testing.worker import start_worker
from celery.exceptions import BackendStoreError, ImproperlyConfigured
from celery.result import GroupResult
from kombu.exceptions import ContentDisallowed
from sqlalchemy import event, exc

VALUE = {"text": "résumé ✓", "numbers": [1, 2.5, None, True], "nested": {"list": [[], {}]}}


results = load()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("CELERY_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def postgresql() -> Iterator[SqlServer]:
    with Postgresql(listen_addresses="127.0.0.1,127.0.0.2") as server:
        yield server


@pytest.fixture(scope="module")
def mariadb() -> Iterator[SqlServer]:
    with Mariadb(bind_address="127.0.0.1,127.0.0.2") as server:
        yield server


@pytest.fixture(scope="module", params=["postgresql", "mariadb"])
def store(request: pytest.FixtureRequest) -> Store:
    return Store(request.getfixturevalue(request.param))


@pytest.fixture(scope="module")
def on_postgresql(postgresql: SqlServer) -> Store:
    return Store(postgresql)


def new() -> str:
    return str(uuid4())


def statements_of(app: Celery, work: Callable[[], Any]) -> list[str]:
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        seen.append(statement)

    backend = app.backend
    engine = backend.session_manager.get_engine(backend.url, **backend.engine_options)
    event.listen(engine, "before_cursor_execute", note)
    work()
    event.remove(engine, "before_cursor_execute", note)
    return seen


def both_read(store: Store, task: str, **options: Any) -> dict[str, Any]:
    """What the class and Celery's own read of one result, which has to be the same."""
    found = [store.application(name, **options).backend.get_task_meta(task, cache=False) for name in ("stock", "fast")]
    for meta in found:
        if isinstance(meta["result"], Exception):
            meta["result"] = repr(meta["result"])
    assert found[0] == found[1]
    return found[0]


@pytest.mark.parametrize("serializer", ["json", "msgpack"])
def test_both_read_what_both_store(store: Store, serializer: str) -> None:
    for profile in ("stock", "fast"):
        options = {"result_serializer": serializer}
        backend = store.application(profile, options).backend
        for value in (VALUE, {}, "x" * 100_000):
            task = new()
            backend.store_result(task, value, states.SUCCESS)
            found = both_read(store, task, options=options)
            assert (found["status"], found["result"]) == (states.SUCCESS, value)
            assert abs(found["date_done"] - datetime.now(UTC).replace(tzinfo=None)).total_seconds() < 60


@pytest.mark.parametrize("extended", [False, True])
def test_each_column_is_what_celery_writes(store: Store, extended: bool) -> None:
    child = store.application().AsyncResult("child")
    request = Context(
        task="shop.total",
        args=[1, "é"],
        kwargs={"a": 2},
        hostname="worker@host",
        retries=3,
        delivery_info={"routing_key": "celery"},
        stamped_headers=["trace"],
        stamps={"trace": ["abc"]},
        group="g",
    )
    request.children.append(child)
    columns = "status, result, traceback, children, name, args, kwargs, worker, retries, queue, stamps"
    written = []
    for profile in ("stock", "fast"):
        task = new()
        backend = store.application(profile, {"result_extended": extended}).backend
        backend.store_result(task, VALUE, states.SUCCESS, request=request)
        written.append(store.rows(columns, task))
        both_read(store, task, options={"result_extended": extended})
    assert written[0] == written[1]
    assert (written[0][0][4] == "shop.total") is extended
    found = both_read(store, task, options={"result_extended": extended})
    assert found["children"] == [[["child", None], None]]
    assert found.get("trace") == (["abc"] if extended else None)


def test_a_later_store_without_stamps_keeps_them(store: Store) -> None:
    task = new()
    for profile in ("fast", "stock"):
        backend = store.application(profile, {"result_extended": True}).backend
        request = Context(task="t", stamped_headers=["a"], stamps={"a": 1}, delivery_info=None)
        backend.store_result(task, None, states.STARTED, request=request)
        backend.store_result(task, None, states.RETRY)
        assert both_read(store, task, options={"result_extended": True})["a"] == 1
        backend.forget(task)


@pytest.mark.parametrize("state", [states.STARTED, states.RETRY, "PROGRESS"])
def test_what_is_not_ready_has_no_date_and_is_replaced(store: Store, state: str) -> None:
    backend, task = store.application().backend, new()
    backend.store_result(task, {"done": 1}, state)
    if state != states.RETRY:
        assert both_read(store, task)["result"] == {"done": 1}
    assert store.rows("status, date_done", task) == [(state, None)]
    backend.store_result(task, VALUE, states.SUCCESS)
    assert both_read(store, task)["result"] == VALUE
    assert store.rows("date_done", task) != [(None,)]


def test_a_success_is_final_and_a_failure_is_not(store: Store) -> None:
    backend, task = store.application().backend, new()
    backend.mark_as_failure(task, ValueError("one"), traceback="line 1")
    found = both_read(store, task)
    assert (found["status"], found["result"], found["traceback"]) == (states.FAILURE, "ValueError('one')", "line 1")
    backend.store_result(task, 1, states.SUCCESS)
    backend.store_result(task, 2, states.SUCCESS)
    backend.mark_as_failure(task, ValueError("two"), traceback="line 2")
    found = both_read(store, task)
    assert (found["status"], found["result"], found["traceback"]) == (states.SUCCESS, 1, None)
    assert len(store.rows("id", task)) == 1


def test_of_many_at_once_one_success_stays(store: Store) -> None:
    task, errors = new(), []
    app = store.application()

    def work(number: int) -> None:
        try:
            for _round in range(5):
                app.backend.store_result(task, number, states.SUCCESS if number % 2 else states.STARTED)
        except Exception as error:  # noqa: BLE001 - any is too much
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    found = both_read(store, task)
    assert found["status"] == states.SUCCESS
    assert found["result"] % 2 == 1


def test_a_store_is_one_statement_and_so_is_a_read(store: Store) -> None:
    app, task = store.application(), new()
    stored = statements_of(app, lambda: app.backend.store_result(task, VALUE, states.SUCCESS))
    assert [statement.split()[0] for statement in stored] == ["INSERT"]
    read = statements_of(app, lambda: app.backend.get_task_meta(task, cache=False))
    assert [statement.split()[0] for statement in read] == ["SELECT"]


def test_groups(store: Store) -> None:
    app, name = store.application(), new()
    members = GroupResult(name, [app.AsyncResult("a"), app.AsyncResult("b")], app=app)
    for _answer_was_lost in range(2):
        app.backend.save_group(name, members)
    for profile in ("stock", "fast"):
        restored = store.application(profile).backend.restore_group(name, cache=False)
        assert [result.id for result in restored.results] == ["a", "b"]
    app.backend.delete_group(name)
    assert app.backend.restore_group(name, cache=False) is None


def test_forgotten_and_unknown_results(store: Store) -> None:
    app, task = store.application(), new()
    assert app.AsyncResult(task).state == states.PENDING
    app.backend.store_result(task, VALUE, states.SUCCESS)
    assert app.backend.task_result_exists(task)
    app.AsyncResult(task).forget()
    assert not app.backend.task_result_exists(task)
    assert store.rows("id", task) == []


def test_a_worker_runs_groups_and_chords(store: Store) -> None:
    app = store.application(result_chord_retry_interval=0.1)

    @app.task(name="add", shared=False)
    def add(first: int, second: int) -> int:
        return first + second

    @app.task(name="total", shared=False)
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    app.loader.import_module("celery.app.builtins")
    with start_worker(app, perform_ping_check=False, pool="threads", concurrency=4):
        assert group(add.s(number, 1) for number in range(3)).apply_async().get(timeout=20, interval=0.1) == [1, 2, 3]
        assert (
            chord([add.s(number, 1) for number in range(3)], total.s()).apply_async().get(timeout=20, interval=0.1) == 6
        )


def test_connections_are_kept_and_shared_by_threads(store: Store) -> None:
    results.ENGINES.start_afresh(store.application().backend.url)
    app = store.application(options={"pool_size": 3})
    for _store in range(10):
        app.backend.store_result(new(), 1, states.SUCCESS)
    alone = store.connections()
    assert len(alone) == 1
    threads = [
        threading.Thread(target=lambda: [app.backend.store_result(new(), 1, states.SUCCESS) for _store in range(10)])
        for _thread in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert alone <= store.connections()
    assert len(store.connections()) <= 3


def test_a_forked_process_has_connections_of_its_own(store: Store) -> None:
    app, task = store.application(options={"pool_size": 2}), new()
    app.backend.store_result(new(), 1, states.SUCCESS)
    before = store.connections()
    child = os.fork()
    if not child:
        # The other process of the pair must not see a broken connection, so this one ends without any cleaning.
        try:
            app.backend.store_result(task, VALUE, states.SUCCESS)
            assert app.backend.get_task_meta(task, cache=False)["result"] == VALUE
            assert before < store.connections()
        except BaseException:  # noqa: BLE001 - the status tells
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    app.backend.store_result(new(), 1, states.SUCCESS)
    assert before <= store.connections()
    assert both_read(store, task)["result"] == VALUE


def test_ended_connections_are_replaced_without_a_word(store: Store) -> None:
    app = store.application(result_backend_always_retry=False)
    for _round in range(3):
        app.backend.store_result(new(), 1, states.SUCCESS)
        store.end_connections()


def test_a_primary_that_was_demoted_is_left(on_postgresql: Store) -> None:
    app, server = on_postgresql.application(options={"result_backend_max_retries": 50}), on_postgresql.server
    app.backend.store_result(new(), 1, states.SUCCESS)
    server.sql(f"ALTER ROLE {on_postgresql.user} SET default_transaction_read_only = on")
    on_postgresql.end_connections()
    later = threading.Timer(
        1, lambda: server.sql(f"ALTER ROLE {on_postgresql.user} RESET default_transaction_read_only")
    )
    later.start()
    started = time.monotonic()
    app.backend.store_result(new(), 1, states.SUCCESS)
    assert time.monotonic() - started > 0.9
    later.join()


@pytest.mark.parametrize("missing", ["table", "right"])
def test_what_does_not_pass_is_told_at_once_and_by_its_name(store: Store, missing: str) -> None:
    broken = Store(store.server)
    name = "results.celery_taskmeta" if broken.kind == "postgresql" else "celery_taskmeta"
    if missing == "table":
        broken.server.sql(f"DROP TABLE {name}", database=broken.database)
        said = "does not exist" if broken.kind == "postgresql" else "doesn't exist"
    elif broken.kind == "postgresql":
        broken.server.sql(f"REVOKE ALL ON {name} FROM {broken.user}", database=broken.database)
        said = "permission denied"
    else:
        broken.server.sql(f"REVOKE ALL ON {broken.database}.* FROM {broken.user}")
        broken.server.sql(f"GRANT SELECT ON {broken.database}.celery_tasksetmeta TO {broken.user}")
        said = "denied"
    backend, started = broken.application().backend, time.monotonic()
    with pytest.raises((exc.DBAPIError, BackendStoreError)) as stored:
        backend.store_result(new(), "s3cret", states.SUCCESS)
    with pytest.raises(exc.DBAPIError) as read:
        backend.get_task_meta(new(), cache=False)
    assert time.monotonic() - started < 5
    assert said in str(stored.value)
    assert said in str(read.value)
    assert "s3cret" not in str(stored.value)
    existing = broken.server.sql(
        "SELECT table_name FROM information_schema.tables WHERE table_name = 'celery_taskmeta' AND table_schema IN"
        f" ('results', '{broken.database}') AND table_catalog IN ('def', '{broken.database}')",
        database=broken.database,
    )
    assert len(existing) == (missing == "right")


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (os.environ["TRAP"],))


def test_a_planted_pickle_runs_nothing(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAP", str(tmp_path / "sprung"))
    table = "results.celery_taskmeta" if store.kind == "postgresql" else "celery_taskmeta"
    task = new()
    key = time.time_ns() // 1000
    store.server.sql(
        f"INSERT INTO {table} (id, task_id, status, result) VALUES (%s, %s, 'SUCCESS', %s)",
        key,
        task,
        pickle.dumps(Trap()),
        database=store.database,
    )
    with pytest.raises(ContentDisallowed, match="could run code"):
        store.application().backend.get_task_meta(task, cache=False)
    assert not (tmp_path / "sprung").exists()
    store.application("stock").backend.get_task_meta(task, cache=False)
    assert (tmp_path / "sprung").exists()


def test_the_date_is_utc_whatever_the_session_is(postgresql: SqlServer) -> None:
    store, task = Store(postgresql), new()
    postgresql.sql(f"ALTER ROLE {store.user} SET timezone = 'America/New_York'")
    app = store.application(changes={"pooler": "session"}, timezone="Asia/Tokyo")
    app.backend.store_result(task, 1, states.SUCCESS)
    ((date,),) = store.rows("date_done", task)
    assert abs(date - datetime.now(UTC).replace(tzinfo=None)).total_seconds() < 60


def test_a_name_that_is_not_in_the_certificate_is_refused(store: Store) -> None:
    assert store.application(changes={"hosts": ["127.0.0.1"]}).backend.get_task_meta(new())["status"] == states.PENDING
    for profile in ("stock", "fast"):
        app = store.application(profile, changes={"hosts": ["127.0.0.2"]}, result_backend_always_retry=False)
        with pytest.raises(exc.OperationalError, match="certificate"):
            app.backend.get_task_meta(new())


def test_plaintext_is_refused_by_the_server(store: Store) -> None:
    plain = {"tls": False, "ca_file": ""}
    with pytest.raises(exc.OperationalError, match=r"no encryption|Access denied"):
        store.application(changes=plain, result_backend_always_retry=False).backend.get_task_meta(new())


def test_the_cleanup_of_celery_does_nothing(store: Store) -> None:
    app, task = store.application(), new()
    app.backend.store_result(task, 1, states.SUCCESS)
    app.backend.cleanup()
    assert app.backend.task_result_exists(task)


def test_other_databases_are_refused() -> None:
    app = Celery("probe", set_as_current=False)
    app.conf.result_backend = "celerysqlresults.FastDatabaseBackend+sqlite:///x"
    with pytest.raises(ImproperlyConfigured, match="does not know sqlite"):
        _backend_of_the_application = app.backend
