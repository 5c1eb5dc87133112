# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a dump is taken for; whole dumps are tested with the modules sql_backup and sql_restore."""

from __future__ import annotations

import contextlib
import gzip
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _sql_dump, _sql_session
from ansible_collections.resultops.celery.tests.unit.sql_servers import SqlServer
from ansible_collections.resultops.celery.tests.unit.sql_store import SqlStore

PASSWORD = "p@ss:/w%rd#?&'\"{{ }}\\ "
INSERT = b"INSERT INTO `celery_taskmeta` (`id`, `result`) VALUES (1,'a\\n(b;\\n'),\n(2,'');\n"
END = b"\n-- Dump completed on 2026-11-25 18:00:00\n"


def counted(tmp_path: Path, text: bytes) -> dict[str, int]:
    with _sql_dump.scratch(str(tmp_path)) as stream:
        stream.write(gzip.compress(text))
        stream.flush()
        return _sql_dump.rows_in("mysql", stream)


def test_each_row_of_a_statement_counts_and_nothing_else(tmp_path: Path) -> None:
    said = b"/*!40101 SET NAMES utf8mb4 */;\n(not a row)\n"
    assert counted(tmp_path, said + INSERT + said + END) == {"celery_taskmeta": 2, "celery_tasksetmeta": 0}


@pytest.mark.parametrize("text", [INSERT, b"", END + INSERT], ids=["cut", "empty", "not at the end"])
def test_a_dump_that_ends_before_its_end_is_refused(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(_sql_session.SqlError, match="ends before its end"):
        counted(tmp_path, text)


def test_a_file_that_is_no_dump_is_refused(tmp_path: Path) -> None:
    with _sql_dump.scratch(str(tmp_path)) as stream:
        stream.write(b"something else")
        stream.flush()
        with pytest.raises(_sql_session.SqlError, match="pg_restore cannot read the dump"):
            _sql_dump.rows_in("postgresql", stream)


@pytest.mark.parametrize("engine", ["postgresql", "mariadb"])
def test_a_dump_over_the_network_verifies_the_server_and_shows_no_password(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server: SqlServer = request.getfixturevalue(engine)
    store = SqlStore(server)
    store.add(3)
    role = server.new_name("dumper")
    with contextlib.closing(server.connect()) as connection:
        if engine == "postgresql":
            quoted = PASSWORD.replace("'", "''")
            connection.execute(f"CREATE ROLE {role} SUPERUSER LOGIN PASSWORD '{quoted}'")
        else:
            connection.cursor().execute(f"CREATE USER {role} IDENTIFIED BY {connection.escape(PASSWORD)} REQUIRE SSL")
            connection.cursor().execute(f"GRANT ALL ON *.* TO {role}")
    started: list[list[str]] = []
    real = subprocess.Popen

    class Watched(real):  # type: ignore[misc, valid-type]
        def __init__(self, command: list[str], **options: Any) -> None:
            started.append(command)
            super().__init__(command, **options)

    monkeypatch.setattr(subprocess, "Popen", Watched)
    params = {name: option.get("default") for name, option in _sql_session.ARGUMENTS.items()}
    params |= {**store.login, **server.login, "login_unix_socket": None}
    params |= {"login_user": role, "login_password": PASSWORD}
    with (
        contextlib.closing(_sql_session.Session(params)) as session,
        _sql_dump.scratch(str(tmp_path)) as stream,
    ):
        _sql_dump.dump(params, session, stream)
        stream.flush()
        assert _sql_dump.rows_in(store.engine, stream)["celery_taskmeta"] == 3
        assert started
        assert not any(PASSWORD in word for command in started for word in command)
        with pytest.raises(_sql_session.SqlError, match="gives no dump"):
            _sql_dump.dump({**params, "ca_file": None}, session, stream)


def test_a_program_that_is_missing_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(_sql_session.SqlError, match="no program mariadb-dump or mysqldump: install the package mari"):
        _sql_dump._program(_sql_dump.DUMP["mysql"], "mysql")
