# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of an application on a real PostgreSQL and a real MariaDB, used by Celery itself."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.resultops.celery.tests.unit.result_tables import PASSWORD, RELEASES, Application
from celery import states, uuid
from celery.result import AsyncResult, GroupResult

HEAD = "0006"
DEBIAN_PYTHON = "/usr/bin/python3"
BLOB = {"postgresql": "bytea", "mysql": "longblob"}


@pytest.fixture(params=["postgresql", "mariadb"])
def application(request: pytest.FixtureRequest, run_on_host: Callable[..., dict[str, Any]]) -> Application:
    return Application(request.getfixturevalue(request.param), run_on_host)


def test_an_empty_place_gets_wide_tables(application: Application) -> None:
    result = application.migrate()

    assert (result["changed"], result["adopted"], result["problems"]) == (True, False, [])
    assert (result["revision_before"], result["revision_after"]) == ("base", HEAD)
    columns = application.columns()
    assert columns["id"] == "bigint"
    assert {columns[name] for name in ("result", "args", "kwargs", "children", "stamps")} == {BLOB[application.engine]}
    assert {"children", "stamps", "created"} < set(columns)
    assert application.columns("celery_tasksetmeta")["id"] == "bigint"


def test_a_second_run_changes_nothing(application: Application) -> None:
    application.migrate()

    result = application.migrate()

    assert (result["changed"], result["sql"], result["diff"]) == (False, [], [])
    assert (result["revision_before"], result["revision_after"]) == (HEAD, HEAD)


def test_check_mode_shows_the_sql_and_changes_nothing(application: Application) -> None:
    foreseen = application.migrate(check_mode=True)

    assert application.columns() == {}
    assert application.columns("celery_schema_version") == {}
    done = application.migrate()
    assert foreseen["sql"] == [text.replace(*moments(done["sql"], foreseen["sql"])) for text in done["sql"]]
    assert foreseen["diff"][0]["before_header"] == "revision base"
    assert foreseen["diff"][0]["after_header"] == f"revision {HEAD}"
    assert "-- Running upgrade 0001 -> 0002" in foreseen["diff"][0]["after"]
    assert "CREATE TABLE" in foreseen["diff"][0]["after"]


def moments(done: list[str], foreseen: list[str]) -> tuple[str, str]:
    """MariaDB is told the time of the run: the later one, and what stood for it before."""
    times = [
        next((text.split("DEFAULT '")[1][:19] for text in statements if "DEFAULT '20" in text), "-")
        for statements in (done, foreseen)
    ]
    return times[0], times[1]


