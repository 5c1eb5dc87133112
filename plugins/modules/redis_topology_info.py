#!/usr/bin/python
# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Look at a replication set and its sentinels from outside."""

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_topology_info
short_description: Look at a Redis or Valkey replication set and its sentinels
version_added: 0.2.0
author:
  - ResultOps engineers (@resultops)
description:
  - Asks all servers and all sentinels of a replication set, at the same time and over TLS, and says who is primary,
    who follows whom, how far replicas are behind, whether a failover is possible and when certificates expire.
  - A server that is dead, hangs or answers nonsense is a row with the class of its failure.
  - Can wait until the set is as it should be, and fail with one sentence if it is not. Never changes anything.
options:
  require:
    description:
      - What has to hold. The module fails with a sentence if it does not after O(wait) seconds.
      - V(primary) - one node is known to be the primary and answers as such.
      - V(links) - all other nodes follow it and their links are up.
      - V(quorum) - enough sentinels are there to carry out a failover.
      - V(agreement) - all sentinels answer and name that primary as healthy.
      - V(one_version) - all nodes run one version, and so do all sentinels.
    type: list
    elements: str
    choices: [primary, links, quorum, agreement, one_version]
    default: []
  wait:
    description:
      - Seconds to go on asking until what is in O(require) holds. Without O(require), until the set is healthy.
    type: int
    default: 0
  max_lag_bytes:
    description:
      - How many bytes of the replication stream a replica may be behind before that counts as a problem.
      - Under load a replica is always some bytes behind.
    type: int
extends_documentation_fragment:
  - resultops.celery._topology
  - resultops.celery._topology.login
  - resultops.celery._attributes.info
  - resultops.celery._attributes
seealso:
  - module: resultops.celery.redis_failover
  - module: resultops.celery.redis_replication
"""

EXAMPLES = r"""
- name: Wait until the set is whole
  resultops.celery.redis_topology_info:
    nodes: [{host: redis-1}, {host: redis-2}, {host: redis-3}]
    sentinels: [{host: redis-1}, {host: redis-2}, {host: redis-3}]
    login_user: admin
    login_password: "{{ vault_redis_admin_password }}"
    sentinel_user: admin
    sentinel_password: "{{ vault_sentinel_admin_password }}"
    ca_file: /etc/redis/managed/tls/ca.crt
    certificate_file: /etc/redis/managed/tls/server.crt
    private_key_file: /etc/redis/managed/tls/server.key
    require: [primary, links, quorum, agreement]
    wait: 60
  register: topology

- name: Say who is primary
  ansible.builtin.debug:
    msg: "{{ topology.primary.host }} according to the {{ topology.source }}"
"""

RETURN = r"""
primary:
  description: The node that is the primary. Empty when nobody says which one that is.
  returned: success
  type: dict
  sample: {host: redis-1, port: 6379}
source:
  description: Who said so, V(sentinels), V(nodes) or V(none).
  returned: success
  type: str
  sample: sentinels
agreed:
  description: Whether all sentinels that answer name the same node.
  returned: success
  type: bool
  sample: true
quorum_ok:
  description: Whether enough sentinels are there to agree on a failover and to authorize it.
  returned: success
  type: bool
  sample: true
healthy:
  description: Whether RV(problems) is empty.
  returned: success
  type: bool
  sample: true
problems:
  description:
    - What is not as it should be, in sentences. Different versions count only with V(one_version) in O(require),
      sentinels only if there are any.
  returned: success
  type: list
  elements: str
  sample: [redis-3:6379 has no link to its primary redis-1:6379.]
nodes:
  description: What each node says.
  returned: success
  type: list
  elements: dict
  contains:
    host:
      description: As in O(nodes).
      type: str
      sample: redis-2
    port:
      description: As in O(nodes).
      type: int
      sample: 6379
    reachable:
      description: Whether it answered.
      type: bool
      sample: true
    failure_class:
      description: Why it did not answer, in a word such as V(refused), V(timeout), V(tls), V(dns), V(auth) or V(acl).
      type: str
      sample: ""
    error:
      description: Why it did not answer, in a sentence.
      type: str
      sample: ""
    role:
      description: V(primary), V(replica) or empty.
      type: str
      sample: replica
    primary_host:
      description: The host that a replica follows.
      type: str
      sample: redis-1
    primary_port:
      description: The port that a replica follows, or 0.
      type: int
      sample: 6379
    link_up:
      description: Whether a replica has a link to its primary and a copy of its data.
      type: bool
      sample: true
    syncing:
      description: Whether a replica is copying everything from its primary.
      type: bool
      sample: false
    offset:
      description: Position in the replication stream, or -1.
      type: int
      sample: 81632
    lag_bytes:
      description: How far a replica with a link is behind its primary, or -1.
      type: int
      sample: 0
    last_io_seconds:
      description: Seconds since a replica heard from its primary, or -1.
      type: int
      sample: 1
    connected_replicas:
      description: Number of replicas that are connected to this node.
      type: int
      sample: 0
    engine:
      description: V(Redis) or V(Valkey).
      type: str
      sample: Redis
    version:
      description: Its version.
      type: str
      sample: 8.0.2
    aof:
      description: Whether it keeps an append-only file.
      type: bool
      sample: true
    keys:
      description: Number of keys in all databases.
      type: int
      sample: 10240
    certificate_days:
      description: Days until the certificate that it shows expires, or -1.
      type: int
      sample: 89
