# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The units, and that their commands purge a real PostgreSQL and a real MariaDB."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.filter.result_purge_plan import result_purge_plan
from ansible_collections.resultops.celery.plugins.module_utils import _result_schema_purge
from ansible_collections.resultops.celery.tests.unit.sql_servers import SqlServer
from ansible_collections.resultops.celery.tests.unit.sql_store import SqlStore

PASSWORD = "p@ss:/w%rd#?&'\"{{ }}\\ "
SETTINGS: dict[str, Any] = {
    "engine": "postgresql",
    "database": "results",
    "login_host": "",
    "login_unix_socket": "/run/postgresql",
    "login_port": 5432,
    "ca_file": "",
    "ssl_mode": "verify-full",
    "account": "celery-purge",
    "directory": "/etc/celery-purge",
    "schedule": "hourly",
    "retention": 86400,
    "retention_unfinished": 604800,
    "batch": 5000,
    "pause": 0.05,
    "by_application": {},
}


def files(*applications: dict[str, Any], **settings: Any) -> dict[str, str]:
    made: dict[str, str] = result_purge_plan(applications, {**SETTINGS, **settings})["contents"]
    return made


def test_each_application_has_a_service_and_a_timer() -> None:
    made = files({"name": "shop"}, {"name": "crm", "schema": "crm_results"}, by_application={"crm": {"retention": 60}})
    assert list(made) == [
        "/etc/systemd/system/celery-purge-shop.service",
        "/etc/systemd/system/celery-purge-shop.timer",
        "/etc/systemd/system/celery-purge-crm.service",
        "/etc/systemd/system/celery-purge-crm.timer",
    ]
    assert (
        r"CALL \"shop\".celery_purge(86400, 604800, 5000, 0.05)"
        in made["/etc/systemd/system/celery-purge-shop.service"]
    )
    assert (
        r"CALL \"crm_results\".celery_purge(60, 604800, 5000, 0.05)"
        in made["/etc/systemd/system/celery-purge-crm.service"]
    )
    assert "OnCalendar=hourly\n" in made["/etc/systemd/system/celery-purge-shop.timer"]


def test_the_socket_needs_neither_network_nor_password() -> None:
    service = files({"name": "shop", "purge_password": PASSWORD})["/etc/systemd/system/celery-purge-shop.service"]
    assert "PrivateNetwork=true\nRestrictAddressFamilies=AF_UNIX\n" in service
    assert "LoadCredential" not in service
    assert "SSL" not in service


@pytest.mark.parametrize("engine", ["postgresql", "mysql"])
def test_a_password_stands_in_the_file_of_the_login_only(engine: str) -> None:
    made = result_purge_plan(
        [{"name": "shop", "purge_password": PASSWORD}], {**SETTINGS, "engine": engine, "login_host": "db1"}
    )
    secret = "/etc/celery-purge/shop.login"
    assert [file["mode"] for file in made["files"] if file["path"] == secret] == ["0600"]
    assert not any("p@ss" in content for path, content in made["contents"].items() if path != secret)
    assert f"LoadCredential=login:{secret}\n" in made["contents"]["/etc/systemd/system/celery-purge-shop.service"]


def test_a_file_is_known_by_its_checksum() -> None:
    made = result_purge_plan([{"name": "shop"}], SETTINGS)
    assert {file["path"]: file["checksum"] for file in made["files"]} == {
        path: hashlib.sha256(content.encode()).hexdigest() for path, content in made["contents"].items()
    }
    assert made["timers"] == ["/etc/systemd/system/celery-purge-shop.timer"]


def test_a_job_of_the_server_calls_the_same() -> None:
    assert result_purge_plan([{"name": "shop", "purge_username": "tidy"}], SETTINGS)["jobs"] == [
        {
            "name": "celery_purge_shop",
            "schedule": "hourly",
            "command": 'CALL "shop".celery_purge(86400, 604800, 5000, 0.05)',
            "account": "tidy",
        }
    ]


