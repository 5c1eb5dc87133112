# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.filter.set_members import FilterModule

set_members = FilterModule().filters()["set_members"]
BARE = {
    "name": "one",
    "hostname": "one",
    "port": 6379,
    "address": "",
    "provider": "redis",
    "version": "",
    "dns_names": ["one", "localhost"],
}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, {}),
        (
            {"redis_hostname": "one.example.com"},
            {"hostname": "one.example.com", "dns_names": ["one.example.com", "localhost"]},
        ),
        ({"redis_port": "6380"}, {"port": 6380}),
        ({"ansible_facts": {"default_ipv4": {"address": "192.0.2.1"}}}, {"address": "192.0.2.1"}),
        ({"ansible_facts": {"default_ipv4": {}}}, {}),
        (
            {"redis_address": "192.0.2.9", "ansible_facts": {"default_ipv4": {"address": "192.0.2.1"}}},
            {"address": "192.0.2.9"},
        ),
        ({"redis_provider": "valkey"}, {"provider": "valkey"}),
        ({"ansible_facts": {"distribution_major_version": "12"}}, {"version": "7.0"}),
        (
            {"redis_provider": "valkey", "ansible_facts": {"distribution_major_version": "13"}},
            {"provider": "valkey", "version": "8.1"},
        ),
        ({"ansible_facts": {"distribution_major_version": "14"}}, {}),
        ({"redis_tls_dns_names": ["a"]}, {"dns_names": ["a"]}),
        ({"sentinel_hostname": "other", "sentinel_port": 1}, {}),
    ],
)
def test_a_host_is_described_by_the_variables_of_its_role(variables: dict[str, Any], expected: dict[str, Any]) -> None:
    assert set_members(["one"], {"one": variables}, "redis", 6379) == [{**BARE, **expected}]


def test_the_order_is_that_of_the_inventory() -> None:
    found = set_members(["two", "one"], {"one": {}, "two": {}}, "sentinel", 26379)
    assert [(member["name"], member["port"]) for member in found] == [("two", 26379), ("one", 26379)]