sentinels:
  description: What each sentinel says.
  returned: success
  type: list
  elements: dict
  contains:
    host:
      description: As in O(sentinels).
      type: str
      sample: redis-1
    port:
      description: As in O(sentinels).
      type: int
      sample: 26379
    reachable:
      description: Whether it answered.
      type: bool
      sample: true
    failure_class:
      description: Why it did not answer, in a word.
      type: str
      sample: ""
    error:
      description: Why it did not answer, or that it does not know the set, in a sentence.
      type: str
      sample: ""
    primary_host:
      description: The host that it names as primary.
      type: str
      sample: redis-1
    primary_port:
      description: The port that it names, or 0.
      type: int
      sample: 6379
    config_epoch:
      description: Age of what it knows; the highest is the newest. -1 if it does not know the set.
      type: int
      sample: 2
    flags:
      description: How it sees the primary, V(master) when all is well.
      type: str
      sample: master
    known_sentinels:
      description: Number of sentinels that it knows, with itself.
      type: int
      sample: 3
    known_replicas:
      description: Number of replicas that it knows.
      type: int
      sample: 2
    quorum:
      description: Number of sentinels that have to agree that the primary is down.
      type: int
      sample: 2
    ckquorum:
      description: Whether it sees enough sentinels for a failover.
      type: bool
      sample: true
    tilt:
      description: Whether it stopped to act because its clock or its host stood still.
      type: bool
      sample: false
    version:
      description: Its version.
      type: str
      sample: 8.0.2
    certificate_days:
      description: Days until the certificate that it shows expires, or -1.
      type: int
      sample: 89
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.resultops.celery.plugins.module_utils import _topology

POLL_SECONDS = 0.5


def look(params: dict[str, Any]) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """The result, and the problems by requirement."""
    nodes, sentinels = _topology.ask(params)
    decision, undecided = _topology.Decision(None, "none"), ""
    try:
        decision = _topology.decide(nodes, sentinels)
    except _topology.TopologyError as error:
        undecided = str(error)
    problems = _topology.assess(nodes, sentinels, decision, params["max_lag_bytes"])
    if undecided:
        problems["primary"] = [undecided]
    counted = {"primary", "links", *(("quorum", "agreement") if sentinels else ()), *params["require"]}
    sentences = [sentence for name in _topology.REQUIREMENTS if name in counted for sentence in problems[name]]
    return {
        "changed": False,
        "primary": decision.primary.option if decision.primary else {},
        "source": decision.source,
        "agreed": _topology.agreed(nodes, sentinels),
        "quorum_ok": _topology.has_quorum(sentinels),
        "healthy": not sentences,
        "problems": sentences,
        "nodes": [node.result for node in nodes],
        "sentinels": [sentinel.result for sentinel in sentinels],
    }, problems


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "require": {"type": "list", "elements": "str", "choices": list(_topology.REQUIREMENTS), "default": []},
            "wait": {"type": "int", "default": 0},
            "max_lag_bytes": {"type": "int"},
            **_topology.MEMBER_ARGUMENTS,
            **_topology.LOGIN_ARGUMENTS,
        },
        supports_check_mode=True,
        **_topology.LOGIN_RULES,
    )
    required = module.params["require"]
    deadline = time.monotonic() + module.params["wait"]
    while True:
        result, problems = look(module.params)
        missing = [sentence for name in _topology.REQUIREMENTS if name in required for sentence in problems[name]]
        unmet = missing if required else result["problems"]
        if not unmet or time.monotonic() >= deadline:
            break
        time.sleep(POLL_SECONDS)
    if missing:
        waited = f" after {module.params['wait']} seconds (wait)" if module.params["wait"] else ""
        module.fail_json(msg=f"The set is not as required{waited}: {' '.join(missing)}", **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
