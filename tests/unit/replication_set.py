# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A replication set with its sentinels on loopback, as the collection deploys it: mutual TLS, ACL, files of two owners.

    with ReplicationSet(directory, program, nodes=3, sentinels=3) as deployed:
        deployed.primary.client().set("key", "value")

Each process has a directory with its state file (which the server writes) and its managed file (which it reads last).
A single node or sentinel can be started, killed, stopped and continued (hang) without the others.
"""

from __future__ import annotations

import contextlib
import ipaddress
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import redis
from ansible_collections.resultops.celery.plugins.module_utils import _redis_acl
from ansible_collections.resultops.celery.tests.unit.ports import free_port
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from redis.backoff import NoBackoff
from redis.retry import Retry

PATIENCE = 30.0
HOST = "localhost"
PRIMARY_NAME = "results"

# Sentinel 7.0 writes the password of auth-pass without quotes into its own file; all others may hold anything.
PASSWORDS = {
    "admin": "of the admin: \\ #1 'x'",
    "replica": 'of the replicas: p@ss/%41 "x"',
    "sentinel": "of:the%sentinels/@&?",
    "celery": "of the results: {{ }} $HOME",
    "exporter": "of the exporter",
    "sentinel-admin": "of the admin on the sentinels",
    "peer": "of:the%peers/@&?",
    "client": "of the clients",
    "sentinel-exporter": "of the exporter on the sentinels",
}
NODE_USERS = {
    "admin": "admin",
    "replica": "replica",
    "sentinel": "sentinel",
    "celery": "results",
    "exporter": "exporter",
}
SENTINEL_USERS = {
    "admin": "admin",
    "peer": "sentinel_peer",
    "client": "sentinel_client",
    "exporter": "sentinel_exporter",
}
DECLARATION = {
    "previous_password": None,
    "password_hashes": [],
    "key_prefix": "",
    "database": 0,
    "fanout_channels": [],
    "rules": [],
    "enabled": True,
}


def wait_until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {seconds:g} s.")
        time.sleep(0.05)


def acl_lines(users: dict[str, str], passwords: dict[str, str], modern: bool) -> str:
    declared = [
        {**DECLARATION, "name": name, "profile": profile, "password": passwords[name]}
        for name, profile in users.items()
    ]
    return _redis_acl.rendered(_redis_acl.declared_users(declared, modern))


class Authority:
    """A CA, and certificates for servers and clients."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.certificate = directory / "ca.crt"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, directory.name)])
        signed = self._builder(self._name, self._key.public_key(), 60).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        signed = signed.add_extension(
            x509.KeyUsage(
                digital_signature=False,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=True,
                crl_sign=True,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        self._write(self.certificate, signed.sign(self._key, hashes.SHA256()))

    def issue(self, stem: str, names: Iterable[str] = (HOST, "127.0.0.1"), days: int = 30) -> tuple[Path, Path]:
        """The files of a certificate and its key; good for both ends of a connection."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, stem)])
        alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
        usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        built = self._builder(subject, key.public_key(), days).add_extension(alternatives, critical=False)
        built = built.add_extension(usages, critical=False)
        certificate, private_key = self.directory / f"{stem}.crt", self.directory / f"{stem}.key"
        self._write(certificate, built.sign(self._key, hashes.SHA256()))
        private_key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return certificate, private_key

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, days: int) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=61))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )

    def _write(self, path: Path, certificate: x509.Certificate) -> None:
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@dataclass
class Process:
    """One server: a Redis node or a Sentinel."""

    program: Path
    directory: Path
    authority: Authority
    certificate: tuple[Path, Path]
    admin_password: str
    state_name: str
    state: str
    settings: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)

    @property
    def state_file(self) -> Path:
        return self.directory / self.state_name

    @property
    def managed_file(self) -> Path:
        return self.directory / "managed.conf"

    @property
    def acl_file(self) -> Path:
        return self.directory / "users.acl"

    @property
    def log(self) -> Path:
        return self.directory / "server.log"

    @property
    def socket(self) -> Path:
        return self.directory / "server.sock"

    @property
    def address(self) -> dict[str, Any]:
        """As the modules' options nodes and sentinels want it."""
        return {"host": HOST, "port": self.port}

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def all_settings(self) -> dict[str, str]:
        return {
            "port": "0",
            "tls-port": str(self.port),
            "bind": "127.0.0.1 -::1",
            "unixsocket": f'"{self.socket}"',
            "unixsocketperm": "700",
            "tls-cert-file": f'"{self.certificate[0]}"',
            "tls-key-file": f'"{self.certificate[1]}"',
            "tls-ca-cert-file": f'"{self.authority.certificate}"',
            "tls-auth-clients": "yes",
            "tls-replication": "yes",
            "aclfile": f'"{self.acl_file}"',
            "dir": f'"{self.directory}"',
            "logfile": f'"{self.log}"',
            **self.settings,
        }

    def write_files(self) -> None:
        """Write the managed file, and the state file only where there is none."""
        lines = "".join(f"{name} {value}\n" for name, value in self.all_settings().items())
        self.managed_file.write_text(lines)
        if not self.state_file.exists():
            self.state_file.write_text(self.state)

    def start(self, wait: bool = True, write_files: bool = True) -> None:
        if write_files:
            self.write_files()
        self.socket.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [str(self.program), str(self.state_file), "--include", str(self.managed_file), "--daemonize", "no"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        if wait:
            wait_until(self._answers, f"The start of {self.directory.name}")

    def _answers(self) -> bool:
        if not self.is_running:
            said = self.log.read_text()[-800:] if self.log.exists() else "nothing"
            raise AssertionError(f"{self.directory.name} does not start, it says: {said}")
        try:
            with contextlib.closing(self.client()) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def kill(self) -> None:
        """End it as a crash does."""
        if self.process and self.process.poll() is None:
            self.process.kill()
        if self.process:
            self.process.wait()

    def restart(self, **arguments: Any) -> None:
        self.kill()
        self.start(**arguments)

    def hang(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGCONT)

    def client(self, user: str = "admin", password: str | None = None, timeout: float = 5) -> redis.Redis:
        """A connection over the Unix socket, logged in."""
        return redis.Redis(
            unix_socket_path=str(self.socket),
            username=user,
            password=self.admin_password if password is None else password,
            protocol=2,
            decode_responses=True,
            socket_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
            single_connection_client=True,
        )

    def tls_client(self, user: str = "admin", password: str | None = None, timeout: float = 5) -> redis.Redis:
        """A connection over mutual TLS, logged in."""
        return redis.Redis(
            host=HOST,
            port=self.port,
            username=user,
            password=self.admin_password if password is None else password,
            ssl=True,
            ssl_ca_certs=str(self.authority.certificate),
            ssl_certfile=str(self.certificate[0]),
            ssl_keyfile=str(self.certificate[1]),
            protocol=2,
            decode_responses=True,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
            single_connection_client=True,
        )

    def call(self, *words: str) -> Any:
        """One command as the administrator; the answer as the server words it."""
        with contextlib.closing(self.client()) as client:
            connection = client.connection
            assert connection
            connection.send_command(*words)
            return connection.read_response()

    def information(self) -> dict[str, str]:
        try:
            text = self.call("INFO")
        except redis.ConnectionError:
            # Sentinel closes the connections of a node that it makes a replica.
            text = self.call("INFO")
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


class ReplicationSet:
    """Nodes and sentinels; `nodes[0]` starts as primary."""

    def __init__(
        self,
        directory: Path,
        program: Path,
        nodes: int = 3,
        sentinels: int = 3,
        down_after: int = 2000,
        failover_timeout: int = 5000,
        node_settings: dict[str, str] | None = None,
        sentinel_settings: dict[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self.passwords = dict(PASSWORDS)
        self.authority = Authority(directory / "authority")
        self.client_certificate = self.authority.issue("client")
        self.quorum = sentinels // 2 + 1
        self.down_after, self.failover_timeout = down_after, failover_timeout
        self._programs = _programs(directory, program)
        self._modern = _is_modern(self._programs[0])
        self.nodes = [self._node(number, node_settings or {}) for number in range(nodes)]
        self.sentinels = [self._sentinel(number, sentinel_settings or {}) for number in range(sentinels)]

    def __enter__(self) -> ReplicationSet:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start everything and wait until all links are up and all sentinels know each other."""
        for node in self.nodes:
            node.start(wait=False)
        for node in self.nodes:
            wait_until(node._answers, f"The start of {node.directory.name}")
        wait_until(lambda: all(self.link_is_up(node) for node in self.nodes[1:]), "The first synchronisation")
        for sentinel in self.sentinels:
            sentinel.start(wait=False)
        for sentinel in self.sentinels:
            wait_until(sentinel._answers, f"The start of {sentinel.directory.name}")
        self.wait_for_agreement()

    def kill(self) -> None:
        for process in (*self.sentinels, *self.nodes):
            process.kill()

    @property
    def primary(self) -> Process:
        """The one running node whose role is master; after a failover the old one stays master for some seconds."""
        found: list[Process] = []

        def is_one() -> bool:
            found[:] = [node for node in self.nodes if node.is_running and node.information()["role"] == "master"]
            return len(found) == 1

        wait_until(is_one, "One primary")
        return found[0]

    def link_is_up(self, node: Process) -> bool:
        try:
            return node.information().get("master_link_status") == "up"
        except redis.ConnectionError:
            # Sentinel closes the connections of a node that it makes a replica.
            return False

    def seen_by(self, sentinel: Process, name: str = PRIMARY_NAME) -> dict[str, str]:
        """What a sentinel tells of the primary."""
        answer = sentinel.call("SENTINEL", "MASTER", name)
        return dict(zip(answer[::2], answer[1::2], strict=True))

    def named_primary(self, sentinel: Process) -> int:
        """Port of the primary that a sentinel names."""
        return int(self.seen_by(sentinel)["port"])

    def wait_for_agreement(self, port: int | None = None) -> None:
        """Wait until the running sentinels name the same primary and know all nodes and one another."""
        running = [sentinel for sentinel in self.sentinels if sentinel.is_running]

        def agree() -> bool:
            seen = [self.seen_by(sentinel) for sentinel in running]
            return (
                len({one["port"] for one in seen}) <= 1
                and all(int(one["num-slaves"]) >= len(self.nodes) - 1 for one in seen)
                and all(int(one["num-other-sentinels"]) >= len(self.sentinels) - 1 for one in seen)
                and all(one["flags"] == "master" for one in seen)
                and (port is None or all(int(one["port"]) == port for one in seen))
            )

        wait_until(agree, "The agreement of the sentinels")

    @property
    def topology(self) -> dict[str, Any]:
        """The options nodes, sentinels, logins and TLS that the modules share."""
        return {
            "nodes": [node.address for node in self.nodes],
            "sentinels": [sentinel.address for sentinel in self.sentinels],
            "primary_name": PRIMARY_NAME,
            "login_user": "admin",
            "login_password": self.passwords["admin"],
            "sentinel_user": "admin",
            "sentinel_password": self.passwords["sentinel-admin"],
            **self.tls,
        }

    @property
    def tls(self) -> dict[str, Any]:
        """TLS as a client of nodes and sentinels."""
        return {
            "ca_file": str(self.authority.certificate),
            "certificate_file": str(self.client_certificate[0]),
            "private_key_file": str(self.client_certificate[1]),
        }

    def _node(self, number: int, settings: dict[str, str]) -> Process:
        stem = f"node{number}"
        node = Process(
            program=self._programs[0],
            directory=self.directory / stem,
            authority=self.authority,
            certificate=self.authority.issue(stem),
            admin_password=self.passwords["admin"],
            state_name="redis.conf",
            state=f"replicaof {HOST} {self.nodes[0].port}\n" if number else "",
        )
        node.settings = {
            "masteruser": "replica",
            "masterauth": _quoted(self.passwords["replica"]),
            "replica-announce-ip": HOST,
            "replica-announce-port": str(node.port),
            "repl-diskless-sync-delay": "0",
            "repl-ping-replica-period": "1",
            "save": '""',
            "appendonly": "yes",
            **settings,
        }
        node.acl_file.write_text(acl_lines(NODE_USERS, self.passwords, self._modern))
        if not number:
            self.nodes = [node]
        return node

    def _sentinel(self, number: int, settings: dict[str, str]) -> Process:
        stem = f"sentinel{number}"
        lines = [
            f"monitor {PRIMARY_NAME} {HOST} {self.nodes[0].port} {self.quorum}",
            f"down-after-milliseconds {PRIMARY_NAME} {self.down_after}",
            f"failover-timeout {PRIMARY_NAME} {self.failover_timeout}",
            f"auth-user {PRIMARY_NAME} sentinel",
            f"auth-pass {PRIMARY_NAME} {self.passwords['sentinel']}",
        ]
        sentinel = Process(
            program=self._programs[1],
            directory=self.directory / stem,
            authority=self.authority,
            certificate=self.authority.issue(stem),
            admin_password=self.passwords["sentinel-admin"],
            state_name="sentinel.conf",
            # The directives of names are read before those that need them, wherever they stand.
            state="".join(f"sentinel {line}\n" for line in ["resolve-hostnames yes", *lines]),
        )
        sentinel.settings = {
            "sentinel resolve-hostnames": "yes",
            "sentinel announce-hostnames": "yes",
            "sentinel announce-ip": HOST,
            "sentinel announce-port": str(sentinel.port),
            "sentinel sentinel-user": "peer",
            "sentinel sentinel-pass": _quoted(self.passwords["peer"]),
            **settings,
        }
        users = {**self.passwords, "admin": self.passwords["sentinel-admin"]}
        users["exporter"] = self.passwords["sentinel-exporter"]
        sentinel.acl_file.write_text(acl_lines(SENTINEL_USERS, users, self._modern))
        return sentinel


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _programs(directory: Path, program: Path) -> tuple[Path, Path]:
    """The server and the sentinel; the name under which the program is called decides what it is."""
    binary = program.resolve()
    links = directory / "redis-server", directory / "redis-sentinel"
    for link in links:
        link.symlink_to(binary)
    return links


def _is_modern(program: Path) -> bool:
    """Whether it knows what Redis 7.2 brought."""
    answer = subprocess.run([str(program), "--version"], capture_output=True, text=True, check=True).stdout
    major, minor = answer.split("v=")[1].split(".")[:2]
    return (int(major), int(minor)) >= (7, 2)
