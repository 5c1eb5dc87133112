# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The writer against a real server that goes away, and its records when nobody is left to read them."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _celery_client as client
from ansible_collections.resultops.celery.plugins.module_utils import _writer

RUN = "test-1"


@pytest.fixture
def application(monkeypatch: pytest.MonkeyPatch, worker_settings: Callable[..., Any]) -> Callable[..., Any]:
    """A Celery application for a server, as the module builds it."""

    def build(server: Any, stock: bool = False, **changes: Any) -> Any:
        # Celery reads this variable first, and the writer sets it.
        monkeypatch.setenv("CELERY_RESULT_BACKEND", changes.get("result_backend", server.url()))
        return _writer.application(worker_settings(server, **changes), 600, stock)

    return build


def write(app: Any, directory: Path, seconds: float = 20, **changes: Any) -> dict[str, Any]:
    wanted = {"threads": 2, "rate": 0.0, "most": 40, **changes}
    patience = wanted.pop("patience", 5.0)
    return _writer.Writer(app, str(directory), RUN, **wanted).write(seconds, patience)


def examine(app: Any, directory: Path) -> dict[str, Any]:
    return _writer.examine(app, str(directory), client.Redactor())


def test_what_was_stored_comes_back_and_is_deleted(celery_redis: Any, application: Any, tmp_path: Path) -> None:
    assert write(application(celery_redis), tmp_path)["exhausted"] is True
    assert celery_redis.admin.dbsize() == 40
    assert 0 < celery_redis.admin.ttl(f"celery-task-meta-{_writer.task_id(RUN, 7)}") <= 600
    found = examine(application(celery_redis), tmp_path)
    assert (found["acknowledged"], found["lost"], found["failed_stores"]) == (40, 0, 0)
    assert (found["deleted"], found["backend"]) == (True, "RedisBackend")
    assert celery_redis.admin.dbsize() == 0


def test_results_that_are_gone_or_changed_are_lost(celery_redis: Any, application: Any, tmp_path: Path) -> None:
    app = application(celery_redis)
    write(app, tmp_path)
    key = "celery-task-meta-resultops-drill-test-1-{}".format
    celery_redis.admin.delete(key(3), key(17))
    celery_redis.admin.set(key(5), celery_redis.admin.get(key(6)))
    celery_redis.admin.set(key(8), celery_redis.admin.get(key(8)).replace("SUCCESS", "FAILURE"))
    found = examine(app, tmp_path)
    assert (found["acknowledged"], found["lost"]) == (40, 4)
    assert found["lost_examples"] == [_writer.task_id(RUN, number) for number in (3, 5, 8, 17)]


def test_a_server_that_restarts_costs_time_and_nothing_else(
    celery_redis_factory: Any, application: Any, tmp_path: Path, wait_until: Callable[[Callable[[], bool]], None]
) -> None:
    server = celery_redis_factory()

    def restart() -> None:
        wait_until((tmp_path / "ready").exists)
        server.kill()
        time.sleep(1.0)
        server.start()
        back = time.monotonic()
        wait_until(lambda: any(r.outcome == "a" and r.ended > back for r in _writer.read_records(str(tmp_path))))
        (tmp_path / "stop").touch()

    helper = threading.Thread(target=restart, daemon=True)
    helper.start()
    write(application(server), tmp_path, rate=200.0, most=10000)
    helper.join()
    found = examine(application(server), tmp_path)
    assert found["acknowledged"] > 2
    assert (found["lost"], found["failed_stores"]) == (0, 0)
    assert 900 < found["blocked_ms"] < 9000
    assert abs(found["blocked_at"] - time.time()) < 60


def test_a_store_that_raises_is_failed(celery_redis: Any, application: Any, tmp_path: Path) -> None:
    celery_redis.admin.execute_command("ACL", "SETUSER", "celery", "-setex")
    app = application(celery_redis, result_backend_always_retry=False)
    write(app, tmp_path, most=6)
    found = examine(app, tmp_path)
    assert (found["acknowledged"], found["lost"], found["failed_stores"]) == (0, 0, 6)


def test_a_store_that_does_not_end_is_failed_and_ends_no_later(
    celery_redis: Any, application: Any, tmp_path: Path
) -> None:
    app = application(celery_redis)
    celery_redis.send(signal.SIGSTOP)
    began = time.monotonic()
    try:
        about = write(app, tmp_path, seconds=1.0, patience=0.5)
    finally:
        celery_redis.send(signal.SIGCONT)
    assert time.monotonic() - began < 5
    assert about["unfinished"] == 2
    found = examine(application(celery_redis), tmp_path)
    assert (found["acknowledged"], found["failed_stores"], found["unfinished"]) == (0, 2, 2)
    assert found["blocked_ms"] >= 1400


