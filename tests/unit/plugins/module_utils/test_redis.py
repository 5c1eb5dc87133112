# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions, and the server that is started only to try things on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _redis

DEFAULTS = {name: option.get("default") for name, option in _redis.CONNECTION_ARGUMENTS.items()}


def parameters(program: Path | str) -> dict[str, Any]:
    return {**DEFAULTS, "unix_socket": "/nowhere", "login_password": "of the real one", "server_binary": str(program)}


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return path


@pytest.mark.parametrize(
    ("number", "expected"),
    [("7.0.15", False), ("7.2.0", True), ("7.10", True), ("8.0.2", True), ("6.2.99", False), ("10.0.0", True)],
)
def test_versions_are_compared_by_number(number: str, expected: bool) -> None:
    assert _redis.Version("Redis", number).at_least(7, 2) is expected


def test_the_installed_version_is_what_the_program_says(tmp_path: Path, redis_program: Path) -> None:
    installed = _redis.installed_version(str(redis_program))
    assert installed
    assert installed.product in ("Redis", "Valkey")
    valkey = script(tmp_path / "valkey-server", "echo 'Valkey server v=8.1.1 sha=00000000:0 bits=64'")
    assert _redis.installed_version(str(valkey)) == _redis.Version("Valkey", "8.1.1")
    assert _redis.installed_version("/nowhere/redis-server") is None
    with pytest.raises(_redis.RedisError, match="is not a Redis or Valkey server"):
        _redis.installed_version(str(script(tmp_path / "other", "echo hello")))


def test_the_trial_server_is_private_and_leaves_nothing(redis_program: Path) -> None:
    with _redis.trial_server(parameters(redis_program)) as trial:
        assert trial
        directory = Path(trial.where).parent
        assert directory.stat().st_mode & 0o777 == 0o700
        assert trial.call("CONFIG", "GET", "port")[1] == "0"
        process = int(trial.information()["process_id"])
    assert not directory.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_the_trial_server_leaves_no_child_behind(redis_program: Path) -> None:
    """The child that rewrites the append-only file would go on to write into the directory while it is removed."""
    with _redis.trial_server(parameters(redis_program)) as trial:
        assert trial
        trial.call("SET", "key", "value")
        trial.call("CONFIG", "SET", "rdb-key-save-delay", "3000000")
        trial.call("CONFIG", "SET", "appendonly", "yes")
        directory = trial.call("CONFIG", "GET", "dir")[1]
        assert processes_in(directory), "there is no server that could be left behind"
    assert processes_in(directory) == []


def processes_in(directory: str) -> list[str]:
    """Processes that work in a directory, which may have been removed meanwhile."""
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            target = os.readlink(link)
        except OSError:  # ended, or of another user
            continue
        if target.startswith(directory):
            found.append(link.parent.name)
    return found


def test_a_program_that_does_not_start_says_why(tmp_path: Path) -> None:
    broken = script(tmp_path / "redis-server", "echo starting; echo 'no shared library'; exit 1")
    with (
        pytest.raises(_redis.RedisError, match=r"\(server_binary\) does not start: no shared library\."),
        _redis.trial_server(parameters(broken)),
    ):
        pass


def test_the_name_of_the_program_decides_what_is_tried(tmp_path: Path, redis_program: Path) -> None:
    sentinel = tmp_path / "redis-sentinel"
    sentinel.symlink_to(redis_program.resolve())
    for program, as_sentinel, expected in (
        (redis_program, None, False),
        (sentinel, None, True),
        (redis_program, True, True),
        (sentinel, False, False),
    ):
        with _redis.trial_server(parameters(program), as_sentinel) as trial:
            assert trial
            assert trial.is_sentinel is expected


def test_a_trial_with_a_configuration_says_what_is_wrong_with_it(redis_program: Path) -> None:
    with _redis.trial_server(parameters(redis_program), configuration="maxclients 77\n") as trial:
        assert trial
        assert trial.call("CONFIG", "GET", "maxclients")[1] == "77"
    with (
        pytest.raises(_redis.StartError) as refused,
        _redis.trial_server(parameters(redis_program), configuration="maxclients many\n"),
    ):
        pass
    assert ">>> 'maxclients many'" in refused.value.said


def test_sentinel_runs_commands_up_to_the_first_that_is_refused(tmp_path: Path, redis_program: Path) -> None:
    sentinel = tmp_path / "redis-sentinel"
    sentinel.symlink_to(redis_program.resolve())
    commands = [
        ("ACL", "SETUSER", "one", "on", "nopass", "+ping"),
        ("ACL", "SETUSER", "two", "+nosuch"),
        ("ACL", "SETUSER", "three", "on"),
    ]
    with _redis.trial_server(parameters(sentinel)) as trial:
        assert trial
        done, refused = trial.transaction(commands)
        assert done == "OK"
        assert isinstance(refused, _redis.RefusedError)
        assert trial.call("ACL", "USERS") == ["default", "one"]


def test_the_installed_sentinel_is_found(tmp_path: Path, redis_program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert _redis.sentinel_program(None) is None
    assert _redis.sentinel_program("/nowhere/redis-sentinel") is None
    for name in ("valkey-sentinel", "redis-sentinel"):
        (tmp_path / name).symlink_to(redis_program.resolve())
        assert _redis.sentinel_program(None) == str(tmp_path / name)
    assert _redis.sentinel_program(str(redis_program)) == str(redis_program)


def test_without_a_program_nothing_is_tried() -> None:
    with _redis.trial_server(parameters("/nowhere/redis-server")) as trial:
        assert trial is None


def test_no_server_is_no_error(tmp_path: Path) -> None:
    assert _redis.connect({**parameters("/nowhere"), "unix_socket": str(tmp_path / "absent")}) is None
    refused = {**parameters("/nowhere"), "unix_socket": None, "login_host": "127.0.0.1", "login_port": 1}
    assert _redis.connect(refused) is None
