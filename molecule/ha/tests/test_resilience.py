# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The failover drills: all on one set, those that the profile decides with the other one, the core on each engine.

`make drill` holds all of them with both profiles.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from fleet import recap
from scenario import SETS, ReplicationSet

# Every drill, and the longest time in seconds until stores succeed again. A store waits as long as its set has no
# primary, and the machines that run these tests are slow: the figures of the documentation come from make drill.
GOALS = {
    "kill": 8,
    "cut_off": 12,
    "cut_off_writer": 12,
    "hang": 12,
    "planned": 6,
    "replica_lost": 8,
    "sentinel_lost": 8,
    "rolling": 6,
}
CORE = ("kill", "planned")
DECIDED_BY_THE_PROFILE = ("cut_off_writer",)


def hold(fleet, of: ReplicationSet, profile: str, directory, drills=tuple(GOALS)) -> dict[str, dict]:
    """Hold drills on a set with its workers; return the rows of the report by drill."""
    groups = {
        "redis_hosts_group": of.name,
        "sentinel_hosts_group": of.name,
        "worker_hosts_group": f"{of.name}_workers",
        "redis_profile": profile,
        "worker_profile": profile,
        "failover_drills": list(drills),
        "failover_drill_reports_directory": str(directory),
    }
    run = fleet.playbook("resultops.celery.failover_drill", "--extra-vars", json.dumps(groups), timeout=1200)
    assert run.returncode == 0, (run.stdout + run.stderr)[-8000:]
    rows = json.loads((directory / "failover_drill.json").read_text())
    assert sorted(row["drill"] for row in rows) == sorted(drills)
    return {row["drill"]: row for row in rows}


def judge(fleet, of: ReplicationSet, profile: str, rows: dict[str, dict]) -> None:
    for drill, row in rows.items():
        assert row["profile"] == profile
        assert row["healed"] is True, row
        assert row["acknowledged"] > 0, row
        assert row["failed"] == 0, row
        assert row["blocked_ms_max"] < GOALS[drill] * 1000, row
        if profile == "durable" or drill in ("planned", "rolling", "replica_lost", "sentinel_lost"):
            assert row["lost"] == 0, row
    primary = fleet.settled(of)
    said = fleet.configure(of.name)
    assert {node: recap(said, node)["changed"] for node in of.nodes} == dict.fromkeys(of.nodes, 0)
    assert fleet.settled(of) == primary


def test_all_drills(fleet, tmp_path):
    of = SETS["ha13"]
    judge(fleet, of, "durable", hold(fleet, of, "durable", tmp_path))


def test_core_of_the_drills_on_other_engines(fleet, tmp_path):
    """On both at the same time, because drills consist of waiting."""
    profiles = {name: fleet.variables[SETS[name].workers[0]]["worker_profile"] for name in ("ha12", "havalkey")}
    with ThreadPoolExecutor() as pool:
        held = {
            name: pool.submit(hold, fleet, SETS[name], profile, tmp_path / name, CORE)
            for name, profile in profiles.items()
        }
    for name, profile in profiles.items():
        judge(fleet, SETS[name], profile, held[name].result())


def test_drills_without_waiting_for_replicas(fleet, tmp_path):
    of = SETS["ha13"]
    faster = ("--limit", "ha13_workers", "--extra-vars", "worker_profile=fast")
    run = fleet.playbook("resultops.celery.workers", *faster)
    assert run.returncode == 0, (run.stdout + run.stderr)[-6000:]
    judge(fleet, of, "fast", hold(fleet, of, "fast", tmp_path, DECIDED_BY_THE_PROFILE))


@pytest.mark.parametrize("mark", [False, "false"])
def test_an_inventory_that_is_not_marked_is_refused(fleet, tmp_path, mark):
    unmarked = {"failover_drill_allowed": mark, "failover_drill_reports_directory": str(tmp_path)}
    groups = {"redis_hosts_group": "ha13", "sentinel_hosts_group": "ha13", "worker_hosts_group": "ha13_workers"}
    run = fleet.playbook("resultops.celery.failover_drill", "--extra-vars", json.dumps(unmarked | groups))
    assert run.returncode != 0
    assert "failover_drill_allowed is not true for ha13a" in run.stdout
