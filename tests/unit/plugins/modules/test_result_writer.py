# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module as Ansible runs it: with the worker's files, in the background, and killed in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from ansible_collections.resultops.celery.plugins.modules import result_writer

Run = Callable[..., tuple[dict[str, Any], str]]


@pytest.fixture
def records(tmp_path: Path) -> Path:
    directory = tmp_path / "records"
    directory.mkdir(mode=0o700)
    return directory


@pytest.fixture
def task(worker_files: Any, records: Path) -> Callable[..., dict[str, Any]]:
    def build(**arguments: Any) -> dict[str, Any]:
        options = {
            "env_file": worker_files.env_file,
            "config_directory": str(worker_files.directory),
            "directory": str(records),
            **arguments,
        }
        return {
            "resultops.celery.result_writer": options,
            "vars": {"ansible_python_interpreter": sys.executable, "ansible_async_dir": str(records)},
        }

    return build


@pytest.fixture
def play(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start a play with these tasks; it keeps the last result in found.json."""

    def start(*tasks: dict[str, Any], options: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        keep = {
            "ansible.builtin.copy": {"content": "{{ found | to_json }}", "dest": str(tmp_path / "found.json")},
            "check_mode": False,
        }
        content = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [*tasks, keep]}
        (tmp_path / "play.yml").write_text(yaml.safe_dump([content]))
        (tmp_path / "ansible.cfg").write_text("")
        return subprocess.Popen(
            [sys.executable, "-m", "ansible", "playbook", "-vvv", *options, "play.yml"],
            cwd=tmp_path,
            env={**os.environ, "ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


@pytest.fixture
def run(play: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> Run:
    def finish(*tasks: dict[str, Any], options: tuple[str, ...] = ()) -> tuple[dict[str, Any], str]:
        process = play(*tasks, options=options)
        printed = process.communicate()[0]
        assert process.returncode == 0, printed
        return json.loads((tmp_path / "found.json").read_text()), printed

    return finish


def test_it_stores_in_the_background_until_it_is_told_to_stop(
    celery_redis: Any, worker_files: Any, task: Callable[..., dict[str, Any]], records: Path, run: Run
) -> None:
    worker_files.write(celery_redis)
    found, printed = run(
        {**task(run="drill-1", threads=2, rate=100), "async": 60, "poll": 0, "register": "writer"},
        {"ansible.builtin.wait_for": {"path": f"{records}/ready", "timeout": 30, "sleep": 1}},
        {"ansible.builtin.copy": {"content": "", "dest": f"{records}/stop", "mode": "0600"}},
        {
            "ansible.builtin.async_status": {"jid": "{{ writer.ansible_job_id }}"},
            "vars": {"ansible_async_dir": str(records)},
            "register": "ended",
            "until": "ended.finished",
            "delay": 1,
            "retries": 30,
        },
        {**task(state="examined"), "register": "found"},
    )
    assert found["acknowledged"] > 0
    assert (found["lost"], found["failed_stores"], found["exhausted"]) == (0, 0, False)
    assert celery_redis.admin.dbsize() == 0
    for secret in worker_files.secrets:
        assert secret not in printed
        assert quote(secret, safe="") not in printed
    assert not any(secret in path.read_text() for path in records.iterdir() for secret in worker_files.secrets)


def test_a_writer_that_is_killed_leaves_its_records(
    celery_redis: Any,
    worker_files: Any,
    task: Callable[..., dict[str, Any]],
    records: Path,
    play: Callable[..., subprocess.Popen[str]],
    run: Run,
) -> None:
    worker_files.write(celery_redis)
    process = play({**task(run="drill-2", rate=100), "register": "found"})
    deadline = time.monotonic() + 60
    while not (records / "ready").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    [writer] = [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and _holds(entry, str(records / "records-0"))
    ]
    os.kill(writer, signal.SIGKILL)
    process.communicate()
    found, _printed = run({**task(state="examined"), "register": "found"})
    assert found["acknowledged"] > 0
    assert found["lost"] == 0


def _holds(process: Path, path: str) -> bool:
    try:
        return any(os.readlink(entry) == path for entry in (process / "fd").iterdir())
    except OSError:
        return False


def test_check_mode_stores_nothing(
    celery_redis: Any, worker_files: Any, task: Callable[..., dict[str, Any]], records: Path, run: Run
) -> None:
    worker_files.write(celery_redis)
    found, _printed = run({**task(run="drill-3"), "register": "found"}, options=("--check",))
    assert found["changed"] is True
    assert celery_redis.admin.dbsize() == 0
    assert list(records.iterdir()) == []


def test_a_broken_configuration_is_one_sentence_without_a_secret(
    celery_redis: Any, worker_files: Any, task: Callable[..., dict[str, Any]], run: Run
) -> None:
    worker_files.write(celery_redis, CELERY_RESULT_BACKEND="nothing://user:very-secret-word@host")
    wanted = {**task(run="drill-4", results=4, seconds=5), "register": "found", "ignore_errors": True}
    found, printed = run(wanted)
    assert found["failed"] is True
    assert "very-secret-word" not in printed


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"threads": 0}, "The option threads is 0, but it must be at least 1."),
        ({"rate": -1.0}, "The option rate is -1, but it must be at least 0."),
        ({"run": "a_b"}, "The option run is 'a_b'"),
        ({"directory": "/nowhere"}, "does not exist"),
    ],
)
def test_bad_input(records: Path, changes: dict[str, Any], said: str) -> None:
    sound = {"threads": 4, "seconds": 60.0, "patience": 15.0, "rate": 0.0, "results": 10, "expires": 60, "run": "a"}
    wanted = {**sound, "directory": str(records), "state": "written"}
    assert result_writer.problem(wanted) == ""
    assert said in result_writer.problem({**wanted, **changes})


def test_a_directory_that_is_open_or_used(records: Path) -> None:
    sound = {"threads": 4, "seconds": 60.0, "patience": 15.0, "rate": 0.0, "results": 10, "expires": 60, "run": "a"}
    wanted = {**sound, "directory": str(records), "state": "written"}
    (records / "about.json").touch()
    assert "holds the records of another run" in result_writer.problem(wanted)
    assert result_writer.problem({**wanted, "state": "examined"}) == ""
    records.chmod(0o750)
    assert "lets other users in" in result_writer.problem(wanted)
