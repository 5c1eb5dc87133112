# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Result backends for Celery 5.7 that store a result in one round trip, and wait for replicas where that is wanted.

Celery reads a result before it writes it (a SUCCESS is final), and then sends the new one twice: once to keep and once
to announce. Here a short script on the server does all three, so that the value travels once. Keys, payload, channel
and expiry are Celery's own: its readers and writers work on the same results.

The URL names the class before its scheme, as in celeryresults.DurableSentinelBackend+sentinel://..., which Celery finds
without any setting. The options stand in result_backend_transport_options: retry_seconds, durable_replicas,
durable_timeout_ms, and for sentinels also master_name, min_other_sentinels, sentinel_kwargs and allow_plaintext.
"""

from __future__ import annotations

import functools
import hashlib
import os
import random
import re
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

import redis
from celery import states
from celery.backends.redis import CHORD_PART_RETURN_LUA, RedisBackend, SentinelBackend
from celery.exceptions import BackendStoreError, ImproperlyConfigured
from celery.utils.log import get_logger
from kombu.utils.encoding import bytes_to_str, ensure_bytes
from kombu.utils.objects import cached_property
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, SentinelConnectionPool, SentinelManagedConnection

try:
    from redis.maint_notifications import MaintNotificationsConfig
except ImportError:  # before redis-py 7
    QUIET: dict[str, Any] = {"lib_name": None, "lib_version": None}
else:
    QUIET = {"maint_notifications_config": MaintNotificationsConfig(enabled=False)}
    if hasattr(redis, "DriverInfo"):
        QUIET["driver_info"] = None

__all__ = [
    "DurableRedisBackend",
    "DurableSentinelBackend",
    "FastRedisBackend",
    "FastSentinelBackend",
    "NotReplicatedError",
    "PrimaryNotFoundError",
    "RefusedForNowError",
]

logger = get_logger(__name__)

SENTINEL_PASSWORD = "CELERY_SENTINEL_PASSWORD"  # noqa: S105 - the name of a variable
RETRY_SECONDS = 60.0
# Each pause between two tries is a part of the time that has passed: many quick ones first, few in a long outage.
PAUSE_PART = 0.1
SENTINEL_TIMEOUT = 0.5
# How often another writer may come between the look at a result and the write.
GUARD_ROUNDS = 20
ANYTHING = "*"

# ARGV: the result, its seconds to live or 0, the digest of the result that it may replace, 1 to keep that one.
# The announcement is for those who listen to this server, and replicas need not carry it: clients of a primary that is
# demoted are disconnected, and read the results when they come back. So the replicas get the value once, and alone.
STORE_LUA = """
if redis.replicate_commands then
    redis.replicate_commands()
end
local stored = redis.call('GET', KEYS[1])
local value = ARGV[1]
if stored and stored ~= '' and ARGV[3] ~= '*' then
    if redis.sha1hex(stored) ~= ARGV[3] then
        return stored
    end
    if ARGV[4] == '1' then
        value = stored
    end
end
if ARGV[2] ~= '0' then
    redis.call('SETEX', KEYS[1], ARGV[2], value)
else
    redis.call('SET', KEYS[1], value)
end
redis.set_repl(redis.REPL_NONE)
redis.call('PUBLISH', KEYS[1], value)
return 1
"""

# The same for the size of a chord, which nobody waits for.
SET_LUA = """
if ARGV[2] ~= '0' then
    return redis.call('SETEX', KEYS[1], ARGV[2], ARGV[1])
