# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The watch sees a real set of servers and sentinels fail over, disagree and refuse writes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.modules import failover_watch
from ansible_collections.resultops.celery.tests.unit.replication_set import ReplicationSet, wait_until


@pytest.fixture(scope="module")
def replication_set(redis_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicationSet]:
    # A machine that stands still for two seconds must not fail over what these tests hold still themselves.
    with ReplicationSet(tmp_path_factory.mktemp("set"), redis_program, nodes=2, down_after=60000) as deployed:
        yield deployed


def options(deployed: ReplicationSet, directory: Path, **changes: Any) -> dict[str, Any]:
    wanted = {name: value for name, value in deployed.topology.items() if name != "nodes"}
    return {**wanted, "directory": str(directory), "timeout": 1.0, "interval": 0.02, "seconds": 60.0, **changes}


@contextmanager
def watching(deployed: ReplicationSet, directory: Path, **changes: Any) -> Iterator[list[failover_watch.Watch]]:
    """What the watch saw is in the list after the block."""
    seen: list[failover_watch.Watch] = []
    thread = threading.Thread(target=lambda: seen.append(failover_watch.watch(options(deployed, directory, **changes))))
    thread.start()
    try:
        wait_until((directory / "ready").exists, "The first agreement")
        yield seen
    finally:
        (directory / "stop").touch()
        thread.join()


def test_nothing_is_wrong_with_a_healthy_set_even_if_a_sentinel_hangs(
    replication_set: ReplicationSet, tmp_path: Path
) -> None:
    replication_set.sentinels[2].hang()
    try:
        with watching(replication_set, tmp_path) as seen:
            time.sleep(1.5)
    finally:
        replication_set.sentinels[2].go_on()
    assert seen[0].disturbances == []
    assert [entry["primary"] for entry in seen[0].primaries] == [f"localhost:{replication_set.primary.port}"]


def test_a_primary_that_takes_no_writes(replication_set: ReplicationSet, tmp_path: Path) -> None:
    primary = replication_set.primary
    with watching(replication_set, tmp_path) as seen:
        began = time.time()
        primary.call("CONFIG", "SET", "min-replicas-to-write", "5")
        time.sleep(1.0)
        primary.call("CONFIG", "SET", "min-replicas-to-write", "0")
        ended = time.time()
        time.sleep(1.0)
    [disturbance] = seen[0].disturbances
    assert disturbance["reason"] == f"localhost:{primary.port} takes no writes."
    assert began - 0.5 < disturbance["began"] < began + 0.5
    assert ended - 0.1 < disturbance["ended"] < ended + 0.8


def test_a_pause_counts_from_the_last_write_that_was_taken(replication_set: ReplicationSet, tmp_path: Path) -> None:
    with watching(replication_set, tmp_path, timeout=1.0) as seen:
        began = time.time()
        replication_set.primary.call("CLIENT", "PAUSE", "2500", "WRITE")
        time.sleep(4.0)
    [disturbance] = seen[0].disturbances
    assert abs(disturbance["began"] - began) < 0.5
    assert 2.2 < disturbance["ended"] - disturbance["began"] < 3.9


def test_sentinels_that_disagree(replication_set: ReplicationSet, tmp_path: Path) -> None:
    primary = replication_set.primary.port
    [other] = [node.port for node in replication_set.nodes if node.port != primary]
    replica = replication_set.nodes[[node.port for node in replication_set.nodes].index(other)]
    # A sentinel that a failover left behind: it goes on naming a server that is none of the set's primaries.
    with watching(replication_set, tmp_path) as seen:
        replication_set.sentinels[1].call("SENTINEL", "REMOVE", "results")
        replication_set.sentinels[1].call("SENTINEL", "MONITOR", "results", "localhost", str(other), "3")
        wait_until(lambda: replication_set.named_primary(replication_set.sentinels[1]) == other, "The disagreement")
        time.sleep(0.5)
        replication_set.sentinels[1].call("SENTINEL", "REMOVE", "results")
        time.sleep(0.5)
    assert replica.information()["role"] == "slave"
    [disturbance] = seen[0].disturbances
    names = sorted(f"localhost:{port}" for port in (primary, other))
    assert disturbance["reason"] == f"The sentinels name {names[0]} and {names[1]}."
    assert disturbance["ended"] - disturbance["began"] > 0.3
    assert len(seen[0].primaries) == 1


