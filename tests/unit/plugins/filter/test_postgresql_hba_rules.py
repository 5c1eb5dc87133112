# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who gets in, in which order."""

from __future__ import annotations

from ansible_collections.resultops.celery.plugins.filter.postgresql_hba_rules import postgresql_hba_rules

RULES = postgresql_hba_rules(
    [
        {"name": "shop", "purge_clients": ["192.0.2.9/32"]},
        {"name": "billing", "username": "biller", "clients": ["198.51.100.0/24", "2001:db8::/64"]},
    ],
    "results",
    ["192.0.2.0/24"],
    monitor_clients=["192.0.2.10/32"],
)


def test_over_the_network_each_role_comes_from_its_own_addresses():
    network = [(rule["users"], rule["address"]) for rule in RULES if rule["contype"] == "hostssl"]
    assert network == [
        ("shop", "192.0.2.0/24"),
        ("shop_purge", "192.0.2.9/32"),
        ("biller", "198.51.100.0/24"),
        ("biller", "2001:db8::/64"),
        ("results_monitor", "192.0.2.10/32"),
    ]


def test_over_the_network_nobody_comes_without_encryption_and_scram():
    for rule in RULES:
        if rule["contype"] != "local" and rule["method"] != "reject":
            assert (rule["contype"], rule["method"], rule["databases"]) == ("hostssl", "scram-sha-256", "results")


def test_on_the_host_the_system_says_who_it_is():
    local = [(rule["users"], rule["method"], rule.get("options")) for rule in RULES if rule["contype"] == "local"]
    assert local == [
        ("postgres", "peer", "map=resultops"),
        ("shop_purge,billing_purge,results_monitor", "peer", "map=resultops"),
        ("all", "reject", None),
    ]


def test_the_last_word_is_no():
    assert RULES[-1] == {"contype": "host", "address": "all", "databases": "all", "users": "all", "method": "reject"}
