# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The backup that a restore takes."""

from __future__ import annotations

import dataclasses
import hashlib
import io
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _backup, _backup_files

DATA = b"data"
MANIFEST = _backup.Manifest(
    set="results",
    host="redis1",
    role="primary",
    engine="Redis",
    version="8.0.2",
    rdb_version=12,
    keys=1,
    expiring=0,
    memory=10,
    bytes=len(DATA),
    sha256=hashlib.sha256(DATA).hexdigest(),
    created="2026-11-25T18:00:00Z",
)


@pytest.fixture
def backups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    monkeypatch.setitem(_backup.STRETCHING, "n", 16)
    paths = []
    for day in (24, 25):
        manifest = dataclasses.replace(MANIFEST, created=f"2026-11-{day}T18:00:00Z", keys=day)
        path = tmp_path / f"{manifest.stem}.rdb.enc"
        with path.open("wb") as target:
            written = _backup.encrypt(io.BytesIO(DATA), target, manifest, "a passphrase for the tests")
        _backup_files.write_description(path, manifest, written)
        paths.append(path)
    return paths


@pytest.mark.parametrize("check_mode", [False, True])
def test_the_newest_is_taken(backups: list[Path], run_on_host: Any, tmp_path: Path, check_mode: bool) -> None:
    found = run_on_host("backup_info", check_mode, directory=str(tmp_path))
    assert (found["changed"], found["path"], found["manifest"]["keys"]) == (False, str(backups[1]), 25)
    assert found["encrypted_sha256"] == hashlib.sha256(backups[1].read_bytes()).hexdigest()
    assert found["encrypted_bytes"] == backups[1].stat().st_size


def test_the_named_one_is_taken(backups: list[Path], run_on_host: Any, tmp_path: Path) -> None:
    found = run_on_host("backup_info", path=str(backups[0]), directory=str(tmp_path))
    assert found["manifest"]["keys"] == 24


def test_a_damaged_one_is_never_passed_over(backups: list[Path], run_on_host: Any, tmp_path: Path) -> None:
    whole = bytearray(backups[1].read_bytes())
    whole[-1] ^= 1
    backups[1].write_bytes(whole)
    found = run_on_host("backup_info", directory=str(tmp_path))
    assert found["failed"]
    assert f"{backups[1]} is damaged: it has not the checksum that stands in" in found["msg"]


@pytest.mark.usefixtures("backups")
@pytest.mark.parametrize("directory", ["empty", "nowhere"])
def test_a_directory_without_backups_is_a_sentence(run_on_host: Any, tmp_path: Path, directory: str) -> None:
    (tmp_path / "empty").mkdir()
    found = run_on_host("backup_info", directory=str(tmp_path / directory))
    assert found["failed"]
    assert f"There is no backup in {tmp_path / directory}" in found["msg"]


def test_something_must_be_named(run_on_host: Any) -> None:
    assert run_on_host("backup_info")["failed"]