def test_a_failover(redis_program: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with ReplicationSet(tmp_path_factory.mktemp("set"), redis_program, nodes=2) as deployed:
        old, new = deployed.nodes
        with watching(deployed, tmp_path) as seen:
            killed = time.time()
            old.kill()
            deployed.wait_for_agreement(new.port)
            wait_until(lambda: new.information()["role"] == "master", "The failover")
            time.sleep(1.5)
    assert [entry["primary"] for entry in seen[0].primaries] == [f"localhost:{old.port}", f"localhost:{new.port}"]
    periods = seen[0].disturbances
    assert abs(periods[0]["began"] - killed) < 0.5
    assert periods[-1]["ended"] - killed > deployed.down_after / 1000
    assert abs(periods[-1]["ended"] - seen[0].primaries[-1]["at"]) < 0.5


def test_keys_that_are_evicted(replication_set: ReplicationSet, tmp_path: Path) -> None:
    primary = replication_set.primary
    for number in range(2000):
        primary.call("SET", f"celery-task-meta-{number}", "x" * 200, "EX", "600")
    with watching(replication_set, tmp_path) as seen:
        primary.call("CONFIG", "SET", "maxmemory-policy", "volatile-ttl", "maxmemory", "1")
        wait_until(lambda: int(primary.information()["evicted_keys"]) > 0, "The first eviction")
        primary.call("CONFIG", "SET", "maxmemory", "0")
        time.sleep(0.5)
    assert seen[0].evicted > 0


def test_a_watch_that_ends_in_a_disturbance(replication_set: ReplicationSet, tmp_path: Path) -> None:
    with watching(replication_set, tmp_path) as seen:
        replication_set.primary.call("CONFIG", "SET", "min-replicas-to-write", "5")
        time.sleep(1.0)
    replication_set.primary.call("CONFIG", "SET", "min-replicas-to-write", "0")
    assert seen[0].disturbances[-1]["ended"] is None


def test_nobody_answers(replication_set: ReplicationSet, tmp_path: Path) -> None:
    seen = failover_watch.watch(options(replication_set, tmp_path, sentinel_password="wrong", seconds=1.0))
    assert not (tmp_path / "ready").exists()
    assert [entry["reason"] for entry in seen.disturbances] == ["No sentinel answers."]


def test_the_module(
    replication_set: ReplicationSet, tmp_path: Path, run_on_host: Callable[..., dict[str, Any]]
) -> None:
    found = run_on_host("failover_watch", **options(replication_set, tmp_path, seconds=1.5))
    assert found["changed"] is False
    assert (found["disturbances"], found["evicted"]) == ([], 0)
    assert found["primaries"][0]["primary"] == f"localhost:{replication_set.primary.port}"
    for name in ("login_password", "sentinel_password"):
        assert options(replication_set, tmp_path)[name] not in str(found)
    assert run_on_host("failover_watch", check_mode=True, **options(replication_set, tmp_path))["primaries"] == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"timeout": 0}, "The option timeout is 0, but it must be more than 0 seconds."),
        ({"sentinels": []}, "The list sentinels is empty, so there is nobody to ask."),
        ({"directory": "/nowhere"}, "The directory /nowhere does not exist."),
        ({"private_key_file": None}, "certificate_file, private_key_file"),
    ],
)
def test_bad_input(tmp_path: Path, run_on_host: Callable[..., Any], changes: dict[str, Any], said: str) -> None:
    wanted = {
        "directory": str(tmp_path),
        "sentinels": [{"host": "a"}],
        "certificate_file": "/c",
        "private_key_file": "/k",
    }
    given = {name: value for name, value in {**wanted, **changes}.items() if value is not None}
    found = run_on_host("failover_watch", **given)
    assert found["failed"] is True
    assert said in found["msg"]
