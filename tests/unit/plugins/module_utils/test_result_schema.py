# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run refuses, and that it is alone."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _result_schema
from ansible_collections.resultops.celery.tests.unit.result_tables import PASSWORD, Application, execute
from ansible_collections.resultops.celery.tests.unit.sql_servers import Mariadb, Pooler, Postgresql

Run = Callable[..., dict[str, Any]]


@pytest.fixture(params=["postgresql", "mariadb"])
def application(request: pytest.FixtureRequest, run_on_host: Run) -> Application:
    return Application(request.getfixturevalue(request.param), run_on_host)


def refused(application: Application, **arguments: Any) -> str:
    """The one sentence, after which all is as it was."""
    before = [application.columns(table) for table in ("celery_taskmeta", "celery_schema_version")]
    result = application.migrate(**arguments)
    assert result.get("failed"), result
    assert [application.columns(table) for table in ("celery_taskmeta", "celery_schema_version")] == before
    assert result["msg"].count("\n") == 0
    return str(result["msg"])


def test_an_unknown_revision_is_refused(application: Application) -> None:
    message = refused(application, revision="0099")
    assert message == f"revision is 0099: it must be one of head, base, {', '.join(_result_schema.NAMES)}."


def test_tables_from_the_future_are_left_alone(application: Application) -> None:
    application.migrate()
    application.sql("UPDATE celery_schema_version SET version_num = '0107'")
    assert "is at revision 0107, and this release knows 0001 to" in refused(application)


def test_a_schema_that_is_not_there_is_named(postgresql: Postgresql, run_on_host: Run) -> None:
    application = Application(postgresql, run_on_host)
    assert "has no schema absent: name the right one in schema" in refused(application, schema="absent")
    foreseen = application.migrate(check_mode=True, schema="absent")
    assert foreseen["changed"] is True
    assert foreseen["problems"] == [f"The database {application.database} has no schema absent yet."]


def test_an_owner_that_is_not_there_is_named(postgresql: Postgresql, run_on_host: Run) -> None:
    application = Application(postgresql, run_on_host)
    assert "cannot become the role nobody, which does not exist" in refused(application, owner="nobody")
    assert application.migrate(check_mode=True, owner="nobody")["problems"] == ["There is no role nobody yet."]


def test_who_may_not_become_the_owner_is_refused(postgresql: Postgresql, run_on_host: Run) -> None:
    application = Application(postgresql, run_on_host)
    message = refused(application, **application.remote(application.user))
    assert f"{application.user} is not a member of the role {application.owner}" in message


def test_a_database_that_is_not_there_is_named(application: Application) -> None:
    assert "absent" in refused(application, database="absent")


def test_a_server_that_does_not_run_yet_is_no_failure_in_check_mode(
    application: Application, tmp_path_factory: pytest.TempPathFactory
) -> None:
    nowhere = str(tmp_path_factory.mktemp("nowhere"))
    foreseen = application.migrate(check_mode=True, login_unix_socket=nowhere)
    assert (foreseen["changed"], foreseen["problems"]) == (True, [f"No server runs yet that listens at {nowhere}."])
    assert nowhere in refused(application, login_unix_socket=nowhere)


def test_no_right_to_create_is_found_before_anything_changes(postgresql: Postgresql, run_on_host: Run) -> None:
    application = Application(postgresql, run_on_host)
    message = refused(application, **application.remote(application.user), owner=None)
    assert f"{application.user} has no right to create tables in the schema shop" in message


def test_no_right_to_alter_is_found_before_anything_changes(postgresql: Postgresql, run_on_host: Run) -> None:
    application = Application(postgresql, run_on_host)
    application.make_tables("5.4")
    application.sql(f'GRANT ALL ON SCHEMA shop TO "{application.purge_user}"')
    message = refused(application, **application.remote(application.purge_user), owner=None)
    assert f"belongs to {application.user}, and {application.purge_user} is no member of it" in message


