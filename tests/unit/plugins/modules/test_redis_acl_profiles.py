# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The profiles results and broker under a real Celery: enough for all that it does, and no more."""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis
from celery import Celery, chord, group

PASSWORDS = {"admin": "of the admin", "celery": "p@ss:/w%rd#?&'\"{{ }}\\ x", "celery_broker": "the/broker's @:%"}
RESULT_PREFIX, BROKER_PREFIX, DATABASE = "app", "broker:", 2
# redis-py asks for these at each connection and takes no for an answer; servers before 7.2 know neither.
IGNORED = {"client|maint_notifications", "client|setinfo"}

APPLICATION = """
    from celery import Celery

    app = Celery("tasks", broker={broker!r}, backend={backend!r})
    app.conf.update(
        broker_transport_options={{
            "global_keyprefix": "broker:",
            "visibility_timeout": 3,
            "unacked_restore_interval": 1,
            "unacked_restore_throttle": 1,
            "priority_steps": [0, 3, 6, 9],
            "queue_order_strategy": "priority",
            "client_name": "kombu",
        }},
        result_backend_transport_options={{"global_keyprefix": "app", "result_chord_ordered": {ordered}}},
        redis_client_name="results",
        task_send_sent_event=True,
        worker_prefetch_multiplier=1,
        broker_connection_retry_on_startup=True,
    )

    @app.task(shared=False, name="add")
    def add(one, two):
        return one + two

    @app.task(shared=False, name="fail")
    def fail():
        raise ValueError("on purpose")

    @app.task(shared=False, name="retried", bind=True)
    def retried(self):
        if self.request.retries == 0:
            raise self.retry(countdown=0.5)
        return self.request.retries

    @app.task(shared=False, name="slow", acks_late=True)
    def slow(seconds):
        import time

        time.sleep(seconds)
        return seconds
"""


