# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a server that is not running has in its data directory."""

from __future__ import annotations

import os

APPEND_DIRECTORY = "appendonlydir"
DUMP = "dump.rdb"
# Enough for the facts that the server writes before the first key.
HEAD_BYTES = 4096
MAGIC = b"REDIS"
FIRST_OPCODE = 9
FACT, END = 0xFA, 0xFF
# Bytes after the first one of a number's or a text's encoding.
INTEGER_BYTES = {0xC0: 1, 0xC1: 2, 0xC2: 4}
LENGTH_BYTES = {0x80: 4, 0x81: 8}


def has_data(directory: str) -> bool:
    """Whether there is a key in the dump or the append-only file; what cannot be understood counts as data."""
    return any(file_has_data(path) for path in _files(directory))


def _files(directory: str) -> list[str]:
    found = []
    for folder in (directory, os.path.join(directory, APPEND_DIRECTORY)):
        if os.path.isdir(folder):
            found += [entry.path for entry in os.scandir(folder) if entry.is_file()]
    return sorted(found)


def file_has_data(path: str) -> bool:
    """Whether there is something to load in one file; there is nothing in a manifest, nor in a file that is absent."""
    if not path.endswith((".rdb", ".aof")) or not os.path.exists(path):
        return False
    with open(path, "rb") as stream:
        head = stream.read(HEAD_BYTES)
    return bool(head) and not is_empty_rdb(head)


def is_empty_rdb(head: bytes) -> bool:
    """Whether the end follows at once upon the facts with which every file begins."""
    if not head.startswith(MAGIC):
        return False
    position = FIRST_OPCODE
    try:
        while head[position] == FACT:
            position = _after_text(head, _after_text(head, position + 1))
        return head[position] == END
    except (IndexError, ValueError):
        return False


def _after_text(head: bytes, position: int) -> int:
    first = head[position]
    if first in INTEGER_BYTES:
        return position + 1 + INTEGER_BYTES[first]
    if first >> 6 == 0:
        return position + 1 + first
    if first >> 6 == 1:
        return position + 2 + ((first & 0x3F) << 8 | head[position + 1])
    if first in LENGTH_BYTES:
        size = LENGTH_BYTES[first]
        return position + 1 + size + int.from_bytes(head[position + 1 : position + 1 + size], "big")
    raise ValueError("a compressed text")
