#!/usr/bin/python
# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: task_roundtrip
short_description: Send a task through a real Celery worker and read its result
version_added: 0.1.0
author: ResultOps engineers (@resultops)
description:
  - Publishes Celery's built-in task C(celery.accumulate), which every worker knows, through the broker of the worker,
    waits for the result that a real worker stores, and reads it back.
  - Any worker of the queue may take the task. With O(worker_app) the worker of this host has to answer first.
  - Each hop is one row with its time. The first failed row names the hop that does not work, and the failure class.
  - If no result comes, the module asks the workers why. It tells a missing worker, a worker for other queues, a queue
    that waits, and a worker that took the task but cannot store its result from each other.
  - The task expires after O(timeout) seconds, and its result is deleted.
  - With results that come back by C(rpc), the answer comes through RabbitMQ's direct reply-to, because the account of a
    worker need not have a queue of results. Nobody else can read it, so V(roundtrip_read) is skipped.
  - Run it with the Python interpreter of the worker's virtual environment, as the user of the worker.
requirements:
  - celery with the client libraries of broker and backend, in the interpreter that runs the module
extends_documentation_fragment:
  - resultops.celery._attributes.posix
  - resultops.celery._attributes.info
  - resultops.celery._attributes
attributes:
  check_mode:
    details: In check mode the module connects to the broker and publishes nothing.
