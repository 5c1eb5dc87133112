# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Redis with TLS and the access rules that the collection deploys, and what a worker needs to use it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kombu.pools
import pytest
import redis
import yaml
from ansible_collections.resultops.celery.plugins.module_utils import _backend, _redis_acl
from ansible_collections.resultops.celery.tests.unit.ports import free_port
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HARD_PASSWORD = "p@ss:/w%rd#?&'\"{{ }}\\ $HOME `x`"
BROKER_PASSWORD = "another; one=\\n%41 for the broker"
ADMIN_PASSWORD = "only for the tests"
BROKER_PREFIX = "shop-broker."
PATIENCE = 15.0


def server_binary(directory: Path) -> Path:
    """Debian's redis-tools has the server inside redis-check-rdb; the name decides what it is."""
    found = shutil.which("redis-server") or shutil.which("redis-check-rdb")
    if not found:
        pytest.fail("These tests need a Redis server: install the Debian package redis-tools.")
    link = directory / "redis-server"
    link.symlink_to(found)
    return link


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not happen within {PATIENCE} s.")
        time.sleep(0.05)


class Authority:
    """A CA, and the certificates it issues."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, directory.name)])
        self.certificate = directory / "authority.crt"
        now = datetime.now(UTC)
        built = self._builder(self._name, self._key.public_key(), now - timedelta(days=60), now + timedelta(days=60))
        built = built.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        built = built.add_extension(
            x509.KeyUsage(False, False, False, False, False, True, True, False, False), critical=True
        )
        self.certificate.write_bytes(built.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def _builder(self, subject: x509.Name, key: Any, start: datetime, end: datetime) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )

    def issue(self, *names: str, days: int = 30) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        now = datetime.now(UTC)
        built = self._builder(subject, key.public_key(), now - timedelta(days=50), now + timedelta(days=days))
        alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
        if "localhost" in names:
            alternatives.append(x509.IPAddress(ip_address("127.0.0.1")))
        built = built.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        stem = f"{names[0]}-{days}"
        certificate, private_key = self._directory / f"{stem}.crt", self._directory / f"{stem}.key"
        certificate.write_bytes(built.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        private_key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return certificate, private_key


@dataclass
class Server:
    """One Redis process."""

    binary: Path
    directory: Path
    authority: Authority
    certificate: tuple[Path, Path]
    tls: bool = True
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    password: str = HARD_PASSWORD

    def start(self) -> None:
        ports = ["--port", "0", "--tls-port", str(self.port)] if self.tls else ["--port", str(self.port)]
        self.process = subprocess.Popen(
            [
                str(self.binary),
                *ports,
                *("--bind", "127.0.0.1", "--dir", str(self.directory), "--save", "", "--appendonly", "yes"),
                # With everysec a server that is killed during a flush has not written what it acknowledged meanwhile.
                *("--appendfsync", "no"),
                *("--tls-cert-file", str(self.certificate[0]), "--tls-key-file", str(self.certificate[1])),
                *("--tls-ca-cert-file", str(self.authority.certificate), "--tls-auth-clients", "no"),
                *("--aclfile", str(self.directory / "users.acl"), "--logfile", str(self.directory / "redis.log")),
            ]
        )
        wait_until(self.answers, "The start of Redis")

    def answers(self) -> bool:
        try:
            return bool(self.admin.ping())
        except redis.RedisError:
            return False

    def kill(self) -> None:
        assert self.process
        self.process.kill()
        self.process.wait()

    def send(self, number: signal.Signals) -> None:
        assert self.process
        self.process.send_signal(number)

    @property
    def admin(self) -> redis.Redis:
        encrypted = {"ssl": True, "ssl_check_hostname": False, "ssl_ca_certs": str(self.authority.certificate)}
        return redis.Redis(
            host="127.0.0.1",
            port=self.port,
            username="admin",
            password=ADMIN_PASSWORD,
            decode_responses=True,
            socket_timeout=5,
            retry=None,
            **(encrypted | {"ssl_cert_reqs": "none"} if self.tls else {}),
        )

    def description(self, **changes: Any) -> dict[str, Any]:
        wanted = {
            "kind": "redis",
            "hosts": ["localhost"],
            "port": self.port,
            "username": "celery",
            "tls": self.tls,
            "ca_file": str(self.authority.certificate) if self.tls else "",
        }
        return {**wanted, **changes}

    def url(self, password: str = HARD_PASSWORD, **changes: Any) -> str:
        return _backend.backend_url(self.description(**changes), password)

    @property
    def broker_url(self) -> str:
        return self.url(BROKER_PASSWORD, username="celery_broker", database=1)


def access_rules() -> str:
    """The accounts that the role redis makes."""
    common = {
        "previous_password": "",
        "password_hashes": [],
        "enabled": True,
        "rules": [],
        "key_prefix": "",
        "database": 0,
        "fanout_channels": [],
    }
    accounts = [
        {"name": "admin", "profile": "admin", "password": ADMIN_PASSWORD},
        {"name": "celery", "profile": "results", "password": HARD_PASSWORD},
        {
            "name": "celery_broker",
            "profile": "broker",
            "password": BROKER_PASSWORD,
            "key_prefix": BROKER_PREFIX,
            "database": 1,
        },
    ]
    return _redis_acl.rendered(_redis_acl.declared_users([{**common, **account} for account in accounts], False))


@pytest.fixture(scope="session")
def celery_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki") / "own")


@pytest.fixture(scope="session")
def other_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki") / "other")


@pytest.fixture(name="free_port")
def free_port_fixture() -> Callable[[], int]:
    return free_port


@pytest.fixture
def worker_settings() -> Callable[..., Any]:
    """What celeryconfig.py of the role holds, as an object."""
    return settings_of


@pytest.fixture(scope="session")
def celery_redis_factory(
    tmp_path_factory: pytest.TempPathFactory, celery_authority: Authority
) -> Iterator[Callable[..., Server]]:
    binary = server_binary(tmp_path_factory.mktemp("binary"))
    started: list[Server] = []

    def make(certificate: tuple[Path, Path] | None = None, tls: bool = True) -> Server:
        directory = tmp_path_factory.mktemp("redis")
        (directory / "users.acl").write_text(access_rules())
        chosen = certificate or celery_authority.issue("localhost")
        server = Server(binary, directory, celery_authority, chosen, tls)
        started.append(server)
        server.start()
        return server

    yield make
    for server in started:
        if server.process and server.process.poll() is None:
            server.kill()


@pytest.fixture(scope="session")
def celery_shared_redis(celery_redis_factory: Callable[..., Server]) -> Server:
    return celery_redis_factory()


@pytest.fixture
def celery_redis(celery_shared_redis: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """An empty server with the deployed rules; what a test changes live is undone."""
    for name in [name for name in os.environ if name.startswith("CELERY_")]:
        monkeypatch.delenv(name)
    admin = celery_shared_redis.admin
    admin.flushall()
    yield celery_shared_redis
    admin.execute_command("REPLICAOF", "NO", "ONE")
    admin.config_set("maxmemory", "0")
    # This ends connections, also those that kombu keeps for the next test.
    admin.execute_command("ACL", "LOAD")
    admin.close()
    kombu.pools.reset()


def settings_of(server: Server, **changes: Any) -> Any:
    wanted = {
        **_backend.celery_settings(server.description(), {}),
        "result_backend": server.url(),
        "broker_url": server.broker_url,
        "broker_transport_options": {"global_keyprefix": BROKER_PREFIX},
    }
    return SimpleNamespace(**{**wanted, **changes})


def systemd_quoted(value: str) -> str:
    escaped = "".join(f"\\{character}" if character in '"\\`$' else character for character in value)
    return f'"{escaped}"'


@dataclass(frozen=True)
class WorkerFiles:
    """The directory that the role worker fills."""

    directory: Path
    secrets: tuple[str, ...] = (HARD_PASSWORD, BROKER_PASSWORD)

    @property
    def env_file(self) -> str:
        return str(self.directory / ".env")

    def write(self, server: Server, **environment: str) -> None:
        variables = {
            "CELERY_RESULT_BACKEND": server.url(),
            "CELERY_BROKER_URL": server.broker_url,
            **environment,
        }
        lines = [f"{name}={systemd_quoted(value)}\n" for name, value in variables.items()]
        (self.directory / ".env").write_text("# secrets\n" + "".join(lines))
        settings = {
            **_backend.celery_settings(server.description(), {}),
            "broker_transport_options": {"global_keyprefix": BROKER_PREFIX},
        }
        (self.directory / "celeryconfig.py").write_text(
            "import os\n\nbroker_url = os.environ['CELERY_BROKER_URL']\n"
            "result_backend = os.environ['CELERY_RESULT_BACKEND']\n"
            + "".join(f"{name} = {value!r}\n" for name, value in settings.items())
        )


@pytest.fixture
def worker_files(tmp_path: Path) -> WorkerFiles:
    directory = tmp_path / "etc"
    directory.mkdir()
    return WorkerFiles(directory)


@pytest.fixture
def celery_worker(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start real workers; each is ready when it returns."""
    started: list[subprocess.Popen[bytes]] = []

    def start(server: Server, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        files = WorkerFiles(tmp_path / f"worker{len(started)}")
        files.directory.mkdir()
        files.write(server)
        log = files.directory / "worker.log"
        variables = {"CELERY_RESULT_BACKEND": server.url(), "CELERY_BROKER_URL": server.broker_url, **environment}
        command = [
            sys.executable,
            "-m",
            "celery",
            "--config",
            "celeryconfig",
            "worker",
            "--concurrency=1",
            "-l",
            "info",
        ]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, *arguments],
                cwd=files.directory,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(files.directory), **variables},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        started.append(process)
        wait_until(lambda: b" ready." in log.read_bytes(), "The start of the worker")
        return process

    yield start
    for process in started:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def run_module(worker_files: WorkerFiles, tmp_path: Path) -> Callable[..., tuple[dict[str, Any], str]]:
    """Let Ansible run a module with the files of the worker; gives its result and all that Ansible printed."""

    def run(module: str, *options: str, **arguments: Any) -> tuple[dict[str, Any], str]:
        task = {
            f"resultops.celery.{module}": {
                "env_file": worker_files.env_file,
                "config_directory": str(worker_files.directory),
                "timeout": 2.0,
                **arguments,
            },
            "vars": {"ansible_python_interpreter": sys.executable},
            "register": "found",
            "ignore_errors": True,
        }
        keep = {
            "ansible.builtin.copy": {"content": "{{ found | to_json }}", "dest": str(tmp_path / "found.json")},
            "check_mode": False,
        }
        play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [task, keep]}
        (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
        (tmp_path / "ansible.cfg").write_text("")
        done = subprocess.run(
            [sys.executable, "-m", "ansible", "playbook", "-vvv", *options, "play.yml"],
            cwd=tmp_path,
            env={**os.environ, "ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg")},
            capture_output=True,
            text=True,
            check=False,
        )
        printed = done.stdout + done.stderr
        assert done.returncode == 0, printed
        return json.loads((tmp_path / "found.json").read_text()), printed

    return run
