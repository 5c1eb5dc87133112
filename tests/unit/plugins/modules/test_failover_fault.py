# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The faults with real processes; systemd and nft are stand-ins that write down what they are asked to do.

What the timer and the packet filter do on a host is seen by the drills of the molecule scenario ha.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.modules import failover_fault

UNIT = "some-server.service"
SYSTEMCTL = r"""#!/bin/sh
echo "systemctl $*" >>"$STANDIN/log"
case "$*" in
"show --property=MainPID --value "*) cat "$STANDIN/pid" ;;
"is-active --quiet resultops-drill-heal.timer") test -e "$STANDIN/timer" ;;
"stop resultops-drill-heal.timer"*) rm -f "$STANDIN/timer" ;;
"kill --signal=SIGCONT "*) test ! -e "$STANDIN/refuse" && kill -CONT "$(cat "$STANDIN/pid")" ;;
"start "*) test ! -e "$STANDIN/refuse" ;;
esac
"""
SYSTEMD_RUN = r"""#!/bin/sh
echo "systemd-run $*" >>"$STANDIN/log"
test ! -e "$STANDIN/no-timer" || exit 1
touch "$STANDIN/timer"
"""
NFT = r"""#!/bin/sh
echo "nft $*" >>"$STANDIN/log"
case "$*" in
"list table inet resultops_drill") test -e "$STANDIN/table" ;;
"delete table inet resultops_drill") rm "$STANDIN/table" ;;
"--check --file -") cat >"$STANDIN/checked" ;;
"--file -")
    # Not to read the input is how a program that crashes ends.
    test ! -e "$STANDIN/refuse" || { exec <&-; sleep 0.2; exit 1; }
    cat >"$STANDIN/table" ;;
esac
"""


class Machine:
    """A host with a server, as far as the module sees one."""

    def __init__(self, directory: Path, process: subprocess.Popen[bytes], run: Callable[..., dict[str, Any]]) -> None:
        self.directory = directory
        self.process = process
        self._run = run

    def fault(self, fault: str, **arguments: Any) -> dict[str, Any]:
        unit = {} if fault == "cut_off" else {"unit": UNIT}
        given = {name: value for name, value in {**unit, **arguments}.items() if value is not None}
        return self._run("failover_fault", fault=fault, **given)

    @property
    def log(self) -> list[str]:
        path = self.directory / "log"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def drop_in(self) -> Path:
        return self.directory / "systemd" / f"{UNIT}.d" / "99-resultops-drill.conf"

    def state(self) -> str:
        return Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.fixture
def machine(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    run_on_host: Callable[..., dict[str, Any]],
    wait_until: Callable[..., None],
) -> Iterator[Machine]:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("systemctl", SYSTEMCTL), ("systemd-run", SYSTEMD_RUN), ("nft", NFT)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (tmp_path / "systemd").mkdir()
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    monkeypatch.setenv("STANDIN", str(tmp_path))
    monkeypatch.setattr(failover_fault, "SYSTEMD", str(tmp_path / "systemd"))
    with subprocess.Popen(["sleep", "60"]) as process:
        (tmp_path / "pid").write_text(f"{process.pid}\n")
        machine = Machine(tmp_path, process, run_on_host)
        wait_until(lambda: machine.state() == "S")
        yield machine
        process.kill()


def test_a_server_is_killed_and_kept_down(machine: Machine) -> None:
    found = machine.fault("killed", heal_after=30)
    assert found["changed"] is True
    assert machine.process.wait(20) == -9
    assert "Restart=no" in machine.drop_in.read_text()
    # The timer is there before anything breaks.
    armed = next(i for i, line in enumerate(machine.log) if line.startswith("systemd-run"))
    assert armed < machine.log.index("systemctl daemon-reload")
    assert "--on-active=30s" in machine.log[armed]
    assert f"rm -f {machine.drop_in}" in machine.log[armed]
    assert f"systemctl start {UNIT}" in machine.log[armed]


def test_a_killed_server_is_started_and_the_timer_stopped(machine: Machine) -> None:
    machine.fault("killed")
    found = machine.fault("killed", state="absent")
    assert found["changed"] is True
    assert found["healed_at"] > 0
    assert not machine.drop_in.exists()
    assert f"systemctl start {UNIT}" in machine.log
    assert not (machine.directory / "timer").exists()
    assert machine.fault("killed", state="absent")["changed"] is False


