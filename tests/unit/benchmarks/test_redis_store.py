# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import random

import pytest
from redis_store import GOALS, PAYLOADS, REFERENCE, interval, measure, packages_of_a_worker, report, row


@pytest.fixture(autouse=True)
def same_numbers_each_time() -> None:
    random.seed(1)


def test_every_variant_stores_a_result_of_its_own_in_each_round() -> None:
    stored: dict[str, list[str]] = {"a": [], "b": []}
    seconds = measure({name: tasks.append for name, tasks in stored.items()}, rounds=5, warm_up=2)
    assert {name: len(times) for name, times in seconds.items()} == {"a": 5, "b": 5}
    assert len(set(stored["a"] + stored["b"])) == 14


def test_the_order_changes_from_round_to_round() -> None:
    orders: list[str] = []
    measure({name: lambda _task, name=name: orders.append(name) for name in "ab"}, rounds=40, warm_up=0)
    firsts = orders[::2]
    assert 5 < firsts.count("a") < 35


def test_the_ratio_says_how_much_faster_ours_is() -> None:
    found = row("x", [100.0] * 50, [150.0] * 50, 1.3)
    assert (found["ours"], found["reference"], found["ratio"]) == (100.0, 150.0, 1.5)
    assert (found["low"], found["high"], found["goal"], found["met"]) == (1.5, 1.5, 1.3, True)


def test_a_missed_goal_is_told_and_no_goal_is_no_verdict() -> None:
    assert row("x", [120.0] * 20, [150.0] * 20, 1.3)["met"] is False
    assert row("x", [120.0] * 20, [150.0] * 20, None)["met"] is None


def test_the_interval_holds_the_ratio_and_narrows_with_more_rounds() -> None:
    def width(rounds: int) -> float:
        ours = [random.gauss(100, 10) for _round in range(rounds)]
        reference = [random.gauss(150, 10) for _round in range(rounds)]
        low, high = interval(ours, reference, 200)
        assert low < 1.5 < high
        return high - low

    assert width(1600) < width(25) / 2


def test_rounds_are_compared_as_wholes() -> None:
    load = [random.choice([1.0, 3.0]) for _round in range(101)]
    low, high = interval([100 * slow for slow in load], [150 * slow for slow in load], 200)
    assert (low, high) == (1.5, 1.5)


def test_rounds_must_be_complete() -> None:
    with pytest.raises(ValueError, match="zip"):
        interval([1.0, 2.0], [1.0], 10)


def test_the_report_has_a_row_for_each_variant_but_the_reference() -> None:
    measured = {
        REFERENCE: [150.0] * 9,
        "fast, TLS": [100.0] * 9,
        "durable, TLS": [160.0] * 9,
        "stock, TLS": [170.0] * 9,
    }
    rows = {line["name"]: line for line in report("200 B", measured)}
    assert list(rows) == ["store 200 B: fast, TLS", "store 200 B: durable, TLS", "store 200 B: stock, TLS"]
    assert [line["met"] for line in rows.values()] == [True, False, None]
    assert set(next(iter(rows.values()))) == {
        *("name", "ours", "reference", "reference_what", "ratio", "low", "high", "goal", "met")
    }


def test_the_goals_are_those_that_were_promised() -> None:
    assert GOALS == {"fast, TLS": 1.3, "durable, TLS": 1.0}
    assert list(PAYLOADS.values()) == [200, 10_000]


def test_the_packages_are_those_of_the_role() -> None:
    packages = packages_of_a_worker()
    assert any(package.startswith("celery[redis]==") for package in packages)
    assert any(package.startswith("hiredis==") for package in packages)
    assert all("==" in package for package in packages)
