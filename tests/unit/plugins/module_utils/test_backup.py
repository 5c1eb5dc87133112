# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written can be read with the passphrase alone, and only if nobody changed a bit of it."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import io
import os
from pathlib import Path

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _backup
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PASSPHRASE = "a passphrase, öäü, only for the tests"
SEALED = _backup.CHUNK + _backup.TAG


def manifest_of(data: bytes) -> _backup.Manifest:
    return _backup.Manifest(
        set="results",
        host="redis2",
        role="replica",
        engine="Redis",
        version="8.0.2",
        rdb_version=12,
        keys=3,
        expiring=2,
        memory=4096,
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        created="2026-11-25T18:00:01Z",
    )


def write(path: Path, data: bytes) -> _backup.Written:
    with path.open("wb") as target:
        return _backup.encrypt(io.BytesIO(data), target, manifest_of(data), PASSPHRASE)


def read(path: Path, passphrase: str = PASSPHRASE) -> bytes:
    target = io.BytesIO()
    assert _backup.decrypt(str(path), target, passphrase, _backup.Manifest) == _backup.read_manifest(
        str(path), _backup.Manifest
    )
    return target.getvalue()


def refusal(path: Path, passphrase: str = PASSPHRASE) -> str:
    with pytest.raises(_backup.BackupError) as refused:
        _backup.decrypt(str(path), io.BytesIO(), passphrase, _backup.Manifest)
    sentence = str(refused.value)
    assert PASSPHRASE not in sentence
    assert sentence.startswith(str(path))
    assert sentence.endswith(".")
    return sentence[len(str(path)) + 1 :]


