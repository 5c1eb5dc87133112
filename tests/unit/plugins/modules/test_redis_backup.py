# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module against a real server under load, and against everything that can be wrong."""

from __future__ import annotations

import hashlib
import importlib
import io
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _backup, _rdb

PASSPHRASE = "{{ a }} passphrase: öäü'\" only for the tests"


@pytest.fixture
def back_up(
    redis_server: Any,
    redis_program: Path,
    run_on_host: Callable[..., dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., dict[str, Any]]:
    monkeypatch.setitem(_backup.STRETCHING, "n", 16)

    def run(check_mode: bool = False, **arguments: Any) -> dict[str, Any]:
        wanted = {
            "directory": str(tmp_path),
            "set_name": "results",
            "host_name": "redis1",
            "passphrase": PASSPHRASE,
            "unix_socket": str(redis_server.socket),
            "server_binary": str(redis_program),
            **arguments,
        }
        return run_on_host("redis_backup", check_mode, **wanted)

    return run


def opened(path: str, target: Path, program: Path) -> _rdb.Contents:
    data = io.BytesIO()
    _backup.decrypt(path, data, PASSPHRASE, _backup.Manifest)
    target.write_bytes(data.getvalue())
    return _rdb.check(str(program), str(target))


def test_a_backup_under_writes_is_of_one_moment(
    redis_server: Any, redis_program: Path, back_up: Any, tmp_path: Path, wait_until: Any
) -> None:
    """Both keys of a pair are written at once, so every moment has an even number of keys."""
    stop = threading.Event()

    def write() -> None:
        with redis_server.client() as client:
            number = 0
            while not stop.is_set():
                client.mset({f"a-{number}": "x" * 100, f"b-{number}": "y" * 100})
                number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with redis_server.client() as client:
            wait_until(lambda: client.dbsize() > 0)
        done = back_up()
    finally:
        stop.set()
        writer.join()
    assert done["changed"]
    manifest = done["manifest"]
    assert manifest["keys"] > 0
    assert manifest["keys"] % 2 == 0
    assert opened(done["path"], tmp_path / "dump.rdb", redis_program).keys == manifest["keys"]
    assert (manifest["set"], manifest["host"], manifest["role"]) == ("results", "redis1", "primary")
    assert (manifest["engine"], manifest["expiring"]) == ("Redis", 0)


def test_the_file_is_private_and_what_the_module_says(redis_server: Any, back_up: Any, tmp_path: Path) -> None:
    with redis_server.client() as client:
        client.set("celery-task-meta-1", "a result that nobody may see", ex=100)
    done = back_up()
    path = Path(done["path"])
    whole = path.read_bytes()
    assert path.parent == tmp_path
    assert path.name == f"results-{done['manifest']['created'].replace('-', '').replace(':', '')}.rdb.enc"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_uid == tmp_path.stat().st_uid
    assert (len(whole), hashlib.sha256(whole).hexdigest()) == (done["encrypted_bytes"], done["encrypted_sha256"])
    assert b"nobody may see" not in whole
    assert done["manifest"]["expiring"] == 1
    assert sorted(os.listdir(tmp_path)) == [path.name]
    assert PASSPHRASE not in str({**done, "invocation": ""})


def test_the_server_has_the_files_that_it_had(redis_server: Any, back_up: Any) -> None:
    before = sorted(os.listdir(redis_server.directory))
    back_up()
    assert sorted(os.listdir(redis_server.directory)) == before


def test_check_mode_says_so_and_does_nothing(redis_server: Any, back_up: Any, tmp_path: Path) -> None:
    done = back_up(check_mode=True)
    assert done["changed"]
    assert (done["path"], done["manifest"]) == ("", {})
    assert list(tmp_path.iterdir()) == []
    with redis_server.client() as client:
        assert client.info("persistence")["rdb_bgsave_in_progress"] == 0
        assert client.info("persistence")["rdb_last_bgsave_time_sec"] == -1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"passphrase": "tiny one"}, "passphrase is too short; at least 16 characters are needed."),
        ({"passphrase": "redis_production_your_key_here"}, "passphrase still holds the placeholder of the example"),
        ({"directory": "/nowhere"}, "directory is /nowhere, which is no directory of this host."),
        ({"set_name": "no/directory"}, "cannot be written: No such file or directory."),
        ({"server_binary": "/nowhere"}, "/nowhere (server_binary) is not on this host"),
        ({"unix_socket": "/nowhere"}, "No server is running on this host: there is nothing to take a backup of."),
    ],
)
def test_what_cannot_be_done_is_a_sentence(
    back_up: Any, arguments: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    done = back_up(**arguments)
    assert done["failed"]
    assert sentence in done["msg"]
    assert list(tmp_path.iterdir()) == []


def test_a_replica_that_lost_its_primary_is_refused(redis_server: Any, back_up: Any, free_port: Any) -> None:
    with redis_server.client() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", free_port())
    done = back_up()
    assert done["failed"]
    assert "is a replica that has not all the data of 127.0.0.1" in done["msg"]


def test_a_full_disk_is_refused_before_anything_is_written(
    redis_server: Any, back_up: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with redis_server.client() as client:
        client.set("a", os.urandom(3_000_000).hex())
    module = importlib.import_module("ansible_collections.resultops.celery.plugins.modules.redis_backup")
    usage = module.shutil.disk_usage

    def little(path: str) -> Any:
        return usage(path)._replace(free=1000) if path == str(tmp_path) else usage(path)

    monkeypatch.setattr(module.shutil, "disk_usage", little)
    done = back_up()
    assert done["failed"]
    assert f"{tmp_path} has 0 MiB left, and the backup takes" in done["msg"]
    assert list(tmp_path.iterdir()) == []
