# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Columns that Celery 5.4 does not make."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.resultops.celery.tests.unit.result_tables import Application

Run = Callable[..., dict[str, Any]]


@pytest.fixture(params=["postgresql", "mariadb"])
def application(request: pytest.FixtureRequest, run_on_host: Run) -> Application:
    return Application(request.getfixturevalue(request.param), run_on_host)


def test_rows_that_are_there_get_the_time_at_which_the_column_came(application: Application) -> None:
    application.make_tables("5.4")
    application.fill(10)

    application.migrate(revision="0002")

    assert {"children", "stamps", "created"} < set(application.columns())
    assert "created" in application.columns("celery_tasksetmeta")
    now = "(now() AT TIME ZONE 'utc')" if application.schema else "UTC_TIMESTAMP()"
    assert application.count(where=f"created BETWEEN {now} - INTERVAL '1' MINUTE AND {now}") == 10


def test_new_rows_get_their_own_time_and_keep_it(application: Application) -> None:
    application.migrate()
    backend = application.backend()
    backend.store_result("task", None, "STARTED")
    application.sql("UPDATE celery_taskmeta SET created = '2026-01-01 00:00:00'")

    backend.store_result("task", 1, "SUCCESS")

    assert application.count(where="created = '2026-01-01 00:00:00' AND status = 'SUCCESS'") == 1


def test_downgrade_keeps_what_holds_values(application: Application) -> None:
    application.make_tables("5.7")
    application.fill(5)
    application.sql("UPDATE celery_taskmeta SET stamps = 'x'")
    application.migrate(revision="0002")

    application.migrate(revision="0001")

    columns = application.columns()
    assert "created" not in columns
    assert {"children", "stamps"} < set(columns)
    assert application.count(where="stamps = 'x'") == 5
    application.migrate(revision="0002")
    assert "created" in application.columns()
