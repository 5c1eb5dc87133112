# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter as the role calls it; plugin_utils/test_replication.py has the cases."""

from __future__ import annotations

import pytest
import yaml
from ansible.utils.display import Display
from ansible_collections.resultops.celery.plugins.filter import sentinel_problems as plugin

sentinel_problems = plugin.FilterModule().filters()["sentinel_problems"]


PASSWORD = "long-enough-for-a-test"


@pytest.fixture
def documented():
    """The sentinels of the example in the documentation, two more of them."""
    (task,) = yaml.safe_load(plugin.EXAMPLES)
    example = task["vars"]["__sentinel_set"]
    names = [f"redis{number}.example.com" for number in (1, 2, 3)]
    (sentinel,) = example["sentinels"]
    return {
        **example,
        "sentinels": [
            {**sentinel, "name": name, "hostname": name, "address": f"192.0.2.1{number}", "dns_names": [name]}
            for number, name in enumerate(names)
        ],
        "primaries": [{**primary, "auth_password": PASSWORD} for primary in example["primaries"]],
        "passwords": dict.fromkeys(example["passwords"], PASSWORD),
    }


def test_the_documented_example_works(documented):
    assert sentinel_problems(documented) == []


def test_the_documentation_names_every_key(documented):
    sentinel, primary = documented["sentinels"][0], documented["primaries"][0]
    for key in (
        documented.keys() | {f"sentinels[].{key}" for key in sentinel} | {f"primaries[].{key}" for key in primary}
    ):
        assert f"C({key})" in plugin.DOCUMENTATION


def test_a_problem_is_returned(documented):
    (sentence,) = sentinel_problems({**documented, "sentinels": documented["sentinels"][:2]})
    assert "has 2 sentinels: use an odd number" in sentence


def test_a_price_is_a_warning(documented, monkeypatch):
    warnings: list[str] = []
    monkeypatch.setattr(Display, "warning", lambda _display, message: warnings.append(message))
    primaries = [{**primary, "failover_timeout": 180000} for primary in documented["primaries"]]
    assert sentinel_problems({**documented, "primaries": primaries}) == []
    assert [warning.split(" of ")[0] for warning in warnings] == ["failover_timeout"]
