# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory of one set's backups."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _backup, _backup_files


@pytest.fixture
def backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(_backup.STRETCHING, "n", 16)
    manifest = _backup.Manifest(
        set="results",
        host="redis1",
        role="primary",
        engine="Valkey",
        version="8.1.1",
        rdb_version=11,
        keys=0,
        expiring=0,
        memory=0,
        bytes=0,
        sha256="e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        created="2026-11-25T18:00:00Z",
    )
    path = tmp_path / f"{manifest.stem}.rdb.enc"
    with path.open("wb") as target:
        written = _backup.encrypt(io.BytesIO(b""), target, manifest, "a passphrase for the tests")
    _backup_files.write_description(path, manifest, written)
    return path


def named(directory: Path, *names: str) -> list[Path]:
    for name in names:
        (directory / name).touch()
    return [directory / name for name in names]


def test_the_newest_stands_first_and_the_rest_is_not_counted(tmp_path: Path) -> None:
    old, new, *_others = named(
        tmp_path, "x-20261124T235959Z.rdb.enc", "x-20261125T000000Z.rdb.enc", "x-20261126T000000Z.json", ".in.rdb.enc"
    )
    assert _backup_files.newest_first(tmp_path) == [new, old]


@pytest.mark.parametrize(("keep", "gone"), [(1, [2, 1, 0]), (2, [1, 0]), (3, [0]), (4, []), (9, [])])
def test_the_oldest_are_the_surplus(tmp_path: Path, keep: int, gone: list[int]) -> None:
    files = named(tmp_path, *(f"x-2026112{day}T000000Z.rdb.enc" for day in range(4)))
    assert _backup_files.surplus(tmp_path, keep, files[3]) == [files[number] for number in gone]


def test_the_new_one_stays_when_its_clock_is_behind(tmp_path: Path) -> None:
    files = named(tmp_path, *(f"x-2026112{day}T000000Z.rdb.enc" for day in range(4)))
    assert _backup_files.surplus(tmp_path, 2, files[0]) == [files[2], files[1]]


def test_what_lies_beside_a_backup_describes_it(backup: Path) -> None:
    beside = json.loads((backup.parent / "results-20261125T180000Z.json").read_text())
    assert beside["file"] == backup.name
    assert (beside["engine"], beside["keys"]) == ("Valkey", 0)
    assert _backup_files.verified(backup)[1] == _backup.Written(beside["encrypted_bytes"], beside["encrypted_sha256"])
    assert sorted(path.name for path in backup.parent.iterdir()) == [backup.name[:-8] + ".json", backup.name]


def test_a_backup_without_a_description_describes_itself(backup: Path) -> None:
    _backup_files.described(backup).unlink()
    assert _backup_files.verified(backup)[0].engine == "Valkey"


def test_a_changed_bit_is_found_without_the_passphrase(backup: Path) -> None:
    whole = bytearray(backup.read_bytes())
    whole[-1] ^= 1
    backup.write_bytes(whole)
    with pytest.raises(_backup.BackupError, match=r"has not the checksum that stands in results-.*\.json"):
        _backup_files.verified(backup)


@pytest.mark.parametrize("content", ["", "[]", "{}", "nothing"])
def test_a_description_that_is_none_is_named(backup: Path, content: Any) -> None:
    _backup_files.described(backup).write_text(content)
    with pytest.raises(_backup.BackupError, match=r"manifest .*\.json cannot be read"):
        _backup_files.verified(backup)


def test_both_files_are_removed(backup: Path) -> None:
    _backup_files.remove([backup, backup.parent / "gone.rdb.enc"])
    assert list(backup.parent.iterdir()) == []


def test_a_copy_under_another_name_has_its_description_beside_it() -> None:
    assert _backup_files.described(Path("/x/copy")) == Path("/x/copy.json")
