# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module with real servers and sentinels over mutual TLS; what decides is tested exhaustively in test_topology."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.modules import redis_replication
from ansible_collections.resultops.celery.tests.unit.replication_set import Process, ReplicationSet, wait_until

Follow = Callable[..., dict[str, Any]]


@pytest.fixture
def bare(tmp_path: Path, redis_program: Path) -> Iterator[ReplicationSet]:
    """Three servers of which none runs or knows whom to follow, and three sentinels that do not run either."""
    members = ReplicationSet(tmp_path, redis_program)
    for node in members.nodes:
        node.state = "# what the package ships\ntcp-keepalive 300\n"
        node.write_files()
        node.state_file.chmod(0o640)
    yield members
    members.kill()


@pytest.fixture
def deployed(tmp_path: Path, redis_program: Path) -> Iterator[ReplicationSet]:
    with ReplicationSet(tmp_path, redis_program, down_after=2000) as running:
        yield running


@pytest.fixture
def follow(run_on_host: Callable[..., dict[str, Any]]) -> Follow:
    def run(members: ReplicationSet, node: Process, **arguments: Any) -> dict[str, Any]:
        usual = {
            "unix_socket": str(node.socket),
            "state_file": str(node.state_file),
            "data_directory": str(node.directory),
            "announce": node.address,
            "initial_primary": members.nodes[0].address,
            "wait_for_sync": 20,
            "login_timeout": 2,
        }
        return run_on_host("redis_replication", **{**usual, **members.topology, **arguments})

    return run


def summary(result: dict[str, Any]) -> tuple[Any, ...]:
    assert "failed" not in result, result["msg"]
    return result["changed"], result["live"], result["role"], result["source"]


def fail_over(members: ReplicationSet) -> Process:
    """Kill the primary; gives its successor, once the failover is over and nobody is told anything any more."""
    old = members.primary
    old.kill()

    def successor() -> Process | None:
        running = [node for node in members.nodes if node.is_running]
        found = [node for node in running if role(node) == "master"]
        named = {members.named_primary(sentinel) for sentinel in members.sentinels}
        calm = all(members.seen_by(sentinel)["flags"] == "master" for sentinel in members.sentinels)
        written = all(
            (f"replicaof localhost {found[0].port}\n" in node.state_file.read_text()) is (node is not found[0])
            and (node is found[0] or members.link_is_up(node))
            for node in running
            if found
        )
        return found[0] if len(found) == 1 and named == {found[0].port} and calm and written else None

    new: Process = wait_until(successor, "A failover")
    return new


def role(node: Process) -> str:
    return node.information()["role"]


def test_a_fresh_set_begins_as_the_inventory_says(bare: ReplicationSet, follow: Follow) -> None:
    for number, node in enumerate(bare.nodes):
        expected = (bool(number), False, "replica" if number else "primary", "initial")
        before = node.state_file.read_text()
        assert summary(follow(bare, node, check_mode=True)) == expected
        assert node.state_file.read_text() == before
        assert summary(follow(bare, node)) == expected
        assert follow(bare, node)["changed"] is False
    line = f"replicaof localhost {bare.nodes[0].port}\n"
    assert [node.state_file.read_text().endswith(line) for node in bare.nodes] == [False, True, True]
    assert bare.nodes[1].state_file.read_text().startswith("# what the package ships\ntcp-keepalive 300\n")
    assert bare.nodes[1].state_file.stat().st_mode & 0o777 == 0o640
    bare.start()
    for number, node in enumerate(bare.nodes):
        result = follow(bare, node)
        assert summary(result) == (False, True, "replica" if number else "primary", "sentinels")
        assert result["primary"] == bare.nodes[0].address


