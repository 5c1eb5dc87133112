# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The session on a real PostgreSQL and a real MariaDB."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _sql_session
from ansible_collections.resultops.celery.tests.unit.sql_servers import SqlServer


@pytest.fixture(params=["postgresql", "mariadb"])
def server(request: pytest.FixtureRequest) -> SqlServer:
    found: SqlServer = request.getfixturevalue(request.param)
    return found


def session(server: SqlServer, database: str, **changes: Any) -> _sql_session.Session:
    params = {name: option.get("default") for name, option in _sql_session.ARGUMENTS.items()}
    wanted = {
        "engine": server.engine,
        "login_unix_socket": str(server.socket_directory),
        "login_port": server.port,
        "login_user": server.superuser,
        "database": database,
        "schema": "app",
    }
    return _sql_session.Session({**params, **wanted, **changes})


def test_the_directory_of_the_socket_is_enough(server: SqlServer) -> None:
    with contextlib.closing(session(server, server.create_database())) as opened:
        assert opened.rows("SELECT 1 + %s", (1,)) == [(2,)]


def test_a_snapshot_sees_one_moment_and_changes_nothing(server: SqlServer) -> None:
    database = server.create_database()
    server.sql("CREATE TABLE t (n int)", database=database)
    with contextlib.closing(session(server, database)) as opened, opened.snapshot(5):
        assert opened.row("SELECT count(*) FROM t") == (0,)
        server.sql("INSERT INTO t VALUES (1)", database=database)
        assert opened.row("SELECT count(*) FROM t") == (0,)
        with pytest.raises(_sql_session.SqlError, match=r"(?i)read.only"):
            opened.run("INSERT INTO t VALUES (2)")


def test_a_statement_ends_with_its_time_limit(server: SqlServer) -> None:
    sleep = "SELECT pg_sleep(20)" if server.engine == "postgresql" else "SELECT SLEEP(20)"
    with (
        contextlib.closing(session(server, server.create_database())) as opened,
        opened.snapshot(0.2),
        pytest.raises(_sql_session.SqlError, match=r"refuses: .*(timeout|max_statement_time|interrupted)"),
    ):
        opened.run(sleep)


def test_names_are_quoted(server: SqlServer) -> None:
    database = server.create_database()
    with contextlib.closing(session(server, database, schema='my "odd` schema')) as opened:
        wanted = '"my ""odd` schema"."t"' if server.engine == "postgresql" else "`t`"
        assert opened.of_schema("t") == wanted
        assert opened.name('`"') == ('"`"""' if server.engine == "postgresql" else '`""'.replace('""', '``"`'))


def test_a_directory_without_a_socket_is_told(tmp_path: Path) -> None:
    with pytest.raises(_sql_session.SqlError, match="which holds no socket of a server"):
        _sql_session.mysql_socket(str(tmp_path))
