# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the rows of a drill say, and which of them fail the run."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _drill

FOUND = {"acknowledged": 1000, "lost": 0, "failed_stores": 0, "unfinished": 0, "blocked_ms": 900, "deleted": True}
QUIET: dict[str, Any] = {"disturbances": []}
KEYS = ["drill", "profile", "engine", "acknowledged", "lost", "failed", "blocked_ms_max", "recovered_ms", "healed"]


def writer(host: str = "worker1", stock: bool = False, cut_off: bool = False, **changes: Any) -> dict[str, Any]:
    return {"host": host, "stock": stock, "cut_off": cut_off, "result": {**FOUND, **changes}}


def rows(*writers: dict[str, Any], drill: str = "kill", profile: str = "fast", **changes: Any) -> list[dict[str, Any]]:
    wanted: dict[str, Any] = {"watch": QUIET, "broken_at": 100.0, "restored_at": 112.0, "problems": [], **changes}
    return _drill.drill_rows(writers, drill, profile, "Redis 8.0.2", **wanted)


def watch(*periods: tuple[float, float | None]) -> dict[str, Any]:
    return {"disturbances": [{"began": began, "ended": ended, "reason": "a:1 is gone."} for began, ended in periods]}


def test_a_row_has_the_sums_of_all_writers_and_their_longest_block() -> None:
    [row] = rows(writer(), writer("worker2", blocked_ms=2400, failed_stores=3, lost=1), watch=watch((100.0, 102.4)))
    assert row == {
        "drill": "kill",
        "profile": "fast",
        "engine": "Redis 8.0.2",
        "acknowledged": 2000,
        "lost": 1,
        "failed": 3,
        "blocked_ms_max": 2400,
        "recovered_ms": 2400,
        "healed": True,
    }
    assert list(row) == KEYS


def test_a_writer_on_the_side_of_the_primary_is_no_measure_of_the_block() -> None:
    [row] = rows(writer(), writer("worker2", cut_off=True, blocked_ms=15000, acknowledged=7, lost=2))
    assert (row["blocked_ms_max"], row["acknowledged"], row["lost"]) == (900, 1007, 2)
    assert "worker2 was on the side of the cut-off primary: 7 acknowledged, 2 lost" in row["note"]


def test_writers_with_other_settings_have_a_row_of_their_own() -> None:
    own, stock = rows(writer(), writer(stock=True, failed_stores=90, blocked_ms=20000, unfinished=4), profile="durable")
    assert (own["profile"], own["failed"], own["blocked_ms_max"]) == ("durable", 0, 900)
    assert (stock["profile"], stock["failed"], stock["blocked_ms_max"]) == ("celery-defaults", 90, 20000)
    assert "4 stores on worker1 had not ended" in stock["note"]
    assert _drill.drill_summary([{**stock, "lost": 500}])["failed"] == 0


@pytest.mark.parametrize(
    ("periods", "expected"),
    [
        ([], 0),
        ([(99.9, 102.5)], 2500),
        # Sentinels that disagree later belong to the same recovery, but not what the return of the old primary causes.
        ([(99.9, 102.5), (103.0, 103.2), (113.0, 116.0)], 3200),
        # What was over before the fault has nothing to do with it.
        ([(90.0, 91.0)], 0),
        ([(99.9, 114.0)], 14000),
    ],
)
def test_the_recovery_counts_from_the_fault(periods: list[tuple[float, float]], expected: int) -> None:
    [row] = rows(writer(), watch=watch(*periods))
    assert row["recovered_ms"] == expected
    assert row["healed"] is True


def test_without_a_fault_the_longest_disturbance_counts() -> None:
    [row] = rows(writer(), drill="rolling", watch=watch((10.0, 11.5), (50.0, 50.2)), broken_at=None, restored_at=None)
    assert row["recovered_ms"] == 1500


def test_what_was_evicted_is_said() -> None:
    [row] = rows(writer(lost=7), watch={"disturbances": [], "evicted": 7})
    assert row["healed"] is True
    assert row["note"].startswith("The primaries evicted 7 keys")


def test_a_machine_that_is_too_busy_is_said() -> None:
    [row] = rows(writer(stalled_ms=200), writer("worker2", stalled_ms=1400))
    assert row["note"].startswith("A program that only waits stood still for 1400 ms")
    [row] = rows(writer(stalled_ms=200))
    assert "note" not in row


def test_a_recovery_without_an_end() -> None:
    [row] = rows(writer(), watch=watch((100.0, None)))
    assert (row["recovered_ms"], row["healed"]) == (None, False)
    assert row["note"] == "The sentinels and the primary were not well at the end: a:1 is gone."


def test_what_is_wrong_at_the_end_is_said() -> None:
    [row] = rows(writer(), problems=["redis1:6379 does not follow."])
    assert row["healed"] is False
    assert _drill.drill_summary([row])["failures"] == [
        "The drill kill (profile fast) did not end with a healthy set. redis1:6379 does not follow."
    ]


def test_a_watch_or_a_writer_that_failed_is_no_proof() -> None:
    [row] = rows({**writer(), "result": {"msg": "No  Python\nthere"}}, watch={"msg": "killed"})
    assert (row["healed"], row["lost"], row["acknowledged"]) == (False, None, 0)
    said = _drill.drill_summary([row])["failures"]
    assert len(said) == 3
    assert "The watch ended without a result: killed" in said[0]
    assert "The writer on worker1 ended without a result: No Python there" in said[1]


@pytest.mark.parametrize(
    ("drill", "profile", "failed"),
    [
        ("kill", "fast", 0),
        ("kill", "durable", 1),
        ("planned", "fast", 1),
        ("rolling", "fast", 1),
        ("planned", "celery-defaults", 0),
    ],
)
def test_which_loss_fails_the_run(drill: str, profile: str, failed: int) -> None:
    [row] = rows(writer(lost=2), drill=drill, profile=profile)
    summary = _drill.drill_summary([row])
    assert summary["failed"] == failed
    sentence = f"The drill {drill} (profile {profile}) lost 2 of 1000 acknowledged results."
    assert summary["failures"] == [sentence] * failed


def test_a_skipped_drill_is_shown_and_fails_nothing() -> None:
    row = _drill.skipped_row("cut_off_writer", "fast", "Redis 8.0.2", "There is one worker.")
    summary = _drill.drill_summary([row])
    assert (summary["failed"], summary["failures"]) == (0, [])
    assert summary["table"][1].split()[-1] == "skipped"
    assert summary["table"][2] == "cut_off_writer (fast): Skipped: There is one worker."


def test_the_table_is_aligned() -> None:
    table = _drill.drill_summary(rows(writer()) + rows(writer(acknowledged=123456), drill="planned"))["table"]
    assert table[0].split() == KEYS
    assert table[1].split() == ["kill", "fast", "Redis", "8.0.2", "1000", "0", "0", "900", "0", "yes"]
    assert len({line.index(" yes") for line in table[1:]}) == 1
