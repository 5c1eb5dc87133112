# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a real server into a real server, and what must not be restored."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _backup
from ansible_collections.resultops.celery.tests.unit.sql_servers import SqlServer
from ansible_collections.resultops.celery.tests.unit.sql_store import PASSPHRASE, SqlStore

Run = Callable[..., dict[str, Any]]


@pytest.fixture(params=["postgresql", "mariadb"])
def server(request: pytest.FixtureRequest) -> SqlServer:
    found: SqlServer = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def store(server: SqlServer) -> SqlStore:
    return SqlStore(server)


@pytest.fixture
def empty(server: SqlServer) -> SqlStore:
    """Where a backup is restored to; the schema has another name there."""
    return SqlStore(server, "an-other")


@pytest.fixture
def file(store: SqlStore, tmp_path: Path, run_on_host: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A backup of twenty results and two groups."""
    monkeypatch.setitem(_backup.STRETCHING, "n", 16)
    store.add(20)
    wanted = {"directory": str(tmp_path), "set_name": "app", "host_name": "db1", "passphrase": PASSPHRASE}
    return Path(run_on_host("sql_backup", **store.login, **wanted)["path"])


@pytest.fixture
def restore(empty: SqlStore, file: Path, tmp_path: Path, run_on_host: Run) -> Run:
    def run(check_mode: bool = False, **options: Any) -> dict[str, Any]:
        wanted = {"src": str(file), "passphrase": PASSPHRASE, "work_directory": str(tmp_path)}
        return run_on_host("sql_restore", check_mode, **{**empty.login, **wanted, **options})

    return run


def forged(file: Path, **changes: Any) -> None:
    """The same data with another manifest, as only somebody with the passphrase can make it."""
    data = io.BytesIO()
    manifest = _backup.decrypt(str(file), data, PASSPHRASE, _backup.Dump)
    data.seek(0)
    with file.open("wb") as target:
        _backup.encrypt(data, target, dataclasses.replace(manifest, **changes), PASSPHRASE)


def test_all_is_there_again(store: SqlStore, empty: SqlStore, restore: Run, file: Path, tmp_path: Path) -> None:
    done = restore()
    assert (done["changed"], done["task_results"], done["group_results"]) == (True, 20, 2)
    assert empty.content() == store.content()
    assert empty.next_id() > 20
    assert "celery_taskmeta: 20 rows" in done["diff"]["after"]
    assert list(tmp_path.iterdir()) == [file]


def test_check_mode_tries_all_of_it_and_leaves_nothing(empty: SqlStore, restore: Run) -> None:
    done = restore(check_mode=True)
    assert (done["changed"], done["task_results"]) == (True, 20)
    assert set(done["seconds"]) == {"decrypt", "verify", "load"}
    assert empty.content() == [[], []]


def test_tables_that_are_not_empty_are_refused(empty: SqlStore, restore: Run) -> None:
    empty.add(1)
    before = empty.content()
    for check_mode in (True, False):
        done = restore(check_mode=check_mode)
        assert "holds 1 rows in celery_taskmeta and 2 rows in celery_tasksetmeta" in done["msg"]
    assert empty.content() == before


def test_an_older_revision_is_refused(empty: SqlStore, restore: Run) -> None:
    empty.sql(f"UPDATE {empty.prefix}celery_schema_version SET version_num = '0005'")
    assert "have the revision 0005, and" in restore()["msg"]


def test_a_newer_one_has_more_columns_and_takes_it(store: SqlStore, empty: SqlStore, restore: Run) -> None:
    empty.sql(f"ALTER TABLE {empty.prefix}celery_taskmeta ADD COLUMN later VARCHAR(10) DEFAULT 'x'")
    restore()
    assert [row[:-1] for row in empty.content()[0]] == store.content()[0]


def test_a_column_that_is_missing_leaves_the_tables_empty(empty: SqlStore, restore: Run) -> None:
    empty.sql(f"ALTER TABLE {empty.prefix}celery_tasksetmeta DROP COLUMN traceback")
    done = restore()
    assert "takes nothing of the backup" in done["msg"]
    assert "traceback" in done["msg"]
    assert empty.content() == [[], []]


def test_another_passphrase_is_refused(empty: SqlStore, restore: Run) -> None:
    assert "the passphrase is another one" in restore(passphrase="another passphrase of tests")["msg"]
    assert empty.content() == [[], []]


def test_a_backup_that_was_damaged_is_refused(empty: SqlStore, restore: Run, file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-40] ^= 1
    file.write_bytes(data)
    assert "is damaged" in restore()["msg"]
    assert empty.content() == [[], []]


def test_a_manifest_with_other_numbers_is_refused(empty: SqlStore, restore: Run, file: Path) -> None:
    forged(file, results=21)
    assert "and its manifest says" in restore()["msg"]
    assert empty.content() == [[], []]


def test_a_backup_of_another_engine_is_refused(restore: Run, file: Path) -> None:
    forged(file, engine="Oracle")
    assert "was made by Oracle" in restore()["msg"]


def test_a_directory_that_is_not_there_is_told(restore: Run) -> None:
    assert "work_directory is /nowhere" in restore(work_directory="/nowhere")["msg"]
