# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The URL as Kombu reads it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.filter import amqp_url as plugin
from kombu import Connection

HARD = "p@ss:/w%rd#?&'\"{{ }}\\ +;=%41é✓$"
BROKER: dict[str, Any] = {"hosts": ["mq1.example.org"], "username": "shop:/@", "virtual_host": "sh/op %"}


def test_kombu_reads_every_part_unchanged() -> None:
    found = Connection(plugin.amqp_url(BROKER, HARD))
    assert (found.userid, found.password, found.virtual_host) == (BROKER["username"], HARD, BROKER["virtual_host"])
    assert (found.hostname, found.port, found.ssl, found.transport_cls) == ("mq1.example.org", 5671, False, "amqps")


def test_the_nodes_of_a_cluster_become_one_url() -> None:
    url = plugin.amqp_url({**BROKER, "hosts": ["mq1", "2001:db8::1"], "port": 5673}, HARD)
    assert [Connection(part).host for part in url.split(";")] == ["mq1:5673", "2001:db8::1:5673"]


def test_plaintext_only_where_it_is_asked_for() -> None:
    assert plugin.amqp_url({**BROKER, "tls": False}, "word").startswith("amqp://")
    assert plugin.amqp_url({**BROKER, "tls": False}, "word").endswith("@mq1.example.org:5672/sh%2Fop%20%25")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hosts": []}, "names no host"),
        ({"hosts": ["a;b"]}, "bare host name"),
        ({"username": ""}, "needs the username of an account and its virtual_host"),
        ({"virtual_host": None}, "needs the username of an account and its virtual_host"),
        ({"port": 0}, "port of the description of the broker is 0"),
        ({"tls": "no"}, "must be true or false"),
        ({"vhost": "x"}, "unknown entries vhost"),
    ],
)
def test_a_description_that_cannot_be_used_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(plugin.AnsibleFilterError, match=said) as refusal:
        plugin.amqp_url({**BROKER, **changes}, HARD)
    assert HARD not in str(refusal.value)


def test_a_missing_password_is_refused() -> None:
    with pytest.raises(plugin.AnsibleFilterError, match="password of the broker is empty"):
        plugin.amqp_url(BROKER, "")
    with pytest.raises(plugin.AnsibleFilterError, match="must be a dictionary"):
        plugin.amqp_url("mq1", HARD)  # type: ignore[arg-type]
