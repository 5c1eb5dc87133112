# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens on bad days, and that the next run brings the wanted state back and the one after it changes nothing."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess

import pytest
from fleet import BIN, CHECKOUT, recap
from scenario import EXTENDED, INVENTORY, REDIS_PORT, SETS, Sets, pairs, wait_until

CASES = pathlib.Path(__file__).with_name("celery_cases.py")
HA13 = SETS["ha13"]
RESULTS = 500


def changes_nothing(fleet, *sets, arguments=()) -> None:
    """Run the playbooks once more: nothing changes, nothing moves, and no process is another one."""
    before = {of.name: (fleet.settled(of), fleet.pids(of), fleet.memory_of_sentinels(of)) for of in sets}
    said = fleet.configure(*before, arguments=arguments)
    assert {node: recap(said, node)["changed"] for of in sets for node in of.nodes} == {
        node: 0 for of in sets for node in of.nodes
    }
    assert {of.name: (fleet.settled(of), fleet.pids(of), fleet.memory_of_sentinels(of)) for of in sets} == before


def test_after_a_failover_nothing_is_changed_and_the_primary_stays(fleet):
    for of in SETS.values():
        fleet.forget_denials(of)
        before = fleet.settled(of)
        assert fleet.fail_over(of) != before
    changes_nothing(fleet, *SETS.values())


def test_after_a_failover_all_that_celery_does_is_allowed(fleet, of):
    """On a primary whose script cache is empty; nor was anything denied to replicas, sentinels and their peers."""
    outcome = fleet.as_worker(of.workers[0], CASES.read_text(encoding="utf-8"))
    assert outcome == {"cases": 13, "problems": {}}
    assert fleet.denials(of) == {}


def test_kill_minus_nine_loses_no_acknowledged_result(fleet, of):
    """With the unit's own restart, before which a replica has taken over."""
    primary = fleet.settled(of)
    assert fleet.store(of.workers[0], "crash", RESULTS) == RESULTS
    host = fleet.host(primary)
    before = host.check_output("systemctl show --value --property MainPID %s", of.server.unit)
    host.check_output("kill -9 %s", before)
    assert fleet.count(of.workers[0], "crash", RESULTS) == RESULTS
    assert fleet.settled(of) != primary
    assert host.check_output("systemctl show --value --property MainPID %s", of.server.unit) not in (before, "0")


def test_changes_by_hand_are_taken_back_without_a_restart(fleet):
    first, second, third = HA13.nodes
    primary = fleet.settled(HA13)
    pids = fleet.pids(HA13)
    fleet.nodes(
        HA13,
        ["CONFIG", "SET", "min-replicas-to-write", "0", "maxmemory", "1gb"],
        ["ACL", "SETUSER", "celery", "+@all", "~*"],
    )
    fleet.command_sentinel(first, ["SENTINEL", "SET", "ha13", "down-after-milliseconds", "9000", "quorum", "3"])
    fleet.command_sentinel(
        second,
        ["SENTINEL", "MONITOR", "stranger", third, "6379", "2"],
        ["ACL", "SETUSER", "client", "+@all"],
        ["ACL", "SETUSER", "intruder", "on", "nopass", "+@all"],
    )
    fleet.command_sentinel(third, ["SENTINEL", "REMOVE", "ha13"])

    said = fleet.configure("ha13")
    for node in HA13.nodes:
        assert recap(said, node)["changed"] >= 3, "accounts and settings of the server, and the sentinel"
    assert fleet.settled(HA13) == primary
    assert fleet.pids(HA13) == pids
    for minimum, refused in fleet.nodes(
        HA13, ["CONFIG", "GET", "min-replicas-to-write"], ["ACL", "DRYRUN", "celery", "FLUSHALL"]
    ).values():
        assert minimum == ["min-replicas-to-write", "1"]
        assert "no permissions" in refused
    for primaries, users in fleet.sentinels(HA13, ["SENTINEL", "MASTERS"], ["ACL", "USERS"]).values():
        (watched,) = map(pairs, primaries)
        assert (watched["name"], watched["quorum"], watched["down-after-milliseconds"]) == ("ha13", "2", "2000")
        assert set(users) == {"admin", "client", "default", "exporter", "peer"}
    changes_nothing(fleet, HA13)


