# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import random
import time

import pytest
import sql_store
from sql_store import PAYLOADS, TABLE_GOALS, faster, interleaved, interval, line, records


@pytest.fixture(autouse=True)
def same_numbers_each_time() -> None:
    random.seed(1)


def test_every_operation_runs_once_a_round_in_changing_order() -> None:
    order: list[str] = []
    times = interleaved({name: lambda name=name: order.append(name) for name in "ab"}, rounds=40, warm_up=2)
    assert {name: len(taken) for name, taken in times.items()} == {"a": 40, "b": 40}
    assert 5 < order[::2].count("a") < 37


def test_the_ratio_says_how_much_faster_ours_is() -> None:
    found = faster("x", "y", [100.0] * 50, [150.0] * 50, 1.3)
    assert (found["ours"], found["reference"], found["ratio"]) == (100.0, 150.0, 1.5)
    assert (found["low"], found["high"], found["goal"], found["met"]) == (1.5, 1.5, 1.3, True)
    assert faster("x", "y", [120.0] * 20, [150.0] * 20, 1.3)["met"] is False


def test_no_goal_is_no_verdict() -> None:
    assert line("x", 1, 1, "y", (1, 1, 1), None, met=True)["met"] is None


def test_series_of_different_length_are_compared() -> None:
    low, high = interval([10.0] * 30, [20.0] * 7, paired=False)
    assert (low, high) == (2.0, 2.0)


@pytest.mark.parametrize("size", PAYLOADS.values())
def test_a_result_has_about_the_size_that_its_name_says(size: int) -> None:
    assert size <= len(json.dumps(records(size))) < size + 150
    assert records(size) == records(size)


def test_every_payload_has_a_goal() -> None:
    assert set(TABLE_GOALS) == set(PAYLOADS)
    assert set(sql_store.PART_FUNCTIONS) == set(sql_store.PARTS)


def test_the_writer_stores_at_its_pace_and_knows_when(monkeypatch: pytest.MonkeyPatch) -> None:
    class Backend:
        stored = 0

        def store_result(self, *_arguments: object) -> None:
            self.stored += 1

    fake = Backend()
    monkeypatch.setattr(sql_store, "backend", lambda *_arguments, **_options: fake)
    server = sql_store.Server("postgresql", "192.0.2.1", "x")
    with sql_store.Writer(server, "ours") as writer:
        start = time.perf_counter()
        time.sleep(0.3)
        middle = time.perf_counter()
        time.sleep(0.1)
    assert 3 < len(writer.between(start, middle)) <= 30
    assert len(writer.between(start, time.perf_counter())) == len(writer.seconds) == fake.stored - 1
