# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One round trip tells what a host lacks and whether its service runs what was written."""

from __future__ import annotations

import grp
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.resultops.celery.plugins.modules import host_info as info

ROLE = Path(__file__).resolve().parents[4] / "roles" / "worker"
SECRET_CHECKSUM = hashlib.sha256(b"CELERY_BROKER_URL=x").hexdigest()


@pytest.fixture
def run() -> info.Run:
    with patch_module_args({}):
        module = AnsibleModule({})
    return partial(module.run_command, expand_user_and_vars=False)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory that comes first on the PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_packages_that_are_not_installed_are_missing(run: info.Run, command: Path) -> None:
    script(command / "dpkg-query", "echo 'installed acl'; echo 'config-files tzdata'; exit 1")
    assert info.missing_packages(run, ["acl", "tzdata", "python3-venv"]) == ["tzdata", "python3-venv"]


def test_requirements_are_compared_with_what_is_installed(run: info.Run) -> None:
    met = ["celery[redis]==5.7.0", "PyTest>=1", "surely-missing==1; python_version < '3'"]
    unmet = ["celery==1.0", "surely-missing", "not a requirement", "git+https://example.com/x.git"]
    assert info.missing_requirements(run, sys.executable, met + unmet) == unmet


def test_without_an_interpreter_everything_is_missing(run: info.Run, tmp_path: Path) -> None:
    assert info.missing_requirements(run, str(tmp_path / "python"), ["celery"]) == ["celery"]


def test_a_broken_virtual_environment_lacks_everything(run: info.Run, tmp_path: Path) -> None:
    script(tmp_path / "python", "exit 1")
    assert info.missing_requirements(run, str(tmp_path / "python"), ["celery"]) == ["celery"]


def test_accounts_are_looked_up_by_name() -> None:
    assert info.missing_accounts("root", "root") == []
    assert info.missing_accounts("root", "surely-missing") == ["group surely-missing"]
    assert info.missing_accounts("surely-missing", "root") == ["user surely-missing"]


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> str:
    """Make the one who runs the tests the owner."""
    name = grp.getgrgid(os.getgid()).gr_name
    monkeypatch.setattr(info, "OWNER", os.getuid())
    return name


@pytest.mark.parametrize(
    ("content", "mode", "differs"),
    [("wanted", 0o640, False), ("other", 0o640, True), ("wanted", 0o644, True), (None, 0, True)],
)
def test_files_differ_by_content_and_mode(
    tmp_path: Path, group: str, content: str | None, mode: int, differs: bool
) -> None:
    path = tmp_path / "celeryconfig.py"
    if content:
        path.write_text(content)
        path.chmod(mode)
    wanted = {"path": str(path), "checksum": hashlib.sha256(b"wanted").hexdigest(), "group": group, "mode": "0640"}
    assert info.differing_files([wanted]) == ([str(path)] if differs else [])


def test_files_differ_by_owner_and_group(tmp_path: Path, group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ".env"
    path.touch()
    path.chmod(0o640)
    wanted = {"path": str(path), "checksum": hashlib.sha256(b"").hexdigest(), "group": group, "mode": "0640"}
    assert info.differing_files([wanted]) == []
    assert info.differing_files([{**wanted, "group": "surely-missing"}]) == [str(path)]
    monkeypatch.setattr(info, "OWNER", os.getuid() + 1)
    assert info.differing_files([wanted]) == [str(path)]


def test_directories_differ_by_existence_and_mode(tmp_path: Path, group: str) -> None:
    good, open_to_all, file = tmp_path / "good", tmp_path / "open", tmp_path / "file"
    good.mkdir()
    good.chmod(0o755)
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    file.touch()
    wrong = [str(open_to_all), str(file), str(tmp_path / "absent"), str(file / "below")]
    wanted = [{"path": path, "group": group, "mode": "0755"} for path in [str(good), *wrong]]
    assert info.differing_directories(wanted) == wrong


def test_kernel_settings_are_read_and_unknown_ones_left_out() -> None:
    values = info.kernel_values(["kernel.ostype", "vm.surely_missing"])
    assert values == {"kernel.ostype": "Linux"}


def test_an_application_differs_by_any_file_or_mode(run: info.Run, tmp_path: Path) -> None:
    variables = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())
    archive = variables["__worker_archive"]
    for name in ("controller", "host"):
        (tmp_path / name / "package").mkdir(parents=True)
        (tmp_path / name / "package" / "tasks.py").write_text("tasks")
    (tmp_path / "controller" / ".env").write_text("left behind")
    command = [*archive, "--directory", str(tmp_path / "controller"), "."]
    checksum = hashlib.sha256(subprocess.run(command, capture_output=True, check=True).stdout).hexdigest()
    host = tmp_path / "host"
    assert info.differs(run, str(host), archive, checksum) is False
    os.utime(host / "package", (1, 1))
    (host / "package").chmod(0o700)
    assert info.differs(run, str(host), archive, checksum) is False
    (host / "package" / "tasks.py").chmod(0o755)
    assert info.differs(run, str(host), archive, checksum) is True
    (host / "package" / "tasks.py").chmod(0o644)
    (host / "stale.py").touch()
    assert info.differs(run, str(host), archive, checksum) is True
    assert info.differs(run, str(tmp_path / "absent"), archive, checksum) is True
    assert info.differs(run, str(tmp_path / "absent"), [], "") is False


