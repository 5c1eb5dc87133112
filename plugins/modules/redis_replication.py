#!/usr/bin/python
# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Let a Redis or Valkey server follow the primary of its replication set."""

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_replication
short_description: Let a Redis or Valkey server follow the primary of its replication set
version_added: 0.2.0
author:
  - ResultOps engineers (@resultops)
description:
  - Runs on the server's own host, finds out who is primary, and lets the server follow it. Who is primary is asked in
    this order. (1) The live sentinels; the newest configuration counts, and then the most votes. (2) The live servers;
    the one that replicas follow, or the only primary that has data or replicas. (3) What this server was before it
    stopped; one with data that followed nobody stays a primary. (4) O(initial_primary).
  - While the server is not running, C(replicaof) is written into its state file if that has none, or if somebody who is
    alive contradicts it. A running server is told, and made to write its state file itself.
  - A running replica is never made a primary; that is the task of the sentinels and of
    M(resultops.celery.redis_failover). A primary that was replaced by a failover becomes a replica of its successor.
  - Refuses with a sentence what would throw data away, such as two primaries with data and no sentinel that decides,
    and to believe anybody else while the sentinels run and refuse the login.
options:
  state_file:
    description:
      - The configuration file that the server starts with and rewrites itself.
    type: path
    required: true
  data_directory:
    description:
      - Where the server keeps its dump and its append-only file. It is looked into while the server is not running.
    type: path
    required: true
  announce:
    description:
      - This server, as it stands in O(nodes).
    type: dict
    required: true
    suboptions:
      host:
        description: Name that it announces.
        type: str
        required: true
      port:
        description: Port that it announces.
        type: int
        default: 6379
  initial_primary:
    description:
      - The node that becomes the primary of a set in which nobody has been one. Has no meaning later.
    type: dict
    required: true
    suboptions:
      host:
        description: As in O(nodes).
        type: str
        required: true
      port:
        description: As in O(nodes).
        type: int
        default: 6379
  wait_for_sync:
    description:
      - Seconds to wait until a running replica has a link to its primary and a copy of its data. V(0) does not wait.
    type: int
    default: 300
extends_documentation_fragment:
  - resultops.celery._redis
  - resultops.celery._topology
  - resultops.celery._attributes
attributes:
  diff_mode:
    description: Returns whom the server follows, before and after, in its state file or live.
notes:
  - O(login_user), O(login_password), O(ca_file), O(certificate_file) and O(private_key_file) are those for the other
    nodes, too. They are asked over TLS even if the own server is spoken to over O(unix_socket).
seealso:
  - module: resultops.celery.redis_failover
  - module: resultops.celery.redis_topology_info
"""

EXAMPLES = r"""
- name: Follow the primary
  resultops.celery.redis_replication:
    unix_socket: /run/redis/redis-server.sock
    login_user: admin
    login_password: "{{ vault_redis_admin_password }}"
    state_file: /etc/redis/redis.conf
    data_directory: /var/lib/redis
    announce: {host: redis-2}
    initial_primary: {host: redis-1}
    nodes: [{host: redis-1}, {host: redis-2}, {host: redis-3}]
    sentinels: [{host: redis-1}, {host: redis-2}, {host: redis-3}]
    sentinel_user: admin
    sentinel_password: "{{ vault_sentinel_admin_password }}"
    ca_file: /etc/redis/managed/tls/ca.crt
    certificate_file: /etc/redis/managed/tls/server.crt
    private_key_file: /etc/redis/managed/tls/server.key
"""

RETURN = r"""
live:
  description: Whether the server of this host was running.
  returned: success
  type: bool
  sample: true
role:
  description: What the server is, or will be when it starts, V(primary) or V(replica).
  returned: success
  type: str
  sample: replica
primary:
  description: The primary of the set.
  returned: success
  type: dict
  sample: {host: redis-1, port: 6379}
source:
  description: Who said so, V(sentinels), V(nodes), V(own) or V(initial).
  returned: success
  type: str
  sample: sentinels