def test_no_right_to_create_is_told_on_mariadb(mariadb: Mariadb, run_on_host: Run) -> None:
    application = Application(mariadb, run_on_host)
    application.sql(f"GRANT SELECT ON `{application.database}`.* TO `{application.user}`@'%'")
    message = refused(application, **application.remote(application.user))
    assert "denied to user" in message
    assert PASSWORD not in message


def test_a_table_that_is_not_celerys_is_left_alone(application: Application) -> None:
    application.sql("CREATE TABLE celery_taskmeta (id INTEGER PRIMARY KEY, what VARCHAR(9) NOT NULL)")
    message = refused(application)
    assert "celery_taskmeta has no column task_id" in message
    assert "celery_taskmeta.what is no column of Celery's and needs a value" in message


def test_a_server_that_cuts_results_off_is_refused(mariadb: Mariadb, run_on_host: Run) -> None:
    application = Application(mariadb, run_on_host)
    mode = mariadb.sql("SELECT @@GLOBAL.sql_mode")[0][0]
    mariadb.sql("SET GLOBAL sql_mode = 'NO_ENGINE_SUBSTITUTION'")
    try:
        assert "is not strict, so that it cuts off results" in refused(application)
    finally:
        mariadb.sql("SET GLOBAL sql_mode = %s", mode)


def test_a_read_only_server_is_refused(mariadb: Mariadb, run_on_host: Run) -> None:
    application = Application(mariadb, run_on_host)
    mariadb.sql("SET GLOBAL read_only = 1")
    try:
        assert "is read-only: log in to the primary" in refused(application)
    finally:
        mariadb.sql("SET GLOBAL read_only = 0")