def run(service: str, login: str, directory: Path, program: str) -> subprocess.CompletedProcess[str]:
    """Run a service's command as systemd would, with its credential."""
    credential = directory / "login"
    credential.write_text(login)
    credential.chmod(0o600)
    for authority in re.findall("^LoadCredential=ca:(.*)$", service, re.M):
        shutil.copy(authority, directory / "ca")

    def word(text: str) -> str:
        return text.replace("%d", str(directory)).replace("%%", "%").replace("$$", "$")

    environment = [word(text) for line in re.findall("^Environment=(.*)$", service, re.M) for text in shlex.split(line)]
    command = [word(text) for text in shlex.split(re.findall("^ExecStart=(.*)$", service, re.M)[0])]
    return subprocess.run(
        [program, *command[1:]],
        env={"PATH": os.environ["PATH"], **dict(text.split("=", 1) for text in environment)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("engine", ["postgresql", "mariadb"])
def test_the_command_purges_and_fails_when_the_purge_does(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    server: SqlServer = request.getfixturevalue(engine)
    store = SqlStore(server)
    for table in ("celery_taskmeta", "celery_tasksetmeta"):
        store.sql(f"ALTER TABLE {store.prefix}{table} ADD COLUMN created timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP")
    store.add(3)
    store.sql(f"UPDATE {store.prefix}celery_taskmeta SET date_done = '2020-01-01' WHERE id < 3")
    for statement in _result_schema_purge.upgrade(store.engine, store.prefix):
        store.sql(statement)
    user = server.new_name("purge")
    with contextlib.closing(server.connect()) as connection:
        if engine == "postgresql":
            quoted = PASSWORD.replace("'", "''")
            connection.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{quoted}'")
            connection.execute(f"ALTER ROLE {user} SET statement_timeout = '5s'")
            store.sql(f"GRANT USAGE ON SCHEMA app TO {user}")
        else:
            connection.cursor().execute(f"CREATE USER {user} IDENTIFIED BY {connection.escape(PASSWORD)} REQUIRE SSL")
    for statement in _result_schema_purge.grants(store.engine, store.prefix, user):
        store.sql(statement)
    application = {
        "name": "app",
        "database": store.database,
        "purge_username": user,
        "purge_password": PASSWORD,
    }
    settings = {
        "engine": store.engine,
        "database": store.database,
        "login_host": server.host,
        "login_port": server.port,
        "ca_file": str(server.ca_file),
        "by_application": {"app": {"retention": 3600 * 24 * 365 * 3}},
    }
    made = files(application, **settings)
    service, login = made["/etc/systemd/system/celery-purge-app.service"], made["/etc/celery-purge/app.login"]
    program = "psql" if engine == "postgresql" else "mariadb"
    done = run(service, login, tmp_path, program)
    assert (done.returncode, done.stderr) == (0, "")
    assert [row[0] for row in store.sql(f"SELECT id FROM {store.prefix}celery_taskmeta")] == [3]
    if engine == "mariadb":
        with contextlib.closing(server.connect(store.database)) as session:
            session.cursor().execute("LOCK TABLES celery_taskmeta WRITE")
            done = run(service, login, tmp_path, program)
        assert done.returncode != 0
        assert "Lock wait timeout exceeded" in done.stderr
    store.sql(f"DROP TABLE {store.prefix}celery_tasksetmeta")
    done = run(service, login, tmp_path, program)
    assert done.returncode != 0
    assert "celery_tasksetmeta" in done.stderr


def test_a_percent_sign_and_a_dollar_are_no_specifiers() -> None:
    service = files({"name": "shop", "schema": "50%d $x"}, database="50%d $x")
    text = service["/etc/systemd/system/celery-purge-shop.service"]
    assert 'Environment="PGDATABASE=50%%d $x"' in text
    assert r"CALL \"50%%d $$x\".celery_purge" in text
