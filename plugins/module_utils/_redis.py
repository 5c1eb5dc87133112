# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The connection to a Redis or Valkey server, and the file beside it that Ansible owns."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from ansible.module_utils.basic import AnsibleModule

TRIAL_SECONDS = 10

CONNECTION_ARGUMENTS: dict[str, dict[str, Any]] = {
    "unix_socket": {"type": "path"},
    "login_host": {"type": "str"},
    "login_port": {"type": "int", "default": 6379},
    "ca_file": {"type": "path"},
    "certificate_file": {"type": "path"},
    "private_key_file": {"type": "path"},
    "login_user": {"type": "str", "default": "default"},
    "login_password": {"type": "str", "no_log": True},
    "login_previous_password": {"type": "str", "no_log": True},
    "login_timeout": {"type": "float", "default": 10},
    "loading_timeout": {"type": "int", "default": 120},
    "server_binary": {"type": "path"},
}
CONNECTION_RULES: dict[str, Any] = {
    "required_one_of": [("unix_socket", "login_host")],
    "mutually_exclusive": [("unix_socket", "login_host")],
    "required_together": [("certificate_file", "private_key_file")],
}


class RedisError(Exception):
    """One sentence for the user, without any secret."""


class RefusedError(RedisError):
    """The server answered a command with an error."""


class StartError(RedisError):
    """A trial server does not start; it said why."""

    def __init__(self, message: str, said: Sequence[str]) -> None:
        super().__init__(message)
        self.said = tuple(said)


@dataclass(frozen=True)
class Version:
    """What a server says it is."""

    product: str
    number: str

    @property
    def text(self) -> str:
        return f"{self.product} {self.number}"

    def at_least(self, major: int, minor: int) -> bool:
        """Compare with a version of Redis; Valkey began where Redis 7.2 ended."""
        return tuple(int(part) for part in self.number.split(".")[:2]) >= (major, minor)


class LoginError(RedisError):
    """The server refused user or password."""


class Server:
    """A logged-in connection that returns what the server sent, whichever release of the library is installed."""

    def __init__(self, connection: Any, where: str, timeout: float) -> None:
        self._connection = connection
        self._timeout = timeout
        self.where = where
        self.version = Version("Redis", "0.0")
        self.is_sentinel = False

    def call(self, *words: str) -> Any:
        import redis

        try:
            self._connection.send_command(*words)
            return self._connection.read_response()
        except (redis.exceptions.RedisError, OSError) as error:
            raise self._problem(error, words[0]) from error

    def transaction(self, commands: Sequence[Sequence[str]]) -> list[Any]:
        """Run the commands at one moment; an answer is what the server sent or a RefusedError.

        Sentinel has no transactions: there they run one after the other, up to the first that is refused.
        """
        if self.is_sentinel:
            return self._sequence(commands)
        self.call("MULTI")
        for command in commands:
            try:
                self.call(*command)
            except RefusedError:
                self.call("DISCARD")
                raise
        return [
            self._problem(reply, command[0]) if isinstance(reply, Exception) else reply
            for command, reply in zip(commands, self.call("EXEC"), strict=True)
        ]

    def _sequence(self, commands: Sequence[Sequence[str]]) -> list[Any]:
        replies: list[Any] = []
        for command in commands:
            try:
                replies.append(self.call(*command))
            except RefusedError as refusal:
                return [*replies, refusal]
        return replies

    def run_packed(self, commands: str, count: int) -> None:
        """Run commands that are in the form in which they travel already, RESTORE above all; each answers only OK."""
        import redis

        refused: Exception | None = None
        try:
            self._connection.send_packed_command([commands.encode("utf-8", "surrogateescape")])
            for _number in range(count):
                try:
                    self._connection.read_response()
                except redis.exceptions.ResponseError as error:
                    # The answers that follow must be read, too: the next command would take them for its own.
                    refused = refused or error
        except (redis.exceptions.RedisError, OSError) as error:
            refused = error
        if refused:
            raise self._problem(refused, "one of many commands") from refused

    def send_last(self, *words: str) -> None:
        """Send a command after which the server closes the connection, and wait until it does."""
        import redis

        self._connection.send_command(*words)
        try:
            self._connection.read_response()
        except redis.exceptions.ConnectionError:
            return

    def close(self) -> None:
        self._connection.disconnect()

    @property
    def certificate_end(self) -> float | None:
        """When the certificate expires that the server showed, in seconds since 1970; None without TLS."""
        described: dict[str, Any] = getattr(self._connection._sock, "getpeercert", dict)()
        return ssl.cert_time_to_seconds(described["notAfter"]) if described else None

    def information(self) -> dict[str, str]:
        text = self.call("INFO")
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line and not line.startswith("#"))

    def _problem(self, error: Exception, command: str) -> RedisError:
        import redis

        if isinstance(error, redis.exceptions.TimeoutError):
            return RedisError(
                f"The server at {self.where} did not answer {command} within {self._timeout:g} seconds (login_timeout)."
            )
        if isinstance(error, redis.exceptions.NoPermissionError):
            return RefusedError(f"The server at {self.where} does not let login_user run {command}: {error}.")
        if isinstance(error, redis.exceptions.AuthenticationError):
            return RefusedError(
                f"The server at {self.where} wants a login before {command}: set login_user and login_password."
            )
        if isinstance(error, (redis.exceptions.ResponseError, redis.exceptions.BusyLoadingError)):
            return RefusedError(f"The server at {self.where} refused {command}: {_tidy(str(error))}")
        return RedisError(f"The connection to the server at {self.where} broke during {command}: {_tidy(str(error))}")


