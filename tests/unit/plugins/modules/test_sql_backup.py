# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of a real PostgreSQL and a real MariaDB; what is in them is tested with the restore, too."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _backup, _sql_dump
from ansible_collections.resultops.celery.tests.unit.sql_servers import SqlServer
from ansible_collections.resultops.celery.tests.unit.sql_store import PASSPHRASE, SqlStore

Backup = Callable[..., dict[str, Any]]


@pytest.fixture(params=["postgresql", "mariadb"])
def store(request: pytest.FixtureRequest) -> SqlStore:
    return SqlStore(request.getfixturevalue(request.param))


@pytest.fixture
def backup(
    store: SqlStore,
    tmp_path: Path,
    run_on_host: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> Backup:
    monkeypatch.setitem(_backup.STRETCHING, "n", 16)

    def run(check_mode: bool = False, **options: Any) -> dict[str, Any]:
        wanted = {"directory": str(tmp_path), "set_name": "app", "host_name": "db1", "passphrase": PASSPHRASE}
        return run_on_host("sql_backup", check_mode, **{**store.login, **wanted, **options})

    return run


def test_it_holds_every_row_and_says_so(store: SqlStore, backup: Backup, tmp_path: Path) -> None:
    store.add(40)
    done = backup()
    manifest = done["manifest"]
    assert (manifest["results"], manifest["groups"], manifest["revision"]) == (40, 2, "0006")
    assert manifest["engine"] == ("PostgreSQL" if store.engine == "postgresql" else "MariaDB")
    path = Path(done["path"])
    assert path.name == f"app-{manifest['created'].replace('-', '').replace(':', '')}.dump.enc"
    assert path.stat().st_mode & 0o777 == 0o600
    assert _backup.checksum(str(path)) == _backup.Written(done["encrypted_bytes"], done["encrypted_sha256"])
    assert b"strange" not in path.read_bytes()
    data = io.BytesIO()
    assert _backup.decrypt(str(path), data, PASSPHRASE, _backup.Dump).as_dict() == manifest
    with _sql_dump.scratch(str(tmp_path)) as stream:
        stream.write(data.getvalue())
        stream.flush()
        assert _sql_dump.rows_in(store.engine, stream) == {"celery_taskmeta": 40, "celery_tasksetmeta": 2}


def test_an_empty_store_has_a_backup_too(backup: Backup) -> None:
    manifest = backup()["manifest"]
    assert (manifest["results"], manifest["groups"]) == (0, 0)


def test_check_mode_writes_nothing(store: SqlStore, backup: Backup, tmp_path: Path) -> None:
    store.add(3)
    done = backup(check_mode=True)
    assert (done["changed"], done["path"], done["manifest"]) == (True, "", {})
    assert list(tmp_path.iterdir()) == []


def test_nothing_in_the_clear_is_left(store: SqlStore, backup: Backup, tmp_path: Path) -> None:
    store.add(3)
    done = backup()
    assert [path.name for path in tmp_path.iterdir()] == [os.path.basename(done["path"])]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"passphrase": "a few words"}, "passphrase is too short"),
        ({"directory": "/nowhere"}, "directory is /nowhere, which is no directory of this host."),
    ],
)
def test_bad_input_gets_a_sentence(backup: Backup, options: dict[str, Any], sentence: str) -> None:
    done = backup(**options)
    assert done["failed"] is True
    assert sentence in done["msg"]


def test_tables_that_are_not_there_get_a_sentence(store: SqlStore, backup: Backup) -> None:
    store.sql(f"DROP TABLE {store.prefix}celery_schema_version")
    done = backup()
    assert done["failed"] is True
    assert "celery_schema_version" in done["msg"]


def test_a_dump_with_other_rows_than_were_counted_is_refused(
    postgresql: SqlServer, run_on_host: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """MariaDB cannot count at the moment of the dump."""
    store = SqlStore(postgresql)
    store.add(3)
    monkeypatch.setattr(_sql_dump, "count", lambda _session: {"celery_taskmeta": 4, "celery_tasksetmeta": 2})
    wanted = {"directory": str(tmp_path), "set_name": "app", "host_name": "db1", "passphrase": PASSPHRASE}
    assert "and the server counted" in run_on_host("sql_backup", **store.login, **wanted)["msg"]
    assert list(tmp_path.iterdir()) == []


def test_the_password_of_the_account_is_in_no_message(backup: Backup) -> None:
    password = "p@ss:/w%rd#?&'\"{{ }}\\ "
    done = backup(login_user="nobody", login_password=password)
    assert done["failed"] is True
    assert password not in str(done["msg"])
