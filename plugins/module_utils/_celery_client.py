# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Celery client as the worker would be one: its settings, its errors by class, and checks that become rows."""

from __future__ import annotations

import errno
import importlib
import logging
import os
import re
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from ansible_collections.resultops.celery.plugins.module_utils import _report, _sql_errors

# What may stand before the scheme and a plus sign is a class of the module that the role worker puts beside
# celeryconfig.py. A database has a driver behind another plus sign.
KIND_OF_SCHEME = (
    (re.compile(r"(celeryresults\.\w+\+)?rediss?"), "redis"),
    (re.compile(r"(celeryresults\.\w+\+)?sentinel"), "sentinel"),
    (re.compile(r"(celerysqlresults\.\w+|db)\+postgres(ql)?(\+\w+)?"), "postgresql"),
    (re.compile(r"(celerysqlresults\.\w+|db)\+(mysql|mariadb)(\+\w+)?"), "mysql"),
    (re.compile(r"rpc"), "rpc"),
)
SQL_KINDS = ("postgresql", "mysql")
RPC = "rpc"

REMEDIES = {
    "dns": "Add the name to the DNS or to /etc/hosts of this host.",
    "refused": "See whether the service runs, listens on this address and port, and has free connections.",
    "timeout": "See whether the server hangs or a firewall drops the packets.",
    "tls": "See that URL and port both use TLS, and that the CA file belongs to the certificate of the server.",
    "auth": "Compare user and password in the environment file with those of the server.",
    "acl": "Give the user the missing command, key or channel in the access rules of the server.",
    "read_only": "Connect to the primary, or make the server accept writes again.",
    "replicas": "See that the replicas run, follow the primary and are not far behind it.",
    "no_primary": "See that the sentinels watch a primary of this name, that it runs, and that most of them see it.",
    "schema": "Bring the tables of the server to what the workers need.",
    "too_many_connections": "Raise the limit of the server, or lower the number of its clients.",
    "oom": "Raise maxmemory of the server, shorten result_expires, or store smaller results.",
    "serializer": "Use the same result_serializer and result_accept_content in every reader and writer, "
    "and install its package.",
    "config": "Correct the file and deploy the worker again.",
    "no_worker": "Start a worker that consumes this queue and uses this broker.",
    "unreachable": "See whether a route leads to the server.",
    "unknown": "See the logs of server and worker.",
}

CERTIFICATE_REMEDIES = {
    9: "The certificate is not valid yet; see the clocks of both hosts.",
    10: "Renew the certificate of the server.",
    18: "The CA file does not belong to the certificate of the server; deploy the right one.",
    19: "The CA file does not belong to the certificate of the server; deploy the right one.",
    20: "The CA file does not belong to the certificate of the server; deploy the right one.",
    21: "The CA file does not belong to the certificate of the server; deploy the right one.",
    62: "Issue the certificate for the name that the worker connects to.",
    64: "Issue the certificate for the IP address that the worker connects to.",
}

# Names instead of classes, because this file must be importable where neither Celery nor its libraries are.
CLASS_OF_EXCEPTION = {
    "socket.gaierror": "dns",
    "ssl.SSLError": "tls",
    "builtins.ConnectionRefusedError": "refused",
    "builtins.TimeoutError": "timeout",
    "redis.exceptions.TimeoutError": "timeout",
    "celery.exceptions.TimeoutError": "timeout",
    "redis.exceptions.AuthenticationError": "auth",
    "redis.exceptions.AuthenticationWrongNumberOfArgsError": "auth",
    "redis.exceptions.NoPermissionError": "acl",
    "redis.exceptions.AuthorizationError": "acl",
    "redis.exceptions.ReadOnlyError": "read_only",
    "redis.exceptions.OutOfMemoryError": "oom",
    "redis.exceptions.BusyLoadingError": "refused",
    "redis.sentinel.MasterNotFoundError": "no_primary",
    "celeryresults.NotReplicatedError": "replicas",
    "kombu.exceptions.ContentDisallowed": "serializer",
    "kombu.exceptions.DecodeError": "serializer",
    "kombu.exceptions.EncodeError": "serializer",
    "kombu.exceptions.SerializerNotInstalled": "serializer",
    "celery.exceptions.ImproperlyConfigured": "config",
    "builtins.ImportError": "config",
    "sqlalchemy.exc.TimeoutError": "timeout",
    "sqlalchemy.exc.ArgumentError": "config",
    "sqlalchemy.exc.NoSuchModuleError": "config",
}

