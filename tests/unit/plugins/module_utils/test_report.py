# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _report

RESULTS = [{"variable": "found", "check": "result_backend_check", "skipped": "Not installed yet."}]
PASSED = _report.row("dns", "redis", "passed", "Found.", seconds=0.01234)


def gather(**variables: Any) -> list[dict[str, Any]]:
    return _report.verify_report(["worker1"], {"worker1": variables}, RESULTS, "reached", "redis")


def test_rows_of_a_host_carry_its_name() -> None:
    assert gather(reached={}, found={"checks": [PASSED]}) == [{**PASSED, "host": "worker1"}]


def test_seconds_are_rounded() -> None:
    assert PASSED["seconds"] == 0.012


@pytest.mark.parametrize(
    ("variables", "check", "failure_class", "said"),
    [
        ({}, "host_reached", "unreachable", "failed earlier in this run."),
        ({"reached": {"unreachable": True, "msg": "No route."}}, "host_reached", "unreachable", ": No route."),
        ({"reached": {"failed": True, "msg": "no Python"}}, "host_reached", "unknown", "no Python"),
        ({"reached": {}}, "result_backend_check", "unknown", "no message was given"),
        (
            {"reached": {}, "found": {"failed": True, "msg": "a\n crash"}},
            "result_backend_check",
            "unknown",
            ": a crash",
        ),
        ({"reached": {}, "found": {"unreachable": True, "msg": "gone"}}, "result_backend_check", "unreachable", "gone"),
        (
            {"reached": {}, "found": {"failed": True, "msg": "The module interpreter '/x' was not found."}},
            "result_backend_check",
            "config",
            "run the workers playbook first",
        ),
        (
            {"reached": {}, "found": {"failed": True, "msg": "lost", "module_stderr": "sudo: unknown user: celery"}},
            "result_backend_check",
            "config",
            "run the workers playbook first",
        ),
    ],
)
def test_a_host_without_rows_becomes_a_failed_row(
    variables: dict[str, Any], check: str, failure_class: str, said: str
) -> None:
    rows = gather(**variables)
    assert len(rows) == 1
    assert (rows[0]["check"], rows[0]["status"], rows[0]["failure_class"]) == (check, "failed", failure_class)
    assert said in rows[0]["detail"]
    assert rows[0]["host"] == "worker1"


def test_a_skipped_task_becomes_a_skipped_row() -> None:
    rows = gather(reached={}, found={"skipped": True})
    assert (rows[0]["status"], rows[0]["failure_class"], rows[0]["detail"]) == ("skipped", None, "Not installed yet.")


def test_a_failed_row_always_has_a_known_class() -> None:
    assert _report.row("x", "redis", "failed", "d", failure_class="weird")["failure_class"] == "unknown"
    assert _report.row("x", "redis", "passed", "d", failure_class="tls")["failure_class"] is None


def test_a_summary_counts_and_names_the_first_failures() -> None:
    failed = {**_report.row("auth", "redis", "failed", "Wrong password.", failure_class="auth"), "host": "worker1"}
    summary = _report.verify_summary([{**PASSED, "host": "worker1"}, *[failed] * 4], most_failures=2)
    assert (summary["passed"], summary["failed"], summary["skipped"]) == (1, 4, 0)
    assert summary["failures"] == [
        *["auth failed on worker1 (auth): Wrong password."] * 2,
        "2 more checks failed; the report lists them.",
    ]
    assert summary["table"][:3] == [
        "host     check  seconds  status",
        "worker1  dns      0.012  passed",
        "worker1  auth     0.000  FAILED auth",
    ]


def test_a_summary_of_nothing() -> None:
    assert _report.verify_summary([])["table"] == ["host  check  seconds  status"]
