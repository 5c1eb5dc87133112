# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Numbered results that are stored through a worker's own Celery backend, and what became of them."""

from __future__ import annotations

import glob
import importlib
import itertools
import json
import os
import re
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Optional, TextIO

from ansible_collections.resultops.celery.plugins.module_utils import _celery_client as client

ACKNOWLEDGED, FAILED, UNFINISHED = "a", "f", "u"
STOP_FILE, READY_FILE, ABOUT_FILE, RECORDS = "stop", "ready", "about.json", "records-"
POLL_SECONDS = 0.05
CHUNK = 500
READ_ATTEMPTS = 3
CONNECTION_CLASSES = ("dns", "refused", "timeout", "tls", "auth", "acl", "unreachable")
PADDING = "x" * 100
# A class of this collection stands before the scheme of the URL.
OWN_CLASS = re.compile(r"^celeryresults\.\w+\+")
# What a user has to configure so that Celery reaches a server with TLS and passwords at all; the rest is Celery's.
STOCK_SETTINGS = (
    "redis_backend_use_ssl",
    "redis_username",
    "redis_password",
    "result_accept_content",
    "result_serializer",
)
STOCK_TRANSPORT_OPTIONS = ("global_keyprefix", "master_name")
TIMING_OPTIONS = ("retry", "retry_on_timeout", "socket_connect_timeout", "socket_keepalive", "socket_timeout")


@dataclass(frozen=True)
class Record:
    """One store: its number, how it ended, and when, in seconds of this host's monotonic clock."""

    number: int
    outcome: str
    started: float
    ended: float

    @property
    def line(self) -> str:
        return f"{self.number} {self.outcome} {self.started:.6f} {self.ended:.6f}\n"


def application(settings: ModuleType, expires: int, stock: bool) -> Any:
    """Return a Celery application as the worker's, with its retries, or one that a user configures without thought."""
    app = importlib.import_module("celery").Celery("resultops-drill", set_as_current=False)
    if stock:
        app.conf.update(stock_settings(settings))
    else:
        app.config_from_object(settings)
    # The environment may name the backend, too, and Celery prefers it.
    url = os.environ.get("CELERY_RESULT_BACKEND") or getattr(settings, "result_backend", None)
    if not url:
        raise client.CheckFailedError(
            "config", "Celery has no result backend; set CELERY_RESULT_BACKEND in the environment file."
        )
    if stock:
        os.environ["CELERY_RESULT_BACKEND"] = url = stock_url(str(url))
    app.conf.update(result_backend=url, result_expires=expires)
    return app


def stock_url(url: str) -> str:
    """Return the URL for the classes that come with Celery."""
    return OWN_CLASS.sub("", url)


def stock_settings(settings: ModuleType) -> dict[str, Any]:
    """Keep what encrypts and signs in; timeouts and retries become Celery's own."""
    kept = {name: getattr(settings, name) for name in STOCK_SETTINGS if hasattr(settings, name)}
    if isinstance(kept.get("redis_backend_use_ssl"), dict):
        kept["redis_backend_use_ssl"] = _without_timing(kept["redis_backend_use_ssl"])
    given = getattr(settings, "result_backend_transport_options", None) or {}
    options = {name: given[name] for name in STOCK_TRANSPORT_OPTIONS if name in given}
    if "sentinel_kwargs" in given:
        options["sentinel_kwargs"] = _without_timing(given["sentinel_kwargs"])
    return {**kept, "result_backend_transport_options": options}


def _without_timing(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in TIMING_OPTIONS}


def task_id(run: str, number: int) -> str:
    return f"resultops-drill-{run}-{number}"


def payload(run: str, number: int) -> dict[str, Any]:
    """Return what is stored under a number: of the size of a small result, and of no other number."""
    return {"run": run, "number": number, "padding": PADDING}


