# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Time the way of a task that does nothing and back: rpc beside Redis and PostgreSQL, each over TLS.

Starts its own servers on loopback. The broker is one RabbitMQ with TLS and the accounts that the role gives to clients
and workers; only the result comes back another way, with the settings and classes of the role worker. Beside them
stands one bare request with its answer, through a queue of replies as rpc uses it and through the server's direct
reply-to, which is the most that the latter could give. All variants take turns in one process, in a random order each
round, so that a load on the machine meets all of them. What counts is the ratio of the medians, with a bootstrap
interval of 95 %. The result is reports/bench_rpc.json.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import kombu
import sqlalchemy
from ansible_collections.resultops.celery.benchmarks.redis_store import REPORT as REDIS_REPORT
from ansible_collections.resultops.celery.benchmarks.redis_store import (
    Server,
    certificate,
    free_port,
    interval,
    server_program,
)
from celery import Celery
from celery.backends.database.session import ResultModelBase

FILES = Path(__file__).resolve().parents[1] / "roles" / "worker" / "files"
REPORT = REDIS_REPORT.with_name("bench_rpc.json")
RPC = "rpc"
ON_LOOPBACK = {"hosts": ["localhost"], "tls": True}
# Celery's own class beside ours; rpc has only one.
PROFILES = ("stock", "fast")
# Between two looks at a table; Celery's own is half a second, which would be all that is measured.
DATABASE_INTERVAL = 0.005
PATIENCE = 60.0
PASSWORDS = {role: f"benchmark of the {role} on loopback" for role in ("worker", "client")}
TASKS = """
import json, os
from celery import Celery
app = Celery("bench")
app.conf.update(json.loads(os.environ["BENCH_SETTINGS"]))
@app.task(name="bench.nothing")
def nothing(value=None):
    return value
"""
# Answers a request where it says that it wants to be answered.
ECHO = """
import json, os, kombu
url, tls = json.loads(os.environ["BENCH_ECHO"])
with kombu.Connection(url, ssl=tls) as connection:
    channel = connection.channel()
    def answer(message):
        channel.basic_publish(channel.prepare_message(message.body,
            content_type="text/plain", content_encoding="utf-8",
            properties={"correlation_id": message.properties["correlation_id"]}), exchange="",
            routing_key=message.properties["reply_to"])
    queue = kombu.Queue("bare", no_declare=True, channel=channel)
    consumer = kombu.Consumer(channel, [queue], no_ack=True, on_message=answer, auto_declare=False)
    consumer.consume()
    while True:
        try:
            connection.drain_events(timeout=5)
        except TimeoutError:
            pass
"""


class Bare:
    """One request and its answer with Kombu; Celery does the same and more."""

    def __init__(self, url: str, tls: dict[str, Any], *, direct: bool) -> None:
        self.connection = kombu.Connection(url, ssl=tls)
        self.channel = self.connection.channel()
        self.reply_to = "amq.rabbitmq.reply-to" if direct else str(uuid.uuid4())
        if not direct:
            arguments = {"x-expires": 60000}
            self.channel.queue_declare(self.reply_to, durable=True, auto_delete=True, arguments=arguments)
        self.answers: set[str] = set()
        self.channel.basic_consume(self.reply_to, no_ack=True, callback=self._take, consumer_tag="bench")

    def _take(self, message: Any) -> None:
        self.answers.add(message.properties["correlation_id"])

    def __call__(self) -> None:
        task = str(uuid.uuid4())
        properties = {"reply_to": self.reply_to, "correlation_id": task}
        message = self.channel.prepare_message(
            "x", content_type="text/plain", content_encoding="utf-8", properties=properties
        )
        self.channel.basic_publish(message, exchange="", routing_key="bare")
        while task not in self.answers:
            self.connection.drain_events(timeout=PATIENCE)
        self.answers.clear()


def one_shot(url: str, tls: dict[str, Any], *, direct: bool) -> Callable[[], None]:
    """A client that connects, asks once and goes."""

    def ask() -> None:
        bare = Bare(url, tls, direct=direct)
        bare()
        bare.connection.close()

    return ask


def round_trip(app: Celery, queue: str, **options: Any) -> Callable[[], None]:
    def ask() -> None:
        app.send_task("bench.nothing", queue=queue, routing_key=queue).get(timeout=PATIENCE, **options)

    return ask


