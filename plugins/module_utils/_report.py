# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rows of reports/verify.json: how they are made on a host and gathered from all hosts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

FAILURE_CLASSES = (
    "dns",
    "refused",
    "timeout",
    "tls",
    "auth",
    "acl",
    "read_only",
    "oom",
    "schema",
    "serializer",
    "no_worker",
    "config",
    "unreachable",
    "unknown",
)
REACHED = "host_reached"

NOT_DEPLOYED = re.compile(r"module interpreter|need to set the interpreter|unknown user|user \S+ does not exist", re.I)


def row(
    check: str,
    backend: str,
    status: str,
    detail: str,
    *,
    seconds: float = 0.0,
    failure_class: str | None = None,
    host: str = "",
) -> dict[str, Any]:
    """Return one row; failed rows always carry one of the known failure classes."""
    if status == "failed" and failure_class not in FAILURE_CLASSES:
        failure_class = "unknown"
    return {
        "check": check,
        "backend": backend,
        "host": host,
        "status": status,
        "failure_class": failure_class if status == "failed" else None,
        "seconds": round(seconds, 3),
        "detail": detail,
    }


def failure_sentence(entry: Mapping[str, Any]) -> str:
    """Say in one sentence which check failed, where, and why."""
    where = f" on {entry['host']}" if entry["host"] else ""
    return f"{entry['check']} failed{where} ({entry['failure_class']}): {entry['detail']}"


def verify_report(
    hosts: Iterable[str],
    variables: Mapping[str, Mapping[str, Any]],
    results: Mapping[str, str],
    backend: str = "redis",
) -> list[dict[str, Any]]:
    """Gather the rows of every host; a host without results becomes a failed row, never a missing one."""
    rows: list[dict[str, Any]] = []
    for host in hosts:
        rows.extend(_host_rows(str(host), variables[host], results, backend))
    return rows


def _host_rows(
    host: str, variables: Mapping[str, Any], results: Mapping[str, str], backend: str
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for check, variable in results.items():
        result = variables.get(variable)
        if result is None or result.get("unreachable"):
            said = "it failed earlier in this run" if result is None else _first_line(result)
            detail = f"No check ran on this host: {said}."
            return [
                *rows,
                row(REACHED, backend, "failed", detail.replace("..", "."), failure_class="unreachable", host=host),
            ]
        rows.extend(_result_rows(check, host, result, backend))
    return rows


def _result_rows(check: str, host: str, result: Mapping[str, Any], backend: str) -> list[dict[str, Any]]:
    if "checks" in result:
        return [{**entry, "host": host} for entry in result["checks"]]
    if result.get("skipped"):
        return [row(check, backend, "skipped", "The worker is not installed on this host yet.", host=host)]
    said = _first_line(result)
    if NOT_DEPLOYED.search(" ".join(str(result.get(key, "")) for key in ("msg", "module_stderr"))):
        detail = f"The worker's Python or user is missing, so run the workers playbook first: {said}"
        return [row(check, backend, "failed", detail, failure_class="config", host=host)]
    return [row(check, backend, "failed", f"The check ended without a result: {said}", host=host)]


def _first_line(result: Mapping[str, Any]) -> str:
    lines = str(result.get("msg") or "no message was given").strip().splitlines()
    return lines[0][:300]


def verify_summary(rows: Iterable[Mapping[str, Any]], most_failures: int = 5) -> dict[str, Any]:
    """Return a table to print, the counts, and the first failures as sentences."""
    rows = list(rows)
    failed = [entry for entry in rows if entry["status"] == "failed"]
    sentences = [failure_sentence(entry) for entry in failed[:most_failures]]
    if len(failed) > most_failures:
        sentences.append(f"{len(failed) - most_failures} more checks failed; the report lists them.")
    counts = {
        status: sum(1 for entry in rows if entry["status"] == status) for status in ("passed", "failed", "skipped")
    }
    return {**counts, "failures": sentences, "table": _table(rows)}


def _table(rows: list[Mapping[str, Any]]) -> list[str]:
    cells = [("host", "check", "status", "seconds", "detail")]
    for entry in rows:
        status = f"FAILED {entry['failure_class']}" if entry["status"] == "failed" else str(entry["status"])
        detail = str(entry["detail"])
        cells.append(
            (
                str(entry["host"]),
                str(entry["check"]),
                status,
                f"{entry['seconds']:.3f}",
                detail if len(detail) <= 80 else f"{detail[:77]}...",
            )
        )
    widths = [max(len(line[column]) for line in cells) for column in range(4)]
    return ["  ".join([*(line[i].ljust(widths[i]) for i in range(4)), line[4]]).rstrip() for line in cells]
