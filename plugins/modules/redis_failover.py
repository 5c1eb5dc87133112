#!/usr/bin/python
# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hand the role of the primary over to a replica, as planned and without losing a write."""

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_failover
short_description: Hand a Redis or Valkey primary over to a replica without losing a write
version_added: 0.2.0
author:
  - ResultOps engineers (@resultops)
description:
  - A plain C(SENTINEL FAILOVER) loses what clients write to the old primary until it is demoted, seconds later. This
    module pauses writes on the old primary, waits until the replica has everything, lets a sentinel carry out the
    failover, waits until all sentinels name the new primary, makes the old one its replica, and sends clients there.
  - Clients that write meanwhile wait, then lose their connection and find the new primary by asking a sentinel. The
    writes that they had sent were not carried out, so that they can be sent again.
  - Refuses before it changes anything if the sentinels have no quorum or do not agree, or if no replica is in sync.
  - What fails midway is undone. If the failover happened already, it is completed instead, because only that loses
    nothing.
  - If the module itself is killed before it tells a sentinel to begin, writes go on by themselves after 2 seconds. If
    it is killed later, the old primary stays paused for up to 20 seconds, in which the sentinels demote it, so that it
    never accepts what would be lost; clients go on as soon as the new primary has a replica.
options:
  away_from:
    description:
      - Hand over only if this node is the primary; otherwise nothing happens. Without it, always hand over, unless
        O(target) is the primary already.
    type: dict
    suboptions:
      host:
        description: As in O(nodes).
        type: str
        required: true
      port:
        description: As in O(nodes).
        type: int
        default: 6379
  target:
    description:
      - The replica that becomes the primary. Without it, the one that is least behind.
    type: dict
    suboptions:
      host:
        description: As in O(nodes).
        type: str
        required: true
      port:
        description: As in O(nodes).
        type: int
        default: 6379
  timeout:
    description:
      - Seconds to wait for a replica that is in sync and for a good moment, which comes every 10 seconds with each
        sentinel. Nothing is paused meanwhile.
    type: int
    default: 60
extends_documentation_fragment:
  - resultops.celery._topology
  - resultops.celery._topology.login
  - resultops.celery._attributes
attributes:
  diff_mode:
    description: Returns who is the primary before and after.
notes:
  - C(repl-ping-replica-period) of the old primary and C(replica-priority) of the new one are changed for some seconds
    and put back. C(failover-timeout) of one sentinel is changed for a tenth of a second, so that it ends its failover
    as soon as the replica is promoted.
seealso:
  - module: resultops.celery.redis_topology_info
  - module: resultops.celery.redis_replication
"""

EXAMPLES = r"""
- name: Hand over before this host restarts
  resultops.celery.redis_failover:
    away_from: {host: redis-1}
    nodes: [{host: redis-1}, {host: redis-2}, {host: redis-3}]
    sentinels: [{host: redis-1}, {host: redis-2}, {host: redis-3}]
    login_user: admin
    login_password: "{{ vault_redis_admin_password }}"
    sentinel_user: admin
    sentinel_password: "{{ vault_sentinel_admin_password }}"
    ca_file: /etc/redis/managed/tls/ca.crt
    certificate_file: /etc/redis/managed/tls/server.crt
    private_key_file: /etc/redis/managed/tls/server.key
"""

RETURN = r"""
old_primary:
  description: The primary before.
  returned: success
  type: dict
  sample: {host: redis-1, port: 6379}
new_primary:
  description: The primary now. In check mode, the one that it would be.
  returned: success
  type: dict
  sample: {host: redis-2, port: 6379}
pause_milliseconds:
  description: How long writes were paused. V(0) when nothing happened.
  returned: success
  type: int
  sample: 640
