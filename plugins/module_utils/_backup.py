# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The file of a backup: what is in it can be read by everybody, the data only with the passphrase.

    the line "resultops-backup 1"
    16 bytes   salt
     4 bytes   length of the manifest, the highest byte first
     n bytes   manifest, JSON: what the backup holds, in the clear
    32 bytes   HMAC-SHA256 of everything above
    chunks     AES-256-GCM of each MiB of data, each followed by its tag of 16 bytes

scrypt (N 2^15, r 8, p 3) makes 64 bytes of passphrase and salt: 32 are the key of the chunks, 32 that of the HMAC. The
nonce of a chunk is its number in 11 bytes, the highest first, and one byte that is 1 for the last chunk and 0 for the
others; the HMAC is authenticated with each. So a chunk fits in its own place of its own file only, and a missing end is
noticed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import Field, asdict, dataclass, fields
from typing import Any, BinaryIO, ClassVar, TypeVar

from ansible_collections.resultops.celery.plugins.module_utils._redis import RedisError

MAGIC = b"resultops-backup 1\n"
SALT = 16
LENGTH = 4
MAC = 32
TAG = 16
CHUNK = 1024 * 1024
LONGEST_MANIFEST = 65536
# About half a second and 32 MiB for each guess.
STRETCHING = {"n": 2**15, "r": 8, "p": 3}


class BackupError(RedisError):
    """One sentence about a backup that cannot be made or used."""


@dataclass(frozen=True)
class Contents:
    """What every backup says that it holds; no part of it is secret."""

    suffix: ClassVar[str] = ".enc"
    source: ClassVar[str] = "a server"

    set: str
    host: str
    engine: str
    version: str
    bytes: int
    sha256: str
    created: str

    @property
    def stem(self) -> str:
        """The name of its files: their order is that of their time."""
        return f"{self.set}-{self.created.replace('-', '').replace(':', '')}"

    @property
    def made_by(self) -> str:
        return f"{self.engine} {self.version}"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Manifest(Contents):
    """The keys of a Redis or Valkey server."""

    suffix: ClassVar[str] = ".rdb.enc"
    source: ClassVar[str] = "a Redis or Valkey server"

    role: str
    rdb_version: int
    keys: int
    expiring: int
    memory: int


@dataclass(frozen=True)
class Dump(Contents):
    """The results of one application in a database."""

    suffix: ClassVar[str] = ".dump.enc"
    source: ClassVar[str] = "a database"

    revision: str
    results: int
    groups: int


AnyContents = TypeVar("AnyContents", bound=Contents)


@dataclass(frozen=True)
class Written:
    """The size and the checksum of a file."""

    bytes: int
    sha256: str


def encrypt(source: BinaryIO, target: BinaryIO, manifest: Contents, passphrase: str) -> Written:
    """Write the backup of what source holds, which must be what the manifest says."""
    described = json.dumps(manifest.as_dict(), sort_keys=True).encode()
    preamble = MAGIC + os.urandom(SALT) + len(described).to_bytes(LENGTH, "big") + described
    keys = _Keys(passphrase, preamble)
    whole, plain = hashlib.sha256(), hashlib.sha256()
    size = 0

    def write(data: bytes) -> None:
        nonlocal size
        target.write(data)
        whole.update(data)
        size += len(data)

    write(preamble)
    write(keys.mac)
    for number, data, last in _chunks(source):
        plain.update(data)
        write(keys.seal(number, data, last))
    if plain.hexdigest() != manifest.sha256:
        raise BackupError("The data changed while it was being encrypted.")
    return Written(size, whole.hexdigest())


def decrypt(path: str, target: BinaryIO, passphrase: str, kind: type[AnyContents]) -> AnyContents:
    """Write the data of a backup to target, of which nothing must be used unless this returns."""
    with _opened(path) as source:
        preamble, manifest = _read_preamble(source, path, kind)
        mac = source.read(MAC)
        _compare_size(path, len(preamble), manifest)
        keys = _Keys(passphrase, preamble)
        if not hmac.compare_digest(mac, keys.mac):
            raise BackupError(
                f"{path} cannot be decrypted: the passphrase is another one, or its manifest was changed."
            )
        plain = hashlib.sha256()
        for number, data, last in _chunks(source, CHUNK + TAG):
            opened = keys.open(number, data, last)
            if opened is None:
                raise BackupError(f"{path} is damaged: part {number + 1} of it was changed or is not in its place.")
            plain.update(opened)
            target.write(opened)
    if plain.hexdigest() != manifest.sha256:
        raise BackupError(f"{path} is damaged: its data has not the checksum that its manifest names.")
    return manifest


