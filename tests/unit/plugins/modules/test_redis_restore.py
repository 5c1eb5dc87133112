# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From one real server through an encrypted file into another, and everything that must not pass."""

from __future__ import annotations

import importlib
import io
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from ansible_collections.resultops.celery.plugins.module_utils import _backup, _rdb, _redis_copy

PASSPHRASE = "{{ a }} passphrase: öäü'\" only for the tests"
SEALED = _backup.CHUNK + _backup.TAG


@pytest.fixture(autouse=True)
def cheap_guesses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_backup.STRETCHING, "n", 16)


@pytest.fixture
def backup(
    stopped_server: Any, redis_program: Path, tmp_path: Path, run_on_host: Callable[..., dict[str, Any]]
) -> Path:
    """The encrypted backup of a server with 1000 results in database 0, some data in others, and 3 MB altogether."""
    source = type(stopped_server)(redis_program, tmp_path)
    source.start()
    with source.client() as client:
        for number in range(1000):
            client.set(f"celery-task-meta-{number}", os.urandom(3000), ex=3600)
        client.set("for ever", "1")
        client.execute_command("SELECT", 1)
        client.lpush("queue", "a", "b")
    kept = tmp_path / "kept"
    kept.mkdir()
    done = run_on_host(
        "redis_backup",
        directory=str(kept),
        set_name="results",
        host_name="redis1",
        passphrase=PASSPHRASE,
        unix_socket=str(source.socket),
        server_binary=str(redis_program),
    )
    source.kill()
    return Path(done["path"])


@pytest.fixture
def restore(
    redis_server: Any, redis_program: Path, tmp_path: Path, run_on_host: Callable[..., dict[str, Any]], backup: Path
) -> Callable[..., dict[str, Any]]:
    work = tmp_path / "work"
    work.mkdir()

    def run(check_mode: bool = False, **arguments: Any) -> dict[str, Any]:
        wanted = {
            "src": str(backup),
            "passphrase": PASSPHRASE,
            "work_directory": str(work),
            "unix_socket": str(redis_server.socket),
            "server_binary": str(redis_program),
            **arguments,
        }
        done = run_on_host("redis_restore", check_mode, **wanted)
        assert list(work.iterdir()) == [], "Data in the clear is left behind."
        assert PASSPHRASE not in str({**done, "invocation": ""})
        return done

    return run


def refusal(done: dict[str, Any]) -> str:
    assert done["failed"]
    assert done["msg"].endswith(".")
    return str(done["msg"])


def keyspace(server: Any) -> dict[str, int]:
    with server.client() as client:
        return {name: facts["keys"] for name, facts in client.info("keyspace").items()}


def test_an_empty_server_gets_every_key(redis_server: Any, restore: Any) -> None:
    done = restore()
    assert done["changed"]
    assert (done["keys"], done["restored"], done["expired"], done["replaced"]) == (1002, 1002, 0, 0)
    assert keyspace(redis_server) == {"db0": 1001, "db1": 1}
    with redis_server.client() as client:
        assert 3500 < client.ttl("celery-task-meta-999") <= 3600
        assert client.ttl("for ever") == -1
        client.execute_command("SELECT", 1)
        assert client.lrange("queue", 0, -1) == ["b", "a"]
    assert done["manifest"]["host"] == "redis1"
    assert done["diff"]["after"] == "database 0: 1001 keys\ndatabase 1: 1 keys\n"
    assert set(done["seconds"]) == {"decrypt", "load", "copy"}
    assert "warnings" not in done


def test_a_second_restore_is_refused_with_a_sentence(redis_server: Any, restore: Any) -> None:
    restore()
    assert "holds 1002 keys: restore to an empty server, or let the backup take their place" in refusal(restore())
    assert keyspace(redis_server) == {"db0": 1001, "db1": 1}


def test_it_replaces_when_it_is_told_to(redis_server: Any, restore: Any) -> None:
    with redis_server.client() as client:
        client.set("old", "1")
        client.execute_command("SELECT", 7)
        client.set("old", "1")
    done = restore(replace=True)
    assert (done["replaced"], done["restored"]) == (2, 1002)
    assert keyspace(redis_server) == {"db0": 1001, "db1": 1}
    assert done["diff"]["before"] == "database 0: 1 keys\ndatabase 7: 1 keys\n"


