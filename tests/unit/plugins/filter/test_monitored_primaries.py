# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.filter.monitored_primaries import FilterModule

monitored_primaries = FilterModule().filters()["monitored_primaries"]
DEFAULTS = {"port": 6379, "quorum": 2, "down_after": 2000, "failover_timeout": 15000, "parallel_syncs": 1}
ACCOUNT = {"auth_user": "sentinel", "auth_password": "only for the tests"}
GROUPS = {"redis": ["one", "two"], "empty": []}


def filled(variables: dict[str, dict[str, Any]] | None = None, **changes: Any) -> dict[str, Any]:
    entry = {"name": "results", "group": "redis", **ACCOUNT, **changes}
    known = {"one": {}, "two": {}, **(variables or {})}
    (found,) = monitored_primaries([entry], GROUPS, known, DEFAULTS)
    return dict(found)


def test_what_is_left_out_comes_from_the_defaults() -> None:
    watch = filled()["watch"]
    assert watch == {
        "name": "results",
        "host": "one",
        "port": 6379,
        "nodes": [{"host": "one", "port": 6379}, {"host": "two", "port": 6379}],
        "quorum": 2,
        "down_after": 2000,
        "failover_timeout": 15000,
        "parallel_syncs": 1,
        **ACCOUNT,
    }


@pytest.mark.parametrize("option", ["quorum", "down_after", "failover_timeout", "parallel_syncs"])
@pytest.mark.parametrize(("given", "kept"), [(7, 7), (None, None)])
def test_an_entry_may_have_options_of_its_own(option: str, given: int | None, kept: int | None) -> None:
    found = filled(**{option: given})
    assert found[option] == found["watch"][option] == (kept or DEFAULTS[option])


def test_the_inventory_names_the_first_primary() -> None:
    variables = {"one": {"redis_replication_primary": "two"}, "two": {"redis_hostname": "two.example.com"}}
    watch = filled(variables)["watch"]
    assert (watch["host"], watch["port"]) == ("two.example.com", 6379)


def test_members_are_described_for_the_judges() -> None:
    assert [member["name"] for member in filled()["members"]] == ["one", "two"]


@pytest.mark.parametrize("group", ["empty", "absent"])
def test_a_group_without_hosts_has_no_primary(group: str) -> None:
    found = filled(group=group)
    assert found["members"] == []
    assert "host" not in found["watch"]
