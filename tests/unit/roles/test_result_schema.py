# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role against real servers, twice, and what it refuses before it looks at one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.resultops.celery.tests.unit.result_tables import Application

ROOT = Path(__file__).resolve().parents[3]
PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  pre_tasks:
    - ansible.builtin.set_fact:
        ansible_facts: {distribution: Debian, distribution_major_version: "12"}
  tasks:
    - ansible.builtin.include_role:
        name: resultops.celery.result_schema
        tasks_from: "{{ entry_point | default('main') }}"
"""


@pytest.fixture
def play(tmp_path: Path) -> Callable[..., str]:
    """What a run of the role prints, with its own Python in the place of the host's."""
    playbook = tmp_path / "play.yml"
    playbook.write_text(PLAY)

    def run(*options: str, **variables: Any) -> str:
        given = {
            "ansible_python_interpreter": sys.executable,
            "ansible_become": False,
            "result_schema_purge_scheduler": "none",
            "__result_schema_packages": [],
            **variables,
        }
        done = subprocess.run(
            [Path(sys.executable).with_name("ansible-playbook"), playbook, "-vvv", "-e", json.dumps(given), *options],
            cwd=ROOT,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_INJECT_FACT_VARS": "false"},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout + done.stderr

    return run


@pytest.mark.parametrize("fixture", ["postgresql", "mariadb"])
def test_all_applications_are_brought_to_the_revision_at_once(
    fixture: str, play: Callable[..., str], run_on_host: Callable[..., dict[str, Any]], request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue(fixture)
    application = Application(server, run_on_host)
    application.make_tables("5.4")
    application.fill(10)
    place = {"schema": "shop"} if application.schema else {"database": application.database}
    # One that only the name tells apart on MariaDB: an empty database of its own.
    other = Application(server, run_on_host)
    names = [application] if application.schema else [application, other]
    variables = {
        "result_schema_engine": application.engine,
        "result_schema_database": application.database,
        "result_schema_login_unix_socket": str(server.socket_directory),
        "result_schema_login_port": server.port,
        "result_schema_login_user": server.superuser,
        "result_schema_monitor_user": application.monitor_user,
        "result_schema_applications": [
            {"name": one.database, "password": "hush-p@ss:/w%rd#?&", **(place if one is application else {})}
            for one in names
        ],
    }

    foreseen = play("--check", "--diff", **variables)
    assert application.columns()["id"] != "bigint"
    first, second = play(**variables), play(**variables)

    assert "-- Running upgrade 0001 -> 0002" in foreseen
    assert [recap(text) for text in (foreseen, first, second)] == [(True, 0), (True, 0), (False, 0)], first + second
    for one in names:
        assert one.columns()["id"] == "bigint"
    assert application.count() == 10
    assert "hush" not in foreseen + first + second


def recap(text: str) -> tuple[bool, int]:
    """Whether something changed, and how much failed."""
    numbers = re.search(r"changed=(\d+) .*failed=(\d+)", text)
    assert numbers, text
    return int(numbers[1]) > 0, int(numbers[2])


MANAGED = {
    "result_schema_login_host": "db.example",
    "result_schema_login_password": "what the provider's page says",
    "result_schema_applications": [{"name": "a"}],
}
REFUSED = {
    "the same place": (
        {"result_schema_applications": [{"name": "a", "schema": "s"}, {"name": "b", "schema": "s"}]},
        "must give each application a name and a schema of its own",
    ),
    "no secret": (
        {"result_schema_login_host": "db.example", "result_schema_applications": [{"name": "a"}]},
        "result_schema_login_password is missing",
    ),
    "a placeholder": (
        {**MANAGED, "result_schema_login_password": "postgresql_production_your_key_here"},
        "result_schema_login_password still holds the placeholder",
    ),
    "no account": ({**MANAGED, "result_schema_login_user": ""}, "result_schema_login_user must name an account"),
    "no applications": ({**MANAGED, "result_schema_applications": []}, "result_schema_applications is empty"),
    "a secret that is not there": (
        {**MANAGED, "result_schema_applications": [{"name": "a", "password": "{{ vault_forgotten }}"}]},
        "result_schema_applications[a].password is missing",
    ),
    "a weak secret": (
        {**MANAGED, "result_schema_applications": [{"name": "a", "password": "short"}]},
        "result_schema_applications[a].password is too short",
    ),
    "a name that needs quotes": (
        {**MANAGED, "result_schema_applications": [{"name": "A", "password": "long enough for a test"}]},
        "result_schema_applications[A].name is 'A'",
    ),
    "an account of one's own beside those that are made": (
        {**MANAGED, "result_schema_applications": [{"name": "a", "password": "long enough for a test", "owner": "b"}]},
        "result_schema_applications sets a.owner beside a password",
    ),
    "no engine": ({"result_schema_engine": "oracle"}, "value of result_schema_engine must be one of"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_refused_before_a_server_is_asked(case: str, play: Callable[..., str]) -> None:
    variables, sentence = REFUSED[case]
    text = play(**variables, entry_point="preflight")
    assert recap(text) == (False, 1)
    assert sentence in " ".join(text.split())