def connect(params: dict[str, Any]) -> Server | None:
    """Log in to the running server; None when none is running.

    With "probe" false it is an error that none is running, and the server's log has no line about a broken handshake.
    """
    where = params["unix_socket"] or f"{params['login_host']}:{params['login_port']}"
    if params.get("probe", True) and not _is_listening(params, where):
        return None
    server = Server(_open(params, where), where, params["login_timeout"])
    _log_in(server, params)
    facts = _loaded(server, params["loading_timeout"])
    server.is_sentinel = facts.get("redis_mode", facts.get("server_mode")) == "sentinel"
    if "valkey_version" in facts:
        server.version = Version("Valkey", facts["valkey_version"])
    else:
        server.version = Version("Redis", facts["redis_version"])
    return server


def installed_version(binary: str | None) -> Version | None:
    """The version of the installed server program, None where there is none."""
    program = _program(binary)
    if program is None:
        return None
    answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=TRIAL_SECONDS)
    found = re.match(r"(Redis|Valkey) server v=([0-9.]+)", answer.stdout)
    if found is None:
        raise RedisError(f"{program} (server_binary) is not a Redis or Valkey server.")
    return Version(found[1], found[2])


TRIAL_END_SECONDS = 5


def sentinel_program(binary: str | None) -> str | None:
    """The installed Sentinel, None where there is none."""
    path = binary or shutil.which("redis-sentinel") or shutil.which("valkey-sentinel")
    return path if path and os.path.exists(path) else None


