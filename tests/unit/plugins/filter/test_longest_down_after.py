# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.resultops.celery.plugins.filter.longest_down_after import USUAL, FilterModule

longest_down_after = FilterModule().filters()["longest_down_after"]
ROLE = Path(__file__).resolve().parents[4] / "roles" / "sentinel"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, 2000),
        ({"sentinel_down_after": 5000}, 5000),
        ({"sentinel_down_after": "5000"}, 5000),
        ({"sentinel_primaries": [{"name": "results"}]}, 2000),
        ({"sentinel_primaries": [{"name": "results", "down_after": 9000}]}, 9000),
        ({"sentinel_primaries": [{"name": "other", "down_after": 9000}]}, 2000),
        ({"sentinel_primaries": [{"name": "results", "down_after": 1000}], "sentinel_down_after": 5000}, 1000),
    ],
)
def test_the_entry_of_the_primary_comes_before_the_variable_of_the_host(
    variables: dict[str, Any], expected: int
) -> None:
    assert longest_down_after(["one"], {"one": variables}, "results") == expected


def test_the_slowest_sentinel_counts() -> None:
    variables = {"one": {"sentinel_down_after": 1000}, "two": {"sentinel_down_after": 4000}, "other": {}}
    assert longest_down_after(["one", "two"], variables, "results") == 4000


def test_without_a_sentinel_it_is_the_default_of_the_role() -> None:
    defaults = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text(encoding="utf-8"))
    assert longest_down_after([], {}, "results") == USUAL == defaults["sentinel_down_after"]
