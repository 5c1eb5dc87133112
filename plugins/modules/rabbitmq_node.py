#!/usr/bin/python
# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compare a running RabbitMQ node with what it should be."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rabbitmq_node
short_description: Compare a running RabbitMQ node with what it should be
version_added: 0.4.0
author:
  - ResultOps engineers (@resultops)
description:
  - Sets the thresholds of memory and disk in the running node where they differ, which needs no restart.
  - Tells by the node's own word which ports are open, who belongs to its cluster, and which alarms it has. What is
    not as it should be comes back as sentences, for the caller to refuse.
options:
  memory_high_watermark:
    description:
      - Memory above which publishers are held up, as a share of the host's memory such as V(40%), or as a size such as
        V(512MiB).
    type: str
  disk_free_limit:
    description: Free disk space below which publishers are held up, as a size such as V(1GiB).
    type: str
  listeners:
    description: All ports that the node may listen on, each as protocol, colon, port. None are judged if it is empty.
    type: list
    elements: str
    default: []
  members:
    description: The names of all nodes of the cluster. None are judged if it is empty.
    type: list
    elements: str
    default: []
  reload_tls:
    description: Make the node read its certificates again for new connections, because one was replaced.
    type: bool
    default: false
  rabbitmqctl:
    description: The command line tool of the server.
    type: path
    default: /usr/sbin/rabbitmqctl
  timeout:
    description: Seconds after which a command to the server is given up.
    type: int
    default: 60
extends_documentation_fragment:
  - resultops.celery._attributes
attributes:
  diff_mode:
    description: Returns the thresholds that differ.
seealso:
  - module: resultops.celery.rabbitmq_definitions
"""

EXAMPLES = r"""
- name: Compare the node
  resultops.celery.rabbitmq_node:
    memory_high_watermark: 40%
    disk_free_limit: 1GiB
    listeners: ["amqp/ssl:5671", "clustering:25672"]
  become: true
  register: node

- name: Refuse a node that is open
  ansible.builtin.assert:
    that: node.problems | length == 0
"""

RETURN = r"""
live:
  description: Whether a node was running and was compared.
  returned: success
  type: bool
  sample: true
changed_settings:
  description: The thresholds that were changed.
  returned: success
  type: list
  elements: str
  sample: [memory_high_watermark]
problems:
  description: One sentence for each thing that is not as it should be.
  returned: success
  type: list
  elements: str
  sample: ["The node listens on amqp:5672 (0.0.0.0), which is not in listeners."]
alarms:
  description: The alarms of the node. With one of memory or disk, publishers are held up.
  returned: success
  type: list
  elements: str
  sample: [memory]
server_version:
  description: Version of the running server. Empty when none runs.
  returned: success
  type: str
  sample: 4.0.5
