# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from converge import Run, Side, module_runs, peers, prepare, report, row


def output(*results: dict[str, Any]) -> dict[str, Any]:
    return {"plays": [{"tasks": [{"hosts": {"h": result}} for result in results]}]}


def test_counts_what_ran_on_a_host() -> None:
    loop = {"action": "ansible.builtin.file", "results": [{"ansible_loop_var": "item"}] * 3}
    assert (
        module_runs(output({"action": "ansible.builtin.apt", "results": ["no loop"]}, {"action": "setup"}, loop)) == 5
    )


@pytest.mark.parametrize(
    "result",
    [{"action": "ansible.builtin.apt", "skipped": True}, {"action": "ansible.builtin.set_fact"}, {"action": "assert"}],
)
def test_does_not_count_what_costs_no_round_trip(result: dict[str, Any]) -> None:
    assert module_runs(output(result)) == 0


def test_compares_medians_and_shows_the_extremes_of_the_pairs() -> None:
    assert row("x", [1.0, 2.0, 9.0], [2.0, 2.0, 3.0], "peer", 0.9) == {
        "name": "x",
        "ours": 2.0,
        "reference": 2.0,
        "reference_what": "peer",
        "ratio": 1.0,
        "low": 0.5,
        "high": 3.0,
        "goal": 0.9,
        "met": False,
    }


def test_without_peers_only_our_figures_remain() -> None:
    ours = Side(
        "ours", runs={("first run", "13"): [Run(9, 20, 10)], ("second run", "13"): [Run(5, 12, 0), Run(6, 12, 1)]}
    )
    rows = {line["name"]: line for line in report([ours], ["13"])}
    assert rows["second run, Debian 13: seconds"]["ours"] == 5.5
    assert rows["second run, Debian 13: seconds"]["reference"] is None
    assert rows["second run, Debian 13: seconds"]["met"] is None
    assert rows["second run, Debian 13: changed tasks"]["met"] is False


def test_peers_are_one_role_or_a_folder_of_roles(tmp_path: Path) -> None:
    (tmp_path / "a.redis" / "tasks").mkdir(parents=True)
    (tmp_path / "notes").mkdir()
    assert [side.label for side in peers(str(tmp_path))] == ["a.redis"]
    assert [side.label for side in peers(str(tmp_path / "a.redis"))] == ["a.redis"]
    assert peers("") == []
    with pytest.raises(SystemExit, match="holds no role"):
        peers(str(tmp_path / "notes"))


def test_peers_do_not_get_our_variables(tmp_path: Path) -> None:
    prepare(tmp_path, [Side("ours"), Side("a.redis", tmp_path)], ["13"])
    inventory = json.loads((tmp_path / "hosts.json").read_text(encoding="utf-8"))
    assert set(inventory["redis"]["hosts"]) == {"ours-debian13"}
    assert set(inventory["fleet"]["hosts"]) == {"ours-debian13", "a-redis-debian13"}
    assert not [name for name in inventory["fleet"]["vars"] if name.startswith("redis")]
