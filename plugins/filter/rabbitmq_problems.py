# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible.utils.display import Display

from ..module_utils._secrets import secret_problems

DOCUMENTATION = r"""
name: rabbitmq_problems
short_description: What is wrong with a RabbitMQ, its applications and its cluster
version_added: 0.4.0
author: ResultOps engineers (@resultops)
description:
  - Judges on the controller what the role C(rabbitmq) was given, before anything changes.
  - What works but costs more than it seems is said as a warning.
  - No sentence ever contains a password.
options:
  _input:
    description: What the role was given.
    type: dict
    required: true
    suboptions:
      applications:
        description: The value of C(rabbitmq_applications).
        type: list
        elements: dict
        required: true
      group:
        description: The value of C(rabbitmq_cluster_group); empty for a host that stands alone.
        type: str
        default: ""
      members:
        description: The hosts of the group, as P(resultops.celery.set_members#filter) returns them.
        type: list
        elements: dict
        default: []
      releases:
        description: The major versions of Debian that the members run, as far as they are known.
        type: list
        elements: str
        default: []
      host:
        description: Inventory name of the host that is judged.
        type: str
        required: true
      node_name:
        description: Name of its node.
        type: str
        required: true
      erlang_cookie:
        description: The secret by which the nodes of a cluster know each other.
        type: str
        default: ""
      bind:
        description: Addresses that it listens on.
        type: list
        elements: str
        required: true
      memory_high_watermark:
        description: Threshold of memory.
        type: str
        required: true
      disk_free_limit:
        description: Threshold of free disk space.
        type: str
        required: true
      heartbeat:
        description: Seconds between heartbeats.
        type: int
        required: true
      settings:
        description: The value of C(rabbitmq_extra_settings).
        type: dict
        default: {}
"""

EXAMPLES = r"""
- name: Refuse what cannot work
  ansible.builtin.assert:
    that: problems | length == 0
    fail_msg: "{{ problems | join(' ') }}"
  vars:
    problems: "{{ given | resultops.celery.rabbitmq_problems }}"
    given:
      host: mq1.example.com
      node_name: rabbit@localhost
      bind: [127.0.0.1]
      memory_high_watermark: 40%
      disk_free_limit: 1GiB
      heartbeat: 30
      applications:
        - name: shop
          users:
            - {name: shop_worker, password: "{{ vault_rabbitmq_shop_worker_password }}", role: worker}
"""

RETURN = r"""
_value:
  description: One sentence for each problem, with the variable and the remedy.
  type: list
  elements: str
"""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
REPLY_QUEUE = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
ROLES = ("worker", "client", "both")
# With a B: of 1G and 1Gi each release of RabbitMQ makes something else.
SIZE = re.compile(r"[1-9][0-9]*([kmg]i?b)?", re.IGNORECASE)
SHARE = re.compile(r"[1-9][0-9]?%")
# What the role sets itself, by the beginnings of the names.
OWNED = (
    "auth_mechanisms",
    "cluster_formation",
    "cluster_partition_handling",
    "default_pass",
    "default_user",
    "definitions",
    "disk_free_limit",
    "distribution.listener",
    "heartbeat",
    "listeners",
    "load_definitions",
    "loopback_users",
    "max_message_size",
    "prometheus",
    "ssl_options",
    "vm_memory_high_watermark",
)
COOKIE_LENGTH = 255


def problems_of(given: Mapping[str, Any]) -> list[str]:
    applications = given["applications"]
    if not isinstance(applications, Sequence) or isinstance(applications, str):
        return ["rabbitmq_applications must be a list of applications, each with name and users."]
    return [
        *_of_applications(applications),
        *_of_users(applications),
        *_of_server(given),
        *(_of_cluster(given) if given.get("group") else _of_cookie(given, needed=not _is_local(given))),
    ]


