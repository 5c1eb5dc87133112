# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts bring the tables to their revision: each with a server of its own, and one for a managed server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
HOSTS = {name: {"ansible_connection": "local", "ansible_python_interpreter": sys.executable} for name in "abc"}
# Refused by the role before it looks at a server: who failed is who would have done it.
REFUSED = {"result_schema_engine": "oracle", "ansible_become": False}


@pytest.mark.parametrize(
    ("group", "limit", "expected"),
    [("postgresql", "all", {"a", "b", "c"}), ("managed", "all", {"a"}), ("managed", "b,c", {"b"})],
)
def test_who_does_it(tmp_path: Path, group: str, limit: str, expected: set[str]) -> None:
    (tmp_path / "hosts.json").write_text(json.dumps({group: {"hosts": HOSTS}}))
    given = {"result_schema_hosts_group": group, **REFUSED} if group == "managed" else REFUSED
    done = subprocess.run(
        [
            Path(sys.executable).with_name("ansible-playbook"),
            ROOT / "playbooks" / "schema.yml",
            f"--inventory={tmp_path}/hosts.json",
            f"--limit={limit}",
            f"--extra-vars={json.dumps(given)}",
        ],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "result_schema_engine must be one of" in done.stdout, done.stdout + done.stderr
    assert set(re.findall(r"^(\w)\s+: .* failed=1 ", done.stdout, re.MULTILINE)) == expected