def test_an_old_server_is_refused(application: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    oldest = {"PostgreSQL": (99, 0), "MariaDB": (99, 1)}
    monkeypatch.setattr(_result_schema, "OLDEST", oldest)
    assert "is the oldest supported." in refused(application)


def test_a_short_statement_timeout_of_the_role_ends_nothing(postgresql: Postgresql, run_on_host: Run) -> None:
    application = Application(postgresql, run_on_host)
    application.make_tables("5.4")
    application.fill(20_000)
    application.sql(f"ALTER ROLE \"{application.owner}\" LOGIN PASSWORD '{PASSWORD.replace(chr(39), chr(39) * 2)}'")
    application.sql(f'GRANT "{application.user}" TO "{application.owner}"')
    application.sql(f'ALTER ROLE "{application.owner}" SET statement_timeout = 50')
    assert application.migrate(**application.remote(application.owner))["revision_after"] == "0006"


def test_a_statement_timeout_that_cannot_be_set_is_refused(
    postgresql: Postgresql, run_on_host: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a proxy has it that keeps such settings to itself."""
    application = Application(postgresql, run_on_host)
    original = _result_schema.run

    def proxy(session: Any, statement: str) -> None:
        original(session, "SET statement_timeout = '5s'" if "statement_timeout" in statement else statement)

    monkeypatch.setattr(_result_schema, "run", proxy)
    message = refused(application)
    assert "statement_timeout is 5s" in message
    assert "log in to the server itself" in message


@pytest.mark.parametrize("round_robin", ["0", "1"])
def test_a_pooler_that_shares_sessions_is_refused(postgresql: Postgresql, run_on_host: Run, round_robin: str) -> None:
    application = Application(postgresql, run_on_host)
    quoted = PASSWORD.replace("'", "''")
    application.sql(f"ALTER ROLE \"{application.owner}\" LOGIN PASSWORD '{quoted}'")
    login, users = application.remote(application.owner), {application.owner: PASSWORD}

    with Pooler(postgresql, application.database, users, "transaction", server_round_robin=round_robin) as pooler:
        with contextlib.closing(
            postgresql.connect(application.database, user=application.owner, password=PASSWORD, port=pooler.port)
        ) as busy:
            # The pooler then has two sessions at hand.
            busy.cursor().execute("BEGIN")
            refused(application, **login | {"login_port": pooler.port})
        message = refused(application, **login | {"login_port": pooler.port})
    assert "is a pooler that shares sessions" in message

    with Pooler(postgresql, application.database, users, "session") as pooler:
        assert application.migrate(**login | {"login_port": pooler.port})["revision_after"] == "0006"


def test_a_run_waits_for_another_and_then_gives_up(application: Application) -> None:
    with contextlib.closing(_result_schema.Session(all_arguments(application))) as session:
        other = _result_schema.Migration(session, all_arguments(application), check_mode=False)
        with other._alone():
            message = refused(application, timeout=1)
    assert "Another run has been migrating" in message
    assert application.migrate()["revision_after"] == "0006"


def all_arguments(application: Application) -> dict[str, Any]:
    absent = dict.fromkeys(("schema", "owner", "login_host", "login_port", "login_password", "ca_file"))
    limits = {"lock_timeout": 200, "timeout": 30, "login_timeout": 10, "revision": "head"}
    return {**absent, **limits, **application.arguments}


def test_runs_at_the_same_time_share_the_work(application: Application) -> None:
    application.make_tables("5.4")
    application.fill(3000)
    outcomes: list[_result_schema.Outcome] = []

    def migrate() -> None:
        outcomes.append(_result_schema.migrate(all_arguments(application), check_mode=False))

    threads = [threading.Thread(target=migrate) for _number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcome.before for outcome in outcomes) == ["0006", "0006", "base"]
    assert application.count() == 3000


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_a_run_that_ended_anywhere_is_finished_by_the_next(
    application: Application, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server ends the session, as a crash of the host would."""
    from ansible_collections.resultops.celery.plugins.module_utils import _result_schema_steps

    application.make_tables("5.4")
    application.fill(50)
    last = int(share * len(application.migrate(check_mode=True)["sql"]))
    original, done = _result_schema_steps.run, []

    def run(session: Any, statement: str) -> None:
        done.append(statement)
        if len(done) > last:
            session._connection.close()
            raise _result_schema_steps.RefusedError("The server has gone.", "gone")
        original(session, statement)

    with monkeypatch.context() as patch:
        patch.setattr(_result_schema_steps, "run", run)
        patch.setattr(_result_schema, "run", run)
        with contextlib.suppress(Exception):
            _result_schema.migrate(all_arguments(application), check_mode=False)

    assert len(done) > last
    assert application.backend(application.user) is not None
    with application.session() as sql:
        sql("INSERT INTO celery_taskmeta (id, task_id, status) VALUES (1000, 'meanwhile', 'STARTED')")
    result = application.migrate()
    assert result.get("revision_after") == "0006", result
    assert application.count() == 51
    assert application.columns()["id"] == "bigint"
    assert not [name for name in tables(application) if "resultops" in name]
    assert "id_new" not in application.columns()
    assert application.migrate()["changed"] is False


def tables(application: Application) -> list[str]:
    return [
        str(row[0])
        for row in application.sql(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = %s",
            application.schema or application.database,
        )
    ]


def test_base_removes_tables_only_when_they_are_empty(application: Application) -> None:
    application.migrate()
    application.sql("INSERT INTO celery_taskmeta (id, task_id) VALUES (1, 'kept')")
    message = str(application.migrate(revision="base")["msg"])
    assert "celery_taskmeta holds results, which would be lost" in message
    assert application.count() == 1
    with contextlib.closing(application.connect()) as connection:
        execute(connection, "DELETE FROM celery_taskmeta")
    assert application.migrate(revision="base")["revision_after"] == "base"
    assert application.columns() == {}


def test_triggers_that_a_binary_log_forbids_are_found_before_anything_changes(run_on_host: Run) -> None:
    with Mariadb(log_bin="binary", server_id="1") as server:
        application = Application(server, run_on_host)
        application.make_tables("5.4")
        login = application.remote(application.owner)
        message = refused(application, **login)
        assert f"keeps a binary log and lets {application.owner} make no triggers" in message
        server.sql("SET GLOBAL log_bin_trust_function_creators = 1")
        assert application.migrate(**login)["revision_after"] == "0006"
