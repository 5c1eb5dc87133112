# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real RabbitMQ with TLS and the accounts that the role gives, and clients and workers with the role's settings."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import kombu.pools
import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _backend, _backend_broker, _rabbitmq
from ansible_collections.resultops.celery.tests.unit.rabbitmq_server import RabbitmqServer
from ansible_collections.resultops.celery.tests.unit.replication_set import Authority
from celery import Celery

PASSWORD = "p@ss:/w%rd#?&'\"{{ }}\\ of an account"
# Leads to the same server, but stands in no certificate.
HOST, OTHER_NAME = "127.0.0.1", "127.1"
ROLES = ("worker", "client", "both")
PATIENCE = 20.0
TASKS = """
import json, os, time
from celery import Celery
app = Celery("probe")
app.conf.update(json.loads(os.environ["PROBE_SETTINGS"]))
@app.task(name="probe.echo")
def echo(value):
    return value
@app.task(name="probe.sleep")
def sleep(seconds):
    time.sleep(seconds)
    return seconds
"""


def application(name: str, **more: Any) -> dict[str, Any]:
    """An application as the module rabbitmq_definitions gets it, with an account of each role."""
    usual = {option: entry["default"] for option, entry in _rabbitmq.APPLICATION_OPTIONS.items() if "default" in entry}
    limits = {option: entry["default"] for option, entry in _rabbitmq.USER_OPTIONS.items() if "default" in entry}
    users = [{**limits, "name": f"{name}_{role}", "role": role, "password": PASSWORD} for role in ROLES]
    return {**usual, "name": name, "users": users, **more}


class RpcBroker:
    """Applications of both kinds of queues and permissions: probe, quorum and strict."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self.directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="celery-rpc-")))
        self.authority = Authority(self.directory / "own")
        self.other_authority = Authority(self.directory / "other")
        certificate, key = self.authority.issue("broker", [HOST])
        tls = {
            "ssl_options.cacertfile": str(self.authority.certificate),
            "ssl_options.certfile": str(certificate),
            "ssl_options.keyfile": str(key),
            "ssl_options.verify": "verify_peer",
            "ssl_options.fail_if_no_peer_cert": "false",
        }
        applications = [
            application("probe"),
            application("quorum", queue_type="quorum"),
            application("strict", permissions="strict"),
        ]
        definitions = _rabbitmq.rendered(_rabbitmq.wanted(applications))
        self.server = self._stack.enter_context(RabbitmqServer(tls, definitions))
        return self

    def __exit__(self, *details: object) -> None:
        kombu.pools.reset()
        self._stack.__exit__(*details)

    def url(self, account: str, host: str = HOST, **changes: Any) -> str:
        password = changes.pop("password", PASSWORD)
        place = {"hosts": [host], "port": self.server.port, "virtual_host": account.rpartition("_")[0]}
        return _backend_broker.amqp_url({"username": account, **place, **changes}, password)

    def settings(self, account: str, url: str = "", **changes: Any) -> dict[str, Any]:
        """What the role writes."""
        found = url or self.url(account)
        quorum = {"task_default_queue_type": "quorum"} if account.startswith("quorum") else {}
        return {
            **_backend.celery_settings({"kind": "rpc"}, quorum),
            **_backend_broker.broker_settings(found, {"ca_file": str(self.authority.certificate)}),
            "broker_url": found,
            "result_backend": _backend.backend_url({"kind": "rpc"}),
            **changes,
        }

    def module(self, account: str, url: str = "", **changes: Any) -> Any:
        """The same as an object, which stands for celeryconfig.py."""
        return SimpleNamespace(**self.settings(account, url, **changes))

    def client(self, account: str = "probe_client", **changes: Any) -> Celery:
        app = Celery("probe", set_as_current=False)
        app.conf.update(self.settings(account, **changes))
        return app

    @contextlib.contextmanager
    def worker(
        self, account: str = "probe_worker", *arguments: str, script: str = "", **changes: Any
    ) -> Iterator[None]:
        """A worker that consumes tasks; the script ends its module."""
        folder = Path(tempfile.mkdtemp(dir=self.directory))
        (folder / "probe_tasks.py").write_text(TASKS + script)
        log = folder / "worker.log"
        command = [sys.executable, "-m", "celery", "--app", "probe_tasks", "worker", "--pool", "solo", "-l", "info"]
        environment = {**os.environ, "PROBE_SETTINGS": json.dumps(self.settings(account, **changes))}
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, *arguments],
                cwd=folder,
                env=environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            deadline = time.monotonic() + PATIENCE
            while b" ready." not in log.read_bytes():
                if process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"The worker does not start: {log.read_text()[-2000:]}")
                time.sleep(0.1)
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def queues(self, vhost: str = "probe") -> dict[str, dict[str, Any]]:
        """The queues of clients."""
        rows = json.loads(
            self.server.ctl("list_queues", "-p", vhost, "name", "consumers", "messages", "--formatter", "json") or "[]"
        )
        return {row["name"]: row for row in rows if len(row["name"]) == 36 and "." not in row["name"]}
