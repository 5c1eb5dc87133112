# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Results through a pooler in transaction mode, and the purge that the server runs by itself."""

from __future__ import annotations

import pytest
from fleet import recap
from scenario import GIVEN_AWAY, SCHEMAS, TRANSACTION

TASK = """
from celery import Celery
app = Celery(set_as_current=False)
app.config_from_object("celeryconfig")
result = app.send_task("celery.accumulate", ["one", "two"])
print(json.dumps([result.id, result.get(timeout=30)]))
"""
# Processes that were forked after their parent had a connection, each with several threads.
STORES = """
import multiprocessing, threading
from celery import Celery
app = Celery(set_as_current=False)
app.config_from_object("celeryconfig")
app.conf.result_backend_always_retry = False
app.backend.store_result("parent", "parent", "SUCCESS")
def store(name, errors):
    for number in range(given["stores"]):
        task = f"{name}-{number}"
        try:
            app.backend.store_result(task, task, "STARTED")
            app.backend.store_result(task, task, "SUCCESS")
            assert app.backend.get_task_meta(task, cache=False)["result"] == task
        except Exception as error:
            errors.append(f"{type(error).__name__}: {error}")
def process(name, queue):
    errors = []
    threads = [threading.Thread(target=store, args=(f"{name}-{n}", errors)) for n in range(given["threads"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    queue.put(errors)
context = multiprocessing.get_context("fork")
queue = context.Queue()
processes = [context.Process(target=process, args=(f"pooled-{n}", queue)) for n in range(given["processes"])]
for one in processes:
    one.start()
print(json.dumps(sum((queue.get(timeout=120) for one in processes), [])))
"""
# As a driver does that trusts its session.
PREPARED = """
import os, psycopg, sqlalchemy
url = sqlalchemy.make_url(os.environ["CELERY_RESULT_BACKEND"].split("+", 1)[1])
login = {**url.translate_connect_args(username="user", database="dbname"), **url.query}
sessions = [psycopg.connect(**login, autocommit=True, prepare_threshold=0) for number in range(4)]
said = set()
for number in range(20):
    for session in sessions:
        try:
            session.execute("SELECT count(*) FROM probe.celery_taskmeta WHERE id = %s", [number])
        except psycopg.Error as error:
            said.add(type(error).__name__)
print(json.dumps(sorted(said)))
"""


class TestTransactionPooler:
    def test_a_task_leaves_its_result_in_the_private_schema(self, fleet):
        task, value = fleet.as_worker("managedworker", TASK)
        assert value == ["one", "two"]
        stored = "SELECT status, abs(extract(epoch FROM date_done - now() AT TIME ZONE 'utc')) < 60"
        stored += f" FROM probe.celery_taskmeta WHERE task_id = '{task}'"
        assert fleet.provider(stored) == [["SUCCESS", "t"]]
        assert fleet.provider("SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == []

    def test_threads_and_processes_share_its_connections(self, fleet):
        values = {"processes": 4, "threads": 5, "stores": 20}
        assert fleet.as_worker("managedworker", STORES, **values) == []
        assert fleet.provider("SELECT count(*) FROM probe.celery_taskmeta WHERE task_id LIKE 'pooled-%'") == [["400"]]
        sessions = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'probe' AND application_name LIKE 'celery-%'"
        assert 1 < int(fleet.provider(sessions)[0][0]) <= 4
        log = fleet.host("managed").check_output("cat /var/log/postgresql/postgresql-17-main.log")
        assert "prepared statement" not in log

    def test_what_prepares_statements_would_fail(self, fleet):
        """Otherwise the test above would show nothing."""
        said = fleet.as_worker("managedworker", PREPARED)
        assert {*said} & {"InvalidSqlStatementName", "DuplicatePreparedStatement"}

    def test_sessions_are_in_utc_although_the_server_is_not(self, fleet):
        zones = [fleet.ask(user, "SHOW TimeZone", port=TRANSACTION) for user in ("dbadmin", "probe", "given_user")]
        assert zones == [[[["Asia/Tokyo"]]], [[["UTC"]]], [[["UTC"]]]]


OLD = """
INSERT INTO {schema}.celery_taskmeta (id, task_id, status, date_done, created)
SELECT -n, 'old-' || n, 'SUCCESS', moment, moment
FROM generate_series(1, 50) AS n, (SELECT now() AT TIME ZONE 'utc' - interval '3 days' AS moment) AS past
"""


class TestPurgeByTheServer:
    @pytest.mark.parametrize("schema", SCHEMAS)
    def test_what_has_expired_is_removed(self, fleet, schema):
        assert fleet.ask("dbadmin", OLD.format(schema=schema)) == ["done"]
        left = f"SELECT count(*) FROM {schema}.celery_taskmeta WHERE task_id LIKE 'old-%'"
        fleet.until(lambda: fleet.provider(left) == [["0"]])
        job = f"SELECT jobname, database, username, active FROM cron.job WHERE jobname = 'celery_purge_{schema}'"
        assert fleet.provider(job) == [[f"celery_purge_{schema}", "postgres", f"{schema}_purge", "t"]]
        fleet.until(lambda: fleet.provider(f"SELECT ended > started FROM {schema}.celery_purge_status") == [["t"]])
        assert fleet.provider("SELECT count(*) > 0 FROM probe.celery_taskmeta WHERE status = 'SUCCESS'") == [["t"]]

    def test_a_failure_is_to_be_seen_and_a_run_mends_it(self, fleet):
        last = "SELECT status, return_message FROM cron.job_run_details WHERE username = 'probe_purge'"
        last += " AND status <> 'running' AND status <> 'starting' ORDER BY runid DESC LIMIT 1"
        fleet.until(lambda: fleet.provider(last)[0][0] == "succeeded")
        by_hand = "ALTER ROLE probe_purge IN DATABASE postgres SET statement_timeout = '1s'"
        assert fleet.ask("dbadmin", by_hand) == ["done"]
        fleet.until(lambda: fleet.provider(last)[0][0] == "failed")
        assert "set it to 0 for the role probe_purge" in fleet.provider(last)[0][1]

        back = fleet.playbook("resultops.celery.schema", "-e", "result_schema_revision=0005")
        assert recap(back.stdout, "managedworker")["changed"] == 2, back.stdout + back.stderr
        run = fleet.playbook("resultops.celery.schema")
        assert recap(run.stdout, "managedworker")["changed"] == 1, run.stdout + run.stderr

        fleet.until(lambda: fleet.provider(last)[0][0] == "succeeded")
        # What this migration has made came with the default privileges of the day, too.
        assert [fleet.provider(GIVEN_AWAY.format(schema=schema)) for schema in SCHEMAS] == [[], []]
