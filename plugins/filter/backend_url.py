# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: backend_url
short_description: Build the URL of a Celery result backend
version_added: 0.1.0
author: ResultOps engineers (@resultops)
description:
  - Turns a backend description and a password into the URL that Celery takes as result backend.
  - The same URL of a Redis works as broker URL, because Celery and its broker library read it alike. That does not hold
    for the profiles V(fast) and V(durable), which are for results only.
  - User name, password and paths are percent-encoded, so that every printable character is allowed in them.
  - A URL of kind V(redis) verifies the chain and the host name of the server. Plaintext is only possible where the
    entry C(tls) of the description is V(false).
  - A URL of kind V(sentinel) names all sentinels and carries the account of the primary. Celery takes no TLS parameters
    from it, nor the account of the sentinels; both are among what P(resultops.celery.celery_settings#filter) gives.
  - The profiles V(fast) and V(durable) put their class before the scheme, for example
    C(celeryresults.DurableSentinelBackend+sentinel://). C(celeryresults) is the module that the role
    P(resultops.celery.worker#role) puts beside C(celeryconfig.py). Celery needs no setting to find it.
  - A URL of kind V(postgresql) is for psycopg 3 and one of kind V(mysql) for PyMySQL, as
    C(db+postgresql+psycopg://user:password@host:5432/results?sslmode=verify-full&sslrootcert=/path). With the profile
    V(fast), C(celerysqlresults.FastDatabaseBackend) takes the place of C(db). PyMySQL takes TLS from
    P(resultops.celery.celery_settings#filter).
  - The URL of kind V(rpc) is always C(rpc://), because results come back through the broker. That of the broker is
    built by P(resultops.celery.amqp_url#filter).
positional: password
options:
  _input:
    description:
      - The backend description, a dictionary with the entries C(kind) (V(redis), V(sentinel), V(postgresql), V(mysql)
        or V(rpc), which has no other entry), C(hosts) (a list of one name, or of those of all sentinels), C(port),
        C(profile) (V(stock), V(fast) or V(durable)), C(username), C(database), C(tls), C(ca_file), C(certificate_file)
        and C(private_key_file).
      - With the kinds V(redis) and V(sentinel) also C(key_prefix).
      - With the kind V(sentinel) also C(primary_name) (V(results) by default) and C(sentinel_username).
      - With the kind V(postgresql) also C(schema) and C(pooler) (V(none), V(session) or V(transaction)). SQL has no
        profile V(durable).
    type: dict
    required: true
  password:
    description: The password of the backend user. Required, but for the kind V(rpc), which has none.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Put the URL into the environment of the worker
  ansible.builtin.set_fact:
    example_url: "{{ description | resultops.celery.backend_url(vault_redis_celery_password) }}"
  no_log: true
  vars:
    description:
      kind: redis
      hosts: [redis1.example.org]
      username: celery
      ca_file: /etc/celery/app/ca.crt

- name: The same over Sentinel, with results that are on a replica before they count as stored
  ansible.builtin.set_fact:
    example_url: "{{ description | resultops.celery.backend_url(vault_redis_celery_password) }}"
  no_log: true
  vars:
    description:
      kind: sentinel
      hosts: [redis1.example.org, redis2.example.org, redis3.example.org]
      profile: durable
      username: celery
      sentinel_username: client
      ca_file: /etc/celery/app/ca.crt

- name: The same for results in PostgreSQL
  ansible.builtin.set_fact:
    example_url: "{{ description | resultops.celery.backend_url(vault_postgresql_shop_password) }}"
  no_log: true
  vars:
    description:
      kind: postgresql
      hosts: [db1.example.org]
      profile: fast
      username: shop
      database: results
      schema: shop
      ca_file: /etc/celery/app/ca.crt
"""

RETURN = r"""
_value:
  description: The URL, which contains the password.
  type: str
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.resultops.celery.plugins.module_utils import _backend


def backend_url(description: Mapping[str, Any], password: object = None) -> str:
    try:
        return _backend.backend_url(description, password)
    except _backend.BackendError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"backend_url": backend_url}
