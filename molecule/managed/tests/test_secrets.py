# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the runs said, and what could be seen on the hosts meanwhile."""

from __future__ import annotations

import pytest
from scenario import LOG


def test_no_secret_was_said(fleet):
    text = LOG.read_text(encoding="utf-8")
    for detail in ("invocation:", "module_args:", "> EXEC ", "PLAY [Result tables in a managed server]"):
        assert detail in text, f"the run was not talkative: {detail}"
    assert fleet.secrets_in(text) == []


@pytest.mark.parametrize("name", ["managed", "managedworker"])
def test_none_was_to_be_seen_on_the_hosts(fleet, name):
    host = fleet.host(name)
    assert host.file("/var/log/host-watch/stopped").exists
    commands = host.file("/var/log/host-watch/commands.txt").content_string
    assert "apt-get" in commands, "the watcher did not see the packages come"
    processes = host.check_output("ps -eww -o args")
    journal = host.check_output("journalctl --no-pager --output cat")
    logs = host.check_output("cat /dev/null /var/log/postgresql/*.log 2>/dev/null || true")
    for text in (commands, processes, journal, logs):
        assert fleet.secrets_in(text) == []


def test_the_provider_keeps_verifiers(fleet):
    stored = fleet.provider("SELECT rolname, left(rolpassword, 14) FROM pg_authid WHERE rolname ~ '^(probe|results)'")
    kept = {name: verifier for name, verifier in stored if verifier}
    assert kept == {"probe": "SCRAM-SHA-256$", "results_monitor": "SCRAM-SHA-256$"}
