# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

DOCUMENTATION = r"""
name: postgresql_hba_rules
short_description: Who may connect to a database of results
version_added: 0.3.0
author: ResultOps engineers (@resultops)
description:
  - Gives the rules for C(pg_hba.conf) in the form that M(community.postgresql.postgresql_pg_hba) takes, for all
    applications that keep their results in one database.
  - Over the network only encrypted sessions are let in, with SCRAM, each role only to this database and only from its
    own addresses. On the host itself C(root) and C(postgres) may be the superuser and the roles that need no password
    there.
  - The last two rules refuse everything else.
options:
  _input:
    description: Applications with C(name), and with C(username), C(clients) and C(purge_clients) where those are set.
    type: list
    elements: dict
    required: true
  database:
    description: The database.
    type: str
    required: true
  clients:
    description: Networks of the workers of applications that have no C(clients).
    type: list
    elements: str
    default: []
  monitor_user:
    description: The role of the monitoring.
    type: str
    default: results_monitor
  monitor_clients:
    description: Networks from which the monitoring asks.
    type: list
    elements: str
    default: []
  identity_map:
    description: Name of the map in C(pg_ident.conf) that says who may be whom on the host.
    type: str
    default: resultops
"""

EXAMPLES = r"""
- name: Keep who may connect
  community.postgresql.postgresql_pg_hba:
    dest: /etc/postgresql/17/main/pg_hba.conf
    overwrite: true
    sort_rules: false
    rules: "{{ postgresql_applications | resultops.celery.postgresql_hba_rules('results', ['192.0.2.0/24']) }}"
"""

RETURN = r"""
_value:
  description: The rules in their order.
  type: list
  elements: dict
"""


def postgresql_hba_rules(
    applications: Sequence[Mapping[str, Any]],
    database: str,
    clients: Sequence[str] = (),
    monitor_user: str = "results_monitor",
    monitor_clients: Sequence[str] = (),
    identity_map: str = "resultops",
) -> list[dict[str, str]]:
    on_the_host = ",".join([*(f"{application['name']}_purge" for application in applications), monitor_user])
    peer = {"contype": "local", "method": "peer", "options": f"map={identity_map}"}
    rules = [
        {**peer, "databases": "all", "users": "postgres"},
        {**peer, "databases": database, "users": on_the_host},
    ]
    for application in applications:
        user = application.get("username") or application["name"]
        rules += _encrypted(database, user, application.get("clients") or clients)
        rules += _encrypted(database, f"{application['name']}_purge", application.get("purge_clients") or [])
    rules += _encrypted(database, monitor_user, monitor_clients)
    refused = {"databases": "all", "users": "all", "method": "reject"}
    return [*rules, {"contype": "local", **refused}, {"contype": "host", "address": "all", **refused}]


def _encrypted(database: str, user: str, addresses: Sequence[str]) -> list[dict[str, str]]:
    rule = {"contype": "hostssl", "databases": database, "users": user, "method": "scram-sha-256"}
    return [{**rule, "address": str(address)} for address in addresses]


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"postgresql_hba_rules": postgresql_hba_rules}