class Writer:
    """Stores until a file says stop, a time is over, or a number is reached; every outcome is on disk at once."""

    def __init__(self, app: Any, directory: str, run: str, *, threads: int, rate: float, most: int) -> None:
        self._app = app
        self._directory = directory
        self._run = run
        self._threads = threads
        self._interval = threads / rate if rate else 0.0
        self._most = most
        self._stop = threading.Event()
        self._acknowledged = threading.Event()
        self._at_work: list[Optional[tuple[int, float]]] = [None] * threads
        self._exhausted = [False] * threads
        self._stalled = 0.0

    def write(self, seconds: float, patience: float) -> dict[str, Any]:
        """Store for at most so many seconds, and give stores that are at work the patience to end by themselves."""
        started = time.monotonic()
        # Making the backend here, too, brings out a configuration that no thread could use.
        backend = type(self._app.backend).__name__
        about = {"run": self._run, "started": started, "clock": time.time() - started, "backend": backend}
        self._note(about)
        workers = [threading.Thread(target=self._store_numbers, args=(i,), daemon=True) for i in range(self._threads)]
        for worker in workers:
            worker.start()
        self._wait(workers, started + seconds)
        self._stop.set()
        stopped = time.monotonic()
        for worker in workers:
            worker.join(max(0.0, stopped + patience - time.monotonic()))
        unfinished = self._record_unfinished(workers)
        about |= {"stopped": stopped, "exhausted": any(self._exhausted), "unfinished": unfinished}
        about["stalled_ms"] = round(self._stalled * 1000)
        self._note(about)
        return about

    def _wait(self, workers: list[threading.Thread], deadline: float) -> None:
        ready = os.path.join(self._directory, READY_FILE)
        stop = os.path.join(self._directory, STOP_FILE)
        announced = False
        while time.monotonic() < deadline and any(worker.is_alive() for worker in workers):
            if not announced and self._acknowledged.is_set():
                with open(ready, "w", encoding="utf-8"):
                    announced = True
            if os.path.exists(stop):
                return
            slept = time.monotonic()
            self._stop.wait(POLL_SECONDS)
            self._stalled = max(self._stalled, time.monotonic() - slept - POLL_SECONDS)

    def _store_numbers(self, thread: int) -> None:
        backend = self._app.backend
        due = time.monotonic() + thread * self._interval / self._threads
        with open(_records_path(self._directory, thread), "a", buffering=1, encoding="utf-8") as records:
            for number in range(thread, self._most, self._threads):
                if self._interval and self._stop.wait(max(0.0, due - time.monotonic())):
                    return
                if self._stop.is_set():
                    return
                record = self._store(backend, thread, number)
                records.write(record.line)
                # After a block it goes on at the same rate, instead of making up for what it missed.
                due = max(due + self._interval, record.ended)
        self._exhausted[thread] = True

    def _store(self, backend: Any, thread: int, number: int) -> Record:
        started = time.monotonic()
        self._at_work[thread] = (number, started)
        try:
            backend.store_result(task_id(self._run, number), payload(self._run, number), "SUCCESS")
            outcome = ACKNOWLEDGED
        except Exception:  # noqa: BLE001 - whatever it raises, a task would have lost its result
            outcome = FAILED
        ended = time.monotonic()
        self._at_work[thread] = None
        if outcome == ACKNOWLEDGED:
            self._acknowledged.set()
        return Record(number, outcome, started, ended)

    def _record_unfinished(self, workers: list[threading.Thread]) -> int:
        left = [self._at_work[i] for i, worker in enumerate(workers) if worker.is_alive()]
        now = time.monotonic()
        with open(_records_path(self._directory, self._threads), "a", encoding="utf-8") as records:
            for number, started in [entry for entry in left if entry]:
                records.write(Record(number, UNFINISHED, started, now).line)
        return len([entry for entry in left if entry])

    def _note(self, about: dict[str, Any]) -> None:
        path = os.path.join(self._directory, ABOUT_FILE)
        with open(f"{path}.new", "w", encoding="utf-8") as stream:
            json.dump(about, stream)
        os.replace(f"{path}.new", path)


def _records_path(directory: str, thread: int) -> str:
    return os.path.join(directory, f"{RECORDS}{thread}")


def read_about(directory: str) -> dict[str, Any]:
    """Return what the writer noted about itself; it is there as soon as the writer began."""
    try:
        with open(os.path.join(directory, ABOUT_FILE), encoding="utf-8") as stream:
            return dict(json.load(stream))
    except (OSError, ValueError) as error:
        raise client.CheckFailedError("config", f"No writer has left its records in {directory}: {error}.") from error


def read_records(directory: str) -> list[Record]:
    """Return all records in the order of their ends; the last line of a killed writer may be half a line."""
    records: list[Record] = []
    for path in sorted(glob.glob(os.path.join(glob.escape(directory), f"{RECORDS}*"))):
        with open(path, encoding="utf-8") as stream:
            records.extend(_parsed(stream))
    return sorted(records, key=lambda record: record.ended)