"""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.resultops.celery.plugins.module_utils import _redis, _topology
from ansible_collections.resultops.celery.plugins.module_utils._topology import Address, find, pairs

# A replica that is further behind is waited for before anything is paused.
MOST_LAG_BYTES = 1024 * 1024
# How long writes may be paused for a replica to catch up, before they go on and another moment is waited for.
CATCH_UP_SECONDS = 0.1
# Should this module be killed: the first pause costs writers this long, and nothing else has happened yet.
PAUSE_MILLISECONDS = 2000
# From the failover on, the old primary must not write until the sentinels have demoted it, which takes them 10 to 18 s.
LONG_PAUSE_MILLISECONDS = 20000
# A sentinel sees that a replica was promoted when it asks for its INFO. It does so 1 s after the last time once the
# failover began, and sends the promotion in its third tick from then on. Ticks take up to 0.1 s. Whoever is later than
# 0.8 s waits for one more second, in which writes are paused: rather wait for the next moment, but not for ever.
AIM_SECONDS = 0.65
LATEST_SECONDS = 0.75
MOST_MOMENTS = 3
# Replicas that hear nothing for repl-timeout break the link, so that there must be some pings.
MOST_PING_SECONDS = 45
SWITCH_SECONDS = 10
POLL_SECONDS = 0.005
WATCH_SECONDS = 0.05
LOOK_SECONDS = 0.2
# For each answer while writes are paused.
PATIENCE_SECONDS = 1.0
SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


class InterruptedRunError(_redis.RedisError):
    """The module was told to end."""


class Watcher:
    """A sentinel that is asked again and again."""

    def __init__(self, server: _redis.Server, address: Address, name: str) -> None:
        self.server = server
        self.address = address
        self._name = name

    def primary(self) -> Address:
        """Whom it names to clients that ask for all primaries, as redis-py does."""
        seen = _topology.monitored_primary(self.server, self._name)
        return Address(seen["ip"], int(seen["port"]))

    def successor(self) -> Address:
        """Whom it names to clients that ask for this primary: the new one as soon as it saw the promotion."""
        host, port = self.server.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._name)
        return Address(host, int(port))

    def replica(self, nodes: list[_topology.Node], wanted: Address) -> dict[str, str]:
        """What it knows of a replica."""
        for words in self.server.call("SENTINEL", "REPLICAS", self._name):
            known = pairs(words)
            if find(nodes, Address(known["ip"], int(known["port"]))) == wanted:
                return known
        return {}

    def is_in_failover(self) -> bool:
        return "failover_in_progress" in _topology.monitored_primary(self.server, self._name)["flags"]

    def failover(self) -> None:
        self.server.call("SENTINEL", "FAILOVER", self._name)

    @property
    def failover_timeout(self) -> str:
        return _topology.monitored_primary(self.server, self._name)["failover-timeout"]

    def set_failover_timeout(self, milliseconds: str) -> None:
        self.server.call("SENTINEL", "SET", self._name, "failover-timeout", milliseconds)


class HandOver:
    """One run: refuse what could lose something, then hand over in the one moment that makes the pause short."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.params: dict[str, Any] = module.params
        self.deadline = time.monotonic() + self.params["timeout"]
        self.pause_began = self.pause_ended = 0.0
        self.leader: Watcher | None = None

    def run(self) -> dict[str, Any]:
        away_from, target = self._member("away_from"), self._member("target")
        self.nodes, self.sentinels = _topology.ask(self.params)
        decision = _topology.decide(self.nodes, self.sentinels)
        if decision.primary is None:
            raise _redis.RedisError(f"Nobody says which node is the primary: {self._failures()}")
        self.old = decision.primary
        if target == self.old or (away_from and away_from != self.old):
            return self._result(self.old)
        self._refuse(decision)
        self.new = self._replica_in_sync(target)
        if self.module.check_mode:
            return self._result(self.new)
        with ExitStack() as stack:
            self._connect(stack)
            with self._settings():
                self._hand_over()
            self._wait_for_links()
        return self._result(self.new)

    # --- before anything changes ---

    def _member(self, option: str) -> Address | None:
        if self.params[option] is None:
            return None
        address = Address.of(self.params[option])
        if address not in [Address.of(node) for node in self.params["nodes"]]:
            raise _redis.RedisError(f"{option} is {address}, which is none of the nodes.")
        return address

    def _failures(self) -> str:
        errors = [*(node.error for node in self.nodes), *(sentinel.error for sentinel in self.sentinels)]
        return " ".join(error for error in errors if error)

    def _refuse(self, decision: _topology.Decision) -> None:
        problems = _topology.assess(self.nodes, self.sentinels, decision)
        usable = [sentinel for sentinel in self.sentinels if sentinel.reachable]
        found = [*problems["primary"], *problems["quorum"]]
        found += _topology.assess(self.nodes, usable, decision)["agreement"]
        if found:
            raise _redis.RedisError(f"Nothing was handed over: {' '.join(found)}")

    def _replica_in_sync(self, target: Address | None) -> Address:
        """Wait for a replica that has nearly everything."""
        while True:
            candidates = [
                node
                for node in self.nodes
                if node.role == "replica"
                and node.link_up
                and find(self.nodes, node.primary) == self.old
                and node.lag_bytes <= MOST_LAG_BYTES
                and target in (None, node.address)
            ]
            if candidates:
                return min(candidates, key=lambda node: node.lag_bytes).address
            if self.module.check_mode or time.monotonic() >= self.deadline:
                what = f"{target} (target) is no replica" if target else "No replica is"
                raise _redis.RedisError(
                    f"Nothing was handed over: {what} in sync with {self.old} after {self.params['timeout']} seconds "
                    f"(timeout). {' '.join(self._link_problems())}".rstrip()
                )
            time.sleep(LOOK_SECONDS)
            self.nodes, self.sentinels = _topology.ask(self.params)

    def _link_problems(self) -> list[str]:
        decision = _topology.Decision(self.old, "sentinels")
        return _topology.assess(self.nodes, self.sentinels, decision, MOST_LAG_BYTES)["links"]

    def _connect(self, stack: ExitStack) -> None:
        patience = min(self.params["login_timeout"], PATIENCE_SECONDS)
        self.servers: dict[Address, _redis.Server] = {}
        for node in self.nodes:
            if node.reachable:
                self.servers[node.address] = _topology.connect_node(node.address, self.params, patience)
                stack.callback(self.servers[node.address].close)
        self.watchers: list[Watcher] = []
        for sentinel in self.sentinels:
            if sentinel.primary_host:
                server = _topology.connect_sentinel(sentinel.address, self.params, patience)
                stack.callback(server.close)
                self.watchers.append(Watcher(server, sentinel.address, self.params["primary_name"]))

    # --- what is changed for some seconds ---

    @contextmanager
    def _settings(self) -> Iterator[None]:
        """Let the sentinels prefer the replica, and keep pings out of the replication stream.

        A ping that the old primary sends after the new one took over makes it copy everything anew.
        """
        ping = int(self._setting(self.old, "repl-ping-replica-period"))
        timeout = int(self._setting(self.old, "repl-timeout"))
        rarely = max(ping, min(MOST_PING_SECONDS, timeout * 3 // 4))
        before: list[tuple[Address, str, str]] = []
        try:
            for address, priority in self._priorities().items():
                before.append((address, "replica-priority", self._setting(address, "replica-priority")))
                self._set(address, "replica-priority", str(priority))
            self.priority = self._setting(self.new, "replica-priority")
            if rarely != ping:
                before.append((self.old, "repl-ping-replica-period", str(ping)))
                self._set(self.old, "repl-ping-replica-period", str(rarely))
            yield
        finally:
            for address, name, value in reversed(before):
                self._restore(address, name, value)

    def _priorities(self) -> dict[Address, int]:
        """The changes that make the sentinels prefer the replica; the lowest number above 0 wins."""
        priorities = {
            node.address: int(self._setting(node.address, "replica-priority"))
            for node in self.nodes
            if node.address in self.servers and node.address != self.old
        }
        own = priorities.pop(self.new)
        others = {address: number for address, number in priorities.items() if number > 0}
        lowest = min(others.values(), default=own + 1)
        if 0 < own < lowest:
            return {}
        if lowest > 1:
            return {self.new: lowest - 1}
        return {self.new: 1, **{address: 2 for address, number in others.items() if number == 1}}

    def _setting(self, address: Address, name: str) -> str:
        return str(pairs(self.servers[address].call("CONFIG", "GET", name))[name])

    def _set(self, address: Address, name: str, value: str) -> None:
        self.servers[address].call("CONFIG", "SET", name, value)

    def _restore(self, address: Address, name: str, value: str) -> None:
        """Put a setting back, also in the state file, which the sentinels had the server write meanwhile."""
        try:
            self._again(address).call("CONFIG", "SET", name, value)
            self.servers[address].call("CONFIG", "REWRITE")
        except _redis.RedisError as error:
            self.module.warn(f"{name} of {address} could not be put back to {value}: {error}")

    def _again(self, address: Address) -> _redis.Server:
        """A connection that still works; the sentinels cut those to the new primary."""
        try:
            self.servers[address].call("PING")
        except _redis.RedisError:
            self.servers[address].close()
            self.servers[address] = _topology.connect_node(address, self.params, PATIENCE_SECONDS)
        return self.servers[address]

    # --- the hand-over ---

    def _hand_over(self) -> None:
        reason = f"no sentinel saw {self.new} as a healthy replica"
        missed = 0
        while True:
            leader = self._moment()
            if leader is None:
                raise _redis.RedisError(
                    f"Nothing was handed over within {self.params['timeout']} seconds (timeout): {reason}."
                )
            latest = time.monotonic() + LATEST_SECONDS - AIM_SECONDS
            self.pause_began = time.monotonic()
            try:
                self._pause(PAUSE_MILLISECONDS)
                caught_up = self._caught_up()
                missed += time.monotonic() > latest
                if caught_up and (time.monotonic() <= latest or missed >= MOST_MOMENTS):
                    self._switch(leader)
                    return
            except BaseException:
                self._undo()
                raise
            self._resume()
            reason = f"{self.new} did not catch up within a pause of {CATCH_UP_SECONDS:g} seconds"

    def _moment(self) -> Watcher | None:
        """Wait until a sentinel has asked for the replica's INFO so long ago that it asks again just in time."""
        while time.monotonic() < self.deadline:
            for watcher in self.watchers:
                age = self._age(watcher)
                if age is not None and age < AIM_SECONDS:
                    time.sleep(AIM_SECONDS - age)
                    age = self._age(watcher)
                if age is not None and AIM_SECONDS <= age <= (AIM_SECONDS + LATEST_SECONDS) / 2:
                    return watcher
            time.sleep(WATCH_SECONDS)
        return None

    def _age(self, watcher: Watcher) -> float | None:
        """Seconds since a sentinel saw the replica healthy and with the priority that makes it the first choice."""
        known = watcher.replica(self.nodes, self.new)
        if known.get("flags") != "slave" or known["slave-priority"] != self.priority:
            return None
        return int(known["info-refresh"]) / 1000

    def _pause(self, milliseconds: int) -> None:
        self.servers[self.old].call("CLIENT", "PAUSE", str(milliseconds), "WRITE")

    def _resume(self) -> None:
        self._again(self.old).call("CLIENT", "UNPAUSE")
        self.pause_ended = time.monotonic()

    def _caught_up(self) -> bool:
        """Whether the replica has all that the old primary, which no longer writes, has ever acknowledged."""
        wanted = int(self._replication(self.old)["master_repl_offset"])
        end = time.monotonic() + CATCH_UP_SECONDS
        while True:
            seen = self._replication(self.new)
            if (
                seen["role"] == "slave"
                and seen["master_link_status"] == "up"
                and int(seen["slave_repl_offset"]) >= wanted
            ):
                return True
            if time.monotonic() >= end:
                return False
            time.sleep(POLL_SECONDS)

    def _replication(self, address: Address) -> dict[str, str]:
        text = self.servers[address].call("INFO", "replication")
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)

    def _switch(self, leader: Watcher) -> None:
        usual_timeout = leader.failover_timeout
        self._pause(LONG_PAUSE_MILLISECONDS)
        self.leader = leader
        leader.failover()
        if not self._until(lambda: self._is_new(leader.successor())):
            raise _redis.RedisError(
                f"The sentinel {leader.address} did not promote {self.new} within {SWITCH_SECONDS} seconds."
            )
        # The leader goes on naming the old primary until all other replicas follow the new one, which it sees seconds
        # later. So it is made to end at once, and the replicas are told from here.
        leader.set_failover_timeout("1")
        try:
            followers = self._follow()
            self._until(lambda: self._is_new(leader.primary()))
        finally:
            leader.set_failover_timeout(usual_timeout)
        agreed = self._until(lambda: all(self._is_new(watcher.primary()) for watcher in self.watchers))
        self._send_clients_away()
        for follower in followers:
            self.servers[follower].call("CONFIG", "REWRITE")
        if not agreed:
            self.module.warn(f"Not all sentinels name {self.new} yet.")

    def _follow(self) -> list[Address]:
        """Let all others follow the new primary; the old one has to, the sentinels see to the rest if need be."""
        self.servers[self.old].call("REPLICAOF", self.new.host, str(self.new.port))
        followers = [self.old]
        for node in self.nodes:
            if node.role == "replica" and node.address in self.servers and node.address != self.new:
                with suppress(_redis.RedisError):
                    self.servers[node.address].call("REPLICAOF", self.new.host, str(self.new.port))
                    followers.append(node.address)
        return followers

    def _send_clients_away(self) -> None:
        self._again(self.old).call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        # Those who wait for a result are subscribed to the primary, and nothing is announced here any more.
        self._again(self.old).call("CLIENT", "KILL", "TYPE", "pubsub")
        self._resume()

    def _is_new(self, named: Address) -> bool:
        return find(self.nodes, named) == self.new

    def _until(self, condition: Callable[[], bool], seconds: float = SWITCH_SECONDS) -> bool:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() >= end:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def _undo(self) -> None:
        """End a failover that did not succeed, and let writes go on; complete one that did."""
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        happened = False
        if self.leader:
            with suppress(_redis.RedisError):
                happened = self._abort(self.leader)
        if happened:
            with suppress(_redis.RedisError):
                self._again(self.old)
                self._follow()
                self._send_clients_away()
                self.servers[self.old].call("CONFIG", "REWRITE")
            return
        try:
            self._resume()
        except _redis.RedisError as error:
            self.module.warn(f"Writes on {self.old} go on by themselves after the pause: {error}")

    def _abort(self, leader: Watcher) -> bool:
        """Make the leader give up at once; whether it had succeeded."""
        usual_timeout = leader.failover_timeout
        leader.set_failover_timeout("1")
        try:
            self._until(lambda: not leader.is_in_failover(), PATIENCE_SECONDS)
        finally:
            leader.set_failover_timeout(usual_timeout)
        if self._is_new(leader.primary()):
            return True
        self._again(self.new)
        if self._replication(self.new)["role"] == "master":
            self.servers[self.new].call("REPLICAOF", self.old.host, str(self.old.port))
        return False

    # --- afterwards ---

    def _wait_for_links(self) -> None:
        """Wait for the links of the old primary and of all that had one before."""
        decision = _topology.Decision(self.new, "sentinels")
        expected = {self.old, self.new, *(node.address for node in self.nodes if node.link_up)}
        options = [address.option for address in expected]
        while True:
            nodes, _sentinels = _topology.ask({**self.params, "nodes": options, "sentinels": []})
            problems = _topology.assess(nodes, [], decision)["links"]
            if not problems:
                return
            if time.monotonic() >= self.deadline:
                self.module.warn(" ".join(problems))
                return
            time.sleep(LOOK_SECONDS)

    def _result(self, new: Address) -> dict[str, Any]:
        changed = new != self.old
        return {
            "changed": changed,
            "old_primary": self.old.option,
            "new_primary": new.option,
            "pause_milliseconds": round((self.pause_ended - self.pause_began) * 1000),
            "diff": {"before": f"primary {self.old}\n", "after": f"primary {new}\n"} if changed else {},
        }


def end_in_order(_number: int, _frame: FrameType | None) -> None:
    raise InterruptedRunError("The module was told to end.")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "away_from": _topology.NODE_OPTION,
            "target": _topology.NODE_OPTION,
            "timeout": {"type": "int", "default": 60},
            **_topology.MEMBER_ARGUMENTS,
            **_topology.LOGIN_ARGUMENTS,
        },
        supports_check_mode=True,
        **_topology.LOGIN_RULES,
    )
    for number in SIGNALS:
        signal.signal(number, end_in_order)
    try:
        result = HandOver(module).run()
    except _redis.RedisError as problem:
        module.fail_json(msg=str(problem))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
