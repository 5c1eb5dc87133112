# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare our result tables with those that Celery creates: stores, reads, WAL, the purge, and the size on disk.

Runs against PostgreSQL 17 and MariaDB 11.8 on a host of the fleet, both as Debian ships them. The parts:

  table    stores and reads in our table, by Celery's own class and by that of the profile `fast`, beside Celery's own
           class in the table that Celery made; all as in a child of a worker
  profile  the class of the profile `fast` beside Celery's own, in a process that did not fork
  wal      what the server has to write for a small result
  purge    how long a steady writer waits for a store while half of all results are removed, beside Celery's cleanup
  cycles   the size of table and indexes over fill-and-purge cycles
  vacuum   the same when each purge takes an hour's results of a day, with our autovacuum settings beside the server's

Operations that are compared are interleaved in one process, in a random order each round, so that a load on the machine
meets all of them. What counts is the ratio of the medians, with a bootstrap interval of 95 %. The result is
reports/bench_sql.json.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import random
import secrets
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from celery import Celery

ROOT = Path(__file__).resolve().parents[1]
REPORT = ROOT / "reports" / "bench_sql.json"
FLEET = "sql"
HOST = "database13"
PARTS = ("table", "profile", "wal", "purge", "cycles", "vacuum")
ENGINES = ("postgresql", "mysql")
STOCK, OURS, FAST = "stock", "ours", "fast"
SIDES = {OURS: "our table, Celery's class", FAST: "our table, profile fast"}
NOT_FORKED = {FAST: "profile fast, not forked"}
PAYLOADS = {"200 B": 200, "10 KB": 10_000, "200 KB": 200_000}
# What Celery's own table holds at most in a column on MariaDB and MySQL.
LARGEST_BLOB = 65535
TABLE_GOALS = {"200 B": 1.0, "10 KB": 1.05, "200 KB": 1.4}
PROFILE_GOALS = {"store": 3.0, "read": 4.0}
WAL_GOAL = 0.7
PURGE_GOAL = 1.1
# What two vacuums that come at different moments leave differs by some percent.
SIZE_GOAL = 1.1
RESAMPLES = 1000
DAY = 86400
PORTIONS = 5
# Series of stores before the WAL is measured, and rows that stay at the end of the table, so that it keeps its pages.
WARM_UP, KEPT = 3, 1000
# A day of results, and seconds in which autovacuum looks at the table at least once (autovacuum_naptime above).
HOURS, VACUUM_PAUSE = 24, 12.0
# Between two stores of the steady writer.
WRITER_PAUSE = 1 / 80


@dataclass(frozen=True)
class Server:
    """One engine on the host of the fleet."""

    engine: str
    address: str
    password: str

    def url(self, database: str) -> str:
        driver = "postgresql+psycopg" if self.engine == "postgresql" else "mysql+pymysql"
        return f"db+{driver}://bench:{self.password}@{self.address}/{database}"

    def connection(self, database: str) -> Any:
        if self.engine == "postgresql":
            psycopg = importlib.import_module("psycopg")
            return psycopg.connect(
                host=self.address, user="bench", password=self.password, dbname=database, autocommit=True
            )
        pymysql = importlib.import_module("pymysql")
        return pymysql.connect(
            host=self.address, user="bench", password=self.password, database=database, autocommit=True
        )

    def rows(self, database: str, *statements: str) -> list[tuple[Any, ...]]:
        """Run the statements in one session; gives what the last one returns."""
        with contextlib.closing(self.connection(database)) as connection:
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(statement)
            return [tuple(row) for row in cursor.fetchall()] if cursor.description else []


