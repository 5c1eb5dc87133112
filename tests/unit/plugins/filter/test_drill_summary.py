# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.resultops.celery.plugins.filter import drill_summary as plugin

LOST = {
    "drill": "planned",
    "profile": "fast",
    "engine": "Redis 8.0.2",
    "acknowledged": 10,
    "lost": 1,
    "failed": 0,
    "blocked_ms_max": 20,
    "recovered_ms": 0,
    "healed": True,
}


def test_the_filter_gives_sentences_and_a_table() -> None:
    summary = plugin.FilterModule().filters()["drill_summary"](iter([LOST] * 2))
    assert (summary["failed"], len(summary["failures"]), len(summary["table"])) == (2, 2, 3)
