# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The replication sets of this scenario, and how the tests look at them: all servers of a set in one round trip."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from fleet import CA_FILE, CHECKOUT, REDIS, VALKEY, Engine, Fleet

INVENTORY = CHECKOUT / "molecule" / "ha" / "inventory"
# With the two spare hosts as a further set that the sentinels of ha13 watch.
EXTENDED = CHECKOUT / "molecule" / "ha" / "extended"
CERTIFICATE, KEY = "/etc/celery/probe/tls/client.crt", "/etc/celery/probe/tls/client.key"
ENVIRONMENT = "/etc/celery/probe/.env"
REDIS_SENTINEL = Engine(
    "redis-sentinel",
    "redis-sentinel.service",
    "redis",
    "/etc/redis/managed-sentinel",
    "/run/sentinel/redis-sentinel.sock",
)
VALKEY_SENTINEL = Engine(
    "valkey-sentinel",
    "valkey-sentinel.service",
    "valkey",
    "/etc/valkey/managed-sentinel",
    "/run/sentinel/valkey-sentinel.sock",
)
ACCOUNTS = {
    "admin": "vault_redis_admin_password",
    "replica": "vault_redis_replication_password",
    "sentinel": "vault_redis_sentinel_password",
    "celery": "vault_redis_celery_password",
    "other": "vault_redis_broker_password",
    "exporter": "vault_redis_exporter_password",
}
SENTINEL_ACCOUNTS = {
    "admin": "vault_sentinel_admin_password",
    "client": "vault_sentinel_client_password",
    "peer": "vault_sentinel_peer_password",
    "exporter": "vault_sentinel_exporter_password",
}
REDIS_PORT, SENTINEL_PORT = 6379, 26379


@dataclass(frozen=True)
class ReplicationSet:
    """A group of the inventory, which is also the name of its primary in Sentinel."""

    name: str
    nodes: tuple[str, ...]
    workers: tuple[str, ...]
    server: Engine = REDIS
    sentinel: Engine = REDIS_SENTINEL


SETS = {
    "ha13": ReplicationSet("ha13", ("ha13a", "ha13b", "ha13c"), ("haworker13", "haworker13b")),
    "ha12": ReplicationSet("ha12", ("ha12a", "ha12b", "ha12c"), ("haworker12",)),
    "havalkey": ReplicationSet(
        "havalkey", ("havalkeya", "havalkeyb", "havalkeyc"), ("haworkervalkey",), VALKEY, VALKEY_SENTINEL
    ),
}
NODES = {node: each for each in SETS.values() for node in each.nodes}
WORKERS = {worker: each for each in SETS.values() for worker in each.workers}

ASK = """
import redis
from concurrent.futures import ThreadPoolExecutor

def ask(target):
    client = redis.Redis(host=target["host"], port=target["port"], username=target["user"],
                         password=target["password"], ssl=True, ssl_ca_certs=given["ca"], ssl_check_hostname=True,
                         ssl_certfile=given["certificate"], ssl_keyfile=given["key"], socket_timeout=5,
                         socket_connect_timeout=3, protocol=2, decode_responses=True, driver_info=None,
                         retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0))
    replies = []
    for command in target["commands"]:
        try:
            replies.append(client.execute_command(*command))
        except redis.exceptions.RedisError as error:
            replies.append(f"{type(error).__name__}: {error}")
    return replies

with ThreadPoolExecutor(8) as pool:
    print(json.dumps(list(pool.map(ask, given["targets"])), default=str))
"""

STORE_AND_COUNT = """
import celery
app = celery.Celery(set_as_current=False)
app.config_from_object("celeryconfig")
app.conf.timezone  # Celery reads the settings only now
app.conf.result_expires = 600
ids = [f"{given['run']}-{number}" for number in range(given["count"])]
if given["store"]:
    for task_id in ids:
        app.backend.store_result(task_id, task_id, "SUCCESS")
print(json.dumps(sum(app.backend.get_result(task_id) == task_id for task_id in ids)))
"""