@contextlib.contextmanager
def variants(names: list[str]) -> Iterator[dict[str, Callable[[], None]]]:
    """What is measured, by its name, while servers and workers run."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        tls = certificate(folder)
        (folder / "bench_tasks.py").write_text(TASKS, encoding="utf-8")
        ca_file = tls["tls-ca-cert-file"]
        ssl = {"ca_certs": ca_file, "cert_reqs": 2, "server_hostname": None}
        broker = stack.enter_context(rabbitmq(tls))
        urls = {
            role: f"amqps://bench_{role}:{quote(word, safe='')}@localhost:{broker.port}/bench"
            for role, word in PASSWORDS.items()
        }
        backends = {RPC: as_role({"kind": "rpc"}, "")}
        if "redis" in names:
            redis = Server(server_program(folder), folder / "redis", tls)
            stack.callback(redis.stop)
            redis.start()
            # The account without a password takes any.
            description = {"kind": "redis", "username": "default", "port": redis.port, "ca_file": ca_file}
            for profile in PROFILES:
                backends[f"Redis, {profile}"] = as_role({**description, **ON_LOOPBACK, "profile": profile}, "none")
        if "postgresql" in names:
            backends |= stack.enter_context(postgresql())
        measured: dict[str, Callable[[], None]] = {}
        for kind, backend in backends.items():
            settings = {"broker_use_ssl": ssl, **backend}
            queue = kind.lower().replace(", ", "-")
            stack.enter_context(worker(folder, queue, {**settings, "broker_url": urls["worker"]}))
            app = Celery(f"bench-{queue}", set_as_current=False)
            app.conf.update({**settings, "broker_url": urls["client"]})
            options = {"interval": DATABASE_INTERVAL} if kind.startswith("PostgreSQL") else {}
            measured[kind] = round_trip(app, queue, **options)
        environment = {**os.environ, "BENCH_ECHO": json.dumps([urls["worker"], ssl])}
        stack.enter_context(process([sys.executable, "-c", ECHO], environment))
        for way, direct in (("reply queue", False), ("direct reply-to", True)):
            measured[f"bare, {way}"] = Bare(urls["client"], ssl, direct=direct)
            measured[f"bare with connection, {way}"] = one_shot(urls["client"], ssl, direct=direct)
        yield measured


def as_role(description: dict[str, Any], password: str) -> dict[str, Any]:
    """Return the settings that the role gives to a worker, in the profile fast where there is one."""
    shared = importlib.import_module("ansible_collections.resultops.celery.plugins.module_utils._backend")
    return {**shared.celery_settings(description), "result_backend": shared.backend_url(description, password)}


@contextlib.contextmanager
def rabbitmq(tls: dict[str, str]) -> Iterator[Any]:
    """A node that speaks TLS only, with the definitions of the role."""
    node = importlib.import_module("ansible_collections.resultops.celery.tests.unit.rabbitmq_server")
    shared = importlib.import_module("ansible_collections.resultops.celery.plugins.module_utils._rabbitmq")
    limits = {"max_connections": 1000, "max_channels": 10000}
    application = {
        "name": "bench",
        "queues": ["rpc", "redis-stock", "redis-fast", "postgresql-stock", "postgresql-fast", "bare"],
        "queue_type": "classic",
        "permissions": "standard",
        "max_connections": 1000,
        "max_queues": 1000,
        "reply_expires": 1800,
        "reply_max_length": 10000,
        "reply_max_bytes": 67108864,
        "users": [
            {"name": f"bench_{role}", "role": role, "password": word, **limits} for role, word in PASSWORDS.items()
        ],
    }
    settings = {
        "ssl_options.cacertfile": tls["tls-ca-cert-file"],
        "ssl_options.certfile": tls["tls-cert-file"],
        "ssl_options.keyfile": tls["tls-key-file"],
        "ssl_options.verify": "verify_peer",
        "ssl_options.fail_if_no_peer_cert": "false",
    }
    with node.RabbitmqServer(settings, shared.rendered(shared.wanted([application])), free_port) as running:
        yield running


@contextlib.contextmanager
def postgresql() -> Iterator[dict[str, Any]]:
    module = importlib.import_module("ansible_collections.resultops.celery.tests.unit.sql_servers")
    with module.Postgresql() as server:
        database = server.create_database()
        server.sql("CREATE ROLE bench LOGIN PASSWORD 'bench on loopback'")
        server.sql("GRANT ALL ON SCHEMA public TO bench", database=database)
        description = {"kind": "postgresql", "username": "bench", "database": database, "port": server.port}
        description |= {**ON_LOOPBACK, "ca_file": str(server.ca_file)}
        backends = {
            f"PostgreSQL, {profile}": as_role({**description, "profile": profile}, "bench on loopback")
            for profile in PROFILES
        }
        # Celery's own tables do for a result of some bytes.
        engine = sqlalchemy.create_engine(backends["PostgreSQL, fast"]["result_backend"].partition("+")[2])
        ResultModelBase.metadata.create_all(engine)
        engine.dispose()
        yield backends


@contextlib.contextmanager
def worker(folder: Path, queue: str, settings: dict[str, Any]) -> Iterator[None]:
    """A worker of one process, without what it says to other workers."""
    celery = [sys.executable, "-m", "celery", "--workdir", str(folder), "--app", "bench_tasks", "worker"]
    quiet = ["--pool", "solo", "--queues", queue, "--loglevel", "error", "--without-gossip", "--without-mingle"]
    environment = {**os.environ, "BENCH_SETTINGS": json.dumps(settings), "PYTHONPATH": f"{folder}:{FILES}"}
    with process([*celery, *quiet, "--hostname", f"{queue}@bench"], environment):
        yield


@contextlib.contextmanager
def process(command: list[str], environment: dict[str, str]) -> Iterator[None]:
    running = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        running.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(10)
        running.kill()


def measure(measured: dict[str, Callable[[], None]], rounds: int, warm_up: int) -> dict[str, list[float]]:
    """Milliseconds of one way of each variant a round, in a random order."""
    times: dict[str, list[float]] = {name: [] for name in measured}
    order = list(measured)
    for number in range(rounds + warm_up):
        random.shuffle(order)
        for name in order:
            started = time.perf_counter()
            measured[name]()
            if number >= warm_up:
                times[name].append((time.perf_counter() - started) * 1e3)
    return times


def row(name: str, ours: list[float], other: list[float], what: str, goal: float | None) -> dict[str, Any]:
    low, high = interval(ours, other)
    ratio = statistics.median(other) / statistics.median(ours)
    return {
        "name": name,
        "ours": round(statistics.median(ours), 2),
        "ours_p99": round(percentile(ours, 0.99), 2),
        "reference": round(statistics.median(other), 2),
        "reference_p99": round(percentile(other, 0.99), 2),
        "reference_what": f"milliseconds through {what}; the ratio is the speed",
        "ratio": round(ratio, 2),
        "low": round(low, 2),
        "high": round(high, 2),
        "goal": goal,
        "met": None if goal is None else ratio >= goal,
    }


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]


def report(times: dict[str, list[float]]) -> list[dict[str, Any]]:
    rows = [
        row(f"task and result: rpc beside {name}", times[RPC], times[name], name, 1.0)
        for name in times
        if name.startswith(("Redis", "PostgreSQL"))
    ]
    for kind in ("bare", "bare with connection"):
        ours, other = times[f"{kind}, direct reply-to"], times[f"{kind}, reply queue"]
        rows.append(row(f"{kind}: direct reply-to", ours, other, "a queue of replies", None))
    rows.append(row("rpc beside one bare request", times[RPC], times["bare, reply queue"], "Kombu alone", None))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2000, help="round trips of each variant (default 2000)")
    parser.add_argument("--warm-up", type=int, default=100, help="rounds before them that do not count (default 100)")
    parser.add_argument("--without", action="append", default=[], choices=["redis", "postgresql"])
    options = parser.parse_args()
    names = [name for name in ("redis", "postgresql") if name not in options.without]
    sys.path.insert(0, str(FILES))
    with variants(names) as measured:
        times = measure(measured, options.rounds, options.warm_up)
    for name, values in times.items():
        print(f"{name:45} p50 {statistics.median(values):7.2f} ms  p99 {percentile(values, 0.99):7.2f} ms")
    rows = report(times)
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    for line in rows:
        print(f"{line['name']}: {line['ratio']} ({line['low']} to {line['high']})")


if __name__ == "__main__":
    main()
