# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter in its playbook: a real server, a real worker, and hosts that cannot be asked."""

from __future__ import annotations

import getpass
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.resultops.celery.plugins.filter import verify_report as plugin

PLAYBOOK = Path(plugin.__file__).parents[2] / "playbooks" / "verify.yml"


class Verification:
    def __init__(self, directory: Path, files: Any) -> None:
        self._directory = directory
        self._variables = {
            "__worker_environment_file": files.env_file,
            "__worker_configuration_directory": str(files.directory),
            "worker_user": getpass.getuser(),
            "verify_timeout": 3,
        }

    @property
    def rows(self) -> list[dict[str, Any]]:
        return json.loads((self._directory / "reports" / "verify.json").read_text())

    @property
    def written(self) -> bool:
        return (self._directory / "reports" / "verify.json").exists()

    def run(
        self, hosts: dict[str, dict[str, Any]], *options: str, python: str = sys.executable
    ) -> subprocess.CompletedProcess[str]:
        inventory = {
            "all": {"vars": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}},
            "celery_workers": {"hosts": hosts},
        }
        (self._directory / "hosts.yml").write_text(yaml.safe_dump(inventory))
        (self._directory / "ansible.cfg").write_text("")
        variables = json.dumps({**self._variables, "__worker_python": python})
        return subprocess.run(
            [sys.executable, "-m", "ansible", "playbook", "-i", "hosts.yml", "-e", variables, *options, str(PLAYBOOK)],
            cwd=self._directory,
            env={**os.environ, "PWD": str(self._directory), "ANSIBLE_CONFIG": str(self._directory / "ansible.cfg")},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def verification(celery_redis: Any, worker_files: Any, tmp_path: Path) -> Verification:
    worker_files.write(celery_redis)
    return Verification(tmp_path, worker_files)


def test_all_is_well(celery_redis: Any, celery_worker: Any, verification: Verification) -> None:
    celery_worker(celery_redis, "--hostname", f"app@{socket.gethostname()}")
    done = verification.run({"worker1": {}, "worker2": {"worker_extra_arguments": ["--hostname=shop@here"]}})
    assert done.returncode == 0, done.stdout
    others = {(row["host"], row["check"], row["status"]) for row in verification.rows if row["status"] != "passed"}
    assert others == {("worker2", "roundtrip_ping", "skipped")}
    assert {row["host"] for row in verification.rows} == {"worker1", "worker2"}
    assert {"store_json", "expire", "roundtrip_worker"} <= {row["check"] for row in verification.rows}
    assert done.stdout.count("changed=0") == 3
    assert celery_redis.admin.dbsize() == 0


def test_hosts_that_cannot_be_asked_fail_and_the_others_report(verification: Verification, free_port: Any) -> None:
    unreachable = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": free_port()}
    done = verification.run({"worker1": {}, "worker2": unreachable})
    assert done.returncode == 2
    failed = {
        (row["host"], row["check"]): row["failure_class"] for row in verification.rows if row["status"] == "failed"
    }
    assert failed == {("worker1", "roundtrip_ping"): "no_worker", ("worker2", "host_reached"): "unreachable"}
    assert "host_reached failed on worker2 (unreachable): No check ran on this host" in done.stdout


def test_a_host_without_the_worker(verification: Verification) -> None:
    done = verification.run({"worker1": {}}, python="/nowhere/python")
    assert done.returncode == 2
    assert {(row["check"], row["failure_class"]) for row in verification.rows} == {
        ("result_backend_check", "config"),
        ("task_roundtrip", "config"),
    }


def test_check_mode_passes_on_a_bare_host_and_leaves_the_last_report_alone(verification: Verification) -> None:
    done = verification.run({"worker1": {}}, "--check", "--diff", python="/nowhere/python")
    assert done.returncode == 0, done.stdout
    assert "2 were skipped" in done.stdout
    assert not verification.written


def test_check_mode_connects(verification: Verification) -> None:
    done = verification.run({"worker1": {}}, "--check")
    assert done.returncode == 0, done.stdout
    assert "7 checks passed" in done.stdout


def test_a_group_without_hosts_is_refused(verification: Verification) -> None:
    done = verification.run({})
    assert done.returncode == 2
    assert "The inventory group celery_workers is empty" in done.stdout