CLASS_OF_REPLY = (
    (re.compile(r"\b(WRONGPASS|NOAUTH)\b|invalid username-password|Authentication required"), "auth"),
    (
        re.compile(r"\bNOPERM\b|no permissions to|can't run this command|can't access at least one of the keys", re.I),
        "acl",
    ),
    (re.compile(r"\bNOREPLICAS\b"), "replicas"),
    (re.compile(r"\b(READONLY|MISCONF)\b"), "read_only"),
    (re.compile(r"\bOOM\b"), "oom"),
    # What RabbitMQ says. To a wrong virtual host and to one connection too many it gives the same code.
    (re.compile(r"\bACCESS_REFUSED\b.*Login was refused"), "auth"),
    (re.compile(r"\bNOT_ALLOWED\b.*\blimit\b"), "too_many_connections"),
    (re.compile(r"\b(ACCESS_REFUSED|NOT_ALLOWED)\b"), "acl"),
    (re.compile(r"\bhome node\b.*\bdown or inaccessible\b"), "refused"),
)

PIPELINE_NOISE = re.compile(r"^Command # \d+ \(.*\) of pipeline caused error: ", re.DOTALL)

CLASS_OF_ERRNO = {
    errno.ENETUNREACH: "unreachable",
    errno.EHOSTUNREACH: "unreachable",
    errno.ECONNRESET: "refused",
    errno.EPIPE: "refused",
}


class CheckFailedError(Exception):
    """A check that knows its failure class and the remedy itself."""

    def __init__(self, failure_class: str, sentence: str) -> None:
        super().__init__(sentence)
        self.failure_class = failure_class


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _class_of(error: BaseException) -> str | None:
    for base in type(error).__mro__:
        found = CLASS_OF_EXCEPTION.get(f"{base.__module__}.{base.__qualname__}")
        if found:
            return found
    if _sql_errors.is_sql_error(error):
        return _sql_errors.class_of(error)
    for pattern, failure_class in CLASS_OF_REPLY:
        if pattern.search(str(error)):
            return failure_class
    if isinstance(error, OSError) and error.errno in CLASS_OF_ERRNO:
        return CLASS_OF_ERRNO[error.errno]
    return None


def classify(error: BaseException) -> tuple[str, str]:
    """Return the failure class of an error and the likely remedy."""
    for link in _chain(error):
        failure_class = _class_of(link)
        if failure_class:
            code = getattr(link, "verify_code", None)
            remedies = {**REMEDIES, **_sql_errors.REMEDIES} if _sql_errors.is_sql_error(error) else REMEDIES
            return failure_class, CERTIFICATE_REMEDIES.get(code or 0, remedies[failure_class])
    # What is left of the client's connection errors is a server that closed the connection.
    if any(base.__name__ == "ConnectionError" for base in type(error).__mro__):
        return "refused", REMEDIES["refused"]
    return "unknown", REMEDIES["unknown"]


def explain(error: BaseException) -> tuple[str, str]:
    """Return the failure class of an error and one or two sentences."""
    if isinstance(error, CheckFailedError):
        return error.failure_class, str(error)
    failure_class, remedy = classify(error)
    said = " ".join(PIPELINE_NOISE.sub("", _sql_errors.said_by(error)).split()).rstrip(".") or "no message"
    return failure_class, f"{type(error).__name__}: {said}. {remedy}"