def test_the_sql_of_check_mode_is_what_a_person_can_run(
    postgresql: Any, run_on_host: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    application = Application(postgresql, run_on_host)
    application.make_tables("5.4")
    application.fill(100)
    file = tmp_path / "migration.sql"
    file.write_text(application.migrate(check_mode=True)["diff"][0]["after"])

    subprocess.run(
        [
            str(postgresql.programs / "psql"),
            "--set=ON_ERROR_STOP=1",
            "--quiet",
            f"--host={postgresql.socket_directory}",
            f"--port={postgresql.port}",
            "--username=postgres",
            f"--file={file}",
            application.database,
        ],
        check=True,
        capture_output=True,
    )

    assert application.migrate()["changed"] is False
    assert application.count() == 100


@pytest.mark.parametrize("release", RELEASES)
def test_tables_of_celery_are_adopted_without_losing_a_row(application: Application, release: str) -> None:
    application.make_tables(release)
    application.fill(5000)

    result = application.migrate()

    assert (result["adopted"], result["revision_before"], result["revision_after"]) == (True, "base", HEAD)
    assert application.count() == 5000
    assert application.count("celery_tasksetmeta") == 5000
    same = "task_id = concat('task-', id) AND status = 'SUCCESS' AND date_done = '2026-01-02 03:04:05'"
    assert application.count(where=same) == 5000
    assert application.columns()["id"] == "bigint"
    assert application.migrate()["changed"] is False
    backend = application.backend()
    assert backend.get_result("task-17") == "x"
    backend.store_result("later", {"answer": 42}, states.SUCCESS)
    assert application.sql("SELECT id FROM celery_taskmeta WHERE task_id = 'later'")[0][0] > 5000


def test_adopted_tables_keep_what_they_have_down_and_up_again(application: Application) -> None:
    application.make_tables("5.4")
    application.fill(100)
    before = application.columns()
    application.migrate()
    application.backend().store_result("between", "kept", states.SUCCESS)

    down = application.migrate(revision="0001")

    assert (down["revision_before"], down["revision_after"]) == (HEAD, "0001")
    columns = application.columns()
    assert {name: columns[name] for name in before} == before
    assert application.backend().get_result("between") == "kept"
    assert application.migrate(revision="0001")["changed"] is False
    application.migrate()
    assert application.count() == 101
    assert application.backend().get_result("between") == "kept"
    assert application.migrate()["changed"] is False


@pytest.mark.parametrize("at_setup", [True, False])
def test_celery_works_as_an_account_without_any_right_on_the_tables_shape(
    application: Application, at_setup: bool
) -> None:
    application.migrate()
    backend = application.backend(database_create_tables_at_setup=at_setup)

    large = "x" * 200_000
    backend.store_result("task", large, states.STARTED)
    backend.store_result("task", large, states.SUCCESS)
    assert backend.get_result("task") == large
    children = [uuid() for _number in range(3)]
    for child in children:
        backend.store_result(child, child, states.SUCCESS)
    group = GroupResult("group", [AsyncResult(child, backend=backend) for child in children])
    backend.save_group("group", group)
    assert len(backend.restore_group("group")) == 3
    backend.delete_group("group")
    assert backend.restore_group("group") is None
    backend.forget("task")
    assert application.count() == 3
    for table in ("celery_taskmeta", "celery_tasksetmeta"):
        application.sql(f"UPDATE {table} SET date_done = '2020-01-01'")
    backend.cleanup()
    assert application.count() == 0


def test_two_applications_in_one_server_do_not_read_each_other(
    application: Application, run_on_host: Callable[..., dict[str, Any]]
) -> None:
    other = Application(application.server, run_on_host)
    for one in (application, other):
        one.migrate()
        one.backend().store_result("task", one.database, states.SUCCESS)

    assert application.backend().get_result("task") == application.database
    with pytest.raises(Exception, match="denied"):
        other.connect(application.user).cursor().execute(f"SELECT * FROM {other.of('celery_taskmeta')}")


def test_an_owner_logs_in_over_tls_with_an_odd_password(application: Application) -> None:
    if application.schema:
        application.sql(f"ALTER ROLE \"{application.owner}\" LOGIN PASSWORD '{PASSWORD.replace(chr(39), chr(39) * 2)}'")

    result = application.migrate(**application.remote(application.owner))

    assert (result.get("msg"), result.get("revision_after")) == (None, HEAD)
    assert application.migrate(**application.remote(application.owner))["changed"] is False


def test_no_password_is_told(application: Application) -> None:
    result = application.migrate(**application.remote(application.owner) | {"login_password": f"{PASSWORD}x"})

    assert result["failed"] is True
    assert "No session at localhost" in result["msg"]
    assert PASSWORD not in json.dumps(result)


def test_a_limit_of_nothing_is_refused(application: Application) -> None:
    assert application.migrate(timeout=0)["msg"] == "timeout is 0: it must be 1 or more."


@pytest.mark.skipif(
    subprocess.run(
        [DEBIAN_PYTHON, "-c", "import alembic, psycopg2, pymysql"], check=False, capture_output=True
    ).returncode
    != 0,
    reason="this machine has no python3-alembic, python3-psycopg2 and python3-pymysql",
)
def test_debians_own_libraries_serve(application: Application) -> None:
    """Which may be much older than those of the project."""
    application.make_tables("5.7")
    application.fill(10)
    for expected in ("base", HEAD):
        program = (
            "import json, sys;"
            "from ansible_collections.resultops.celery.plugins.module_utils import _result_schema as s;"
            "outcome = s.migrate(json.load(sys.stdin), False); print(outcome.before, outcome.after, len(outcome.sql))"
        )
        arguments = {
            **dict.fromkeys(("schema", "owner", "login_host", "login_port", "login_password", "ca_file")),
            "ssl_mode": "verify-full",
            "login_timeout": 10,
            "lock_timeout": 200,
            "timeout": 30,
            "revision": "head",
            **application.arguments,
        }
        done = subprocess.run(
            [DEBIAN_PYTHON, "-c", program],
            input=json.dumps(arguments),
            env={"PYTHONPATH": str(collections_path())},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr == ""
        assert done.stdout.split()[:2] == [expected, HEAD]
    assert application.count() == 10


def collections_path() -> Path:
    import ansible_collections.resultops.celery as collection

    return Path(next(iter(collection.__path__))).parents[2]
