# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What steps foresee is what they do."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.module_utils._result_schema_steps import RefusedError, run, steps
from ansible_collections.resultops.celery.plugins.module_utils._sql_session import Session
from ansible_collections.resultops.celery.tests.unit.result_tables import Application

LIMITS = {"lock_timeout": 100, "timeout": 1}
Run = Callable[..., dict[str, Any]]


@pytest.fixture(params=["postgresql", "mariadb"])
def application(request: pytest.FixtureRequest, run_on_host: Run) -> Application:
    return Application(request.getfixturevalue(request.param), run_on_host)


@pytest.fixture
def session(application: Application) -> Any:
    absent = dict.fromkeys(("schema", "login_host", "login_port", "login_password", "ca_file"))
    with contextlib.closing(Session({**absent, "login_timeout": 10, **application.arguments})) as opened:
        yield opened


def test_what_is_foreseen_is_not_done(application: Application, session: Any) -> None:
    plan: list[str] = []
    planner = steps(session, application.schema or application.database, LIMITS, plan)
    planner.create_tables()
    planner.add_columns()
    planner.widen_ids()
    assert [text for text in plan if "CREATE TABLE" in text] != []
    assert [text for text in plan if "id_new" in text or "_new" in text] == []
    assert application.columns() == {}


def test_a_step_that_is_done_is_not_foreseen_again(application: Application, session: Any) -> None:
    application.migrate()
    plan: list[str] = []
    planner = steps(session, application.schema or application.database, LIMITS, plan)
    for step in ("create_tables", "add_columns", "widen_ids", "store_well", "index_dates"):
        getattr(planner, step)()
    assert plan == []


def test_a_refusal_keeps_its_code(application: Application, session: Any) -> None:
    with pytest.raises(RefusedError) as refusal:
        run(session, "SELECT * FROM nowhere_at_all")
    assert refusal.value.code == ("42P01" if application.schema else "1146")
    assert "nowhere_at_all" in str(refusal.value)


def test_what_is_done_together_fails_together(application: Application, session: Any) -> None:
    if not application.schema:
        pytest.skip("MariaDB commits each change of a table by itself.")
    work = steps(session, application.schema, LIMITS)
    with pytest.raises(RefusedError):
        work.short("x", "CREATE TABLE shop.x (id integer)", "SELECT * FROM shop.nowhere")
    assert application.columns("x") == {}
