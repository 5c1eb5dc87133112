# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module hands over between real servers while clients write all the time, and what was acknowledged is there."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from ansible_collections.resultops.celery.plugins.module_utils import _redis
from ansible_collections.resultops.celery.plugins.modules import redis_failover
from ansible_collections.resultops.celery.tests.unit.replication_set import (
    PRIMARY_NAME,
    Process,
    ReplicationSet,
    wait_until,
)
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

HandOver = Callable[..., dict[str, Any]]
# The goal is 2 s. On a machine that is busy with other things clients need longer to log in again. Without the module's
# care for it, they would wait for 20 s.
LONGEST_GAP = 8.0
SETTINGS = {"repl-ping-replica-period": "10", "min-replicas-to-write": "1", "min-replicas-max-lag": "3"}
# Kills itself with the given signal as soon as the given method of the module is called.
VICTIM = """
import contextlib, importlib, io, json, os, sys
from ansible.module_utils.testing import patch_module_args
from ansible_collections.resultops.celery.plugins.modules import redis_failover as module
owner, name, when, number = sys.argv[1:]
owner = getattr(module, owner)
real = getattr(owner, name)
def end(*arguments):
    setattr(owner, name, real)
    if when == "after":
        real(*arguments)
    os.kill(os.getpid(), int(number))
    return real(*arguments)
setattr(owner, name, end)
with patch_module_args(json.load(sys.stdin)):
    module.main()
"""


class Writers:
    """Clients that store as Celery does, find the primary through the sentinels, and try again until it works."""

    def __init__(self, members: ReplicationSet, threads: int = 4) -> None:
        self._members = members
        self._stop = threading.Event()
        self.acknowledged: list[list[str]] = [[] for _number in range(threads)]
        self.longest_gap = 0.0
        self._threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(threads)]

    def __enter__(self) -> Writers:
        for thread in self._threads:
            thread.start()
        wait_until(lambda: all(len(keys) > 20 for keys in self.acknowledged), "The first writes")
        self.longest_gap = 0.0
        return self

    def __exit__(self, *_error: object) -> None:
        before = [len(keys) for keys in self.acknowledged]
        with contextlib.suppress(AssertionError):
            wait_until(
                lambda: all(len(keys) > count + 20 for keys, count in zip(self.acknowledged, before, strict=True)),
                "Writes after the hand-over",
            )
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _client(self) -> redis.Redis:
        members = self._members
        common: dict[str, Any] = {
            "socket_timeout": 0.5,
            "socket_connect_timeout": 0.5,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
            "ssl": True,
            "ssl_ca_certs": str(members.authority.certificate),
            "ssl_certfile": str(members.client_certificate[0]),
            "ssl_keyfile": str(members.client_certificate[1]),
        }
        login = {"username": "client", "password": members.passwords["client"]}
        addresses = [("localhost", sentinel.port) for sentinel in members.sentinels]
        found = Sentinel(addresses, sentinel_kwargs={**login, **common}, **common, **self._login())
        return found.master_for(PRIMARY_NAME)

    def _login(self) -> dict[str, str]:
        return {"username": "celery", "password": self._members.passwords["celery"]}

    def _run(self, thread: int) -> None:
        client = self._client()
        last = time.monotonic()
        while not self._stop.is_set():
            key = f"celery-task-meta-{thread}-{len(self.acknowledged[thread])}"
            try:
                with client.pipeline(transaction=True) as commands:
                    commands.set(key, "result", ex=3600)
                    commands.publish(key, "result")
                    commands.execute()
            except redis.RedisError:
                time.sleep(0.02)
                continue
            now = time.monotonic()
            self.longest_gap = max(self.longest_gap, now - last)
            last = now
            self.acknowledged[thread].append(key)
            time.sleep(0.001)

    def lost(self) -> int:
        with contextlib.closing(self._members.primary.client()) as client:
            keys = [key for keys in self.acknowledged for key in keys]
            return sum(
                value is None for start in range(0, len(keys), 500) for value in client.mget(keys[start : start + 500])
            )


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory, redis_program: Path) -> Iterator[ReplicationSet]:
    directory = tmp_path_factory.mktemp("failover")
    with ReplicationSet(directory, redis_program, down_after=2000, node_settings=SETTINGS) as members:
        yield members


@pytest.fixture
def deployed(three: ReplicationSet, run_on_host: Callable[..., dict[str, Any]]) -> Iterator[ReplicationSet]:
    """The set, whole before and after each test; whatever a test left is undone."""
    whole(three, run_on_host)
    yield three
    for process in (*three.nodes, *three.sentinels):
        if process.is_running:
            process.go_on()
        else:
            process.start()
    whole(three, run_on_host)