def _parsed(stream: TextIO) -> Iterator[Record]:
    for line in stream:
        words = line.split()
        if line.endswith("\n") and len(words) == 4:
            yield Record(int(words[0]), words[1], float(words[2]), float(words[3]))


def longest_block(records: Iterable[Record], about: dict[str, Any]) -> tuple[float, float]:
    """Return the longest time without progress, and when it began by the clock on the wall.

    That is the longest single store, or the longest time in which none of the threads succeeded, whichever is longer.
    """
    records = list(records)
    successes = [record.ended for record in records if record.outcome == ACKNOWLEDGED]
    marks = [about["started"], *successes]
    # What follows the last success counts unless the writer ended because it had stored everything.
    if "stopped" in about and not about.get("exhausted"):
        marks.append(max(about["stopped"], marks[-1]))
    gaps = [(later - earlier, earlier) for earlier, later in itertools.pairwise(marks)]
    stores = [(record.ended - record.started, record.started) for record in records]
    longest, began = max([*gaps, *stores], default=(0.0, about["started"]))
    return longest, began + about["clock"]


def survivors(app: Any, run: str, numbers: list[int]) -> set[int]:
    """Return those numbers whose result comes back exactly as it was stored."""
    found: set[int] = set()
    for begin in range(0, len(numbers), CHUNK):
        wanted = {task_id(run, number): number for number in numbers[begin : begin + CHUNK]}
        metas = app.backend.get_many(set(wanted), interval=0.0, max_iterations=1)
        found.update(wanted[identity] for identity, meta in metas if _is_whole(meta, run, wanted[identity]))
    return found


def _survives_alone(app: Any, run: str, number: int) -> bool:
    """Tell whether one result comes back; one that cannot even be decoded does not."""
    try:
        meta = app.backend.get_task_meta(task_id(run, number), cache=False)
    except Exception as error:
        if client.classify(error)[0] in CONNECTION_CLASSES:
            raise
        return False
    return _is_whole(meta, run, number)


def _is_whole(meta: dict[str, Any], run: str, number: int) -> bool:
    return meta.get("status") == "SUCCESS" and meta.get("result") == payload(run, number)


def lost_numbers(app: Any, run: str, numbers: list[int]) -> list[int]:
    """Return the acknowledged numbers that are gone or changed; an error of the connection is no loss."""
    try:
        missing = sorted(set(numbers) - survivors(app, run, numbers))
    except Exception:  # noqa: BLE001 - one result that cannot be decoded spoils all that are read with it
        missing = numbers
    for attempt in range(READ_ATTEMPTS):
        try:
            return [number for number in missing if not _survives_alone(app, run, number)]
        except Exception:
            if attempt == READ_ATTEMPTS - 1:
                raise
            time.sleep(1.0)
    return missing


def delete_results(app: Any, run: str, numbers: Iterable[int]) -> None:
    """Delete what was stored; what cannot be deleted expires."""
    backend = app.backend
    wanted = [backend.get_key_for_task(task_id(run, number)) for number in numbers]
    for begin in range(0, len(wanted), CHUNK):
        backend.client.delete(*wanted[begin : begin + CHUNK])


def examine(app: Any, directory: str, redact: client.Redactor) -> dict[str, Any]:
    """Return what became of the results of one writer, and delete them."""
    about = read_about(directory)
    run = str(about["run"])
    records = read_records(directory)
    acknowledged = sorted(record.number for record in records if record.outcome == ACKNOWLEDGED)
    failed = [record for record in records if record.outcome != ACKNOWLEDGED]
    longest, began = longest_block(records, about)
    lost = lost_numbers(app, run, acknowledged)
    found = {
        "acknowledged": len(acknowledged),
        "lost": len(lost),
        "failed_stores": len(failed),
        "unfinished": sum(record.outcome == UNFINISHED for record in failed),
        "blocked_ms": round(longest * 1000),
        "blocked_at": round(began, 3),
        "exhausted": bool(about.get("exhausted")),
        "stalled_ms": int(about.get("stalled_ms", 0)),
        "backend": about["backend"],
        "lost_examples": [task_id(run, number) for number in lost[:5]],
        "deleted": True,
    }
    try:
        delete_results(app, run, [record.number for record in records])
    except Exception as error:  # noqa: BLE001 - the figures are worth more
        found |= {"deleted": False, "not_deleted": redact(f"{type(error).__name__}: {error}")}
    return found