def test_check_mode_proves_that_it_would_work(redis_server: Any, restore: Any) -> None:
    done = restore(check_mode=True)
    assert (done["changed"], done["restored"]) == (True, 1002)
    assert set(done["seconds"]) == {"decrypt", "load"}
    assert keyspace(redis_server) == {}


def test_the_restored_keys_survive_a_crash(redis_server: Any, restore: Any) -> None:
    redis_server.restart(appendonly="yes")
    restore()
    redis_server.restart(appendonly="yes")
    assert keyspace(redis_server) == {"db0": 1001, "db1": 1}


def test_another_passphrase_is_refused(redis_server: Any, restore: Any) -> None:
    assert "the passphrase is another one" in refusal(restore(passphrase="another passphrase for the tests"))
    assert keyspace(redis_server) == {}


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ("cut", "so it was cut off"),
        ("flip", "part 1 of it was changed or is not in its place"),
        ("swap", "part 1 of it was changed or is not in its place"),
        ("other", "is not a backup of this collection"),
        ("gone", "cannot be read: No such file or directory"),
    ],
)
@pytest.mark.parametrize("check_mode", [False, True])
def test_a_damaged_backup_is_refused(
    redis_server: Any, restore: Any, backup: Path, damage: str, sentence: str, check_mode: bool
) -> None:
    whole = backup.read_bytes()
    start = (
        len(whole) - _backup.read_manifest(str(backup), _backup.Manifest).bytes % _backup.CHUNK - _backup.TAG - SEALED
    )
    first, second = whole[start - SEALED : start], whole[start : start + SEALED]
    backup.write_bytes(
        {
            "cut": whole[:-1000],
            "flip": whole[: start - 9] + bytes([whole[start - 9] ^ 4]) + whole[start - 8 :],
            "swap": whole[: start - SEALED] + second + first + whole[start + SEALED :],
            "other": b"REDIS0011" + whole,
            "gone": b"",
        }[damage]
    )
    if damage == "gone":
        backup.unlink()
    assert sentence in refusal(restore(check_mode))
    assert keyspace(redis_server) == {}


def test_keys_that_expired_since_are_counted_as_such(
    redis_server: Any, restore: Any, backup: Path, redis_program: Path, tmp_path: Path, run_on_host: Any
) -> None:
    source = type(redis_server)(redis_program, tmp_path)
    source.start()
    with source.client() as client:
        client.set("stays", "1", ex=3600)
        for number in range(5):
            client.set(f"brief-{number}", "1", px=1500)
        done = run_on_host(
            "redis_backup",
            directory=str(backup.parent),
            set_name="brief",
            host_name="redis1",
            passphrase=PASSPHRASE,
            unix_socket=str(source.socket),
            server_binary=str(redis_program),
        )
    source.kill()
    assert done["manifest"]["keys"] == 6
    time.sleep(1.6)
    restored = restore(src=done["path"])
    assert (restored["keys"], restored["restored"], restored["expired"]) == (6, 1, 5)
    assert "warnings" not in restored
    assert keyspace(redis_server) == {"db0": 1}


def rewritten(backup: Path, change: Callable[[bytes], bytes], **manifest: Any) -> Path:
    """The same backup with other data, as one who has the passphrase can make it."""
    data = io.BytesIO()
    described = _backup.decrypt(str(backup), data, PASSPHRASE, _backup.Manifest).as_dict()
    changed = change(data.getvalue())
    digest = _backup.hashlib.sha256(changed).hexdigest()
    described = {**described, "sha256": digest, "bytes": len(changed), **manifest}
    with backup.open("wb") as target:
        _backup.encrypt(io.BytesIO(changed), target, _backup.Manifest(**described), PASSPHRASE)
    return backup


def test_a_format_of_a_later_release_is_named(redis_server: Any, restore: Any, backup: Path) -> None:
    rewritten(backup, lambda data: data[:5] + b"0099" + data[9:], rdb_version=99, version="12.1", engine="Valkey")
    assert "was made by Valkey 12.1, whose format (RDB 99) Redis " in refusal(restore())
    assert keyspace(redis_server) == {}