def whole(members: ReplicationSet, run: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    result = run(
        "redis_topology_info", require=["primary", "links", "quorum", "agreement"], wait=60, **members.topology
    )
    assert "failed" not in result, result["msg"]
    return result


@pytest.fixture
def hand_over(run_on_host: Callable[..., dict[str, Any]]) -> HandOver:
    def run(members: ReplicationSet, **arguments: Any) -> dict[str, Any]:
        usual = {"login_timeout": 1, "timeout": 40}
        return run_on_host("redis_failover", **{**usual, **members.topology, **arguments})

    return run


def settings(members: ReplicationSet) -> Any:
    """All that a hand-over changes for some seconds."""
    names = ("replica-priority", "repl-ping-replica-period")
    nodes = [node.call("CONFIG", "GET", name)[1] for node in members.nodes if node.is_running for name in names]
    timeouts = [members.seen_by(sentinel)["failover-timeout"] for sentinel in members.sentinels if sentinel.is_running]
    return nodes, timeouts


USUAL = (["100", "10"] * 3, ["5000"] * 3)


def pauses(node: Process) -> int:
    """How often writes on a node were paused since it started."""
    found = [
        line for line in node.call("INFO", "commandstats").splitlines() if line.startswith("cmdstat_client|pause:")
    ]
    return int(found[0].split("calls=")[1].split(",")[0]) if found else 0


def replicas(members: ReplicationSet) -> list[Process]:
    return [node for node in members.nodes if node.is_running and node.information()["role"] == "slave"]


def role(node: Process) -> str:
    """The role of a node; the sentinels may cut the connection meanwhile."""
    try:
        return node.information()["role"]
    except redis.RedisError:
        return ""


def is_writable(node: Process) -> bool:
    with contextlib.closing(node.client(timeout=0.3)) as client:
        try:
            return bool(client.set("probe", "1"))
        except redis.RedisError:
            return False


def test_nothing_is_lost_and_clients_wait_only_for_a_moment(deployed: ReplicationSet, hand_over: HandOver) -> None:
    full_copies = [node.information()["sync_full"] for node in deployed.nodes]
    for _run in range(2):
        old = deployed.primary
        with Writers(deployed) as writers:
            result = hand_over(deployed, away_from=old.address)
        assert (result["changed"], result["old_primary"]) == (True, old.address), result
        assert "warnings" not in result
        assert result["new_primary"] == deployed.primary.address != old.address
        assert writers.lost() == 0
        assert 0 < result["pause_milliseconds"] < LONGEST_GAP * 1000
        assert writers.longest_gap < LONGEST_GAP
        assert result["diff"] == {
            "before": f"primary localhost:{old.port}\n",
            "after": f"primary localhost:{deployed.primary.port}\n",
        }
        assert settings(deployed) == USUAL
        for node in deployed.nodes:
            written = node.state_file.read_text()
            assert (f"replicaof localhost {deployed.primary.port}\n" in written) is (node is not deployed.primary)
            assert written.count("replicaof") <= 1
            assert "replica-priority 99" not in written
        again = hand_over(deployed, away_from=old.address)
        assert (again["changed"], again["pause_milliseconds"], again["diff"]) == (False, 0, {})
        assert again["new_primary"] == again["old_primary"] == deployed.primary.address
    # All the others only took the rest of the stream.
    assert [node.information()["sync_full"] for node in deployed.nodes] == full_copies


def test_the_target_becomes_the_primary(deployed: ReplicationSet, hand_over: HandOver) -> None:
    wanted = replicas(deployed)[-1]
    foreseen = hand_over(deployed, target=wanted.address, check_mode=True)
    assert (foreseen["changed"], foreseen["new_primary"], foreseen["pause_milliseconds"]) == (True, wanted.address, 0)
    assert deployed.primary is not wanted
    # Another one that the sentinels would rather take.
    other = replicas(deployed)[0]
    other.call("CONFIG", "SET", "replica-priority", "1")
    result = hand_over(deployed, target=wanted.address)
    assert (result["changed"], result["new_primary"]) == (True, wanted.address), result
    assert deployed.primary is wanted
    assert other.call("CONFIG", "GET", "replica-priority")[1] == "1"
    other.call("CONFIG", "SET", "replica-priority", "100")
    other.call("CONFIG", "REWRITE")
    assert settings(deployed) == USUAL
    assert hand_over(deployed, target=wanted.address)["changed"] is False


def test_a_sentinel_that_is_down_does_no_harm(deployed: ReplicationSet, hand_over: HandOver) -> None:
    deployed.sentinels[0].kill()
    old = deployed.primary
    with Writers(deployed) as writers:
        result = hand_over(deployed)
    assert result["changed"], result
    assert writers.lost() == 0
    assert deployed.primary is not old


def test_a_replica_that_hangs_is_not_chosen(deployed: ReplicationSet, hand_over: HandOver) -> None:
    hung, other = replicas(deployed)
    hung.hang()
    refused = hand_over(deployed, target=hung.address, timeout=1)
    assert f"localhost:{hung.port} (target) is no replica in sync with" in refused["msg"]
    result = hand_over(deployed, timeout=30)
    assert (result["changed"], result["new_primary"]) == (True, other.address), result
    assert "warnings" not in result


@pytest.mark.parametrize("down", [2, 3])
def test_without_a_quorum_nothing_is_touched(deployed: ReplicationSet, hand_over: HandOver, down: int) -> None:
    before = pauses(deployed.primary)
    for sentinel in deployed.sentinels[:down]:
        sentinel.hang()
    result = hand_over(deployed)
    assert result["msg"].startswith("Nothing was handed over: ")
    assert f"{3 - down} of 3 sentinels see a quorum, and a failover needs 2." in result["msg"]
    assert pauses(deployed.primary) == before
    for sentinel in deployed.sentinels:
        sentinel.go_on()
    assert settings(deployed) == USUAL


def test_sentinels_that_disagree_are_refused(deployed: ReplicationSet, hand_over: HandOver, monkeypatch: Any) -> None:
    real = redis_failover._topology.ask

    def ask(params: Any) -> Any:
        nodes, sentinels = real(params)
        other = next(node for node in nodes if node.role == "replica")
        changed = redis_failover._topology.replace(sentinels[0], primary_host=other.host, primary_port=other.port)
        return nodes, [changed, *sentinels[1:]]

    monkeypatch.setattr(redis_failover._topology, "ask", ask)
    before = pauses(deployed.primary)
    assert "still names localhost:" in hand_over(deployed)["msg"]
    assert pauses(deployed.primary) == before


def test_replicas_without_a_link_are_refused(deployed: ReplicationSet, hand_over: HandOver) -> None:
    before = pauses(deployed.primary)
    for node in replicas(deployed):
        node.call("CONFIG", "SET", "masterauth", "wrong")
    deployed.primary.call("CLIENT", "KILL", "TYPE", "replica")
    wait_until(lambda: not any(deployed.link_is_up(node) for node in replicas(deployed)), "The end of the links")
    for check_mode in (True, False):
        result = hand_over(deployed, timeout=1, check_mode=check_mode)
        assert "No replica is in sync with" in result["msg"]
        assert "has no link to its primary" in result["msg"]
    assert pauses(deployed.primary) == before
    for node in replicas(deployed):
        node.call("CONFIG", "SET", "masterauth", deployed.passwords["replica"])


def test_a_replica_that_does_not_catch_up_costs_only_moments(
    deployed: ReplicationSet, hand_over: HandOver, monkeypatch: Any
) -> None:
    monkeypatch.setattr(redis_failover.HandOver, "_caught_up", lambda _self: False)
    old = deployed.primary
    result = hand_over(deployed, timeout=12)
    assert "did not catch up within a pause of 0.1 seconds" in result["msg"]
    assert deployed.primary is old
    assert is_writable(old)
    assert settings(deployed) == USUAL


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"away_from": {"host": "elsewhere"}}, "away_from is elsewhere:6379, which is none of the nodes."),
        ({"target": {"host": "elsewhere"}}, "target is elsewhere:6379, which is none of the nodes."),
        ({"sentinels": []}, "There is no sentinel (sentinels)."),
        ({"login_password": "wrong"}, "refused user admin (login_user) with login_password."),
        ({"primary_name": "other"}, "monitors nothing by the name other (primary_name)."),
    ],
)
def test_what_cannot_work_is_refused(
    deployed: ReplicationSet, hand_over: HandOver, options: dict[str, Any], sentence: str
) -> None:
    result = hand_over(deployed, **options)
    assert result["failed"]
    assert sentence in result["msg"]
    result.pop("invocation", None)
    assert not [secret for secret in deployed.passwords.values() if secret in json.dumps(result)]


