# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Time the first and the second run of playbooks/redis.yml on bare hosts, beside other roles that install Redis.

PEERS (environment) names a folder with roles of others, or one such role; each runs with its default variables on an
identical host of its own. Without it only our figures are measured. The order of the sides alternates, so that a load
on the machine meets all of them. The result is reports/bench_converge.json.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
REPORT = ROOT / "reports" / "bench_converge.json"
FLEET = "converge"
OURS = "ours"
# Our play does more (TLS, accounts, live comparison); this is what it may cost beside a role that does not.
GOALS = {"first run": 2.0, "second run": 1.5}
CONTROLLER_ACTIONS = {"assert", "debug", "fail", "include_role", "include_tasks", "include_vars", "meta", "set_fact"}


@dataclass
class Run:
    seconds: float
    modules: int
    changed: int


@dataclass
class Side:
    """One way to install Redis, and the host that it has for itself on a release of Debian."""

    label: str
    role: Path | None = None
    runs: dict[tuple[str, str], list[Run]] = field(default_factory=dict)

    def host(self, debian: str) -> str:
        return f"{self.label.replace('.', '-').replace('_', '-').lower()}-debian{debian}"


def peers(folder: str) -> list[Side]:
    if not folder:
        return []
    path = Path(folder).resolve()
    roles = (
        [path]
        if (path / "tasks").is_dir()
        else [child for child in sorted(path.glob("*")) if (child / "tasks").is_dir()]
    )
    if not roles:
        sys.exit(f"PEERS={folder} holds no role: name a role's folder, or a folder of roles, each with tasks/main.yml.")
    return [Side(role.name, role) for role in roles]


def write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")


def prepare(folder: Path, sides: list[Side], releases: list[str]) -> None:
    """Write the inventory, with secrets of its own, and a playbook for each side."""
    hosts = {side.host(debian): {"fleet_debian": debian} for side in sides for debian in releases}
    settings = {
        "fleet_name": FLEET,
        "ansible_connection": "community.docker.docker",
        "ansible_host": "resultops-{{ fleet_name }}-{{ inventory_hostname }}",
        "ansible_python_interpreter": "/usr/bin/python3",
        "tls_ca_passphrase": secrets.token_urlsafe(24),
        "redis_admin_password": secrets.token_urlsafe(24),
        "redis_users": [{"name": "celery", "profile": "results", "password": secrets.token_urlsafe(24)}],
    }
    # The peers' variables may have the names of ours.
    ours = {name: settings.pop(name) for name in list(settings) if name.startswith(("tls_", "redis_"))}
    redis = {"hosts": {sides[0].host(debian): {} for debian in releases}, "vars": ours}
    write(folder / "hosts.json", {"fleet": {"hosts": hosts, "vars": settings}, "redis": redis})
    for side in sides[1:]:
        lists = {
            "name": "Update the package lists",
            "ansible.builtin.apt": {"update_cache": True, "cache_valid_time": 3600},
        }
        play = {"hosts": "fleet", "become": True, "gather_facts": True, "pre_tasks": [lists], "roles": [str(side.role)]}
        write(folder / f"{side.label}.yml", [play])


def ansible(*words: str) -> None:
    done = run_playbook(words, {})
    if done.returncode:
        sys.exit(f"ansible-playbook {' '.join(words)} failed:\n{done.stdout}{done.stderr}")


def ansible_json(*words: str) -> dict[str, Any]:
    done = run_playbook(words, {"ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json", "ANSIBLE_NOCOLOR": "1"})
    try:
        output: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        sys.exit(f"ansible-playbook {' '.join(words)} failed:\n{done.stdout}{done.stderr}")
    if done.returncode:
        failures = [
            f"{task['task']['name']}: {result.get('msg')}"
            for play in output["plays"]
            for task in play["tasks"]
            for result in task["hosts"].values()
            if result.get("failed") or result.get("unreachable")
        ]
        sys.exit(f"ansible-playbook {' '.join(words)} failed:\n" + "\n".join(failures))
    return output