end
return redis.call('SET', KEYS[1], ARGV[1])
"""

# What a server says that takes the same write later, or whose successor does.
REFUSED_FOR_NOW = re.compile(
    r"\b(NOREPLICAS|READONLY|LOADING|MASTERDOWN|UNBLOCKED|OOM|MISCONF|BUSY|NOSCRIPT|TRYAGAIN)\b"
)
REFUSALS = (
    redis.exceptions.BusyLoadingError,
    redis.exceptions.MasterDownError,
    redis.exceptions.NoScriptError,
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.ReadOnlyError,
)


class RefusedForNowError(redis.exceptions.ConnectionError):
    """The server refused the write in a state that passes; as an error of the connection, everything repeats it."""


class NotReplicatedError(redis.exceptions.ConnectionError):
    """The result is stored, but fewer replicas than wanted have said in time that they have it, too."""


class PrimaryNotFoundError(MasterNotFoundError):
    """No sentinel that answers names a primary that is up."""


def digest(value: bytes) -> str:
    """Return what the script compares, so that an old value does not travel."""
    return hashlib.sha1(value, usedforsecurity=False).hexdigest()


@functools.lru_cache(maxsize=8)
def name_of(script: str) -> str:
    """Return the name by which the server knows a script."""
    return digest(script.encode())


def is_refusal(error: BaseException) -> bool:
    """Tell whether the server, or its successor, takes the same command later."""
    return isinstance(error, REFUSALS) or (
        isinstance(error, redis.exceptions.ResponseError) and bool(REFUSED_FOR_NOW.search(str(error)))
    )


@functools.lru_cache(maxsize=32)
def _trusting(
    files: tuple[tuple[str | None, tuple[int, ...]], ...],
    password: str | None,
    verify: ssl.VerifyMode,
    check_hostname: bool,
    minimum: int | None,
    ciphers: str | None,
) -> ssl.SSLContext:
    """Return one context for all connections of the process with these parameters and these very files."""
    authority, certificate, key = (path for path, _state in files)
    # With a CA file of its own, Python trusts that one only.
    context = ssl.create_default_context(cafile=authority)
    context.check_hostname = check_hostname
    context.verify_mode = verify
    if certificate or key:
        context.load_cert_chain(certificate or "", key, password)
    if minimum is not None:
        context.minimum_version = ssl.TLSVersion(minimum)
    if ciphers:
        context.set_ciphers(ciphers)
    return context


def _as_it_is_now(path: str | None) -> tuple[str | None, tuple[int, ...]]:
    """Return a file's name and what changes when it is renewed."""
    if not path:
        return None, ()
    found = os.stat(path)
    return path, (found.st_ino, found.st_size, found.st_mtime_ns)


# What the shared context does not know; older clients lack some of these.
UNUSUAL = (
    "ca_path",
    "ca_data",
    "ssl_include_verify_flags",
    "ssl_exclude_verify_flags",
    "ssl_validate_ocsp",
    "ssl_validate_ocsp_stapled",
)


class VerifiedConnection(redis.SSLConnection):
    """Shares the TLS context: the client would read all CAs of the system for every connection, and trust them, too."""

    def _wrap_socket_with_ssl(self, sock: Any) -> Any:
        if any(getattr(self, name, None) for name in UNUSUAL):
            return super()._wrap_socket_with_ssl(sock)
        context = _trusting(
            tuple(_as_it_is_now(path) for path in (self.ca_certs, self.certfile, self.keyfile)),
            self.certificate_password,
            self.cert_reqs,
            self.check_hostname,
            self.ssl_min_version,
            self.ssl_ciphers,
        )
        return context.wrap_socket(sock, server_hostname=self.host)


class PrimaryConnection(SentinelManagedConnection):
    """A plaintext connection to the primary that the sentinels name."""


class VerifiedPrimaryConnection(SentinelManagedConnection, VerifiedConnection):
    """A TLS connection to the primary that the sentinels name."""


class PrimaryFinder:
    """Asks the sentinels one after the other, first the one that answered last: a dead one costs its timeout once."""

    def __init__(self, sentinels: Sequence[redis.Redis], least_peers: int = 0) -> None:
        self._sentinels = random.sample(list(sentinels), len(sentinels))
        self._least_peers = least_peers
        self._first = 0

    def discover_master(self, name: str) -> tuple[str, int]:
        """Return host and port; the name of this method is what the connection pool of the Redis client calls."""
        problems = []
        first, answered = self._first, None
        for step in range(len(self._sentinels)):
            position = (first + step) % len(self._sentinels)
            address = "{host}:{port}".format_map(self._sentinels[position].connection_pool.connection_kwargs)
            try:
                found = self._sentinels[position].sentinel_masters().get(name)
            except (redis.exceptions.RedisError, OSError) as error:
                problems.append(f"{address} {type(error).__name__} ({error})")
                continue
            if answered is None:
                self._first = answered = position
            problem = self._problem(found)
            if found and not problem:
                self._first = position
                return str(found["ip"]), int(found["port"])
            problems.append(f"{address} {problem}")
        raise PrimaryNotFoundError(f"No sentinel names a primary of {name!r} that is up: {'; '.join(problems)}.")

    def _problem(self, found: dict[str, Any] | None) -> str:
        if not found:
            return "does not know it"
        if not found["is_master"] or found["is_sdown"] or found["is_odown"]:
            return "says that it is down"
        if found["num-other-sentinels"] < self._least_peers:
            return f"sees only {found['num-other-sentinels']} other sentinels"
        return ""


