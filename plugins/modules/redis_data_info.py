#!/usr/bin/python
# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Say what data a Redis or Valkey server holds, and whether it is complete."""

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_data_info
short_description: Say what data a Redis or Valkey server holds
version_added: 0.2.0
author:
  - ResultOps engineers (@resultops)
description:
  - Says how many keys the server of this host holds, whether it is a primary or a replica, and whether its data is
    complete, so that a backup can be taken from the right one.
  - Never changes anything.
extends_documentation_fragment:
  - resultops.celery._redis
  - resultops.celery._attributes.info
  - resultops.celery._attributes
seealso:
  - module: resultops.celery.redis_backup
  - module: resultops.celery.redis_restore
"""

EXAMPLES = r"""
- name: Look at the data of the server
  resultops.celery.redis_data_info:
    unix_socket: /run/redis/redis-server.sock
    login_user: admin
    login_password: "{{ vault_redis_admin_password }}"
  register: redis_data
"""

RETURN = r"""
running:
  description: Whether a server is running. All that follows is returned only then.
  returned: success
  type: bool
  sample: true
role:
  description: What the server is, V(primary) or V(replica).
  returned: when running
  type: str
  sample: replica
primary:
  description: Name or address of the primary of a replica. Empty for a primary.
  returned: when running
  type: str
  sample: redis1
complete:
  description: Whether a backup of this server holds everything. It does not while a replica has lost its primary or is
    still copying from it.
  returned: when running
  type: bool
  sample: true
offset:
  description: How much of the replication stream the server has seen.
  returned: when running
  type: int
  sample: 817264
keys:
  description: Keys in all databases.
  returned: when running
  type: int
  sample: 200000
engine:
  description: What the server is.
  returned: when running
  type: str
  sample: Redis
version:
  description: Version of the server.
  returned: when running
  type: str
  sample: 8.0.2
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.resultops.celery.plugins.module_utils import _redis, _redis_data


def described(server: _redis.Server | None) -> dict[str, Any]:
    if server is None:
        return {"changed": False, "running": False}
    facts = server.information()
    state = _redis_data.State.of(facts)
    return {
        "changed": False,
        "running": True,
        "role": state.role,
        "primary": state.primary,
        "complete": state.complete,
        "offset": state.offset,
        "keys": sum(_redis_data.keys_by_database(facts).values()),
        "engine": server.version.product,
        "version": server.version.number,
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec=_redis.CONNECTION_ARGUMENTS, supports_check_mode=True, **_redis.CONNECTION_RULES
    )
    try:
        result = described(_redis.connect(module.params))
    except _redis.RedisError as problem:
        module.fail_json(msg=str(problem))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
