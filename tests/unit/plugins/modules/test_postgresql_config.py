# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module against a real server: it changes what differs, and nothing is left half done."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.resultops.celery.tests.unit.sql_servers import Postgresql

SETTINGS: dict[str, Any] = {
    "timezone": "UTC",
    "work_mem": "8MB",
    "log_min_duration_statement": "1.5s",
    "log_statement": "none",
    "jit": False,
    "tcp_keepalives_idle": 60,
    "log_line_prefix": "%m it's \\ here ",
    "wal_compression": "LZ4",
    "autovacuum_vacuum_scale_factor": 0.05,
    "resultops.note": "of nobody's",
}


@pytest.fixture(scope="module")
def server() -> Iterator[Postgresql]:
    """One that includes a directory, as Debian's does."""
    with Postgresql() as started:
        directory = started.directory / "conf.d"
        directory.mkdir(mode=0o755)
        with (started.data / "postgresql.conf").open("a") as file:
            file.write(f"include_dir = '{directory}'\n")
        started.restart()
        yield started


@pytest.fixture
def path(server: Postgresql, wait_until: Callable[..., None]) -> Iterator[Path]:
    yield (managed := server.directory / "conf.d" / "90-managed.conf")
    for left in managed.parent.iterdir():
        left.unlink()
    server.sql("ALTER SYSTEM RESET ALL")
    loaded = server.sql("SELECT pg_conf_load_time()")
    server.sql("SELECT pg_reload_conf()")
    wait_until(lambda: server.sql("SELECT pg_conf_load_time()") != loaded)