def test_a_server_hangs_and_goes_on(machine: Machine, wait_until: Callable[[Callable[[], bool]], None]) -> None:
    machine.fault("hung")
    wait_until(lambda: machine.state() == "T")
    assert machine.fault("hung")["changed"] is False
    assert machine.fault("hung", state="absent")["changed"] is True
    wait_until(lambda: machine.state() == "S")


def test_a_host_is_cut_off_but_for_some_addresses(machine: Machine) -> None:
    found = machine.fault("cut_off", allow=["192.0.2.31", "2001:db8::31"], ports=[6380, 26380])
    assert found["changed"] is True
    rules = (machine.directory / "table").read_text()
    assert rules == (machine.directory / "checked").read_text()
    assert rules.count("tcp dport { 6380, 26380 } drop") == rules.count("tcp sport { 6380, 26380 } drop") == 2
    assert "reject" not in rules
    for line in (
        *('iifname "lo" accept', "ip saddr 192.0.2.31 accept", "ip6 saddr 2001:db8::31 accept"),
        *('oifname "lo" accept', "ip daddr 192.0.2.31 accept", "ip6 daddr 2001:db8::31 accept"),
    ):
        assert line in rules
    assert machine.fault("cut_off", state="absent")["changed"] is True
    assert not (machine.directory / "table").exists()


@pytest.mark.parametrize("fault", ["killed", "hung", "cut_off"])
def test_nothing_breaks_without_the_timer(machine: Machine, fault: str) -> None:
    (machine.directory / "no-timer").touch()
    found = machine.fault(fault)
    assert found["failed"] is True
    assert "systemd-run" in found["msg"]
    assert machine.state() == "S"
    assert not machine.drop_in.exists()
    assert not (machine.directory / "table").exists()


def test_what_breaks_by_half_is_healed(machine: Machine) -> None:
    (machine.directory / "pid").write_text("0\n")
    assert "does not run on this host" in machine.fault("killed")["msg"]
    (machine.directory / "pid").write_text(f"{machine.process.pid}\n")
    (machine.directory / "refuse").touch()
    found = machine.fault("cut_off")
    assert found["failed"] is True
    assert not (machine.directory / "timer").exists()


def test_a_host_that_cannot_be_healed_keeps_its_timer(
    machine: Machine, wait_until: Callable[[Callable[[], bool]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failover_fault, "SETTLED_SECONDS", 0.2)
    machine.fault("hung")
    wait_until(lambda: machine.state() == "T")
    (machine.directory / "refuse").touch()
    found = machine.fault("hung", state="absent")
    assert found["failed"] is True
    assert "could not be healed by `systemctl kill --signal=SIGCONT" in found["msg"]
    assert (machine.directory / "timer").exists()


def test_a_fault_that_nobody_would_heal_is_not_taken_for_this_one(machine: Machine) -> None:
    (machine.directory / "table").touch()
    assert "no timer will heal it" in machine.fault("cut_off")["msg"]


def test_check_mode_breaks_nothing(machine: Machine, wait_until: Callable[[Callable[[], bool]], None]) -> None:
    for fault in ("killed", "hung", "cut_off"):
        assert machine.fault(fault, check_mode=True)["changed"] is True
    assert machine.state() == "S"
    assert not any(line.startswith(("systemd-run", "nft --file")) for line in machine.log)
    machine.fault("hung")
    wait_until(lambda: machine.state() == "T")
    assert machine.fault("hung", state="absent", check_mode=True)["changed"] is True
    assert machine.state() == "T"


@pytest.mark.parametrize(
    ("fault", "arguments", "said"),
    [
        ("killed", {"unit": "a; reboot"}, "which is not the name of a unit"),
        ("killed", {"unit": None}, "fault is killed but all of the following are missing: unit"),
        ("cut_off", {"ports": []}, "The list ports is empty"),
        ("cut_off", {"allow": ["worker1"]}, "'worker1' (allow) is not an IP address."),
        ("hung", {"heal_after": 2}, "it must be at least 5 seconds"),
    ],
)
def test_bad_input(machine: Machine, fault: str, arguments: dict[str, Any], said: str) -> None:
    found = machine.fault(fault, **arguments)
    assert found["failed"] is True
    assert said in found["msg"]
    assert machine.state() == "S"


def test_a_host_without_the_means(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        failover_fault.AnsibleModule, "get_bin_path", lambda _self, name: None if name == "nft" else name
    )
    assert machine.fault("cut_off")["msg"] == "This host has no program nft: install the package nftables on it."
    assert machine.fault("hung", check_mode=True)["changed"] is True
    monkeypatch.setattr(failover_fault, "SYSTEMD", "/nowhere")
    assert "was not booted with systemd" in machine.fault("hung")["msg"]
