# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Memory and connection settings of SQL servers, from what the host has."""

from __future__ import annotations

import re

KIBIBYTE, MEBIBYTE, GIBIBYTE = 1024, 1024**2, 1024**3
UNITS = {"k": KIBIBYTE, "m": MEBIBYTE, "g": GIBIBYTE, "t": 1024**4}


class SizeError(Exception):
    """One sentence for the user."""


def memory_share(text: str, limit: int, option: str = "memory") -> int:
    """Bytes of a share of the host's memory such as 50%, or of a size such as 2gb."""
    share = re.fullmatch(r"([0-9]+)%", text)
    if share and 1 <= int(share[1]) <= 100:
        return limit * int(share[1]) // 100
    size = re.fullmatch(r"([1-9][0-9]*)([kmgt])b?", text.lower())
    if size:
        return int(size[1]) * UNITS[size[2]]
    raise SizeError(
        f"{option} is '{text}': it must be a share of the host's memory such as 50%, or a size such as 2gb."
    )


def postgresql_sizes(memory: int, connections: int) -> dict[str, str]:
    """The settings of PostgreSQL that depend on memory.

    Results are small rows that are written once and read once or twice, soon: a quarter for the server's own cache is
    enough, and the kernel's cache counts for the planner. Sorting is done by reports only, so that all connections
    together get a quarter at most.
    """
    return {
        "shared_buffers": _mebibytes(memory // 4, 32, 8 * 1024),
        "effective_cache_size": _mebibytes(memory * 65 // 100, 64),
        "work_mem": f"{max(1024, min(64 * 1024, memory // 4 // max(1, connections) // KIBIBYTE))}kB",
        "maintenance_work_mem": _mebibytes(memory // 20, 32, 1024),
        # A checkpoint writes each page whole once more: the fewer, the less a steady stream of results writes.
        "max_wal_size": _mebibytes(memory // 4, 1024, 8 * 1024),
        "min_wal_size": _mebibytes(memory // 16, 256, 2 * 1024),
    }


def mariadb_sizes(memory: int) -> dict[str, str]:
    """The settings of MariaDB that depend on memory: it has no other cache than its own, so that this is the larger."""
    pool = min(max(memory * 60 // 100, 64 * MEBIBYTE), memory)
    return {
        "innodb_buffer_pool_size": f"{pool // MEBIBYTE}M",
        "innodb_log_file_size": f"{max(96, min(2048, pool // 4 // MEBIBYTE))}M",
    }


def _mebibytes(size: int, least: int, most: int | None = None) -> str:
    wanted = max(least, size // MEBIBYTE)
    return f"{min(wanted, most) if most else wanted}MB"