PREPARE = r"""
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get update -q=2
apt-get install -q=2 --no-install-recommends postgresql mariadb-server >/dev/null
cluster=$(echo /etc/postgresql/*/main)
cat >"$cluster/conf.d/bench.conf" <<EOF
listen_addresses = '*'
timezone = UTC
autovacuum_naptime = 5s
EOF
echo 'host all bench samenet scram-sha-256' >>"$cluster/pg_hba.conf"
printf '[mariadbd]\nbind-address = 0.0.0.0\n' >/etc/mysql/mariadb.conf.d/99-bench.cnf
systemctl restart postgresql mariadb
read -r password
runuser -u postgres -- psql -q -v ON_ERROR_STOP=1 <<EOF
CREATE ROLE bench SUPERUSER LOGIN PASSWORD '$password';
CREATE DATABASE stock; CREATE DATABASE ours;
ALTER DATABASE ours SET search_path = app;
\c ours
CREATE SCHEMA app;
EOF
mariadb <<EOF
CREATE USER bench@'%' IDENTIFIED BY '$password'; GRANT ALL ON *.* TO bench@'%' WITH GRANT OPTION;
CREATE DATABASE stock; CREATE DATABASE ours;
EOF
"""


@contextlib.contextmanager
def servers(engines: Sequence[str]) -> Iterator[dict[str, Server]]:
    """Make a host of the fleet with both engines, and remove it in the end."""
    with tempfile.TemporaryDirectory() as name:
        inventory = Path(name) / "hosts.json"
        variables = {
            "fleet_name": FLEET,
            "fleet_debian": "13",
            "ansible_connection": "community.docker.docker",
            "ansible_host": "resultops-{{ fleet_name }}-{{ inventory_hostname }}",
            "ansible_python_interpreter": "/usr/bin/python3",
        }
        inventory.write_text(json.dumps({"fleet": {"hosts": {HOST: {}}, "vars": variables}}), encoding="utf-8")
        container = f"resultops-{FLEET}-{HOST}"
        try:
            playbook("create.yml", inventory)
            say("Installing PostgreSQL and MariaDB on a host of the fleet")
            password = secrets.token_urlsafe(24)
            command(["docker", "exec", "-i", container, "bash", "-c", PREPARE], f"{password}\n")
            inspected = json.loads(command(["docker", "inspect", container]))
            [network] = inspected[0]["NetworkSettings"]["Networks"].values()
            yield {engine: Server(engine, network["IPAddress"], password) for engine in engines}
        finally:
            playbook("destroy.yml", inventory)


def playbook(name: str, inventory: Path) -> None:
    command(["ansible-playbook", "-i", str(inventory), str(ROOT / "tests" / "fleet" / name)])


def command(words: list[str], text: str = "") -> str:
    done = subprocess.run(words, cwd=ROOT, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words[:3])} ... failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def make_tables(server: Server) -> None:
    """Ours by the module of the collection, the others as Celery makes them when it first stores."""
    arguments = {
        "engine": server.engine,
        "login_host": server.address,
        "login_user": "bench",
        "login_password": server.password,
        "database": OURS,
        "ssl_mode": "disable",
        **({"schema": "app", "owner": "bench"} if server.engine == "postgresql" else {}),
    }
    task = {"name": "Make our tables", "resultops.celery.result_schema": arguments}
    play = {"hosts": "localhost", "gather_facts": False, "tasks": [task]}
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "play.yml"
        file.write_text(json.dumps([play]), encoding="utf-8")
        command(["ansible-playbook", "-e", f"ansible_python_interpreter={sys.executable}", str(file)])
    backend(server.url(STOCK), forked=True).store_result(str(uuid4()), 0, "SUCCESS")


def backend(url: str, *, forked: bool, **settings: Any) -> Any:
    """Return a result backend as a child of a worker (forked) or any other process has it."""
    app = Celery("benchmark", set_as_current=False)
    app.config_from_object(SimpleNamespace(result_backend=url, result_expires=DAY, **settings))
    made = app.backend
    if forked and hasattr(made, "session_manager"):
        made.session_manager.forked = True
    return made