def test_the_rate_bounds_all_threads_together(celery_redis: Any, application: Any, tmp_path: Path) -> None:
    app = application(celery_redis)
    write(app, tmp_path, seconds=1.5, rate=100.0, threads=4, most=10000)
    found = examine(app, tmp_path)
    assert 100 <= found["acknowledged"] <= 160


def test_an_error_of_the_connection_is_no_loss(
    celery_redis_factory: Any, application: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = celery_redis_factory()
    app = application(server, result_backend_always_retry=False, redis_socket_connect_timeout=1)
    write(app, tmp_path)
    server.kill()
    monkeypatch.setattr(_writer, "READ_ATTEMPTS", 1)
    with pytest.raises(Exception, match="refused"):
        examine(app, tmp_path)


def test_the_records_of_a_killed_writer_count(celery_redis: Any, application: Any, tmp_path: Path) -> None:
    app = application(celery_redis)
    write(app, tmp_path)
    about = json.loads((tmp_path / "about.json").read_text())
    del about["stopped"]
    (tmp_path / "about.json").write_text(json.dumps(about))
    with (tmp_path / "records-0").open("a") as records:
        records.write("99 a 1.0 2")
    found = examine(app, tmp_path)
    assert (found["acknowledged"], found["lost"]) == (40, 0)


def test_a_directory_without_a_writer(celery_redis: Any, application: Any, tmp_path: Path) -> None:
    with pytest.raises(client.CheckFailedError, match="No writer has left its records"):
        examine(application(celery_redis), tmp_path)


def block(*records: tuple[int, str, float, float], **about: Any) -> tuple[float, float]:
    wanted = {"started": 100.0, "stopped": 110.0, "clock": 1000.0, "exhausted": False, **about}
    return _writer.longest_block([_writer.Record(*record) for record in records], wanted)


def test_the_longest_block() -> None:
    stores = [(number, "a", 100.0 + number, 100.5 + number) for number in range(10)]
    assert block(*stores)[0] == 1.0
    assert block(*stores[:4], *stores[7:]) == (4.0, 1103.5)
    # One thread that hangs while others go on is a block for whoever waits for it.
    assert block(*stores, (10, "f", 101.0, 107.0)) == (6.0, 1101.0)
    # Nothing succeeds until the end.
    assert block(*stores[:2]) == (8.5, 1101.5)
    assert block(*stores[:2], exhausted=True) == (1.0, 1100.5)
    assert block() == (10.0, 1100.0)


def test_what_remains_of_the_settings_for_the_comparison(celery_redis: Any, application: Any, tmp_path: Path) -> None:
    app = application(
        celery_redis, stock=True, result_backend=f"celeryresults.DurableRedisBackend+{celery_redis.url()}"
    )
    assert app.conf.result_backend == os.environ["CELERY_RESULT_BACKEND"] == celery_redis.url()
    assert app.conf.result_backend_always_retry is False
    assert app.conf.redis_socket_timeout == 120.0
    write(app, tmp_path)
    assert examine(app, tmp_path)["acknowledged"] == 40


def test_timeouts_of_sentinels_are_not_kept_for_the_comparison() -> None:
    encrypted = {"ssl": True, "ssl_ca_certs": "/ca.crt", "username": "client", "password": "x"}
    settings: Any = SimpleNamespace(
        redis_backend_use_ssl={"ssl_ca_certs": "/ca.crt", "retry": object()},
        redis_socket_timeout=1,
        result_serializer="msgpack",
        result_backend_transport_options={
            "master_name": "results",
            "global_keyprefix": "shop",
            "retry_policy": {"max_retries": 1},
            "sentinel_kwargs": {**encrypted, "socket_timeout": 1, "socket_connect_timeout": 1, "retry": object()},
        },
    )
    assert _writer.stock_settings(settings) == {
        "redis_backend_use_ssl": {"ssl_ca_certs": "/ca.crt"},
        "result_serializer": "msgpack",
        "result_backend_transport_options": {
            "master_name": "results",
            "global_keyprefix": "shop",
            "sentinel_kwargs": encrypted,
        },
    }
    url = "sentinel://:x@a:26379/0;sentinel://b:26379/0"
    assert _writer.stock_url(f"celeryresults.DurableSentinelBackend+{url}") == _writer.stock_url(url) == url


def test_without_a_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CELERY_RESULT_BACKEND", raising=False)
    settings: Any = SimpleNamespace()
    with pytest.raises(client.CheckFailedError, match="Celery has no result backend"):
        _writer.application(settings, 600, False)
