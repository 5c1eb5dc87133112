# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.resultops.celery.plugins.filter import verify_summary as plugin

FAILED = {
    "check": "auth",
    "backend": "redis",
    "host": "worker1",
    "status": "failed",
    "failure_class": "auth",
    "seconds": 0.1,
    "detail": "Wrong password.",
}


def test_the_filter_gives_counts_sentences_and_a_table() -> None:
    summary = plugin.FilterModule().filters()["verify_summary"](iter([FAILED] * 7))
    assert summary["failed"] == 7
    assert len(summary["failures"]) == 6
    assert len(summary["table"]) == 8
