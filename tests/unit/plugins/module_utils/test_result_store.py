# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What follows from the last purge; what is counted is tested with the module result_store_info."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from ansible_collections.resultops.celery.plugins.module_utils import _result_store

NOW = datetime(2026, 11, 25, 18, tzinfo=UTC).replace(tzinfo=None)
UNKNOWN: dict[str, Any] = {"retention": None, "retention_unfinished": None}
PURGE: dict[str, Any] = {"started": NOW, "ended": NOW, "error": None, "retention": 60, "retention_unfinished": 600}


def test_what_the_user_says_counts_before_what_the_purge_was_told() -> None:
    found = _result_store.limits(NOW, {"retention": 30, "retention_unfinished": None}, PURGE)
    assert found.done_before == NOW - timedelta(seconds=30)
    assert found.created_before == NOW - timedelta(seconds=600)
    assert found.young == found.done_before


def test_nobody_knows_what_has_expired_before_the_first_purge() -> None:
    found = _result_store.limits(NOW, UNKNOWN, None)
    assert (found.done_before, found.created_before, found.young) == (None, None, None)


def test_a_good_purge_is_no_problem() -> None:
    assert _result_store.purge_problems(PURGE, NOW + timedelta(hours=1), 7200) == []


def test_a_purge_that_is_late_is_told_with_its_age() -> None:
    found = _result_store.purge_problems(PURGE, NOW + timedelta(hours=3), 7200)
    assert found == ["The last purge began 3 hours ago, and 2 are allowed (max_purge_age)."]