def records(size: int) -> list[dict[str, Any]]:
    """Make a result like those that tasks return: records of about that size as JSON."""
    number, made, length = random.Random(size), [], 0  # noqa: S311 - no secret
    while length < size:
        made.append(
            {
                "id": number.randrange(10**9),
                "name": f"customer {number.randrange(10**6)}",
                "email": f"{number.randrange(10**8):x}@example.com",
                "balance": round(number.random() * 1000, 2),
                "active": number.random() < 0.5,
            }
        )
        length += len(json.dumps(made[-1])) + 2
    return made


def interleaved(operations: Mapping[str, Callable[[], Any]], rounds: int, warm_up: int) -> dict[str, list[float]]:
    """Time each operation once a round, in a random order; gives microseconds."""
    times: dict[str, list[float]] = {name: [] for name in operations}
    order = list(operations)
    for number in range(rounds + warm_up):
        random.shuffle(order)
        for name in order:
            started = time.perf_counter()
            operations[name]()
            if number >= warm_up:
                times[name].append((time.perf_counter() - started) * 1e6)
    return times


def interval(ours: Sequence[float], reference: Sequence[float], paired: bool = True) -> tuple[float, float]:
    """Return the bootstrap interval of 95 % of the ratio of the medians, reference by ours."""
    ratios, rounds = [], list(zip(ours, reference, strict=paired))
    for _number in range(RESAMPLES):
        if paired:
            # Rounds are drawn as wholes, because what slowed one operation of a round slowed the others, too.
            drawn = random.choices(rounds, k=len(rounds))  # noqa: S311 - no secret
            mine, other = [one for one, _other in drawn], [other for _one, other in drawn]
        else:
            mine = random.choices(ours, k=len(ours))  # noqa: S311 - no secret
            other = random.choices(reference, k=len(reference))  # noqa: S311 - no secret
        ratios.append(statistics.median(other) / statistics.median(mine))
    ratios.sort()
    return ratios[int(0.025 * RESAMPLES)], ratios[int(0.975 * RESAMPLES)]


def faster(name: str, what: str, ours: list[float], reference: list[float], goal: float | None) -> dict[str, Any]:
    """Report how many of ours fit into the time of the reference."""
    low, high = interval(ours, reference)
    ratio = statistics.median(reference) / statistics.median(ours)
    return line(
        name,
        statistics.median(ours),
        statistics.median(reference),
        what,
        (ratio, low, high),
        goal,
        ratio >= (goal or 0),
    )


def line(
    name: str,
    ours: float,
    reference: float,
    what: str,
    ratio: tuple[float, float, float],
    goal: float | None,
    met: bool,
) -> dict[str, Any]:
    return {
        "name": name,
        "ours": round(ours, 1),
        "reference": round(reference, 1),
        "reference_what": what,
        "ratio": round(ratio[0], 2),
        "low": round(ratio[1], 2),
        "high": round(ratio[2], 2),
        "goal": goal,
        "met": None if goal is None else met,
    }


def stores(backends: Mapping[str, Any], value: Any) -> dict[str, Callable[[], Any]]:
    def store(one: Any) -> None:
        one.store_result(str(uuid4()), value, "SUCCESS")

    return {name: partial(store, one) for name, one in backends.items()}


def reads(backends: Mapping[str, Any], value: Any) -> dict[str, Callable[[], Any]]:
    tasks = [str(uuid4()) for _number in range(50)]
    for one in backends.values():
        for task in tasks:
            one.store_result(task, value, "SUCCESS")

    def read(one: Any) -> Any:
        return one.get_task_meta(random.choice(tasks), cache=False)  # noqa: S311 - no secret

    return {name: partial(read, one) for name, one in backends.items()}


