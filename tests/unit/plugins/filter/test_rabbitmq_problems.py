# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each mistake is named by one sentence, and what works is not."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.resultops.celery.plugins.filter.rabbitmq_problems import rabbitmq_problems, warnings_of

PASSWORD = "correct horse battery staple"
WORKER = {"name": "shop_worker", "role": "worker", "password": PASSWORD}
CLIENT = {"name": "shop_web", "role": "client", "password": PASSWORD}
SHOP = {"name": "shop", "users": [WORKER, CLIENT]}


def member(name: str, **more: Any) -> dict[str, Any]:
    known = {"name": name, "hostname": name, "address": "192.0.2.1", "dns_names": [name, "localhost"]}
    return {**known, **more}


def given(**more: Any) -> dict[str, Any]:
    alone = {
        "host": "mq1",
        "node_name": "rabbit@localhost",
        "bind": ["127.0.0.1", "192.0.2.1"],
        "memory_high_watermark": "40%",
        "disk_free_limit": "1GiB",
        "heartbeat": 30,
        "applications": [SHOP],
    }
    return {**alone, **more}


def cluster(**more: Any) -> dict[str, Any]:
    members = {
        "group": "mq",
        "members": [member("mq1"), member("mq2"), member("mq3")],
        "releases": ["13"],
        "node_name": "rabbit@mq1",
        "erlang_cookie": "C" * 32,
    }
    return given(**{**members, **more})


def application(**more: Any) -> dict[str, Any]:
    return given(applications=[{**SHOP, **more}])


def user(**more: Any) -> dict[str, Any]:
    return application(users=[{**WORKER, **more}])


@pytest.mark.parametrize(
    "good", [given(), cluster(), given(settings={"consumer_timeout": 3600000}), given(memory_high_watermark=536870912)]
)
def test_what_works_is_not_named(good: dict[str, Any]) -> None:
    assert rabbitmq_problems(good) == []


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        (given(applications="shop"), "must be a list"),
        (given(applications=[]), "rabbitmq_applications is empty"),
        (given(applications=["shop"]), "an entry without a name"),
        (given(applications=[SHOP, {**SHOP, "users": [{**WORKER, "name": "second"}]}]), "names shop twice"),
        (
            given(applications=[SHOP, {"name": "second", "users": [WORKER]}]),
            "two users of the name shop_worker",
        ),
        (application(name="a/b"), "the name 'a/b'"),
        (application(users=[]), "no account with the role worker"),
        (application(users=[CLIENT]), "no account with the role worker"),
        (application(queues=[]), "queues is empty"),
        (application(queues=["amq.celery"]), "must not hold 'amq.celery'"),
        (application(queues=["00000000-0000-0000-0000-000000000000"]), "are those of replies"),
        (application(reply_expires=1), "reply_expires must be 10 seconds or more"),
        (application(max_queues=0), "max_queues must be 1 or more"),
        (user(name="guest"), "needs another name"),
        (user(role="admin"), "role is 'admin'"),
        (user(password=""), "rabbitmq_applications[shop].users[shop_worker].password is missing"),
        (user(password="rabbitmq_production_your_key_here"), "still holds the placeholder"),
        (user(max_channels=0), "max_channels must be 1 or more"),
        (given(bind=["127.0.0.1", ""]), "rabbitmq_bind is empty or has an empty address on mq1"),
        (given(memory_high_watermark="all"), "rabbitmq_memory_high_watermark is 'all'"),
        (given(memory_high_watermark="1G"), "rabbitmq_memory_high_watermark is '1G'"),
        (given(disk_free_limit="5%"), "rabbitmq_disk_free_limit is '5%'"),
        (given(disk_free_limit="1Gi"), "rabbitmq_disk_free_limit is '1Gi'"),
        (given(heartbeat=1), "rabbitmq_heartbeat is 1"),
        (given(settings={"listeners.tcp.default": 5672}), "sets listeners.tcp.default"),
        (given(settings={"default_user": "x"}), "sets default_user"),
        (given(node_name="rabbit"), "rabbitmq_node_name is 'rabbit'"),
        (given(node_name="rabbit@mq1"), "rabbitmq_erlang_cookie is missing"),
        (cluster(erlang_cookie=""), "rabbitmq_erlang_cookie is missing"),
        (cluster(erlang_cookie="with a space in between"), "ASCII without spaces"),
        (cluster(erlang_cookie="C" * 256), "at most 255 characters"),
        (cluster(members=[member("mq1"), member("mq2")]), "has 2 hosts"),
        (cluster(members=[member(f"mq{number}") for number in range(1, 5)]), "has 4 hosts"),
        (cluster(host="elsewhere"), "elsewhere is not in the group mq"),
        (cluster(releases=["12", "13"]), "run Debian 12 and 13"),
        (cluster(node_name="rabbit@localhost"), "must be rabbit@mq1"),
        (
            cluster(members=[member("mq1"), member("mq2"), member("mq3", hostname="mq2", dns_names=["mq2"])]),
            "Two hosts of the group mq have the name mq2",
        ),
        (cluster(members=[member("mq1"), member("mq2"), member("mq3.example.com")]), "short and long names"),
        (cluster(members=[member("mq1"), member("mq2"), member("mq3", address="")]), "The address of mq3 is not known"),
        (cluster(members=[member("mq1"), member("mq2"), member("mq3", dns_names=["x"])]), "of mq3 lacks mq3"),
        (
            cluster(members=[member("mq1"), member("mq2"), member("mq3", hostname="localhost")]),
            "rabbitmq_hostname of mq3 is localhost",
        ),
    ],
)
def test_a_mistake_is_named(bad: dict[str, Any], word: str) -> None:
    found = rabbitmq_problems(bad)
    assert [sentence for sentence in found if word in sentence], found
    assert all(sentence.endswith(".") and PASSWORD not in sentence for sentence in found)


def test_tasks_on_one_node_of_a_cluster_are_worth_a_warning() -> None:
    assert "shop" in warnings_of(cluster())[0]
    assert warnings_of(cluster(applications=[{**SHOP, "queue_type": "quorum"}])) == []
    assert warnings_of(given()) == []


def test_anything_else_is_refused() -> None:
    with pytest.raises(AnsibleFilterError):
        rabbitmq_problems([])  # type: ignore[arg-type]