def test_a_database_file_that_is_damaged_inside_is_found(redis_server: Any, restore: Any, backup: Path) -> None:
    rewritten(backup, lambda data: data[:-20])
    assert f"The data in {backup} is not a complete RDB file" in refusal(restore())
    assert keyspace(redis_server) == {}


def test_a_manifest_with_other_keys_is_refused(redis_server: Any, restore: Any, backup: Path) -> None:
    rewritten(backup, lambda data: data, keys=7)
    assert "has 1002 keys, and its manifest says 7" in refusal(restore())
    assert keyspace(redis_server) == {}


def test_memory_that_does_not_suffice_is_refused_before(redis_server: Any, restore: Any) -> None:
    with redis_server.client() as client:
        client.set("old", "1")
        client.config_set("maxmemory", "3mb")
    assert "may use 3 MiB (redis_maxmemory), of which it uses" in refusal(restore(replace=True))
    assert keyspace(redis_server) == {"db0": 1}


def test_a_host_without_memory_is_refused_before(restore: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("ansible_collections.resultops.celery.plugins.modules.redis_restore")
    monkeypatch.setattr(module, "_available_memory", lambda: 1000)
    assert "This host has 0 MiB of memory available, and the data of the backup takes" in refusal(restore())


def test_a_disk_without_room_is_refused_before(restore: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = importlib.import_module("ansible_collections.resultops.celery.plugins.modules.redis_restore")
    usage = module.shutil.disk_usage
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage(path)._replace(free=1000))
    assert f"{tmp_path / 'work'} (work_directory) has 0 MiB left" in refusal(restore())


def test_a_replica_is_refused(redis_server: Any, restore: Any, free_port: Any) -> None:
    with redis_server.client() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", free_port())
    assert "is a replica of 127.0.0.1: restore into the primary" in refusal(restore())


def test_a_server_that_does_not_run_is_a_sentence(redis_server: Any, restore: Any) -> None:
    redis_server.kill()
    assert refusal(restore()) == "No server is running on this host: deploy it first, then restore into it."


def test_a_copy_that_fails_leaves_what_was_there(
    redis_server: Any, restore: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = _redis_copy._copy_database

    def lose(source: Any, target: Any, number: int, copied: Any) -> None:
        copy(source, target, number, copied)
        target.call("DEL", "celery-task-meta-3")

    with redis_server.client() as client:
        client.set("old", "1")
    monkeypatch.setattr(_redis_copy, "_copy_database", lose)
    assert "Of the 1001 keys of database 0 only 1000 arrived" in refusal(restore(replace=True))
    assert keyspace(redis_server) == {"db0": 1}


def test_keys_that_nobody_accounts_for_are_a_warning(restore: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the private server had lost some of them on its way."""
    page = _redis_copy.READ_PAGE.replace("if value then", "if value and key ~= 'for ever' then")
    monkeypatch.setattr(_redis_copy, "READ_PAGE", page)
    done = restore()
    assert done["restored"] == 1001
    assert "1 keys of the backup were neither restored nor have they expired" in json.dumps(done["warnings"])


def test_functions_are_not_passed_over_in_silence(
    redis_server: Any, restore: Any, backup: Path, run_on_host: Any
) -> None:
    library = "#!lua name=lib\nredis.register_function('f', function() return 1 end)"
    with redis_server.client() as client:
        try:
            client.execute_command("FUNCTION", "LOAD", library)
        except redis.ResponseError:
            pytest.skip("This server knows no functions.")
    done = run_on_host(
        "redis_backup",
        directory=str(backup.parent),
        set_name="functions",
        host_name="redis1",
        passphrase=PASSPHRASE,
        unix_socket=str(redis_server.socket),
        server_binary=str(redis_server.program),
    )
    assert "The backup holds functions" in json.dumps(restore(src=done["path"])["warnings"])


def test_the_checker_is_that_of_the_server(restore: Any, monkeypatch: pytest.MonkeyPatch, redis_program: Path) -> None:
    asked = []
    check = _rdb.check

    def spied(server: str, *arguments: Any) -> _rdb.Contents:
        asked.append(server)
        return check(server, *arguments)

    monkeypatch.setattr(_rdb, "check", spied)
    restore()
    assert asked == [str(redis_program)]