@pytest.fixture(autouse=True)
def cheap_guesses(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "stretched" not in request.node.name:
        monkeypatch.setitem(_backup.STRETCHING, "n", 16)


@pytest.fixture
def data() -> bytes:
    return os.urandom(3 * _backup.CHUNK + 17)


@pytest.fixture
def file(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "x.rdb.enc"
    write(path, data)
    return path


@pytest.mark.parametrize("size", [0, 1, _backup.CHUNK - 1, _backup.CHUNK, _backup.CHUNK + 1, 2 * _backup.CHUNK])
def test_every_size_comes_back(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    path = tmp_path / "x.rdb.enc"
    written = write(path, data)
    assert read(path) == data
    assert written == _backup.checksum(str(path))
    assert written.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_data_is_nowhere_in_the_clear_and_never_encrypted_alike(tmp_path: Path) -> None:
    data = b"a result that nobody may see" * 100
    write(tmp_path / "one", data)
    write(tmp_path / "two", data)
    one, two = (tmp_path / "one").read_bytes(), (tmp_path / "two").read_bytes()
    assert data[:28] not in one
    assert PASSPHRASE.encode() not in one
    assert one[-100:] != two[-100:]


def test_the_format_is_the_documented_one_and_the_passphrase_is_stretched(tmp_path: Path) -> None:
    """Read by other means than the collection's own, as one must be able to in ten years."""
    data = os.urandom(_backup.CHUNK + 5)
    write(tmp_path / "x", data)
    whole = (tmp_path / "x").read_bytes()
    line, rest = whole.split(b"\n", 1)
    assert line == b"resultops-backup 1"
    end = len(line) + 1 + 16 + 4 + int.from_bytes(rest[16:20], "big")
    both = hashlib.scrypt(PASSPHRASE.encode(), salt=rest[:16], n=32768, r=8, p=3, maxmem=2**26, dklen=64)
    authenticated = hmac.digest(both[32:], whole[:end], "sha256")
    assert whole[end : end + 32] == authenticated
    first, second = whole[end + 32 : end + 32 + SEALED], whole[end + 32 + SEALED :]
    cipher = AESGCM(both[:32])
    assert (
        cipher.decrypt(bytes(12), first, authenticated) + cipher.decrypt(bytes(10) + b"\1\1", second, authenticated)
        == data
    )


def test_what_it_holds_can_be_read_without_the_passphrase(file: Path, data: bytes) -> None:
    manifest = _backup.read_manifest(str(file), _backup.Manifest)
    assert manifest == manifest_of(data)
    assert manifest.stem == "results-20261125T180001Z"
    assert manifest.made_by == "Redis 8.0.2"


def test_another_passphrase_is_refused(file: Path) -> None:
    assert "the passphrase is another one" in refusal(file, PASSPHRASE[:-1])


def test_a_bit_that_flipped_is_found_in_its_part(file: Path) -> None:
    whole = bytearray(file.read_bytes())
    whole[-2 * SEALED] ^= 1
    file.write_bytes(whole)
    assert refusal(file) == "is damaged: part 2 of it was changed or is not in its place."


def test_parts_that_changed_places_are_found(file: Path) -> None:
    whole = file.read_bytes()
    start = len(whole) - (3 * SEALED + 17 + _backup.TAG)
    one, two = whole[start : start + SEALED], whole[start + SEALED : start + 2 * SEALED]
    file.write_bytes(whole[:start] + two + one + whole[start + 2 * SEALED :])
    assert refusal(file) == "is damaged: part 1 of it was changed or is not in its place."


def test_a_part_of_another_backup_is_found(file: Path, data: bytes) -> None:
    whole = file.read_bytes()
    write(file, data)
    other = file.read_bytes()
    file.write_bytes(whole[:-SEALED] + other[-SEALED:])
    assert refusal(file).startswith("is damaged: part 3 of it")


@pytest.mark.parametrize("lost", [1, 17 + _backup.TAG, SEALED, 3 * SEALED])
def test_a_file_that_was_cut_is_found_with_and_without_the_passphrase(file: Path, lost: int) -> None:
    file.write_bytes(file.read_bytes()[:-lost])
    assert refusal(file).endswith("so it was cut off.")
    with pytest.raises(_backup.BackupError, match="so it was cut off"):
        _backup.read_manifest(str(file), _backup.Manifest)


def test_a_cut_that_the_manifest_conceals_is_found(file: Path, data: bytes) -> None:
    """The sizes agree when the end is cut and the manifest is rewritten, but then its HMAC does not."""
    whole = file.read_bytes()
    shorter = dataclasses.replace(manifest_of(data), bytes=3 * _backup.CHUNK)
    file.write_bytes(whole.replace(str(len(data)).encode(), str(shorter.bytes).encode())[: -17 - _backup.TAG])
    assert _backup.read_manifest(str(file), _backup.Manifest) == shorter
    assert "its manifest was changed" in refusal(file)


def test_an_end_is_only_an_end_where_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part from the middle is no last part, even for one who could make the sizes agree."""
    data = os.urandom(2 * _backup.CHUNK)
    path = tmp_path / "x.rdb.enc"
    write(path, data)
    path.write_bytes(path.read_bytes()[:-SEALED])
    monkeypatch.setattr(_backup, "_compare_size", lambda *_arguments: None)
    assert refusal(path) == "is damaged: part 1 of it was changed or is not in its place."


def test_something_behind_the_end_is_found(file: Path) -> None:
    with file.open("ab") as stream:
        stream.write(b"x")
    assert refusal(file).endswith("so it has something behind its end.")


@pytest.mark.parametrize(
    "content",
    [b"", b"REDIS0011", b"resultops-backup 2\n" + bytes(60)],
    ids=["empty", "in the clear", "of a later release"],
)
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    assert refusal(tmp_path / "x").startswith("is not a backup of this collection")


@pytest.mark.parametrize(
    "manifest",
    [b"", b"{", b"[]", b"{}", b'"text"', b'{"set": 1}', b"\xff"],
    ids=["nothing", "half", "list", "empty", "text", "wrong", "no text"],
)
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, manifest: bytes) -> None:
    (tmp_path / "x").write_bytes(_backup.MAGIC + bytes(16) + len(manifest).to_bytes(4, "big") + manifest + bytes(80))
    assert refusal(tmp_path / "x") == "is damaged: its manifest cannot be read."


def test_a_length_without_measure_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(_backup.MAGIC + bytes(16) + b"\xff" * 4 + b"{}")
    assert refusal(tmp_path / "x") == "is damaged: its manifest cannot be read."


def test_a_manifest_without_measure_is_not_read(file: Path) -> None:
    manifest = _backup.json.dumps(_backup.read_manifest(str(file), _backup.Manifest).as_dict()).encode().rjust(70_000)
    file.write_bytes(_backup.MAGIC + bytes(16) + len(manifest).to_bytes(4, "big") + manifest + bytes(80))
    assert refusal(file) == "is damaged: its manifest cannot be read."


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(_backup.BackupError, match="cannot be read: No such file or directory"):
        _backup.read_manifest(str(tmp_path / "x"), _backup.Manifest)


def test_a_file_that_changes_while_it_is_read_makes_no_backup(data: bytes) -> None:
    with pytest.raises(_backup.BackupError, match="changed while it was being encrypted"):
        _backup.encrypt(io.BytesIO(data[1:] + b"x"), io.BytesIO(), manifest_of(data), PASSPHRASE)


def test_a_backup_of_another_kind_is_refused_by_its_name(tmp_path: Path) -> None:
    dump = _backup.Dump(
        set="app",
        host="db1",
        engine="PostgreSQL",
        version="17.11",
        revision="0006",
        results=1,
        groups=0,
        bytes=0,
        sha256=hashlib.sha256(b"").hexdigest(),
        created="2026-11-25T18:00:00Z",
    )
    path = tmp_path / f"{dump.stem}{dump.suffix}"
    with path.open("wb") as target:
        _backup.encrypt(io.BytesIO(), target, dump, "a passphrase for the tests")
    assert _backup.read_manifest(str(path), _backup.Dump) == dump
    assert _backup.read_manifest(str(path), _backup.Contents) == dump
    with pytest.raises(_backup.BackupError, match="is a backup of a database, and one of a Redis or Valkey server"):
        _backup.read_manifest(str(path), _backup.Manifest)