def read_manifest(path: str, kind: type[AnyContents]) -> AnyContents:
    """What a backup says that it holds. Only decrypt proves it, but a file that was cut is found already here."""
    with _opened(path) as source:
        preamble, manifest = _read_preamble(source, path, kind)
    _compare_size(path, len(preamble), manifest)
    return manifest


def checksum(path: str) -> Written:
    """The size and the checksum of a file as it is on disk."""
    digest = hashlib.sha256()
    size = 0
    with _opened(path) as stream:
        for data in iter(lambda: stream.read(CHUNK), b""):
            digest.update(data)
            size += len(data)
    return Written(size, digest.hexdigest())


def encrypted_size(preamble: int, plain: int) -> int:
    return preamble + MAC + plain + TAG * max(1, -(-plain // CHUNK))


class _Keys:
    def __init__(self, passphrase: str, preamble: bytes) -> None:
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
            from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
        except ImportError as error:
            raise BackupError(
                f"{sys.executable} has no library cryptography: install the package python3-cryptography on this host."
            ) from error
        salt = preamble[len(MAGIC) : len(MAGIC) + SALT]
        both = Scrypt(salt=salt, length=64, **STRETCHING).derive(passphrase.encode())
        self._cipher = AESGCM(both[:32])
        self.mac = hmac.new(both[32:], preamble, hashlib.sha256).digest()

    def seal(self, number: int, data: bytes, last: bool) -> bytes:
        return bytes(self._cipher.encrypt(_nonce(number, last), data, self.mac))

    def open(self, number: int, data: bytes, last: bool) -> bytes | None:
        from cryptography.exceptions import InvalidTag

        try:
            return bytes(self._cipher.decrypt(_nonce(number, last), data, self.mac))
        except InvalidTag:
            return None


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


def _chunks(source: BinaryIO, size: int = CHUNK) -> Iterator[tuple[int, bytes, bool]]:
    """Each chunk with its number and whether it is the last one; an empty file has one empty chunk."""
    number, data = 0, source.read(size)
    while True:
        following = source.read(size)
        yield number, data, not following
        if not following:
            return
        number, data = number + 1, following


def _opened(path: str) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise BackupError(f"The backup {path} cannot be read: {error.strerror}.") from error


def _read_preamble(source: BinaryIO, path: str, kind: type[AnyContents]) -> tuple[bytes, AnyContents]:
    start = source.read(len(MAGIC) + SALT + LENGTH)
    if not start.startswith(MAGIC):
        raise BackupError(
            f"{path} is not a backup of this collection: it does not begin with {MAGIC.decode().strip()!r}."
        )
    length = int.from_bytes(start[-LENGTH:], "big")
    described = source.read(min(length, LONGEST_MANIFEST))
    try:
        found = json.loads(described)
        holds = Manifest if "rdb_version" in found else Dump
        manifest = holds(**{field.name: _typed(found, field) for field in fields(holds)})
    except (ValueError, KeyError, TypeError) as error:
        raise BackupError(f"{path} is damaged: its manifest cannot be read.") from error
    if not isinstance(manifest, kind):
        raise BackupError(f"{path} is a backup of {manifest.source}, and one of {kind.source} is wanted.")
    return start + described, manifest


def _typed(found: dict[str, Any], field: Field[Any]) -> Any:
    value = found[field.name]
    if not isinstance(value, str if field.type == "str" else int):
        raise TypeError(field.name)
    return value


def _compare_size(path: str, preamble: int, manifest: Contents) -> None:
    wanted, found = encrypted_size(preamble, manifest.bytes), os.stat(path).st_size
    if found != wanted:
        kind = "was cut off" if found < wanted else "has something behind its end"
        raise BackupError(f"{path} is damaged: it has {found} bytes instead of {wanted}, so it {kind}.")
