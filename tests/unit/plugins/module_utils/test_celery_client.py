# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What needs no server; the tests of the modules break a real one in every way that has a class."""

from __future__ import annotations

import errno
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import celery.exceptions
import kombu.exceptions
import pytest
import redis.exceptions
import redis.sentinel
from ansible_collections.resultops.celery.plugins.module_utils import _celery_client as client
from ansible_collections.resultops.celery.plugins.module_utils import _report

PASSWORD = "p@ss:/w%rd#?&'\"{{ }}\\"


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("A=1\nB=2\n", {"A": "1", "B": "2"}),
        ("# A=1\n; B=2\n\n  C=3", {"C": "3"}),
        ("A=  padded value \t\n", {"A": "padded value"}),
        ("A='single \\ $x \"quoted\"'\n", {"A": 'single \\ $x "quoted"'}),
        ('A="double \\" \\\\ \\$x \\` \\n %41"\n', {"A": 'double " \\ $x ` \\n %41'}),
        ("A='two\nlines'\n", {"A": "two\nlines"}),
        ("A=joined \\\nline\n", {"A": "joined line"}),
        ('A="joined \\\nline"\n', {"A": "joined line"}),
        ("A=back\\\\slash\\ \n", {"A": "back\\slash "}),
        ("A='x'\"y\"z\n", {"A": "xyz"}),
        ('A=" kept "\n', {"A": " kept "}),
        ("A=a#b;c\n", {"A": "a#b;c"}),
        ("A=\nB=\n", {"A": "", "B": ""}),
        ("no assignment\nA=1\n", {"A": "1"}),
        ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("# a comment \\\nA=1\nB=2\n", {"A": "1", "B": "2"}),
        ("A=1\nA=2\n", {"A": "2"}),
    ],
)
def test_an_environment_file_reads_as_systemd_reads_it(tmp_path: Path, text: str, values: dict[str, str]) -> None:
    (tmp_path / ".env").write_bytes(text.encode())
    assert client.read_environment(str(tmp_path / ".env")) == values


@pytest.mark.parametrize("text", ["A='open\n", 'A="open\n'])
def test_an_open_quote_is_refused_without_its_value(tmp_path: Path, text: str) -> None:
    (tmp_path / ".env").write_text(text)
    with pytest.raises(client.CheckFailedError, match=r"quotes of A are not closed") as refusal:
        client.read_environment(str(tmp_path / ".env"))
    assert "open" not in str(refusal.value)


@pytest.mark.parametrize(("make", "said"), [(Path.mkdir, "Is a directory"), (Path.exists, "No such file")])
def test_an_unreadable_environment_file_is_named(tmp_path: Path, make: Any, said: str) -> None:
    make(tmp_path / ".env")
    with pytest.raises(client.CheckFailedError, match=said) as refusal:
        client.read_environment(str(tmp_path / ".env"))
    assert refusal.value.failure_class == "config"


