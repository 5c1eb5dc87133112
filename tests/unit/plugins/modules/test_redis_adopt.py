# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server that others set up starts with our settings and has every key; without the module it would have none."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from ansible_collections.resultops.celery.tests.unit.ports import free_port
from redis.backoff import NoBackoff
from redis.retry import Retry

PASSWORD = "of the legacy server: 'x' #1"
OURS = {"appendonly": "yes", "save": "3600 1 300 100"}
STOCK = {"save": "3600 1 300 100 60 10000"}


class Legacy:
    """A plaintext server, and the same data directory with the settings that we would start it with."""

    def __init__(self, program: Path, directory: Path) -> None:
        self.program = program
        self.directory = directory
        self.port = free_port()
        self.password: str | None = None
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, settings: dict[str, str], keep_file: bool = False, **more: str) -> None:
        if not keep_file:
            (self.directory / "redis.conf").write_text("")
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self.directory),
            "logfile": str(self.directory / "server.log"),
            **({"requirepass": self.password} if self.password else {}),
            **settings,
            **more,
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        self.process = subprocess.Popen([str(self.program), str(self.directory / "redis.conf"), *words])
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with contextlib.suppress(redis.RedisError):
                self.client().ping()
                return
            time.sleep(0.02)
        pytest.fail((self.directory / "server.log").read_text()[-800:])

    def client(self) -> redis.Redis:
        return redis.Redis(
            host="127.0.0.1",
            port=self.port,
            password=self.password,
            decode_responses=True,
            socket_timeout=5,
            retry=Retry(NoBackoff(), 0),
        )

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self.process:
            self.process.send_signal(number)
            self.process.wait()
            self.process = None

    def fill(self, count: int = 500) -> None:
        self.client().mset({f"key-{number}": number for number in range(count)})


class Writer:
    """A client that never stops to write, and remembers what was acknowledged."""

    def __init__(self, server: Legacy) -> None:
        self._server = server
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.acknowledged: list[str] = []

    def _run(self) -> None:
        client = self._server.client()
        with contextlib.suppress(redis.RedisError):
            while True:
                key = f"written-{len(self.acknowledged)}"
                client.set(key, "1")
                self.acknowledged.append(key)

    def start(self) -> None:
        self._thread.start()
        while len(self.acknowledged) < 50:
            time.sleep(0.01)

    def join(self) -> None:
        self._thread.join(10)


@pytest.fixture
def legacy(redis_program: Path, tmp_path: Path) -> Iterator[Legacy]:
    server = Legacy(redis_program, tmp_path)
    yield server
    server.stop(signal.SIGKILL)


