#!/usr/bin/python
# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keep the virtual hosts, accounts, permissions, limits, policies and queues of a RabbitMQ server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rabbitmq_definitions
short_description: Keep the virtual hosts, accounts, permissions, limits, policies and queues of a RabbitMQ server
version_added: 0.4.0
author:
  - ResultOps engineers (@resultops)
description:
  - Writes a file of definitions, with hashes instead of passwords, and imports it into the running server where that
    differs. Started with the file as its C(load_definitions), a new server never has the account C(guest).
  - Each application has a virtual host of its own, with the narrowest rights that Celery's C(rpc://) needs, for
    those that work and for those that wait separately.
  - An account, a permission or a policy that is not listed is removed. So is a virtual host, unless it still holds a
    queue. The queues of tasks are created; no queue is ever removed.
  - Passwords are compared with the hashes in the server. They are on no command line.
options:
  path:
    description: The file of definitions.
    type: path
    required: true
  applications:
    description: The whole set of applications.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the application and of its virtual host.
        type: str
        required: true
      users:
        description: The accounts of the application. Each name stands once on the whole server.
        type: list
        elements: dict
        required: true
        suboptions:
          name:
            description: Name of the account.
            type: str
            required: true
          password:
            description: Its password.
            type: str
            required: true
          role:
            description:
              - V(worker) may take tasks and answer, V(client) may send tasks and wait for results, V(both) is for
                workers whose tasks wait for other tasks.
            type: str
            choices: [worker, client, both]
            required: true
          max_connections:
            description: Connections of the account at the same time, on each node.
            type: int
            default: 1000
          max_channels:
            description: Channels of the account at the same time, on each node.
            type: int
            default: 10000
      queues:
        description: The queues of the application's tasks.
        type: list
        elements: str
        default: [celery]
      queue_type:
        description: Type of O(applications[].queues). In a cluster V(quorum) keeps tasks when a node is lost.
        type: str
        choices: [classic, quorum]
        default: classic
      permissions:
        description:
          - With V(standard) Celery may declare its queues itself, and workers have events and remote control.
          - With V(strict) they have none of it, and nobody but a worker can read a queue of tasks. Celery has to be
            configured for it.
        type: str
        choices: [standard, strict]
        default: standard
      max_connections:
        description: Connections to the virtual host at the same time.
        type: int
        default: 1000
      max_queues:
        description: Queues in the virtual host, of which every process or thread that waits for results has one.
        type: int
        default: 5000
      reply_expires:
        description: Seconds after which a result that nobody fetched is dropped, and a queue of replies that nobody
          reads.
        type: int
        default: 1800
      reply_max_length:
        description: Results in a queue of replies. Of more than that the oldest is dropped.
        type: int
        default: 10000
      reply_max_bytes:
        description: Bytes of results in a queue of replies. Of more than that the oldest is dropped.
        type: int
        default: 67108864
  rabbitmqctl:
    description: The command line tool of the server.
    type: path
    default: /usr/sbin/rabbitmqctl
  timeout:
    description: Seconds after which a command to the server is given up.
    type: int
    default: 60
  mode:
    description: Permissions of the file. It holds hashes of passwords.
    type: raw
    default: "0640"
extends_documentation_fragment:
  - ansible.builtin.files
  - resultops.celery._attributes
attributes:
  diff_mode:
    description: Returns the objects that differ, in the file and in the running server. Hashes are masked.
seealso:
  - module: resultops.celery.rabbitmq_node
"""

EXAMPLES = r"""
- name: Keep the applications
  resultops.celery.rabbitmq_definitions:
    path: /etc/rabbitmq/managed/definitions.json
    owner: root
    group: rabbitmq
    applications:
      - name: shop
        users:
          - name: shop_worker
            password: "{{ vault_rabbitmq_shop_worker_password }}"
            role: worker
          - name: shop_web
            password: "{{ vault_rabbitmq_shop_web_password }}"
            role: client
  become: true
"""

RETURN = r"""
live:
  description: Whether a server was running and was compared.
  returned: success
  type: bool
  sample: true
added:
  description: The objects that the running server lacked, each with its kind.
  returned: success
  type: list
  elements: str
  sample: [user shop_web, permission shop/shop_web]
changed_objects:
  description: The objects that the running server had otherwise.
  returned: success
  type: list
  elements: str
  sample: [policy shop/reply-queues]
removed:
  description: The objects that the running server had too much.
  returned: success
  type: list
  elements: str
  sample: [user guest]
kept_vhosts:
  description: Virtual hosts that are not listed and were not removed, because they hold queues.
  returned: success
  type: list
  elements: str
  sample: [formerly]
