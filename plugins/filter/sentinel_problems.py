# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible.utils.display import Display

from ..plugin_utils._replication import problems_of_sentinels, warnings_of_sentinels

DOCUMENTATION = r"""
name: sentinel_problems
short_description: What is wrong with a group of sentinels and what they watch
version_added: 0.2.0
author: ResultOps engineers (@resultops)
description:
  - Judges on the controller, before anything changes, whether the sentinels can find and trust each other, agree on a
    failover and finish it.
  - What works but costs more than it seems, such as a long C(failover_timeout), is said as a warning.
  - No sentence ever contains a password.
options:
  _input:
    description:
      - What the role knows about its sentinels. Keys that are left out are not judged.
      - 'C(group): the inventory group, value of C(sentinel_group).'
      - 'C(sentinels): list of dictionaries, one for each host of the group, as P(resultops.celery.set_members#filter)
        returns them.'
      - 'C(sentinels[].name): inventory name.'
      - 'C(sentinels[].hostname): name that it announces to the others, its C(sentinel_hostname).'
      - 'C(sentinels[].address): address for that name in C(/etc/hosts) of the others; empty if it is not known.'
      - 'C(sentinels[].dns_names): names that its certificate covers; a wildcard such as C(*.example.com) counts.'
      - 'C(sentinels[].provider): its C(sentinel_provider).'
      - 'C(sentinels[].unresolved): names that this host does not resolve, judged only if C(hosts_file) is false.'
      - 'C(primaries): list of dictionaries, C(sentinel_primaries) with all defaults filled in.'
      - 'C(primaries[].name), C(primaries[].quorum), C(primaries[].down_after), C(primaries[].failover_timeout),
        C(primaries[].parallel_syncs): the options of Sentinel; times in milliseconds. A C(quorum) that is left out is
        the majority.'
      - 'C(primaries[].group): inventory group of the replication set.'
      - 'C(primaries[].members): members of the set as P(resultops.celery.replication_problems#filter) takes them, of
        which only C(name), C(hostname), C(address) and C(unresolved) count here.'
      - 'C(primaries[].auth_user), C(primaries[].auth_password): account on Redis that the sentinels use.'
      - 'C(hosts_file): whether the role writes all names to C(/etc/hosts).'
      - 'C(passwords): the other secrets by the names of their variables.'
      - 'C(unquoted): those variables of C(passwords) that Sentinel writes into its own file without quotes, such as
        C(sentinel_peer_password); they must not contain spaces or quotes.'
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Refuse sentinels that cannot agree
  ansible.builtin.assert:
    that: __sentinel_problems | length == 0
    fail_msg: "{{ __sentinel_problems | join(' ') }}"
    quiet: true
  vars:
    __sentinel_problems: "{{ __sentinel_set | resultops.celery.sentinel_problems }}"
    __sentinel_set:
      group: sentinel
      sentinels:
        - name: redis1.example.com
          hostname: redis1.example.com
          address: 192.0.2.11
          dns_names: [redis1.example.com, localhost]
          provider: redis
      primaries:
        - name: results
          group: redis
          members:
            - {name: redis1.example.com, hostname: redis1.example.com, address: 192.0.2.11}
          quorum: 2
          down_after: 2000
          failover_timeout: 15000
          parallel_syncs: 1
          auth_user: sentinel
          auth_password: "{{ redis_sentinel_password }}"
      hosts_file: true
      passwords:
        sentinel_admin_password: "{{ sentinel_admin_password }}"
        sentinel_peer_password: "{{ sentinel_peer_password }}"
      unquoted: [sentinel_peer_password]
"""

RETURN = r"""
_value:
  description: One sentence for each problem, with the variable and the remedy.
  type: list
  elements: str
"""


def sentinel_problems(given: t.Mapping[str, t.Any]) -> list[str]:
    for warning in warnings_of_sentinels(given):
        Display().warning(warning)
    return problems_of_sentinels(given)


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"sentinel_problems": sentinel_problems}