def test_the_diff_names_whom_it_follows(bare: ReplicationSet, follow: Follow) -> None:
    result = follow(bare, bare.nodes[1])
    (shown,) = result["diff"]
    assert shown["before_header"] == str(bare.nodes[1].state_file)
    assert (shown["before"], shown["after"]) == ("", f"replicaof localhost {bare.nodes[0].port}\n")
    assert follow(bare, bare.nodes[1])["diff"] == []


def test_a_run_after_a_failover_changes_nothing(deployed: ReplicationSet, follow: Follow) -> None:
    new = fail_over(deployed)
    old = deployed.nodes[0]
    # It is down: when it starts, it must not come back as the primary that its state file knows.
    assert summary(follow(deployed, old)) == (True, False, "replica", "sentinels")
    assert old.state_file.read_text().count(f"replicaof localhost {new.port}\n") == 1
    assert follow(deployed, old)["changed"] is False
    old.start()
    for node in deployed.nodes:
        result = follow(deployed, node)
        assert summary(result) == (False, True, "primary" if node is new else "replica", "sentinels")
        assert result["primary"] == new.address
    assert role(old) == "slave"


def test_a_replica_that_slept_through_a_failover_is_corrected(deployed: ReplicationSet, follow: Follow) -> None:
    sleeper = deployed.nodes[2]
    sleeper.kill()
    new = fail_over(deployed)
    sleeper.state_file.write_text(f"tcp-keepalive 300\nreplicaof localhost {deployed.nodes[0].port}\n")
    assert summary(follow(deployed, sleeper)) == (True, False, "replica", "sentinels")
    assert sleeper.state_file.read_text() == f"tcp-keepalive 300\nreplicaof localhost {new.port}\n"
    assert follow(deployed, sleeper)["changed"] is False


def test_an_old_primary_that_runs_again_is_told(deployed: ReplicationSet, follow: Follow) -> None:
    new = fail_over(deployed)
    old = deployed.nodes[0]
    for sentinel in deployed.sentinels:
        sentinel.hang()
    old.start()
    assert role(old) == "master"
    for sentinel in deployed.sentinels:
        sentinel.go_on()
    wait_until(lambda: deployed.named_primary(deployed.sentinels[0]) == new.port, "An answer of the sentinels")
    foreseen = follow(deployed, old, check_mode=True)
    assert summary(foreseen)[1:] == (True, "replica", "sentinels")
    result = follow(deployed, old)
    assert summary(result)[1:] == (True, "replica", "sentinels")
    assert role(old) == "slave"
    assert old.information()["master_link_status"] == "up"
    assert f"replicaof localhost {new.port}\n" in old.state_file.read_text()
    assert follow(deployed, old)["changed"] is False


def test_an_empty_host_in_the_place_of_the_first_primary_becomes_a_replica(
    deployed: ReplicationSet, follow: Follow
) -> None:
    deployed.primary.client().set("key", "value")
    wait_until(lambda: all(node.information().get("db0") for node in deployed.nodes), "The replication of the key")
    new = fail_over(deployed)
    node = deployed.nodes[0]
    node.state_file.write_text("")
    shutil.rmtree(node.directory / "appendonlydir")
    assert summary(follow(deployed, node)) == (True, False, "replica", "sentinels")
    for sentinel in deployed.sentinels:
        sentinel.kill()
    node.state_file.write_text("")
    assert summary(follow(deployed, node)) == (True, False, "replica", "nodes")
    node.start()
    assert summary(follow(deployed, node)) == (False, True, "replica", "nodes")
    assert node.client().get("key") == "value"
    assert new.client().get("key") == "value"


