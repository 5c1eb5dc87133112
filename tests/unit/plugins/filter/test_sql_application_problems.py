# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One sentence for each mistake, none for what works, and never a password."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.filter.sql_application_problems import sql_application_problems

PASSWORD = "long enough for a test"
SHOP = {"name": "shop", "password": PASSWORD}
BILLING = {"name": "billing", "password": PASSWORD}


def given(*applications: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"prefix": "postgresql", "applications": list(applications), "clients": ["192.0.2.0/24"], **more}


@pytest.mark.parametrize(
    "good",
    [
        given(SHOP, BILLING),
        given(SHOP | {"clients": ["192.0.2.7/32", "2001:db8::/64"], "connection_limit": 5}, clients=[]),
        given(SHOP | {"purge_password": PASSWORD, "purge_clients": ["192.0.2.7/32"]}),
        given(SHOP, monitor_password=PASSWORD, monitor_clients=["192.0.2.7/32"]),
        given(SHOP, max_connections=32, reserved_connections=12),
        given(SHOP, prefix="mysql", clients=["192.0.2.0/24", "2001:db8::7/128", "::/0"]),
    ],
)
def test_what_works_has_no_problems(good):
    assert sql_application_problems(good) == []


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (given(), ["postgresql_applications is empty"]),
        (given({"password": PASSWORD}), ["postgresql_applications[0] has no name"]),
        (given(SHOP | {"password": ""}), ["postgresql_applications[shop].password is missing", "vault"]),
        (given({"name": "shop"}), ["postgresql_applications[shop].password is missing"]),
        (given(SHOP | {"password": "results_test_your_key_here"}), ["placeholder"]),
        (given(SHOP | {"password": "short"}), ["too short", "16"]),
        (given(SHOP | {"purge_password": "short"}), ["[shop].purge_password is too short"]),
        (given(SHOP | {"purge_clients": ["192.0.2.7/32"]}), ["[shop].purge_password is missing"]),
        (given(SHOP, monitor_clients=["192.0.2.7/32"]), ["postgresql_monitor_password is missing"]),
        (given(SHOP | {"name": "Shop"}), ["name is 'Shop'", "lower-case"]),
        (given(SHOP | {"name": "1shop"}), ["beginning with a letter"]),
        (given(SHOP | {"name": "s" * 57}), ["56"]),
        (given(SHOP | {"schema": "public"}), ["schema is 'public'", "keeps for itself"]),
        (given(SHOP | {"username": "postgres"}), ["username is 'postgres'"]),
        (given(SHOP | {"schema": "pg_shop"}), ["schema is 'pg_shop'"]),
        (given(SHOP, SHOP), ["shop and shop share"]),
        (given(SHOP, BILLING | {"username": "shop"}), ["shop and billing share the name shop"]),
        (given(SHOP, BILLING | {"username": "shop_owner"}), ["share the name shop_owner"]),
        (given(SHOP, BILLING | {"schema": "shop"}), ["share the schema shop"]),
        (given(SHOP | {"username": "results_monitor"}), ["the monitoring and shop share"]),
        (given(SHOP, clients=[]), ["[shop] has no clients", "postgresql_clients"]),
        (given(SHOP, clients=["workers"]), ["postgresql_clients has 'workers'", "192.0.2.0/24"]),
        (given(SHOP, clients=["192.0.2.7"]), ["without the length", "192.0.2.7/32"]),
        (given(SHOP, clients=["192.0.2.7/24"]), ["no network"]),
        (given(SHOP | {"clients": ["10.0.0.0/33"]}), ["postgresql_applications[shop].clients has '10.0.0.0/33'"]),
        (given(SHOP | {"connection_limit": 0}), ["connection_limit must be 1 or more"]),
        (
            given(SHOP, BILLING | {"connection_limit": 100}, max_connections=100, reserved_connections=14),
            ["postgresql_max_connections is 100", "120", "allow 134"],
        ),
        (
            given(SHOP, BILLING | {"database": "shop"}, prefix="mysql"),
            ["mysql_applications", "share the database shop"],
        ),
        (given(SHOP | {"password": "Pässwörter und mehr"}, prefix="mysql"), ["[shop].password", "outside ASCII"]),
        (given(SHOP | {"owner_clients": ["192.0.2.7/32"]}, prefix="mysql"), ["[shop].owner_password is missing"]),
        (given(SHOP, prefix="mysql", clients=["2001:db8::/64"]), ["mysql_clients", "no networks of IPv6"]),
    ],
)
def test_a_mistake_is_named_with_its_variable(bad, words):
    said = " ".join(sql_application_problems(bad))
    for word in words:
        assert word in said
    assert PASSWORD not in said
