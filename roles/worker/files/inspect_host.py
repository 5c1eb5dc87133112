# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Say in one round trip what a host still lacks. Reads only; takes and prints JSON."""

from __future__ import annotations

import grp
import json
import os
import pwd
import subprocess
import sys
from collections.abc import Callable, Iterable
from typing import Any

# Runs in the virtual environment, which knows its packages and can read version specifiers.
REQUIREMENTS_CHECK = """
import importlib.metadata, json, sys
from packaging.requirements import InvalidRequirement, Requirement
missing = []
for text in json.load(sys.stdin):
    try:
        wanted = Requirement(text)
        if wanted.marker and not wanted.marker.evaluate():
            continue
        if not wanted.specifier.contains(importlib.metadata.version(wanted.name), prereleases=True):
            missing.append(text)
    except (InvalidRequirement, importlib.metadata.PackageNotFoundError):
        missing.append(text)
print(json.dumps(missing))
"""


def missing_packages(names: list[str]) -> list[str]:
    """Return the Debian packages that are not installed."""
    command = ["dpkg-query", "--show", "--showformat", "${db:Status-Status} ${Package}\n", *names]
    listing = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    installed = {line.split()[1] for line in listing.splitlines() if line.startswith("installed ")}
    return [name for name in names if name not in installed]


def missing_requirements(python: str, requirements: list[str]) -> list[str]:
    """Return the requirements that the interpreter's packages do not meet."""
    if not os.access(python, os.X_OK):
        return requirements
    answer = subprocess.run(
        [python, "-c", REQUIREMENTS_CHECK], input=json.dumps(requirements), capture_output=True, text=True, check=False
    )
    return json.loads(answer.stdout) if answer.returncode == 0 else requirements


def missing_accounts(user: str, group: str) -> list[str]:
    """Return those of the user and the group that do not exist."""
    wanted: list[tuple[str, Callable[[str], Any], str]] = [("user", pwd.getpwnam, user), ("group", grp.getgrnam, group)]
    return [f"{what} {name}" for what, look_up, name in wanted if not _known(look_up, name)]


def _known(look_up: Callable[[str], Any], name: str) -> bool:
    try:
        look_up(name)
    except KeyError:
        return False
    return True


def is_outdated(unit: str, paths: Iterable[str]) -> bool:
    """Tell whether the unit runs since before one of the paths changed, as after an interrupted play."""
    command = ["systemctl", "show", "--timestamp=unix", "--property=ActiveState,ExecMainStartTimestamp", unit]
    answer = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    state = dict(line.split("=", 1) for line in answer.splitlines() if "=" in line)
    if state.get("ActiveState") != "active":
        return False
    started = int(state["ExecMainStartTimestamp"].lstrip("@"))
    return any(os.path.exists(path) and int(os.stat(path).st_mtime) > started for path in paths)


def main() -> None:
    wanted = json.loads(sys.argv[1])
    report = {
        "packages": missing_packages(wanted["packages"]),
        "requirements": missing_requirements(wanted["python"], wanted["requirements"]),
        "accounts": missing_accounts(wanted["user"], wanted["group"]),
        "outdated": is_outdated(wanted["unit"], wanted["paths"]),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
