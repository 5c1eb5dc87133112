# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real RabbitMQ node on loopback with a port mapper of its own, from Debian's package, with nothing in it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest
from ansible_collections.resultops.celery.tests.unit.ports import free_port

PROGRAMS = Path("/usr/lib/rabbitmq/bin")
PATIENCE = 180.0


class RabbitmqServer:
    """Started with a file of definitions, as the role does it, so that the account guest never exists."""

    def __init__(
        self,
        tls: dict[str, str] | None = None,
        definitions: str = '{"vhosts": [], "users": []}',
        free_port: Callable[[], int] = free_port,
    ) -> None:
        self._tls = tls or {}
        self._definitions = definitions
        if not (PROGRAMS / "rabbitmq-server").exists():
            pytest.fail("These tests need RabbitMQ: install the Debian package rabbitmq-server.")
        self.directory = Path(tempfile.mkdtemp(prefix="celery-rabbitmq-"))
        self.port = free_port()
        self.distribution_port = free_port()
        self.definitions = self.directory / "definitions.json"
        self.rabbitmqctl = self.directory / "rabbitmqctl"
        home = self.directory / "home"
        home.mkdir(mode=0o700)
        (home / ".erlang.cookie").write_text("only-for-this-test-server")
        (home / ".erlang.cookie").chmod(0o400)
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "LC_ALL": "C.UTF-8",
            "ERL_EPMD_PORT": str(free_port()),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"unit{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self.distribution_port),
            "RABBITMQ_CONF_ENV_FILE": str(self.directory / "none.conf"),
            "RABBITMQ_CONFIG_FILE": str(self.directory / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.directory / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.directory / "data"),
            "RABBITMQ_LOG_BASE": str(self.directory / "log"),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.definitions.write_text(self._definitions)
        (self.directory / "enabled_plugins").write_text("[].\n")
        listener = "listeners.tcp = none\nlisteners.ssl.1" if self._tls else "listeners.tcp.1"
        (self.directory / "rabbitmq.conf").write_text(
            f"{listener} = 127.0.0.1:{self.port}\n"
            + "".join(f"{name} = {it}\n" for name, it in self._tls.items())
            + "distribution.listener.interface = 127.0.0.1\n"
            "vm_memory_high_watermark.relative = 0.4\n"
            "disk_free_limit.absolute = 1MB\n"
            f"load_definitions = {self.definitions}\n"
        )
        exported = "".join(f"export {name}='{value}'\n" for name, value in self._environment.items())
        self.rabbitmqctl.write_text(f'#!/bin/sh\n{exported}exec {PROGRAMS}/rabbitmqctl "$@"\n')
        self.rabbitmqctl.chmod(0o755)
        self.start()
        return self

    def __exit__(self, *_details: object) -> None:
        self.stop()
        epmd = shutil.which("epmd") or "epmd"
        subprocess.run([epmd, "-kill"], env=self._environment, check=False, capture_output=True)
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self) -> None:
        log = (self.directory / "output.log").open("wb")
        self._process = subprocess.Popen(
            [str(PROGRAMS / "rabbitmq-server")], env=self._environment, stdout=log, stderr=log, start_new_session=True
        )
        deadline = time.monotonic() + PATIENCE
        while subprocess.run([self.rabbitmqctl, "await_startup"], check=False, capture_output=True).returncode:
            if self._process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"The server does not start: {(self.directory / 'output.log').read_text()[-2000:]}")
            time.sleep(0.2)

    def stop(self) -> None:
        """Nobody starts from these data again but by `start`: no time for a farewell."""
        if self._process and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def process_group(self, number: signal.Signals) -> None:
        """Send a signal to the whole server."""
        assert self._process
        os.killpg(self._process.pid, number)

    def ctl(self, *words: str) -> str:
        return subprocess.run(
            [self.rabbitmqctl, "--silent", *words], check=True, capture_output=True, text=True
        ).stdout.strip()
