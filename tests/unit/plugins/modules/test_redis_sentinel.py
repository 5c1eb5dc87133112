# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module against real sentinels over mutual TLS: they go on running, and what they found out stays."""

from __future__ import annotations

import json
import os
import re
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.resultops.celery.tests.unit.replication_set import (
    PRIMARY_NAME,
    Process,
    ReplicationSet,
    wait_until,
)

Run = Callable[..., dict[str, Any]]

# All that a password may have which Sentinel writes without quotes.
EVERY_CHARACTER = "".join(chr(code) for code in range(33, 127) if chr(code) not in "\"'") + "é€"

STOCK = """\
# Example sentinel.conf
protected-mode no
port 26379
daemonize no
dir "/tmp"
# sentinel auth-pass mymaster MySUPER--secret-0123passw0rd
sentinel monitor mymaster 127.0.0.1 6379 2
acllog-max-len 128
sentinel down-after-milliseconds mymaster 30000
sentinel failover-timeout mymaster 180000
sentinel deny-scripts-reconfig yes
SENTINEL master-reboot-down-after-period mymaster 0
user worker on >of-somebody +@all
"""


def primary(deployed: ReplicationSet, name: str = PRIMARY_NAME, **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        **deployed.nodes[0].address,
        "quorum": deployed.quorum,
        "auth_user": "sentinel",
        "auth_password": deployed.passwords["sentinel"],
        "down_after": deployed.down_after,
        "failover_timeout": deployed.failover_timeout,
        "nodes": [node.address for node in deployed.nodes],
        **changes,
    }


def settings_of(sentinel: Process) -> dict[str, Any]:
    """The same as the set's own managed file has, without the secret."""
    wanted = {name: value.strip('"') for name, value in sentinel.all_settings().items()}
    del wanted["sentinel sentinel-pass"]
    return {**wanted, "bind": wanted["bind"].split()}


@pytest.fixture
def manage(run_on_host: Run) -> Run:
    def run(
        deployed: ReplicationSet,
        sentinel: Process | None = None,
        settings: dict[str, Any] | None = None,
        **arguments: Any,
    ) -> dict[str, Any]:
        sentinel = sentinel or deployed.sentinels[0]
        wanted = {
            "path": str(sentinel.managed_file),
            "state_file": str(sentinel.state_file),
            "unix_socket": str(sentinel.socket),
            "login_user": "admin",
            "login_password": deployed.passwords["sentinel-admin"],
            "settings": {**settings_of(sentinel), **(settings or {})},
            "secret_settings": {"sentinel sentinel-pass": deployed.passwords["peer"]},
            "sentinels": [one.address for one in deployed.sentinels],
            "primaries": [primary(deployed)],
            "server_binary": str(sentinel.program),
            **deployed.tls,
            **arguments,
        }
        return run_on_host("redis_sentinel", **{name: value for name, value in wanted.items() if value is not None})

    return run


@pytest.fixture
def running(one_node: ReplicationSet, manage: Run) -> ReplicationSet:
    """One node and one sentinel that the module has written the files of."""
    assert manage(one_node)["added"] == [PRIMARY_NAME]
    one_node.sentinels[0].start(write_files=False)
    return one_node


def kept(deployed: ReplicationSet) -> dict[str, Any]:
    """What no run may touch: who is primary, who else is there, the epochs, the processes."""
    result: dict[str, Any] = {}
    for sentinel in deployed.sentinels:
        seen = deployed.seen_by(sentinel)
        lines = sentinel.state_file.read_text().splitlines()
        result[sentinel.directory.name] = (
            sentinel.pid,
            sentinel.information()["run_id"],
            {key: seen[key] for key in ("ip", "port", "config-epoch", "num-slaves", "num-other-sentinels")},
            sorted(
                line for line in lines if re.match(r"sentinel (known-|config-epoch|leader-epoch|current-|myid)", line)
            ),
        )
    return result


# --- A running sentinel ----------------------------------------------------------------------------------------------


def test_a_set_that_runs_as_wanted_stays_as_it_is(replication_set: ReplicationSet, manage: Run) -> None:
    before = kept(replication_set)
    first = manage(replication_set)
    assert (first["changed"], first["live"], first["restart_required"]) == (True, True, [])
    assert (first["added"], first["changed_options"], first["removed"]) == ([], [], [])
    for sentinel in replication_set.sentinels:
        manage(replication_set, sentinel)
        again = manage(replication_set, sentinel)
        assert (again["changed"], again["diff"], again["restart_required"]) == (False, [], [])
        predicted = manage(replication_set, sentinel, check_mode=True)
        assert (predicted["changed"], predicted["diff"], predicted["restart_required"]) == (False, [], [])
    assert kept(replication_set) == before