@contextmanager
def trial_server(
    params: dict[str, Any], as_sentinel: bool | None = None, configuration: str = ""
) -> Iterator[Server | None]:
    """A server of the installed program, empty and private, to try things on; None where there is none.

    Server and Sentinel are one program, and the name under which it is called decides what it is.
    """
    program = _program(params["server_binary"])
    if program is None or find_spec("redis") is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="redis-trial-") as directory:
        path = os.path.join(directory, "socket")
        options = {"port": "0", "unixsocket": path, "dir": directory, "save": "", "appendonly": "no", "daemonize": "no"}
        if as_sentinel is None:
            as_sentinel = "sentinel" in os.path.basename(program)
        file = os.path.join(directory, "trial.conf")
        with open(file, "w", encoding="utf-8", opener=_private) as stream:
            stream.write(configuration)
        arguments = [file, *(word for name, value in options.items() for word in (f"--{name}", value))]
        with subprocess.Popen(
            ["redis-sentinel" if as_sentinel else "redis-server", *arguments],
            executable=program,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                yield _trial_connection(process, {**params, "unix_socket": path, "login_password": None}, program)
            finally:
                _end(process)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _end(process: subprocess.Popen[str]) -> None:
    """Kill the server and wait for the child, too, that it forks to rewrite its append-only file in its directory."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    end = time.monotonic() + TRIAL_END_SECONDS
    while time.monotonic() < end:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)


class ManagedFile:
    """A file that holds exactly the given text; nothing is written before commit."""

    def __init__(self, module: AnsibleModule, path: str, content: str, option: str = "path") -> None:
        self._module = module
        self._content = content.encode(errors="surrogateescape")
        self._staged = ""
        self._option = option
        self.path = path
        if os.path.isdir(path):
            raise RedisError(f"{option} is {path}, which is a directory, and must be a file.")
        self.before = self._read()
        self.differs = self.before is None or self.before != self._content

    @property
    def text_before(self) -> str:
        return (self.before or b"").decode(errors="replace")

    def stage(self) -> None:
        """Write a private copy beside the file, so that only a rename is left to do."""
        directory = os.path.dirname(self.path)
        if not os.path.isdir(directory):
            raise RedisError(f"The directory {directory} of {self._option} does not exist.")
        try:
            descriptor, self._staged = tempfile.mkstemp(prefix=".ansible-", dir=directory)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(self._content)
        except OSError as error:
            raise RedisError(f"{self._option} {self.path} cannot be written: {error.strerror}.") from error
        self._module.add_cleanup_file(self._staged)

    def commit(self) -> None:
        self._module.atomic_move(self._staged, self.path)

    def keep_attributes(self) -> bool:
        """Bring owner, group and mode in line; whether they differed."""
        if not os.path.exists(self.path):
            return False
        arguments = self._module.load_file_common_arguments(self._module.params, path=self.path)
        return bool(self._module.set_fs_attributes_if_different(arguments, False))

    def _read(self) -> bytes | None:
        try:
            with open(self.path, "rb") as stream:
                return stream.read()
        except FileNotFoundError:
            return None


def _program(binary: str | None) -> str | None:
    path = binary or shutil.which("redis-server") or shutil.which("valkey-server")
    return path if path and os.path.exists(path) else None


def _trial_connection(process: subprocess.Popen[str], params: dict[str, Any], program: str) -> Server:
    deadline = time.monotonic() + TRIAL_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        server = connect({**params, "login_previous_password": None})
        if server:
            return server
        time.sleep(0.02)
    process.kill()
    said = process.communicate()[0].strip().splitlines()
    last_words = _tidy(said[-1] if said else "it says nothing")
    raise StartError(f"{program} (server_binary) does not start: {last_words}", said)


def _is_listening(params: dict[str, Any], where: str) -> bool:
    try:
        if params["unix_socket"]:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(params["login_timeout"])
                probe.connect(params["unix_socket"])
        else:
            socket.create_connection((params["login_host"], params["login_port"]), params["login_timeout"]).close()
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    except socket.gaierror as error:
        raise RedisError(
            f"The name {params['login_host']} (login_host) cannot be resolved: {error.strerror}."
        ) from error
    except TimeoutError as error:
        raise RedisError(
            f"No connection to {where} within {params['login_timeout']:g} seconds (login_timeout)."
        ) from error
    except OSError as error:
        raise RedisError(f"No connection to {where}: {error.strerror or error}.") from error
    return True


def _open(params: dict[str, Any], where: str) -> Any:
    try:
        import redis
        import redis.backoff
        import redis.retry
    except ImportError as error:
        raise RedisError(
            f"A server is running at {where}, but {sys.executable} has no library redis: "
            "install the package python3-redis on this host."
        ) from error
    options: dict[str, Any] = {
        "socket_timeout": params["login_timeout"],
        "socket_connect_timeout": params["login_timeout"],
        "decode_responses": True,
        "encoding_errors": "surrogateescape",
        "retry": redis.retry.Retry(redis.backoff.NoBackoff(), 0),
    }
    if int(redis.__version__.split(".")[0]) >= 5:
        options["protocol"] = 2
        # It must not introduce itself: that fails before the login.
        silent = ["driver_info"] if find_spec("redis.driver_info") else ["lib_name", "lib_version"]
        options.update(dict.fromkeys(silent))
    try:
        if params["unix_socket"]:
            del options["socket_connect_timeout"]
            connection = redis.UnixDomainSocketConnection(path=params["unix_socket"], **options)
        elif params.get("plaintext", False):
            connection = redis.Connection(host=params["login_host"], port=params["login_port"], **options)
        else:
            connection = redis.SSLConnection(
                host=params["login_host"],
                port=params["login_port"],
                ssl_cert_reqs="required",
                ssl_check_hostname=True,
                ssl_ca_certs=params["ca_file"],
                ssl_certfile=params["certificate_file"],
                ssl_keyfile=params["private_key_file"],
                **options,
            )
        connection.connect()
    except (redis.exceptions.RedisError, OSError) as error:
        raise RedisError(f"No connection to the server at {where}: {_tidy(str(error))}") from error
    return connection


def _log_in(server: Server, params: dict[str, Any]) -> None:
    passwords = [(name, params[name]) for name in ("login_password", "login_previous_password") if params[name]]
    if not passwords:
        return
    for _name, password in passwords:
        try:
            server.call("AUTH", params["login_user"], password)
        except RefusedError:
            continue
        return
    tried = " and ".join(name for name, _password in passwords)
    raise LoginError(f"The server at {server.where} refused user {params['login_user']} (login_user) with {tried}.")


def _loaded(server: Server, seconds: int) -> dict[str, str]:
    deadline = time.monotonic() + seconds
    while True:
        facts = server.information()
        if facts.get("loading", "0") == "0" and facts.get("async_loading", "0") == "0":
            return facts
        if time.monotonic() >= deadline:
            raise RedisError(
                f"The server at {server.where} was still loading its data after {seconds} seconds (loading_timeout)."
            )
        time.sleep(min(1, max(0.05, seconds / 100)))


def _tidy(message: str) -> str:
    return message.strip().rstrip(".") + "."
