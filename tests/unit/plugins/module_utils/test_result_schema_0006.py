# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The revision up and down on a real PostgreSQL and a real MariaDB; what it makes is tested with the purge."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _result_schema_0006
from ansible_collections.resultops.celery.tests.unit.sql_servers import SqlServer


@pytest.fixture(params=["postgresql", "mariadb"])
def server(request: pytest.FixtureRequest) -> SqlServer:
    found: SqlServer = request.getfixturevalue(request.param)
    return found


def made(server: SqlServer, database: str) -> list[str]:
    return [
        row[0]
        for row in server.sql(
            "SELECT table_name FROM information_schema.tables WHERE table_name = 'celery_purge_status'"
            f" AND '{database}' IN (table_schema, table_catalog) UNION ALL"
            " SELECT routine_name FROM information_schema.routines WHERE routine_name = 'celery_purge'"
            f" AND '{database}' IN (routine_schema, routine_catalog)",
            database=database,
        )
    ]


def test_it_goes_up_twice_and_down_twice(server: SqlServer) -> None:
    database = server.create_database()
    prefix = '"app".' if server.engine == "postgresql" else ""
    if prefix:
        server.sql("CREATE SCHEMA app", database=database)
    steps = SimpleNamespace(
        engine=server.engine,
        session=SimpleNamespace(prefix=prefix),
        emit=lambda statement: server.sql(statement, database=database),
    )
    for step, wanted in (
        (_result_schema_0006.upgrade, ["celery_purge_status", "celery_purge"]),
        (_result_schema_0006.downgrade, []),
    ):
        for _time in range(2):
            step(steps)
            assert made(server, database) == wanted
