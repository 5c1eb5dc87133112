# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A database file (RDB) of Redis or Valkey, as the server's own checker sees it."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass

from ansible_collections.resultops.celery.plugins.module_utils._redis import RedisError

LOOKS_GOOD = "RDB looks OK!"
TOO_NEW = re.compile(r"Can't handle RDB format version (\d+)")
COUNTS = re.compile(r"\[info\] (\d+) (keys read|expires|already expired)")
DETAILS = re.compile(r"^(?:\[offset \d+\]|\[additional info\]|--- RDB ERROR DETECTED ---) ?", re.MULTILINE)


class RdbError(RedisError):
    """The file is not one that this server can load."""


class TooNewError(RdbError):
    """The file is of a later release than the server."""


@dataclass(frozen=True)
class Contents:
    """What is in a file that the checker read from its first to its last byte."""

    keys: int
    expiring: int
    expired: int
    version: int


def check(server: str, path: str, called: str = "") -> Contents:
    """Let the server's program read the whole file. It verifies the checksum that the server wrote into it.

    Debian's server is its own checker, its name decides: so it is always the one of the server that is going to load
    the file, wherever its package has put the link. Sentences name the file as it is called.
    """
    with open(path, "rb") as stream:
        head = stream.read(9)
        stream.seek(0)
        done = subprocess.run(
            [checker(server, "rdb"), "/dev/stdin"],
            executable=server,
            stdin=stream,
            capture_output=True,
            check=False,
        )
    said = done.stdout.decode(errors="replace")
    too_new = TOO_NEW.search(said)
    if too_new:
        raise TooNewError(
            f"{called or path} has version {too_new[1]} of the format RDB, which {server} cannot read yet."
        )
    if done.returncode != 0 or LOOKS_GOOD not in said:
        raise RdbError(f"{called or path} is not a complete RDB file: {_reason(said)}.")
    counts = {name: int(number) for number, name in COUNTS.findall(said)}
    return Contents(counts["keys read"], counts["expires"], counts["already expired"], int(head[5:9]))


def checker(server: str, kind: str) -> str:
    """The name under which the server's program checks files of the kind rdb or aof."""
    return f"{'valkey' if 'valkey' in server.rsplit('/', 1)[-1] else 'redis'}-check-{kind}"


def _reason(said: str) -> str:
    """The first complaint of the checker; what comes before it is progress, what comes after it is detail."""
    _progress, found, complaint = said.partition("--- RDB ERROR DETECTED ---")
    text = complaint if found else said
    lines = [DETAILS.sub("", line).strip(" .\0") for line in text.splitlines()]
    return next((line for line in lines if line), "its checker says nothing")