def compare(
    backends: Mapping[str, Any],
    sides: Mapping[str, str],
    what: str,
    engine: str,
    payload: str,
    rounds: int,
    goals: Mapping[str, float],
) -> list[dict[str, Any]]:
    value, rows = records(PAYLOADS[payload]), []
    for operation, make in (("store", stores), ("read", reads)):
        times = interleaved(make(backends, value), rounds, max(20, rounds // 20))
        rows += [
            faster(f"{engine}, {operation} {payload}: {side}", what, times[name], times[STOCK], goals[operation])
            for name, side in sides.items()
        ]
    return rows


def part_table(server: Server, options: argparse.Namespace) -> list[dict[str, Any]]:
    backends = table_backends(server)
    what = "microseconds of Celery's class in its own table, same server and driver; the ratio is the speed"
    rows = []
    for payload in PAYLOADS:
        if server.engine == "mysql" and PAYLOADS[payload] > LARGEST_BLOB:
            say(f"mysql, table, {payload}: left out, because the table that Celery makes cannot hold it")
            continue
        rounds = options.rounds if PAYLOADS[payload] < 100_000 else options.rounds // 3
        say(f"{server.engine}, table, {payload}: {rounds} stores and reads of each side, interleaved")
        goals = dict.fromkeys(("store", "read"), TABLE_GOALS[payload])
        rows += compare(backends, SIDES, what, server.engine, payload, rounds, goals)
    return rows


def part_profile(server: Server, options: argparse.Namespace) -> list[dict[str, Any]]:
    backends = {STOCK: backend(server.url(OURS), forked=False), FAST: fast_backend(server, forked=False)}
    what = "microseconds of Celery's own class in a process that did not fork, same table; the ratio is the speed"
    rounds = options.rounds // 2
    say(f"{server.engine}, profile: {rounds} stores and reads of each side in a process that did not fork, interleaved")
    return compare(backends, NOT_FORKED, what, server.engine, "200 B", rounds, PROFILE_GOALS)


def table_backends(server: Server) -> dict[str, Any]:
    """Return what a child of a worker has: Celery as it comes, our table alone, and what the roles give together."""
    backends = {kind: backend(server.url(kind), forked=True) for kind in (STOCK, OURS)}
    return {**backends, FAST: fast_backend(server, forked=True)}


def fast_backend(server: Server, *, forked: bool) -> Any:
    """Return the backend with the settings that the role gives to a worker."""
    shared = importlib.import_module("ansible_collections.resultops.celery.plugins.module_utils._backend")
    description = {
        "kind": server.engine,
        "hosts": [server.address],
        "port": 5432 if server.engine == "postgresql" else 3306,
        "profile": "fast",
        "username": "bench",
        "database": OURS,
        "tls": False,
        "ca_file": "",
        "pooler": "none",
    }
    if server.engine == "mysql":
        del description["pooler"]
    url = shared.backend_url(description, server.password)
    settings = {name: value for name, value in shared.celery_settings(description).items() if name != "result_expires"}
    return backend(url, forked=forked, **settings)


def part_wal(server: Server, options: argparse.Namespace) -> list[dict[str, Any]]:
    """One side after the other: the log belongs to the whole server, and what it takes hardly varies."""
    if server.engine != "postgresql":
        return []
    backends = table_backends(server)
    operations, series = stores(backends, records(200)), 100
    written: dict[str, list[float]] = {side: [] for side in backends}
    say(f"{server.engine}, WAL: {options.rounds} stores of each side, into pages that a purge has emptied")
    for database in (STOCK, OURS):
        server.rows(database, "TRUNCATE TABLE celery_taskmeta")
        fill(server, database, 20 * KEPT, 5)
        fill(server, database, KEPT, 1)
        # What a vacuum writes meanwhile belongs to no store.
        server.rows(
            database,
            f"DELETE FROM celery_taskmeta WHERE id <= (SELECT max(id) FROM celery_taskmeta) - {KEPT}",  # noqa: S608
            "VACUUM celery_taskmeta",
            "ALTER TABLE celery_taskmeta SET (autovacuum_enabled = off)",
        )
    for side in backends:
        # The first change of a page after a checkpoint writes the whole page.
        server.rows(STOCK, "CHECKPOINT")
        for number in range(max(3, options.rounds // series) + WARM_UP):
            before = server.rows(STOCK, "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")[0][0]
            for _store in range(series):
                operations[side]()
            after = server.rows(STOCK, "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")[0][0]
            if number >= WARM_UP:
                written[side].append(float(after - before) / series)
    for database in (STOCK, OURS):
        server.rows(database, "ALTER TABLE celery_taskmeta RESET (autovacuum_enabled)")
    what = (
        "bytes of WAL of Celery's class in the table that Celery 5.7 creates, for 200 B; the ratio is what ours takes"
    )
    rows = []
    for side in (OURS, FAST):
        low, high = interval(written[STOCK], written[side])
        ours, reference = statistics.median(written[side]), statistics.median(written[STOCK])
        ratio = ours / reference
        rows.append(
            line(
                f"{server.engine}: WAL of a store, {SIDES[side]}",
                ours,
                reference,
                what,
                (ratio, low, high),
                WAL_GOAL,
                ratio <= WAL_GOAL,
            )
        )
    return rows


class Writer:
    """Stores results at a steady pace until it is told to stop, and notes how long each took."""

    def __init__(self, server: Server, database: str) -> None:
        self._store = stores({database: backend(server.url(database), forked=True)}, records(200))[database]
        self.seconds: list[tuple[float, float]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)

    def __enter__(self) -> Writer:
        self._store()
        self._thread.start()
        return self

    def __exit__(self, *_raised: object) -> None:
        self._stop.set()
        self._thread.join()

    def _write(self) -> None:
        while not self._stop.wait(WRITER_PAUSE):
            started = time.perf_counter()
            self._store()
            self.seconds.append((started, (time.perf_counter() - started) * 1e6))

    def between(self, start: float, end: float) -> list[float]:
        return [took for moment, took in self.seconds if start <= moment <= end]


def fill(server: Server, database: str, count: int, hours: int) -> None:
    """Results of that many hours ago; of a hundred one never got ready."""
    made = ", created" if database == OURS else ""
    if server.engine == "postgresql":
        source = f"generate_series(1, {count}) AS g(n)"
        moment = f"(now() AT TIME ZONE 'utc') - interval '{hours} hours'"
        key, task, text = (
            "nextval('task_id_sequence')",
            "gen_random_uuid()::text",
            "convert_to(repeat('x', 200), 'UTF8')",
        )
    else:
        source = f"(SELECT seq AS n FROM seq_1_to_{count}) AS g"  # noqa: S608 - our own words
        moment = f"UTC_TIMESTAMP() - INTERVAL {hours} HOUR"
        key, task, text = "NEXTVAL(task_id_sequence)", "UUID()", "REPEAT('x', 200)"
    server.rows(
        database,
        f"INSERT INTO celery_taskmeta (id, task_id, status, result, date_done{made})"  # noqa: S608 - our own words
        f" SELECT {key}, {task}, CASE WHEN n % 100 = 0 THEN 'STARTED' ELSE 'SUCCESS' END, {text},"
        f" CASE WHEN n % 100 = 0 THEN NULL ELSE {moment} END{', ' + moment if made else ''} FROM {source}",
    )


def purge(server: Server, hours: float = 24) -> None:
    schema = "app." if server.engine == "postgresql" else ""
    server.rows(OURS, f"CALL {schema}celery_purge({hours * 3600:.0f}, {hours * 3600:.0f}, 5000, 0.05)")


def settle(server: Server, database: str) -> None:
    """Let what a fill leaves to the server be done before something is measured."""
    if server.engine == "postgresql":
        server.rows(database, "VACUUM (ANALYZE) celery_taskmeta")
        server.rows(database, "CHECKPOINT")
    else:
        server.rows(database, "ANALYZE TABLE celery_taskmeta")


def part_purge(server: Server, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Remove the older half in portions, and only write before each: what slows the machine slows both."""
    celerys = backend(server.url(STOCK), forked=True)

    def cleanup(hours: float) -> None:
        celerys.expires = timedelta(hours=hours)
        celerys.cleanup()

    sides: dict[str, tuple[str, Callable[[float], None]]] = {
        "Celery's cleanup": (STOCK, cleanup),
        "our purge": (OURS, partial(purge, server)),
    }
    rows, portion = [], options.rows // 2 // PORTIONS
    for name, (database, remove) in sides.items():
        say(f"{server.engine}, purge: {name}, {portion * PORTIONS} of {options.rows} results under a steady writer")
        # Ids grow with time, so what other parts stored just now cannot stand before it.
        server.rows(database, "TRUNCATE TABLE celery_taskmeta")
        for number in range(PORTIONS):
            fill(server, database, portion, 100 - number)
        fill(server, database, options.rows // 2, 1)
        settle(server, database)
        before: list[float] = []
        during: list[float] = []
        with Writer(server, database) as writer:
            for number in range(PORTIONS):
                start = time.perf_counter()
                time.sleep(options.seconds / PORTIONS)
                begun = time.perf_counter()
                remove(99.5 - number)
                ended = time.perf_counter()
                before += writer.between(start, begun)
                during += writer.between(begun, ended)
        left = server.rows(database, "SELECT count(*), count(*) - count(date_done) FROM celery_taskmeta")[0]
        say(f"    {len(during)} stores meanwhile; {left[0]} results are left, of which {left[1]} never got ready")
        low, high = interval(before, during, paired=False)
        ratio = statistics.median(during) / statistics.median(before)
        goal = PURGE_GOAL if database == OURS else None
        what = "microseconds of a store in between; the ratio is how much longer a store takes meanwhile"
        rows.append(
            line(
                f"{server.engine}: a store during {name}",
                statistics.median(during),
                statistics.median(before),
                what,
                (ratio, low, high),
                goal,
                ratio <= PURGE_GOAL,
            )
        )
    return rows


def size(server: Server) -> int:
    if server.engine == "postgresql":
        return int(server.rows(OURS, "SELECT pg_total_relation_size('celery_taskmeta')")[0][0])
    server.rows(OURS, "ANALYZE TABLE celery_taskmeta")
    statement = (
        "SELECT data_length + index_length FROM information_schema.tables"
        " WHERE table_schema = DATABASE() AND table_name = 'celery_taskmeta'"
    )
    return int(server.rows(OURS, statement)[0][0])


def tidied(server: Server) -> None:
    """Wait for the server's own tidying, which is part of what is measured."""
    deadline = time.monotonic() + 60
    while server.engine == "postgresql" and time.monotonic() < deadline:
        dead = server.rows(OURS, "SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'celery_taskmeta'")
        if dead[0][0] == 0:
            return
        time.sleep(1)


def part_cycles(server: Server, options: argparse.Namespace) -> list[dict[str, Any]]:
    say(f"{server.engine}, cycles: {options.cycles} of {options.cycle_rows} results each")
    server.rows(OURS, "TRUNCATE TABLE celery_taskmeta")
    sizes = []
    for number in range(options.cycles):
        hours = options.cycles - number
        fill(server, OURS, options.cycle_rows, hours)
        sizes.append(size(server))
        # What was filled before goes, and this filling stays until the next one.
        purge(server, hours + 0.5)
        tidied(server)
    print("    " + " ".join(f"{one / 2**20:.0f}" for one in sizes) + " MiB", flush=True)
    ratio = sizes[-1] / sizes[1]
    what = "MiB of table and indexes at the second filling; the ratio is how much they have grown"
    return [
        line(
            f"{server.engine}: size after {options.cycles} fillings",
            sizes[-1] / 2**20,
            sizes[1] / 2**20,
            what,
            (ratio, min(sizes[1:]) / sizes[1], max(sizes[1:]) / sizes[1]),
            SIZE_GOAL,
            ratio <= SIZE_GOAL,
        )
    ]


def part_vacuum(server: Server, options: argparse.Namespace) -> list[dict[str, Any]]:
    """A day's results, of which the oldest hour leaves and a new one comes, as a timer does it."""
    if server.engine != "postgresql":
        return []
    hour, sizes = options.cycle_rows // 8, {}
    own = server.rows(OURS, "SELECT array_to_string(reloptions, ', ') FROM pg_class WHERE relname = 'celery_taskmeta'")
    settings = own[0][0]
    names = ", ".join(setting.partition("=")[0] for setting in settings.split(", "))
    sides = {
        "the server's": f"ALTER TABLE celery_taskmeta RESET ({names})",
        "ours": f"ALTER TABLE celery_taskmeta SET ({settings})",
    }
    for side, statement in sides.items():
        say(f"{server.engine}, vacuum: {options.cycles} hours of {hour} results each, autovacuum settings: {side}")
        server.rows(OURS, "TRUNCATE TABLE celery_taskmeta", statement)
        for number in range(HOURS):
            fill(server, OURS, hour, options.cycles + HOURS - number)
        settle(server, OURS)
        for number in range(options.cycles):
            purge(server, options.cycles + HOURS - number - 0.5)
            time.sleep(VACUUM_PAUSE)
            fill(server, OURS, hour, options.cycles - number)
        sizes[side] = size(server) / 2**20
    ratio = sizes["ours"] / sizes["the server's"]
    what = "MiB with the server's own settings; the ratio is what ours takes"
    return [
        line(
            f"{server.engine}: size of a day's results after {options.cycles} hourly purges",
            sizes["ours"],
            sizes["the server's"],
            what,
            (ratio, ratio, ratio),
            None,
            True,
        )
    ]


def say(text: str) -> None:
    print(f"==> {text}", flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS, help="what to measure (default all)")
    parser.add_argument("--engines", nargs="+", default=ENGINES, choices=ENGINES, help="on which (default both)")
    parser.add_argument("--rounds", type=int, default=1500, help="stores and reads of each side (default 1500)")
    parser.add_argument("--rows", type=int, default=2_000_000, help="results before the purge (default 2000000)")
    parser.add_argument("--seconds", type=float, default=20, help="writing without a purge (default 20)")
    parser.add_argument("--cycles", type=int, default=10, help="fill-and-purge cycles (default 10)")
    parser.add_argument("--cycle-rows", type=int, default=200_000, help="results of each (default 200000)")
    parser.add_argument("--quick", action="store_true", help="small numbers: does it work at all?")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.rows, options.seconds = 150, 100_000, 3.0
        options.cycles, options.cycle_rows = 3, 20_000
    return options


def main() -> None:
    options = arguments()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name, servers(options.engines) as running:
        collections = Path(name) / "ansible_collections" / "resultops"
        collections.mkdir(parents=True)
        (collections / "celery").symlink_to(ROOT)
        sys.path[:0] = [name, str(ROOT / "roles" / "worker" / "files")]
        os.environ["ANSIBLE_COLLECTIONS_PATH"] = name
        for server in running.values():
            make_tables(server)
            for part in options.parts:
                rows += PART_FUNCTIONS[part](server, options)
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(rows, indent=2), encoding="utf-8")
    for one in rows:
        missed = f", goal {one['goal']} missed" if one["met"] is False else ""
        print(
            f"    {one['name']}: {one['ours']} beside {one['reference']}:"
            f" {one['ratio']} x ({one['low']} to {one['high']}){missed}"
        )
    say(f"Report: {REPORT.relative_to(ROOT)}")
    if os.getloadavg()[0] > 2 * (os.cpu_count() or 1):
        say("The machine was busy: the ratios hold, the microseconds do not.")


PART_FUNCTIONS: dict[str, Callable[[Server, argparse.Namespace], list[dict[str, Any]]]] = {
    "table": part_table,
    "profile": part_profile,
    "wal": part_wal,
    "purge": part_purge,
    "cycles": part_cycles,
    "vacuum": part_vacuum,
}


if __name__ == "__main__":
    main()
