# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a store waits while tables that Celery 5.4 made are brought to the newest revision.

Servers of this machine's packages run on loopback, with all that keeps data safe on disk switched on. Two threads store
results by Celery's own class over connections that they keep, and a third session changes older rows. What counts is
the longest of all their statements, and that none failed and no row is missing. The result is
reports/bench_sql_migration.json.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import random
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
REPORT = ROOT / "reports" / "bench_sql_migration.json"
COLLECTION = "ansible_collections.resultops.celery"
ROWS = {"postgresql": 5_000_000, "mysql": 1_000_000}
LIMIT = 1000.0
BEFORE = 5.0
PAUSE = 0.02
DURABLE: dict[str, dict[str, str]] = {
    "postgresql": {"fsync": "on", "full_page_writes": "on", "shared_buffers": "256MB", "max_wal_size": "4GB"},
    "mysql": {"innodb_flush_log_at_trx_commit": "1", "innodb_buffer_pool_size": "1G", "innodb_log_file_size": "1G"},
}
FILL = {
    "postgresql": (
        "INSERT INTO celery_taskmeta (id, task_id, status, result, date_done)"
        " SELECT n, md5(n::text), 'SUCCESS', convert_to(repeat('x', 200), 'UTF8'), '2026-01-01'"
        " FROM generate_series(1, {rows}) AS g(n)",
        "SELECT setval('task_id_sequence', {rows})",
        "VACUUM ANALYZE celery_taskmeta",
    ),
    "mysql": (
        "INSERT INTO celery_taskmeta (id, task_id, status, result, date_done)"
        " SELECT seq, md5(seq), 'SUCCESS', repeat('x', 200), '2026-01-01' FROM seq_1_to_{rows}",
        "SELECT setval(task_id_sequence, {rows})",
    ),
}


class Writers:
    """Who stores and changes results meanwhile, and how long each statement took."""

    def __init__(self, application: Any, rows: int) -> None:
        self.application = application
        self.rows = rows
        self.seconds: list[float] = []
        self.failures: list[str] = []
        self.stored = 0
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._store, args=(number,)) for number in range(2)]
        self._threads.append(threading.Thread(target=self._change))

    def __enter__(self) -> Writers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_details: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _timed(self, action: Callable[[], Any]) -> None:
        begun = time.perf_counter()
        try:
            action()
        except Exception as problem:  # noqa: BLE001 - all of them count
            self.failures.append(repr(problem.__cause__ or problem))
        self.seconds.append(time.perf_counter() - begun)

    def _store(self, number: int) -> None:
        backend = self.application.backend(result_backend_always_retry=True, result_backend_max_retries=3)
        backend.session_manager.forked = True
        count = 0
        while not self._end.wait(PAUSE):
            count += 1
            name = f"meanwhile-{number}-{count}"
            self._timed(lambda name=name: backend.store_result(name, "x" * 200, "SUCCESS"))  # type: ignore[misc]
            self.stored += 1

    def _change(self) -> None:
        with self.application.session() as sql:
            while not self._end.wait(PAUSE):
                row = random.randint(1, self.rows)  # noqa: S311 - no secret
                change = "UPDATE celery_taskmeta SET status = 'RETRY' WHERE id = %s"
                self._timed(lambda row=row, change=change: sql(change, row))  # type: ignore[misc]


def run_module(name: str, check_mode: bool = False, **arguments: Any) -> dict[str, Any]:
    """What the module answers, in this process."""
    module = importlib.import_module(f"{COLLECTION}.plugins.modules.{name}")
    testing = importlib.import_module("ansible.module_utils.testing")
    printed = io.StringIO()
    with (
        testing.patch_module_args({**arguments, "_ansible_check_mode": check_mode}),
        contextlib.redirect_stdout(printed),
        contextlib.suppress(SystemExit),
    ):
        module.main()
    return dict(json.loads(printed.getvalue()))


def measure(engine: str, rows: int) -> list[dict[str, Any]]:
    servers = importlib.import_module(f"{COLLECTION}.tests.unit.sql_servers")
    tables = importlib.import_module(f"{COLLECTION}.tests.unit.result_tables")
    kind = servers.Postgresql if engine == "postgresql" else servers.Mariadb
    with kind(**DURABLE[engine]) as server:
        application = tables.Application(server, run_module)
        application.make_tables("5.4")
        for statement in FILL[engine]:
            application.sql(statement.format(rows=rows))
        say(f"{engine}: {rows} rows are there, and are migrated")
        with Writers(application, rows) as writers:
            time.sleep(BEFORE)
            before = len(writers.seconds)
            begun = time.monotonic()
            result = application.migrate(timeout=600)
            seconds = time.monotonic() - begun
        if result.get("failed"):
            raise SystemExit(f"The migration failed: {result['msg']}")
        if writers.failures:
            raise SystemExit(f"{len(writers.failures)} statements failed meanwhile: {writers.failures[0]}")
        lost = rows + writers.stored - application.count()
        if lost:
            raise SystemExit(f"{lost} rows are missing.")
    return report(engine, rows, seconds, writers.seconds[:before], writers.seconds[before:])


def report(
    engine: str, rows: int, seconds: float, before: Sequence[float], during: Sequence[float]
) -> list[dict[str, Any]]:
    what = f"{engine}, {rows} rows in {seconds:.0f} s"
    longest = max(during) * 1000
    usual, meanwhile = (statistics.median(times) * 1000 for times in (before, during))
    return [
        row(f"longest wait of a store: {what}", longest, LIMIT, "one second", 1.0),
        row(f"median of a store: {what}", meanwhile, usual, "before the migration", None),
    ]


def row(name: str, ours: float, reference: float, what: str, goal: float | None) -> dict[str, Any]:
    ratio = round(reference / ours, 2)
    return {
        "name": name,
        "ours": round(ours, 1),
        "reference": round(reference, 1),
        "reference_what": what,
        "ratio": ratio,
        "low": ratio,
        "high": ratio,
        "goal": goal,
        "met": None if goal is None else ratio >= goal,
    }


def say(text: str) -> None:
    print(f"==> {text}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=[*ROWS], action="append", help="one engine only")
    parser.add_argument("--rows", type=int, help="rows of the table, instead of 5 and 1 million")
    options = parser.parse_args()
    rows = [line for engine in options.engine or ROWS for line in measure(engine, options.rows or ROWS[engine])]
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(rows, indent=2), encoding="utf-8")
    for line in rows:
        missed = f", goal {line['goal']} missed" if line["met"] is False else ""
        print(f"    {line['name']}: {line['ours']} ms beside {line['reference']} ms: {line['ratio']} x{missed}")
    say(f"Report: {REPORT.relative_to(ROOT)}")
    if os.getloadavg()[0] > 2 * (os.cpu_count() or 1):
        say("The machine was busy: waits are longer than they would be.")


if __name__ == "__main__":
    main()
