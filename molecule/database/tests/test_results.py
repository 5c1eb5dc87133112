# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Results on their way from real workers into the real tables, through restarts, into backups and back."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

from fleet import CHECKOUT
from scenario import ALL, WORKERS, wait_until

CASES = CHECKOUT / "molecule" / "ha" / "tests" / "celery_cases.py"
SEND = """
import celery, time
app = celery.Celery(set_as_current=False)
app.config_from_object("celeryconfig")
for number in range(given["count"]):
    app.send_task("celery.accumulate", args=["result " + str(number)], kwargs={"index": 0},
                  task_id="restart-" + str(number), queue=given["queue"])
    time.sleep(0.02)
print(json.dumps("sent"))
"""
READ = """
import celery
app = celery.Celery(set_as_current=False)
app.config_from_object("celeryconfig")
results = [app.AsyncResult("restart-" + str(number)) for number in range(given["count"])]
print(json.dumps(sum(result.get(timeout=10) == "result " + result.id[8:] for result in results)))
"""
COUNT = 200
STORED = "SELECT count(*) FROM probe.celery_taskmeta WHERE task_id LIKE 'restart-%' AND status = 'SUCCESS'"
INDEX = (
    "SELECT amname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid JOIN pg_am ON pg_am.oid = relam"
    " WHERE indrelid = 'probe.celery_taskmeta'::regclass AND pg_get_indexdef(indexrelid) LIKE '%(date_done)%'"
)
PLACES = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'probe' AND table_name LIKE '%meta'"


def test_the_index_on_date_done_suits_the_release(fleet, postgresql):
    kind = {"dbpg13": "brin", "dbpg12": "btree"}[postgresql.name]
    assert fleet.on_host(postgresql, INDEX).split() == [kind]


def test_all_that_celery_does_is_allowed(fleet):
    cases = CASES.read_text(encoding="utf-8")
    with ThreadPoolExecutor(len(WORKERS)) as pool:
        outcomes = list(pool.map(lambda worker: fleet.as_worker(worker, cases), WORKERS))
    for outcome in outcomes:
        assert outcome["cases"] == 13
        # Celery has it for Redis and its like only.
        problems = {case: said for case, said in outcome["problems"].items() if "attribute 'get_many'" not in said}
        assert problems == {}


def test_a_restart_under_load_loses_no_result(fleet):
    pids = {worker: fleet.pid_of(worker, "celery-probe.service") for worker in WORKERS}

    def go_through(worker):
        server = WORKERS[worker]
        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(fleet.as_worker, worker, SEND, count=COUNT, queue=server.engine)
            wait_until(lambda: int(fleet.on_host(server, STORED)) > 20, 30, f"{worker} stored nothing")
            fleet.host(server.name).check_output("systemctl restart %s", server.unit)
            before = int(fleet.on_host(server, STORED))
            assert sending.result() == "sent"
        wait_until(lambda: int(fleet.on_host(server, STORED)) == COUNT, 60, f"{server.name} has not all results")
        return before, fleet.as_worker(worker, READ, count=COUNT)

    with ThreadPoolExecutor(len(WORKERS)) as pool:
        for before, read in pool.map(go_through, WORKERS):
            assert before < COUNT, "the restart came too late"
            assert read == COUNT
    assert {worker: fleet.pid_of(worker, "celery-probe.service") for worker in WORKERS} == pids


def test_a_backup_goes_into_tables_that_were_lost(fleet, tmp_path):
    limit = ("--limit", ",".join(server.name for server in ALL))
    given = {"result_schema_backup_directory": str(tmp_path), "result_schema_restore_application": "probe"}
    arguments = (*limit, "--extra-vars", json.dumps(given))
    rows = "SELECT count(*), min(task_id), max(task_id) FROM probe.celery_taskmeta"
    for server in ALL:
        values = f"({server.next_id}, 'kept for {server.name}', 'SUCCESS', {server.ago(hours=1)})"
        fleet.on_host(server, f"INSERT INTO probe.celery_taskmeta (id, task_id, status, date_done) VALUES {values}")
    before = {server.name: fleet.on_host(server, rows) for server in ALL}

    fleet.said("resultops.celery.backup", *arguments)
    for server in ALL:
        assert len(list((tmp_path / server.name / "probe").glob("*.enc"))) == 1
        names = "celery_taskmeta, probe.celery_tasksetmeta, probe.celery_schema_version, probe.celery_purge_status"
        fleet.on_host(server, "DROP PROCEDURE probe.celery_purge")
        fleet.on_host(server, f"DROP TABLE probe.{names}")
        for sequence in ("task_id_sequence", "taskset_id_sequence"):
            fleet.on_host(server, f"DROP SEQUENCE IF EXISTS probe.{sequence}")

    foreseen = fleet.said("resultops.celery.schema", "--check", "--diff", *arguments)
    for server in ALL:
        assert fleet.on_host(server, PLACES) == ""
    assert foreseen.count("CREATE TABLE") >= 2 * len(ALL)

    restored = fleet.said("resultops.celery.schema", "resultops.celery.restore", *arguments)
    assert {server.name: fleet.on_host(server, rows) for server in ALL} == before
    for server in ALL:
        assert f"are in {server.name}" in restored
        assert fleet.ask(server, "probe", "SELECT count(*) FROM probe.celery_taskmeta") != [[[0]]]
    assert fleet.secrets_in(foreseen + restored) == []