server_version:
  description: Version of the running server. Empty when none runs.
  returned: success
  type: str
  sample: 4.0.5
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.resultops.celery.plugins.module_utils import _rabbitmq, _rabbitmq_cli, _redis
from ansible_collections.resultops.celery.plugins.module_utils._unlogged import UnloggedModule

# The server says that it takes an import in before it has done so.
IMPORT_SECONDS = 15


class Reconciliation:
    """One run: what differs, and how it is brought in line."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.goal = _rabbitmq.wanted(module.params["applications"])
        self.tool = _rabbitmq_cli.Tool(module.run_command, module.params["rabbitmqctl"], module.params["timeout"])
        self.file = _redis.ManagedFile(module, module.params["path"], _rabbitmq.rendered(self.goal))
        self.kept: list[str] = []

    def run(self) -> dict[str, Any]:
        live = self._live()
        found = self._compare(live) if live else []
        if not self.module.check_mode:
            if self.file.differs:
                self.file.stage()
                self.file.commit()
            self._apply(found)
        attributes = self.file.keep_attributes()
        for vhost in self.kept:
            self.module.warn(
                f"The virtual host {vhost} is not in applications, but holds queues: it stays until you remove it by "
                f"rabbitmqctl delete_vhost {vhost}."
            )
        return {
            "changed": bool(found) or self.file.differs or attributes,
            "live": live is not None,
            "added": [item.title for item in found if item.after and not item.before],
            "changed_objects": [item.title for item in found if item.after and item.before],
            "removed": [item.title for item in found if not item.after],
            "kept_vhosts": self.kept,
            "server_version": live.version if live else "",
            "diff": self._diff(found),
        }

    def _live(self) -> _rabbitmq.Definitions | None:
        exported = self.tool.ask("export_definitions", "-", "--format", "json")
        return None if exported is None else _rabbitmq.parsed(exported)

    def _compare(self, live: _rabbitmq.Definitions) -> list[_rabbitmq.Difference]:
        problems = _rabbitmq.unchangeable(self.goal, live)
        if problems:
            raise _rabbitmq.RabbitmqError(" ".join(problems))
        found = []
        for item in _rabbitmq.differences(self.goal, live):
            if item.kind == "vhost" and not item.after and self._holds_queues(item.name):
                self.kept.append(item.name)
            else:
                found.append(item)
        return found

    def _holds_queues(self, vhost: str) -> bool:
        answer = self.tool.ask("list_queues", "-p", vhost, "name")
        return bool(answer and answer.strip())

    def _apply(self, found: list[_rabbitmq.Difference]) -> None:
        if any(item.after for item in found):
            self.tool.run("import_definitions", self.file.path)
        for item in found:
            if item.command:
                self.tool.run(*item.command)
        deadline = time.monotonic() + IMPORT_SECONDS
        while found:
            live = self._live()
            left = [item.title for item in self._left(live)] if live else ["the server"]
            if not left:
                return
            if time.monotonic() > deadline:
                raise _rabbitmq.RabbitmqError(f"The server did not take over {', '.join(left)}: see its log.")
            time.sleep(0.3)

    def _left(self, live: _rabbitmq.Definitions) -> list[_rabbitmq.Difference]:
        kept = {("vhost", name) for name in self.kept}
        return [item for item in _rabbitmq.differences(self.goal, live) if (item.kind, item.name) not in kept]

    def _diff(self, found: list[_rabbitmq.Difference]) -> list[dict[str, str]]:
        result = []
        if self.file.differs:
            result.append(
                {
                    "before_header": self.file.path,
                    "after_header": self.file.path,
                    "before": _rabbitmq.masked(self.file.text_before),
                    "after": _rabbitmq.masked(_rabbitmq.rendered(self.goal)),
                }
            )
        if found:
            result.append(
                {
                    "before_header": "running server",
                    "after_header": "running server",
                    "before": "".join(f"{item.title}: {item.before}\n" for item in found if item.before),
                    "after": "".join(f"{item.title}: {item.after}\n" for item in found if item.after),
                }
            )
        return result


def main() -> None:
    module = UnloggedModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "applications": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": _rabbitmq.APPLICATION_OPTIONS,
            },
            "rabbitmqctl": {"type": "path", "default": "/usr/sbin/rabbitmqctl"},
            "timeout": {"type": "int", "default": 60},
            "mode": {"type": "raw", "default": "0640"},
        },
        add_file_common_args=True,
        supports_check_mode=True,
    )
    try:
        result = Reconciliation(module).run()
    except (_rabbitmq.RabbitmqError, _redis.RedisError) as problem:
        module.fail_json(msg=str(problem))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
