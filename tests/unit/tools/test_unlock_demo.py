# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ansible.cfg asks tools/unlock_demo for a vault password in every run in a checkout, whatever the inventory."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools" / "unlock_demo", tmp_path / "tools")
    shutil.copy(ROOT / "ansible.cfg", tmp_path)
    (tmp_path / "inventories" / "demo").mkdir(parents=True)
    (tmp_path / "plain.yml").write_text("---\nvalue: readable\n")
    return tmp_path


def run(checkout: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    return subprocess.run(command, cwd=checkout, env=environment, check=False, capture_output=True, text=True)


def show_value(checkout: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = ("ansible", "localhost", "-i", "localhost,", "-m", "debug", "-a", "var=value", "-e", "@plain.yml")
    return run(checkout, *command, *options)


def encrypt(checkout: Path, password: str) -> None:
    (checkout / "password").write_text(password)
    done = run(checkout, "ansible-vault", "encrypt", "--vault-password-file", "password", "plain.yml")
    assert done.returncode == 0, done.stderr


def test_nothing_encrypted_needs_no_vault(checkout: Path) -> None:
    done = show_value(checkout)
    assert "readable" in done.stdout
    assert done.stderr == ""


def test_demo_is_unlocked(checkout: Path) -> None:
    encrypt(checkout, "the-demo")
    (checkout / "inventories" / "demo" / ".vault-password").write_text("the-demo\n")
    assert "readable" in show_value(checkout).stdout


@pytest.mark.parametrize("demo_is_up", [True, False])
@pytest.mark.parametrize("options", [["--vault-password-file", "password"], ["--vault-id", "mine@password"]])
def test_other_vaults_open_with_their_own_password(checkout: Path, options: list[str], demo_is_up: bool) -> None:
    if demo_is_up:
        (checkout / "inventories" / "demo" / ".vault-password").write_text("the-demo\n")
    encrypt(checkout, "mine")
    assert "readable" in show_value(checkout, *options).stdout
    assert show_value(checkout).returncode != 0


@pytest.mark.parametrize("command", [["encrypt", "plain.yml"], ["encrypt_string", "value"]])
@pytest.mark.parametrize("demo_is_up", [True, False])
def test_nothing_is_encrypted_with_the_demo_password(checkout: Path, command: list[str], demo_is_up: bool) -> None:
    if demo_is_up:
        (checkout / "inventories" / "demo" / ".vault-password").write_text("the-demo\n")
    done = run(checkout, "ansible-vault", *command)
    assert done.returncode != 0
    assert "name yours" in done.stderr
    assert "readable" in (checkout / "plain.yml").read_text()