@pytest.mark.parametrize(
    ("error", "failure_class"),
    [
        (socket.gaierror(-2, "Name or service not known"), "dns"),
        (ConnectionRefusedError(), "refused"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "refused"),
        (TimeoutError(), "timeout"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "unreachable"),
        (ssl.SSLCertVerificationError(1, "certificate verify failed"), "tls"),
        (ssl.SSLEOFError(8, "EOF"), "tls"),
        (redis.exceptions.TimeoutError("Timeout connecting to server"), "timeout"),
        (redis.exceptions.AuthenticationError("invalid username-password pair or user is disabled."), "auth"),
        (redis.exceptions.ResponseError("NOAUTH Authentication required."), "auth"),
        (redis.exceptions.NoPermissionError("this user has no permissions to run the 'get' command"), "acl"),
        (redis.exceptions.ResponseError("ACL failure in script: User celery has no permissions to run"), "acl"),
        (redis.exceptions.ReadOnlyError("You can't write against a read only replica."), "read_only"),
        (redis.exceptions.ResponseError("MISCONF Redis is configured to save RDB snapshots"), "read_only"),
        (redis.exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), "oom"),
        (redis.exceptions.BusyLoadingError("Redis is loading the dataset in memory"), "refused"),
        (redis.exceptions.ResponseError("NOREPLICAS Not enough good replicas to write."), "replicas"),
        (redis.sentinel.MasterNotFoundError("No master found for 'results'"), "no_primary"),
        (redis.exceptions.ConnectionError("Connection closed by server."), "refused"),
        (kombu.exceptions.ContentDisallowed("Refusing to deserialize"), "serializer"),
        (kombu.exceptions.SerializerNotInstalled("No encoder installed for msgpack"), "serializer"),
        (celery.exceptions.TimeoutError("The operation timed out."), "timeout"),
        (celery.exceptions.ImproperlyConfigured("You need to install the redis library"), "config"),
        (ModuleNotFoundError("No module named 'redis'"), "config"),
        (ZeroDivisionError(), "unknown"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_an_error_has_one_class_and_a_remedy(error: Exception, failure_class: str) -> None:
    found, remedy = client.classify(error)
    assert found == failure_class
    assert remedy.endswith(".")
    assert found in _report.FAILURE_CLASSES


def test_the_cause_counts_where_the_error_says_little() -> None:
    error = kombu.exceptions.OperationalError("could not connect")
    error.__cause__ = ConnectionRefusedError()
    assert client.classify(error)[0] == "refused"


def test_the_error_itself_counts_before_what_came_earlier() -> None:
    error = redis.exceptions.OutOfMemoryError("no memory")
    error.__context__ = ConnectionRefusedError()
    assert client.classify(error)[0] == "oom"


def test_a_chain_that_bites_its_tail_ends() -> None:
    error, other = ValueError("one"), ValueError("two")
    error.__context__, other.__context__ = other, error
    assert client.classify(error)[0] == "unknown"


@pytest.mark.parametrize(
    ("said", "failure_class"),
    [
        ("(0, 0): (403) ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN.", "auth"),
        ("queue.declare: (403) ACCESS_REFUSED - access to queue 'x' in vhost 'y' refused for user 'z'", "acl"),
        ("connection.open: (530) NOT_ALLOWED - vhost y not found", "acl"),
        (
            "connection.open: (530) NOT_ALLOWED - user limit (1000) is reached",
            "too_many_connections",
        ),
        ("queue.declare: (404) NOT_FOUND - home node 'rabbit@c' of queue 'x' is down or inaccessible", "refused"),
    ],
)
def test_what_rabbitmq_says_is_understood(said: str, failure_class: str) -> None:
    assert client.classify(RuntimeError(said))[0] == failure_class


def test_every_class_that_a_check_can_give_has_a_remedy() -> None:
    classes = {*client.CLASS_OF_EXCEPTION.values(), *client.CLASS_OF_ERRNO.values()}
    classes |= {failure_class for _pattern, failure_class in client.CLASS_OF_REPLY}
    assert classes <= set(client.REMEDIES)
    assert set(client.REMEDIES) <= set(_report.FAILURE_CLASSES)


@pytest.mark.parametrize("shown", [PASSWORD, quote(PASSWORD, safe="")], ids=["plain", "encoded"])
def test_a_check_never_shows_a_secret(shown: str) -> None:
    run = client.CheckRun("redis")
    encoded = quote(PASSWORD, safe="")
    run.redact.learn_environment(
        {"CELERY_RESULT_BACKEND": f"rediss://celery:{encoded}@redis1/0", "API_TOKEN": "abcdef"}
    )

    def check() -> str:
        raise ValueError(f"wrong: {shown} and abcdef")

    assert run.run("auth", check) is False
    assert run.rows[0]["detail"] == "ValueError: wrong: *** and ***. See the logs of server and worker."


def test_a_check_becomes_a_row() -> None:
    run = client.CheckRun("redis")
    assert run.run("dns", lambda: "Found.") is True
    run.skip(["tcp", "tls"], "Not now.")
    assert [row["status"] for row in run.rows] == ["passed", "skipped", "skipped"]
    assert run.failures == []
    assert set(run.rows[0]) == {"check", "backend", "host", "status", "failure_class", "seconds", "detail"}
    assert run.rows[0]["failure_class"] is None


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("redis://h/0", "redis"),
        ("rediss://h/0", "redis"),
        ("celeryresults.FastRedisBackend+rediss://h/0", "redis"),
        ("sentinel://h/0;sentinel://i/0", "sentinel"),
        ("celeryresults.DurableSentinelBackend+sentinel://h/0", "sentinel"),
        ("rpc://", "rpc"),
    ],
)
def test_the_kind_follows_from_the_url(url: str, kind: str) -> None:
    assert client.backend_kind(url) == kind


@pytest.mark.parametrize("url", ["", None, "rpcs://", "cache+memory://", "quick+redis://h", "+redis://h"])
def test_a_backend_that_cannot_be_checked_is_refused(url: str | None) -> None:
    with pytest.raises(client.CheckFailedError) as refusal:
        client.backend_kind(url)
    assert refusal.value.failure_class == "config"


def test_a_resolver_that_hangs_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(client.socket, "getaddrinfo", lambda *_args, **_kwargs: released.wait(5) and [])
    with pytest.raises(client.CheckFailedError, match="was not resolved") as refusal:
        client.resolve("redis1", 0.1)
    released.set()
    assert refusal.value.failure_class == "dns"


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_silent_port_is_neither_plaintext_nor_tls(silent_port: int) -> None:
    assert client.speaks_plaintext("127.0.0.1", silent_port, 0.1) is False
    assert client.speaks_tls("127.0.0.1", silent_port, 0.1) is False


def test_a_ca_file_that_is_no_certificate(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("nothing")
    with pytest.raises(client.CheckFailedError, match="cannot be loaded") as refusal:
        client.tls_context({"ssl_ca_certs": str(tmp_path / "ca.crt")})
    assert refusal.value.failure_class == "config"