class Redactor:
    """Takes the secrets out of every text that leaves the host."""

    def __init__(self) -> None:
        self._secrets: set[str] = set()

    def learn_url(self, url: str) -> None:
        for part in url.split(";"):
            self._learn(part)
            credentials = urlsplit(part).netloc.rpartition("@")[0]
            self._learn(credentials.partition(":")[2])

    def learn_environment(self, values: dict[str, str]) -> None:
        for name, value in values.items():
            if "://" in value:
                self.learn_url(value)
            elif re.search(r"PASS|SECRET|TOKEN|KEY", name, re.I):
                self._learn(value)

    def _learn(self, secret: str) -> None:
        plain = unquote(secret)
        self._secrets.update(text for text in (secret, plain, quote(plain, safe="")) if text)

    def __call__(self, text: str) -> str:
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text


class CheckRun:
    """Runs checks one after the other; each becomes a row."""

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self.redact = Redactor()
        self.rows: list[dict[str, Any]] = []

    def run(self, check: str, function: Callable[[], str], otherwise: str | None = None) -> bool:
        """Run one check; an error without a class of its own counts as otherwise."""
        started = time.monotonic()
        try:
            detail, status, failure_class = function(), "passed", None
        except Exception as error:  # noqa: BLE001 - whatever a check raises is its result
            failure_class, detail = explain(error)
            if failure_class == "unknown" and otherwise:
                failure_class = otherwise
            status = "failed"
        seconds = time.monotonic() - started
        self.rows.append(
            _report.row(
                check,
                self.backend,
                status,
                self.redact(detail),
                seconds=seconds,
                failure_class=failure_class,
            )
        )
        return status == "passed"

    def skip(self, checks: list[str], reason: str) -> None:
        self.rows.extend(_report.row(check, self.backend, "skipped", reason) for check in checks)

    @property
    def failures(self) -> list[dict[str, Any]]:
        return [entry for entry in self.rows if entry["status"] == "failed"]


WHITESPACE = " \t\r\n"
NEWLINE = "\r\n"


class _EnvironmentParser:
    """Reads an EnvironmentFile as systemd does: quotes, escapes and continued lines included."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self._key = ""
        self._value = ""
        self._solid = 0
        self._state: Callable[[str], None] = self._before_key

    def parse(self, text: str) -> dict[str, str]:
        for character in text:
            self._state(character)
        self._state("\n")
        if self._state in (self._single_quoted, self._double_quoted):
            raise CheckFailedError("config", f"The quotes of {self._key} are not closed.")
        return self.values

    def _before_key(self, character: str) -> None:
        if character in "#;":
            self._state = self._comment
        elif character not in WHITESPACE:
            self._key, self._state = character, self._in_key

    def _in_key(self, character: str) -> None:
        if character in NEWLINE:
            self._state = self._before_key
        elif character == "=":
            self._value, self._solid, self._state = "", 0, self._before_value
        else:
            self._key += character

    def _finish(self) -> None:
        self.values[self._key.strip()] = self._value[: self._solid] + self._value[self._solid :].rstrip(WHITESPACE)
        self._state = self._before_key

    def _keep(self, text: str) -> None:
        self._value += text
        self._solid = len(self._value)

    def _before_value(self, character: str) -> None:
        if character in NEWLINE:
            self._finish()
        elif character == "'":
            self._state = self._single_quoted
        elif character == '"':
            self._state = self._double_quoted
        elif character == "\\":
            self._state = self._escaped
        elif character not in WHITESPACE:
            self._value += character
            self._state = self._in_value

    def _in_value(self, character: str) -> None:
        if character in NEWLINE:
            self._finish()
        elif character == "\\":
            self._state = self._escaped
        else:
            self._value += character

    def _escaped(self, character: str) -> None:
        if character not in NEWLINE:
            self._keep(character)
        self._state = self._in_value

    def _single_quoted(self, character: str) -> None:
        if character == "'":
            self._state = self._before_value
        else:
            self._keep(character)

    def _double_quoted(self, character: str) -> None:
        if character == '"':
            self._state = self._before_value
        elif character == "\\":
            self._state = self._double_quoted_escape
        else:
            self._keep(character)

    def _double_quoted_escape(self, character: str) -> None:
        if character in '"\\`$':
            self._keep(character)
        elif character != "\n":
            self._keep(f"\\{character}")
        self._state = self._double_quoted

    def _comment(self, character: str) -> None:
        if character in NEWLINE:
            self._state = self._before_key


def parse_environment(text: str) -> dict[str, str]:
    """Return the variables of the text of a systemd EnvironmentFile."""
    return _EnvironmentParser().parse(text)


def read_environment(path: str) -> dict[str, str]:
    """Return the variables of a systemd EnvironmentFile."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise CheckFailedError(
            "config",
            f"The environment file {path} cannot be read by this user ({reason}); "
            "deploy the worker again or correct owner and mode of the file.",
        ) from error
    return parse_environment(text)