def test_a_failover_between_two_runs_changes_nothing(replication_set: ReplicationSet, manage: Run) -> None:
    for sentinel in replication_set.sentinels:
        manage(replication_set, sentinel)
    old = replication_set.nodes[0]
    old.kill()
    wait_until(lambda: replication_set.named_primary(replication_set.sentinels[0]) != old.port, "The failover")
    old.start()
    wait_until(lambda: replication_set.link_is_up(old), "The return of the old primary")
    replication_set.wait_for_agreement()
    before = kept(replication_set)
    for sentinel in replication_set.sentinels:
        result = manage(replication_set, sentinel)
        assert (result["changed"], result["restart_required"]) == (False, []), result
    assert kept(replication_set) == before
    assert replication_set.primary.port != old.port


def test_a_second_primary_comes_and_goes_without_a_restart(replication_set: ReplicationSet, manage: Run) -> None:
    """A sentinel that nobody told of the second one yet learns its place from the others."""
    for sentinel in replication_set.sentinels:
        manage(replication_set, sentinel)
    before = kept(replication_set)
    both = [primary(replication_set), primary(replication_set, "other", **replication_set.nodes[1].address, nodes=[])]
    both[1]["nodes"] = [replication_set.nodes[1].address]
    # As a replica of the first set it would not be a primary at all.
    replication_set.nodes[1].call("REPLICAOF", "NO", "ONE")
    manage(replication_set, primaries=[both[0]])
    added = manage(replication_set, primaries=both)
    assert (added["added"], added["changed_options"], added["removed"]) == (["other"], [], [])
    assert added["seeded"]["other"] == {**replication_set.nodes[1].address, "source": "initial"}
    assert not manage(replication_set, primaries=both)["changed"]
    seen = replication_set.seen_by(replication_set.sentinels[0], "other")
    assert (seen["down-after-milliseconds"], seen["quorum"]) == ("2000", "2")
    wait_until(
        lambda: "disconnected" not in replication_set.seen_by(replication_set.sentinels[0], "other")["flags"],
        "The login on the second primary",
    )
    second = manage(replication_set, replication_set.sentinels[1], primaries=both)
    assert second["seeded"]["other"] == {**replication_set.nodes[1].address, "source": "sentinels"}
    removed = manage(replication_set, primaries=both[:1])
    assert (removed["removed"], removed["added"]) == (["other"], [])
    assert not manage(replication_set, primaries=both[:1])["changed"]
    assert [one[0] for one in kept(replication_set).values()] == [one[0] for one in before.values()]


def test_options_change_while_it_runs(running: ReplicationSet, manage: Run) -> None:
    sentinel = running.sentinels[0]
    pid = sentinel.information()["process_id"]
    changes = {
        "quorum": 1,
        "down_after": 2500,
        "failover_timeout": 20000,
        "parallel_syncs": 2,
        "auth_password": EVERY_CHARACTER,
    }
    running.nodes[0].call("ACL", "SETUSER", "sentinel", f">{EVERY_CHARACTER}")
    arguments = {"primaries": [primary(running, **changes)]}
    predicted = manage(running, check_mode=True, **arguments)
    assert running.seen_by(sentinel)["down-after-milliseconds"] == "2000"
    result = manage(running, **arguments)
    wanted = ["down-after-milliseconds", "failover-timeout", "parallel-syncs", "auth-pass"]
    assert result["changed_options"] == [f"{PRIMARY_NAME} {option}" for option in wanted]
    for key in ("changed", "changed_options", "added", "removed", "restart_required", "diff"):
        assert predicted[key] == result[key], key
    seen = running.seen_by(sentinel)
    assert (seen["down-after-milliseconds"], seen["failover-timeout"], seen["parallel-syncs"]) == ("2500", "20000", "2")
    assert sentinel.information()["process_id"] == pid
    assert not manage(running, **arguments)["changed"]
    sentinel.restart(write_files=False)
    assert not manage(running, **arguments)["changed"]
    wait_until(lambda: running.seen_by(sentinel)["flags"] == "master", "The login with the new password")


