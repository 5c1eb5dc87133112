# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scenario consists of, and how its tests look at a RabbitMQ."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from fleet import CA_FILE, CHECKOUT, Fleet

INVENTORY = CHECKOUT / "molecule" / "rpc" / "inventory"
# Each server that stands alone, with the worker host that uses it: the same one, and another.
SERVERS = {"rpc12": "rpc12", "rpc13": "rpcb"}
CLUSTER = ("rpca", "rpcb", "rpcc")
CLUSTER_WORKER = "rpca"
WORKER_UNIT = "celery-probe.service"
WORKER_DIRECTORY = "/var/lib/celery/probe"

# Begins every client program: one connection with an account of its own, and what the server says to each attempt.
AMQP = """
import amqp, ssl, socket
def connect(user=None, password=None, vhost=None, **more):
    tls = {"ca_certs": given["ca"], "cert_reqs": ssl.CERT_REQUIRED, "server_hostname": given["host"], **more}
    connection = amqp.Connection(given["host"] + ":5671", user or given["user"], password or given["password"],
                                 ssl=tls, virtual_host=vhost or given["vhost"], connect_timeout=10)
    connection.connect()
    return connection
def attempt(action):
    # A refusal closes the channel, so that each attempt has one of its own.
    channel = link.channel()
    try:
        action(channel)
    except amqp.exceptions.AccessRefused as error:
        return "refused"
    except amqp.exceptions.NotFound:
        return "not found"
    except TimeoutError:
        return "no answer"
    return "done"
"""

# Celery as a client: the settings of the worker host with the client's account.
CLIENT = """
import os, sys
sys.path.insert(0, "/opt/celery/probe/src")
os.environ["CELERY_BROKER_URL"] = os.environ["CELERY_CLIENT_URL"]
from probe_tasks import app, echo, hold
"""


class Rpc(Fleet):
    """The fleet of this scenario."""

    def ctl(self, server: str, *words: str) -> str:
        return self.host(server).check_output(" ".join(["rabbitmqctl", "--silent", *map("'{}'".format, words)]))

    def table(self, server: str, *words: str) -> list[dict[str, Any]]:
        return json.loads(self.ctl(server, *words, "--formatter", "json") or "[]")

    def queues(self, server: str, vhost: str = "probe") -> dict[str, dict[str, Any]]:
        columns = ("name", "consumers", "messages", "durable", "auto_delete", "policy", "pid")
        return {row["name"]: row for row in self.table(server, "list_queues", "-p", vhost, *columns)}

    def reply_queues(self, server: str, vhost: str = "probe") -> dict[str, dict[str, Any]]:
        return {name: row for name, row in self.queues(server, vhost).items() if len(name) == 36 and "." not in name}

    def amqp(self, server: str, account: str, code: str, **values: Any) -> Any:
        """Run code with a connection `link` of an account; `given` holds host, user, password, vhost and ca."""
        vhost = account.rpartition("_")[0]
        login = {"user": account, "password": self.secret(f"vault_rabbitmq_{account}_password")}
        values = {"host": server, "vhost": vhost, "ca": CA_FILE, **login, **values}
        return self.python(self.worker_of(server), f"{AMQP}link = connect()\n{code}", **values)

    def celery(self, server: str, code: str, **values: Any) -> Any:
        """Run code with Celery as a client of a server's worker."""
        return self.as_worker(self.worker_of(server), CLIENT + code, **values)

    def worker_of(self, server: str) -> str:
        return SERVERS.get(server, self.client)

    def url(self, server: str, account: str) -> str:
        password = quote(self.secret(f"vault_rabbitmq_{account}_password"), safe="")
        return f"amqps://{account}:{password}@{server}:5671/{account.rpartition('_')[0]}"


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} after {seconds} seconds"
        time.sleep(0.5)
