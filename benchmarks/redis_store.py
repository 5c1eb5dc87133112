# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Time how long Celery takes to store a result: our profiles over TLS beside Celery's own class over plaintext.

Runs with the packages that the role installs for a worker, in a virtual environment of its own below .cache/. Starts
its own servers on loopback, each as the collection configures it: a plaintext one for Celery's class, one with
TLS for `fast`, and one with TLS, an append-only file and a replica for `durable`. The operations of all variants are
interleaved in one process, in a random order each round, so that a load on the machine meets all of them. What counts
is the ratio of the medians, with a bootstrap interval of 95 %. The result is reports/bench_redis.json.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib import metadata
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import redis as client
from celery import Celery
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

ROOT = Path(__file__).resolve().parents[1]
ROLE = ROOT / "roles" / "worker"
CACHE = ROOT / ".cache" / "bench_worker"
REPORT = ROOT / "reports" / "bench_redis.json"
REFERENCE = "stock, plaintext"
REFERENCE_WHAT = "Celery's own class over plaintext to a server without replica and append-only file"
PAYLOADS = {"200 B": 200, "10 KB": 10_000}
GOALS = {"fast, TLS": 1.3, "durable, TLS": 1.0}
PATIENCE = 20.0
RESAMPLES = 1000


@dataclass
class Server:
    """One Redis process on loopback."""

    program: Path
    directory: Path
    tls: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    primary: Server | None = None
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.directory.mkdir()
        self.port = free_port()
        options = {"dir": str(self.directory), "bind": "127.0.0.1", "save": "", **self.settings}
        options |= {"port": "0", "tls-port": str(self.port), **self.tls} if self.tls else {"port": str(self.port)}
        if self.primary:
            options |= {"replicaof": f"127.0.0.1 {self.primary.port}", "tls-replication": "yes"}
        lines = "".join(
            f'{name} "{value}"\n' if name != "replicaof" else f"{name} {value}\n" for name, value in options.items()
        )
        (self.directory / "redis.conf").write_text(lines, encoding="utf-8")
        command = [str(self.program), str(self.directory / "redis.conf")]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_until(self.ready, "a server")

    def connection(self) -> client.Redis:
        encrypted = {"ssl": True, "ssl_ca_certs": self.tls["tls-ca-cert-file"]} if self.tls else {}
        return client.Redis(host="localhost", port=self.port, socket_timeout=2, retry=None, **encrypted)

    def ready(self) -> bool:
        try:
            with self.connection() as connection:
                return not self.primary or connection.info("replication").get("master_link_status") == "up"
        except client.RedisError:
            return False

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"Waited {PATIENCE:g} s in vain for {what}.")
        time.sleep(0.05)


def packages_of_a_worker() -> list[str]:
    defaults = importlib.import_module("yaml").safe_load((ROLE / "defaults" / "main.yml").read_text(encoding="utf-8"))
    return [*defaults["worker_python_packages"], f"cryptography=={metadata.version('cryptography')}"]