"""

import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.resultops.celery.plugins.module_utils import _rabbitmq_cli
from ansible_collections.resultops.celery.plugins.module_utils._rabbitmq import RabbitmqError

UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "ki": 1024, "mi": 1024**2, "gi": 1024**3}


def size(text: str, option: str) -> int:
    """Bytes of a size such as 512MiB."""
    match = re.fullmatch(r"([1-9][0-9]*)\s*([kmg]i?)?b?", text, re.IGNORECASE)
    if not match:
        raise RabbitmqError(f"{option} is '{text}': it must be a size such as 512MiB or 1GB.")
    return int(match[1]) * UNITS[(match[2] or "").lower()]


def watermark(text: str) -> dict[str, float | int]:
    """A threshold of memory as the server says it."""
    share = re.fullmatch(r"([1-9][0-9]?)%", text)
    if share:
        return {"relative": int(share[1]) / 100}
    return {"absolute": size(text, "memory_high_watermark")}


def problems(status: dict[str, Any], listeners: list[str]) -> list[str]:
    """One sentence for each port that is open but should not be, and the other way round."""
    live = {f"{item['protocol']}:{item['port']}": item["interface"] for item in status["listeners"]}
    if not listeners:
        return []
    return [
        f"The node listens on {name} ({interface}), which is not in listeners."
        for name, interface in sorted(live.items())
        if name not in listeners
    ] + [f"The node does not listen on {name}." for name in sorted(set(listeners) - live.keys())]


def cluster_problems(cluster: dict[str, Any], members: list[str]) -> list[str]:
    """One sentence for each node that is missing, does not run, or belongs to the cluster without being listed."""
    known = {*cluster["disk_nodes"], *cluster["ram_nodes"]}
    running = set(cluster["running_nodes"])
    found = [f"{name} does not belong to the cluster of this node." for name in sorted(set(members) - known)]
    found += [f"{name} belongs to the cluster, but does not run." for name in sorted(set(members) & known - running)]
    found += [f"{name} belongs to the cluster, but is not in members." for name in sorted(known - set(members))]
    if cluster["partitions"]:
        found.append("The cluster is partitioned.")
    return found


class Comparison:
    """One run on one node."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.params = module.params
        self.tool = _rabbitmq_cli.Tool(module.run_command, self.params["rabbitmqctl"], self.params["timeout"])
        self.before: dict[str, Any] = {}
        self.after: dict[str, Any] = {}

    def run(self) -> dict[str, Any]:
        status = self.tool.ask_json("status")
        if status is None:
            empty: dict[str, Any] = {"changed_settings": [], "problems": [], "alarms": [], "server_version": ""}
            return {"changed": False, "live": False, **empty}
        self._memory(status["vm_memory_high_watermark_setting"])
        self._disk(status["disk_free_limit"])
        if self.params["reload_tls"] and not self.module.check_mode:
            self.tool.run("eval", "ssl:clear_pem_cache().")
        found = problems(status, self.params["listeners"])
        if self.params["members"]:
            found += cluster_problems(self.tool.ask_json("cluster_status"), self.params["members"])
        return {
            "changed": bool(self.after) or self.params["reload_tls"],
            "live": True,
            "changed_settings": sorted(self.after),
            "problems": found,
            "alarms": sorted({_alarm(item) for item in status["alarms"]}),
            "server_version": status["rabbitmq_version"],
            "diff": {"before": self.before, "after": self.after},
        }

    def _memory(self, live: Any) -> None:
        text = self.params["memory_high_watermark"]
        goal = watermark(text) if text else live
        # Before it is set by hand, a share comes back as a bare number.
        if goal == (live if isinstance(live, dict) else {"relative": live}):
            return
        self._note("memory_high_watermark", live, goal)
        words = ("absolute", str(goal["absolute"])) if "absolute" in goal else (str(goal["relative"]),)
        self._set("set_vm_memory_high_watermark", *words)

    def _disk(self, live: Any) -> None:
        text = self.params["disk_free_limit"]
        goal = size(text, "disk_free_limit") if text else live
        if goal != live:
            self._note("disk_free_limit", live, goal)
            self._set("set_disk_free_limit", str(goal))

    def _note(self, name: str, before: Any, after: Any) -> None:
        self.before[name] = before
        self.after[name] = after

    def _set(self, *words: str) -> None:
        if not self.module.check_mode:
            self.tool.run(*words)


def _alarm(item: Any) -> str:
    return str(item.get("resource") or item.get("alarm") or item) if isinstance(item, dict) else str(item)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "memory_high_watermark": {"type": "str"},
            "disk_free_limit": {"type": "str"},
            "listeners": {"type": "list", "elements": "str", "default": []},
            "members": {"type": "list", "elements": "str", "default": []},
            "reload_tls": {"type": "bool", "default": False},
            "rabbitmqctl": {"type": "path", "default": "/usr/sbin/rabbitmqctl"},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    try:
        result = Comparison(module).run()
    except RabbitmqError as problem:
        module.fail_json(msg=str(problem))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