def load_settings(env_file: str, config_directory: str, config_module: str, redact: Redactor) -> ModuleType:
    """Return the configuration module of the worker, loaded in the environment of the worker."""
    logging.disable(logging.CRITICAL)
    environment = read_environment(env_file)
    redact.learn_environment(environment)
    os.environ.update(environment)
    try:
        importlib.import_module("celery")
    except ImportError as error:
        raise CheckFailedError(
            "config",
            f"The Python {sys.executable} has no Celery ({error}); "
            "run this module with the Python of the worker's virtual environment.",
        ) from error
    if config_directory not in sys.path:
        sys.path.insert(0, config_directory)
    try:
        return importlib.import_module(config_module)
    except Exception as error:
        raise CheckFailedError(
            "config",
            f"The Celery configuration {config_module} in {config_directory} cannot be loaded "
            f"({type(error).__name__}: {error}); correct it and deploy the worker again.",
        ) from error


def limit_broker(app: Any, timeout: float, **options: object) -> None:
    """Let an application report what is wrong with an AMQP broker instead of trying again for a minute."""
    app.conf.broker_connection_timeout = timeout
    app.conf.broker_transport_options = {
        **(app.conf.broker_transport_options or {}),
        "connect_retries_timeout": timeout,
        "max_retries": 1,
        "interval_start": 0.1,
        **options,
    }
    if isinstance(app.conf.broker_use_ssl, dict):
        # Kombu writes the name that it looks for into the settings.
        app.conf.broker_use_ssl = dict(app.conf.broker_use_ssl)


def application(settings: ModuleType, timeout: float, **overrides: object) -> Any:
    """Return a Celery application as the worker's, but one that reports an error instead of retrying."""
    app = importlib.import_module("celery").Celery("resultops-check", set_as_current=False)
    app.config_from_object(settings)
    engine = app.conf.database_engine_options or {}
    limits = {"connect_timeout": max(1, round(timeout))}
    app.conf.update(
        database_engine_options={**engine, "connect_args": {**engine.get("connect_args", {}), **limits}},
        result_backend_always_retry=False,
        result_backend_transport_options={
            **(app.conf.result_backend_transport_options or {}),
            "retry_policy": {"max_retries": 0},
        },
        redis_socket_timeout=timeout,
        redis_socket_connect_timeout=timeout,
        **overrides,
    )
    return app


def backend_kind(url: object) -> str:
    """Return the kind of a result backend by the scheme of its URL."""
    if not url:
        raise CheckFailedError(
            "config",
            "Celery has no result backend; set CELERY_RESULT_BACKEND in the environment file or result_backend "
            "in the configuration.",
        )
    scheme = str(url).partition("://")[0]
    kind = next((kind for pattern, kind in KIND_OF_SCHEME if pattern.fullmatch(scheme)), None)
    if not kind:
        raise CheckFailedError(
            "config",
            f"The result backend has the scheme {scheme!r}, which cannot be checked; allowed are redis, rediss and "
            "sentinel, alone or behind a class of celeryresults and a +, postgresql and mysql behind db or a class of "
            "celerysqlresults and a +, and rpc.",
        )
    return kind


