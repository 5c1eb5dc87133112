# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each account can do its job, and no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.resultops.celery.tests.unit.result_tables import Application
from ansible_collections.resultops.celery.tests.unit.sql_servers import Postgresql

Run = Callable[..., dict[str, Any]]
ALLOWED = {
    "user": [
        "SELECT * FROM celery_taskmeta",
        "INSERT INTO celery_tasksetmeta (id, taskset_id) VALUES (7, 'x')",
        "UPDATE celery_taskmeta SET status = 'X'",
        "DELETE FROM celery_tasksetmeta WHERE id = 7",
        "SELECT version_num FROM celery_schema_version",
        "SELECT nextval({task_id_sequence})",
    ],
    "purge_user": [
        "SELECT id, date_done, created FROM celery_taskmeta",
        "DELETE FROM celery_taskmeta WHERE id = 7",
        "DELETE FROM celery_tasksetmeta WHERE id = 7",
        "CALL celery_purge(86400, 86400, 100, 0)",
    ],
    "monitor_user": [
        "SELECT status, count(*), min(date_done), min(created) FROM celery_taskmeta GROUP BY status",
        "SELECT count(*), min(date_done) FROM celery_tasksetmeta",
        "SELECT * FROM celery_purge_status",
    ],
}
REFUSED = {
    "user": [
        "ALTER TABLE celery_taskmeta ADD COLUMN x INTEGER",
        "DROP TABLE celery_taskmeta",
        "TRUNCATE TABLE celery_taskmeta",
        "CREATE TABLE other (id INTEGER)",
        "DELETE FROM celery_schema_version",
        "UPDATE celery_purge_status SET removed = 1",
    ],
    "purge_user": [
        "SELECT result FROM celery_taskmeta",
        "INSERT INTO celery_taskmeta (id) VALUES (1)",
        "UPDATE celery_taskmeta SET status = 'X'",
        "CREATE TABLE other (id INTEGER)",
    ],
    "monitor_user": [
        "SELECT result FROM celery_taskmeta",
        "SELECT args FROM celery_taskmeta",
        "DELETE FROM celery_taskmeta",
        "UPDATE celery_taskmeta SET status = 'X'",
        "INSERT INTO celery_taskmeta (id) VALUES (1)",
    ],
}


@pytest.fixture(scope="module", params=["postgresql", "mariadb"])
def engine(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@pytest.fixture
def application(engine: Any, run_on_host: Run) -> Application:
    return Application(engine, run_on_host)


def statement(application: Application, text: str) -> str:
    return text.format(task_id_sequence="'task_id_sequence'" if application.schema else "task_id_sequence")


def test_accounts_may_do_their_work_and_nothing_else(application: Application) -> None:
    application.make_tables("5.4")
    if not application.schema:
        application.sql(f"REVOKE ALL PRIVILEGES ON `{application.database}`.* FROM `{application.user}`@'%'")
    application.fill(5)
    application.migrate()
    failed, passed = [], []
    for account, texts in ALLOWED.items():
        with application.session(getattr(application, account)) as sql:
            for text in texts:
                try:
                    sql(statement(application, text))
                except Exception as problem:  # noqa: BLE001 - the test shows all of them
                    failed.append(f"{account}: {text}: {problem}")
    for account, texts in REFUSED.items():
        for text in texts:
            with application.session(getattr(application, account)) as sql:
                try:
                    sql(statement(application, text))
                except Exception as problem:  # noqa: BLE001 - the test shows all of them
                    if not any(word in str(problem) for word in ("denied", "must be owner", "permission")):
                        passed.append(f"{account}: {text}: {problem}")
                else:
                    passed.append(f"{account}: {text}")
    assert (failed, passed) == ([], [])


def test_what_was_taken_away_is_given_again_and_what_was_added_is_taken(application: Application) -> None:
    application.migrate()
    who = f'"{application.user}"' if application.schema else f"`{application.user}`@'%'"
    monitor = f'"{application.monitor_user}"' if application.schema else f"`{application.monitor_user}`@'%'"
    application.sql(f"REVOKE DELETE ON celery_taskmeta FROM {who}")
    application.sql(f"GRANT SELECT ON celery_taskmeta TO {monitor}")

    foreseen = application.migrate(check_mode=True)
    result = application.migrate()

    assert foreseen["sql"] == result["sql"]
    granted = [text.partition(" ON ")[0] for text in result["sql"] if not text.startswith("SET")]
    assert sorted(granted) == [
        "GRANT DELETE",
        "GRANT SELECT (created, date_done, id, status)",
        "REVOKE SELECT",
    ]
    assert application.migrate()["changed"] is False


def test_an_account_that_is_not_there_is_told(application: Application) -> None:
    result = application.migrate(purge_user="absent")
    assert len(result["problems"]) == 1
    assert "absent" in result["problems"][0]


def test_no_account_is_needed(application: Application) -> None:
    result = application.migrate(application_user=None, purge_user=None, monitor_user=None)
    assert [text for text in result["sql"] if text.startswith("GRANT")] == []


GIVEN_AWAY = """
SELECT c.relname::text, x.grantee::regrole::text FROM pg_class c, aclexplode(c.relacl) x
WHERE c.relnamespace = 'shop'::regnamespace AND x.grantee IN (0, 'anon'::regrole, 'authenticated'::regrole)
UNION ALL SELECT p.proname::text, x.grantee::regrole::text FROM pg_proc p, aclexplode(p.proacl) x
WHERE p.pronamespace = 'shop'::regnamespace AND x.grantee IN (0, 'anon'::regrole, 'authenticated'::regrole)
UNION ALL SELECT n.nspname::text, x.grantee::regrole::text FROM pg_namespace n, aclexplode(n.nspacl) x
WHERE n.nspname = 'shop' AND x.grantee IN (0, 'anon'::regrole, 'authenticated'::regrole)
"""


@pytest.mark.parametrize("owner", ["a role without login", "who logs in"])
def test_an_interface_to_all_tables_sees_nothing(postgresql: Postgresql, run_on_host: Run, owner: str) -> None:
    """As Supabase has it, whose roles get each new table by default."""
    application = Application(postgresql, run_on_host)
    for role in ("anon", "authenticated"):
        postgresql.sql(f"DO $$ BEGIN CREATE ROLE {role}; EXCEPTION WHEN duplicate_object THEN END $$")
    owning = application.owner if owner != "who logs in" else postgresql.superuser
    for what in ("TABLES", "SEQUENCES", "FUNCTIONS"):
        application.sql(
            f'ALTER DEFAULT PRIVILEGES FOR ROLE "{owning}" GRANT ALL ON {what} TO anon, authenticated, PUBLIC'
        )
    application.sql("GRANT USAGE ON SCHEMA shop TO anon, authenticated, PUBLIC")
    wanted = {} if owner != "who logs in" else {"owner": None}

    application.migrate(**wanted)

    assert application.sql(GIVEN_AWAY) == []
    assert application.migrate(**wanted)["changed"] is False
    application.sql("GRANT EXECUTE ON PROCEDURE celery_purge TO PUBLIC, anon")
    again = application.migrate(**wanted)["sql"]
    assert len([text for text in again if text.startswith("REVOKE EXECUTE ON PROCEDURE")]) == 2
    assert application.sql(GIVEN_AWAY) == []
