# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the dry run on bare hosts and the first real run said, and what could be seen on the hosts meanwhile."""

from __future__ import annotations

import re

import pytest
from fleet import CHECKOUT
from scenario import REDIS_HOSTS, WORKER_HOSTS

LOG = CHECKOUT / ".cache" / "molecule" / "default.log"


def test_no_secret_was_said(fleet):
    text = LOG.read_text(encoding="utf-8")
    for run in (r"PLAY \[Redis\] \[CHECK MODE\]", r"PLAY \[Redis\] \*"):
        assert re.search(run, text), run
    for detail in ("invocation:", "module_args:", "+++ after", "> EXEC "):
        assert text.count(detail) > 10, f"the run was not talkative: {detail}"
    assert fleet.secrets_in(text) == []


@pytest.mark.parametrize("name", [*REDIS_HOSTS, *WORKER_HOSTS])
class TestCommandLines:
    def test_the_watcher_watched_to_the_end(self, fleet, name):
        host = fleet.host(name)
        assert host.file("/var/log/host-watch/stopped").exists
        seen = host.file("/var/log/host-watch/commands.txt").content_string
        for command in ("ansible", "apt-get", "dpkg"):
            assert command in seen, command

    def test_none_held_a_secret(self, fleet, name):
        assert fleet.secrets_in(fleet.host(name).file("/var/log/host-watch/commands.txt").content_string) == []
