#!/usr/bin/python
# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: result_backend_check
short_description: Check a Celery result backend as a worker uses it
version_added: 0.1.0
author: ResultOps engineers (@resultops)
description:
  - Loads the environment file and the configuration module of a worker and does with the result backend what Celery
    does. It connects, stores a result, reads it back, waits for one, completes a chord, sees a result expire, and
    deletes what it wrote.
  - Of PostgreSQL, MySQL and MariaDB it first asks with the plain driver for the session, the tables and the rights of
    the account, because Celery would tell their errors badly.
  - Behind sentinels, it first asks each of them as the worker does, and then checks the primary that they name. A
    sentinel that does not answer is named in its row, which only fails if none of them answers.
  - Each step is one row with its time. A failed row names a failure class and the likely remedy. Steps that cannot
    work after a failure are skipped.
  - The probe results have names of their own, expire by themselves, and are deleted also after a failure.
  - Run it with the Python interpreter of the worker's virtual environment, as the user of the worker.
requirements:
  - celery with the client library of the backend, in the interpreter that runs the module
extends_documentation_fragment:
  - resultops.celery._attributes.posix
  - resultops.celery._attributes.info
  - resultops.celery._attributes
attributes:
  check_mode:
    details: In check mode the module connects and signs in, and skips all checks that store something.
options:
  env_file:
    description:
      - The environment file of the worker, in the syntax of a systemd C(EnvironmentFile).
      - Its variables are set before the configuration module is loaded. It has to hold
        C(CELERY_RESULT_BACKEND) unless the module sets C(result_backend).
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
  serializers:
    description:
      - The serializers to store and read results with. Without any, it is the one that the worker uses.
    type: list
    elements: str
    default: []
  checks:
    description:
      - What to check once the connection works. V(store) stores and reads, V(wait) is woken by the notification of a
        result, V(chord) uses groups and chords, V(expire) needs about one second to see a result disappear.
      - On SQL, V(wait) sees the result when it asks again, V(chord) uses a group, and V(expire) sees that Celery plans
        no cleanup of its own beside the purge of the server.
      - With C(rpc), V(store) sends a result through the broker to a queue of the probe and takes it from there, V(wait)
        reads the next one as it comes and sees the queue go with its reader, V(expire) sees a queue of one second
        disappear that nobody reads, and there are no chords.
      - The connection itself is always checked.
    type: list
    elements: str
    choices: [store, wait, chord, expire]
    default: [store, wait, chord, expire]
  timeout:
    description: Seconds that a single answer of the server may take.
    type: float
    default: 10
  reads_results:
    description:
      - Whether the account is one that waits for results. Only with C(rpc), where it then needs queues of its own.
      - Without it only V(store) of O(checks) is done, which sends a result that nobody waits for.
    type: bool
    default: true
    version_added: 0.4.0
  report_only:
    description:
      - Return failed checks in RV(checks) without failing the task, to gather those of all hosts first.
      - Whoever sets it has to look at RV(failed_checks). A crash of the module still fails the task.
    type: bool
    default: false
seealso:
  - module: resultops.celery.task_roundtrip
"""

EXAMPLES = r"""
- name: Check the result backend from a worker host
  resultops.celery.result_backend_check:
    env_file: /etc/celery/app/.env
    config_directory: /etc/celery/app
  become: true
  become_user: celery
  vars:
    ansible_python_interpreter: /opt/celery/app/venv/bin/python

- name: Check that results can be stored in two ways, and leave out what takes longest
  resultops.celery.result_backend_check:
    env_file: /etc/celery/app/.env
    config_directory: /etc/celery/app
    serializers: [json, msgpack]
    checks: [store, wait]
  become: true
  become_user: celery
  vars:
    ansible_python_interpreter: /opt/celery/app/venv/bin/python
"""

RETURN = r"""
checks:
  description: One row for each check, in their order.
  returned: always
  type: list
  elements: dict
  contains:
    check:
      description: The name of the check.
      type: str
      sample: store_json
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
      sample: oom
    seconds:
      description: How long the check took.
      type: float
      sample: 0.004
    detail:
      description: What was found, or what went wrong and the likely remedy. Never contains a secret.
      type: str
      sample: >-
        OutOfMemoryError: command not allowed when used memory > 'maxmemory'. Raise maxmemory of the server, shorten
        result_expires, or store smaller results.
failed_checks:
  description: How many checks failed.
  returned: always
  type: int
  sample: 1