def test_a_new_password_is_used_and_the_old_one_is_shown_nowhere(running: ReplicationSet, manage: Run) -> None:
    sentinel, node = running.sentinels[0], running.nodes[0]
    node.call("ACL", "SETUSER", "sentinel", ">the-new-one-%41", "<" + running.passwords["sentinel"])
    node.call("CLIENT", "KILL", "USER", "sentinel")
    wait_until(lambda: running.seen_by(sentinel)["flags"] != "master", "The end of the old password")
    result = manage(running, primaries=[primary(running, auth_password="the-new-one-%41")])
    assert result["changed_options"] == [f"{PRIMARY_NAME} auth-pass"]
    printed = json.dumps(result)
    assert "the-new-one" not in printed
    assert running.passwords["sentinel"] not in printed
    assert f"sentinel auth-pass {PRIMARY_NAME} ********" in printed
    wait_until(lambda: running.seen_by(sentinel)["flags"] == "master", "The login with the new password")
    manage(running, primaries=[primary(running, auth_password="the-new-one-%41", quorum=1, auth_user="admin")])
    last = manage(running, primaries=[primary(running, auth_user="", auth_password="")])
    assert last["changed_options"] == [f"{PRIMARY_NAME} auth-user", f"{PRIMARY_NAME} auth-pass"]
    assert not manage(running, primaries=[primary(running, auth_user="", auth_password="")])["changed"]


def test_what_was_changed_by_hand_is_taken_back(running: ReplicationSet, manage: Run) -> None:
    sentinel = running.sentinels[0]
    sentinel.call(
        "SENTINEL", "SET", PRIMARY_NAME, "quorum", "7", "down-after-milliseconds", "9000", "auth-pass", "wrong"
    )
    sentinel.call("SENTINEL", "CONFIG", "SET", "announce-ip", "elsewhere")
    sentinel.call("SENTINEL", "CONFIG", "SET", "sentinel-pass", "another")
    sentinel.call("SENTINEL", "MONITOR", "stray", "127.0.0.1", "1", "1")
    predicted = manage(running, check_mode=True)
    result = manage(running)
    assert result["changed_options"] == [
        f"{PRIMARY_NAME} {name}" for name in ("quorum", "down-after-milliseconds", "auth-pass")
    ]
    assert result["changed_settings"] == ["sentinel announce-ip", "sentinel sentinel-pass"]
    assert (result["removed"], result["added"], result["restart_required"]) == (["stray"], [], [])
    assert {key: predicted[key] for key in ("changed_options", "changed_settings", "removed", "diff")} == {
        key: result[key] for key in ("changed_options", "changed_settings", "removed", "diff")
    }
    assert not manage(running)["changed"]
    for secret in ("another", "wrong"):
        assert secret not in json.dumps(result)


def test_a_name_that_only_a_hand_could_give_is_removed(running: ReplicationSet, manage: Run) -> None:
    """Sentinel takes a name with a space, and does not start again with what it then writes."""
    running.sentinels[0].call("SENTINEL", "MONITOR", "two words", "127.0.0.1", "1", "1")
    assert manage(running)["removed"] == ["two words"]
    running.sentinels[0].restart(write_files=False)
    assert not manage(running)["changed"]


def test_process_settings_change_live_or_are_named(running: ReplicationSet, manage: Run) -> None:
    sentinel = running.sentinels[0]
    time.sleep(1.1)  # the age of a process is told in seconds
    changes = {"sentinel announce-port": 12345, "tls-protocols": "TLSv1.3", "maxclients": 999, "acllog-max-len": 128}
    predicted = manage(running, settings=changes, check_mode=True)
    result = manage(running, settings=changes)
    assert result["changed_settings"] == ["sentinel announce-port"]
    # Both are not the defaults; the third is, and the process runs with it already.
    assert result["restart_required"] == ["maxclients", "tls-protocols"]
    for key in ("changed", "changed_settings", "restart_required", "diff"):
        assert predicted[key] == result[key], key
    for check_mode in (False, True):
        again = manage(running, settings=changes, check_mode=check_mode)
        assert (again["changed"], again["restart_required"]) == (False, ["maxclients", "tls-protocols"])
    sentinel.restart(write_files=False)
    for check_mode in (True, False, True):
        after = manage(running, settings=changes, check_mode=check_mode)
        assert (after["changed"], after["restart_required"]) == (False, []), check_mode
    assert sentinel.call("SENTINEL", "CONFIG", "GET", "announce-port")[1] == "12345"
    back = manage(running)
    assert (back["restart_required"], back["changed_settings"]) == ([], ["sentinel announce-port"])