def test_a_server_with_data_becomes_the_primary_of_a_new_set(bare: ReplicationSet, follow: Follow) -> None:
    """The conversion of a single server, whose host the inventory does not name as the first primary."""
    single = bare.nodes[2]
    single.start()
    single.client().set("key", "value")
    for node, expected in (
        (single, (False, True, "primary", "nodes")),
        (bare.nodes[0], (True, False, "replica", "nodes")),
        (bare.nodes[1], (True, False, "replica", "nodes")),
    ):
        result = follow(bare, node)
        assert summary(result) == expected
        assert result["primary"] == single.address
    for node in bare.nodes[:2]:
        node.start()
        assert summary(follow(bare, node)) == (False, True, "replica", "nodes")
        assert node.client().get("key") == "value"
    # Stopped, with nobody else to ask, it stays what it was.
    for node in bare.nodes:
        node.kill()
    assert summary(follow(bare, single)) == (False, False, "primary", "own")
    assert summary(follow(bare, bare.nodes[0])) == (False, False, "replica", "own")
    assert "replicaof" not in single.state_file.read_text()


def test_two_primaries_with_data_are_refused(bare: ReplicationSet, follow: Follow) -> None:
    for node in bare.nodes[:2]:
        node.start()
        node.client().set("key", node.directory.name)
    for node in bare.nodes:
        result = follow(bare, node)
        assert "are all primaries with data, and no sentinel says which of them counts" in result["msg"]
    assert [node.client().get("key") for node in bare.nodes[:2]] == ["node0", "node1"]


def test_an_empty_primary_takes_nothing_away(bare: ReplicationSet, follow: Follow) -> None:
    for node in bare.nodes[:2]:
        node.start()
    bare.nodes[1].client().set("key", "value")
    bare.nodes[1].kill()
    bare.nodes[2].state_file.write_text(f"replicaof localhost {bare.nodes[0].port}\n")
    bare.nodes[2].start()
    wait_until(lambda: bare.link_is_up(bare.nodes[2]), "A link")
    result = follow(bare, bare.nodes[1])
    assert "has data and would lose them to the primary" in result["msg"]
    assert "replicaof" not in bare.nodes[1].state_file.read_text()


def test_a_running_server_is_told_and_writes_its_file_itself(bare: ReplicationSet, follow: Follow) -> None:
    first, second, third = bare.nodes
    for node in bare.nodes:
        node.start()
    first.client().set("key", "value")
    assert summary(follow(bare, first)) == (False, True, "primary", "nodes")
    foreseen = follow(bare, second, check_mode=True)
    assert summary(foreseen) == (True, True, "replica", "nodes")
    assert role(second) == "master"
    result = follow(bare, second)
    assert summary(result) == (True, True, "replica", "nodes")
    assert (result["diff"][0]["before"], result["diff"][0]["after"]) == ("", f"replicaof localhost {first.port}\n")
    assert second.client().get("key") == "value"
    assert f"replicaof localhost {first.port}\n" in second.state_file.read_text()
    assert follow(bare, second)["changed"] is False
    # Told by hand, it follows, but would not after a restart.
    third.call("REPLICAOF", "localhost", str(first.port))
    result = follow(bare, third)
    assert summary(result) == (True, True, "replica", "nodes")
    assert result["diff"][0]["before_header"] == str(third.state_file)
    assert follow(bare, third)["changed"] is False


def test_a_primary_whose_file_would_make_it_a_replica_writes_it_anew(deployed: ReplicationSet, follow: Follow) -> None:
    node = deployed.nodes[0]
    node.state_file.write_text(f'replicaof "localhost" {deployed.nodes[1].port}\n')
    assert summary(follow(deployed, node)) == (True, True, "primary", "sentinels")
    assert "replicaof" not in node.state_file.read_text()
    assert follow(deployed, node)["changed"] is False


def test_a_replica_without_a_link_fails_with_the_reason(bare: ReplicationSet, follow: Follow) -> None:
    first, second, _third = bare.nodes
    second.settings["masterauth"] = "wrong"
    for node in (first, second):
        node.start()
    first.client().set("key", "value")
    result = follow(bare, second, wait_for_sync=1)
    assert (
        f"has no copy of the data of its primary localhost:{first.port} after 1 seconds (wait_for_sync)"
        in result["msg"]
    )
    assert follow(bare, second, wait_for_sync=0)["changed"] is False


