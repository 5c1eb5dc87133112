# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.resultops.celery.plugins.filter import drill_report as plugin

FOUND = {"acknowledged": 10, "lost": 0, "failed_stores": 0, "blocked_ms": 20}


def test_the_filter_gives_rows() -> None:
    drill_report = plugin.FilterModule().filters()["drill_report"]
    writers = iter([{"host": "worker1", "stock": False, "cut_off": False, "result": FOUND}])
    [row] = drill_report(writers, "planned", "fast", "Valkey 8.1.1", watch={"disturbances": []})
    assert (row["acknowledged"], row["recovered_ms"], row["healed"]) == (10, 0, True)


def test_a_skipped_drill_has_no_figures() -> None:
    [row] = plugin.drill_report([], "cut_off_writer", "fast", "Valkey 8.1.1", skipped="One worker.")
    assert (row["acknowledged"], row["healed"], row["note"]) == (None, None, "Skipped: One worker.")