def test_a_sentinel_that_runs_without_the_managed_file_must_be_restarted(running: ReplicationSet, manage: Run) -> None:
    sentinel = running.sentinels[0]
    managed = sentinel.managed_file.read_text()
    sentinel.managed_file.write_text(managed.replace("tls-auth-clients yes", "tls-auth-clients no"))
    sentinel.restart(write_files=False)
    assert manage(running)["restart_required"] == ["tls-auth-clients"]
    assert sentinel.managed_file.read_text() == managed


def test_a_new_certificate_needs_a_restart_until_it_is_served(running: ReplicationSet, manage: Run) -> None:
    sentinel = running.sentinels[0]
    assert manage(running)["restart_required"] == []
    running.authority.issue(sentinel.directory.name)
    for check_mode in (True, False):
        result = manage(running, check_mode=check_mode)
        assert (result["changed"], result["restart_required"]) == (False, ["tls-cert-file"])
    sentinel.restart(write_files=False)
    assert manage(running)["restart_required"] == []
    later = time.time() + 5
    os.utime(running.authority.certificate, (later, later))
    assert manage(running)["restart_required"] == ["tls-ca-cert-file"]


def test_a_sentinel_that_cannot_write_its_file_is_named(running: ReplicationSet, manage: Run) -> None:
    sentinel = running.sentinels[0]
    sentinel.state_file.rename(sentinel.directory / "saved")
    sentinel.state_file.mkdir()
    result = manage(running)
    assert result["failed"]
    assert f"cannot write its own file {sentinel.state_file} (state_file)" in result["msg"]


def test_users_that_stand_beside_an_acl_file_are_dropped_before_the_restart(
    running: ReplicationSet, manage: Run
) -> None:
    """Sentinel writes its users into its own file while it has no aclfile, and with both it does not start."""
    sentinel = running.sentinels[0]
    accounts = sentinel.acl_file.read_text()
    managed = "\n".join(line for line in sentinel.managed_file.read_text().splitlines() if "aclfile" not in line)
    sentinel.managed_file.write_text(managed + "\n")
    sentinel.kill()
    state = re.sub(r"(?m)^aclfile .*\n", "", sentinel.state_file.read_text())
    sentinel.state_file.write_text(state + accounts)
    sentinel.start(write_files=False)
    predicted = manage(running, check_mode=True)
    assert predicted["restart_required"] == ["aclfile"]
    assert "user admin" in sentinel.state_file.read_text()
    result = manage(running)
    assert (result["changed"], result["restart_required"]) == (True, ["aclfile"])
    assert not re.search(r"(?m)^user ", sentinel.state_file.read_text())
    sentinel.restart(write_files=False)
    assert not manage(running)["changed"]


@pytest.mark.parametrize("left_over", ["options", "file", "monitor"])
def test_a_half_finished_run_is_finished(running: ReplicationSet, manage: Run, left_over: str) -> None:
    sentinel = running.sentinels[0]
    if left_over == "options":
        sentinel.call("SENTINEL", "REMOVE", PRIMARY_NAME)
        sentinel.call("SENTINEL", "MONITOR", PRIMARY_NAME, "localhost", str(running.nodes[0].port), "1")
    elif left_over == "monitor":
        sentinel.call("SENTINEL", "REMOVE", PRIMARY_NAME)
    else:
        sentinel.managed_file.unlink()
    assert manage(running)["changed"]
    assert not manage(running)["changed"]
    wait_until(lambda: running.seen_by(sentinel)["flags"] == "master", "The login on the primary")


def test_a_primary_whose_name_cannot_be_resolved_leaves_nothing_behind(running: ReplicationSet, manage: Run) -> None:
    others = [
        primary(running, "good", host="127.0.0.1", nodes=[{"host": "127.0.0.1", "port": 1}]),
        primary(running, "bad", host="no-such-host.invalid", nodes=[{"host": "127.0.0.1", "port": 1}]),
    ]
    result = manage(running, primaries=[primary(running), *others])
    assert "cannot resolve no-such-host.invalid, the host of the primary bad in primaries" in result["msg"]
    assert not manage(running)["changed"]


