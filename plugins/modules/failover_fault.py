#!/usr/bin/python
# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: failover_fault
short_description: Break a server on purpose, with a timer on the host that heals it
version_added: 0.2.0
author: ResultOps engineers (@resultops)
description:
  - Kills or hangs the server of a systemd unit, or cuts the host off from the network as far as the ports of the
    servers are concerned.
  - Before anything breaks, a transient systemd timer is started that heals the host after O(heal_after) seconds, so
    that it is whole again even if the controller dies. O(state=absent) heals at once and stops the timer.
  - One fault at a time is possible on a host.
requirements:
  - systemd as the init system
  - the program C(nft) of the package nftables for O(fault=cut_off)
extends_documentation_fragment:
  - resultops.celery._attributes.posix
  - resultops.celery._attributes
attributes:
  check_mode:
    details: In check mode the module looks whether the host has all that it would need, and fails where it does not.
  diff_mode:
    support: none
    details: What is broken is not a configuration.
options:
  state:
    description: Whether the fault is to be there.
    type: str
    choices: [present, absent]
    default: present
  fault:
    description:
      - With V(killed), the main process gets SIGKILL and the unit does not start it again until the host is healed.
      - With V(hung), the main process gets SIGSTOP. Its connections stay open and nobody answers.
      - With V(cut_off), packets from and to O(ports) are dropped without a word, also those of open connections. The
        loopback interface and all other ports stay as they are.
    type: str
    choices: [killed, hung, cut_off]
    required: true
  unit:
    description: The unit of the server. Required for V(killed) and V(hung).
    type: str
  ports:
    description: The ports that O(fault=cut_off) closes, as source and as destination.
    type: list
    elements: int
    default: [6379, 26379]
  allow:
    description: Addresses whose packets O(fault=cut_off) lets through.
    type: list
    elements: str
    default: []
  heal_after:
    description: After how many seconds the host heals itself.
    type: int
    default: 90
seealso:
  - module: resultops.celery.failover_watch
  - module: resultops.celery.result_writer
"""

EXAMPLES = r"""
- name: Kill the server and keep it down
  resultops.celery.failover_fault:
    fault: killed
    unit: redis-server.service
    heal_after: 60
  become: true

- name: Start it again
  resultops.celery.failover_fault:
    state: absent
    fault: killed
    unit: redis-server.service
  become: true

- name: Cut the server off from all but one worker
  resultops.celery.failover_fault:
    fault: cut_off
    allow: [192.0.2.31]
  become: true
"""

RETURN = r"""
broken_at:
  description: When the fault happened, in seconds since 1970 by the clock of this host.
  returned: when the module broke something
  type: float
  sample: 1764000000.123
healed_at:
  description: When the module began to heal, in seconds since 1970 by the clock of this host.
  returned: when the module healed something
  type: float
  sample: 1764000020.456