def python_of_a_worker() -> Path:
    """Return the interpreter of a virtual environment with these packages; the one of the checkout has others."""
    packages = packages_of_a_worker()
    environment = CACHE / hashlib.sha256("\n".join([sys.version, *packages]).encode()).hexdigest()[:16]
    if not (environment / "complete").exists():
        say("Making a virtual environment with the packages of a worker")
        shutil.rmtree(environment, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        command = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", *packages]
        subprocess.run(command, check=True)
        (environment / "complete").touch()
    return environment / "bin" / "python"


def server_program(directory: Path) -> Path:
    """Debian's redis-tools has the server inside redis-check-rdb; the name decides what it is."""
    found = shutil.which("redis-server") or shutil.which("redis-check-rdb")
    if not found:
        sys.exit("This benchmark needs a Redis server: install the Debian package redis-tools.")
    link = directory / "redis-server"
    link.symlink_to(found)
    return link


def certificate(directory: Path) -> dict[str, str]:
    """Make a certificate as the role tls issues it, signed by itself, and give the settings that use it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    own, private = directory / "server.crt", directory / "server.key"
    own.write_bytes(built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    private.touch(mode=0o600)
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return {
        "tls-cert-file": str(own),
        "tls-key-file": str(private),
        "tls-ca-cert-file": str(own),
        "tls-auth-clients": "no",
    }


@contextlib.contextmanager
def servers() -> Iterator[dict[str, Server]]:
    """Run the servers by the variant that uses them."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        program, tls = server_program(folder), certificate(folder)
        kept = {"appendonly": "yes", "appendfsync": "everysec", "repl-diskless-sync-delay": "0"}
        running = {
            REFERENCE: Server(program, folder / "stock"),
            "fast, TLS": Server(program, folder / "fast", tls),
            "durable, TLS": Server(program, folder / "durable", tls, kept),
        }
        replica = Server(program, folder / "replica", tls, kept, running["durable, TLS"])
        for server in (*running.values(), replica):
            stack.callback(server.stop)
            server.start()
        yield running


def backend(variant: str, server: Server) -> Any:
    """Return the result backend with the settings that the role gives to a worker."""
    shared = importlib.import_module("ansible_collections.resultops.celery.plugins.module_utils._backend")
    description = {
        "kind": "redis",
        "hosts": ["localhost"],
        "port": server.port,
        "profile": variant.partition(",")[0],
        "username": "default",
        "tls": bool(server.tls),
        "ca_file": server.tls.get("tls-ca-cert-file", ""),
    }
    settings = shared.celery_settings(description)
    app = Celery("benchmark", set_as_current=False)
    url = shared.backend_url(description, "none")
    app.config_from_object(SimpleNamespace(**settings, result_backend=url))
    return app.backend


def measure(stores: Mapping[str, Callable[..., Any]], rounds: int, warm_up: int) -> dict[str, list[float]]:
    """Time one store of a new result of each variant a round, in a random order; gives microseconds."""
    seconds: dict[str, list[float]] = {variant: [] for variant in stores}
    order = list(stores)
    for number in range(rounds + warm_up):
        random.shuffle(order)
        for variant in order:
            task = str(uuid4())
            started = time.perf_counter()
            stores[variant](task)
            if number >= warm_up:
                seconds[variant].append((time.perf_counter() - started) * 1e6)
    return seconds


def interval(ours: Sequence[float], reference: Sequence[float], resamples: int = RESAMPLES) -> tuple[float, float]:
    """Return the bootstrap interval of 95 % of the ratio of the medians: how often ours fits into the reference."""
    # Rounds are drawn as wholes, because what slowed one store of a round slowed the others, too.
    pairs = list(zip(ours, reference, strict=True))
    drawn = (random.choices(pairs, k=len(pairs)) for _number in range(resamples))  # noqa: S311 - no secret
    ratios = sorted(
        statistics.median(other for _mine, other in sample) / statistics.median(mine for mine, _other in sample)
        for sample in drawn
    )
    return ratios[int(0.025 * len(ratios))], ratios[min(int(0.975 * len(ratios)), len(ratios) - 1)]


def row(name: str, ours: list[float], reference: list[float], goal: float | None) -> dict[str, Any]:
    low, high = interval(ours, reference)
    ratio = statistics.median(reference) / statistics.median(ours)
    return {
        "name": name,
        "ours": round(statistics.median(ours), 1),
        "reference": round(statistics.median(reference), 1),
        "reference_what": f"microseconds of {REFERENCE_WHAT}; the ratio is the speed",
        "ratio": round(ratio, 2),
        "low": round(low, 2),
        "high": round(high, 2),
        "goal": goal,
        "met": None if goal is None else ratio >= goal,
    }


def report(payload: str, measured: dict[str, list[float]]) -> list[dict[str, Any]]:
    reference = measured[REFERENCE]
    return [
        row(f"store {payload}: {variant}", seconds, reference, GOALS.get(variant))
        for variant, seconds in measured.items()
        if variant != REFERENCE
    ]


def say(text: str) -> None:
    print(f"==> {text}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3000, help="stores of each variant and payload (default 3000)")
    parser.add_argument("--warm-up", type=int, default=200, help="rounds before them that do not count (default 200)")
    parser.add_argument("--as-worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.as_worker:
        python = str(python_of_a_worker())
        os.execv(python, [python, __file__, *sys.argv[1:], "--as-worker"])  # noqa: S606 - no shell is wanted

    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name, servers() as running:
        collections = Path(name) / "ansible_collections" / "resultops"
        collections.mkdir(parents=True)
        (collections / "celery").symlink_to(ROOT)
        sys.path[:0] = [name, str(ROLE / "files")]
        backends = {variant: backend(variant, server) for variant, server in running.items()}
        for payload, size in PAYLOADS.items():
            value = {"text": "x" * (size - 20)}
            stores = {
                variant: lambda task, one=one: one.store_result(task, value, "SUCCESS")  # noqa: B023 - used at once
                for variant, one in backends.items()
            }
            say(f"{payload}: {options.rounds} stores of each of {len(stores)} variants, interleaved")
            rows += report(payload, measure(stores, options.rounds, options.warm_up))
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(rows, indent=2), encoding="utf-8")
    for line in rows:
        missed = f", goal {line['goal']} missed" if line["met"] is False else ""
        print(
            f"    {line['name']}: {line['ours']} us beside {line['reference']} us:"
            f" {line['ratio']} x ({line['low']} to {line['high']}){missed}"
        )
    say(f"Report: {REPORT.relative_to(ROOT)}")
    if os.getloadavg()[0] > 2 * (os.cpu_count() or 1):
        say("The machine was busy: the ratios hold, the microseconds do not.")


if __name__ == "__main__":
    main()