def test_other_servers_are_refused(running: ReplicationSet, manage: Run, tmp_path: Path) -> None:
    node = running.nodes[0]
    other = manage(running, unix_socket=str(node.socket), login_password=running.passwords["admin"])
    assert other["msg"] == f"The server at {node.socket} is no Sentinel."
    elsewhere = manage(running, state_file=str(tmp_path / "sentinel.conf"))
    assert f"runs with {running.sentinels[0].state_file} and not with state_file" in elsewhere["msg"]
    wrong = manage(running, login_password="wrong")
    assert wrong["msg"].endswith("refused user admin (login_user) with login_password.")


def test_the_network_way(running: ReplicationSet, manage: Run) -> None:
    sentinel = running.sentinels[0]
    result = manage(running, unix_socket=None, login_host="localhost", login_port=sentinel.port)
    assert (result.get("changed"), result.get("live")) == (False, True), result.get("msg")


def test_a_run_in_check_mode_writes_nothing(running: ReplicationSet, manage: Run) -> None:
    sentinel = running.sentinels[0]
    files = (sentinel.state_file, sentinel.managed_file)
    before = [(file.read_text(), file.stat().st_mtime_ns) for file in files]
    changes = {"primaries": [primary(running, "other", quorum=1)], "settings": {"sentinel announce-ip": "x"}}
    assert manage(running, check_mode=True, **changes)["changed"]
    assert [(file.read_text(), file.stat().st_mtime_ns) for file in files] == before
    assert sorted(os.listdir(sentinel.directory)) == sorted(
        ["managed.conf", "sentinel.conf", "server.log", "server.sock", "users.acl"]
    )


# --- A stopped sentinel ----------------------------------------------------------------------------------------------


def test_the_packages_own_file_becomes_ours(one_node: ReplicationSet, manage: Run) -> None:
    sentinel = one_node.sentinels[0]
    sentinel.state_file.write_text(STOCK)
    sentinel.state_file.chmod(0o600)
    predicted = manage(one_node, check_mode=True)
    assert sentinel.state_file.read_text() == STOCK
    assert not sentinel.managed_file.exists()
    result = manage(one_node)
    for key in ("changed", "added", "removed", "seeded", "diff"):
        assert predicted[key] == result[key], key
    assert (result["live"], result["added"], result["removed"]) == (False, [PRIMARY_NAME], ["mymaster"])
    text = sentinel.state_file.read_text()
    assert [line for line in text.splitlines() if "mymaster" in line and not line.startswith("#")] == []
    assert "user worker" not in text
    assert sentinel.state_file.stat().st_mode & 0o777 == 0o600
    for secret in ("of-somebody", one_node.passwords["sentinel"], one_node.passwords["peer"], "MySUPER"):
        assert secret not in json.dumps(result)
    for check_mode in (False, True):
        again = manage(one_node, check_mode=check_mode)
        assert (again["changed"], again["added"], again["removed"], again["diff"]) == (False, [], [], [])
    sentinel.start(write_files=False)
    wait_until(lambda: one_node.seen_by(sentinel)["flags"] == "master", "The login on the primary")
    live = manage(one_node)
    assert (live["changed"], live["live"], live["restart_required"]) == (False, True, [])
    assert one_node.nodes[0].call("ACL", "LOG") == []


def test_without_a_state_file_it_is_made(one_node: ReplicationSet, manage: Run) -> None:
    sentinel = one_node.sentinels[0]
    os.chown(sentinel.directory, 12, 13)
    result = manage(one_node)
    assert (result["added"], result["removed"]) == ([PRIMARY_NAME], [])
    state = sentinel.state_file.stat()
    assert (state.st_uid, state.st_gid, state.st_mode & 0o777) == (12, 13, 0o640)
    managed = sentinel.managed_file.stat()
    assert (managed.st_uid, managed.st_mode & 0o777) == (os.geteuid(), 0o640)


def test_a_stopped_sentinel_keeps_what_it_knows(replication_set: ReplicationSet, manage: Run) -> None:
    sentinel = replication_set.sentinels[0]
    manage(replication_set)
    replication_set.nodes[0].kill()
    wait_until(lambda: replication_set.named_primary(sentinel) != replication_set.nodes[0].port, "The failover")
    replication_set.nodes[0].start()
    replication_set.wait_for_agreement()
    before = kept(replication_set)[sentinel.directory.name][2:]
    sentinel.kill()
    result = manage(replication_set, primaries=[primary(replication_set, down_after=3000, quorum=3)])
    assert result["changed_options"] == [f"{PRIMARY_NAME} quorum", f"{PRIMARY_NAME} down-after-milliseconds"]
    assert (result["added"], result["removed"]) == ([], [])
    sentinel.start(write_files=False)
    wait_until(lambda: kept(replication_set)[sentinel.directory.name][2:] == before, "The return of what it knew")
    seen = replication_set.seen_by(sentinel)
    assert (seen["quorum"], seen["down-after-milliseconds"]) == ("3", "3000")


