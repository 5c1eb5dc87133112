# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The index on date_done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.resultops.celery.tests.unit.result_tables import Application
from ansible_collections.resultops.celery.tests.unit.sql_servers import Postgresql

Run = Callable[..., dict[str, Any]]


@pytest.fixture(params=["postgresql", "mariadb"])
def application(request: pytest.FixtureRequest, run_on_host: Run) -> Application:
    return Application(request.getfixturevalue(request.param), run_on_host)


def indexes(application: Application) -> dict[str, str]:
    if application.schema:
        rows = application.sql(
            "SELECT indexrelid::regclass::text, amname FROM pg_index JOIN pg_class c ON c.oid = indexrelid"
            " JOIN pg_am m ON m.oid = relam WHERE indrelid = 'celery_taskmeta'::regclass AND indisvalid"
        )
    else:
        rows = application.sql(
            "SELECT index_name, LOWER(index_type) FROM information_schema.statistics"
            " WHERE table_schema = %s AND table_name = 'celery_taskmeta'",
            application.database,
        )
    return {name: kind for name, kind in rows if "date_done" in name}


def wanted(application: Application) -> dict[str, str]:
    if application.schema and application.server.version >= 16:
        return {"celery_taskmeta_date_done_brin": "brin"}
    return {"ix_celery_taskmeta_date_done": "btree"}


@pytest.mark.parametrize("release", ["5.4", "5.6"])
def test_there_is_the_index_that_serves_and_no_other(application: Application, release: str) -> None:
    application.make_tables(release)
    application.fill(10)

    application.migrate(revision="0005")

    assert indexes(application) == wanted(application)


def test_downgrade_leaves_the_index_of_celery(application: Application) -> None:
    application.migrate(revision="0005")

    application.migrate(revision="0004")

    assert indexes(application) == {"ix_celery_taskmeta_date_done": "btree"}


def test_an_index_whose_building_was_interrupted_is_built_anew(postgresql: Postgresql, run_on_host: Run) -> None:
    application = Application(postgresql, run_on_host)
    application.make_tables("5.6")
    application.fill(10)
    application.sql(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_celery_taskmeta_date_done'::regclass"
    )

    application.migrate()

    assert indexes(application) == wanted(application)