def warnings_of(given: Mapping[str, Any]) -> list[str]:
    if not given.get("group"):
        return []
    return [
        f"rabbitmq_applications[{application.get('name')}].queue_type is classic: tasks lie on one node of the cluster "
        "and are out of reach while it is down; quorum keeps them on a majority."
        for application in given["applications"]
        if application.get("queue_type", "classic") == "classic"
    ]


def _of_applications(applications: Sequence[Any]) -> Iterator[str]:
    if not applications:
        yield "rabbitmq_applications is empty: list at least one application with its users."
    for application in applications:
        if not isinstance(application, Mapping) or not isinstance(application.get("name"), str):
            yield "rabbitmq_applications holds an entry without a name: give each application name and users."
        else:
            yield from _of_application(application["name"], application)
    for name in _twice(application.get("name") for application in applications if isinstance(application, Mapping)):
        yield f"rabbitmq_applications names {name} twice: each application has a virtual host of its own."


def _of_application(name: str, application: Mapping[str, Any]) -> Iterator[str]:
    if not NAME.fullmatch(name):
        yield (
            f"rabbitmq_applications: the name '{name}' must consist of letters, digits, _, . and - and begin with a "
            "letter or a digit."
        )
    if not any(user.get("role") in ("worker", "both") for user in application.get("users") or []):
        yield f"rabbitmq_applications[{name}].users has no account with the role worker or both: no task would run."
    yield from _of_queues(name, application.get("queues", ["celery"]))
    if int(application.get("reply_expires", 1800)) < 10:
        yield f"rabbitmq_applications[{name}].reply_expires must be 10 seconds or more."
    for limit in ("max_connections", "max_queues", "reply_max_length", "reply_max_bytes"):
        if int(application.get(limit, 1)) < 1:
            yield f"rabbitmq_applications[{name}].{limit} must be 1 or more."


def _of_queues(name: str, queues: Sequence[str]) -> Iterator[str]:
    if not queues:
        yield f"rabbitmq_applications[{name}].queues is empty: list the queues of its tasks, usually celery."
    for queue in queues:
        if REPLY_QUEUE.fullmatch(queue) or queue.startswith("amq.") or not queue:
            yield (
                f"rabbitmq_applications[{name}].queues must not hold '{queue}': names like a UUID are those of "
                "replies, and those that begin with amq. belong to the server."
            )


def _of_users(applications: Sequence[Any]) -> Iterator[str]:
    users = [
        (application.get("name"), user)
        for application in applications
        if isinstance(application, Mapping)
        for user in application.get("users") or []
    ]
    for application, user in users:
        name = str(user.get("name", ""))
        where = f"rabbitmq_applications[{application}].users[{name}]"
        if not NAME.fullmatch(name) or name == "guest":
            yield (
                f"{where} needs another name: letters, digits, _, . and -, and not guest, whose password everybody "
                "knows."
            )
        if user.get("role") not in ROLES:
            yield f"{where}.role is '{user.get('role', '')}': set it to worker, client or both."
        for limit in ("max_connections", "max_channels"):
            if int(user.get(limit, 1)) < 1:
                yield f"{where}.{limit} must be 1 or more."
        yield from secret_problems({f"{where}.password": user.get("password")})
    for name in _twice(user.get("name") for _application, user in users):
        yield f"rabbitmq_applications has two users of the name {name}: accounts are those of the whole server."