"""

import os
import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from ansible.module_utils.basic import AnsibleModule

# Exists where systemd is the init system, and holds what it forgets when it ends.
SYSTEMD = "/run/systemd/system"
TABLE = "resultops_drill"
TIMER = "resultops-drill-heal"
DROP_IN = "99-resultops-drill.conf"
LEAST_HEAL_AFTER = 5
SETTLED_SECONDS = 3.0


class FaultError(Exception):
    """One sentence for the user."""


@dataclass(frozen=True)
class Host:
    """Runs programs on this host."""

    module: AnsibleModule

    def run(self, *command: str, stdin: str = "") -> tuple[int, str]:
        code, out, err = self.module.run_command(list(command), data=stdin or None)
        return int(code), (out if code == 0 else err or out).strip()

    def must(self, *command: str, stdin: str = "") -> str:
        code, said = self.run(*command, stdin=stdin)
        if code:
            raise FaultError(f"{' '.join(command[:2])} failed on this host: {said or f'exit status {code}'}.")
        return said

    def main_process(self, unit: str) -> int:
        return int(self.must("systemctl", "show", "--property=MainPID", "--value", unit) or 0)


class Killed:
    """The process is gone and systemd does not bring it back."""

    needs = ("systemctl", "systemd-run")

    def __init__(self, host: Host, wanted: dict[str, Any]) -> None:
        self._host = host
        self._unit = wanted["unit"]
        self._directory = f"{SYSTEMD}/{self._unit}.d"

    @property
    def healing(self) -> str:
        return (
            f"rm -f {self._directory}/{DROP_IN}; systemctl daemon-reload; "
            f"systemctl reset-failed {self._unit} 2>/dev/null; systemctl start {self._unit}"
        )

    def is_there(self) -> bool:
        return os.path.exists(f"{self._directory}/{DROP_IN}")

    def can_happen(self) -> None:
        if not self._host.main_process(self._unit):
            raise FaultError(f"The unit {self._unit} (unit) does not run on this host.")

    def make(self) -> float:
        os.makedirs(self._directory, exist_ok=True)
        with open(f"{self._directory}/{DROP_IN}", "w", encoding="utf-8") as stream:
            stream.write("# A drill keeps this server down; the unit resultops-drill-heal removes this file.\n")
            stream.write("[Service]\nRestart=no\n")
        self._host.must("systemctl", "daemon-reload")
        return _send(self._host.main_process(self._unit), signal.SIGKILL)


class Hung(Killed):
    """The process is there and does nothing."""

    @property
    def healing(self) -> str:
        return f"systemctl kill --signal=SIGCONT {self._unit}"

    def is_there(self) -> bool:
        try:
            with open(f"/proc/{self._host.main_process(self._unit)}/stat", encoding="utf-8") as stream:
                return stream.read().rpartition(")")[2].split()[0] == "T"
        except FileNotFoundError:
            return False

    def make(self) -> float:
        return _send(self._host.main_process(self._unit), signal.SIGSTOP)


class CutOff:
    """Packets from and to the servers vanish."""

    needs = ("systemctl", "systemd-run", "nft")
    healing = f"nft delete table inet {TABLE}"

    def __init__(self, host: Host, wanted: dict[str, Any]) -> None:
        self._host = host
        self._ports = ", ".join(str(port) for port in wanted["ports"])
        self._allowed = wanted["allow"]

    def is_there(self) -> bool:
        return self._host.run("nft", "list", "table", "inet", TABLE)[0] == 0

    def can_happen(self) -> None:
        if not self._ports:
            raise FaultError("The list ports is empty, so nothing would be cut off.")
        self._host.must("nft", "--check", "--file", "-", stdin=self._rules())

    def make(self) -> float:
        self._host.must("nft", "--file", "-", stdin=self._rules())
        return time.time()

    def _rules(self) -> str:
        chains = [
            f"  chain {hook} {{\n    type filter hook {hook} priority -300; policy accept;\n"
            f'    {interface} "lo" accept\n'
            + "".join(f"    {family} {direction} {address} accept\n" for family, address in self._addresses())
            + f"    tcp dport {{ {self._ports} }} drop\n    tcp sport {{ {self._ports} }} drop\n  }}\n"
            for hook, interface, direction in (("input", "iifname", "saddr"), ("output", "oifname", "daddr"))
        ]
        return f"table inet {TABLE} {{\n{''.join(chains)}}}\n"

    def _addresses(self) -> list[tuple[str, str]]:
        found = []
        for text in self._allowed:
            try:
                address = ip_address(text)
            except ValueError as error:
                raise FaultError(f"{text!r} (allow) is not an IP address.") from error
            found.append(("ip" if address.version == 4 else "ip6", str(address)))
        return found


FAULTS: dict[str, Callable[[Host, dict[str, Any]], Any]] = {"killed": Killed, "hung": Hung, "cut_off": CutOff}


def _send(process: int, number: signal.Signals) -> float:
    if not process:
        raise FaultError("The server ended before it could be broken.")
    os.kill(process, number)
    return time.time()


def refuse_without_means(module: AnsibleModule, fault: Any) -> None:
    for program in fault.needs:
        if not module.get_bin_path(program):
            package = "nftables" if program == "nft" else "systemd"
            raise FaultError(f"This host has no program {program}: install the package {package} on it.")
    if not os.path.isdir(SYSTEMD):
        raise FaultError("This host was not booted with systemd, which has to heal it if the controller dies.")


def start_timer(host: Host, healing: str, seconds: int) -> None:
    host.run("systemctl", "stop", f"{TIMER}.timer", f"{TIMER}.service")
    host.run("systemctl", "reset-failed", f"{TIMER}.timer", f"{TIMER}.service")
    host.must(
        *("systemd-run", "--quiet", "--collect", f"--unit={TIMER}"),
        *(f"--on-active={seconds}s", "--timer-property=AccuracySec=100ms", "/bin/sh", "-c", healing),
    )
    if host.run("systemctl", "is-active", "--quiet", f"{TIMER}.timer")[0]:
        raise FaultError(f"The timer {TIMER}.timer, which has to heal this host, did not start.")


def make(host: Host, fault: Any, seconds: int) -> dict[str, Any]:
    start_timer(host, fault.healing, seconds)
    try:
        return {"broken_at": fault.make()}
    except BaseException:
        # A program that ends before it has read its input makes Ansible end the module.
        heal(host, fault)
        raise


def heal(host: Host, fault: Any) -> dict[str, Any]:
    began = time.time()
    code, said = host.run("/bin/sh", "-c", fault.healing)
    # A failure is none if the timer was faster, and a process needs a moment until it has got its signal.
    if not _ends(fault.is_there):
        raise FaultError(f"This host could not be healed by `{fault.healing}`: {said or f'exit status {code}'}.")
    host.run("systemctl", "stop", f"{TIMER}.timer")
    return {"healed_at": began}


def _ends(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + SETTLED_SECONDS
    while condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def act(module: AnsibleModule, wanted: dict[str, Any]) -> dict[str, Any]:
    if wanted["heal_after"] < LEAST_HEAL_AFTER:
        raise FaultError(
            f"The option heal_after is {wanted['heal_after']}, but it must be at least {LEAST_HEAL_AFTER} seconds."
        )
    if wanted["unit"] is not None and not re.fullmatch(r"[A-Za-z0-9:_.@-]+", wanted["unit"]):
        raise FaultError(f"The option unit is {wanted['unit']!r}, which is not the name of a unit.")
    host = Host(module)
    fault = FAULTS[wanted["fault"]](host, wanted)
    refuse_without_means(module, fault)
    there = fault.is_there()
    armed = host.run("systemctl", "is-active", "--quiet", f"{TIMER}.timer")[0] == 0
    if wanted["state"] == "present":
        if there and armed:
            return {"changed": False}
        if there:
            raise FaultError("This host is broken already, and no timer will heal it: heal it with state=absent first.")
        fault.can_happen()
        return {"changed": True, **({} if module.check_mode else make(host, fault, wanted["heal_after"]))}
    if not there and not armed:
        return {"changed": False}
    return {"changed": True, **({} if module.check_mode else heal(host, fault))}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "fault": {"type": "str", "choices": ["killed", "hung", "cut_off"], "required": True},
            "unit": {"type": "str"},
            "ports": {"type": "list", "elements": "int", "default": [6379, 26379]},
            "allow": {"type": "list", "elements": "str", "default": []},
            "heal_after": {"type": "int", "default": 90},
        },
        required_if=[("fault", "killed", ["unit"]), ("fault", "hung", ["unit"])],
        supports_check_mode=True,
    )
    module.run_command_environ_update = {"LANG": "C", "LC_ALL": "C"}
    try:
        result = act(module, module.params)
    except (FaultError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