class OneTrip:
    """What the backends have in common; the first base of each."""

    #: Whether a result must be on replicas before it counts as stored.
    durable = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        wanted = self._transport_options
        self._patience = float(wanted.get("retry_seconds", RETRY_SECONDS))
        self._replicas = int(wanted.get("durable_replicas", 1)) if self.durable else 0
        self._wait = int(wanted.get("durable_timeout_ms", 500))
        self._extended = bool(self.app.conf.find_value_for_key("extended", "result"))
        self._unfinished: tuple[bytes, str] = (b"", "")
        # Without a time limit of the socket, a server that hangs would hold up a worker for ever.
        limit = self.connparams.get("socket_timeout")
        if self.durable and (self._replicas < 1 or not 0 < self._wait < 1000 * float(limit or 0)):
            raise ImproperlyConfigured(
                f"durable_replicas is {self._replicas} and durable_timeout_ms is {self._wait} in "
                "result_backend_transport_options, but they must be at least 1, and between 0 and redis_socket_timeout "
                f"({limit} s)."
            )

    # What is repeated, and when.

    def exception_safe_to_retry(self, exc: BaseException) -> bool:
        return super().exception_safe_to_retry(exc) or is_refusal(exc)

    def on_backend_retryable_error(self, exc: BaseException) -> None:  # noqa: ARG002 - Celery's signature
        """Start afresh: the sentinels are asked with every new connection, and a demoted server is left."""
        self.client.connection_pool.disconnect(inuse_connections=False)

    def _ensure_retryable(
        self,
        func: Callable[..., Any],
        *args: Any,
        fallback_exc: Callable[[str], Exception] | None = None,
        fallback_msg: str | None = None,
        max_retries: float | None = None,
        **kwargs: Any,
    ) -> Any:
        """Repeat as Celery does, but by time instead of by number, and with one line in the log instead of hundreds."""
        limit = self.max_retries if max_retries is None else max_retries
        began, retries = time.monotonic(), 0
        while True:
            try:
                done = func(*args, **kwargs)
            except Exception as error:
                if not self.always_retry or not self.exception_safe_to_retry(error):
                    raise
                elapsed = time.monotonic() - began
                if retries >= limit or elapsed >= self._patience:
                    if fallback_exc:
                        raise fallback_exc(f"{fallback_msg} for {elapsed:.0f} s: {error}") from error
                    raise
                if not retries:
                    logger.warning("The result backend does not work and is tried again: %s", error)
                retries += 1
                self._start_afresh(error)
                self._sleep(self._pause(elapsed))
            else:
                if retries:
                    logger.warning(
                        "The result backend works again after %.1f s and %d tries.", time.monotonic() - began, retries
                    )
                return done

    def _start_afresh(self, error: Exception) -> None:
        try:
            self.on_backend_retryable_error(error)
        except Exception:
            logger.exception("The connections to the result backend could not be closed.")

    def _pause(self, elapsed: float) -> float:
        shortest, longest = self.base_sleep_between_retries_ms / 1000, self.max_sleep_between_retries_ms / 1000
        # At random, so that many workers do not come back at the same moment.
        return random.uniform(0.5, 1.0) * min(max(shortest, elapsed * PAUSE_PART), longest)  # noqa: S311 - no secret

    # One round trip.

    def _talk(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Send commands at once over one connection; error replies are among the answers."""
        pool = self.client.connection_pool
        connection = pool.get_connection()
        try:
            # As one piece, because the client would send a large value in a piece of its own.
            connection.send_packed_command([b"".join(connection.pack_commands(commands))])
            return [self._answer(connection) for _command in commands]
        except BaseException:
            # Answers may still be under way, whoever interrupted this: a task's time limit, too.
            connection.disconnect()
            raise
        finally:
            pool.release(connection)

    @staticmethod
    def _answer(connection: Any) -> Any:
        try:
            return connection.read_response(disconnect_on_error=True)
        except redis.exceptions.ResponseError as error:
            return error

    def _run_script(self, script: str, keys: Sequence[Any], arguments: Iterable[Any]) -> Any:
        """Run a script, and see in the same round trip that what it wrote is on the replicas."""
        call = ("EVALSHA", name_of(script), len(keys), *keys, *arguments)
        commands = [call, ("WAIT", self._replicas, self._wait)] if self._replicas else [call]
        answers = self._talk(commands)
        if isinstance(answers[0], redis.exceptions.NoScriptError):
            # The first use, or a server that restarted, was promoted, or was told to forget its scripts.
            answers = self._talk([("SCRIPT", "LOAD", script), *commands])
            self._refuse_errors(answers[:1])
            del answers[0]
        self._refuse_errors(answers)
        if self._replicas and answers[1] < self._replicas:
            raise NotReplicatedError(
                f"Only {answers[1]} of {self._replicas} replicas confirmed the result within {self._wait} ms; see that "
                "the replicas run and follow the primary."
            )
        return answers[0]

    @staticmethod
    def _refuse_errors(answers: Sequence[Any]) -> None:
        for error in answers:
            if is_refusal(error):
                # The client takes the code off some of the replies.
                raise RefusedForNowError(f"{error.status_code or ''} {error}".strip()) from error
            if isinstance(error, Exception):
                raise error

    # What Celery stores.

    def _write(self, key: bytes, value: bytes, expires: int | None, replaces: str, keep: bool) -> bytes | None:
        answer = self._run_script(STORE_LUA, [key], [value, expires or 0, replaces, int(keep)])
        if answer == 1:
            return None
        if not isinstance(answer, (bytes, str)):
            raise redis.exceptions.InvalidResponse(f"The script that stores results answered {answer!r}.")
        return ensure_bytes(answer)

    def _store_result(
        self,
        task_id: Any,
        result: Any,
        state: str,
        traceback: Any = None,
        request: Any = None,
        **_options: Any,
    ) -> Any:
        meta = self._meta(result, state, traceback, request)
        meta["task_id"] = bytes_to_str(task_id)
        try:
            value = self._checked(self.encode(meta))
        except BackendStoreError as error:
            raise BackendStoreError(str(error), state=state, task_id=task_id) from error
        key = self.get_key_for_task(task_id)
        expires = self.failure_expires if state == states.FAILURE else self.expires
        # Of a task that was stored as STARTED a moment ago, the old value is known.
        known_key, known = self._unfinished
        replaces, keep = (known if known_key == key else ""), False
        for _round in range(GUARD_ROUNDS):
            stored = self._write(key, value, expires, replaces, keep)
            if stored is None:
                self._unfinished = (b"", "") if state in states.READY_STATES else (key, digest(value))
                return result
            # WAIT speaks only of writes of its own connection. The one that found this result has written none, and
            # the result may be our own, from before a connection broke: so it is written once more.
            keep = self.decode(stored)["status"] == states.SUCCESS
            if keep and not self._replicas:
                return result
            replaces = digest(stored)
        raise RefusedForNowError(f"Others changed the result of the task {task_id} {GUARD_ROUNDS} times meanwhile.")

    def _set_with_state(self, key: bytes, value: Any, state: str) -> None:
        """Store what is no result of a task: a group."""
        expires = self.failure_expires if state == states.FAILURE else self.expires
        self._write(key, self._checked(value), expires, ANYTHING, keep=False)

    def _meta(self, result: Any, state: str, traceback: Any, request: Any) -> dict[str, Any]:
        """Return what Celery returns; its own way to the time and to the settings takes a sixth of a store."""
        done = datetime.now(self.app.timezone).isoformat() if state in states.READY_STATES else None
        if self._extended:
            # What is not ready gets no date, and for the rest the state does not matter.
            meta = self._get_result_meta(result=result, state=states.STARTED, traceback=traceback, request=request)
            return {**meta, "status": state, "date_done": done}
        meta = {
            "status": state,
            "result": result,
            "traceback": traceback,
            "children": self.current_task_children(request),
            "date_done": done,
        }
        if request and getattr(request, "group", None):
            meta["group_id"] = request.group
        if request and getattr(request, "parent_id", None):
            meta["parent_id"] = request.parent_id
        return meta

    def _checked(self, value: Any) -> bytes:
        value = ensure_bytes(value)
        if len(value) > self._MAX_STR_VALUE_SIZE:
            raise BackendStoreError("value too large for Redis backend")
        return value

    def _set_chord_key(self, key: bytes, value: Any) -> None:
        checked = self._checked(str(value) if isinstance(value, int) else value)
        self.ensure(self._run_script, (SET_LUA, [key], [checked, self.chord_expires or 0]))

    @cached_property
    def _chord_part_return_script(self) -> Callable[..., Any]:
        return self._return_chord_part

    def _return_chord_part(self, keys: Sequence[Any], args: Sequence[Any], **_options: Any) -> Any:
        """Count a finished part of a chord; unlike Celery itself, not only once.

        The script counts a part that it knows already no second time, but it gives the claim to call the body only
        once, and the answer that gave it may be lost. The claim carries a token, by which its owner knows it.
        """
        tries = []

        def count() -> Any:
            tries.append(1)
            return self._run_script(CHORD_PART_RETURN_LUA, keys, args)

        ready, more, size, claimed = self._ensure_retryable(count)
        if len(tries) > 1 and not claimed and size and ready == int(size) + int(more or 0):
            owner = self._ensure_retryable(self.client.get, keys[-1])
            claimed = int(owner is not None and ensure_bytes(owner) == ensure_bytes(args[-1]))
        return [ready, more, size, claimed]

    # Connections.

    @staticmethod
    def _quick(parameters: dict[str, Any]) -> dict[str, Any]:
        """Return parameters of connections that fail at once: what is repeated is the store, on a new connection."""
        # Redis 7.0 has no CLIENT SETINFO that a rule could allow: each connection would be a denial in its log.
        unnamed = {name: value for name, value in parameters.items() if name not in ("lib_name", "lib_version")}
        return {**unnamed, **QUIET, "retry": Retry(NoBackoff(), 0)}


class FastRedisBackend(OneTrip, RedisBackend):
    """One Redis, for URLs that begin with celeryresults.FastRedisBackend+."""

    def _get_pool(self, **parameters: Any) -> Any:
        wanted = self._quick(parameters)
        if wanted.get("connection_class") is redis.SSLConnection:
            wanted["connection_class"] = VerifiedConnection
        return super()._get_pool(**wanted)


class DurableRedisBackend(FastRedisBackend):
    """One Redis and its replicas, for celeryresults.DurableRedisBackend+."""

    durable = True


class FastSentinelBackend(OneTrip, SentinelBackend):
    """The primary that the sentinels name, for celeryresults.FastSentinelBackend+."""

    connection_class_ssl = VerifiedPrimaryConnection

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        problem = plaintext_problem(self.url or "", self.app.conf.redis_backend_use_ssl, self._transport_options)
        if problem:
            raise ImproperlyConfigured(problem)
        if not self._transport_options.get("master_name"):
            raise ImproperlyConfigured("result_backend_transport_options lacks master_name, which the sentinels go by.")

    def _get_pool(self, **parameters: Any) -> SentinelConnectionPool:
        hosts = parameters.pop("hosts")
        wanted = {"connection_class": PrimaryConnection, **self._quick(parameters)}
        sentinels = [self._sentinel(host["host"], host["port"]) for host in hosts]
        finder = PrimaryFinder(sentinels, int(self._transport_options.get("min_other_sentinels", 0)))
        return SentinelConnectionPool(self._transport_options["master_name"], finder, **wanted)

    def _sentinel(self, host: str, port: int) -> redis.Redis:
        wanted = {
            "socket_timeout": SENTINEL_TIMEOUT,
            "socket_connect_timeout": SENTINEL_TIMEOUT,
            **self._transport_options.get("sentinel_kwargs", {}),
        }
        if not wanted.get("password") and os.environ.get(SENTINEL_PASSWORD):
            wanted["password"] = os.environ[SENTINEL_PASSWORD]
        secure = wanted.pop("ssl", False)
        wanted["connection_class"] = VerifiedConnection if secure else redis.Connection
        pool = redis.ConnectionPool(host=host, port=port, **self._quick(wanted))
        return redis.Redis(connection_pool=pool)


class DurableSentinelBackend(FastSentinelBackend):
    """The primary that the sentinels name and its replicas, for celeryresults.DurableSentinelBackend+."""

    durable = True


def plaintext_problem(url: str, node_tls: Any, options: dict[str, Any]) -> str:
    """Say what would make Celery talk to sentinels or nodes in plaintext without a word."""
    if any("ssl_" in part.partition("?")[2] for part in url.split(";")):
        return (
            "The URL of the result backend has ssl_ parameters, which Celery drops from a sentinel:// URL; put them "
            "into redis_backend_use_ssl and into sentinel_kwargs of result_backend_transport_options."
        )
    if options.get("allow_plaintext") is True:
        return ""
    if not node_tls:
        return (
            "redis_backend_use_ssl is not set, so the Redis nodes would be reached in plaintext; set it, or accept "
            "plaintext by allow_plaintext: True in result_backend_transport_options."
        )
    if not (options.get("sentinel_kwargs") or {}).get("ssl"):
        return (
            "sentinel_kwargs of result_backend_transport_options lacks ssl: True, so the sentinels would be asked in "
            "plaintext; set it, or accept plaintext by allow_plaintext: True."
        )
    return ""
