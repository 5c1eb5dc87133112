# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Say in one round trip what a host still lacks. Reads only; takes and prints JSON."""

from __future__ import annotations

import glob
import grp
import hashlib
import json
import os
import pwd
import stat
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

# Who owns what the role writes.
OWNER, GROUP = 0, "root"

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


def differing_files(files: dict[str, str], secret_file: str, group: str) -> list[str]:
    """Return the files whose content, owner or mode is not the wanted one; secrets are for the group alone."""
    return [
        path
        for path, checksum in files.items()
        if not _has_mode(path, *(("0640", group) if path == secret_file else ("0644", GROUP)))
        or hashlib.sha256(Path(path).read_bytes()).hexdigest() != checksum
    ]


def differing_directories(directories: list[str]) -> list[str]:
    """Return the directories that do not exist or that others than root may write to."""
    return [path for path in directories if not os.path.isdir(path) or not _has_mode(path, "0755", GROUP)]


def _has_mode(path: str, mode: str, group: str) -> bool:
    try:
        state = os.stat(path)
        wanted = (int(mode, 8), OWNER, grp.getgrnam(group).gr_gid)
    except (FileNotFoundError, NotADirectoryError, KeyError):
        return False
    return (stat.S_IMODE(state.st_mode), state.st_uid, state.st_gid) == wanted


def differs(source: str, archive: list[str], checksum: str) -> bool:
    """Tell whether the deployed application is another one than that on the controller."""
    if not archive:
        return False
    answer = subprocess.run([*archive, "--directory", source, "."], capture_output=True, check=False)
    return answer.returncode != 0 or hashlib.sha256(answer.stdout).hexdigest() != checksum


def is_outdated(unit: str, patterns: Iterable[str]) -> bool:
    """Tell whether the unit runs since before something changed that it reads, or never gets as far as running."""
    command = ["systemctl", "show", "--timestamp=unix", "--property=ActiveState,ExecMainStartTimestamp", unit]
    answer = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    state = dict(line.split("=", 1) for line in answer.splitlines() if "=" in line)
    if state.get("ActiveState") != "active":
        return state.get("ActiveState") == "activating"
    started = int(state["ExecMainStartTimestamp"].lstrip("@"))
    return any(int(os.stat(path).st_mtime) > started for pattern in patterns for path in glob.glob(pattern))


def main() -> None:
    wanted = json.load(sys.stdin)
    files = {**wanted["files"], wanted["secret_file"]: wanted["secret_checksum"]}
    report = {
        "packages": missing_packages(wanted["packages"]),
        "requirements": missing_requirements(wanted["python"], wanted["requirements"]),
        "accounts": missing_accounts(wanted["user"], wanted["group"]),
        "files": differing_directories(wanted["directories"])
        + differing_files(files, wanted["secret_file"], wanted["group"]),
        "application": differs(wanted["source"], wanted["archive"], wanted["archive_checksum"]),
        "outdated": is_outdated(wanted["unit"], wanted["restart_after"]),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