def interrupted(*_arguments: Any) -> None:
    raise _redis.RedisError("It was interrupted.")


def test_what_fails_before_the_failover_is_undone(
    deployed: ReplicationSet, hand_over: HandOver, monkeypatch: Any
) -> None:
    monkeypatch.setattr(redis_failover.Watcher, "failover", interrupted)
    old = deployed.primary
    assert hand_over(deployed)["msg"] == "It was interrupted."
    assert is_writable(old)
    assert deployed.primary is old
    assert settings(deployed) == USUAL


def test_a_failover_that_is_not_completed_is_ended_or_completed(
    deployed: ReplicationSet, hand_over: HandOver, monkeypatch: Any
) -> None:
    """The sentinel was told, and then the module fails: either way there is one primary, and nothing is lost."""
    real = redis_failover.Watcher.failover

    def failover(self: Any) -> None:
        real(self)
        interrupted()

    monkeypatch.setattr(redis_failover.Watcher, "failover", failover)
    with Writers(deployed) as writers:
        assert hand_over(deployed)["msg"] == "It was interrupted."
    assert writers.lost() == 0
    assert writers.longest_gap < LONGEST_GAP
    assert is_writable(deployed.primary)
    assert settings(deployed) == USUAL


def test_a_failover_that_succeeded_is_completed(
    deployed: ReplicationSet, hand_over: HandOver, monkeypatch: Any
) -> None:
    real = redis_failover.HandOver._follow
    called: list[None] = []

    def follow(self: Any) -> Any:
        called.append(None)
        if len(called) == 1:
            interrupted()
        return real(self)

    monkeypatch.setattr(redis_failover.HandOver, "_follow", follow)
    old = deployed.primary
    with Writers(deployed) as writers:
        assert hand_over(deployed)["msg"] == "It was interrupted."
    assert writers.lost() == 0
    assert writers.longest_gap < LONGEST_GAP
    assert deployed.primary is not old
    assert settings(deployed) == USUAL


