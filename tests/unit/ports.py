# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports for test servers that neither another test process nor a client's connection can take meanwhile."""

from __future__ import annotations

import os
import socket

# Below the ports that Linux gives to outgoing connections. Each process of pytest-xdist has a share of its own.
FIRST, LAST, SHARE = 10000, 32000, 2750
_process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_ports = iter(range(FIRST + _process * SHARE, min(FIRST + (_process + 1) * SHARE, LAST)))


def free_port() -> int:
    """A port that nobody uses and that no later call gives."""
    for port in _ports:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError(f"Process {_process} of the tests has used all of its {SHARE} ports.")