"""

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any
from uuid import uuid4

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.resultops.celery.plugins.module_utils import _celery_client as client
from ansible_collections.resultops.celery.plugins.module_utils import _report
from ansible_collections.resultops.celery.plugins.module_utils._probe import CONNECTION_CHECKS, PAYLOAD, Probe
from ansible_collections.resultops.celery.plugins.module_utils._rpc_probe import AnsweringProbe, RpcProbe
from ansible_collections.resultops.celery.plugins.module_utils._sql_probe import SqlProbe

SENTINEL_CHECKS = ["sentinel_dns", "sentinel_tcp", "sentinel_tls", "sentinel_auth", "primary"]
SHORT_EXPIRY = 1
EXPIRY_PATIENCE = 3.0


class ChordBody:
    """Stands for the body of the probe chord: keeps the results instead of publishing a task."""

    task = "resultops.probe"
    id = "resultops.probe"

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        self.results: Any = None

    def delay(self, results: Any) -> None:
        self.results = results


class HeaderTask:
    """Stands for the request of one task in the header of the probe chord."""

    def __init__(self, group: str, index: int, body: ChordBody) -> None:
        self.id = str(uuid4())
        self.group = group
        self.group_index = index
        self.chord = body


class BackendProbe(Probe):
    """What a worker and a waiting client do with a Redis result backend."""

    lost = "See whether the server evicts keys (maxmemory-policy) or another program deletes them."
    silence = "See that the user may publish and subscribe to the channels celery-task-meta-*."

    def __init__(self, settings: ModuleType, timeout: float) -> None:
        super().__init__(settings, timeout)
        self._keys: set[str] = set()
        self._primaries: list[dict[str, Any]] = []
        self._primary: tuple[str, int] | None = None

    @property
    def connection_checks(self) -> list[str]:
        return [*(SENTINEL_CHECKS if self.sentinels else []), *CONNECTION_CHECKS]

    @property
    def sentinels(self) -> list[tuple[str, int]]:
        return [(str(host["host"]), int(host["port"])) for host in self._backend.connparams.get("hosts", [])]

    @property
    def _sentinel_parameters(self) -> dict[str, Any]:
        """What the worker connects to the sentinels with."""
        options = self._app.conf.result_backend_transport_options
        parameters = {"password": os.environ.get("CELERY_SENTINEL_PASSWORD"), **options.get("sentinel_kwargs", {})}
        return {**parameters, "socket_timeout": self._timeout, "socket_connect_timeout": self._timeout}

    def _of_each_sentinel(self, ask: Callable[[str, int], str]) -> str:
        """Ask all sentinels; one that answers is enough, because the worker then works."""
        answers, errors = [], []
        for host, port in self.sentinels:
            try:
                answers.append(ask(host, port))
            except Exception as error:  # noqa: BLE001 - raised again if no sentinel answers
                errors.append((host, error))
        if not answers:
            raise errors[0][1]
        missing = [f" {host} does not work: {client.explain(error)[1]}" for host, error in errors]
        return f"{len(answers)} of {len(self.sentinels)} sentinels: {answers[0]}{''.join(missing)}"

    def sentinel_dns(self) -> str:
        return self._of_each_sentinel(
            lambda host, _port: f"The name {host} resolves to {', '.join(client.resolve(host, self._timeout))}."
        )

    def sentinel_tcp(self) -> str:
        return self._of_each_sentinel(lambda host, port: client.connect(host, port, self._timeout))

    def sentinel_tls(self) -> str:
        parameters = self._sentinel_parameters

        def ask(host: str, port: int) -> str:
            if parameters.get("ssl"):
                return client.handshake(host, port, parameters, self._timeout)
            if client.speaks_tls(host, port, self._timeout):
                raise client.CheckFailedError(
                    "tls",
                    f"The sentinel on {host} expects TLS, but sentinel_kwargs lacks ssl. Deploy the worker again.",
                )
            return "The connection is not encrypted, because sentinel_kwargs lacks ssl."

        return self._of_each_sentinel(ask)

    def sentinel_auth(self) -> str:
        redis = import_module("redis")
        retry = import_module("redis.retry").Retry(import_module("redis.backoff").NoBackoff(), 0)
        name = str(self._app.conf.result_backend_transport_options.get("master_name"))

        def ask(host: str, port: int) -> str:
            sentinel = redis.Redis(host=host, port=port, **{**self._sentinel_parameters, "retry": retry})
            try:
                self._primaries.append({**sentinel.sentinel_masters().get(name, {}), "sentinel": host})
            finally:
                sentinel.close()
            return f"Signed in as {self._sentinel_parameters.get('username') or 'the default user'}."

        return self._of_each_sentinel(ask)

    def primary(self) -> str:
        name = str(self._app.conf.result_backend_transport_options.get("master_name"))
        known = [found for found in self._primaries if found.get("ip")]
        if not known:
            raise client.CheckFailedError(
                "no_primary",
                f"No sentinel watches a primary with the name {name}. Compare worker_primary_name with the name that "
                "the sentinels use.",
            )
        up = [found for found in known if found["is_master"] and not (found["is_sdown"] or found["is_odown"])]
        if not up:
            raise client.CheckFailedError(
                "no_primary", f"The sentinels say that {name} is down. {client.REMEDIES['no_primary']}"
            )
        named = sorted({(str(found["ip"]), int(found["port"])) for found in up})
        if len(named) > 1:
            said = ", ".join(f"{found['sentinel']} names {found['ip']}:{found['port']}" for found in up)
            raise client.CheckFailedError(
                "no_primary", f"The sentinels do not agree: {said}. Wait until a failover is over, then see their logs."
            )
        self._primary = named[0]
        return f"{len(up)} of {len(self.sentinels)} sentinels name {named[0][0]} port {named[0][1]} for {name}."

    @property
    def address(self) -> tuple[str, int]:
        return self._primary or (str(self._backend.connparams["host"]), int(self._backend.connparams["port"]))

    @property
    def uses_tls(self) -> bool:
        return "ssl_cert_reqs" in self._backend.connparams

    def tls(self) -> str:
        if not self.uses_tls:
            if client.speaks_tls(*self.address, self._timeout):
                remedy = (
                    "redis_backend_use_ssl is not set. Set it."
                    if self.sentinels
                    else "the URL begins with redis://. Write rediss:// in the URL."
                )
                raise client.CheckFailedError("tls", f"The server expects TLS but {remedy}")
            return "The connection is not encrypted, because URL and settings do not ask for it."
        return client.handshake(*self.address, self._backend.connparams, self._timeout)

    def auth(self) -> str:
        self._backend.client.ping()
        user = self._backend.connparams.get("username") or "the default user"
        return f"Signed in as {user}, database {self._backend.connparams['db']}."

    def _task(self) -> str:
        task = str(uuid4())
        self._keys.add(self._backend.get_key_for_task(task))
        return task

    def store(self, serializer: str, task: str) -> str:
        backend = self._application(serializer).backend
        self._keys.add(backend.get_key_for_task(task))
        backend.store_result(task, PAYLOAD, "SUCCESS")
        return f"Celery {sys.modules['celery'].__version__} stored a result as {serializer}."

    def _listen(self, waiting: Any, storing: Any, task: str) -> None:
        storing.client.ping()
        waiting.on_task_call(None, task)
        # A refused subscription is told here; later, a slow client would read the stored result and never notice.
        waiting.result_consumer.drain_events(timeout=self._timeout)

    def _stop_listening(self, backend: Any) -> None:
        """Drop the subscriptions here: results would end them one by one later, which could hang on a broken server."""
        backend.result_consumer.subscribed_to.clear()

    def chord(self) -> str:
        app = self._application()
        try:
            return self._complete_chord(app, app.backend)
        finally:
            self._stop_listening(app.backend)

    def _complete_chord(self, app: Any, backend: Any) -> str:
        group = str(uuid4())
        self._keys.update(backend.get_key_for_group(group, suffix) for suffix in ("", ".j", ".t", ".s", ".d", ".c"))
        problems: list[BaseException] = []

        def keep_error(*_arguments: object) -> None:
            error = sys.exc_info()[1]
            if error is not None:
                problems.append(error)

        backend.chord_error_from_stack = keep_error
        tasks = [self._task(), self._task()]
        members = app.GroupResult(group, [app.AsyncResult(task) for task in tasks])
        backend.save_group(group, members)
        restored = backend.restore_group(group, cache=False)
        if restored is None or [member.id for member in restored.results] != tasks:
            raise client.CheckFailedError("unknown", f"The saved group came back changed. {client.REMEDIES['unknown']}")
        backend.delete_group(group)
        body = ChordBody()
        backend.set_chord_size(group, 2)
        for index in range(2):
            backend.on_chord_part_return(HeaderTask(group, index, body), "SUCCESS", index)
        if problems:
            raise problems[0]
        if body.results != [0, 1]:
            raise client.CheckFailedError("unknown", f"The chord did not complete. {client.REMEDIES['unknown']}")
        backend.add_to_chord(group, None)
        return "A group was saved and restored, and a chord of two tasks completed."

    def expire(self) -> str:
        configured = self._backend.expires
        if not configured:
            raise client.CheckFailedError(
                "config", "Results never expire, so they fill the server. Set result_expires to a number of seconds."
            )
        lasting, brief = self._task(), self._task()
        backend = self._application().backend
        backend.store_result(lasting, PAYLOAD, "SUCCESS")
        # EXPIRE ... LT changes nothing exactly if there is an expiry that is not longer; TTL would need another right.
        if backend.client.expire(backend.get_key_for_task(lasting), configured + 1, lt=True):
            raise client.CheckFailedError(
                "config", f"A stored result does not expire within the configured {configured} s."
            )
        backend.expires = SHORT_EXPIRY
        backend.store_result(brief, PAYLOAD, "SUCCESS")
        started = time.monotonic()
        key = backend.get_key_for_task(brief)
        while backend.client.get(key) is not None:
            if time.monotonic() - started > SHORT_EXPIRY + EXPIRY_PATIENCE:
                raise client.CheckFailedError(
                    "unknown",
                    f"A result with an expiry of {SHORT_EXPIRY} s is still there. {client.REMEDIES['unknown']}",
                )
            time.sleep(0.05)
        seconds = time.monotonic() - started
        return f"Results expire within {configured} s; one of {SHORT_EXPIRY} s was gone after {seconds:.1f} s."

    def delete(self) -> str:
        if not self._keys:
            return "Nothing was stored."
        backend = self._application().backend
        for key in sorted(self._keys):
            backend.delete(key)
        if backend.client.exists(*sorted(self._keys)):
            raise client.CheckFailedError("unknown", f"Deleted results are still there. {client.REMEDIES['unknown']}")
        return f"Nothing is left of {len(self._keys)} probe keys."


def kind_of_probe(backend: str, reads_results: bool) -> type[Probe]:
    if backend == client.RPC:
        return RpcProbe if reads_results else AnsweringProbe
    return SqlProbe if backend in client.SQL_KINDS else BackendProbe


def run_checks(run: client.CheckRun, probe: Probe, wanted: dict[str, Any], check_mode: bool) -> None:
    serializers = wanted["serializers"] or [probe.serializer]
    of_serializer = [step for wish, some in probe.serializer_steps.items() if wish in wanted["checks"] for step in some]
    steps = [f"{step}_{name}" for name in serializers for step in of_serializer]
    steps += [step for wish, step in probe.further_checks.items() if wish in wanted["checks"]]
    connection_checks = probe.connection_checks
    for position, check in enumerate(connection_checks):
        if not run.run(check, getattr(probe, check)):
            run.skip([*connection_checks[position + 1 :], *steps, "delete"], f"Skipped because {check} failed.")
            return
    if check_mode:
        run.skip([*steps, "delete"], "Skipped in check mode, because it stores results.")
        return
    try:
        _run_steps(run, probe, steps)
    finally:
        run.run("delete", probe.delete)


def _run_steps(run: client.CheckRun, probe: Probe, steps: list[str]) -> None:
    task = str(uuid4())
    stopped_by: dict[str, str] = {}
    for check in steps:
        step, _separator, serializer = check.partition("_")
        reason = stopped_by.get("") or stopped_by.get(serializer)
        if reason:
            run.skip([check], f"Skipped because {reason} failed.")
            continue
        if not serializer:
            run.run(check, getattr(probe, step))
            continue
        if step == "store":
            task = str(uuid4())
        arguments = [serializer] if step == "wait" else [serializer, task]
        if not run.run(check, partial(getattr(probe, step), *arguments)) and step == "store":
            stops_all = run.rows[-1]["failure_class"] not in ("serializer", "config")
            stopped_by["" if stops_all else serializer] = check


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "env_file": {"type": "path", "required": True},
            "config_directory": {"type": "path", "required": True},
            "config_module": {"type": "str", "default": "celeryconfig"},
            "serializers": {"type": "list", "elements": "str", "default": []},
            "checks": {
                "type": "list",
                "elements": "str",
                "choices": ["store", "wait", "chord", "expire"],
                "default": ["store", "wait", "chord", "expire"],
            },
            "timeout": {"type": "float", "default": 10},
            "reads_results": {"type": "bool", "default": True},
            "report_only": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    if wanted["timeout"] <= 0:
        module.fail_json(msg=f"The timeout is {wanted['timeout']}, but it must be more than 0 seconds.")
    run = client.CheckRun("unknown")
    probes: list[Probe] = []

    def config() -> str:
        settings = client.load_settings(
            wanted["env_file"], wanted["config_directory"], wanted["config_module"], run.redact
        )
        url = client.application(settings, wanted["timeout"]).conf.result_backend
        run.redact.learn_url(str(url or ""))
        run.backend = client.backend_kind(url)
        probes.append(kind_of_probe(run.backend, wanted["reads_results"])(settings, wanted["timeout"]))
        return f"Loaded {wanted['config_module']} and {wanted['env_file']}."

    if run.run("config", config, otherwise="config"):
        run_checks(run, probes[0], wanted, module.check_mode)
    else:
        run.skip([*CONNECTION_CHECKS, *wanted["checks"], "delete"], "Skipped because config failed.")
    failures = run.failures
    result = {"changed": False, "checks": run.rows, "failed_checks": len(failures)}
    if failures and not wanted["report_only"]:
        module.fail_json(msg=_report.failure_sentence(failures[0]), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
