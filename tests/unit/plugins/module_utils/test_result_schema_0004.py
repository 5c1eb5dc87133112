# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How large values are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.resultops.celery.tests.unit.result_tables import Application
from ansible_collections.resultops.celery.tests.unit.sql_servers import Mariadb, Postgresql

Run = Callable[..., dict[str, Any]]


@pytest.fixture(params=["postgresql", "mariadb"])
def application(request: pytest.FixtureRequest, run_on_host: Run) -> Application:
    return Application(request.getfixturevalue(request.param), run_on_host)


def options(application: Application) -> list[str]:
    return list(
        application.sql("SELECT coalesce(reloptions, '{}') FROM pg_class WHERE relname = 'celery_taskmeta'")[0][0]
    )


def compression(application: Application) -> set[str]:
    rows = application.sql(
        "SELECT attcompression::text FROM pg_attribute WHERE attrelid = 'celery_taskmeta'::regclass"
        " AND attname IN ('result', 'args', 'kwargs', 'children', 'stamps', 'traceback')"
    )
    return {row[0] for row in rows}


def test_postgresql_compresses_by_lz4_and_vacuums_often(postgresql: Postgresql, run_on_host: Run) -> None:
    application = Application(postgresql, run_on_host)
    application.migrate(revision="0004")
    assert compression(application) == {"l"}
    assert "autovacuum_vacuum_scale_factor=0.02" in options(application)

    application.migrate(revision="0003")

    assert compression(application) == {""}
    assert options(application) == []


def test_an_adopted_table_on_mariadb_takes_large_results(mariadb: Mariadb, run_on_host: Run) -> None:
    application = Application(mariadb, run_on_host)
    application.make_tables("5.7")
    application.fill(10)
    application.migrate()

    application.backend().store_result("large", "x" * 1_000_000, "SUCCESS")

    assert application.backend().get_result("large") == "x" * 1_000_000
    message = application.migrate(revision="0003")["msg"]
    assert "celery_taskmeta.result has values of more than 65535 bytes" in message
    assert application.columns()["result"] == "longblob"
    application.sql("DELETE FROM celery_taskmeta WHERE task_id = 'large'")
    application.migrate(revision="0003")
    assert application.columns()["result"] == "blob"
    assert application.count() == 10
