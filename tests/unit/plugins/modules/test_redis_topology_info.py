# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module looks at real servers over mutual TLS, and sees what is wrong with them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.resultops.celery.tests.unit.replication_set import (
    Authority,
    Process,
    ReplicationSet,
    wait_until,
)

EVERYTHING = ["primary", "links", "quorum", "agreement", "one_version"]


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory, redis_program: Path) -> Iterator[ReplicationSet]:
    with ReplicationSet(tmp_path_factory.mktemp("topology"), redis_program) as running:
        running.primary.client().set("key", "value")
        yield running


@pytest.fixture
def look(deployed: ReplicationSet, run_on_host: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    def run(**arguments: Any) -> dict[str, Any]:
        return run_on_host("redis_topology_info", **{**deployed.topology, "login_timeout": 1, **arguments})

    return run


@pytest.fixture
def hung(deployed: ReplicationSet) -> Iterator[Callable[[Process], None]]:
    stopped: list[Process] = []

    def hang(process: Process) -> None:
        stopped.append(process)
        process.hang()

    yield hang
    for process in stopped:
        process.go_on()
    deployed.wait_for_agreement()


def test_a_healthy_set_is_described(deployed: ReplicationSet, look: Any) -> None:
    result = look(require=EVERYTHING, wait=20)
    assert (result["healthy"], result["problems"], result["changed"]) == (True, [], False), result
    assert result["primary"] == deployed.nodes[0].address
    assert (result["source"], result["agreed"], result["quorum_ok"]) == ("sentinels", True, True)
    first, second, third = result["nodes"]
    assert (first["role"], first["connected_replicas"], first["keys"], first["aof"]) == ("primary", 2, 1, True)
    for node in (second, third):
        assert (node["role"], node["link_up"], node["syncing"]) == ("replica", True, False)
        assert (node["primary_host"], node["primary_port"]) == ("localhost", deployed.nodes[0].port)
        assert node["lag_bytes"] >= 0
        assert node["keys"] == 1
    for node in result["nodes"]:
        assert (node["reachable"], node["failure_class"], node["error"]) == (True, "", "")
        assert node["engine"] in ("Redis", "Valkey")
        assert 28 <= node["certificate_days"] <= 30
    for sentinel in result["sentinels"]:
        assert (sentinel["flags"], sentinel["ckquorum"], sentinel["quorum"]) == ("master", True, 2)
        assert (sentinel["known_sentinels"], sentinel["known_replicas"], sentinel["config_epoch"]) == (3, 2, 0)
        assert 28 <= sentinel["certificate_days"] <= 30
    assert look(check_mode=True)["healthy"] is True


def test_no_password_is_printed(deployed: ReplicationSet, look: Any) -> None:
    for result in (look(), look(login_password="wrong of the admin", require=["primary"])):
        result.pop("invocation", None)
        printed = json.dumps(result)
        assert not [secret for secret in (*deployed.passwords.values(), "wrong of the admin") if secret in printed]


def test_what_hangs_costs_one_timeout(deployed: ReplicationSet, look: Any, hung: Any) -> None:
    for process in (deployed.nodes[1], deployed.nodes[2], deployed.sentinels[2]):
        hung(process)
    started = time.monotonic()
    result = look()
    assert time.monotonic() - started < 3
    assert [node["failure_class"] for node in result["nodes"]] == ["", "timeout", "timeout"]
    assert [sentinel["failure_class"] for sentinel in result["sentinels"]] == ["", "", "timeout"]
    assert result["primary"] == deployed.nodes[0].address
    assert result["quorum_ok"] is True
    assert result["healthy"] is False
    assert len(result["problems"]) == 3


def test_without_sentinels_the_nodes_are_believed(deployed: ReplicationSet, look: Any) -> None:
    result = look(sentinels=[])
    assert (result["primary"], result["source"]) == (deployed.nodes[0].address, "nodes")
    assert (result["agreed"], result["quorum_ok"], result["healthy"]) == (False, False, True)
    required = look(sentinels=[], require=["quorum"])
    assert required["failed"]
    assert "0 of 0 sentinels see a quorum" in required["msg"]


def test_a_set_that_the_sentinels_do_not_know_is_told(look: Any) -> None:
    result = look(primary_name="other", require=["primary", "links"])
    assert result["source"] == "nodes"
    assert [sentinel["reachable"] for sentinel in result["sentinels"]] == [True] * 3
    assert all("monitors nothing by the name other (primary_name)." in row["error"] for row in result["sentinels"])
    assert result["healthy"] is False


def test_strangers_are_told_apart(deployed: ReplicationSet, look: Any, tmp_path: Path) -> None:
    other = str(Authority(tmp_path / "other").certificate)
    assert {row["failure_class"] for row in look(ca_file=other)["nodes"]} == {"tls"}
    assert {row["failure_class"] for row in look(login_password="wrong")["nodes"]} == {"auth"}
    assert {row["failure_class"] for row in look(sentinel_password="wrong")["sentinels"]} == {"auth"}
    exporter = {"login_user": "celery", "login_password": deployed.passwords["celery"]}
    assert {row["failure_class"] for row in look(**exporter)["nodes"]} == {"acl"}
    without = look(certificate_file=None, private_key_file=None)
    assert {row["failure_class"] for row in (*without["nodes"], *without["sentinels"])} == {"tls"}, without
    swapped = look(nodes=deployed.topology["sentinels"], sentinels=deployed.topology["nodes"])
    assert {row["failure_class"] for row in (*swapped["nodes"], *swapped["sentinels"])} <= {"auth", "config"}
    changing = look(login_password="wrong", login_previous_password=deployed.passwords["admin"])
    assert {row["failure_class"] for row in changing["nodes"]} == {""}


def test_a_requirement_that_does_not_hold_fails_with_its_sentence(deployed: ReplicationSet, look: Any) -> None:
    down = [*deployed.topology["nodes"], {"host": "localhost", "port": 1}]
    assert look(nodes=down, require=["primary", "quorum", "agreement"])["healthy"] is False
    started = time.monotonic()
    result = look(nodes=down, require=["links"], wait=1)
    assert 1 <= time.monotonic() - started < 5
    assert result["failed"]
    assert result["msg"].startswith("The set is not as required after 1 seconds (wait): localhost:1 does not answer")
    assert result["nodes"][3]["failure_class"] == "refused"


def test_a_lag_that_is_not_allowed_is_a_problem(look: Any) -> None:
    assert look(max_lag_bytes=1000000)["healthy"] is True
    assert "allowed are -1" in look(max_lag_bytes=-1, require=["links"])["msg"]


def test_it_waits_until_the_set_is_whole(deployed: ReplicationSet, look: Any) -> None:
    node = deployed.nodes[2]
    node.kill()
    assert look()["healthy"] is False
    timer = threading.Timer(1.0, node.start)
    timer.start()
    result = look(require=["primary", "links", "quorum"], wait=20)
    timer.join()
    assert result.get("failed") is None, result
    wait_until(lambda: deployed.link_is_up(node), "The link of the node that came back")
    deployed.wait_for_agreement()


def test_after_a_failover_the_new_primary_is_named(deployed: ReplicationSet, look: Any) -> None:
    old = deployed.nodes[0]
    old.kill()
    wait_until(
        lambda: all(deployed.named_primary(sentinel) != old.port for sentinel in deployed.sentinels), "A failover"
    )
    result = look()
    assert result["primary"]["port"] in (deployed.nodes[1].port, deployed.nodes[2].port)
    assert result["agreed"] is True
    assert {sentinel["config_epoch"] for sentinel in result["sentinels"]} == {1}
    assert [problem for problem in result["problems"] if f"localhost:{old.port} does not answer (refused)" in problem]
    old.start()
    assert look(require=["primary", "links", "quorum"], wait=20).get("failed") is None
