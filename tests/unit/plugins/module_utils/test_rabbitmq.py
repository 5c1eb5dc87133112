# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which names an account may touch, and how two sets of definitions are compared."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _rabbitmq

REPLIES = "8f14e45f-ceea-467f-a8b1-0d6f3c2f4f11"
# What Celery 5.7 and Kombu 5.7 name the things that a worker talks to others with.
OWN = [
    "celeryev",
    "celeryev.4fba04ae-2f6e-4a2e-9e3b-1b9e2f6f5a11",
    "celery@worker1.example.com.celery.pidbox",
    "probe-2@worker1.celery.pidbox",
    "celery.pidbox",
    "reply.celery.pidbox",
    f"{REPLIES}.reply.celery.pidbox",
]


def application(**more: Any) -> dict[str, Any]:
    users = [
        {"name": "w", "role": "worker", "password": "x" * 16, "max_connections": 5, "max_channels": 6},
        {"name": "c", "role": "client", "password": "y" * 16, "max_connections": 5, "max_channels": 6},
    ]
    known = {"name": "shop", "users": users, "queues": ["celery", "a.b"], "queue_type": "classic"}
    limits = {"permissions": "standard", "max_connections": 7, "max_queues": 8}
    replies = {"reply_expires": 60, "reply_max_length": 9, "reply_max_bytes": 10}
    return {**known, **limits, **replies, **more}


def may(role: str, action: str, name: str, kind: str = "standard", queue_type: str = "classic") -> bool:
    rights = _rabbitmq.permission(role, kind, ["celery", "a.b"], queue_type)
    return re.search(getattr(rights, action), name) is not None


@pytest.mark.parametrize("action", ["configure", "write", "read"])
@pytest.mark.parametrize("name", [*OWN, "celery", "a.b"])
def test_a_worker_may_what_celery_does(action: str, name: str) -> None:
    assert may("worker", action, name)


@pytest.mark.parametrize("action", ["configure", "write", "read"])
@pytest.mark.parametrize("name", ["axb", "celery2", "xcelery", "amq.topic", REPLIES, "default", ""])
def test_a_worker_may_nothing_else(action: str, name: str) -> None:
    assert not may("worker", action, name)


def test_a_client_waits_on_its_own_queue_and_sends_tasks() -> None:
    assert may("client", "configure", REPLIES)
    assert may("client", "read", REPLIES)
    assert may("client", "write", "celery")
    assert may("client", "write", "amq.default")
    assert not may("client", "write", REPLIES)
    assert not any(may("client", action, name) for action in ("configure", "write", "read") for name in OWN)


def test_with_strict_rights_nobody_declares_and_only_workers_read_tasks() -> None:
    assert _rabbitmq.permission("worker", "strict", ["celery"], "quorum") == _rabbitmq.Permission(
        "^$", r"^(amq\.default)$", "^(celery)$"
    )
    assert may("client", "configure", REPLIES, "strict")
    assert not may("client", "read", "celery", "strict")
    assert not may("client", "write", "celery", "strict")


def test_who_does_both_may_what_both_may() -> None:
    for action in ("configure", "read"):
        assert may("both", action, REPLIES)
        assert may("both", action, "celery")
    assert may("both", "read", "celery", "strict")


def test_tasks_for_quorum_queues_may_wait() -> None:
    for action in ("configure", "write", "read"):
        assert may("worker", action, "celery_delayed_27", queue_type="quorum")
        assert not may("worker", action, "celery_delayed_27")
    assert may("client", "write", "celery_delayed_27", queue_type="quorum")
    assert not may("client", "configure", "celery_delayed_27", queue_type="quorum")


def test_a_hash_is_that_of_the_server_and_always_the_same() -> None:
    first = _rabbitmq.password_hash("u", "pässword")
    assert first == _rabbitmq.password_hash("u", "pässword") != _rabbitmq.password_hash("v", "pässword")
    assert _rabbitmq.verifies("pässword", first)
    assert not _rabbitmq.verifies("password", first)
    # From the server's documentation: the password test12 with the salt 908DC60A.
    assert _rabbitmq.verifies("test12", "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR")
    assert not _rabbitmq.verifies("", "")
    assert not _rabbitmq.verifies("x", "no base 64")


def test_what_is_written_reads_back_as_no_difference() -> None:
    goal = _rabbitmq.wanted([application(), application(name="second", users=[], queue_type="quorum")])
    text = _rabbitmq.rendered(goal)
    assert list(_rabbitmq.differences(goal, _rabbitmq.parsed(text))) == []
    assert "x" * 16 not in text
    assert "kI3" not in _rabbitmq.masked(text.replace("=", ""))
    assert all(entry["password_hash"] == "********" for entry in json.loads(_rabbitmq.masked(text))["users"])


def test_nobody_sees_a_password_in_the_shape_of_an_object() -> None:
    assert "x" * 16 not in repr(_rabbitmq.wanted([application()]))


def test_a_virtual_host_goes_after_what_stands_in_it() -> None:
    live = _rabbitmq.wanted([application(), application(name="gone")])
    found = list(_rabbitmq.differences(_rabbitmq.wanted([application()]), live))
    assert [item.command[0] for item in found if item.command] == [
        "clear_permissions",
        "clear_permissions",
        "delete_vhost",
    ]


def test_a_queue_of_another_type_is_named() -> None:
    live = _rabbitmq.wanted([application()])
    (first, _second) = _rabbitmq.unchangeable(_rabbitmq.wanted([application(queue_type="quorum")]), live)
    assert "a.b" in first
    assert "queue_type is quorum" in first
