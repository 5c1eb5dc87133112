#!/usr/bin/python
# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: failover_watch
short_description: Watch how long sentinels disagree or name a primary that takes no writes
version_added: 0.2.0
author: ResultOps engineers (@resultops)
description:
  - Asks all sentinels over and over who the primary is, and writes a key that expires at once to the one they name.
    Returns each period in which those sentinels that can be reached named different primaries, or in which the one that
    they named took no write.
  - All servers are asked at the same time, so that one that hangs does not slow the others down.
  - It watches until a file named C(stop) appears in O(directory) or O(seconds) are over. Run it with C(async), on a
    host that reaches all servers and is not broken meanwhile.
requirements:
  - python3-redis (the Python library redis >= 4.3) on the host
extends_documentation_fragment:
  - resultops.celery._attributes.posix
  - resultops.celery._attributes.info
  - resultops.celery._attributes
attributes:
  check_mode:
    details: In check mode the module returns at once and has seen nothing.
options:
  directory:
    description:
      - An existing directory of this user that nobody else may enter.
      - The file C(ready) in it says that the sentinels agreed and a first write succeeded; creating the file C(stop)
        ends the watch.
    type: path
    required: true
  sentinels:
    description: The sentinels to ask.
    type: list
    elements: dict
    required: true
    suboptions:
      host:
        description: The name of the sentinel, which its certificate has to carry.
        type: str
        required: true
      port:
        description: Its TLS port.
        type: int
        default: 26379
  primary_name:
    description: The name under which the sentinels watch the primary.
    type: str
    default: results
  login_user:
    description: The user on the primary, which has to be allowed to C(SET) the key V(resultops-drill-watch).
    type: str
    default: default
  login_password:
    description: Password of O(login_user).
    type: str
  sentinel_user:
    description: The user on the sentinels.
    type: str
    default: default
  sentinel_password:
    description: Password of O(sentinel_user).
    type: str
  ca_file:
    description: Certificates of the authorities that may have signed those of the servers.
    type: path
  certificate_file:
    description: Certificate to show to servers that ask for one.
    type: path
  private_key_file:
    description: Private key of O(certificate_file).
    type: path
  timeout:
    description: Seconds after which a server that does not answer counts as unreachable.
    type: float
    default: 0.5
  interval:
    description: Seconds between two questions to the same server.
    type: float
    default: 0.05
  seconds:
    description: After how many seconds the watch ends by itself.
    type: float
    default: 60
seealso:
  - module: resultops.celery.failover_fault
  - module: resultops.celery.result_writer
"""

EXAMPLES = r"""
- name: Watch a failover
  resultops.celery.failover_watch:
    directory: /run/resultops-drill/kill
    sentinels:
      - host: redis1
      - host: redis2
      - host: redis3
    login_user: admin
    login_password: "{{ redis_admin_password }}"
    sentinel_user: admin
    sentinel_password: "{{ sentinel_admin_password }}"
    ca_file: /etc/redis/managed/tls/ca.crt
    certificate_file: /etc/redis/managed/tls/server.crt
    private_key_file: /etc/redis/managed/tls/server.key
    seconds: 60
  async: 90
  poll: 0
  become: true
"""

RETURN = r"""
disturbances:
  description: The periods in which not everything was well, in their order. The last may have no end yet.
  returned: success
  type: list
  elements: dict
  contains:
    began:
      description: When it began, in seconds since 1970 by the clock of this host.
      type: float
      sample: 1764000000.123
    ended:
      description: When it ended, or none if the watch ended first.
      type: float
      sample: 1764000002.523
    reason:
      description: What was wrong at first.
      type: str
      sample: redis1:6379 takes no writes.
stalled_ms:
  description: How much longer than it wanted the module slept once, in milliseconds.
  returned: success
  type: int
  sample: 3
evicted:
  description: How many keys the primaries evicted meanwhile, because C(maxmemory) was reached.
  returned: success
  type: int
  sample: 0