def test_what_was_stopped_runs_again(fleet):
    primary = fleet.settled(HA13)
    replica = next(node for node in HA13.nodes if node != primary)
    fleet.host(primary).check_output("systemctl disable --now %s", HA13.sentinel.unit)
    fleet.host(replica).check_output("systemctl disable --now %s", HA13.server.unit)
    fleet.configure("ha13")
    assert fleet.settled(HA13) == primary
    for host, unit in ((primary, HA13.sentinel.unit), (replica, HA13.server.unit)):
        assert fleet.host(host).service(unit).is_enabled
    changes_nothing(fleet, HA13)


class TestReplacedHost:
    """The host that the inventory names as the first primary comes back empty, while another one is the primary."""

    @pytest.fixture(scope="class")
    @staticmethod
    def lost(fleet: Sets) -> dict[str, str]:
        """The name and the address of the host that is dead."""
        lost = HA13.nodes[0]
        address = fleet.host(lost).check_output("hostname --ip-address").split()[0]
        assert fleet.fail_over(HA13, to=lost) == lost
        assert fleet.store(HA13.workers[0], "replaced", RESULTS) == RESULTS
        subprocess.run(["docker", "rm", "--force", fleet.container(lost)], check=True, capture_output=True)
        others = [node for node in HA13.nodes if node != lost]
        wait_until(
            lambda: {fleet.named_primary(HA13)[node] for node in others} <= set(others),
            30,
            lambda: fleet.named_primary(HA13),
        )
        return {"name": lost, "address": address}

    @pytest.fixture(scope="class")
    @staticmethod
    def replaced(fleet: Sets, lost: dict[str, str]) -> str:
        run = fleet.playbook("tests/fleet/create.yml", "--limit", f"localhost,{lost['name']}")
        assert run.returncode == 0, run.stdout + run.stderr
        return lost["name"]

    def test_the_others_are_kept_as_they_should_be_while_it_is_dead(self, fleet, lost, tmp_path):
        known = {"redis_address": lost["address"], "sentinel_address": lost["address"]}
        (tmp_path / "hosts.yml").write_text(json.dumps({"all": {"hosts": {lost["name"]: known}}}))
        others = [node for node in HA13.nodes if node != lost["name"]]
        primary = {node: fleet.named_primary(HA13)[node] for node in others}
        login = {"port": REDIS_PORT, "user": "admin", "password": fleet.secret("vault_redis_admin_password")}
        by_hand = [["CONFIG", "SET", "maxclients", "99"]]
        fleet.ask([{"host": node, **login, "commands": by_hand} for node in others])
        limit = ("--limit", f"ha13,!{lost['name']}")
        run = fleet.playbook("resultops.celery.redis", "-i", str(tmp_path / "hosts.yml"), *limit)
        assert run.returncode == 0, (run.stdout + run.stderr)[-6000:]
        assert {node: recap(run.stdout, node)["changed"] for node in others} == dict.fromkeys(others, 1)
        assert {node: fleet.named_primary(HA13)[node] for node in others} == primary

    def test_a_run_that_is_cut_short_does_no_harm(self, fleet, replaced):
        command = [str(BIN / "ansible-playbook"), *fleet.use_inventory, "resultops.celery.redis", "--limit", "ha13"]
        with subprocess.Popen(
            command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        ) as run:
            for line in run.stdout:
                # The packages are there, the drop-in keeps the unit from starting, the settings are half written.
                if line.startswith("TASK [resultops.celery.redis : Kernel]"):
                    os.killpg(run.pid, signal.SIGKILL)
                    break
            else:
                pytest.fail("the run was over before it could be cut short")
        assert fleet.count(HA13.workers[0], "replaced", RESULTS) == RESULTS
        assert replaced not in set(fleet.named_primary(HA13).values())

    def test_the_next_run_makes_it_a_replica(self, fleet, replaced):
        others = [node for node in HA13.nodes if node != replaced]
        primary = fleet.named_primary(HA13)[others[0]]
        epochs = {node: fleet.memory_of_sentinels(HA13)[node][:2] for node in others}
        fleet.configure("ha13")
        assert fleet.settled(HA13) == primary
        assert {node: fleet.memory_of_sentinels(HA13)[node][:2] for node in others} == epochs
        assert fleet.count(HA13.workers[0], "replaced", RESULTS) == RESULTS
        changes_nothing(fleet, HA13)