def test_a_sentinel_that_lost_its_file_learns_from_the_others(replication_set: ReplicationSet, manage: Run) -> None:
    sentinel = replication_set.sentinels[0]
    replication_set.nodes[0].kill()
    wait_until(
        lambda: replication_set.named_primary(replication_set.sentinels[1]) != replication_set.nodes[0].port,
        "The failover",
    )
    replication_set.nodes[0].start()
    wait_until(lambda: replication_set.link_is_up(replication_set.nodes[0]), "The return of the old primary")
    replication_set.wait_for_agreement()
    new = replication_set.primary
    sentinel.kill()
    sentinel.state_file.unlink()
    result = manage(replication_set)
    assert result["seeded"] == {PRIMARY_NAME: {**new.address, "source": "sentinels"}}
    sentinel.state_file.unlink()
    for other in replication_set.sentinels[1:]:
        other.kill()
    result = manage(replication_set)
    assert result["seeded"] == {PRIMARY_NAME: {**new.address, "source": "nodes"}}
    sentinel.state_file.unlink()
    for node in replication_set.nodes:
        node.kill()
    result = manage(replication_set)
    assert result["seeded"] == {PRIMARY_NAME: {**replication_set.nodes[0].address, "source": "initial"}}


def test_a_node_that_does_not_let_it_in_stops_the_guessing(one_node: ReplicationSet, manage: Run) -> None:
    wrong = [primary(one_node, auth_password="wrong")]
    result = manage(one_node, primaries=wrong)
    node = one_node.nodes[0]
    assert result["msg"].startswith(
        f"The node localhost:{node.port} of the primary results runs, but does not say whether it is the primary (auth)"
    )
    assert not one_node.sentinels[0].state_file.exists()
    assert not one_node.sentinels[0].managed_file.exists()


def test_the_packages_primary_is_not_taken_for_ours(one_node: ReplicationSet, manage: Run) -> None:
    """A package that has been started once monitors itself by the name that ours may have, too."""
    sentinel = one_node.sentinels[0]
    host = {"host": "127.0.0.2", "port": 1}
    ours = [primary(one_node, "mymaster", **host, nodes=[host])]
    for text in (STOCK, STOCK + "sentinel myid 5bd5b91677040cfb4c01b7315c5ee87b9f6d6a0a\n"):
        sentinel.state_file.write_text(text)
        assert manage(one_node, primaries=ours)["added"] == ["mymaster"]
        assert "sentinel monitor mymaster 127.0.0.2 1 1\n" in sentinel.state_file.read_text()
        assert not manage(one_node, primaries=ours)["changed"]
    sentinel.start(write_files=False)
    sentinel.call("SENTINEL", "REMOVE", "mymaster")
    sentinel.call("SENTINEL", "MONITOR", "mymaster", "127.0.0.1", "6379", "2")
    live = manage(one_node, primaries=ours)
    assert (live["added"], live["removed"]) == (["mymaster"], [])
    assert one_node.seen_by(sentinel, "mymaster")["ip"] == "127.0.0.2"
    assert not manage(one_node, primaries=ours)["changed"]


def test_a_file_with_which_no_sentinel_ran_holds_no_knowledge(one_node: ReplicationSet, manage: Run) -> None:
    """What half a run left behind before a failover is asked for again."""
    sentinel = one_node.sentinels[0]
    text = "sentinel monitor results 127.0.0.5 1 1\n"
    sentinel.state_file.write_text(text)
    result = manage(one_node)
    assert result["seeded"] == {PRIMARY_NAME: {**one_node.nodes[0].address, "source": "initial"}}
    sentinel.state_file.write_text(text + "sentinel myid 5bd5b91677040cfb4c01b7315c5ee87b9f6d6a0a\n")
    assert manage(one_node)["added"] == []
    assert text in sentinel.state_file.read_text()


def test_a_dry_run_warns_where_the_real_one_would_refuse_to_guess(one_node: ReplicationSet, manage: Run) -> None:
    absent = str(one_node.directory / "not-there-yet.crt")
    arguments = {"ca_file": absent, "certificate_file": absent, "private_key_file": absent}
    predicted = manage(one_node, check_mode=True, **arguments)
    assert predicted["added"] == [PRIMARY_NAME]
    assert "runs, but does not say whether it is the primary" in json.dumps(predicted["warnings"])
    assert "runs, but does not say whether it is the primary" in manage(one_node, **arguments)["msg"]


