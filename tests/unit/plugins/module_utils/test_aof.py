# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real server loads the append-only file that was made from its dump."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _aof, _rdb
from ansible_collections.resultops.celery.plugins.module_utils._redis import RedisError


@pytest.fixture
def dumped(redis_server: Any) -> Any:
    """A server without an append-only file that was stopped after a save."""
    with redis_server.client() as client:
        for number in range(200):
            client.set(f"result-{number}", f"value {number}", ex=3600)
        client.save()
    redis_server.kill()
    return redis_server


def make(server: Any, rdb: Path | None = None, **names: str) -> _rdb.Contents:
    source = str(rdb or server.directory / "dump.rdb")
    return _aof.make_from_rdb(str(server.program), source, str(server.directory), **names)


def test_without_it_the_server_starts_empty_and_with_it_it_has_everything(dumped: Any) -> None:
    dumped.start(appendonly="yes", appenddirname="other")
    with dumped.client() as client:
        assert client.dbsize() == 0
    dumped.kill()
    assert make(dumped).keys == 200
    dumped.start(appendonly="yes")
    with dumped.client() as client:
        assert client.dbsize() == 200
        assert client.get("result-7") == "value 7"
        assert 3000 < client.ttl("result-7") <= 3600
        client.set("one more", "kept")
    dumped.restart(appendonly="yes")
    with dumped.client() as client:
        assert client.dbsize() == 201


def test_the_names_are_those_of_the_servers_settings(dumped: Any) -> None:
    make(dumped, directory="journal", file="log")
    assert sorted(os.listdir(dumped.directory / "journal")) == ["log.1.base.rdb", "log.manifest"]
    dumped.start(appendonly="yes", appenddirname="journal", appendfilename="log")
    with dumped.client() as client:
        assert client.dbsize() == 200


def test_a_file_from_elsewhere_is_copied_and_stays(dumped: Any, tmp_path: Path) -> None:
    elsewhere = tmp_path / "link.rdb"
    elsewhere.symlink_to(dumped.directory / "dump.rdb")
    make(dumped, elsewhere)
    base = dumped.directory / "appendonlydir" / "appendonly.aof.1.base.rdb"
    assert base.read_bytes() == (dumped.directory / "dump.rdb").read_bytes()
    assert not base.is_symlink()
    assert base.stat().st_ino != (dumped.directory / "dump.rdb").stat().st_ino


def test_the_files_are_private(dumped: Any) -> None:
    make(dumped)
    directory = dumped.directory / "appendonlydir"
    assert directory.stat().st_mode & 0o777 == 0o750
    assert {file.stat().st_mode & 0o777 for file in directory.iterdir()} == {0o640}
    assert {file.stat().st_uid for file in directory.iterdir()} == {dumped.directory.stat().st_uid}


def test_what_is_there_is_never_overwritten(dumped: Any) -> None:
    make(dumped)
    assert _aof.exists(str(dumped.directory))
    with pytest.raises(RedisError, match="appendonlydir is there already"):
        make(dumped)


def test_an_empty_directory_is_no_append_only_file(dumped: Any) -> None:
    (dumped.directory / "appendonlydir").mkdir()
    assert not _aof.exists(str(dumped.directory))
    assert make(dumped).keys == 200


def test_a_damaged_dump_leaves_nothing_behind(dumped: Any) -> None:
    dump = dumped.directory / "dump.rdb"
    dump.write_bytes(dump.read_bytes()[:-20])
    before = sorted(os.listdir(dumped.directory))
    with pytest.raises(_rdb.RdbError, match="not a complete RDB file"):
        make(dumped)
    assert sorted(os.listdir(dumped.directory)) == before


def test_a_name_that_cannot_be_made_leaves_nothing_behind(dumped: Any) -> None:
    before = sorted(os.listdir(dumped.directory))
    with pytest.raises(RedisError, match="cannot be made: File name too long"):
        make(dumped, file="x" * 250)
    assert sorted(os.listdir(dumped.directory)) == before


def test_what_the_checker_refuses_is_not_put_in_place(dumped: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = _aof._copy

    def cut(source: str, target: str) -> None:
        copy(source, target)
        Path(target).unlink()
        Path(target).write_bytes(Path(source).read_bytes()[:-30])

    monkeypatch.setattr(_aof, "_copy", cut)
    with pytest.raises(RedisError, match="does not accept the new append-only file"):
        make(dumped)
    assert not _aof.exists(str(dumped.directory))
