# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How much a database keeps of the results of one application, told without disturbing those who store."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ansible_collections.resultops.celery.plugins.module_utils import _sql_session

TABLES = ("celery_taskmeta", "celery_tasksetmeta")
STATUS_TABLE = "celery_purge_status"
# A smaller table is counted: that is as fast as to estimate it, and true.
SMALL = 64 * 2**20
# The purge looks at as many rows before it decides that nothing old follows.
WINDOW = 5000
SPOTS = 10
ROWS_OF_A_SPOT = 1000


@dataclass(frozen=True)
class Limits:
    """Since when a result has expired, and since when one that never got ready is a leftover."""

    done_before: datetime | None
    created_before: datetime | None

    @property
    def young(self) -> datetime | None:
        known = [moment for moment in (self.done_before, self.created_before) if moment]
        return max(known) if known else None


class Store:
    """The tables of one application as one session sees them."""

    def __init__(self, session: _sql_session.Session, params: dict[str, Any]) -> None:
        self.session = session
        self.schema = params["schema"] if session.engine == "postgresql" else params["database"]
        self.exact: bool = params["exact"]
        self._deadline = time.monotonic() + params["timeout"]
        self._columns = self._read_columns()

    def tables(self) -> list[str]:
        return [table for table in TABLES if table in self._columns]

    def now(self) -> datetime:
        moment = "now() AT TIME ZONE 'utc'" if self.session.engine == "postgresql" else "UTC_TIMESTAMP(6)"
        found: datetime = self.session.row(f"SELECT {moment}")[0]
        return found

    def purge(self) -> dict[str, Any] | None:
        """What the last purge did, or None where the schema has none."""
        if STATUS_TABLE not in self._columns:
            return None
        names = ("started", "ended", "removed", "error", "backlog", "oldest", "retention", "retention_unfinished")
        found = self.session.rows(f"SELECT {', '.join(names)} FROM {self.session.of_schema(STATUS_TABLE)}")  # noqa: S608
        return dict(zip(names, found[0], strict=True)) if found else None

    def described(self, table: str, limits: Limits) -> dict[str, Any]:
        size, estimate = self._size(table), self._estimate(table)
        counted = self.exact or size["table"] <= SMALL
        by_status = self._counted_by_status(table, counted)
        rows = sum(by_status.values()) if counted else estimate
        if not counted:
            sampled = sum(by_status.values()) or 1
            by_status = Counter({status: round(n * rows / sampled) for status, n in by_status.items()})
        return {
            "name": table,
            "rows": rows,
            "exact": counted,
            "by_status": dict(by_status) if "status" in self._columns[table] else {},
            "bytes": size,
            **self._ages(table, limits),
        }

    def _read_columns(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        # information_schema only names what this account may read.
        for table, column in self.session.rows(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = %s", (self.schema,)
        ):
            found.setdefault(str(table), set()).add(str(column))
        return found

    def _size(self, table: str) -> dict[str, int]:
        if self.session.engine == "postgresql":
            main, index, toast = self.session.row(
                "SELECT pg_table_size(c.oid) - coalesce(pg_total_relation_size(nullif(c.reltoastrelid, 0)), 0),"
                " pg_indexes_size(c.oid), coalesce(pg_total_relation_size(nullif(c.reltoastrelid, 0)), 0)"
                " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
                " WHERE n.nspname = %s AND c.relname = %s",
                (self.schema, table),
            )
        else:
            main, index, toast = self.session.row(
                "SELECT coalesce(data_length, 0), coalesce(index_length, 0), 0 FROM information_schema.tables"
                " WHERE table_schema = %s AND table_name = %s",
                (self.schema, table),
            )
        sizes = {"table": int(main), "index": int(index), "toast": int(toast)}
        return {**sizes, "total": sum(sizes.values())}

    def _estimate(self, table: str) -> int:
        if self.session.engine == "postgresql":
            statement = (
                "SELECT greatest(c.reltuples, 0) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
                " WHERE n.nspname = %s AND c.relname = %s"
            )
        else:
            statement = (
                "SELECT coalesce(table_rows, 0) FROM information_schema.tables"
                " WHERE table_schema = %s AND table_name = %s"
            )
        return int(self.session.row(statement, (self.schema, table))[0])

    def _counted_by_status(self, table: str, counted: bool) -> Counter[str]:
        name = self.session.of_schema(table)
        status = "coalesce(status, '')" if "status" in self._columns[table] else "''"
        if counted:
            found = self.session.rows(f"SELECT {status}, count(*) FROM {name} GROUP BY 1")  # noqa: S608 - quoted names
            return Counter({str(key): int(count) for key, count in found})
        lowest, highest = self.session.row(f"SELECT min(id), max(id) FROM {name}")  # noqa: S608
        total: Counter[str] = Counter()
        for spot in range(SPOTS if lowest is not None else 0):
            start = lowest + (highest - lowest) * spot // SPOTS
            for key, count in self.session.rows(
                f"SELECT status, count(*) FROM (SELECT {status} AS status FROM {name}"  # noqa: S608
                f" WHERE id >= %s ORDER BY id LIMIT {ROWS_OF_A_SPOT}) AS spot GROUP BY status",
                (start,),
            ):
                total[str(key)] += int(count)
        return total

    def _ages(self, table: str, limits: Limits) -> dict[str, Any]:
        """Count as the purge walks: ids grow with time, so what has expired stands at the beginning."""
        known = "created" in self._columns[table]
        done = "date_done < %s" if limits.done_before else "1 = 0"
        unfinished = "date_done IS NULL AND created < %s" if limits.created_before and known else "1 = 0"
        old = "created < %s OR date_done < %s" if limits.young else "1 = 0"
        statement = (
            f"SELECT max(id), count(*), sum(CASE WHEN {done} THEN 1 ELSE 0 END),"  # noqa: S608 - quoted names
            f" sum(CASE WHEN {unfinished} THEN 1 ELSE 0 END), max(CASE WHEN {old} THEN 1 ELSE 0 END),"
            # A table as Celery makes it does not say when a row was made.
            f" min(coalesce(date_done, created)) FROM (SELECT id, date_done, {'created' if known else 'date_done'} AS"
            f" created FROM {self.session.of_schema(table)} WHERE id > %s ORDER BY id LIMIT {WINDOW}) AS walked"
        )
        values = [limits.done_before] * done.count("%s") + [limits.created_before] * unfinished.count("%s")
        values += [limits.young] * old.count("%s")
        result: dict[str, Any] = {
            "expired": None if limits.done_before is None else 0,
            "unfinished_old": None if limits.created_before is None or not known else 0,
            "oldest": None,
            "complete": True,
        }
        passed = -(2**63)
        while True:
            last, seen, expired, leftover, has_old, oldest = self.session.row(statement, (*values, passed))
            for key, count in (("expired", expired), ("unfinished_old", leftover)):
                if result[key] is not None:
                    result[key] += int(count or 0)
            result["oldest"] = min(filter(None, (result["oldest"], oldest)), default=None)
            if seen < WINDOW or not (has_old or self.exact):
                return result
            if time.monotonic() > self._deadline:
                return {**result, "complete": False}
            passed = last


def limits(now: datetime, params: dict[str, Any], purge: dict[str, Any] | None) -> Limits:
    """From what the user says, or else from what the last purge was told."""

    def since(name: str) -> datetime | None:
        seconds = params[name] if params[name] is not None else (purge or {}).get(name)
        return None if seconds is None else now - timedelta(seconds=seconds)

    return Limits(since("retention"), since("retention_unfinished"))


def purge_problems(purge: dict[str, Any] | None, now: datetime, longest: int) -> list[str]:
    """What is wrong with the purge, a sentence each."""
    if purge is None:
        return ["The schema has no purge: bring it to the newest revision with the role result_schema."]
    if purge["started"] is None:
        return ["The purge has never run: look at its timer (result_schema_purge_scheduler)."]
    problems = []
    if purge["error"]:
        problems.append(f"The last purge ended early: {purge['error']}")
    age = (now - purge["started"]).total_seconds()
    if age > longest:
        missing = "began" if purge["ended"] else "began and did not end"
        problems.append(
            f"The last purge {missing} {age / 3600:.0f} hours ago, and {longest / 3600:.0f} are allowed "
            "(max_purge_age)."
        )
    return problems