def test_options_are_restored_in_the_file_of_a_stopped_sentinel(running: ReplicationSet, manage: Run) -> None:
    sentinel = running.sentinels[0]
    sentinel.kill()
    text = sentinel.state_file.read_text()
    broken = text.replace(f"sentinel auth-user {PRIMARY_NAME} sentinel\n", "").replace(
        "milliseconds results 2000", "milliseconds results 1"
    )
    assert broken != text
    sentinel.state_file.write_text(broken + f"sentinel parallel-syncs {PRIMARY_NAME} 9\n")
    result = manage(running)
    assert result["changed_options"] == [
        f"{PRIMARY_NAME} {name}" for name in ("down-after-milliseconds", "parallel-syncs", "auth-user")
    ]
    assert not manage(running)["changed"]
    sentinel.start(write_files=False)
    assert not manage(running)["changed"]


def test_a_file_that_cannot_be_put_in_place_leaves_none_behind(
    one_node: ReplicationSet, manage: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: AnsibleModule, _source: str, _target: str) -> None:
        self.fail_json(msg="The disk is gone.")

    monkeypatch.setattr(AnsibleModule, "atomic_move", broken)
    assert manage(one_node)["msg"] == "The disk is gone."
    assert sorted(os.listdir(one_node.sentinels[0].directory)) == ["users.acl"]


# --- Bad input -------------------------------------------------------------------------------------------------------


BAD_SETTINGS = [
    ({"no-such-thing": 1}, "does not know the directive no-such-thing, which stands in settings"),
    ({"maxclients": "many"}, "settings.maxclients is refused by Sentinel "),
    ({"tls-protocols": "SSLv1"}, "settings are refused by Sentinel: Invalid tls-protocols specified"),
    ({"tls-protocols": "SSLv1", "tls-replication": False}, "settings are refused by Sentinel: Invalid tls-protocols"),
    ({"sentinel announce-port": "many"}, "settings.sentinel announce-port is refused by Sentinel"),
    ({"sentinel resolve-hostnames": "perhaps"}, "settings.sentinel resolve-hostnames is refused by Sentinel"),
    (
        {"sentinel monitor": "x y 1 1"},
        "settings must not have the directive sentinel monitor: it belongs into primaries",
    ),
    ({"sentinel other": "x"}, "settings has the directive sentinel other: of those that begin with sentinel only"),
    ({"sentinel sentinel-pass": "x y"}, "settings.sentinel sentinel-pass has a space: Sentinel writes this"),
    ({"sentinel sentinel-pass": "xy"}, "settings must not have the secret sentinel sentinel-pass: it belongs into"),
    ({"replicaof": "x 1"}, "settings must not have the directive replicaof"),
    ({"tls-port": 1, "TLS-port": 2}, "settings has the directive tls-port twice."),
    ({"sentinel  Announce-ip": "y"}, "settings has the directive sentinel announce-ip twice."),
]


def test_settings_that_cannot_be_right_change_nothing(one_node: ReplicationSet, manage: Run) -> None:
    sentinel = one_node.sentinels[0]
    strange = one_node.authority.issue("strange")[1]
    mismatch = manage(one_node, settings={"tls-key-file": str(strange)})["msg"]
    assert re.match(r"settings are refused by Sentinel: Failed to load private key: .+strange.key", mismatch)
    for settings, sentence in BAD_SETTINGS:
        assert sentence in manage(one_node, settings=settings)["msg"]
        assert sorted(os.listdir(sentinel.directory)) == ["users.acl"]
    manage(one_node)
    sentinel.start(write_files=False)
    before = sentinel.managed_file.read_text()
    for settings, sentence in BAD_SETTINGS:
        assert sentence in manage(one_node, settings=settings)["msg"]
    assert sentinel.managed_file.read_text() == before
    assert not manage(one_node)["changed"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": "two words"}, "primaries has the name 'two words': only letters, digits and '. _ -' are allowed."),
        ({"quorum": 0}, "The primary results in primaries has the quorum 0: at least one sentinel must agree."),
        ({"quorum": 2}, "The primary results in primaries has the quorum 2, which the 1 in sentinels can never reach."),
        ({"down_after": 999}, "The primary results in primaries has down_after 999: below 1000 milliseconds"),
        ({"auth_password": "a b"}, "an auth_password that has a space: Sentinel writes this password"),
        ({"auth_password": ""}, "The primary results in primaries has an auth_user and no auth_password."),
    ],
)
def test_primaries_that_cannot_be_right(
    one_node: ReplicationSet, manage: Run, changes: dict[str, Any], sentence: str
) -> None:
    result = manage(one_node, primaries=[primary(one_node, **changes)])
    assert sentence in result["msg"]
    assert not one_node.sentinels[0].managed_file.exists()


