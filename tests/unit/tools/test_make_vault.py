# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from ansible_collections.resultops.celery.plugins.plugin_utils._replication import UNQUOTABLE
from make_vault import NAMES, UNQUOTED, hard_characters, make_vault

ROOT = Path(__file__).resolve().parents[3]


def values_that_ansible_sees(inventory: Path) -> dict[str, str]:
    """Render every value by a template, as a role does."""
    names = ", ".join(f"'{name}': {name}" for name in NAMES)
    command = ["ansible", "localhost", "-i", str(inventory), "-m", "debug", "-a", f"msg={{{{ {{{names}}} }}}}"]
    done = subprocess.run(
        [*command, "--vault-password-file", str(inventory / ".vault-password")],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json", "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1"},
        check=True,
        capture_output=True,
        text=True,
    )
    values: dict[str, str] = json.loads(done.stdout)["plays"][0]["tasks"][0]["hosts"]["localhost"]["msg"]
    return values


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    (tmp_path / "hosts.yml").write_text("---\nall:\n  hosts:\n    localhost:\n      ansible_connection: local\n")
    return tmp_path


def test_ansible_reads_every_value_as_it_was_made(inventory: Path) -> None:
    assert make_vault(inventory)
    values = values_that_ansible_sees(inventory)
    assert sorted(values) == sorted(NAMES)
    for name, value in values.items():
        head, tail = value.split(hard_characters(name))
        assert len(head) >= 16
        assert len(tail) >= 16
    assert len(set(values.values())) == len(NAMES)


@pytest.mark.parametrize("name", UNQUOTED)
def test_sentinel_gets_what_it_can_read_back(name: str) -> None:
    assert name in NAMES
    assert not UNQUOTABLE.search(hard_characters(name))


def test_no_plaintext_and_no_foreign_reader(inventory: Path) -> None:
    make_vault(inventory)
    vault = inventory / "group_vars" / "all" / "vault.yml"
    assert vault.read_bytes().startswith(b"$ANSIBLE_VAULT;1.1;AES256\n")
    for path in (vault, inventory / ".vault-password"):
        assert path.stat().st_mode & 0o777 == 0o600


def test_ansible_takes_no_secret_for_a_host(inventory: Path) -> None:
    make_vault(inventory)
    command = ["ansible-inventory", "-i", str(inventory), "--list"]
    command += ["--vault-password-file", str(inventory / ".vault-password")]
    listing = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert listing["ungrouped"]["hosts"] == ["localhost"]


def test_second_call_keeps_both_files(inventory: Path) -> None:
    make_vault(inventory)
    before = {path: path.read_bytes() for path in inventory.rglob("*vault*")}
    assert not make_vault(inventory)
    assert before == {path: path.read_bytes() for path in inventory.rglob("*vault*")}


@pytest.mark.parametrize("lost", [".vault-password", "group_vars/all/vault.yml"])
def test_half_a_vault_is_refused(inventory: Path, lost: str) -> None:
    make_vault(inventory)
    (inventory / lost).unlink()
    with pytest.raises(SystemExit, match=f"{lost} is not: restore it"):
        make_vault(inventory)