@pytest.fixture
def adopt(legacy: Legacy, run_on_host: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    def run(**arguments: Any) -> dict[str, Any]:
        usual = {
            "port": legacy.port,
            "data_directory": str(legacy.directory),
            "appendonly": True,
            "server_binary": str(legacy.program),
        }
        return run_on_host("redis_adopt", **{**usual, **arguments})

    return run


def test_the_trap_is_real(legacy: Legacy) -> None:
    """What the module is for: the same data directory, started with an append-only file, is empty."""
    legacy.start(STOCK)
    legacy.fill()
    legacy.stop()
    assert (legacy.directory / "dump.rdb").exists()
    legacy.start(OURS)
    assert legacy.client().dbsize() == 0


@pytest.mark.parametrize("password", [None, PASSWORD])
def test_a_running_server_keeps_every_acknowledged_key(legacy: Legacy, adopt: Any, password: str | None) -> None:
    legacy.password = password
    legacy.start(STOCK)
    legacy.fill()
    writer = Writer(legacy)
    writer.start()
    arguments = {"password": password} if password else {}
    foreseen = adopt(check_mode=True, **arguments)
    assert (foreseen["changed"], foreseen["action"]) == (True, "append_only_enabled")
    assert legacy.client().config_get("appendonly") == {"appendonly": "no"}
    result = adopt(**arguments)
    assert (result["changed"], result["action"]) == (True, "append_only_enabled"), result
    assert result["keys"] >= 550
    assert PASSWORD not in str({name: value for name, value in result.items() if name != "invocation"})
    again = adopt(**arguments)
    assert (again["changed"], again["action"]) == (False, "none")
    time.sleep(0.3)
    legacy.stop()
    writer.join()
    legacy.start(OURS)
    client = legacy.client()
    assert len(writer.acknowledged) > 100
    assert client.mget(writer.acknowledged) == ["1"] * len(writer.acknowledged)
    assert client.mget([f"key-{number}" for number in range(500)]) == [str(number) for number in range(500)]


def test_it_waits_until_the_append_only_file_is_complete(legacy: Legacy, adopt: Any) -> None:
    legacy.start(STOCK, **{"rdb-key-save-delay": "2000"})
    legacy.fill()
    assert adopt()["action"] == "append_only_enabled"
    assert legacy.client().info("persistence")["aof_rewrite_in_progress"] == 0
    legacy.client().config_set("appendonly", "no")
    late = adopt(timeout=0)
    assert "did not complete its append-only file within 0 seconds (timeout)" in late["msg"]


def test_accounts_in_the_state_file_do_not_keep_the_server_from_starting(legacy: Legacy, adopt: Any) -> None:
    """A server without a file of accounts writes them into its own, and does not start with both."""
    state_file, accounts = legacy.directory / "redis.conf", legacy.directory / "users.acl"
    accounts.write_text("user default on nopass ~* &* +@all\n")
    legacy.start(STOCK)
    legacy.fill()
    assert adopt(state_file=str(state_file))["action"] == "append_only_enabled"
    assert "appendonly yes" in state_file.read_text()
    assert adopt(state_file=str(state_file))["changed"] is False
    legacy.stop()
    legacy.start(OURS, keep_file=True, aclfile=str(accounts))
    assert legacy.client().dbsize() == 500


def test_accounts_of_a_stopped_server_are_taken_out_alone(legacy: Legacy, adopt: Any) -> None:
    state_file = legacy.directory / "redis.conf"
    state_file.write_text("# user of the manual\nuser old on nopass\n  USER other off\nmaxclients 100\n")
    before = state_file.read_text()
    assert adopt(state_file=str(state_file), check_mode=True)["changed"] is True
    assert state_file.read_text() == before
    assert adopt(state_file=str(state_file))["changed"] is True
    assert state_file.read_text() == "# user of the manual\nmaxclients 100\n"


def test_a_crash_before_the_restart_loses_nothing(legacy: Legacy, adopt: Any) -> None:
    """The server's own configuration file says appendonly now, too."""
    legacy.start({**STOCK})
    legacy.fill()
    assert adopt()["action"] == "append_only_enabled"
    legacy.client().set("late", "1")
    assert "appendonly yes" in (legacy.directory / "redis.conf").read_text()
    legacy.stop(signal.SIGKILL)
    legacy.start(OURS)
    assert legacy.client().dbsize() == 501


@pytest.mark.parametrize("arguments", [{}, {"password": "wrong"}])
def test_a_password_is_asked_for_by_the_names_of_this_module(legacy: Legacy, adopt: Any, arguments: Any) -> None:
    legacy.password = PASSWORD
    legacy.start(STOCK)
    result = adopt(**arguments)
    assert result["failed"]
    assert "login_user" not in result["msg"]
    assert "password" in result["msg"]


def test_a_password_that_the_server_does_not_want_does_no_harm(legacy: Legacy, adopt: Any) -> None:
    legacy.start(STOCK)
    legacy.fill()
    assert adopt(password="of another server")["action"] == "append_only_enabled"


@pytest.mark.parametrize("name", ["dbfilename", "appenddirname", "appendfilename"])
def test_names_that_would_not_be_found_are_refused(legacy: Legacy, adopt: Any, name: str) -> None:
    legacy.start(STOCK, **{name: "other"})
    legacy.fill(1)
    result = adopt()
    assert f"has {name} other, and the data will be looked for in" in result["msg"]


def test_data_that_lie_elsewhere_are_refused(legacy: Legacy, adopt: Any, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    legacy.start(STOCK)
    assert adopt(data_directory=str(elsewhere))["changed"] is False
    legacy.fill(1)
    result = adopt(data_directory=str(elsewhere))
    assert f"keeps its data in {tmp_path} instead of {elsewhere} (data_directory)" in result["msg"]


def test_a_dump_becomes_the_base_of_an_append_only_file(legacy: Legacy, adopt: Any) -> None:
    legacy.start(STOCK)
    legacy.fill()
    legacy.stop()
    foreseen = adopt(check_mode=True)
    assert (foreseen["changed"], foreseen["action"], foreseen["keys"]) == (True, "dump_converted", 500)
    assert not (legacy.directory / "appendonlydir").exists()
    result = adopt()
    assert (result["changed"], result["action"], result["keys"]) == (True, "dump_converted", 500)
    assert (adopt()["changed"], adopt()["action"]) == (False, "none")
    legacy.start(OURS)
    assert legacy.client().dbsize() == 500


def test_a_broken_dump_is_refused(legacy: Legacy, adopt: Any) -> None:
    legacy.start(STOCK)
    legacy.fill()
    legacy.stop()
    dump = legacy.directory / "dump.rdb"
    dump.write_bytes(dump.read_bytes()[:-100])
    result = adopt()
    assert "is not a complete RDB file" in result["msg"]
    assert not (legacy.directory / "appendonlydir").exists()


def test_without_a_program_the_dump_is_not_left_behind_in_silence(legacy: Legacy, adopt: Any) -> None:
    legacy.start(STOCK)
    legacy.fill()
    legacy.stop()
    assert (
        "/nowhere/redis-server (server_binary) is not on this host"
        in adopt(server_binary="/nowhere/redis-server")["msg"]
    )


@pytest.mark.parametrize("content", [None, "empty"])
def test_where_there_are_no_data_there_is_nothing_to_do(legacy: Legacy, adopt: Any, content: str | None) -> None:
    if content:
        legacy.start(STOCK)
        legacy.client().set("gone", "1")
        legacy.client().flushall()
        legacy.client().save()
        legacy.stop()
        assert (legacy.directory / "dump.rdb").exists()
    assert (adopt()["changed"], adopt()["action"]) == (False, "none")
    assert adopt(data_directory="/nowhere/data")["changed"] is False


def test_an_append_only_file_is_left_alone(legacy: Legacy, adopt: Any) -> None:
    legacy.start(OURS)
    legacy.fill()
    legacy.client().save()
    assert adopt()["action"] == "none"
    legacy.stop()
    before = sorted(path.name for path in (legacy.directory / "appendonlydir").iterdir())
    assert adopt()["changed"] is False
    assert sorted(path.name for path in (legacy.directory / "appendonlydir").iterdir()) == before


def test_a_server_that_would_keep_nothing_writes_a_dump_when_it_stops(legacy: Legacy, adopt: Any) -> None:
    legacy.start({"save": ""})
    legacy.fill()
    assert adopt(appendonly=False, check_mode=True)["action"] == "snapshots_enabled"
    result = adopt(appendonly=False)
    assert (result["changed"], result["action"], result["keys"]) == (True, "snapshots_enabled", 500)
    assert adopt(appendonly=False)["action"] == "none"
    legacy.stop()
    legacy.start(STOCK)
    assert legacy.client().dbsize() == 500


def test_an_append_only_file_that_would_be_ignored_is_refused(legacy: Legacy, adopt: Any) -> None:
    legacy.start({"appendonly": "yes", "save": ""})
    legacy.fill()
    legacy.stop()
    result = adopt(appendonly=False)
    assert "a server without an append-only file (appendonly) would not load it" in result["msg"]
    # A dump that is newer has all of it.
    legacy.start({"appendonly": "yes", "save": ""})
    legacy.client().save()
    legacy.stop()
    os.utime(legacy.directory / "dump.rdb")
    assert adopt(appendonly=False)["action"] == "none"


def test_a_server_that_listens_elsewhere_is_not_taken_for_stopped(legacy: Legacy, adopt: Any, tmp_path: Path) -> None:
    legacy.start(STOCK)
    legacy.fill()
    legacy.client().save()
    result = adopt(port=1)
    assert f"A server works in {tmp_path} (data_directory), process" in result["msg"]
    assert "nothing listens without TLS at 127.0.0.1:1 (host, port)" in result["msg"]


def test_a_server_with_tls_is_named(redis_server: Any, adopt: Any) -> None:
    result = adopt(port=redis_server.port)
    assert result["failed"]
    assert f"The connection to the server at 127.0.0.1:{redis_server.port} broke during INFO" in result["msg"]


def test_an_append_only_file_that_cannot_be_written_is_a_sentence(legacy: Legacy, adopt: Any) -> None:
    """The server cannot make the directory of its append-only file, because there is a file by that name."""
    legacy.start(STOCK)
    legacy.fill()
    (legacy.directory / "appendonlydir").write_text("in the way")
    result = adopt(timeout=5)
    assert result["failed"]
    assert f"127.0.0.1:{legacy.port}" in result["msg"]