primaries:
  description: The primaries that were agreed and took writes, in the order in which they appeared.
  returned: success
  type: list
  elements: dict
  contains:
    at:
      description: When, in seconds since 1970 by the clock of this host.
      type: float
      sample: 1764000002.523
    primary:
      description: Its name and port.
      type: str
      sample: redis2:6379
"""

import os
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Optional

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.resultops.celery.plugins.module_utils import _redis

KEY = "resultops-drill-watch"
KEY_MILLISECONDS = "1000"
MOST_DISTURBANCES = 200
Address = tuple[str, int]


class Questioner:
    """Asks one server the same question again and again, on a thread of its own."""

    def __init__(self, connection: dict[str, Any], interval: float, question: Callable[[Any], Any]) -> None:
        self._connection = connection
        self._interval = interval
        self._question = question
        self._ended = threading.Event()
        self.answer: Any = None
        self.asked = 0.0
        threading.Thread(target=self._ask, daemon=True).start()

    def end(self) -> None:
        self._ended.set()

    def _ask(self) -> None:
        server: Any = None
        while not self._ended.is_set():
            asked = time.monotonic()
            try:
                server = server or _redis.connect(self._connection)
                answer = self._question(server) if server else None
            except Exception:  # noqa: BLE001 - whatever it is, this server does not answer now
                answer = None
            if answer is None and server:
                with suppress(Exception):
                    server.close()
                server = None
            self.answer, self.asked = answer, asked if answer is not None else self.asked
            self._ended.wait(self._interval)
        if server:
            with suppress(Exception):
                server.close()


class Watch:
    """What all servers say together, at any moment."""

    def __init__(self, wanted: dict[str, Any]) -> None:
        self._wanted = wanted
        self._patience = wanted["timeout"] + 2 * wanted["interval"]
        self._sentinels = [
            Questioner(
                self._connection(sentinel["host"], sentinel["port"] or 26379, "sentinel_user", "sentinel_password"),
                wanted["interval"],
                self._who,
            )
            for sentinel in wanted["sentinels"]
        ]
        self._writes: dict[Address, Questioner] = {}
        self._evicted: dict[Address, tuple[int, int]] = {}
        self._well = time.monotonic()
        self.stalled = 0.0
        self.disturbances: list[dict[str, Any]] = []
        self.primaries: list[dict[str, Any]] = []

    def _connection(self, host: str, port: int, user: str, password: str) -> dict[str, Any]:
        return {
            "unix_socket": None,
            "login_host": host,
            "login_port": port,
            "login_user": self._wanted[user],
            "login_password": self._wanted[password],
            "login_previous_password": None,
            "login_timeout": self._wanted["timeout"],
            "loading_timeout": 0,
            **{name: self._wanted[name] for name in ("ca_file", "certificate_file", "private_key_file")},
        }

    def _who(self, server: Any) -> Optional[Address]:
        found = server.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._wanted["primary_name"])
        return (str(found[0]), int(found[1])) if found else None

    def _write(self, address: Address, server: Any) -> bool:
        taken = bool(server.call("SET", KEY, "1", "PX", KEY_MILLISECONDS))
        found = re.search(r"^evicted_keys:(\d+)", server.call("INFO", "stats"), re.MULTILINE)
        evicted = int(found[1]) if found else 0
        first, last = self._evicted.get(address, (evicted, evicted))
        # A server that was started again counts from 0.
        self._evicted[address] = (min(first, evicted), max(last, evicted))
        return taken

    def _problem(self) -> str:
        """Say what is wrong now, or nothing."""
        now = time.monotonic()
        named = {
            questioner.answer
            for questioner in self._sentinels
            if questioner.answer and now - questioner.asked <= self._patience
        }
        for address in named - set(self._writes):
            connection = self._connection(address[0], address[1], "login_user", "login_password")
            self._writes[address] = Questioner(connection, self._wanted["interval"], partial(self._write, address))
        for address in set(self._writes) - named:
            self._writes.pop(address).end()
        if not named:
            return "No sentinel answers."
        if len(named) > 1:
            return f"The sentinels name {' and '.join(sorted(f'{host}:{port}' for host, port in named))}."
        address = named.pop()
        if not self._writes[address].answer or now - self._writes[address].asked > self._patience:
            return f"{address[0]}:{address[1]} takes no writes."
        self._remember(f"{address[0]}:{address[1]}")
        self._well = self._writes[address].asked
        return ""

    def _remember(self, primary: str) -> None:
        if not self.primaries or self.primaries[-1]["primary"] != primary:
            self.primaries.append({"at": round(time.time(), 3), "primary": primary})

    @property
    def evicted(self) -> int:
        return sum(last - first for first, last in self._evicted.values())

    def look(self) -> bool:
        """Look once; tell whether all is well."""
        problem = self._problem()
        now, clock = time.monotonic(), time.time() - time.monotonic()
        disturbed = bool(self.disturbances) and self.disturbances[-1]["ended"] is None
        if problem and not disturbed:
            # It began after the last write that was taken, which is before it was noticed.
            began = round(self._well + clock, 3)
            self.disturbances.append({"began": began, "ended": None, "reason": problem})
        if not problem and disturbed:
            self.disturbances[-1]["ended"] = round(now + clock, 3)
        return not problem


def watch(wanted: dict[str, Any]) -> Watch:
    watching = Watch(wanted)
    ready, stop = (os.path.join(wanted["directory"], name) for name in ("ready", "stop"))
    deadline = time.monotonic() + wanted["seconds"]
    announced = False
    while time.monotonic() < deadline and not os.path.exists(stop):
        well = watching.look()
        if well and not announced:
            # What was before the first agreement is the start of this watch, not a disturbance.
            watching.disturbances.clear()
            with open(ready, "w", encoding="utf-8"):
                announced = True
        slept = time.monotonic()
        time.sleep(wanted["interval"] / 2)
        watching.stalled = max(watching.stalled, time.monotonic() - slept - wanted["interval"] / 2)
    return watching


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "sentinels": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "host": {"type": "str", "required": True},
                    "port": {"type": "int", "default": 26379},
                },
            },
            "primary_name": {"type": "str", "default": "results"},
            "login_user": {"type": "str", "default": "default"},
            "login_password": {"type": "str", "no_log": True},
            "sentinel_user": {"type": "str", "default": "default"},
            "sentinel_password": {"type": "str", "no_log": True},
            "ca_file": {"type": "path"},
            "certificate_file": {"type": "path"},
            "private_key_file": {"type": "path"},
            "timeout": {"type": "float", "default": 0.5},
            "interval": {"type": "float", "default": 0.05},
            "seconds": {"type": "float", "default": 60},
        },
        required_together=[("certificate_file", "private_key_file")],
        supports_check_mode=True,
    )
    wanted = module.params
    for name in ("timeout", "interval", "seconds"):
        if wanted[name] <= 0:
            module.fail_json(msg=f"The option {name} is {wanted[name]:g}, but it must be more than 0 seconds.")
    if not wanted["sentinels"]:
        module.fail_json(msg="The list sentinels is empty, so there is nobody to ask.")
    if not os.path.isdir(wanted["directory"]):
        module.fail_json(msg=f"The directory {wanted['directory']} does not exist.")
    if module.check_mode:
        module.exit_json(changed=False, disturbances=[], primaries=[], evicted=0, stalled_ms=0)
    seen = watch(wanted)
    module.exit_json(
        changed=False,
        disturbances=seen.disturbances[:MOST_DISTURBANCES],
        primaries=seen.primaries,
        evicted=seen.evicted,
        stalled_ms=round(seen.stalled * 1000),
    )


if __name__ == "__main__":
    main()
