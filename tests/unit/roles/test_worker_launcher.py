# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd learns from the worker itself when it consumes tasks."""

from __future__ import annotations

import importlib.util
import socket
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "roles" / "worker" / "files" / "worker.py"


@pytest.fixture
def launcher() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("worker_launcher", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Stand in for systemd, with a socket of either kind."""
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.settimeout(5)
        channel.bind(f"\0{name}" if request.param == "abstract" else name)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}" if request.param == "abstract" else name)
        yield channel


def test_the_worker_announces_that_it_is_ready_and_that_it_stops(
    launcher: types.ModuleType, manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    from celery.signals import worker_ready, worker_shutting_down

    started = []
    monkeypatch.setattr("celery.__main__.main", lambda: started.append(True))
    monkeypatch.setattr("sys.argv", ["worker.py", "worker"])
    try:
        launcher.main()
        assert started == [True]
        worker_ready.send(sender="consumer")
        assert manager.recv(100) == b"READY=1\nSTATUS=Consuming tasks"
        worker_shutting_down.send(sender="worker", sig="SIGTERM", how="Warm", exitcode=0)
        assert manager.recv(100) == b"STOPPING=1\nSTATUS=Finishing the running tasks"
    finally:
        worker_ready.disconnect(launcher.announce_ready)
        worker_shutting_down.disconnect(launcher.announce_stop)


def test_outside_systemd_nothing_is_sent(launcher: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    launcher.notify("READY=1")
