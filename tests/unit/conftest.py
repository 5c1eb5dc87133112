# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real server to manage, and modules that run as Ansible runs them.

REDIS_SERVER=/path/of/a/program runs the tests against another server than the one of Debian's redis-tools.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import redis
from ansible.module_utils import _internal
from ansible.module_utils.common import warnings
from ansible.module_utils.testing import patch_module_args
from ansible_collections.resultops.celery.tests.unit.ports import free_port
from ansible_collections.resultops.celery.tests.unit.rpc_broker import RpcBroker
from ansible_collections.resultops.celery.tests.unit.sql_servers import Mariadb, Postgresql
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from redis.backoff import NoBackoff
from redis.retry import Retry

PATIENCE = 20.0
MODULES = "ansible_collections.resultops.celery.plugins.modules"


def write_certificate(directory: Path, name: str) -> None:
    """A self-signed certificate with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    names: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (directory / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (directory / f"{name}.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"Waited {PATIENCE} seconds for nothing.")
        time.sleep(0.02)


class ManagedServer:
    """One server process with a Unix socket, a TLS port and its files in one directory."""

    def __init__(self, program: Path, directory: Path) -> None:
        self.program = program
        self.directory = directory
        self.socket = directory / "server.sock"
        self.settings_file = directory / "managed.conf"
        self.acl_file = directory / "users.acl"
        self.log = directory / "server.log"
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        write_certificate(directory, "server")

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    @property
    def tls_settings(self) -> dict[str, Any]:
        return {
            "tls-cert-file": str(self.directory / "server.crt"),
            "tls-key-file": str(self.directory / "server.key"),
            "tls-ca-cert-file": str(self.directory / "server.crt"),
        }

    def start(self, wait: bool = True, **extra: str) -> None:
        options = {
            "port": "0",
            "tls-port": str(self.port),
            "bind": "127.0.0.1",
            "tls-auth-clients": "optional",
            **self.tls_settings,
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.directory),
            "logfile": str(self.log),
            "save": "",
        }
        if self.acl_file.exists():
            options["aclfile"] = str(self.acl_file)
        options |= {name.replace("_", "-"): value for name, value in extra.items()}
        if self.settings_file.exists():
            options["include"] = str(self.settings_file)
        arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
        self.socket.unlink(missing_ok=True)
        self._process = subprocess.Popen([str(self.program), *arguments])
        deadline = time.monotonic() + PATIENCE
        while wait and not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"The server does not start: {self.log.read_text()[-800:]}")
            time.sleep(0.02)

    def kill(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.kill()
        if self._process:
            self._process.wait()

    def restart(self, **extra: str) -> None:
        self.kill()
        self.start(**extra)

    def client(self, user: str | None = None, password: str | None = None) -> redis.Redis:
        return redis.Redis(
            unix_socket_path=str(self.socket),
            username=user,
            password=password,
            decode_responses=True,
            socket_timeout=10,
            retry=Retry(NoBackoff(), 0),
            single_connection_client=True,
        )

    def settings(self, *names: str) -> dict[str, str]:
        with contextlib.closing(self.client()) as client:
            return {name: client.config_get(name)[name] for name in names}

    def _answers(self) -> bool:
        try:
            with contextlib.closing(self.client()) as client:
                client.ping()
        except redis.AuthenticationError:
            return "Ready to accept connections" in self.log.read_text()
        except redis.RedisError:
            return False
        return True


@pytest.fixture(scope="session")
def redis_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Debian's redis-tools has the server inside redis-check-rdb; the name decides what it is."""
    found = os.environ.get("REDIS_SERVER") or shutil.which("redis-server") or shutil.which("redis-check-rdb")
    if not found:
        pytest.fail("These tests need a Redis server: install the Debian package redis-tools.")
    if not found.endswith("redis-check-rdb"):
        return Path(found)
    link = tmp_path_factory.mktemp("program") / "redis-server"
    link.symlink_to(found)
    return link


@pytest.fixture
def stopped_server(redis_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ManagedServer]:
    server = ManagedServer(redis_program, tmp_path_factory.mktemp("server"))
    yield server
    server.kill()


@pytest.fixture
def redis_server(stopped_server: ManagedServer) -> ManagedServer:
    """A running server as Debian starts it: everybody who reaches it may do everything."""
    stopped_server.start()
    return stopped_server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Postgresql]:
    """One server for all tests of a process: each test makes a database of its own."""
    with Postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Mariadb]:
    """One server for all tests of a process: each test makes a database of its own."""
    with Mariadb() as server:
        yield server


@pytest.fixture(scope="session")
def rpc_broker() -> Iterator[RpcBroker]:
    """One server for all tests of a process."""
    with RpcBroker() as broker:
        yield broker


@pytest.fixture
def run_on_host() -> Callable[..., dict[str, Any]]:
    """Run a module's main() with real arguments; what it prints is the result."""

    def run(name: str, check_mode: bool = False, **arguments: Any) -> dict[str, Any]:
        module = importlib.import_module(f"{MODULES}.{name}")
        printed = io.StringIO()
        wanted = {**arguments, "_ansible_check_mode": check_mode, "_ansible_diff": True}
        # Filters that other tests have imported make this process a controller, which shows warnings instead, and
        # what an earlier module warned of is no result of this one.
        with (
            mock.patch.object(_internal, "is_controller", False),
            mock.patch.object(warnings, "_global_warnings", {}),
            patch_module_args(wanted),
            contextlib.redirect_stdout(printed),
            pytest.raises(SystemExit),
        ):
            module.main()
        return dict(json.loads(printed.getvalue()))

    return run


@pytest.fixture(name="write_certificate")
def write_certificate_fixture() -> Callable[[Path, str], None]:
    return write_certificate


@pytest.fixture(name="wait_until")
def wait_until_fixture() -> Callable[[Callable[[], bool]], None]:
    return wait_until
