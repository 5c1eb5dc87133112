# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the applications of a RabbitMQ need there: virtual hosts, accounts, permissions, limits, policies, queues."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# How Celery names the queue of a process or thread that waits for results: the UUID in `app.thread_oid`.
REPLY_QUEUE = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
REPLY_POLICY = "reply-queues"
# What a worker talks to others with: events, remote control and the answers to it.
WORKER_NAMES = (
    r"celeryev(\..+)?",
    r"[^@/]+@[^/]+\.celery\.pidbox",
    r"celery\.pidbox",
    r"reply\.celery\.pidbox",
    rf"{REPLY_QUEUE}\.reply\.celery\.pidbox",
)
# Where Celery lets a task with a countdown wait that is bound for a quorum queue.
DELAY_NAMES = (r"celery_delayed_[0-9]+", r"celery_delayed_delivery")
# A message to the default exchange may go to any queue, so that a result finds the queue of whoever asked.
DEFAULT_EXCHANGE = r"amq\.default"
SALT_BYTES = 4

USER_OPTIONS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "password": {"type": "str", "required": True, "no_log": True},
    "role": {"type": "str", "choices": ["worker", "client", "both"], "required": True},
    "max_connections": {"type": "int", "default": 1000},
    "max_channels": {"type": "int", "default": 10000},
}
APPLICATION_OPTIONS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "users": {"type": "list", "elements": "dict", "required": True, "options": USER_OPTIONS},
    "queues": {"type": "list", "elements": "str", "default": ["celery"]},
    "queue_type": {"type": "str", "choices": ["classic", "quorum"], "default": "classic"},
    "permissions": {"type": "str", "choices": ["standard", "strict"], "default": "standard"},
    "max_connections": {"type": "int", "default": 1000},
    "max_queues": {"type": "int", "default": 5000},
    "reply_expires": {"type": "int", "default": 1800},
    "reply_max_length": {"type": "int", "default": 10000},
    "reply_max_bytes": {"type": "int", "default": 67108864},
}


class RabbitmqError(Exception):
    """One sentence for the user, without any secret."""


@dataclass(frozen=True)
class Permission:
    """Regular expressions for the names that an account may create, write to and read from."""

    configure: str
    write: str
    read: str


@dataclass(frozen=True)
class User:
    """An account; the password is a hash in what the server says, and a text in what is wanted."""

    limits: Mapping[str, int]
    tags: tuple[str, ...] = ()
    password: str = field(default="", repr=False)
    password_hash: str = field(default="", repr=False)

    def is_met_by(self, live: User) -> bool:
        return self.limits == live.limits and self.tags == live.tags and verifies(self.password, live.password_hash)


@dataclass
class Definitions:
    """The objects of a server by their names; `queues` are those that the server keeps over a restart."""

    vhosts: dict[str, dict[str, int]] = field(default_factory=dict)
    users: dict[str, User] = field(default_factory=dict)
    permissions: dict[tuple[str, str], Permission] = field(default_factory=dict)
    policies: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    queues: dict[tuple[str, str], str] = field(default_factory=dict)
    version: str = ""


@dataclass(frozen=True)
class Difference:
    """One object that is to be added, changed or removed; `command` removes it."""

    kind: str
    name: str
    before: str = ""
    after: str = ""
    command: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return f"{self.kind} {self.name}"


def password_hash(user: str, password: str) -> str:
    """The hash as RabbitMQ keeps it.

    The salt follows from user and password, so that every run and every node of a cluster writes the same file.
    """
    salt = hmac.digest(password.encode(), user.encode(), "sha256")[:SALT_BYTES]
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def verifies(password: str, live_hash: str) -> bool:
    """Whether the hash that a server holds is that of the password, with whatever salt."""
    try:
        decoded = base64.b64decode(live_hash, validate=True)
    except ValueError:
        return False
    salt, digest = decoded[:SALT_BYTES], decoded[SALT_BYTES:]
    return hmac.compare_digest(digest, hashlib.sha256(salt + password.encode()).digest())


def exactly(*names: str) -> str:
    return f"^({'|'.join(names)})$" if names else "^$"


