# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the checks of all kinds of result backends have in common."""

from __future__ import annotations

import threading
import time
from importlib import import_module
from types import ModuleType
from typing import Any, ClassVar

from ansible_collections.resultops.celery.plugins.module_utils import _celery_client as client

PAYLOAD = {"text": "résumé ✓", "numbers": [1, 2.5, None, True], "nested": {"list": [[], {}]}}
LISTENING = 0.2
CONNECTION_CHECKS = ["dns", "tcp", "tls", "auth"]


class Probe:
    """What a worker and a waiting client do with a result backend."""

    #: What is done with each serializer, by the name of the option, and what after that.
    serializer_steps: ClassVar[dict[str, tuple[str, ...]]] = {"store": ("store", "read"), "wait": ("wait",)}
    further_checks: ClassVar[dict[str, str]] = {"chord": "chord", "expire": "expire"}
    lost = "See whether another program deletes results."
    silence = "See the log of the server."
    woken = "The notification woke the waiting client {seconds:.3f} s after the store."

    def __init__(self, settings: ModuleType, timeout: float) -> None:
        self._settings = settings
        self._timeout = timeout
        self._app = self._application()
        self._backend = self._app.backend

    @property
    def connection_checks(self) -> list[str]:
        """The names of the methods that check the connection, in their order."""
        return CONNECTION_CHECKS

    @property
    def address(self) -> tuple[str, int]:
        raise NotImplementedError

    def delete(self) -> str:
        """Remove what the probe has stored."""
        raise NotImplementedError

    def _task(self) -> str:
        """Return the id of a new result, which delete will remove."""
        raise NotImplementedError

    def _store(self, backend: Any, task: str) -> None:
        backend.store_result(task, PAYLOAD, "SUCCESS")

    def _listen(self, waiting: Any, storing: Any, task: str) -> None:
        """Begin to wait for a result."""

    def _stop_listening(self, backend: Any) -> None:
        """End it, without asking a server that may be broken."""

    def _application(self, serializer: str = "") -> Any:
        """Return an application of its own, so that its backend has connections of its own."""
        app = client.application(self._settings, self._timeout)
        if serializer and serializer not in import_module("kombu.serialization").registry.name_to_type:
            raise client.CheckFailedError(
                "serializer", f"The serializer {serializer} is not known to Celery. {client.REMEDIES['serializer']}"
            )
        if serializer and serializer != app.conf.result_serializer:
            app.conf.update(result_serializer=serializer, result_accept_content=[serializer])
        return app

    @property
    def serializer(self) -> str:
        return str(self._app.conf.result_serializer)

    def dns(self) -> str:
        host = self.address[0]
        return f"The name {host} resolves to {', '.join(client.resolve(host, self._timeout))}."

    def tcp(self) -> str:
        return client.connect(*self.address, self._timeout)

    def read(self, serializer: str, task: str) -> str:
        found = self._application(serializer).backend.get_task_meta(task, cache=False)
        self._expect(found, "SUCCESS", PAYLOAD, "serializer")
        return "Another connection read the same result."

    def _expect(self, found: dict[str, Any], status: str, result: object, failure_class: str) -> None:
        if found["status"] != status:
            raise client.CheckFailedError(
                "unknown",
                f"The state of the stored result is {found['status']} instead of {status}. {self.lost}",
            )
        if found["result"] != result:
            raise client.CheckFailedError(
                failure_class, f"The result came back changed. {client.REMEDIES[failure_class]}"
            )

    def wait(self, serializer: str) -> str:
        app = self._application(serializer)
        waiting, storing = app.backend, self._application(serializer).backend
        task = self._task()
        self._listen(waiting, storing, task)
        problems: list[Exception] = []

        def store_later() -> None:
            time.sleep(LISTENING)
            try:
                self._store(storing, task)
            except Exception as error:  # noqa: BLE001 - raised again by the thread that waits
                problems.append(error)

        started = time.monotonic()
        worker = threading.Thread(target=store_later, daemon=True)
        worker.start()
        try:
            result = app.AsyncResult(task).get(timeout=self._timeout + LISTENING)
        except Exception as error:
            worker.join(self._timeout)
            if problems:
                raise problems[0] from None
            if client.classify(error)[0] == "timeout":
                raise client.CheckFailedError(
                    "timeout", f"The result was stored, but its notification did not arrive. {self.silence}"
                ) from error
            raise
        finally:
            self._stop_listening(waiting)
        self._expect({"status": "SUCCESS", "result": result}, "SUCCESS", PAYLOAD, "serializer")
        return self.woken.format(seconds=time.monotonic() - started - LISTENING)
