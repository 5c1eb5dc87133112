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
    "replicas",
    "no_primary",
    "oom",
    "schema",
    "too_many_connections",
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
    results: Iterable[Mapping[str, str]],
    reached: str,
    backend: str,
) -> list[dict[str, Any]]:
    """Gather the rows of every host; a host without results becomes a failed row, never a missing one."""
    rows: list[dict[str, Any]] = []
    for host in hosts:
        own = variables[host]
        absence = _absence(own.get(reached))
        if absence:
            rows.append({**absence, "backend": backend, "host": str(host)})
            continue
        for wanted in results:
            rows.extend(_result_rows(wanted, str(host), own.get(wanted["variable"]) or {}, backend))
    return rows


def _absence(reached: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if reached is None:
        said, failure_class = "it failed earlier in this run", "unreachable"
    elif reached.get("unreachable"):
        said, failure_class = _message(reached), "unreachable"
    elif reached.get("failed"):
        said, failure_class = _message(reached), "unknown"
    else:
        return None
    return row(REACHED, "", "failed", f"No check ran on this host: {said.rstrip('.')}.", failure_class=failure_class)


def _result_rows(wanted: Mapping[str, str], host: str, result: Mapping[str, Any], backend: str) -> list[dict[str, Any]]:
    check = wanted["check"]
    if "checks" in result:
        return [{**entry, "host": host} for entry in result["checks"]]
    if result.get("skipped"):
        return [row(check, backend, "skipped", wanted["skipped"], host=host)]
    said = _message(result)
    if result.get("unreachable"):
        detail = f"The connection broke: {said}"
        return [row(check, backend, "failed", detail, failure_class="unreachable", host=host)]
    if NOT_DEPLOYED.search(" ".join(str(result.get(key, "")) for key in ("msg", "module_stderr"))):
        detail = f"The worker's Python or user is missing, so run the workers playbook first: {said}"
        return [row(check, backend, "failed", detail, failure_class="config", host=host)]
    return [row(check, backend, "failed", f"The check ended without a result: {said}", host=host)]


def _message(result: Mapping[str, Any]) -> str:
    return " ".join(str(result.get("msg") or "no message was given").split())[:300]


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
    cells = [("host", "check", "seconds", "status")]
    for entry in rows:
        status = f"FAILED {entry['failure_class']}" if entry["status"] == "failed" else str(entry["status"])
        cells.append((str(entry["host"]), str(entry["check"]), f"{entry['seconds']:.3f}", status))
    widths = [max(len(line[column]) for line in cells) for column in range(3)]
    return [
        f"{host.ljust(widths[0])}  {check.ljust(widths[1])}  {seconds.rjust(widths[2])}  {status}"
        for host, check, seconds, status in cells
    ]
