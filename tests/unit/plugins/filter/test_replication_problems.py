# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter as the role calls it; plugin_utils/test_replication.py has the cases."""

from __future__ import annotations

import pytest
import yaml
from ansible.utils.display import Display
from ansible_collections.resultops.celery.plugins.filter import replication_problems as plugin

replication_problems = plugin.FilterModule().filters()["replication_problems"]


@pytest.fixture
def documented():
    """The set of the example in the documentation."""
    (task,) = yaml.safe_load(plugin.EXAMPLES)
    example = task["vars"]["__redis_set"]
    return {**example, "host": "redis1.example.com", "passwords": {"redis_replication_password": "long enough for it"}}


def test_the_documented_example_works(documented):
    assert replication_problems(documented) == []


def test_the_documentation_names_every_key(documented):
    (entry,) = documented["members"]
    for key in documented.keys() | {f"members[].{key}" for key in entry}:
        assert f"C({key})" in plugin.DOCUMENTATION


def test_a_problem_is_returned(documented):
    (sentence,) = replication_problems({**documented, "primary": "redis9"})
    assert sentence.startswith("redis_replication_primary is 'redis9'")


def test_a_price_is_a_warning(documented, monkeypatch):
    warnings: list[str] = []
    monkeypatch.setattr(Display, "warning", lambda _display, message: warnings.append(message))
    assert replication_problems({**documented, "min_replicas_max_lag": 10}) == []
    assert [warning.split(":")[0] for warning in warnings] == ["redis_min_replicas_max_lag is 10"]
