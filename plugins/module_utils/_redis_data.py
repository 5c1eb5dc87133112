# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The data of a server: what it holds, a consistent file of it, and a private server that holds such a file."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ansible_collections.resultops.celery.plugins.module_utils import _redis

DATABASE = re.compile(r"db(\d+)$")
BUSY = re.compile(r"already in progress|child process is active", re.IGNORECASE)
POLL_SECONDS = 0.1
# What the kernel ends first when memory runs out.
EXPENDABLE = "1000"


@dataclass(frozen=True)
class State:
    """What a server is in its replication set, as it says itself."""

    role: str
    primary: str
    complete: bool
    offset: int

    @classmethod
    def of(cls, facts: Mapping[str, str]) -> State:
        if facts.get("role") != "slave":
            return cls("primary", "", True, _number(facts, "master_repl_offset"))
        linked = facts.get("master_link_status") == "up" and facts.get("master_sync_in_progress", "0") == "0"
        return cls("replica", facts.get("master_host", ""), linked, _number(facts, "slave_repl_offset"))


def keys_by_database(facts: Mapping[str, str]) -> dict[int, int]:
    """How many keys each database holds that holds any."""
    found = {}
    for name, text in facts.items():
        number = DATABASE.match(name)
        if number:
            found[int(number[1])] = _number(dict(part.split("=", 1) for part in text.split(",")), "keys")
    return found


def program(binary: str | None) -> str:
    """The path of the server's program, which is also the one that checks and loads its files."""
    path = binary or shutil.which("redis-server") or shutil.which("valkey-server")
    if not path or not os.path.exists(path):
        raise _redis.RedisError(
            f"The server's program {path or 'redis-server'} (server_binary) is not on this host: deploy it first."
        )
    return path


@contextmanager
def snapshot(server: _redis.Server, seconds: int) -> Iterator[BinaryIO]:
    """A consistent file of all the data, written by the server itself.

    The server replaces its dump.rdb by a rename: what is open here stays the file that this save wrote. A server that
    has neither had such a file nor snapshots of its own does not keep it: without an append-only file it would load it
    at its next start.
    """
    answer = server.call("CONFIG", "GET", "dir", "dbfilename", "save")
    settings = dict(zip(answer[::2], answer[1::2], strict=True))
    path = os.path.join(settings["dir"], settings["dbfilename"])
    before = _identity(path)
    _require_room(settings["dir"], _number(server.information(), "used_memory_dataset"))
    _save(server, time.monotonic() + seconds, seconds)
    with _opened(path) as stream:
        if before is None and not settings["save"]:
            with suppress(OSError):
                os.unlink(path)
        if _identity_of(os.fstat(stream.fileno())) == before:
            raise _redis.RedisError(
                f"The server says that it saved its data, but {path} is still the file from before."
            )
        yield stream


def _opened(path: str) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise _redis.RedisError(
            f"The file {path}, which the server saved, cannot be read: {error.strerror}."
        ) from error


def _save(server: _redis.Server, deadline: float, seconds: int) -> None:
    """Start a save that begins now, not one that began before, and wait for its end."""
    while True:
        try:
            server.call("BGSAVE")
            break
        except _redis.RefusedError as refusal:
            if not BUSY.search(str(refusal)):
                raise
        _wait(deadline, seconds, "was still busy with another save or rewrite")
    while True:
        facts = server.information()
        if facts.get("rdb_bgsave_in_progress") != "1":
            break
        _wait(deadline, seconds, "was still saving its data")
    if facts.get("rdb_last_bgsave_status") != "ok":
        raise _redis.RedisError(
            f"The server at {server.where} could not save its data: its log says why, often the disk is full."
        )


def _wait(deadline: float, seconds: int, what: str) -> None:
    if time.monotonic() >= deadline:
        raise _redis.RedisError(f"After {seconds} seconds (save_timeout) the server {what}.")
    time.sleep(POLL_SECONDS)


def _require_room(directory: str, wanted: int) -> None:
    free = shutil.disk_usage(directory).free
    if free < wanted:
        raise _redis.RedisError(
            f"{directory} has {free // 2**20} MiB left, and a file of the data may take {wanted // 2**20} MiB: a save "
            "that fills the disk would stop the server's own."
        )


def _identity(path: str) -> tuple[int, int, int] | None:
    try:
        return _identity_of(os.stat(path))
    except OSError:
        return None


def _identity_of(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_dev, status.st_ino, status.st_mtime_ns


@contextmanager
def private_server(server_program: str, directory: Path, databases: str, seconds: int) -> Iterator[_redis.Server]:
    """A server that nobody else reaches and that has loaded the dump.rdb in the directory; it leaves no file."""
    socket, log = directory / "socket", directory / "log"
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(directory),
        "logfile": str(log),
        "databases": databases,
        "save": "",
        "appendonly": "no",
        "daemonize": "no",
    }
    arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
    process = subprocess.Popen([server_program, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with suppress(OSError):
            Path(f"/proc/{process.pid}/oom_score_adj").write_text(EXPENDABLE)
        server = _loaded(process, server_program, socket, log, seconds)
        try:
            yield server
        finally:
            server.close()
    finally:
        process.kill()
        process.wait()


def _loaded(
    process: subprocess.Popen[bytes], server_program: str, socket: Path, log: Path, seconds: int
) -> _redis.Server:
    params: dict[str, Any] = {
        "unix_socket": str(socket),
        "login_password": None,
        "login_previous_password": None,
        "login_timeout": 60,
        "loading_timeout": seconds,
    }
    deadline = time.monotonic() + _redis.TRIAL_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            server = _redis.connect(params)
        except _redis.RedisError:
            if process.poll() is None:
                raise
            break
        if server:
            return server
        time.sleep(0.02)
    raise _redis.RedisError(f"{server_program} cannot load the data: {_last_words(log)}.")


def _last_words(log: Path) -> str:
    """Why the server gave up; the lines after that are about its end."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    words = [line.split(" # ", 1)[-1].strip(" .") for line in lines if " # " in line]
    fatal = [word for word in words if "fatal" in word.lower()]
    return (fatal or words or ["it says nothing"])[0]


def _number(facts: Mapping[str, str], name: str) -> int:
    text = facts.get(name, "0")
    return int(text) if text.isdigit() else 0