"""

import os
import shlex
import tempfile
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.resultops.celery.plugins.module_utils import _redis, _stored_data, _topology

DIRECTIVES = ("replicaof", "slaveof")
POLL_SECONDS = 0.2
FAILOVER_SECONDS = 30


class StateFile:
    """The file that the server starts with; Ansible changes nothing in it but whom the server follows."""

    def __init__(self, module: AnsibleModule, path: str) -> None:
        self._module = module
        self.path = path
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as stream:
                self._lines = stream.read().splitlines()
        except FileNotFoundError:
            self._lines = []
        except OSError as error:
            raise _redis.RedisError(f"state_file {path} cannot be read: {error.strerror}.") from error

    @property
    def follows(self) -> _topology.Address | None:
        """Whom the file lets the server follow; the last line of its kind counts, as it does for the server."""
        found = None
        for line in self._lines:
            words = _replicaof(line)
            if words:
                found = None if [word.lower() for word in words[1:]] == ["no", "one"] else self._address(words)
        return found

    def follow(self, primary: _topology.Address) -> None:
        """Write the file anew beside the old one, whose owner and permissions stay."""
        kept = [line for line in self._lines if not _replicaof(line)]
        directory = os.path.dirname(self.path)
        is_new = not os.path.exists(self.path)
        try:
            descriptor, staged = tempfile.mkstemp(prefix=".ansible-", dir=directory)
            self._module.add_cleanup_file(staged)
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as stream:
                stream.write("".join(f"{line}\n" for line in [*kept, f"replicaof {primary.host} {primary.port}"]))
            self._module.atomic_move(staged, self.path)
            if is_new:
                owner = os.stat(directory)
                os.chown(self.path, owner.st_uid, owner.st_gid)
                os.chmod(self.path, 0o640)
        except OSError as error:
            raise _redis.RedisError(f"state_file {self.path} cannot be written: {error.strerror}.") from error

    def _address(self, words: list[str]) -> _topology.Address:
        try:
            return _topology.Address(words[1], int(words[2]))
        except (IndexError, ValueError) as error:
            raise _redis.RedisError(
                f"state_file {self.path} has a line {words[0]} that does not name a host and a port."
            ) from error


def _replicaof(line: str) -> list[str]:
    """The words of a line that says whom to follow; no words for any other line."""
    if not line.strip().lower().startswith(DIRECTIVES):
        return []
    try:
        words = shlex.split(line)
    except ValueError:  # a quote that does not end: the server would not start with it
        words = line.split()[:1]
    return words if words[0].lower() in DIRECTIVES else []


class Replication:
    """One run: find out who is primary, then let this server follow it."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.params: dict[str, Any] = module.params
        self.own = _topology.Address.of(self.params["announce"])
        self.initial = _topology.Address.of(self.params["initial_primary"])
        members = [_topology.Address.of(node) for node in self.params["nodes"]]
        for option, address in (("announce", self.own), ("initial_primary", self.initial)):
            if address not in members:
                raise _redis.RedisError(f"{option} is {address}, which is none of the nodes.")
        self.state_file = StateFile(module, self.params["state_file"])
        self.nodes: list[_topology.Node] = []
        self.sentinels: list[_topology.Sentinel] = []

    def run(self) -> dict[str, Any]:
        server = _redis.connect(self.params)
        self._ask()
        live = _topology.node_of(self.own, server.information()) if server else None
        if live:
            self.nodes = [live if node.address == self.own else node for node in self.nodes]
        follows = self._followed(live)
        decision = _topology.settle(
            _topology.Own(self.own, self._has_data(live), follows), self.nodes, self.sentinels, self.initial
        )
        if decision.source != "sentinels":
            self._refuse_to_overhear()
        primary = decision.primary or self.initial
        if server and live:
            changed, role = self._reconcile(server, live, primary)
        else:
            changed, role = self._seed(follows, primary, decision.source)
        return {
            "changed": changed,
            "live": live is not None,
            "role": role,
            "primary": primary.option,
            "source": decision.source,
            "diff": self._diff(server, follows, primary) if changed else [],
        }

    def _ask(self) -> None:
        """Ask all others, and do not interfere with a failover that is under way."""
        deadline = time.monotonic() + FAILOVER_SECONDS
        while True:
            self.nodes, self.sentinels = _topology.ask(self.params)
            busy = any("failover_in_progress" in sentinel.flags for sentinel in self.sentinels)
            if not busy or time.monotonic() >= deadline:
                return
            time.sleep(POLL_SECONDS)

    def _refuse_to_overhear(self) -> None:
        """Sentinels that are alive know best: that they refuse the login must not make others decide."""
        for sentinel in self.sentinels:
            if sentinel.failure_class == "auth":
                raise _redis.RedisError(
                    f"The sentinel {sentinel.address} knows who is the primary, but refuses to say it: {sentinel.error}"
                )

    def _has_data(self, live: _topology.Node | None) -> bool:
        return live.keys > 0 if live else _stored_data.has_data(self.params["data_directory"])

    def _followed(self, live: _topology.Node | None) -> _topology.Address | None:
        if live is None:
            return self.state_file.follows
        return live.primary if live.role == "replica" else None

    def _seed(self, follows: _topology.Address | None, primary: _topology.Address, source: str) -> tuple[bool, str]:
        """Let a server that is not running follow the primary from its start on."""
        if primary == self.own:
            return False, "replica" if follows else "primary"
        right = follows is not None and _topology.find(self.nodes, follows) == primary
        if right or (follows and source not in ("sentinels", "nodes")):
            return False, "replica"
        if not self.module.check_mode:
            self.state_file.follow(primary)
        return True, "replica"

    def _reconcile(self, server: _redis.Server, live: _topology.Node, primary: _topology.Address) -> tuple[bool, str]:
        """Tell a running server whom to follow, if it does not know, and let it write its state file."""
        if primary == self.own:
            if live.role == "replica":
                return False, self._await_promotion(server)
            return self._rewrite(server, stale=self.state_file.follows is not None), "primary"
        right = live.role == "replica" and _topology.find(self.nodes, live.primary) == primary
        written = self.state_file.follows
        stale = not right or written is None or _topology.find(self.nodes, written) != primary
        if stale:
            self._refuse_other_state_file(server)
        if not right and not self.module.check_mode:
            server.call("REPLICAOF", primary.host, str(primary.port))
        changed = self._rewrite(server, stale)
        if not self.module.check_mode:
            self._await_link(server, primary)
        return changed, "replica"

    def _rewrite(self, server: _redis.Server, stale: bool) -> bool:
        if stale:
            self._refuse_other_state_file(server)
            if not self.module.check_mode:
                server.call("CONFIG", "REWRITE")
        return stale

    def _refuse_other_state_file(self, server: _redis.Server) -> None:
        written = server.information().get("config_file", "")
        if os.path.realpath(written) != os.path.realpath(self.state_file.path):
            raise _redis.RedisError(
                f"The server at {server.where} was started with the configuration file {written or 'none'} instead of "
                f"{self.state_file.path} (state_file), so that it would forget whom it follows: restart it."
            )

    def _await_promotion(self, server: _redis.Server) -> str:
        """Sentinels name this replica as primary, which they do a moment before it is one."""
        if self.module.check_mode or self._poll(server, lambda node: node.role == "primary"):
            return "replica" if self.module.check_mode else "primary"
        raise _redis.RedisError(
            f"{self.own} is the primary according to the others, but still a replica after "
            f"{self.params['wait_for_sync']} seconds (wait_for_sync): it is promoted by the sentinels only."
        )

    def _await_link(self, server: _redis.Server, primary: _topology.Address) -> None:
        """Wait for a link; a failover in the meantime may change to whom, and who this server is."""
        if not self.params["wait_for_sync"]:
            return
        if self._poll(server, lambda node: node.link_up or node.role == "primary"):
            return
        asked = next(node for node in self.nodes if node.address == primary)
        reason = asked.error or "look into the server's log, and at its masteruser, masterauth and certificate."
        raise _redis.RedisError(
            f"{self.own} has no copy of the data of its primary {primary} after {self.params['wait_for_sync']} seconds "
            f"(wait_for_sync): {reason}"
        )

    def _poll(self, server: _redis.Server, condition: Any) -> bool:
        deadline = time.monotonic() + self.params["wait_for_sync"]
        while not condition(_topology.node_of(self.own, server.information())):
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def _diff(
        self, server: _redis.Server | None, follows: _topology.Address | None, primary: _topology.Address
    ) -> list[dict[str, str]]:
        where = f"server at {server.where}" if server else self.state_file.path
        before = follows
        if server and (follows is None) == (primary == self.own) and self._same(follows, primary):
            where, before = self.state_file.path, self.state_file.follows
        return [
            {
                "before_header": where,
                "after_header": where,
                "before": _shown(before),
                "after": _shown(None if primary == self.own else primary),
            }
        ]

    def _same(self, follows: _topology.Address | None, primary: _topology.Address) -> bool:
        return follows is None or _topology.find(self.nodes, follows) == primary


def _shown(follows: _topology.Address | None) -> str:
    return f"replicaof {follows.host} {follows.port}\n" if follows else ""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state_file": {"type": "path", "required": True},
            "data_directory": {"type": "path", "required": True},
            "announce": {**_topology.NODE_OPTION, "required": True},
            "initial_primary": {**_topology.NODE_OPTION, "required": True},
            "wait_for_sync": {"type": "int", "default": 300},
            **_redis.CONNECTION_ARGUMENTS,
            **_topology.MEMBER_ARGUMENTS,
        },
        supports_check_mode=True,
        **_redis.CONNECTION_RULES,
    )
    try:
        result = Replication(module).run()
    except _redis.RedisError as problem:
        module.fail_json(msg=str(problem))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
