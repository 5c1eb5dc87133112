# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a server holds, and a file of it that is consistent whatever else happens."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _rdb, _redis, _redis_data

LOGIN = {"login_password": None, "login_previous_password": None, "login_timeout": 10, "loading_timeout": 10}


def connected(server: Any) -> _redis.Server:
    connection = _redis.connect({**LOGIN, "unix_socket": str(server.socket)})
    assert connection
    return connection


@pytest.fixture
def server(redis_server: Any) -> Iterator[_redis.Server]:
    connection = connected(redis_server)
    yield connection
    connection.close()


def counted(stream: Any, program: Path) -> _rdb.Contents:
    return _rdb.check(str(program), f"/proc/self/fd/{stream.fileno()}")


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        ({"role": "master", "master_repl_offset": "7"}, ("primary", "", True, 7)),
        (
            {"role": "slave", "master_host": "a", "master_link_status": "up", "slave_repl_offset": "9"},
            ("replica", "a", True, 9),
        ),
        ({"role": "slave", "master_host": "a", "master_link_status": "down"}, ("replica", "a", False, 0)),
        (
            {"role": "slave", "master_link_status": "up", "master_sync_in_progress": "1", "slave_repl_offset": "-1"},
            ("replica", "", False, 0),
        ),
        ({}, ("primary", "", True, 0)),
    ],
)
def test_the_state_is_what_the_server_says(facts: dict[str, str], state: tuple[Any, ...]) -> None:
    assert _redis_data.State.of(facts) == _redis_data.State(*state)


def test_keys_are_counted_in_every_database(server: _redis.Server) -> None:
    server.call("SET", "a", "1")
    server.call("SELECT", "12")
    server.call("SET", "a", "1")
    server.call("SET", "b", "1")
    assert _redis_data.keys_by_database(server.information()) == {0: 1, 12: 2}


def test_the_program_must_be_there() -> None:
    with pytest.raises(_redis.RedisError, match=r"/nowhere \(server_binary\) is not on this host"):
        _redis_data.program("/nowhere")


def test_a_save_is_of_one_moment_while_others_write(redis_server: Any, redis_program: Path) -> None:
    """Both keys of a pair are written at once, so every moment has an even number of keys."""
    stop = threading.Event()

    def write() -> None:
        with redis_server.client() as client:
            number = 0
            while not stop.is_set():
                client.mset({f"a-{number}": "x" * 100, f"b-{number}": "x" * 100})
                number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        time.sleep(0.2)
        for _attempt in range(4):
            with _redis_data.snapshot(connected(redis_server), 30) as stream:
                keys = counted(stream, redis_program).keys
                assert keys > 0
                assert keys % 2 == 0
    finally:
        stop.set()
        writer.join()


@pytest.mark.parametrize(
    ("settings", "stays"),
    [
        ({"appendonly": "yes", "save": ""}, False),
        ({"appendonly": "no", "save": ""}, False),
        ({"appendonly": "no", "save": "3600 1"}, True),
        ({"appendonly": "yes", "save": "3600 1"}, True),
    ],
    ids=["aof", "none", "rdb", "aof and rdb"],
)
def test_only_a_server_that_saves_by_itself_keeps_a_dump(
    stopped_server: Any, redis_program: Path, settings: dict[str, str], stays: bool
) -> None:
    stopped_server.start(**settings)
    server = connected(stopped_server)
    server.call("SET", "a", "1")
    with _redis_data.snapshot(server, 30) as stream:
        assert (stopped_server.directory / "dump.rdb").exists() == stays
        assert counted(stream, redis_program).keys == 1


def test_a_dump_that_was_there_stays(redis_server: Any, server: _redis.Server, redis_program: Path) -> None:
    server.call("SAVE")
    server.call("SET", "a", "1")
    with _redis_data.snapshot(server, 30) as stream:
        assert counted(stream, redis_program).keys == 1
    assert (redis_server.directory / "dump.rdb").exists()


def test_a_save_that_began_before_is_waited_for(server: _redis.Server, redis_program: Path) -> None:
    server.call("CONFIG", "SET", "rdb-key-save-delay", "20000")
    for number in range(25):
        server.call("SET", f"before-{number}", "1")
    server.call("BGSAVE")
    server.call("SET", "after", "1")
    server.call("CONFIG", "SET", "rdb-key-save-delay", "0")
    with _redis_data.snapshot(server, 30) as stream:
        assert counted(stream, redis_program).keys == 26


def test_waiting_has_an_end(server: _redis.Server) -> None:
    server.call("CONFIG", "SET", "rdb-key-save-delay", "500000")
    for number in range(20):
        server.call("SET", f"{number}", "1")
    with (
        pytest.raises(
            _redis.RedisError, match=r"After 1 seconds \(save_timeout\) the server was still saving its data"
        ),
        _redis_data.snapshot(server, 1),
    ):
        pytest.fail("There is nothing to read.")
    with (
        pytest.raises(_redis.RedisError, match=r"\(save_timeout\) the server was still busy with another save"),
        _redis_data.snapshot(server, 1),
    ):
        pytest.fail("There is nothing to read.")


def test_a_save_that_fails_is_a_sentence(redis_server: Any, server: _redis.Server) -> None:
    """The directory cannot be written even by root once another directory has the name of the file."""
    (redis_server.directory / "dump.rdb").mkdir()
    with (
        pytest.raises(_redis.RedisError, match="could not save its data: its log says why"),
        _redis_data.snapshot(server, 30),
    ):
        pytest.fail("There is nothing to read.")


def test_a_file_from_before_is_not_taken_for_the_new_one(
    server: _redis.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.call("SAVE")
    monkeypatch.setattr(_redis_data, "_save", lambda *_arguments: None)
    with (
        pytest.raises(_redis.RedisError, match=r"dump\.rdb is still the file from before"),
        _redis_data.snapshot(server, 30),
    ):
        pytest.fail("There is nothing to read.")


def test_a_disk_without_room_is_refused_before(server: _redis.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_redis_data.shutil, "disk_usage", lambda _path: Usage())
    server.call("SET", "a", "x" * 3_000_000)
    with pytest.raises(_redis.RedisError, match="has 0 MiB left, and a file of the data may take"):
        _redis_data.snapshot(server, 30).__enter__()
    assert server.information()["rdb_saves"] == "0"


class Usage:
    free = 1000


def test_a_private_server_holds_the_file_and_is_gone_afterwards(
    redis_server: Any, server: _redis.Server, redis_program: Path, tmp_path: Path
) -> None:
    server.call("SET", "a", "1")
    server.call("SAVE")
    (tmp_path / "dump.rdb").write_bytes((redis_server.directory / "dump.rdb").read_bytes())
    with _redis_data.private_server(str(redis_program), tmp_path, "16", 30) as private:
        assert private.call("GET", "a") == "1"
        assert private.call("CONFIG", "GET", "port")[1] == "0"
        pid = int(private.information()["process_id"])
        assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "1000"
    assert not Path(f"/proc/{pid}").exists()


def test_a_file_that_cannot_be_loaded_is_a_sentence(redis_program: Path, redis_server: Any, tmp_path: Path) -> None:
    with redis_server.client() as client:
        client.execute_command("SELECT", 15)
        client.set("a", "1")
        client.save()
    (tmp_path / "dump.rdb").write_bytes((redis_server.directory / "dump.rdb").read_bytes())
    with (
        pytest.raises(_redis.RedisError, match=r"cannot load the data: FATAL: .*more than 2 databases"),
        _redis_data.private_server(str(redis_program), tmp_path, "2", 30),
    ):
        pytest.fail("It has too few databases.")