def kill_midway(members: ReplicationSet, owner: str, name: str, when: str, number: signal.Signals) -> dict[str, Any]:
    usual = {"login_timeout": 1, "timeout": 40}
    done = subprocess.run(
        [sys.executable, "-c", VICTIM, owner, name, when, str(int(number))],
        input=json.dumps({**usual, **members.topology}),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return dict(json.loads(done.stdout)) if done.stdout else {}


def test_told_to_end_it_undoes_what_it_began(deployed: ReplicationSet) -> None:
    old = deployed.primary
    with Writers(deployed) as writers:
        result = kill_midway(deployed, "HandOver", "_caught_up", "before", signal.SIGTERM)
    assert result["msg"] == "The module was told to end."
    assert writers.lost() == 0
    assert writers.longest_gap < LONGEST_GAP
    assert deployed.primary is old
    assert settings(deployed) == USUAL


def test_killed_before_the_failover_writes_go_on_by_themselves(deployed: ReplicationSet) -> None:
    old = deployed.primary
    with Writers(deployed) as writers:
        assert kill_midway(deployed, "HandOver", "_caught_up", "after", signal.SIGKILL) == {}
    assert writers.lost() == 0
    assert 1.5 < writers.longest_gap < LONGEST_GAP
    assert deployed.primary is old
    reset(deployed)


def test_killed_after_the_failover_nothing_is_lost(deployed: ReplicationSet) -> None:
    """The old primary stays paused until the sentinels have made it a replica, longer than they need."""
    old = deployed.primary
    with Writers(deployed) as writers:
        assert kill_midway(deployed, "Watcher", "failover", "after", signal.SIGKILL) == {}
        wait_until(lambda: deployed.named_primary(deployed.sentinels[0]) != old.port, "The failover")
        wait_until(lambda: role(old) == "slave", "The demotion of the old primary")
    assert writers.lost() == 0
    reset(deployed)


def reset(members: ReplicationSet) -> None:
    for node in members.nodes:
        node.call("CONFIG", "SET", "replica-priority", "100")
        node.call("CONFIG", "SET", "repl-ping-replica-period", "10")
        node.call("CONFIG", "REWRITE")
    for sentinel in members.sentinels:
        sentinel.call("SENTINEL", "SET", PRIMARY_NAME, "failover-timeout", "5000")


def test_a_single_replica_takes_over_and_back(
    tmp_path: Path, redis_program: Path, hand_over: HandOver, run_on_host: Callable[..., dict[str, Any]]
) -> None:
    """The new primary wants one replica before it accepts a write, and there is only the old primary."""
    with ReplicationSet(tmp_path, redis_program, nodes=2, down_after=2000, node_settings=SETTINGS) as members:
        whole(members, run_on_host)
        for _run in range(2):
            old = members.primary
            with Writers(members) as writers:
                result = hand_over(members)
            assert result["changed"], result
            assert members.primary is not old
            assert writers.lost() == 0
            assert writers.longest_gap < LONGEST_GAP
