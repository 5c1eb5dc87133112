# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible.utils.display import Display

from ..plugin_utils._replication import problems_of_set, warnings_of_set

DOCUMENTATION = r"""
name: replication_problems
short_description: What is wrong with a Redis replication set
version_added: 0.2.0
author: ResultOps engineers (@resultops)
description:
  - Judges on the controller, before anything changes, whether the members of a set can find, trust and follow each
    other, and whether the primary still accepts writes when one of them is lost.
  - What works but costs more than it seems, such as a long C(min_replicas_max_lag), is said as a warning.
  - No sentence ever contains a password.
options:
  _input:
    description:
      - What the role knows about the set. Keys that are left out are not judged.
      - 'C(group): the inventory group, value of C(redis_replication_group).'
      - 'C(host): the inventory name of the host that asks; it must be a member.'
      - 'C(members): list of dictionaries, one for each host of the group, as P(resultops.celery.set_members#filter)
        returns them, with what else is known of the host.'
      - 'C(members[].name): inventory name.'
      - 'C(members[].hostname): name that it announces to the others, its C(redis_hostname).'
      - 'C(members[].address): address for that name in C(/etc/hosts) of the others; empty if it is not known.'
      - 'C(members[].dns_names): names that its certificate covers; a wildcard such as C(*.example.com) counts.'
      - 'C(members[].provider): its C(redis_provider).'
      - 'C(members[].version): version of its server, running or installed; empty if there is none yet. Only the first
        two numbers are compared.'
      - 'C(members[].unresolved): names of other members that this host does not resolve, judged only if C(hosts_file)
        is false.'
      - 'C(primary): value of C(redis_replication_primary), an inventory name; empty means the first member.'
      - 'C(profile): C(fast) or C(durable).'
      - 'C(persistence): value of C(redis_persistence).'
      - 'C(min_replicas_to_write) and C(min_replicas_max_lag): values of these variables.'
      - 'C(hosts_file): whether the role writes the names of all members to C(/etc/hosts).'
      - 'C(passwords): the secrets by the names of their variables.'
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Refuse a replication set that cannot survive
  ansible.builtin.assert:
    that: __redis_set_problems | length == 0
    fail_msg: "{{ __redis_set_problems | join(' ') }}"
    quiet: true
  vars:
    __redis_set_problems: "{{ __redis_set | resultops.celery.replication_problems }}"
    __redis_set:
      group: redis
      host: "{{ inventory_hostname }}"
      members:
        - name: redis1.example.com
          hostname: redis1.example.com
          address: 192.0.2.11
          dns_names: [redis1.example.com, localhost]
          provider: redis
          version: 8.0.2
      primary: redis1.example.com
      profile: fast
      persistence: aof
      min_replicas_to_write: 0
      min_replicas_max_lag: 3
      hosts_file: true
      passwords:
        redis_replication_password: "{{ redis_replication_password }}"
"""

RETURN = r"""
_value:
  description: One sentence for each problem, with the variable and the remedy.
  type: list
  elements: str
"""


def replication_problems(given: t.Mapping[str, t.Any]) -> list[str]:
    for warning in warnings_of_set(given):
        Display().warning(warning)
    return problems_of_set(given)


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"replication_problems": replication_problems}
