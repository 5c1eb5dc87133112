# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One round trip tells what a host lacks and whether its worker runs what was written."""

from __future__ import annotations

import grp
import hashlib
import importlib.util
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
import yaml

ROLE = Path(__file__).resolve().parents[3] / "roles" / "worker"
SCRIPT = ROLE / "files" / "inspect_host.py"


@pytest.fixture
def inspection() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("inspect_host", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory that comes first on the PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_packages_that_are_not_installed_are_missing(inspection: types.ModuleType, command: Path) -> None:
    script(command / "dpkg-query", "echo 'installed acl'; echo 'config-files tzdata'; exit 1")
    assert inspection.missing_packages(["acl", "tzdata", "python3-venv"]) == ["tzdata", "python3-venv"]


def test_requirements_are_compared_with_what_is_installed(inspection: types.ModuleType) -> None:
    met = ["celery[redis]==5.7.0", "PyTest>=1", "surely-missing==1; python_version < '3'"]
    unmet = ["celery==1.0", "surely-missing", "not a requirement", "git+https://example.com/x.git"]
    assert inspection.missing_requirements(sys.executable, met + unmet) == unmet


def test_without_an_interpreter_everything_is_missing(inspection: types.ModuleType, tmp_path: Path) -> None:
    assert inspection.missing_requirements(str(tmp_path / "python"), ["celery"]) == ["celery"]


def test_a_broken_virtual_environment_lacks_everything(inspection: types.ModuleType, tmp_path: Path) -> None:
    script(tmp_path / "python", "exit 1")
    assert inspection.missing_requirements(str(tmp_path / "python"), ["celery"]) == ["celery"]


def test_accounts_are_looked_up_by_name(inspection: types.ModuleType) -> None:
    assert inspection.missing_accounts("root", "root") == []
    assert inspection.missing_accounts("root", "surely-missing") == ["group surely-missing"]
    assert inspection.missing_accounts("surely-missing", "root") == ["user surely-missing"]


@pytest.fixture
def group(inspection: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make the one who runs the tests the owner."""
    name = grp.getgrgid(os.getgid()).gr_name
    monkeypatch.setattr(inspection, "OWNER", os.getuid())
    monkeypatch.setattr(inspection, "GROUP", name)
    return name


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize(
    ("content", "mode", "differs"),
    [("wanted", 0o644, False), ("other", 0o644, True), ("wanted", 0o664, True), (None, 0, True)],
)
def test_files_differ_by_content_and_mode(
    inspection: types.ModuleType, tmp_path: Path, content: str | None, mode: int, differs: bool
) -> None:
    path = tmp_path / "celeryconfig.py"
    if content:
        path.write_text(content)
        path.chmod(mode)
    wanted = {str(path): hashlib.sha256(b"wanted").hexdigest()}
    assert inspection.differing_files(wanted, "/etc/x/.env", "x") == ([str(path)] if differs else [])


def test_the_secret_file_is_for_its_group_alone(inspection: types.ModuleType, tmp_path: Path, group: str) -> None:
    path = tmp_path / ".env"
    path.touch()
    path.chmod(0o640)
    wanted = {str(path): hashlib.sha256(b"").hexdigest()}
    assert inspection.differing_files(wanted, str(path), group) == []
    assert inspection.differing_files(wanted, str(path), "surely-missing") == [str(path)]
    path.chmod(0o644)
    assert inspection.differing_files(wanted, str(path), group) == [str(path)]


@pytest.mark.usefixtures("group")
def test_directories_differ_by_existence_and_mode(inspection: types.ModuleType, tmp_path: Path) -> None:
    good, open_to_all, file = tmp_path / "good", tmp_path / "open", tmp_path / "file"
    good.mkdir()
    good.chmod(0o755)
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    file.touch()
    wrong = [str(open_to_all), str(file), str(tmp_path / "absent"), str(file / "below")]
    assert inspection.differing_directories([str(good), *wrong]) == wrong


def test_an_application_differs_by_any_file_or_mode(inspection: types.ModuleType, tmp_path: Path) -> None:
    variables = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())
    archive = variables["__worker_archive"]
    for name in ("controller", "host"):
        (tmp_path / name / "package").mkdir(parents=True)
        (tmp_path / name / "package" / "tasks.py").write_text("tasks")
    (tmp_path / "controller" / ".env").write_text("left behind")
    command = [*archive, "--directory", str(tmp_path / "controller"), "."]
    checksum = hashlib.sha256(subprocess.run(command, capture_output=True, check=True).stdout).hexdigest()
    host = tmp_path / "host"
    assert inspection.differs(str(host), archive, checksum) is False
    os.utime(host / "package", (1, 1))
    (host / "package").chmod(0o700)
    assert inspection.differs(str(host), archive, checksum) is False
    (host / "package" / "tasks.py").chmod(0o755)
    assert inspection.differs(str(host), archive, checksum) is True
    (host / "package" / "tasks.py").chmod(0o644)
    (host / "stale.py").touch()
    assert inspection.differs(str(host), archive, checksum) is True
    assert inspection.differs(str(tmp_path / "absent"), archive, checksum) is True
    assert inspection.differs(str(tmp_path / "absent"), [], "") is False


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
    inspection: types.ModuleType, command: Path, state: str, started: int, outdated: bool
) -> None:
    script(command / "systemctl", f"echo ActiveState={state}; echo ExecMainStartTimestamp=@{started}")
    settings = command / "celeryconfig.py"
    settings.touch()
    os.utime(settings, (2000, 2000))
    assert inspection.is_outdated("celery-app.service", [str(command / "celery*.py"), "/absent"]) is outdated


def test_a_unit_that_does_not_exist_is_not_outdated(inspection: types.ModuleType, command: Path) -> None:
    script(command / "systemctl", "echo ActiveState=inactive; echo ExecMainStartTimestamp=")
    assert inspection.is_outdated("celery-app.service", [str(command)]) is False