def pairs(flat: list[Any]) -> dict[str, Any]:
    """A reply of names and values as a dictionary."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def denial(entry: dict[str, Any]) -> str:
    return f"{entry['username']} {entry['reason']} {entry['object']}"


def wait_until(condition: Callable[[], Any], seconds: float, what: Callable[[], object]) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"Nothing came of it after {seconds} seconds: {what()}")
        time.sleep(0.5)
    return found


class Sets(Fleet):
    """The fleet, with what is asked of a whole set."""

    def ask(self, targets: list[dict[str, Any]], worker: str | None = None) -> list[list[Any]]:
        files = {"ca": CA_FILE, "certificate": CERTIFICATE, "key": KEY}
        return self.python(worker or self.client, ASK, targets=targets, **files)

    def nodes(self, of: ReplicationSet, *commands: list[Any], user: str = "admin") -> dict[str, list[Any]]:
        """The replies of each Redis of a set."""
        return self._each(of.nodes, REDIS_PORT, user, ACCOUNTS[user], commands)

    def sentinels(self, of: ReplicationSet, *commands: list[Any], user: str = "admin") -> dict[str, list[Any]]:
        """The replies of each sentinel of a set."""
        return self._each(of.nodes, SENTINEL_PORT, user, SENTINEL_ACCOUNTS[user], commands)

    def _each(self, hosts: Any, port: int, user: str, secret: str, commands: Any) -> dict[str, list[Any]]:
        login = {"user": user, "password": self.secret(secret), "port": port, "commands": list(commands)}
        return dict(zip(hosts, self.ask([{"host": host, **login} for host in hosts]), strict=True))

    def store(self, worker: str, run: str, count: int) -> int:
        """Store results as the worker of a host does; return how many are there."""
        return self.as_worker(worker, STORE_AND_COUNT, run=run, count=count, store=True)

    def count(self, worker: str, run: str, count: int) -> int:
        return self.as_worker(worker, STORE_AND_COUNT, run=run, count=count, store=False)

    def denials(self, of: ReplicationSet) -> dict[str, list[str]]:
        """What the servers and sentinels of a set have denied, empty lists left out."""
        log = ["ACL", "LOG"]
        kept = {f"{node}, server": replies[0] for node, replies in self.nodes(of, log).items()}
        kept |= {f"{node}, sentinel": replies[0] for node, replies in self.sentinels(of, log).items()}
        return {
            where: [entries] if isinstance(entries, str) else [denial(pairs(entry)) for entry in entries]
            for where, entries in kept.items()
            if entries
        }

    def forget_denials(self, of: ReplicationSet) -> None:
        self.nodes(of, ["ACL", "LOG", "RESET"])
        self.sentinels(of, ["ACL", "LOG", "RESET"])

    def named_primary(self, of: ReplicationSet) -> dict[str, str]:
        """Who is the primary, as each sentinel says."""
        command = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", of.name]
        return {node: str(replies[0][0]) for node, replies in self.sentinels(of, command).items()}

    def problems(self, of: ReplicationSet) -> list[str]:
        """What keeps a set from being whole: everybody there, in agreement, and all links up."""
        views = {node: replies[0] for node, replies in self.sentinels(of, ["SENTINEL", "MASTER", of.name]).items()}
        roles = {node: replies[0] for node, replies in self.nodes(of, ["ROLE"]).items()}
        unreachable = [f"{node} says {reply}" for node, reply in (views | roles).items() if isinstance(reply, str)]
        if unreachable:
            return unreachable
        found = []
        named = {node: pairs(view)["ip"] for node, view in views.items()}
        primary = next(iter(named.values()))
        if set(named.values()) != {primary} or primary not in of.nodes:
            return [f"the sentinels name {named}"]
        for node, view in views.items():
            seen = {key: pairs(view)[key] for key in ("flags", "num-slaves", "num-other-sentinels")}
            others = len(of.nodes) - 1
            if seen != {"flags": "master", "num-slaves": str(others), "num-other-sentinels": str(others)}:
                found.append(f"the sentinel on {node} sees {seen}")
        for node, role in roles.items():
            if node == primary and (role[0] != "master" or len(role[2]) != len(of.nodes) - 1):
                found.append(f"{node} is no primary of two: {role}")
            if node != primary and (role[0] != "slave" or role[1] != primary or role[3] != "connected"):
                found.append(f"{node} does not follow {primary}: {role}")
        return found

    def settled(self, of: ReplicationSet, seconds: float = 60) -> str:
        """Wait until a set is whole; return its primary."""
        wait_until(lambda: not self.problems(of), seconds, lambda: self.problems(of))
        return next(iter(self.named_primary(of).values()))

    def fail_over(self, of: ReplicationSet, to: str = "") -> str:
        """Let another node be the primary, or a certain one; return which."""
        before = self.settled(of)
        if before == to:
            return to
        password = self.secret(ACCOUNTS["admin"])
        priorities = {node: "0" if to and node != to else "100" for node in of.nodes}
        self._prefer(priorities, password)
        if to:
            # Sentinel asks the servers for their priorities every ten seconds.
            time.sleep(11)
        self.command_sentinel(of.nodes[0], ["SENTINEL", "FAILOVER", of.name])
        wait_until(lambda: before not in self.named_primary(of).values(), 30, lambda: self.named_primary(of))
        self._prefer(dict.fromkeys(of.nodes, "100"), password)
        return self.settled(of)

    def _prefer(self, priorities: dict[str, str], password: str) -> None:
        login = {"port": REDIS_PORT, "user": "admin", "password": password}
        self.ask(
            [
                {"host": node, **login, "commands": [["CONFIG", "SET", "replica-priority", priority]]}
                for node, priority in priorities.items()
            ]
        )

    def command_sentinel(self, host: str, *commands: list[Any]) -> None:
        """Have one sentinel do something by hand."""
        login = {"user": "admin", "password": self.secret(SENTINEL_ACCOUNTS["admin"]), "port": SENTINEL_PORT}
        (replies,) = self.ask([{"host": host, **login, "commands": list(commands)}])
        assert {str(reply) for reply in replies} <= {"OK", "True"}, replies

    def pids(self, of: ReplicationSet) -> dict[str, str]:
        """Process ids of server and sentinel of each node."""
        units = f"{of.server.unit} {of.sentinel.unit}"
        command = f"systemctl show --value --property MainPID {units}"
        return {node: " ".join(self.host(node).check_output(command).split()) for node in of.nodes}

    def memory_of_sentinels(self, of: ReplicationSet) -> dict[str, Any]:
        """What a sentinel must never forget: who it is, the epochs, and the others."""
        commands = (["SENTINEL", "MYID"], ["SENTINEL", "MASTER", of.name], ["SENTINEL", "SENTINELS", of.name])
        known = {}
        for node, (own, master, others) in self.sentinels(of, *commands).items():
            if isinstance(master, str):
                continue  # what went wrong instead: this one is not there
            view = pairs(master)
            known[node] = (own, view["config-epoch"], view["ip"], sorted(pairs(other)["runid"] for other in others))
        return known

    def configure(self, *limit: str, arguments: tuple[str, ...] = ()) -> str:
        """Run the playbooks of servers and sentinels; return what they said."""
        playbooks = ("resultops.celery.redis", "resultops.celery.sentinel")
        run = self.playbook(*playbooks, "--limit", ",".join(limit), *arguments)
        assert run.returncode == 0, (run.stdout + run.stderr)[-6000:]
        return run.stdout