def permission(role: str, kind: str, queues: Sequence[str], queue_type: str) -> Permission:
    """The narrowest rights with which Celery works.

    strict: the queues of tasks exist already and are declared by nobody, and workers have neither events nor remote
    control. standard: Celery declares its queues, as it does when nothing is configured.
    """
    tasks = [re.escape(name) for name in queues]
    waits = [REPLY_QUEUE] if role in ("client", "both") else []
    works = tasks if role in ("worker", "both") else []
    if kind == "strict":
        return Permission(exactly(*waits), exactly(DEFAULT_EXCHANGE), exactly(*works, *waits))
    own = [*tasks, *(WORKER_NAMES if works else [])]
    # Only a worker declares where delayed tasks wait; a client has to know those names to send there.
    delays = list(DELAY_NAMES) if queue_type == "quorum" else []
    declared = [*own, *(delays if works else []), *waits]
    return Permission(
        exactly(*declared), exactly(*own, *delays, DEFAULT_EXCHANGE), exactly(*own, *(delays if works else []), *waits)
    )


def wanted(applications: Sequence[Mapping[str, Any]]) -> Definitions:
    """What the applications need, each in a virtual host of its own."""
    result = Definitions()
    for application in applications:
        vhost = application["name"]
        result.vhosts[vhost] = {
            "max-connections": application["max_connections"],
            "max-queues": application["max_queues"],
        }
        result.policies[vhost, REPLY_POLICY] = {
            "pattern": f"^{REPLY_QUEUE}$",
            "apply-to": "queues",
            "priority": 10,
            "definition": {
                "expires": application["reply_expires"] * 1000,
                "message-ttl": application["reply_expires"] * 1000,
                "max-length": application["reply_max_length"],
                "max-length-bytes": application["reply_max_bytes"],
                "overflow": "drop-head",
            },
        }
        for queue in application["queues"]:
            result.queues[vhost, queue] = application["queue_type"]
        for user in application["users"]:
            result.users[user["name"]] = User(
                limits={"max-connections": user["max_connections"], "max-channels": user["max_channels"]},
                password=user["password"],
                password_hash=password_hash(user["name"], user["password"]),
            )
            result.permissions[vhost, user["name"]] = permission(
                user["role"], application["permissions"], application["queues"], application["queue_type"]
            )
    return result


def parsed(text: str) -> Definitions:
    """What a server exports, or a file of definitions holds."""
    data = json.loads(text)
    result = Definitions(version=data.get("rabbitmq_version") or "")
    for vhost in data.get("vhosts", []):
        result.vhosts[vhost["name"]] = {}
    for parameter in data.get("parameters", []):
        if parameter["component"] == "vhost-limits":
            result.vhosts.setdefault(parameter["vhost"], {}).update(parameter["value"])
    for user in data.get("users", []):
        tags = user.get("tags") or ()
        result.users[user["name"]] = User(
            limits=dict(user.get("limits") or {}),
            tags=tuple(tag for tag in (tags.split(",") if isinstance(tags, str) else tags) if tag),
            password_hash=user.get("password_hash") or "",
        )
    for entry in data.get("permissions", []):
        result.permissions[entry["vhost"], entry["user"]] = Permission(
            entry["configure"], entry["write"], entry["read"]
        )
    for policy in data.get("policies", []):
        result.policies[policy["vhost"], policy["name"]] = {
            key: policy[key] for key in ("pattern", "apply-to", "priority", "definition")
        }
    for queue in data.get("queues", []):
        result.queues[queue["vhost"], queue["name"]] = queue.get("arguments", {}).get("x-queue-type", "classic")
    return result


def rendered(definitions: Definitions) -> str:
    """The file that a server loads when it starts, and that can be imported into a running one."""
    data = {
        "users": [
            {
                "name": name,
                "password_hash": user.password_hash,
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": list(user.tags),
                "limits": user.limits,
            }
            for name, user in sorted(definitions.users.items())
        ],
        "vhosts": [{"name": name} for name in sorted(definitions.vhosts)],
        "permissions": [
            {"vhost": vhost, "user": user, "configure": item.configure, "write": item.write, "read": item.read}
            for (vhost, user), item in sorted(definitions.permissions.items())
        ],
        "parameters": [
            {"component": "vhost-limits", "name": "limits", "vhost": name, "value": limits}
            for name, limits in sorted(definitions.vhosts.items())
        ],
        "policies": [
            {"vhost": vhost, "name": name, **policy} for (vhost, name), policy in sorted(definitions.policies.items())
        ],
        "queues": [
            {
                "vhost": vhost,
                "name": name,
                "durable": True,
                "auto_delete": False,
                "arguments": {"x-queue-type": "quorum"} if kind == "quorum" else {},
            }
            for (vhost, name), kind in sorted(definitions.queues.items())
        ],
    }
    return json.dumps(data, indent=2) + "\n"