def _of_server(given: Mapping[str, Any]) -> Iterator[str]:
    if not given["bind"] or "" in given["bind"]:
        yield (
            f"rabbitmq_bind is empty or has an empty address on {given['host']}, as on a host without a default IPv4 "
            "address: list the addresses that the server listens on."
        )
    memory, disk = str(given["memory_high_watermark"]), str(given["disk_free_limit"])
    if not SHARE.fullmatch(memory) and not SIZE.fullmatch(memory):
        yield (
            f"rabbitmq_memory_high_watermark is '{memory}': it must be a share of the host's memory such as 40%, or a "
            "size such as 512MiB."
        )
    if not SIZE.fullmatch(disk):
        yield f"rabbitmq_disk_free_limit is '{disk}': it must be a size such as 1GiB."
    if int(given["heartbeat"]) < 5:
        yield f"rabbitmq_heartbeat is {given['heartbeat']}: below 5 seconds a busy process is taken for a dead one."
    for name in sorted(given.get("settings") or {}):
        if name.startswith(OWNED):
            yield f"rabbitmq_extra_settings sets {name}, which the role sets itself: use its own variable."
    if not re.fullmatch(r"[a-z0-9_-]+@[A-Za-z0-9.-]+", str(given["node_name"])):
        yield f"rabbitmq_node_name is '{given['node_name']}': it must be a name such as rabbit@localhost."


def _of_cluster(given: Mapping[str, Any]) -> Iterator[str]:
    group, members = given["group"], given.get("members") or []
    yield from _of_cookie(given, needed=True)
    if len(members) < 3 or len(members) % 2 == 0:
        yield (
            f"The group {group} (rabbitmq_cluster_group) has {len(members)} hosts: a cluster needs an odd number of at "
            "least three, so that a majority remains when one is lost."
        )
    if given["host"] not in [member["name"] for member in members]:
        yield f"{given['host']} is not in the group {group} (rabbitmq_cluster_group)."
    releases = sorted(set(given.get("releases") or []))
    if len(releases) > 1:
        yield (
            f"The hosts of the group {group} (rabbitmq_cluster_group) run Debian {' and '.join(releases)}, whose "
            "versions of RabbitMQ cannot form one cluster: let all run the same release."
        )
    yield from _of_names(group, members)
    own = next((member["hostname"] for member in members if member["name"] == given["host"]), None)
    if own and given["node_name"] != f"rabbit@{own}":
        yield f"rabbitmq_node_name of {given['host']} must be rabbit@{own} in a cluster."


def _of_names(group: str, members: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for name in _twice(member["hostname"] for member in members):
        yield f"Two hosts of the group {group} have the name {name} (rabbitmq_hostname)."
    if len({"." in member["hostname"] for member in members}) > 1:
        yield f"The hosts of the group {group} have short and long names (rabbitmq_hostname): use one kind."
    for member in members:
        if member["hostname"] == "localhost":
            yield f"rabbitmq_hostname of {member['name']} is localhost, by which no other node finds it."
        if not member.get("address"):
            yield f"The address of {member['name']} is not known: set rabbitmq_address for it."
        if member["hostname"] not in member.get("dns_names", [member["hostname"]]):
            yield f"rabbitmq_tls_dns_names of {member['name']} lacks {member['hostname']}, its name in the cluster."


def _of_cookie(given: Mapping[str, Any], *, needed: bool) -> Iterator[str]:
    cookie = given.get("erlang_cookie") or ""
    if cookie or needed:
        found = secret_problems({"rabbitmq_erlang_cookie": cookie})
        yield from found
        if not found and (len(cookie) > COOKIE_LENGTH or not re.fullmatch(r"[!-~]+", cookie)):
            yield (
                f"rabbitmq_erlang_cookie must be at most {COOKIE_LENGTH} characters of ASCII without spaces: Erlang "
                "reads no others."
            )


def _is_local(given: Mapping[str, Any]) -> bool:
    return str(given["node_name"]).endswith("@localhost")


def _twice(names: Iterator[Any]) -> list[str]:
    return sorted(str(name) for name, count in Counter(names).items() if name and count > 1)


def rabbitmq_problems(given: Mapping[str, Any]) -> list[str]:
    if not isinstance(given, Mapping):
        raise AnsibleFilterError("rabbitmq_problems needs a dictionary of what the role was given.")
    found = problems_of(given)
    if not found:
        for warning in warnings_of(given):
            Display().warning(warning)
    return found


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"rabbitmq_problems": rabbitmq_problems}
