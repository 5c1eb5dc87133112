# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
import sql_migration
from sql_migration import measure, report


def test_the_longest_wait_is_what_counts() -> None:
    longest, median = report("mysql", 7, 12.3, [0.001] * 9, [0.002] * 8 + [0.5])
    assert (longest["ours"], longest["reference"], longest["ratio"], longest["met"]) == (500.0, 1000.0, 2.0, True)
    assert (median["ours"], median["reference"], median["ratio"], median["met"]) == (2.0, 1.0, 0.5, None)


def test_a_wait_of_more_than_a_second_misses_the_goal() -> None:
    assert report("mysql", 7, 1, [0.001], [1.2])[0]["met"] is False


@pytest.mark.parametrize("engine", ["postgresql", "mysql"])
def test_a_small_table_is_measured(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_migration, "BEFORE", 0.5)
    monkeypatch.setitem(sql_migration.DURABLE, engine, {})
    rows: list[dict[str, Any]] = measure(engine, 2000)
    assert [line["goal"] for line in rows] == [1.0, None]
    assert all(line["ours"] > 0 for line in rows)
