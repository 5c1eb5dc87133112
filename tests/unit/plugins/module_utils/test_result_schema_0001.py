# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables that Celery 5.4 makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.resultops.celery.tests.unit.result_tables import Application

Run = Callable[..., dict[str, Any]]


@pytest.fixture(params=["postgresql", "mariadb"])
def application(request: pytest.FixtureRequest, run_on_host: Run) -> Application:
    return Application(request.getfixturevalue(request.param), run_on_host)


def test_a_new_place_gets_tables_with_wide_types(application: Application) -> None:
    application.migrate(revision="0001")

    columns = application.columns()
    assert list(columns) == [
        "id", "task_id", "status", "result", "date_done", "traceback",
        "name", "args", "kwargs", "worker", "retries", "queue",
    ]  # fmt: skip
    assert columns["id"] == "bigint"


def test_what_is_missing_is_added_and_ids_go_on(application: Application) -> None:
    application.make_tables("5.4")
    application.fill(20)
    application.sql("DROP SEQUENCE task_id_sequence")
    application.sql("DROP TABLE celery_tasksetmeta")

    application.migrate(revision="0001")

    application.migrate()
    backend = application.backend()
    backend.store_result("next", 1, "SUCCESS")
    assert application.sql("SELECT id FROM celery_taskmeta WHERE task_id = 'next'") == [(21,)]
    assert application.count("celery_tasksetmeta") == 0


def test_downgrade_removes_empty_tables(application: Application) -> None:
    application.migrate(revision="0001")

    assert application.migrate(revision="base")["revision_after"] == "base"

    assert application.columns() == {}
    assert application.columns("celery_tasksetmeta") == {}