@pytest.mark.parametrize(
    ("state", "started", "outdated"),
    [
        ("active", 1000, True),
        ("active", 2000, False),
        ("active", 3000, False),
        ("inactive", 1000, False),
        ("activating", 3000, True),
    ],
)
def test_a_worker_older_than_its_files_is_outdated(
    run: info.Run, command: Path, state: str, started: int, outdated: bool
) -> None:
    script(command / "systemctl", f"echo ActiveState={state}; echo ExecMainStartTimestamp=@{started}")
    settings = command / "celeryconfig.py"
    settings.touch()
    os.utime(settings, (2000, 2000))
    unit = info.unit_state(run, "celery-app.service")
    assert info.is_outdated(unit, [str(command / "celery*.py"), "/absent"]) is outdated


def test_a_unit_that_does_not_exist_is_not_outdated(run: info.Run, command: Path) -> None:
    script(command / "systemctl", "echo ActiveState=inactive; echo ExecMainStartTimestamp=")
    assert info.is_outdated(info.unit_state(run, "celery-app.service"), [str(command)]) is False


@pytest.mark.parametrize("replaced", [False, True])
def test_a_unit_whose_program_was_replaced_is_outdated(run: info.Run, command: Path, replaced: bool) -> None:
    program = command / "server"
    shutil.copy("/bin/sleep", program)
    with subprocess.Popen([program, "60"]) as process:
        script(
            command / "systemctl",
            f"echo ActiveState=active; echo ExecMainStartTimestamp=@4000000000; echo MainPID={process.pid}",
        )
        if replaced:
            shutil.copy("/bin/sleep", command / "upgraded")
            (command / "upgraded").rename(program)
        try:
            assert info.is_outdated(info.unit_state(run, "redis-server.service"), []) is replaced
        finally:
            process.kill()


@pytest.fixture
def wanted(tmp_path: Path, group: str) -> dict[str, Any]:
    """Options for a host that lacks nothing."""
    env_file = tmp_path / ".env"
    env_file.write_text("CELERY_BROKER_URL=x")
    env_file.chmod(0o640)
    return {
        "user": "root",
        "group": group,
        "python": sys.executable,
        "files": [{"path": str(env_file), "checksum": SECRET_CHECKSUM, "group": group, "mode": "0640"}],
        "unit": "celery-app.service",
    }


@pytest.mark.parametrize("check_mode", [False, True])
def test_all_is_said_at_once_and_nothing_changes(
    run_on_host: Callable[..., dict[str, Any]], wanted: dict[str, Any], command: Path, check_mode: bool
) -> None:
    script(command / "dpkg-query", "echo 'installed acl'")
    script(command / "systemctl", "echo ActiveState=active; echo ExecMainStartTimestamp=@4000000000")
    result = run_on_host("host_info", check_mode=check_mode, **wanted, packages=["acl"])
    assert SECRET_CHECKSUM not in str(result.pop("invocation"))
    lists = ("packages", "requirements", "accounts", "directories", "files")
    flags = ("application", "outdated", "daemon_reload_needed")
    nothing = {**{key: [] for key in lists}, **dict.fromkeys(flags, False), "kernel_settings": {}}
    assert result == {**nothing, "changed": False}
    script(
        command / "systemctl",
        "echo ActiveState=active; echo ExecMainStartTimestamp=@4000000000; echo NeedDaemonReload=yes",
    )
    wanted["files"][0]["checksum"] = hashlib.sha256(b"another").hexdigest()
    changes = {"packages": ["acl", "tzdata"], "requirements": ["surely-missing"], "user": "surely-missing"}
    result = run_on_host("host_info", check_mode=check_mode, **{**wanted, **changes})
    assert {name: result[name] for name in nothing if result[name]} == {
        "packages": ["tzdata"],
        "requirements": ["surely-missing"],
        "accounts": ["user surely-missing"],
        "files": [wanted["files"][0]["path"]],
        "daemon_reload_needed": True,
    }


def test_a_host_that_cannot_be_looked_at_gives_one_sentence(
    run_on_host: Callable[..., dict[str, Any]], wanted: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    result = run_on_host("host_info", **{**wanted, "files": [{"path": str(tmp_path / "loop"), "checksum": ""}]})
    assert result["failed"] is True
    assert result["msg"].startswith("The host could not be looked at: [Errno 40]")


def test_an_archive_needs_a_source(run_on_host: Callable[..., dict[str, Any]], wanted: dict[str, Any]) -> None:
    result = run_on_host("host_info", **wanted, archive=["tar", "--create"])
    assert result["msg"] == "The option archive needs the option source: give the directory of the application."