class TestSpareHosts:
    """A plaintext Redis with data is converted in place, then gets a replica and sentinels."""

    KEYS = 5000
    FILL = """
for i in $(seq 5000); do echo "SET celery-task-meta-old-$i value-$i EX 86400"; done | redis-cli >/dev/null
redis-cli DBSIZE
"""

    @pytest.fixture(scope="class")
    @staticmethod
    def extended(fleet: Sets) -> Sets:
        return Sets(INVENTORY, client=fleet.client, arguments=("-i", str(EXTENDED)))

    @staticmethod
    def keys(fleet, host) -> int:
        target = {"host": host, "port": 6379, "user": "admin", "password": fleet.secret("vault_redis_admin_password")}
        return fleet.ask([{**target, "commands": [["DBSIZE"]]}])[0][0]

    def test_a_stock_server_becomes_ours_and_keeps_every_key(self, fleet, extended):
        host = fleet.host("haspare1")
        host.check_output("apt-get update && apt-get install --yes --no-install-recommends redis-server")
        wait_until(lambda: host.run("redis-cli PING").stdout.startswith("PONG"), 20, lambda: "no stock server")
        assert host.check_output(self.FILL).strip() == str(self.KEYS)
        run = extended.playbook(
            "resultops.celery.redis", "--limit", "haspare1", "--extra-vars", "redis_replication_group=''"
        )
        assert run.returncode == 0, (run.stdout + run.stderr)[-6000:]
        assert self.keys(fleet, "haspare1") == self.KEYS
        assert host.run("redis-cli PING").rc != 0, "the plaintext port is closed"

    def test_it_gets_a_replica_and_sentinels_that_are_not_restarted(self, fleet, extended):
        pids = fleet.pids(HA13)
        memory = fleet.memory_of_sentinels(HA13)
        said = extended.configure("ha13", "haspare")
        wait_until(lambda: self.keys(fleet, "haspare2") == self.KEYS, 30, lambda: self.keys(fleet, "haspare2"))
        assert self.keys(fleet, "haspare1") == self.KEYS
        assert fleet.pids(HA13) == pids
        assert fleet.memory_of_sentinels(HA13) == memory
        changes = {node: recap(said, node)["changed"] for node in HA13.nodes}
        assert changes == dict.fromkeys(HA13.nodes, 2), "the names of two more hosts, and what the sentinel watches"
        assert "resultops" not in fleet.host("haspare2").file("/etc/hosts").content_string, "redis_hosts_file is false"

        def names() -> list[str]:
            primaries = fleet.sentinels(HA13, ["SENTINEL", "MASTERS"]).values()
            return sorted(
                f"{pairs(each)['name']}: {pairs(each)['num-slaves']}" for (some,) in primaries for each in some
            )

        wait_until(lambda: names() == ["ha13: 2"] * 3 + ["haspare: 1"] * 3, 30, names)

    def test_the_next_run_changes_nothing(self, extended):
        said = extended.configure("ha13", "haspare")
        assert {node: recap(said, node)["changed"] for node in (*HA13.nodes, "haspare1", "haspare2")} == dict.fromkeys(
            (*HA13.nodes, "haspare1", "haspare2"), 0
        )

    def test_it_can_be_taken_away_again(self, fleet):
        pids = fleet.pids(HA13)
        fleet.configure("ha13")
        for (primaries,) in fleet.sentinels(HA13, ["SENTINEL", "MASTERS"]).values():
            assert [pairs(primary)["name"] for primary in primaries] == ["ha13"]
        assert fleet.pids(HA13) == pids