def masked(text: str) -> str:
    """A file of definitions without its hashes."""
    return re.sub(r'("password_hash": ")[^"]*', r"\1********", text)


def differences(goal: Definitions, live: Definitions) -> Iterator[Difference]:
    """What a running server lacks, has otherwise, or has too much."""
    yield from _of_permissions(goal, live)
    yield from _of_policies(goal, live)
    for key, kind in sorted(goal.queues.items()):
        if key not in live.queues:
            yield Difference("queue", "/".join(key), "", kind)
    yield from _of_users(goal, live)
    # Last, because nothing can be taken out of a virtual host that is gone.
    yield from _of_vhosts(goal, live)


def _of_permissions(goal: Definitions, live: Definitions) -> Iterator[Difference]:
    for (vhost, user), rights in sorted(goal.permissions.items()):
        there = live.permissions.get((vhost, user))
        if there != rights:
            yield Difference("permission", f"{vhost}/{user}", _shown(there), _shown(rights))
    # Those of a virtual host or an account that is removed go with it.
    for vhost, user in sorted(live.permissions.keys() - goal.permissions.keys()):
        if user in goal.users:
            command = ("clear_permissions", "-p", vhost, user)
            yield Difference("permission", f"{vhost}/{user}", _shown(live.permissions[vhost, user]), "", command)


def _of_policies(goal: Definitions, live: Definitions) -> Iterator[Difference]:
    for key, policy in sorted(goal.policies.items()):
        if live.policies.get(key) != policy:
            yield Difference("policy", "/".join(key), _shown(live.policies.get(key)), _shown(policy))
    for vhost, name in sorted(live.policies.keys() - goal.policies.keys()):
        if vhost in goal.vhosts:
            command = ("clear_policy", "-p", vhost, name)
            yield Difference("policy", f"{vhost}/{name}", _shown(live.policies[vhost, name]), "", command)


def _of_vhosts(goal: Definitions, live: Definitions) -> Iterator[Difference]:
    for name, limits in sorted(goal.vhosts.items()):
        if live.vhosts.get(name) != limits:
            yield Difference("vhost", name, _shown(live.vhosts.get(name)), _shown(limits))
    for name in sorted(live.vhosts.keys() - goal.vhosts.keys()):
        yield Difference("vhost", name, _shown(live.vhosts[name]) or "{}", "", ("delete_vhost", name))


def _of_users(goal: Definitions, live: Definitions) -> Iterator[Difference]:
    for name, user in sorted(goal.users.items()):
        there = live.users.get(name)
        if there is None or not user.is_met_by(there):
            word = "" if there is None or verifies(user.password, there.password_hash) else " with another password"
            before = "" if there is None else f"{_shown(there.limits)} tags {list(there.tags)}{word}"
            yield Difference("user", name, before, f"{_shown(user.limits)} tags {list(user.tags)}")
    for name in sorted(live.users.keys() - goal.users.keys()):
        there = live.users[name]
        yield Difference("user", name, f"{_shown(there.limits)} tags {list(there.tags)}", "", ("delete_user", name))


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, Permission):
        return f"configure {value.configure} write {value.write} read {value.read}"
    return json.dumps(value, sort_keys=True)


def unchangeable(goal: Definitions, live: Definitions) -> list[str]:
    """One sentence for each queue that exists with another type, which no server can change."""
    return [
        f"The queue {name} in the virtual host {vhost} exists as a {live.queues[vhost, name]} queue, but "
        f"queue_type is {kind}: empty and delete it first, or set queue_type to {live.queues[vhost, name]}."
        for (vhost, name), kind in sorted(goal.queues.items())
        if live.queues.get((vhost, name), kind) != kind
    ]
