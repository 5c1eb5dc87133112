# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: set_members
short_description: Describe the hosts of a replication set or of a set of sentinels
version_added: 0.2.0
author: ResultOps engineers (@resultops)
description:
  - Reads for each host the variables of its role, and says by which name, port and address the others reach it.
  - A host without such a variable gets its inventory name and the port given here.
positional: variables, prefix, port
options:
  _input:
    description: Inventory names of the hosts.
    type: list
    elements: str
    required: true
  variables:
    description: The variables of all hosts, usually C(hostvars).
    type: dict
    required: true
  prefix:
    description: What the variables begin with, which is the name of the role.
    type: str
    choices: [redis, sentinel]
    required: true
  port:
    description: TCP port of hosts that have no C(<prefix>_port).
    type: int
    required: true
"""

EXAMPLES = r"""
- name: Say who replicates
  ansible.builtin.debug:
    msg: "{{ groups['redis'] | resultops.celery.set_members(hostvars, 'redis', 6379) }}"
"""

RETURN = r"""
_value:
  description: One entry for each host, in the order given.
  type: list
  elements: dict
  contains:
    name:
      description: The inventory name.
      type: str
      sample: redis1
    hostname:
      description: The name that the host announces (C(<prefix>_hostname)).
      type: str
      sample: redis1
    port:
      description: The TCP port.
      type: int
      sample: 6379
    address:
      description: >-
        C(<prefix>_address), or the address of the default IPv4 route if the fact C(default_ipv4) is known; otherwise
        empty.
      type: str
      sample: 192.0.2.11
    provider:
      description: C(<prefix>_provider), V(redis) if it is not set.
      type: str
      sample: redis
    version:
      description: The version that the host's Debian release ships; empty if the release is not known.
      type: str
      sample: "8.0"
    dns_names:
      description: C(<prefix>_tls_dns_names), the name of the host if it is not set.
      type: list
      elements: str
      sample: [redis1, localhost]
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

# What each Debian release ships.
SHIPPED_VERSIONS = {("redis", "12"): "7.0", ("redis", "13"): "8.0", ("valkey", "13"): "8.1"}


def set_members(
    names: Sequence[str], variables: Mapping[str, Mapping[str, Any]], prefix: str, port: int
) -> list[dict[str, Any]]:
    return [_member(name, variables[name], prefix, port) for name in names]


def _member(name: str, known: Mapping[str, Any], prefix: str, port: int) -> dict[str, Any]:
    host = str(known.get(f"{prefix}_hostname", name))
    provider = str(known.get(f"{prefix}_provider", "redis"))
    facts = known.get("ansible_facts", {})
    address = known.get(f"{prefix}_address") or facts.get("default_ipv4", {}).get("address", "")
    return {
        "name": name,
        "hostname": host,
        "port": int(known.get(f"{prefix}_port", port)),
        "address": str(address),
        "provider": provider,
        "version": SHIPPED_VERSIONS.get((provider, str(facts.get("distribution_major_version", ""))), ""),
        "dns_names": [str(entry) for entry in known.get(f"{prefix}_tls_dns_names", [host, "localhost"])],
    }


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"set_members": set_members}
