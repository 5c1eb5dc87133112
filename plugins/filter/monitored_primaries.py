# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: monitored_primaries
short_description: Fill in what the sentinels need to know about each replication set
version_added: 0.2.0
author: ResultOps engineers (@resultops)
description:
  - Takes C(sentinel_primaries) of the role P(resultops.celery.sentinel#role), and gives each entry its members, the
    options that it leaves out, and the host that begins as the primary.
positional: groups, variables, defaults
options:
  _input:
    description: Entries with C(name), C(group), C(auth_password), and any of the options in O(defaults).
    type: list
    elements: dict
    required: true
  groups:
    description: The hosts of each inventory group, usually C(groups).
    type: dict
    required: true
  variables:
    description: The variables of all hosts, usually C(hostvars).
    type: dict
    required: true
  defaults:
    description: >-
      The C(port) of servers that have none of their own, and the C(quorum), C(down_after), C(failover_timeout),
      C(parallel_syncs) and C(auth_user) of entries without them.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show what is watched
  ansible.builtin.debug:
    msg: "{{ sentinel_primaries | resultops.celery.monitored_primaries(groups, hostvars, defaults) }}"
  vars:
    defaults:
      port: 6379
      quorum: 2
      down_after: 2000
      failover_timeout: 15000
      parallel_syncs: 1
      auth_user: sentinel
"""

RETURN = r"""
_value:
  description: One entry for each replication set, in the order given.
  type: list
  elements: dict
  contains:
    name:
      description: The name of the set.
      type: str
      sample: results
    group:
      description: The inventory group.
      type: str
      sample: redis
    members:
      description: Its hosts as P(resultops.celery.set_members#filter) describes them.
      type: list
      elements: dict
    nodes:
      description: Host and port of each member.
      type: list
      elements: dict
      sample: [{host: redis1, port: 6379}]
    watch:
      description: The entry as M(resultops.celery.redis_sentinel) takes it.
      type: dict
    quorum:
      description: As given or from the defaults, like all other options.
      type: int
      sample: 2
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .set_members import set_members

WATCHED = ("name", "quorum", "down_after", "failover_timeout", "parallel_syncs", "auth_user", "auth_password")


def monitored_primaries(
    primaries: Sequence[Mapping[str, Any]],
    groups: Mapping[str, Sequence[str]],
    variables: Mapping[str, Mapping[str, Any]],
    defaults: Mapping[str, Any],
) -> list[dict[str, Any]]:
    return [_filled(primary, groups, variables, defaults) for primary in primaries]


def _filled(
    primary: Mapping[str, Any],
    groups: Mapping[str, Sequence[str]],
    variables: Mapping[str, Mapping[str, Any]],
    defaults: Mapping[str, Any],
) -> dict[str, Any]:
    options = {name: value for name, value in defaults.items() if name != "port"}
    filled = {**options, **{name: value for name, value in primary.items() if value is not None}}
    names = list(groups.get(primary["group"], []))
    members = set_members(names, variables, "redis", int(defaults["port"]))
    nodes = [{"host": member["hostname"], "port": member["port"]} for member in members]
    watch = {name: filled[name] for name in WATCHED} | {"nodes": nodes}
    if names:
        first = variables[names[0]].get("redis_replication_primary") or names[0]
        watch |= next((node for node, name in zip(nodes, names, strict=True) if name == first), nodes[0])
    return {**filled, "members": members, "nodes": nodes, "watch": watch}


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"monitored_primaries": monitored_primaries}
