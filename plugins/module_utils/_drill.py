# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rows of reports/failover_drill.json: how they follow from what writers and watch saw, and how they are judged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Optional

STOCK_PROFILE = "celery-defaults"
NOTABLE_STALL_MS = 300
LOSSLESS_DRILLS = ("planned", "rolling")
COLUMNS = ("drill", "profile", "engine", "acknowledged", "lost", "failed", "blocked_ms_max", "recovered_ms", "healed")
COUNTS = {"acknowledged": "acknowledged", "lost": "lost", "failed": "failed_stores"}
FIGURES = ("acknowledged", "lost", "failed", "blocked_ms_max", "recovered_ms")


def drill_rows(
    writers: Iterable[Mapping[str, Any]],
    drill: str,
    profile: str,
    engine: str,
    watch: Mapping[str, Any],
    broken_at: Optional[float],
    restored_at: Optional[float],
    problems: Iterable[str],
) -> list[dict[str, Any]]:
    """Return the row of one drill, and a second one if writers with Celery's own settings took part."""
    writers = list(writers)
    recovered, unrecovered = _recovered(watch, broken_at, restored_at)
    problems = [*problems, *unrecovered]
    remarks = [*_evictions(watch), *_stalls([watch, *(writer["result"] for writer in writers)])]
    common = {"drill": drill, "engine": engine, "recovered_ms": recovered, "healed": not problems}
    rows = []
    for stock in (False, True):
        own = [writer for writer in writers if bool(writer.get("stock")) is stock]
        if own or not stock:
            figures, notes = _figures(own)
            row = {**common, **figures, "profile": STOCK_PROFILE if stock else profile}
            rows.append(_row(row, [*problems, *notes, *remarks]))
    return rows


def skipped_row(drill: str, profile: str, engine: str, reason: str) -> dict[str, Any]:
    """Return the row of a drill that this inventory does not allow, which proves nothing and fails nothing."""
    return _row({"drill": drill, "profile": profile, "engine": engine}, [f"Skipped: {reason}"])


def _row(values: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    row: dict[str, Any] = {column: values.get(column) for column in COLUMNS}
    return {**row, "note": " ".join(notes)} if notes else row


def _figures(writers: list[Mapping[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    counted = [writer for writer in writers if "acknowledged" in writer["result"]]
    notes = [
        f"The writer on {writer['host']} ended without a result: {_message(writer['result'])}"
        for writer in writers
        if "acknowledged" not in writer["result"]
    ]
    for writer in counted:
        notes += _remarks(writer)
    free = [writer["result"]["blocked_ms"] for writer in counted if not writer.get("cut_off")]
    figures: dict[str, Any] = {
        figure: sum(writer["result"][name] for writer in counted) for figure, name in COUNTS.items()
    }
    figures["blocked_ms_max"] = max(free, default=None)
    if notes and len(counted) < len(writers):
        # What a writer did not report may be a loss.
        figures["lost"] = None
    return figures, notes


def _remarks(writer: Mapping[str, Any]) -> list[str]:
    found = writer["result"]
    remarks = []
    if writer.get("cut_off"):
        remarks.append(
            f"{writer['host']} was on the side of the cut-off primary: {found['acknowledged']} acknowledged, "
            f"{found['lost']} lost, {found['failed_stores']} failed, blocked for {found['blocked_ms']} ms."
        )
    if found.get("unfinished"):
        remarks.append(f"{found['unfinished']} stores on {writer['host']} had not ended when the drill did.")
    if found.get("exhausted"):
        remarks.append(f"The writer on {writer['host']} had stored all its results before the end of the drill.")
    if not found.get("deleted", True):
        remarks.append(f"The results of {writer['host']} were not deleted and expire by themselves.")
    return remarks


def _evictions(watch: Mapping[str, Any]) -> list[str]:
    if not watch.get("evicted"):
        return []
    return [
        f"The primaries evicted {watch['evicted']} keys, because maxmemory was reached, and what they evict counts as "
        "lost: raise maxmemory, or lower failover_drill_rate."
    ]


def _stalls(results: Iterable[Mapping[str, Any]]) -> list[str]:
    longest = max((int(result.get("stalled_ms") or 0) for result in results), default=0)
    if longest < NOTABLE_STALL_MS:
        return []
    return [f"A program that only waits stood still for {longest} ms: the machine is too busy for exact figures."]


def _recovered(
    watch: Mapping[str, Any], broken_at: Optional[float], restored_at: Optional[float]
) -> tuple[Optional[int], list[str]]:
    """Return the milliseconds until all was well again, and what to say if it never was.

    After a fault they count from the fault to the end of the last disturbance that it caused; what the return of the
    broken server stirs up is not counted. Without a fault they are those of the longest disturbance.
    """
    if "disturbances" not in watch:
        return None, [f"The watch ended without a result: {_message(watch)}"]
    periods = list(watch["disturbances"])
    if broken_at is not None:
        periods = [
            {**period, "began": broken_at}
            for period in periods
            if (period["ended"] is None or period["ended"] > broken_at)
            and (restored_at is None or period["began"] < restored_at)
        ]
    endless = [period for period in periods if period["ended"] is None]
    if endless:
        return None, [f"The sentinels and the primary were not well at the end: {endless[0]['reason']}"]
    return round(max((period["ended"] - period["began"] for period in periods), default=0.0) * 1000), []


def _message(result: Mapping[str, Any]) -> str:
    return " ".join(str(result.get("msg") or "no message was given").split())[:300]


def drill_summary(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a table to print, and a sentence for each row that must not be."""
    rows = list(rows)
    failures = [sentence for row in rows for sentence in _failures(row)]
    return {"table": _table(rows), "failures": failures, "failed": len(failures)}


def _failures(row: Mapping[str, Any]) -> list[str]:
    if row["healed"] is None or row["profile"] == STOCK_PROFILE:
        return []
    name = f"The drill {row['drill']} (profile {row['profile']})"
    note = f" {row['note']}" if row.get("note") else ""
    sentences = []
    if not row["healed"]:
        sentences.append(f"{name} did not end with a healthy set.{note}")
    if row["lost"] is None:
        sentences.append(f"{name} cannot tell what was lost.{note}")
    elif row["lost"] and (row["profile"] == "durable" or row["drill"] in LOSSLESS_DRILLS):
        sentences.append(f"{name} lost {row['lost']} of {row['acknowledged']} acknowledged results.")
    if not row["acknowledged"]:
        sentences.append(f"{name} stored nothing, so it proves nothing.{note}")
    return sentences


def _table(rows: list[Mapping[str, Any]]) -> list[str]:
    cells = [list(COLUMNS)]
    cells += [[_cell(column, row[column], skipped=row["healed"] is None) for column in COLUMNS] for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(len(COLUMNS))]
    lines = [
        "  ".join(
            cell.rjust(width) if column in FIGURES else cell.ljust(width)
            for column, cell, width in zip(COLUMNS, line, widths)  # noqa: B905 - of one length by construction
        ).rstrip()
        for line in cells
    ]
    return lines + [f"{row['drill']} ({row['profile']}): {row['note']}" for row in rows if row.get("note")]


def _cell(column: str, value: Any, *, skipped: bool) -> str:
    if column == "healed":
        return "skipped" if skipped else "yes" if value else "NO"
    return "-" if value is None else str(value)
