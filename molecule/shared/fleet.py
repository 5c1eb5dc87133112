# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of a scenario, as testinfra sees them, and a Python that runs on a worker host with redis-py."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import testinfra
from testinfra.host import Host

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(sys.executable).parent
WORKER_PYTHON = "/opt/celery/probe/venv/bin/python"
AS_WORKER = f"set -a; . /etc/celery/probe/.env; PYTHONPATH=/etc/celery/probe exec {WORKER_PYTHON} -"
CA_FILE = "/etc/celery/probe/ca.crt"


@dataclass(frozen=True)
class Engine:
    """Where a provider of the role redis keeps its things."""

    name: str
    unit: str
    account: str
    managed: str
    socket: str


REDIS = Engine("redis-server", "redis-server.service", "redis", "/etc/redis/managed", "/run/redis/redis-server.sock")
VALKEY = Engine(
    "valkey-server", "valkey-server.service", "valkey", "/etc/valkey/managed", "/run/valkey/valkey-server.sock"
)


def engine_of(name: str) -> Engine:
    return VALKEY if name.startswith("valkey") else REDIS


@dataclass
class Fleet:
    """The hosts of one inventory; clients run on one of its worker hosts unless another is named."""

    inventory: pathlib.Path
    client: str
    # Further inventories, and what else every playbook is given.
    arguments: tuple[str, ...] = ()
    variables: dict[str, dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        listed = subprocess.run(
            [str(BIN / "ansible-inventory"), *self.use_inventory, "--list"],
            capture_output=True,
            text=True,
            cwd=CHECKOUT,
            check=True,
        )
        self.variables = json.loads(listed.stdout)["_meta"]["hostvars"]

    @property
    def use_inventory(self) -> tuple[str, ...]:
        password_file = str(self.inventory / ".vault-password")
        return ("-i", str(self.inventory), *self.arguments, "--vault-password-file", password_file)

    def host(self, name: str) -> Host:
        return testinfra.get_host(f"docker://{self.container(name)}")

    def container(self, name: str) -> str:
        return f"resultops-{self.variables[name]['fleet_name']}-{name}"

    def secret(self, name: str) -> str:
        return self.secrets()[name]

    def secrets(self) -> dict[str, str]:
        """Every value of the vault; they are marked as unsafe there, so that no part is taken for a template."""
        variables = self.variables[self.client]
        return {name: value["__ansible_unsafe"] for name, value in variables.items() if name.startswith("vault_")}

    def secrets_in(self, text: str, **more: str) -> list[str]:
        """Names of the secrets that stand in a text, however they are spelt."""
        return [name for name, value in (self.secrets() | more).items() if any(form in text for form in forms(value))]

    def secrets_said(self, log: pathlib.Path, *plays: str) -> list[str]:
        """The same for all that talkative runs have said, these plays among it."""
        text = log.read_text(encoding="utf-8")
        for detail in ("invocation:", "module_args:", "> EXEC ", *(f"PLAY [{play}]" for play in plays)):
            assert detail in text, f"the run was not talkative: {detail}"
        return self.secrets_in(text)

    def secrets_seen_on(self, name: str) -> list[str]:
        """The same for what could be seen on a host: command lines, then and now, journal, logs and units."""
        host = self.host(name)
        assert host.file("/var/log/host-watch/stopped").exists
        commands = host.file("/var/log/host-watch/commands.txt").content_string
        assert "apt-get" in commands, "the watcher did not see the packages come"
        seen = [
            commands,
            host.check_output("ps -eww -o args"),
            host.check_output("journalctl --no-pager --output cat"),
            host.check_output("find /var/log -mindepth 2 -name '*.log' -exec cat {} +"),
            host.check_output("find /etc/systemd/system -type f -exec cat {} +"),
        ]
        return sorted({secret for text in seen for secret in self.secrets_in(text)})

    def python(self, worker: str, code: str, **values: Any) -> Any:
        """Run code with the worker's Python on a host; C(given) holds the values, what it prints as JSON comes back.

        Code and values go through standard input: secrets are on no command line.
        """
        return self._run(worker, [WORKER_PYTHON, "-"], code, values)

    def as_worker(self, worker: str, code: str, **values: Any) -> Any:
        """The same with the environment and the configuration of the worker, as its unit gives them to Celery."""
        return self._run(worker, ["sh", "-c", AS_WORKER], code, values)

    def _run(self, worker: str, command: list[str], code: str, values: dict[str, Any]) -> Any:
        program = f"import json\ngiven = json.loads({json.dumps(values)!r})\n{code}\n"
        run = subprocess.run(
            ["docker", "exec", "-i", self.container(worker), *command],
            input=program,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout)

    def redis(self, server: str, user: str, password: str, *commands: list[Any], **options: Any) -> list[Any]:
        """The replies to commands sent over TLS from a worker host; an error reply comes back as its text.

        Options: C(worker), the host that sends them; C(port); C(certificate) and C(key), what the client shows.
        """
        worker = options.pop("worker", self.client)
        values = {"host": server, "user": user, "password": password, "commands": commands, "ca": CA_FILE}
        return self.python(worker, REDIS_CLIENT, **values, **options)

    def playbook(self, *arguments: str, timeout: int = 900) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(BIN / "ansible-playbook"), *self.use_inventory, *arguments],
            capture_output=True,
            text=True,
            cwd=CHECKOUT,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"},
            timeout=timeout,
            check=False,
        )


REDIS_CLIENT = """
import redis
client = redis.Redis(host=given["host"], port=given.get("port", 6379), username=given["user"],
                     password=given["password"], ssl=True, ssl_ca_certs=given["ca"], ssl_check_hostname=True,
                     ssl_certfile=given.get("certificate"), ssl_keyfile=given.get("key"), socket_timeout=10,
                     protocol=2, decode_responses=True, retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0))
replies = []
for command in given["commands"]:
    try:
        replies.append(client.execute_command(*command))
    except redis.exceptions.RedisError as error:
        replies.append(f"{type(error).__name__}: {error}")
print(json.dumps(replies, default=str))
"""


def recap(output: str, host: str) -> dict[str, int]:
    """The counts of a run for one host; the last line has those of all playbooks."""
    lines = re.findall(rf"^{host}\s+: (.*)$", output, re.MULTILINE)
    assert lines, output
    return {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", lines[-1])}


def unsafe(value: str) -> str:
    """A YAML value in which nothing is a template."""
    return f"!unsafe {json.dumps(value)}"


def forms(value: str) -> set[str]:
    """A secret as it is, as URLs and escaping write it, and its last characters, which no escaping changes."""
    escaped = json.dumps(value)[1:-1]
    spelt = {value, quote(value, safe=""), quote(value), escaped, json.dumps(escaped)[1:-1], repr(value)[1:-1]}
    return spelt | {value[-12:]}
