# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What workers and waiting clients need of a broker that brings results back."""

from __future__ import annotations

import contextlib
import ssl
import sys
import time
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any, ClassVar
from uuid import uuid4

from ansible_collections.resultops.celery.plugins.module_utils import _backend_broker as broker
from ansible_collections.resultops.celery.plugins.module_utils import _celery_client as client
from ansible_collections.resultops.celery.plugins.module_utils._probe import PAYLOAD, Probe

SHORT_EXPIRY = 1
# Asking for a queue begins its time anew.
PAUSE = SHORT_EXPIRY + 1.0
LOOKS = 3
AUTO_DELETE_PATIENCE = 5.0
NO_QUEUE = (
    "Give the account the role client or both in rabbitmq_applications, or set worker_reads_results to false where "
    "this host waits for no results"
)
NO_SENDING = "Let the account write to amq.default, as the role rabbitmq does"
FILES = {"ssl_ca_certs": "ca_certs", "ssl_certfile": "certfile", "ssl_keyfile": "keyfile"}


def described(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".")


class RpcProbe(Probe):
    """A client with a queue of its own, and a worker that sends results there."""

    further_checks: ClassVar[dict[str, str]] = {"expire": "expire"}
    lost = "See whether another program reads from the queues of clients."
    silence = "See that no policy of the broker drops messages at once."
    woken = "The waiting client had the result {seconds:.3f} s after it was sent."

    def __init__(self, settings: ModuleType, timeout: float) -> None:
        self._readers: dict[str, Any] = {}
        self._waited: list[str] = []
        self._reply_to = ""
        super().__init__(settings, timeout)
        url = str(self._app.conf.broker_url or "")
        if not url:
            raise client.CheckFailedError(
                "config", "Celery has no broker; set CELERY_BROKER_URL in the environment file."
            )
        if not broker.is_amqp(url):
            raise client.CheckFailedError(
                "config",
                f"Results are to come back by rpc through a broker of the kind {broker.scheme(url)}, which would keep "
                "them for ever where nobody reads them. Use an AMQP broker such as RabbitMQ, or another backend.",
            )
        parse_url = import_module("kombu.utils.url").parse_url
        self._brokers = [parse_url(part) for part in broker.addresses(url)]
        self._encrypted = broker.uses_amqps(url) or bool(self._app.conf.broker_use_ssl)

    def _application(self, serializer: str = "") -> Any:
        """Return an application whose every message the broker confirms, so that a refusal is heard at once."""
        app = super()._application(serializer)
        client.limit_broker(app, self._timeout, confirm_publish=True)
        return app

    @property
    def address(self) -> tuple[str, int]:
        return self._address(self._brokers[0])

    def _address(self, parts: dict[str, Any]) -> tuple[str, int]:
        usual = 5671 if self._encrypted else 5672
        return str(parts["hostname"] or "localhost"), int(parts["port"] or usual)

    # The connection.

    def _of_each(self, ask: Callable[[str, int], str]) -> str:
        """Ask all brokers of the URL; one that answers is enough, because Celery then goes there."""
        answers, errors = [], []
        for host, port in map(self._address, self._brokers):
            try:
                answers.append(ask(host, port))
            except Exception as error:  # noqa: BLE001 - raised again if no broker answers
                errors.append((host, error))
        if not answers:
            raise errors[0][1]
        missing = [f" {host} does not work: {client.explain(error)[1]}" for host, error in errors]
        return f"{answers[0]}{''.join(missing)}"

    def dns(self) -> str:
        return self._of_each(
            lambda host, _port: f"The name {host} resolves to {', '.join(client.resolve(host, self._timeout))}."
        )

    def tcp(self) -> str:
        return self._of_each(lambda host, port: client.connect(host, port, self._timeout))

    def tls(self) -> str:
        if not self._encrypted:
            if client.speaks_tls(*self.address, self._timeout):
                raise client.CheckFailedError(
                    "tls", "The broker expects TLS but the URL begins with amqp://. Write amqps:// in the URL."
                )
            return "The connection is not encrypted, because URL and settings do not ask for it."
        settings = self._app.conf.broker_use_ssl
        lacks = broker.lacks_of(settings)
        if lacks:
            raise client.CheckFailedError(
                "tls",
                f"Celery would take the certificate of somebody else for that of the broker, because broker_use_ssl "
                f"lacks {' and '.join(lacks)}. Set it, or let the role worker write it.",
            )
        parameters = {ours: settings[theirs] for ours, theirs in FILES.items() if settings.get(theirs)}
        name = str(settings["server_hostname"] or "")
        return self._of_each(lambda host, port: client.handshake(host, port, parameters, self._timeout, name=name))

    def auth(self) -> str:
        with self._app.connection_for_write() as connection:
            connection.connect()
            properties = connection.connection.server_properties
            self._refuse_unverified(connection.connection.transport.sock)
            return (
                f"Signed in as {connection.userid}, virtual host {connection.virtual_host}. "
                f"{properties.get('product', 'Broker')} {properties.get('version', '')}."
            )

    @staticmethod
    def _refuse_unverified(link: Any) -> None:
        """The connection that Celery has made tells what the settings have come to."""
        context = getattr(link, "context", None)
        if context and not (context.check_hostname and context.verify_mode == ssl.CERT_REQUIRED):
            raise client.CheckFailedError(
                "tls", "The certificate or the host name of the broker is not verified. Deploy the worker again."
            )

    # Results.

    def _task(self) -> str:
        return str(uuid4())

    def _declare(self, app: Any) -> str:
        """Make the queue of a client as Celery does before it sends a task."""
        try:
            with app.amqp.producer_pool.acquire(block=True) as producer:
                app.backend.on_task_call(producer, "")
        except Exception as error:
            self._tell_acl(error, "have a queue of results", NO_QUEUE)
            raise
        return str(app.backend.oid)

    @staticmethod
    def _tell_acl(error: Exception, what: str, remedy: str) -> None:
        if client.classify(error)[0] == "acl":
            raise client.CheckFailedError(
                "acl", f"The account may not {what} ({described(error)}). {remedy}."
            ) from error

    def _store(self, backend: Any, task: str) -> None:
        request = import_module("celery.app.task").Context(reply_to=self._reply_to, correlation_id=task)
        try:
            backend.store_result(task, PAYLOAD, "SUCCESS", request=request)
        except Exception as error:
            self._tell_acl(error, "send results", NO_SENDING)
            raise

    def store(self, serializer: str, task: str) -> str:
        app = self._application(serializer)
        self._reply_to = self._declare(app)
        self._readers[serializer] = app
        self._store(self._application(serializer).backend, task)
        return f"Celery {sys.modules['celery'].__version__} sent a result as {serializer} to a queue of its own."

    def read(self, serializer: str, task: str) -> str:
        try:
            found = self._readers[serializer].backend.get_task_meta(task)
        except Exception as error:
            self._tell_acl(error, "read its queue of results", NO_QUEUE)
            raise
        self._expect(found, "SUCCESS", PAYLOAD, "serializer")
        return "The result was in that queue."

    def _listen(self, waiting: Any, storing: Any, task: str) -> None:  # noqa: ARG002 - as in the base class
        self._reply_to = self._declare(waiting.app)
        self._waited.append(self._reply_to)

    def _stop_listening(self, backend: Any) -> None:
        consumer = backend.result_consumer
        if consumer._connection:
            # The check has said what is wrong by then; a broken connection cannot be closed in good order.
            with contextlib.suppress(Exception):
                consumer.stop()

    def wait(self, serializer: str) -> str:
        said = super().wait(serializer)
        queue = self._waited[-1]
        deadline = time.monotonic() + AUTO_DELETE_PATIENCE
        while self._exists(queue):
            if time.monotonic() > deadline:
                raise client.CheckFailedError(
                    "unknown", f"The queue of the client stayed without its reader. {client.REMEDIES['unknown']}"
                )
            time.sleep(0.1)
        return f"{said} Its queue went with it."

    def _exists(self, queue: str) -> bool:
        with self._app.connection_for_write() as connection:
            try:
                connection.default_channel.queue_declare(queue, passive=True)
            except connection.channel_errors as error:
                if getattr(error, "reply_code", None) == 404:
                    return False
                raise
        return True

    def expire(self) -> str:
        configured = self._backend.expires
        if not configured:
            raise client.CheckFailedError(
                "config",
                "Queues of results never expire, so those of clients that only look at the state stay for ever. Set "
                "result_expires to a number of seconds.",
            )
        queue = str(uuid4())
        with self._app.connection_for_write() as connection:
            arguments = {"x-expires": SHORT_EXPIRY * 1000}
            connection.default_channel.queue_declare(queue, durable=True, auto_delete=True, arguments=arguments)
        started = time.monotonic()
        for _look in range(LOOKS):
            time.sleep(PAUSE)
            if not self._exists(queue):
                seconds = time.monotonic() - started
                return (
                    f"Queues that nobody reads expire within {configured} s; one of 1 s was gone after {seconds:.1f} s."
                )
        raise client.CheckFailedError(
            "unknown", f"A queue with an expiry of {SHORT_EXPIRY} s is still there. {client.REMEDIES['unknown']}"
        )

    def delete(self) -> str:
        queues = [str(app.backend.oid) for app in self._readers.values()] + self._waited
        if not queues:
            return "Nothing was stored."
        with self._app.connection_for_write() as connection:
            for queue in queues:
                connection.default_channel.queue_delete(queue)
        if any(self._exists(queue) for queue in queues):
            raise client.CheckFailedError("unknown", f"Deleted queues are still there. {client.REMEDIES['unknown']}")
        return f"Nothing is left of {len(queues)} probe queues."


class AnsweringProbe(RpcProbe):
    """A worker with an account that may answer and have no queue of results."""

    serializer_steps: ClassVar[dict[str, tuple[str, ...]]] = {"store": ("store",)}
    further_checks: ClassVar[dict[str, str]] = {}

    def store(self, serializer: str, task: str) -> str:
        self._reply_to = str(uuid4())
        self._store(self._application(serializer).backend, task)
        return f"Celery {sys.modules['celery'].__version__} sent a result as {serializer}, for which nobody waits."
