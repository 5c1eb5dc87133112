# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The append-only file of a server that is not running.

A server with an append-only file loads nothing else: one that has only a dump.rdb starts empty. So the dump has to
become the base of an append-only file first.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile

from ansible_collections.resultops.celery.plugins.module_utils import _rdb
from ansible_collections.resultops.celery.plugins.module_utils._redis import RedisError

DIRECTORY = "appendonlydir"
FILE = "appendonly.aof"
ALL_GOOD = "All AOF files and manifest are valid"


def exists(data_directory: str, directory: str = DIRECTORY) -> bool:
    """Whether the server would load an append-only file."""
    path = os.path.join(data_directory, directory)
    return os.path.isdir(path) and bool(os.listdir(path))


def make_from_rdb(
    server: str, rdb: str, data_directory: str, directory: str = DIRECTORY, file: str = FILE
) -> _rdb.Contents:
    """Make an append-only file that begins with the data of an RDB file, verified, all at once or not at all.

    server is the path of the server's program; directory and file are its settings appenddirname and appendfilename.
    The RDB file stays. The new files belong to whom the data directory belongs. The server must not be running.
    """
    if exists(data_directory, directory):
        raise RedisError(
            f"{os.path.join(data_directory, directory)} is there already: "
            "the server loads that append-only file, and it is not overwritten."
        )
    contents = _rdb.check(server, rdb)
    owner = os.stat(data_directory)
    try:
        staged = tempfile.mkdtemp(prefix=f".{directory}-", dir=data_directory)
    except OSError as error:
        raise RedisError(f"{data_directory} cannot be written: {error.strerror}.") from error
    try:
        base = os.path.join(staged, f"{file}.1.base.rdb")
        _copy(rdb, base)
        manifest = os.path.join(staged, f"{file}.manifest")
        with open(manifest, "w", encoding="utf-8") as stream:
            stream.write(f"file {os.path.basename(base)} seq 1 type b\n")
            _flush(stream.fileno())
        _verify(server, manifest)
        for path, mode in ((base, 0o640), (manifest, 0o640), (staged, 0o750)):
            os.chown(path, owner.st_uid, owner.st_gid)
            os.chmod(path, mode)
        os.rename(staged, os.path.join(data_directory, directory))
        _flush_directory(data_directory)
    except OSError as error:
        raise RedisError(f"The append-only file in {data_directory} cannot be made: {error.strerror}.") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return contents


def _copy(source: str, target: str) -> None:
    """A second name instead of a second copy where that is possible: the server replaces these files, it never writes
    into them."""
    same_owner = os.stat(source).st_uid == os.stat(os.path.dirname(os.path.dirname(target))).st_uid
    if same_owner and not os.path.islink(source) and _linked(source, target):
        return
    shutil.copyfile(source, target)
    with open(target, "rb") as stream:
        _flush(stream.fileno())


def _linked(source: str, target: str) -> bool:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.EPERM, errno.EMLINK):
            return False
        raise
    return True


def _verify(server: str, manifest: str) -> None:
    done = subprocess.run(
        [_rdb.checker(server, "aof"), manifest], executable=server, capture_output=True, check=False, cwd="/"
    )
    said = done.stdout.decode(errors="replace")
    if done.returncode != 0 or ALL_GOOD not in said:
        lines = [line.strip(" .\0") for line in said.splitlines() if line.strip(" .\0")]
        reason = lines[-1] if lines else "it says nothing"
        raise RedisError(f"{server} does not accept the new append-only file: {reason}.")


def _flush(descriptor: int) -> None:
    os.fsync(descriptor)


def _flush_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