def test_a_bad_secret_is_not_repeated(one_node: ReplicationSet, manage: Run) -> None:
    result = manage(one_node, secret_settings={"sentinel sentinel-pass": "not to be seen"})
    assert result["msg"].startswith("secret_settings.sentinel sentinel-pass has a space")
    both = manage(one_node, settings={"tls-key-file-pass": "not to be seen"})
    assert both["msg"].startswith("settings must not have the secret tls-key-file-pass")
    twice = manage(one_node, secret_settings={"bind": "127.0.0.1"})
    assert twice["msg"] == "The directive bind stands both in settings and in secret_settings."
    for printed in (result, both, twice):
        assert "not to be seen" not in json.dumps(printed)


# --- Odd answers -----------------------------------------------------------------------------------------------------


class OddSentinel(socketserver.BaseRequestHandler):
    """Answers what a real one cannot be made to answer."""

    answers: ClassVar[dict[str, bytes]] = {}

    def handle(self) -> None:
        stream = self.request.makefile("rb")
        while header := stream.readline():
            words = [stream.read(int(stream.readline()[1:]) + 2)[:-2].decode() for _number in range(int(header[1:]))]
            answer = self.answers.get(" ".join(words[:2]).upper(), self.answers.get(words[0].upper(), b"+OK\r\n"))
            if answer == b"hang":
                time.sleep(3)
                return
            self.request.sendall(answer)


def bulk(text: str) -> bytes:
    return f"${len(text.encode())}\r\n{text}\r\n".encode()


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[Callable[[dict[str, bytes]], Path]]:
    servers = []

    def start(answers: dict[str, bytes]) -> Path:
        handler = type("Handler", (OddSentinel,), {"answers": answers})
        path = tmp_path / f"odd{len(servers)}.sock"
        server = socketserver.ThreadingUnixStreamServer(str(path), handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return path

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_odd_answers_are_one_sentence(
    one_node: ReplicationSet, manage: Run, odd: Callable[[dict[str, bytes]], Path]
) -> None:
    state = one_node.sentinels[0].state_file
    state.write_text("")
    information = bulk(f"redis_version:7.0.15\r\nredis_mode:sentinel\r\nuptime_in_seconds:5\r\nconfig_file:{state}\r\n")
    good = {
        "INFO": information,
        "SENTINEL CONFIG": b"*0\r\n",
        "SENTINEL MASTERS": b"*0\r\n",
    }
    for answers, sentence in (
        ({**good, "SENTINEL FLUSHCONFIG": b"-ERR no disk\r\n"}, "cannot write its own file"),
        ({**good, "SENTINEL MASTERS": b"-ERR broken\r\n"}, "refused SENTINEL: broken."),
        ({**good, "SENTINEL MASTERS": b"hang"}, "did not answer SENTINEL within 1 seconds (login_timeout)."),
        ({**good, "SENTINEL MASTERS": b":5\r\n"}, "is not what Sentinel would"),
        ({**good, "SENTINEL MASTERS": b"*1\r\n*1\r\n$1\r\na\r\n"}, "is not what Sentinel would"),
        ({**good, "SENTINEL CONFIG": b"*1\r\n$1\r\na\r\n"}, "is not what Sentinel would"),
        ({**good, "INFO": bulk("redis_version:7.0.15\r\nredis_mode:sentinel\r\n")}, "runs with no file"),
        ({**good, "INFO": b"-NOAUTH Authentication required.\r\n"}, "wants a login before INFO"),
        ({**good, "INFO": b"-NOPERM this user has no permissions\r\n"}, "does not let login_user run INFO"),
    ):
        socket = odd(answers)
        result = manage(one_node, unix_socket=str(socket), login_password=None, login_timeout=1, sentinels=[])
        assert sentence in result["msg"], answers
        assert "Traceback" not in json.dumps(result)
    assert state.read_text() == ""