@pytest.fixture
def manage(server: Postgresql, path: Path, run_on_host: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    def run(settings: dict[str, Any] | None = None, **arguments: Any) -> dict[str, Any]:
        wanted = {
            "path": str(path),
            "unix_socket": str(server.socket_directory),
            "login_port": server.port,
            "settings": SETTINGS if settings is None else settings,
            "mode": "0644",
            **arguments,
        }
        return run_on_host("postgresql_config", **wanted)

    return run


def shown(server: Postgresql, name: str) -> str:
    return server.sql(f"SHOW {name}")[0][0]


class TestSettings:
    def test_all_are_in_force_at_once_and_stay(self, manage, server):
        first = manage()
        assert first["changed"]
        assert first["live"]
        assert first["reloaded"]
        assert set(first["changed_settings"]) <= SETTINGS.keys()
        assert {"timezone", "work_mem", "resultops.note", "log_line_prefix"} <= set(first["changed_settings"])
        assert first["restart_required"] == []
        for name, value in {
            "timezone": "UTC",
            "work_mem": "8MB",
            "log_min_duration_statement": "1500ms",
            "log_line_prefix": "%m it's \\ here ",
            "wal_compression": "lz4",
            "resultops.note": "of nobody's",
        }.items():
            assert shown(server, name) == value
        again = manage()
        assert not again["changed"]
        assert not again["reloaded"]
        assert again["diff"] == []

    def test_what_needs_a_restart_is_named_until_it_was_done(self, manage, server):
        wanted = SETTINGS | {"max_connections": 33}
        first = manage(wanted)
        assert first["restart_required"] == ["max_connections"]
        assert "max_connections" not in first["changed_settings"]
        second = manage(wanted)
        assert second["restart_required"] == ["max_connections"]
        assert not second["changed"]
        assert "max_connections = 33 (after a restart)" in second["diff"][0]["after"]
        server.restart()
        third = manage(wanted)
        assert (third["restart_required"], third["changed"]) == ([], False)
        manage()
        server.restart()

    def test_alter_system_by_hand_is_taken_back(self, manage, server):
        manage()
        server.sql("ALTER SYSTEM SET log_statement = 'all'")
        server.sql("ALTER SYSTEM SET deadlock_timeout = '3s'")
        server.sql("SELECT pg_reload_conf()")
        result = manage()
        assert result["overridden"] == ["log_statement"]
        assert shown(server, "log_statement") == "none"
        assert "deadlock_timeout" in (server.data / "postgresql.auto.conf").read_text(), "not the module's"
        assert not manage()["changed"]

    def test_a_change_of_the_file_by_hand_is_taken_back(self, manage, server, path):
        manage()
        path.write_text("work_mem = '9MB'\n")
        server.sql("SELECT pg_reload_conf()")
        assert manage()["changed"]
        assert shown(server, "work_mem") == "8MB"

    def test_a_later_file_is_named_when_it_wins(self, manage, path):
        later = path.with_name("99-other.conf")
        later.write_text("work_mem = '9MB'\n")
        later.chmod(0o644)
        assert re.search(r"work_mem is 9216 .* shall be 8MB: it comes from .*99-other.conf", manage()["msg"])

    def test_another_file_that_changed_is_read_again(self, manage, server):
        rules = server.data / "pg_hba.conf"
        manage(reload_after=[str(rules)])
        assert not manage(reload_after=[str(rules), "/nowhere"])["changed"]
        rules.write_text(rules.read_text() + "# another line\n")
        assert manage(reload_after=[str(rules)])["reloaded"]
        assert not manage(reload_after=[str(rules)])["reloaded"]

    def test_check_mode_changes_nothing(self, manage, server, path):
        result = manage(check_mode=True)
        assert result["changed"]
        assert not path.exists()
        assert shown(server, "work_mem") == "4MB"
        diffs = {diff["after_header"]: diff for diff in result["diff"]}
        assert "work_mem = '8MB'" in diffs[str(path)]["after"]
        (live,) = (diff for header, diff in diffs.items() if header.startswith("server at "))
        assert "work_mem = 4096kB" in live["before"]
        assert "work_mem = 8MB" in live["after"]


class TestSizes:
    def test_they_follow_the_memory(self, manage, server):
        result = manage({"max_connections": 20}, memory="256mb")
        assert result["settings"] == {
            "effective_cache_size": "166MB",
            "maintenance_work_mem": "32MB",
            "max_connections": "20",
            "max_wal_size": "1024MB",
            "min_wal_size": "256MB",
            "shared_buffers": "64MB",
            "work_mem": "3276kB",
        }
        assert shown(server, "effective_cache_size") == "166MB"

    def test_given_ones_win(self, manage):
        assert manage({"work_mem": "1MB"}, memory="256mb")["settings"]["work_mem"] == "1MB"

    def test_nonsense_is_refused(self, manage):
        assert re.search("memory is 'much': it must be a share", manage(memory="much")["msg"])


class TestMistakes:
    @pytest.mark.parametrize(
        ("settings", "sentence"),
        [
            ({"wrok_mem": "1MB"}, "The server does not know the setting wrok_mem."),
            ({"block_size": 4096}, "The setting block_size is fixed in the server's program."),
            ({"work_mem": "much"}, "The server refuses settings.work_mem 'much'"),
            ({"log_statement": "some"}, "The server refuses settings.log_statement 'some'"),
            ({"max_connections": "many"}, "The server refuses settings.max_connections 'many'"),
            ({"data_directory": "/tmp"}, "must not have data_directory"),
            ({"Work Mem": "1MB"}, "no name of a setting"),
            ({"work_mem": ["1MB"]}, "settings.work_mem must be a text"),
        ],
    )
    def test_they_are_one_sentence_and_leave_everything_as_it_was(self, manage, server, path, settings, sentence):
        manage()
        before = path.read_bytes()
        assert sentence in manage(SETTINGS | settings)["msg"]
        assert path.read_bytes() == before
        server.sql("SELECT pg_reload_conf()")
        assert shown(server, "work_mem") == "8MB"

    def test_a_first_file_with_a_mistake_is_removed_again(self, manage, path):
        assert re.search("The server refuses", manage({"work_mem": "much"})["msg"])
        assert not path.exists()

    def test_a_mistake_in_pg_hba_keeps_the_server_from_reading_it(self, manage, server):
        rules = server.data / "pg_hba.conf"
        good = rules.read_text()
        try:
            rules.write_text(good + "hostssl all all not-an-address/99 scram-sha-256\n")
            assert re.search(r"line [0-9]+ of .*pg_hba.conf", manage(reload_after=[str(rules)])["msg"])
        finally:
            rules.write_text(good)


def test_without_a_server_the_file_is_managed(run_on_host, tmp_path):
    wanted = {"path": str(tmp_path / "managed.conf"), "unix_socket": str(tmp_path), "settings": SETTINGS}
    assert run_on_host("postgresql_config", check_mode=True, **wanted)["changed"]
    assert not (tmp_path / "managed.conf").exists()
    first = run_on_host("postgresql_config", **wanted)
    assert (first["changed"], first["live"], first["server_version"]) == (True, False, "")
    assert os.stat(tmp_path / "managed.conf").st_mode & 0o777 == 0o640
    assert not run_on_host("postgresql_config", **wanted)["changed"]


def test_the_result_is_plain_data(manage):
    assert json.dumps(manage())
