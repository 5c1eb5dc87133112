# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One round trip tells what a host lacks and whether its worker runs what was written."""

from __future__ import annotations

import importlib.util
import os
import sys
import types
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "roles" / "worker" / "files" / "inspect_host.py"


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


@pytest.mark.parametrize(
    ("state", "started", "outdated"),
    [("active", 1000, True), ("active", 2000, False), ("active", 3000, False), ("inactive", 1000, False)],
)
def test_a_worker_older_than_its_files_is_outdated(
    inspection: types.ModuleType, command: Path, state: str, started: int, outdated: bool
) -> None:
    script(command / "systemctl", f"echo ActiveState={state}; echo ExecMainStartTimestamp=@{started}")
    settings = command / "celeryconfig.py"
    settings.touch()
    os.utime(settings, (2000, 2000))
    assert inspection.is_outdated("celery-app.service", [str(settings), str(command / "absent")]) is outdated


def test_a_unit_that_does_not_exist_is_not_outdated(inspection: types.ModuleType, command: Path) -> None:
    script(command / "systemctl", "echo ActiveState=inactive; echo ExecMainStartTimestamp=")
    assert inspection.is_outdated("celery-app.service", [str(command)]) is False