class Deployment:
    """A server with the profiles, an application and its workers."""

    def __init__(self, server: Any, directory: Path, ordered: bool) -> None:
        self.server = server
        self.directory = directory
        self.workers: list[subprocess.Popen[bytes]] = []
        source = APPLICATION.format(broker=self.url("celery_broker"), backend=self.url("celery"), ordered=ordered)
        (directory / "tasks.py").write_text(textwrap.dedent(source))
        self.app: Celery = runpy.run_path(str(directory / "tasks.py"), run_name="tasks")["app"]
        self.tasks = {name: self.app.tasks[name] for name in ("add", "fail", "retried", "slow")}

    def url(self, user: str) -> str:
        authority = quote(str(self.server.directory / "server.crt"), safe="")
        login = f"{user}:{quote(PASSWORDS[user], safe='')}"
        return (
            f"rediss://{login}@127.0.0.1:{self.server.port}/{DATABASE}?ssl_cert_reqs=required&ssl_ca_certs={authority}"
        )

    def start_worker(self, *arguments: str) -> subprocess.Popen[bytes]:
        log = self.directory / f"worker{len(self.workers)}.log"
        command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-l", "info", "-c", "2", "-E", *arguments]
        with log.open("wb") as output:
            worker = subprocess.Popen(
                command, cwd=self.directory, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        self.workers.append(worker)
        deadline = time.monotonic() + 30
        while b" ready." not in log.read_bytes():
            if time.monotonic() > deadline or worker.poll() is not None:
                pytest.fail(log.read_text()[-2000:])
            time.sleep(0.1)
        return worker

    def denied(self) -> set[str]:
        entries = self.server.client("admin", PASSWORDS["admin"]).acl_log()
        return {f"{entry['username']} {entry['reason']} {entry['object']}" for entry in entries} - {
            f"{user} command {command}" for user in PASSWORDS for command in IGNORED
        }


@pytest.fixture
def deployment(
    redis_server: Any, run_on_host: Callable[..., dict[str, Any]], tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Deployment]:
    result = run_on_host(
        "redis_acl",
        path=str(redis_server.acl_file),
        unix_socket=str(redis_server.socket),
        users=[
            {"name": "admin", "password": PASSWORDS["admin"], "profile": "admin"},
            {
                "name": "celery",
                "password": PASSWORDS["celery"],
                "profile": "results",
                "key_prefix": RESULT_PREFIX,
            },
            {
                "name": "celery_broker",
                "password": PASSWORDS["celery_broker"],
                "profile": "broker",
                "key_prefix": BROKER_PREFIX,
                "database": DATABASE,
            },
        ],
    )
    assert result["changed"]
    made = Deployment(redis_server, tmp_path, ordered=getattr(request, "param", True))
    yield made
    made.app.close()
    for worker in made.workers:
        if worker.poll() is None:
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()


def sees_an_event_of_success(app: Celery) -> bool:
    with app.connection_for_read() as connection:

        def stop(_event: dict[str, Any]) -> None:
            receiver.should_stop = True

        receiver = app.events.Receiver(connection, handlers={"task-succeeded": stop})
        app.tasks["add"].apply_async((1, 1), countdown=1)
        deadline = time.monotonic() + 20
        for _event in receiver.itercapture(limit=None, timeout=5):
            if time.monotonic() > deadline:
                break
        return bool(receiver.should_stop)


@pytest.mark.parametrize("deployment", [True, False], ids=["ordered chords", "unordered chords"], indirect=True)
def test_nothing_that_celery_does_is_denied(deployment: Deployment) -> None:
    worker = deployment.start_worker()
    app, add = deployment.app, deployment.tasks["add"]

    assert add.delay(1, 2).get(timeout=10) == 3
    assert [add.apply_async((1, number), priority=number).get(timeout=10) for number in (0, 3, 9)] == [1, 4, 10]
    assert add.apply_async((1, 1), countdown=0.5).get(timeout=10) == 2
    assert deployment.tasks["retried"].delay().get(timeout=10) == 1
    with pytest.raises(ValueError, match="on purpose"):
        deployment.tasks["fail"].delay().get(timeout=10)
    assert group(add.s(number, number) for number in range(4))().get(timeout=10) == [0, 2, 4, 6]

    # Chords run a script, which the server forgets at each restart and failover.
    deployment.server.client("admin", PASSWORDS["admin"]).script_flush()
    assert chord([add.s(number, number) for number in range(4)], add.si(7, 7))().get(timeout=10) == 14
    saved = group(add.s(1, 1) for _number in range(3))()
    saved.save()
    restored = app.GroupResult.restore(saved.id)
    assert restored.get(timeout=10) == [2, 2, 2]
    restored.delete()
    forgotten = add.delay(1, 1)
    forgotten.get(timeout=10)
    forgotten.forget()

    assert app.control.ping(timeout=1)
    inspect = app.control.inspect(timeout=1)
    assert inspect.stats()
    assert inspect.active_queues()
    assert app.control.add_consumer("second", reply=True, timeout=1)
    assert add.apply_async((1, 1), queue="second").get(timeout=10) == 2
    assert sees_an_event_of_success(app)

    killed = deployment.tasks["slow"].delay(2)
    time.sleep(1)
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()
    worker = deployment.start_worker()
    assert killed.get(timeout=20) == 2

    unfinished = [deployment.tasks["slow"].delay(3), add.apply_async((1, 1), countdown=60)]
    time.sleep(1)
    worker.terminate()
    assert worker.wait(timeout=20) == 0
    assert len(unfinished) == 2
    assert app.control.purge() > 0
    assert deployment.denied() == set()


REFUSED = [
    ("FLUSHALL",),
    ("FLUSHDB",),
    ("KEYS", "*"),
    ("SCAN", "0"),
    ("CONFIG", "GET", "*"),
    ("CONFIG", "SET", "maxmemory", "1"),
    ("ACL", "LIST"),
    ("EVAL", "return 1", "0"),
    ("SCRIPT", "FLUSH"),
    ("SHUTDOWN",),
    ("MONITOR",),
    ("CLIENT", "KILL", "ID", "1"),
    ("CLIENT", "LIST"),
    ("REPLICAOF", "NO", "ONE"),
    ("MODULE", "LIST"),
    ("GET", "other"),
    ("GET", "celery-task-meta-x"),
    ("SET", "other_celery-task-meta-x", "1"),
    ("PUBLISH", "celery-task-meta-x", "1"),
    ("SUBSCRIBE", "other"),
    ("PSUBSCRIBE", "*"),
]
FOREIGN = {
    "celery": [("GET", "broker:celery"), ("LLEN", "broker:celery"), ("PUBLISH", "broker:/2.celery.pidbox", "x")],
    "celery_broker": [
        ("GET", "app_celery-task-meta-x"),
        ("SUBSCRIBE", "app_celery-task-meta-x"),
        ("PSUBSCRIBE", "broker:*"),
        ("LPUSH", "celery", "x"),
    ],
}


@pytest.mark.parametrize("user", ["celery", "celery_broker"])
def test_nothing_else_is_allowed(deployment: Deployment, user: str) -> None:
    for command in [*REFUSED, *FOREIGN[user]]:
        client = deployment.server.client(user, PASSWORDS[user])
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.execute_command(*command)
        client.close()