def test_sentinels_that_refuse_the_login_are_not_passed_over(deployed: ReplicationSet, follow: Follow) -> None:
    right = deployed.passwords["sentinel-admin"]
    result = follow(deployed, deployed.nodes[1], sentinel_password="the-new-one")
    sentinel = deployed.sentinels[0]
    assert f"The sentinel localhost:{sentinel.port} knows who is the primary, but refuses to say it:" in result["msg"]
    assert "sentinel_password" in result["msg"]
    assert "the-new-one" not in result["msg"]
    changing = {"sentinel_password": "the-new-one", "sentinel_previous_password": right}
    assert summary(follow(deployed, deployed.nodes[1], **changing)) == (False, True, "replica", "sentinels")


def test_a_server_that_was_started_with_another_file_is_refused(bare: ReplicationSet, follow: Follow) -> None:
    first, second, _third = bare.nodes
    for node in (first, second):
        node.start()
    first.client().set("key", "value")
    other = bare.directory / "other.conf"
    other.write_text("")
    result = follow(bare, second, state_file=str(other))
    assert f"instead of {other} (state_file), so that it would forget whom it follows" in result["msg"]
    assert role(second) == "master"


@pytest.mark.parametrize("option", ["announce", "initial_primary"])
def test_a_node_that_is_none_is_refused(bare: ReplicationSet, follow: Follow, option: str) -> None:
    result = follow(bare, bare.nodes[0], **{option: {"host": "elsewhere", "port": 6379}})
    assert result["msg"] == f"{option} is elsewhere:6379, which is none of the nodes."


def test_no_password_is_printed(deployed: ReplicationSet, follow: Follow) -> None:
    result = follow(deployed, deployed.nodes[1])
    result.pop("invocation", None)
    assert not [secret for secret in deployed.passwords.values() if secret in json.dumps(result)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("# replicaof a 1\n", None),
        ("replica-priority 100\nreplicaof-like 1 2\n", None),
        ("replicaof a 1\n", "a:1"),
        ('  ReplicaOf "a" "1"\n', "a:1"),
        ("slaveof a 1\n", "a:1"),
        ("replicaof a 1\nreplicaof b 2\n", "b:2"),
        ("replicaof a 1\nreplicaof no one\n", None),
        ("replicaof\ta   1  \n", "a:1"),
    ],
)
def test_the_state_file_is_read_as_the_server_reads_it(tmp_path: Path, text: str, expected: str | None) -> None:
    path = tmp_path / "redis.conf"
    path.write_text(text)
    follows = redis_replication.StateFile(None, str(path)).follows
    assert (str(follows) if follows else None) == expected


@pytest.mark.parametrize("line", ["replicaof a", "replicaof a b", 'replicaof "a 1'])
def test_a_line_that_is_none_is_a_sentence(bare: ReplicationSet, follow: Follow, line: str) -> None:
    node = bare.nodes[1]
    node.state_file.write_text(f"{line}\n")
    assert "has a line replicaof that does not name a host and a port" in follow(bare, node)["msg"]


def test_a_state_file_that_is_absent_is_made(bare: ReplicationSet, follow: Follow) -> None:
    node = bare.nodes[1]
    node.state_file.unlink()
    assert summary(follow(bare, node))[0] is True
    assert node.state_file.read_text() == f"replicaof localhost {bare.nodes[0].port}\n"
    assert node.state_file.stat().st_mode & 0o777 == 0o640
    nowhere = follow(bare, node, state_file="/nowhere/redis.conf")
    assert "state_file /nowhere/redis.conf cannot be written: No such file or directory." in nowhere["msg"]
    assert follow(bare, node, state_file="/nowhere/redis.conf", check_mode=True)["changed"] is True
    node.state_file.unlink()
    node.state_file.mkdir()
    assert "cannot be read: Is a directory" in follow(bare, node)["msg"]
