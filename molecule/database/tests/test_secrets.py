# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the runs said, and what could be seen on the hosts, up to the last of the other tests."""

from __future__ import annotations

import pytest
from scenario import LOG, SERVERS, WORKERS


def test_none_was_said(fleet):
    text = LOG.read_text(encoding="utf-8")
    plays = ("PostgreSQL", "MariaDB", "Result tables in PostgreSQL", "Result tables in MariaDB", "Celery workers")
    for detail in ("invocation:", "module_args:", "> EXEC ", *(f"PLAY [{play}]" for play in plays)):
        assert detail in text, f"the run was not talkative: {detail}"
    assert fleet.secrets_in(text) == []


@pytest.mark.parametrize("name", [*SERVERS, *WORKERS])
def test_none_was_to_be_seen_on_the_hosts(fleet, name):
    host = fleet.host(name)
    assert host.file("/var/log/host-watch/stopped").exists
    commands = host.file("/var/log/host-watch/commands.txt").content_string
    assert "apt-get" in commands, "the watcher did not see the packages come"
    processes = host.check_output("ps -eww -o args")
    journal = host.check_output("journalctl --no-pager --output cat")
    logs = host.check_output("cat /dev/null /var/log/postgresql/*.log 2>/dev/null || true")
    units = host.check_output("cat /etc/systemd/system/celery-*")
    for text in (commands, processes, journal, logs, units):
        assert fleet.secrets_in(text) == []
