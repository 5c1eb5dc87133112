# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Copy the data of one server into another that goes on running, and let it appear all at once.

The data is written into databases of the target that are empty, where nobody looks. Then SWAPDB exchanges them with
those that clients use, and until the old ones are emptied the exchange can be taken back. Replicas and the append-only
file get it all as ordinary commands: nothing is stopped, so a Sentinel notices nothing.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from ansible_collections.resultops.celery.plugins.module_utils import _redis, _redis_data

PAGE = "200"
REPLICA_SECONDS = 60

# The commands that the target shall run, made by the source itself: Python only passes them on. What was read is
# dropped, so that the data does not stand in memory twice.
READ_PAGE = """
local page = redis.call('SCAN', ARGV[1], 'COUNT', ARGV[2])
local commands, deadlines = {}, {}
for _, key in ipairs(page[2]) do
  local value = redis.call('DUMP', key)
  if value then
    local deadline = redis.call('PEXPIRETIME', key)
    if deadline < 0 then deadline = 0 end
    local text = string.format('%.0f', deadline)
    commands[#commands + 1] = table.concat({
      '*5\\r\\n$7\\r\\nRESTORE\\r\\n$', #key, '\\r\\n', key, '\\r\\n$', #text, '\\r\\n', text,
      '\\r\\n$', #value, '\\r\\n', value, '\\r\\n$6\\r\\nABSTTL\\r\\n'})
    deadlines[#deadlines + 1] = text
    redis.call('UNLINK', key)
  end
end
return {page[1], table.concat(deadlines, ' '), table.concat(commands)}
"""


class CopyError(_redis.RedisError):
    """One sentence about data that was not copied; the target is as it was."""


@dataclass
class Copied:
    """The keys that were copied into one database, and when they expire."""

    keys: int = 0
    deadlines: Counter[int] = field(default_factory=Counter)

    def add(self, deadlines: list[str]) -> None:
        self.keys += len(deadlines)
        self.deadlines.update(int(text) // 1000 for text in deadlines if text != "0")

    def due(self, now: float) -> int:
        """How many keys may be gone by now. A second of grace is for the clock's own pace."""
        return sum(count for second, count in self.deadlines.items() if second <= now + 1)


class Exchange:
    """The target's databases that change, each with an empty one that takes its place."""

    def __init__(self, target: _redis.Server, databases: int, used: list[int], needed: list[int]) -> None:
        self._target = target
        free = [number for number in range(databases) if number not in {*used, *needed}]
        changing = sorted({*used, *needed})
        if len(free) < len(changing):
            raise CopyError(
                f"Of the {databases} databases of the server at {target.where} only {len(free)} are free of data, and "
                f"{len(changing)} are needed, so that half the data is never seen: raise its setting databases."
            )
        self.partner = dict(zip(changing, reversed(free), strict=False))

    def swap(self) -> None:
        answers = self._target.transaction(
            [("SWAPDB", str(number), str(partner)) for number, partner in sorted(self.partner.items())]
        )
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer

    def keys(self, *, aside: bool) -> dict[int, int]:
        """The keys of the databases that clients use, or of their partners, by the number that clients use."""
        found = _redis_data.keys_by_database(self._target.information())
        return {number: found.get(partner if aside else number, 0) for number, partner in self.partner.items()}

    def clear(self) -> None:
        """Empty the partners."""
        for partner in self.partner.values():
            self._target.call("SELECT", str(partner))
            self._target.call("FLUSHDB", "ASYNC")
        self._target.call("SELECT", "0")


def restore(source: _redis.Server, target: _redis.Server, *, replace: bool) -> tuple[dict[int, Copied], int]:
    """Put everything that source holds into target, in place of what that holds.

    Returns what was copied by database, and how many replicas have it. Whatever goes wrong, target keeps what it had.
    """
    held = _redis_data.keys_by_database(source.information())
    before = target.information()
    exchange = Exchange(target, _databases(target), list(_redis_data.keys_by_database(before)), list(held))
    copied = {number: Copied() for number in exchange.partner}
    with _undone_on_failure(exchange):
        for number in held:
            target.call("SELECT", str(exchange.partner[number]))
            _copy_database(source, target, number, copied[number])
        target.call("SELECT", "0")
        _refuse_evictions(target, before)
        _verify(copied, exchange.keys(aside=True))
    exchange.swap()
    if not replace and any(exchange.keys(aside=True).values()):
        exchange.swap()
        exchange.clear()
        raise CopyError(
            f"Somebody wrote to the server at {target.where} during the restore, so nothing was changed: stop the "
            "writers, or let the backup replace what they wrote (redis_restore_replace)."
        )
    exchange.clear()
    return copied, _replicated(target)


def _databases(server: _redis.Server) -> int:
    return int(server.call("CONFIG", "GET", "databases")[1])


def _copy_database(source: _redis.Server, target: _redis.Server, number: int, copied: Copied) -> None:
    source.call("SELECT", str(number))
    cursor = "0"
    while True:
        cursor, deadlines, commands = source.call("EVAL", READ_PAGE, "0", cursor, PAGE)
        found = deadlines.split()
        target.run_packed(commands, len(found))
        copied.add(found)
        if cursor == "0":
            return


def _refuse_evictions(target: _redis.Server, before: Mapping[str, str]) -> None:
    evicted = int(target.information()["evicted_keys"]) - int(before["evicted_keys"])
    if evicted:
        raise CopyError(
            f"The server at {target.where} dropped {evicted} keys to make room (maxmemory): "
            "give it more memory (redis_maxmemory) for the restore."
        )


def _verify(copied: Mapping[int, Copied], found: Mapping[int, int]) -> None:
    now = time.time()
    for number, wanted in copied.items():
        least = wanted.keys - wanted.due(now)
        if found[number] < least:
            raise CopyError(
                f"Of the {wanted.keys} keys of database {number} only {found[number]} arrived, and {least} must be "
                "left by now: nothing was changed."
            )


def _replicated(target: _redis.Server) -> int:
    """Wait for the replicas, in turns that are shorter than the time that an answer may take."""
    replicas = int(target.information().get("connected_slaves", "0"))
    deadline = time.monotonic() + REPLICA_SECONDS
    acknowledged = 0
    while acknowledged < replicas and time.monotonic() < deadline:
        acknowledged = int(target.call("WAIT", str(replicas), "1000"))
    return acknowledged


@contextmanager
def _undone_on_failure(exchange: Exchange) -> Iterator[None]:
    try:
        yield
    except _redis.RedisError as error:
        try:
            exchange.clear()
        except _redis.RedisError:
            numbers = ", ".join(str(number) for number in sorted(exchange.partner.values()))
            raise CopyError(
                f"{error} What clients see is as it was, but a part of the backup is left in database {numbers}: a "
                "restore that replaces what is there (redis_restore_replace) removes it."
            ) from error
        raise