def run_playbook(words: tuple[str, ...], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = ["ansible-playbook", *words]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def module_runs(output: dict[str, Any]) -> int:
    """Count what costs a round trip: each module run, each item of a loop for itself."""
    results = [result for play in output["plays"] for task in play["tasks"] for result in task["hosts"].values()]
    items = [item for result in results for item in loop_items(result)]
    return sum(
        not item.get("skipped") and item.get("action", "").rpartition(".")[2] not in CONTROLLER_ACTIONS
        for item in items
    )


def loop_items(result: dict[str, Any]) -> list[dict[str, Any]]:
    items = result.get("results")
    if isinstance(items, list) and all(isinstance(item, dict) and "ansible_loop_var" in item for item in items):
        return [{"action": result.get("action", ""), **item} for item in items]
    return [result]


def converge(folder: Path, side: Side, debian: str) -> Run:
    playbook = folder / f"{side.label}.yml" if side.role else ROOT / "playbooks" / "redis.yml"
    started = time.monotonic()
    output = ansible_json("-i", str(folder / "hosts.json"), "-l", side.host(debian), str(playbook))
    seconds = time.monotonic() - started
    return Run(seconds, module_runs(output), output["stats"][side.host(debian)]["changed"])


def measure(sides: list[Side], releases: list[str], repetitions: int, again: int) -> None:
    for repetition in range(repetitions):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            prepare(folder, sides, releases)
            inventory = str(folder / "hosts.json")
            say(f"Repetition {repetition + 1} of {repetitions}: {len(sides) * len(releases)} bare hosts")
            try:
                ansible("-i", inventory, str(ROOT / "tests" / "fleet" / "create.yml"))
                for phase in ["first run", *["second run"] * again]:
                    sides_in_turn = sides[::-1] if repetition % 2 else sides
                    for debian in releases:
                        for side in sides_in_turn:
                            run = converge(folder, side, debian)
                            side.runs.setdefault((phase, debian), []).append(run)
                            print(
                                f"    {phase}, Debian {debian}, {side.label}: {run.seconds:.1f} s,"
                                f" {run.modules} modules, {run.changed} changed",
                                flush=True,
                            )
            finally:
                ansible("-i", inventory, str(ROOT / "tests" / "fleet" / "destroy.yml"))


def row(name: str, ours: list[float], reference: list[float], what: str | None, goal: float | None) -> dict[str, Any]:
    pairs = [mine / other for mine, other in zip(ours, reference, strict=True) if other] if reference else []
    ratio = statistics.median(ours) / statistics.median(reference) if pairs else None
    return {
        "name": name,
        "ours": round(statistics.median(ours), 2),
        "reference": round(statistics.median(reference), 2) if reference else None,
        "reference_what": what,
        "ratio": round(ratio, 2) if ratio is not None else None,
        "low": round(min(pairs), 2) if pairs else None,
        "high": round(max(pairs), 2) if pairs else None,
        "goal": goal,
        "met": ratio <= goal if ratio is not None and goal is not None else None,
    }


def report(sides: list[Side], releases: list[str]) -> list[dict[str, Any]]:
    ours, *others = sides
    rows = []
    for debian in releases:
        for phase, goal in GOALS.items():
            mine = ours.runs[phase, debian]
            compared: list[Side | None] = [*others] or [None]
            for other in compared:
                theirs = other.runs[phase, debian] if other else []
                what = f"{other.label} with its default variables" if other else None
                name = f"{phase}, Debian {debian}"
                seconds = [run.seconds for run in mine], [run.seconds for run in theirs]
                modules = [float(run.modules) for run in mine], [float(run.modules) for run in theirs]
                rows.append(row(f"{name}: seconds", *seconds, what, goal))
                rows.append(row(f"{name}: module executions", *modules, what, None))
        changed = max(run.changed for run in ours.runs["second run", debian])
        unchanged = row(f"second run, Debian {debian}: changed tasks", [changed], [], None, 0)
        rows.append({**unchanged, "met": changed == 0})
    return rows


def say(text: str) -> None:
    print(f"==> {text}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=3, help="fresh hosts, each with one first run (default 3)")
    parser.add_argument("--again", type=int, default=2, help="second runs on each host (default 2)")
    parser.add_argument("--debian", nargs="+", default=["13", "12"], choices=["12", "13"])
    options = parser.parse_args()

    sides = [Side(OURS), *peers(os.environ.get("PEERS", ""))]
    measure(sides, options.debian, options.repetitions, options.again)
    rows = report(sides, options.debian)
    REPORT.parent.mkdir(exist_ok=True)
    write(REPORT, rows)
    for line in rows:
        compared = f" beside {line['reference']} ({line['reference_what']}): {line['ratio']} x" if line["ratio"] else ""
        missed = f", goal {line['goal']} missed" if line["met"] is False else ""
        print(f"    {line['name']}: {line['ours']}{compared}{missed}")
    say(f"Report: {REPORT.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