options:
  env_file:
    description: The environment file of the worker, in the syntax of a systemd C(EnvironmentFile).
    type: path
    required: true
  config_directory:
    description: The directory of the configuration module.
    type: path
    required: true
  config_module:
    description: The name of the configuration module.
    type: str
    default: celeryconfig
  queue:
    description: The queue to publish to. Without it, the worker's own routes and default queue decide.
    type: str
  worker_app:
    description:
      - The application whose worker on this host has to answer before the task is published. The name of that worker is
        this, C(@) and the host name, as the role P(resultops.celery.worker#role) sets it in C(celery-APP.service).
      - Without it, or if C(worker_enable_remote_control) is off in the configuration, the hop is skipped.
    type: str
  timeout:
    description: Seconds to wait for the result, and for a single answer of broker or backend.
    type: float
    default: 10
  report_only:
    description:
      - Return failed checks in RV(checks) without failing the task, to gather those of all hosts first.
      - Whoever sets it has to look at RV(failed_checks). A crash of the module still fails the task.
    type: bool
    default: false
seealso:
  - module: resultops.celery.result_backend_check
"""

EXAMPLES = r"""
- name: See that the worker of this host answers, and that the result of a task comes back
  resultops.celery.task_roundtrip:
    env_file: /etc/celery/app/.env
    config_directory: /etc/celery/app
    worker_app: app
  become: true
  become_user: celery
  vars:
    ansible_python_interpreter: /opt/celery/app/venv/bin/python

- name: See that a worker consumes the queue for reports
  resultops.celery.task_roundtrip:
    env_file: /etc/celery/app/.env
    config_directory: /etc/celery/app
    queue: reports
  become: true
  become_user: celery
  vars:
    ansible_python_interpreter: /opt/celery/app/venv/bin/python
"""

RETURN = r"""
checks:
  description: >-
    One row for each hop, in their order: V(roundtrip_config), V(roundtrip_broker), V(roundtrip_ping),
    V(roundtrip_subscribe), V(roundtrip_publish), V(roundtrip_worker), V(roundtrip_read) and V(roundtrip_delete). If a
    worker took the task but its result did not come, there is V(roundtrip_store) too.
  returned: always
  type: list
  elements: dict
  contains:
    check:
      description: The name of the hop.
      type: str
      sample: roundtrip_worker
    backend:
      description: The kind of the backend, or V(unknown) if the configuration does not tell.
      type: str
      sample: redis
    host:
      description: Empty; the filter P(resultops.celery.verify_report#filter) adds the host.
      type: str
      sample: ""
    status:
      description: One of V(passed), V(failed) and V(skipped).
      type: str
      sample: failed
    failure_class:
      description: The class of the failure, or none.
      type: str
      sample: no_worker
    seconds:
      description: How long the hop took.
      type: float
      sample: 10.012
    detail:
      description: What was found, or what went wrong and the likely remedy. Never contains a secret.
      type: str
      sample: No worker answers through this broker. Start a worker that consumes this queue and uses this broker.
failed_checks:
  description: How many hops failed.
  returned: always
  type: int
  sample: 1
"""

import contextlib
import socket
import time
from importlib import import_module
from types import ModuleType
from typing import Any
from uuid import uuid4

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.resultops.celery.plugins.module_utils import _backend_broker as broker
from ansible_collections.resultops.celery.plugins.module_utils import _celery_client as client
from ansible_collections.resultops.celery.plugins.module_utils import _report

# RabbitMQ answers through it without any queue.
DIRECT_REPLY = "amq.rabbitmq.reply-to"
HOPS = ["broker", "ping", "subscribe", "publish", "worker", "read", "delete"]
TASK = "celery.accumulate"
PATIENCE_WITH_WORKERS = 2.0
REDIS_SCHEMES = ("redis", "rediss", "sentinel")
LOOK_AT_WORKER = "Look into the log of the worker."


class Roundtrip:
    """One probe task on its way to a worker and back."""

    def __init__(self, settings: ModuleType, queue: str | None, timeout: float, worker_app: str | None = None) -> None:
        self._settings = settings
        self._timeout = timeout
        self._app = client.application(settings, timeout, broker_connection_timeout=timeout)
        url = str(self._app.conf.broker_url or "")
        if not url:
            raise client.CheckFailedError(
                "config", "Celery has no broker; set CELERY_BROKER_URL in the environment file."
            )
        if broker.is_amqp(url):
            client.limit_broker(self._app, timeout)
        self.urls = [url, str(self._app.conf.result_backend or "")]
        if url.partition("://")[0] in REDIS_SCHEMES:
            self._app.conf.broker_transport_options = {
                **(self._app.conf.broker_transport_options or {}),
                "socket_timeout": timeout,
                "socket_connect_timeout": timeout,
            }
        self._queue = queue
        self._worker_app = worker_app
        self._task = str(uuid4())
        self._nonce = str(uuid4())

    @property
    def backend(self) -> str:
        return client.backend_kind(self._app.conf.result_backend)

    @property
    def queue(self) -> str:
        return self._queue or str(self._app.amqp.router.route({}, TASK)["queue"].name)

    def broker(self) -> str:
        with self._app.connection_for_write() as connection:
            connection.connect()
            return (
                f"Connected to the broker {connection.transport.driver_type} on {connection.as_uri().split('@')[-1]}."
            )

    @property
    def no_ping(self) -> str | None:
        """Say why the worker of this host is not asked, if it is not."""
        if not self._worker_app:
            return "Skipped because no worker is named."
        if not self._app.conf.worker_enable_remote_control:
            return "Skipped because worker_enable_remote_control is off."
        return None

    def ping(self) -> str:
        name = f"{self._worker_app}@{socket.gethostname()}"
        if not self._app.control.ping(destination=[name], timeout=self._timeout):
            raise client.CheckFailedError(
                "no_worker",
                f"The worker {name} does not answer within {self._timeout:g} s: it does not run, hangs, or uses "
                f"another broker. Look at the unit celery-{self._worker_app}.service and its journal on this host.",
            )
        return f"The worker {name} answers."

    @property
    def no_read(self) -> str | None:
        """Say why nobody else can read the result, if nobody can."""
        return None

    def subscribe(self) -> str:
        self._app.backend.on_task_call(None, self._task)
        return "Waiting for the notification of the result."

    def publish(self) -> str:
        self._send()
        return f"Published {TASK} to the queue {self.queue}."

    def _send(self, **options: object) -> None:
        self._app.send_task(
            TASK,
            args=[self._nonce],
            kwargs={"index": 0},
            task_id=self._task,
            queue=self._queue,
            expires=self._timeout,
            retry=False,
            **options,
        )

    def worker(self) -> str:
        answer = self._app.AsyncResult(self._task).get(timeout=self._timeout)
        self._expect(answer)
        return "A worker ran the task, stored its result, and the notification arrived."

    def read(self) -> str:
        backend = client.application(self._settings, self._timeout).backend
        meta = backend.get_task_meta(self._task, cache=False)
        if meta["status"] != "SUCCESS":
            raise client.CheckFailedError(
                "unknown", f"The stored state is {meta['status']} instead of SUCCESS. {client.REMEDIES['unknown']}"
            )
        self._expect(meta["result"])
        return "Another connection read the same result."

    def _expect(self, answer: object) -> None:
        if answer != self._nonce:
            raise client.CheckFailedError(
                "serializer", f"The result came back changed. {client.REMEDIES['serializer']}"
            )

    def delete(self) -> str:
        backend = self._app.backend
        backend.forget(self._task)
        if backend.get_task_meta(self._task, cache=False)["status"] != "PENDING":
            raise client.CheckFailedError("unknown", "The deleted result is still there.")
        return "The result was deleted."

    def who_took_it(self) -> str:
        """Return the worker that holds the task or may have run it; raise if the task did not get that far."""
        if not self._app.conf.worker_enable_remote_control:
            if broker.is_amqp(self.urls[0]) and not self._counts()[1]:
                raise client.CheckFailedError(
                    "no_worker", f"Nobody consumes the queue {self.queue}. {client.REMEDIES['no_worker']}"
                )
            self._refuse_waiting()
            return "A worker"
        names = [name for answer in self._app.control.ping(timeout=PATIENCE_WITH_WORKERS) for name in answer]
        if not names:
            raise client.CheckFailedError(
                "no_worker",
                f"No worker answers through this broker: none runs, or all hang. {client.REMEDIES['no_worker']}",
            )
        inspect = self._app.control.inspect(destination=names, timeout=PATIENCE_WITH_WORKERS)
        queues = inspect.active_queues() or {}
        consumers = [name for name, found in queues.items() if any(entry["name"] == self.queue for entry in found)]
        if not consumers:
            raise client.CheckFailedError(
                "no_worker",
                f"Workers answer ({', '.join(sorted(names))}), but none consumes the queue {self.queue}. "
                "Add the queue to those of a worker, or name one that is consumed.",
            )
        for name, tasks in (inspect.query_task(self._task) or {}).items():
            if any(state == "active" for state, _request in tasks.values()):
                return str(name)
        self._refuse_waiting()
        return " or ".join(sorted(consumers))

    def _refuse_waiting(self) -> None:
        waiting = self._counts()[0]
        if waiting:
            raise client.CheckFailedError(
                "timeout",
                f"{waiting} messages wait in the queue {self.queue}, because its workers are busy or hang. "
                f"{LOOK_AT_WORKER}",
            )

    def _counts(self) -> tuple[int, int]:
        """The messages in the queue, and its consumers as far as the broker knows them."""
        with self._app.connection_for_read() as connection:
            try:
                found = connection.default_channel.queue_declare(self.queue, passive=True)
            except connection.channel_errors:
                # An empty queue of a Redis broker does not exist.
                return 0, 0
            return int(found.message_count), int(found.consumer_count)

    def store(self, worker: str) -> str:
        """Explain why a worker that has the task does not store its result."""
        self._store_here()
        raise client.CheckFailedError(
            "unknown",
            f"{worker} took the task, but no result came, although this host can store results. {LOOK_AT_WORKER} "
            "It may use another result backend, user or password.",
        )

    def _store_here(self) -> None:
        backend = client.application(self._settings, self._timeout).backend
        backend.store_result(self._task, None, "PENDING")


class RpcRoundtrip(Roundtrip):
    """The same for an account that may have no queue of results."""

    def __init__(self, settings: ModuleType, queue: str | None, timeout: float, worker_app: str | None = None) -> None:
        super().__init__(settings, queue, timeout, worker_app)
        self._answers: dict[str, Any] = {}
        self._connection: Any = None

    @property
    def no_read(self) -> str | None:
        return "Skipped because with rpc only who sent a task can read its result."

    def subscribe(self) -> str:
        kombu = import_module("kombu")
        self._connection = self._app.connection_for_write()
        consumer = kombu.Consumer(
            self._connection.default_channel,
            [kombu.Queue(DIRECT_REPLY, no_declare=True)],
            no_ack=True,
            accept=self._app.backend.accept,
            on_message=lambda message: self._answers.update({message.properties.get("correlation_id"): message}),
            auto_declare=False,
        )
        consumer.consume()
        return "Waiting for the answer."

    def _send(self, **options: object) -> None:
        # Celery would make a queue for the result.
        self._app.backend.on_task_call = lambda *_arguments: None
        producer = self._app.amqp.Producer(self._connection.default_channel)
        super()._send(producer=producer, reply_to=DIRECT_REPLY, **options)

    def worker(self) -> str:
        deadline = time.monotonic() + self._timeout
        while self._task not in self._answers:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"No answer came within {self._timeout:g} s")
            with contextlib.suppress(TimeoutError):
                self._connection.drain_events(timeout=left)
        self._expect(self._answers[self._task].payload["result"])
        return "A worker ran the task and sent its result."

    def delete(self) -> str:
        self._connection.close()
        return "The answer needed no queue."

    def _store_here(self) -> None:
        backend = client.application(self._settings, self._timeout).backend
        client.limit_broker(backend.app, self._timeout, confirm_publish=True)
        request = import_module("celery.app.task").Context(reply_to=str(uuid4()), correlation_id=self._task)
        backend.store_result(self._task, None, "PENDING", request=request)


def explain_silence(run: client.CheckRun, probe: Roundtrip) -> None:
    """Replace the row of a worker that did not answer by what its silence means."""
    silence = run.rows.pop()
    found: list[str] = []

    def worker() -> str:
        found.append(probe.who_took_it())
        return f"{found[0]} took the task."

    run.run("roundtrip_worker", worker)
    run.rows[-1]["seconds"] = silence["seconds"]
    if found:
        run.run("roundtrip_store", lambda: probe.store(found[0]))


def run_hops(run: client.CheckRun, probe: Roundtrip, check_mode: bool) -> None:
    subscribed = False
    for position, hop in enumerate(HOPS[:-1]):
        if check_mode and hop == "ping":
            run.skip([f"roundtrip_{rest}" for rest in HOPS[position:]], "Skipped in check mode, because it publishes.")
            return
        if hop == "ping" and probe.no_ping:
            run.skip(["roundtrip_ping"], probe.no_ping)
            continue
        if hop == "read" and probe.no_read:
            run.skip(["roundtrip_read"], probe.no_read)
            continue
        if not run.run(f"roundtrip_{hop}", getattr(probe, hop)):
            failed = hop
            if hop == "worker" and run.rows[-1]["failure_class"] == "timeout":
                explain_silence(run, probe)
                failed = run.rows[-1]["check"].removeprefix("roundtrip_")
            run.skip([f"roundtrip_{rest}" for rest in HOPS[position + 1 : -1]], f"Skipped because {failed} failed.")
            break
        subscribed = subscribed or hop == "subscribe"
    if subscribed:
        run.run("roundtrip_delete", probe.delete)
    else:
        run.skip(["roundtrip_delete"], "Skipped because nothing was published.")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "env_file": {"type": "path", "required": True},
            "config_directory": {"type": "path", "required": True},
            "config_module": {"type": "str", "default": "celeryconfig"},
            "queue": {"type": "str"},
            "worker_app": {"type": "str"},
            "timeout": {"type": "float", "default": 10},
            "report_only": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    if wanted["timeout"] <= 0:
        module.fail_json(msg=f"The timeout is {wanted['timeout']}, but it must be more than 0 seconds.")
    run = client.CheckRun("unknown")
    probes: list[Roundtrip] = []

    def config() -> str:
        settings = client.load_settings(
            wanted["env_file"], wanted["config_directory"], wanted["config_module"], run.redact
        )
        uses_rpc = str(client.application(settings, wanted["timeout"]).conf.result_backend).startswith("rpc://")
        kind_of_probe = RpcRoundtrip if uses_rpc else Roundtrip
        probe = kind_of_probe(settings, wanted["queue"], wanted["timeout"], wanted["worker_app"])
        for url in probe.urls:
            run.redact.learn_url(url)
        run.backend = probe.backend
        probes.append(probe)
        return f"Loaded {wanted['config_module']} and {wanted['env_file']}."

    if run.run("roundtrip_config", config, otherwise="config"):
        run_hops(run, probes[0], module.check_mode)
    else:
        run.skip([f"roundtrip_{hop}" for hop in HOPS], "Skipped because roundtrip_config failed.")
    failures = run.failures
    result = {"changed": False, "checks": run.rows, "failed_checks": len(failures)}
    if failures and not wanted["report_only"]:
        module.fail_json(msg=_report.failure_sentence(failures[0]), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
