# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ..module_utils._secrets import secret_problems

DOCUMENTATION = r"""
name: sql_application_problems
short_description: What is wrong with the applications that share an SQL server
version_added: 0.3.0
author: ResultOps engineers (@resultops)
description:
  - Judges on the controller the applications of the roles C(postgresql) and C(mysql), before anything changes.
  - No sentence ever contains a password.
options:
  _input:
    description: What the role was given. C(prefix) is the role's name, with which the sentences name its variables.
    type: dict
    required: true
    suboptions:
      prefix:
        description: V(postgresql) or V(mysql).
        type: str
        required: true
      applications:
        description: The applications.
        type: list
        elements: dict
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
      monitor_password:
        description: Its password, which is needed with O(_input.monitor_clients) only.
        type: str
        default: ""
      monitor_clients:
        description: Networks from which the monitoring asks.
        type: list
        elements: str
        default: []
      max_connections:
        description: What the server was told to allow. V(0) means that it is derived from the applications.
        type: int
        default: 0
      reserved_connections:
        description: Connections that the role itself needs beside those of the applications.
        type: int
        default: 0
"""

EXAMPLES = r"""
- name: Refuse applications that cannot work
  ansible.builtin.assert:
    that: given | resultops.celery.sql_application_problems | length == 0
  vars:
    given:
      prefix: postgresql
      applications:
        - name: shop
          password: "{{ vault_postgresql_shop_password }}"
      clients: [192.0.2.0/24]
"""

RETURN = r"""
_value:
  description: One sentence for each problem, with the variable and the remedy.
  type: list
  elements: str
"""

# Room for the ending of _owner and _purge in the 63 characters of PostgreSQL.
NAME = re.compile(r"[a-z][a-z0-9_]{0,55}")
RESERVED = frozenset(
    ("information_schema", "mariadb", "mysql", "performance_schema", "postgres", "public", "root", "sys", "test")
)
# Words that neither server takes as a name without quotes, and that people would forget to quote.
KEYWORDS = frozenset(
    ("all", "any", "default", "group", "order", "replication", "sameuser", "samerole", "select", "user")
)
DEFAULT_LIMIT = 20


def sql_application_problems(given: Mapping[str, Any]) -> list[str]:
    prefix = given["prefix"]
    applications = list(given["applications"])
    variable = f"{prefix}_applications"
    if not applications:
        return [f"{variable} is empty: list at least one application with its name and password."]
    unnamed = [number for number, application in enumerate(applications) if not application.get("name")]
    if unnamed:
        return [f"{variable}[{number}] has no name: each application needs one." for number in unnamed]
    problems = [*_secrets(given, applications, variable)]
    for application in applications:
        problems += _names(application, variable)
        problems += _addresses(application, given, variable)
        if int(application.get("connection_limit", DEFAULT_LIMIT)) < 1:
            problems.append(f"{variable}[{application['name']}].connection_limit must be 1 or more.")
    problems += _network_problems(f"{prefix}_clients", given.get("clients", []), prefix)
    problems += _network_problems(f"{prefix}_monitor_clients", given.get("monitor_clients", []), prefix)
    problems += _shared_names(applications, given.get("monitor_user", "results_monitor"), variable)
    return [*problems, *_connections(given, applications, prefix)]


def _secrets(given: Mapping[str, Any], applications: Sequence[Mapping[str, Any]], variable: str) -> list[str]:
    values: dict[str, Any] = {}
    for application in applications:
        place = f"{variable}[{application['name']}]"
        values[f"{place}.password"] = application.get("password")
        for optional in ("purge_password", "owner_password"):
            if application.get(optional):
                values[f"{place}.{optional}"] = application[optional]
        for role in ("purge", "owner"):
            if application.get(f"{role}_clients") and not application.get(f"{role}_password"):
                values[f"{place}.{role}_password"] = ""
    if given.get("monitor_clients") or given.get("monitor_password"):
        values[f"{given['prefix']}_monitor_password"] = given.get("monitor_password")
    problems = secret_problems(values)
    if given["prefix"] == "mysql":
        # PyMySQL would send them in another encoding than other clients.
        wrong = [place for place, value in values.items() if value and not str(value).isascii()]
        problems += [
            f"{place} has a character outside ASCII, with which not every client can log in." for place in wrong
        ]
    return problems


def _names(application: Mapping[str, Any], variable: str) -> Iterator[str]:
    for option in ("name", "schema", "database", "username"):
        value = application.get(option)
        if not value:
            continue
        if not NAME.fullmatch(str(value)):
            yield (
                f"{variable}[{application['name']}].{option} is '{value}': use up to 56 lower-case letters, digits and "
                "underscores, beginning with a letter."
            )
        elif value in RESERVED | KEYWORDS or str(value).startswith("pg_"):
            yield f"{variable}[{application['name']}].{option} is '{value}', which the server keeps for itself."


def _addresses(application: Mapping[str, Any], given: Mapping[str, Any], variable: str) -> Iterator[str]:
    place = f"{variable}[{application['name']}]"
    if not application.get("clients") and not given.get("clients"):
        yield (
            f"{place} has no clients and {given['prefix']}_clients is empty, so that none of its workers could "
            "connect: list their networks, such as 192.0.2.0/24."
        )
    for option in ("clients", "purge_clients", "owner_clients"):
        yield from _network_problems(f"{place}.{option}", application.get(option) or [], given["prefix"])


def _network_problems(place: str, networks: Sequence[object], prefix: str) -> Iterator[str]:
    for network in networks:
        try:
            parsed = ipaddress.ip_network(str(network))
        except ValueError:
            yield f"{place} has '{network}', which is no network: write it as 192.0.2.0/24 or 192.0.2.7/32."
            continue
        if "/" not in str(network):
            yield f"{place} has '{network}' without the length of its prefix: write {parsed} for one host."
        elif prefix == "mysql" and parsed.version == 6 and 0 < parsed.prefixlen < 128:
            yield f"{place} has '{network}': MariaDB knows no networks of IPv6, only single addresses or ::/0."


def _shared_names(applications: Sequence[Mapping[str, Any]], monitor: str, variable: str) -> Iterator[str]:
    taken: dict[str, str] = {monitor: "the monitoring"}
    schemas: dict[str, str] = {}
    for application in applications:
        own = application["name"]
        kind = "database" if variable.startswith("mysql") else "schema"
        schema = application.get(kind) or own
        if schema in schemas:
            yield f"{variable}: {schemas[schema]} and {own} share the {kind} {schema}: give each one of its own."
        schemas.setdefault(schema, own)
        for role in (application.get("username") or own, f"{own}_owner", f"{own}_purge"):
            if role in taken:
                yield f"{variable}: {taken[role]} and {own} share the name {role}: give each one of its own."
            taken.setdefault(role, own)


def _connections(given: Mapping[str, Any], applications: Sequence[Mapping[str, Any]], prefix: str) -> Iterator[str]:
    limit = int(given.get("max_connections", 0))
    wanted = sum(int(application.get("connection_limit", DEFAULT_LIMIT)) for application in applications)
    reserved = int(given.get("reserved_connections", 0))
    if limit and wanted + reserved > limit:
        yield (
            f"{prefix}_max_connections is {limit}, but the applications may open {wanted} connections and {reserved} "
            f"are kept for administration: allow {wanted + reserved}, or lower a connection_limit."
        )


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"sql_application_problems": sql_application_problems}
