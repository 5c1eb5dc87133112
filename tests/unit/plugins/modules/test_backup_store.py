# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What arrives on the controller is kept if it is whole, and only then are older ones removed."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _backup

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
def arrive(
    tmp_path: Path, run_on_host: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, Any]]:
    """A backup of the given day arrives, and the module keeps it."""
    monkeypatch.setitem(_backup.STRETCHING, "n", 16)

    def run(day: int, check_mode: bool = False, **arguments: Any) -> dict[str, Any]:
        incoming = tmp_path / ".incoming"
        manifest = dataclasses.replace(MANIFEST, created=f"2026-11-{day:02}T18:00:00Z")
        with incoming.open("wb") as target:
            written = _backup.encrypt(io.BytesIO(DATA), target, manifest, "a passphrase for the tests")
        wanted = {
            "src": str(incoming),
            "directory": str(tmp_path),
            "encrypted_sha256": written.sha256,
            "keep": 3,
            **arguments,
        }
        return run_on_host("backup_store", check_mode, **wanted)

    return run


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def pair(*days: int) -> list[str]:
    return [f"results-202611{day:02}T180000Z{suffix}" for day in days for suffix in (".json", ".rdb.enc")]


def test_it_gets_its_name_and_a_description(arrive: Any, tmp_path: Path) -> None:
    done = arrive(25)
    assert (done["changed"], done["removed"], done["kept"]) == (True, [], 1)
    assert names(tmp_path) == pair(25)
    assert Path(done["path"]).stat().st_mode & 0o777 == 0o600
    described = json.loads((tmp_path / pair(25)[0]).read_text())
    assert (described["keys"], described["file"]) == (1, pair(25)[1])


def test_the_newest_are_kept(arrive: Any, tmp_path: Path) -> None:
    for day in (21, 22, 23):
        arrive(day)
    done = arrive(24)
    assert done["removed"] == [str(tmp_path / pair(21)[1])]
    assert done["kept"] == 3
    assert names(tmp_path) == pair(22, 23, 24)
    assert arrive(25, keep=1)["kept"] == 1
    assert names(tmp_path) == pair(25)


def test_the_new_one_stays_when_the_clock_of_its_host_is_behind(arrive: Any, tmp_path: Path) -> None:
    for day in (21, 22, 23):
        arrive(day)
    arrive(1, keep=2)
    assert names(tmp_path) == pair(1, 23)


def test_one_that_arrived_otherwise_removes_nothing(arrive: Any, tmp_path: Path) -> None:
    for day in (21, 22, 23):
        arrive(day)
    done = arrive(24, encrypted_sha256="0" * 64)
    assert done["failed"]
    assert "is not what the host made: its checksum is another one" in done["msg"]
    assert names(tmp_path) == [".incoming", *pair(21, 22, 23)]


def test_check_mode_says_what_would_be_removed(arrive: Any, tmp_path: Path) -> None:
    arrive(21)
    done = arrive(22, check_mode=True, keep=1)
    assert (done["removed"], done["kept"]) == ([str(tmp_path / pair(21)[1])], 1)
    assert names(tmp_path) == [".incoming", *pair(21)]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"keep": 0}, "keep is 0: at least the new backup must be kept"),
        ({"directory": "/var"}, "which is not in directory (/var)"),
        ({"src": "{}/gone"}, "cannot be read: No such file or directory"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(
    arrive: Any, tmp_path: Path, arguments: dict[str, Any], sentence: str
) -> None:
    wanted = {name: value.format(tmp_path) if name == "src" else value for name, value in arguments.items()}
    done = arrive(25, **wanted)
    assert done["failed"]
    assert sentence in done["msg"]
    assert names(tmp_path) == [".incoming"]


def test_two_of_the_same_second_are_not_one(arrive: Any, tmp_path: Path) -> None:
    arrive(25)
    before = (tmp_path / pair(25)[1]).read_bytes()
    assert "two backups of results have the same time" in arrive(25)["msg"]
    assert (tmp_path / pair(25)[1]).read_bytes() == before


def test_a_file_that_is_no_backup_is_refused(arrive: Any, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("REDIS0011")
    done = arrive(25, src=str(tmp_path / "x"))
    assert "is not a backup of this collection" in done["msg"]
