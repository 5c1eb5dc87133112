# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The example inventories are complete: nothing but their placeholders has to be replaced."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Those whose hosts may all be this one; the sets of others want addresses of their own.
EXAMPLES = ("database", "managed")
VALUES = {"broker": "rediss://app:long-enough@broker.example.com:6379/0"}


def judge(inventory: Path) -> str:
    """What the part of the playbook site says that judges an inventory before anything changes."""
    variables = {"ansible_become": False, "ansible_python_interpreter": sys.executable}
    command = ["ansible-playbook", f"--inventory={inventory}", "--connection=local", f"-e{json.dumps(variables)}"]
    done = subprocess.run(
        [Path(sys.executable).with_name(command[0]), *command[1:], ROOT / "playbooks" / "preflight.yml"],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_lacks_nothing_but_its_secrets(example: str, tmp_path: Path) -> None:
    inventory = tmp_path / example
    shutil.copytree(
        ROOT / "inventories" / example, inventory, ignore=shutil.ignore_patterns(".*", "backups", "vault.yml")
    )
    vault = inventory / "group_vars" / "all" / "vault.yml"
    text = vault.with_name("vault.example.yml").rename(vault).read_text()

    refused = judge(inventory)
    assert "still holds the placeholder of the example" in refused
    assert re.findall(r"changed=[1-9]", refused) == []

    vault.write_text(
        re.sub(r"\b(\w+?)_production_your_key_here", lambda word: VALUES.get(word[1], f"{word[1]}-x" * 8), text)
    )
    accepted = judge(inventory)
    assert not re.search(r"failed=[1-9]|unreachable=[1-9]", accepted), accepted