def resolve(host: str, timeout: float) -> list[str]:
    """Return the addresses of a host, also in time when the resolver hangs."""
    found: list[str] = []
    problem: list[OSError] = []

    def ask() -> None:
        try:
            answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except OSError as error:
            problem.append(error)
        else:
            found.extend(dict.fromkeys(str(answer[4][0]) for answer in answers))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(timeout)
    if asking.is_alive():
        raise CheckFailedError("dns", f"The name {host} was not resolved in {timeout:g} s. {REMEDIES['dns']}")
    if problem:
        raise CheckFailedError(
            "dns", f"The name {host} cannot be resolved ({problem[0].strerror}). {REMEDIES['dns']}"
        ) from problem[0]
    return found


def connect(host: str, port: int, timeout: float) -> str:
    """Open and close a TCP connection."""
    with socket.create_connection((host, port), timeout=timeout) as connection:
        address, port = connection.getpeername()[:2]
    return f"Connected to {address} port {port}."


def tls_context(parameters: dict[str, Any]) -> ssl.SSLContext:
    """Build the context as the Redis client does, from its ssl_ parameters."""
    context = ssl.create_default_context()
    verify = parameters.get("ssl_cert_reqs", ssl.CERT_REQUIRED)
    if isinstance(verify, str):
        verify = ssl.VerifyMode[f"CERT_{verify.upper()}"]
    context.check_hostname = verify != ssl.CERT_NONE and parameters.get("ssl_check_hostname", True)
    context.verify_mode = verify
    for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        path = parameters.get(name)
        if path and not os.access(path, os.R_OK):
            raise CheckFailedError(
                "config", f"The file {path} ({name}) is missing or not readable; deploy the worker again."
            )
    try:
        if parameters.get("ssl_ca_certs"):
            context.load_verify_locations(parameters["ssl_ca_certs"])
        if parameters.get("ssl_certfile"):
            context.load_cert_chain(parameters["ssl_certfile"], parameters.get("ssl_keyfile"))
    except ssl.SSLError as error:
        raise CheckFailedError(
            "config", f"A certificate or key of the worker cannot be loaded ({error.reason or error}); deploy it again."
        ) from error
    return context


def handshake(
    host: str,
    port: int,
    parameters: dict[str, Any],
    timeout: float,
    before: Callable[[socket.socket], None] | None = None,
    name: str = "",
) -> str:
    """Do the TLS handshake of the worker, after what comes before it, and say how long the certificate lasts.

    The name is what the certificate must have, if that is another one than the host.
    """
    context = tls_context(parameters)
    try:
        with socket.create_connection((host, port), timeout=timeout) as connection:
            if before:
                before(connection)
            with context.wrap_socket(connection, server_hostname=name or host) as secured:
                version = secured.version()
                certificate = secured.getpeercert()
    except TimeoutError as error:
        # To a plaintext Redis a handshake is an unfinished command, and it waits for the rest.
        if not before and speaks_plaintext(host, port, timeout):
            raise CheckFailedError(
                "tls",
                f"The port {port} of {host} does not use TLS. Connect to its TLS port, or let the server use TLS here.",
            ) from error
        raise
    if not certificate:
        raise CheckFailedError("tls", f"The certificate of {host} is not verified. Set ssl_cert_reqs=required.")
    if not context.check_hostname:
        raise CheckFailedError("tls", f"The host name {host} is not verified. Set ssl_check_hostname=true.")
    days = (ssl.cert_time_to_seconds(str(certificate["notAfter"])) - time.time()) / 86400
    return f"{version}, chain and host name verified, certificate valid for {int(days)} more days."


def speaks_plaintext(host: str, port: int, timeout: float) -> bool:
    """Tell whether a Redis answers without TLS, whatever it says."""
    try:
        with socket.create_connection((host, port), timeout=timeout) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(1) in (b"+", b"-")
    except OSError:
        return False


def speaks_tls(host: str, port: int, timeout: float) -> bool:
    """Tell whether a port answers a TLS handshake, whoever it belongs to."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection((host, port), timeout=timeout) as connection, context.wrap_socket(connection):
            return True
    except OSError:
        return False
