#!/usr/bin/python
# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: worker_host_info
short_description: Say in one round trip what a worker host lacks
version_added: 0.1.0
author: ResultOps engineers (@resultops)
description:
  - Compares a Debian host with all that a Celery worker needs there. These are packages, accounts, Python
    requirements, directories, files and the application.
  - Tells also whether the worker runs since before something changed that it only reads when it starts.
  - The role P(resultops.celery.worker#role) asks it once and skips all tasks that have nothing to do.
  - Has to run as root, because only the group of the worker and root can read the environment file.
requirements:
  - GNU tar, where O(archive) is given
attributes:
  check_mode:
    description: Can run in C(check_mode) and return what would happen without changing the target.
    support: full
    details: The module never changes anything.
  diff_mode:
    description: Returns details on what changed in diff mode.
    support: none
    details: Nothing is changed.
  platform:
    description: The platforms that the module runs on.
    platforms: debian
    support: full
options:
  packages:
    description: Debian packages that must be installed.
    type: list
    elements: str
    default: []
  user:
    description: The account of the worker.
    type: str
    required: true
  group:
    description: The group of the worker, which alone may read O(env_file).
    type: str
    required: true
  python:
    description: The interpreter whose packages are compared with O(requirements). It needs the package packaging.
    type: path
    required: true
  requirements:
    description: Requirement specifiers that the packages of O(python) must meet.
    type: list
    elements: str
    default: []
  directories:
    description: Directories that must exist, belong to root and have the mode V(0755).
    type: list
    elements: path
    default: []
  files:
    description: SHA-256 checksums of files by their paths. The files must belong to root and have the mode V(0644).
    type: dict
    default: {}
  env_file:
    description: The environment file of the worker. It must belong to root and O(group) and have the mode V(0640).
    type: path
    required: true
  env_checksum:
    description: The SHA-256 checksum of O(env_file). It is kept secret, because it allows to guess passwords.
    type: str
    required: true
  archive:
    description:
      - The command that packs an application, without the directory to pack. The same files must always give the
        same archive.
      - Empty, if there is no application to deploy.
    type: list
    elements: str
    default: []
  archive_checksum:
    description: The SHA-256 checksum of the application, packed by O(archive) on the controller.
    type: str
    default: ""
  source:
    description: The directory of the deployed application. Required with O(archive).
    type: path
  unit:
    description: The systemd unit of the worker.
    type: str
    required: true
  restart_after:
    description: Patterns of the paths that the worker reads only when it starts.
    type: list
    elements: path
    default: []
seealso:
  - module: resultops.celery.celery_config_check
"""

EXAMPLES = r"""
- name: Look at what the host lacks
  resultops.celery.worker_host_info:
    packages: [python3-venv]
    user: celery
    group: celery
    python: /opt/celery/app/venv/bin/python
    requirements: ["celery[redis]==5.7.0"]
    directories: [/etc/celery/app, /opt/celery/app]
    files:
      /etc/celery/app/celeryconfig.py: "{{ lookup('ansible.builtin.template', 'celeryconfig.py.j2') | hash('sha256') }}"
    env_file: /etc/celery/app/.env
    env_checksum: "{{ lookup('ansible.builtin.template', 'environment.j2') | hash('sha256') }}"
    unit: celery-app.service
    restart_after: [/etc/celery/app/celeryconfig.py, /etc/celery/app/.env]
  become: true
  register: lacks

- name: Install the packages that are missing
  ansible.builtin.apt:
    name: "{{ lacks.packages }}"
  become: true
  when: lacks.packages | length > 0
"""

RETURN = r"""
packages:
  description: The packages that are not installed.
  returned: success
  type: list
  elements: str
  sample: [python3-venv]
requirements:
  description: The requirements that are not met. All of them, if the interpreter does not work.
  returned: success
  type: list
  elements: str
  sample: ["celery[redis]==5.7.0"]
accounts:
  description: The accounts that do not exist, each with the word user or group before its name.
  returned: success
  type: list
  elements: str
  sample: [user celery, group celery]
files:
  description: The directories and files that do not exist or differ by content, owner, group or mode.
  returned: success
  type: list
  elements: str
  sample: [/etc/celery/app/.env]
application:
  description: Whether the deployed application is another one than that on the controller.
  returned: success
  type: bool
  sample: false
outdated:
  description:
    - Whether the unit runs since before one of O(restart_after) changed, or never gets as far as running.
    - A unit that is stopped or does not exist is not outdated.
  returned: success
  type: bool
  sample: false
"""

import glob
import grp
import hashlib
import json
import os
import pwd
import stat
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

Run = Callable[..., tuple[int, Any, Any]]

# Who owns what the role writes.
OWNER = 0
GROUP = "root"

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


def missing_packages(run: Run, names: list[str]) -> list[str]:
    """Return the Debian packages that are not installed."""
    listing = run(["dpkg-query", "--show", "--showformat", "${db:Status-Status} ${Package}\n", *names])[1]
    installed = {line.split()[1] for line in listing.splitlines() if line.startswith("installed ")}
    return [name for name in names if name not in installed]


def missing_requirements(run: Run, python: str, requirements: list[str]) -> list[str]:
    """Return the requirements that the interpreter's packages do not meet."""
    if not requirements or not os.access(python, os.X_OK):
        return requirements
    status, answer, _problem = run([python, "-c", REQUIREMENTS_CHECK], data=json.dumps(requirements))
    return json.loads(answer) if status == 0 else requirements


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


def differing_files(files: dict[str, str], env_file: str, group: str) -> list[str]:
    """Return the files whose content, owner or mode is not the wanted one; secrets are for the group alone."""
    return [
        path
        for path, checksum in files.items()
        if not _has_mode(path, *(("0640", group) if path == env_file else ("0644", GROUP)))
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


def differs(run: Run, source: str, archive: list[str], checksum: str) -> bool:
    """Tell whether the deployed application is another one than that on the controller."""
    if not archive:
        return False
    status, packed, _problem = run([*archive, "--directory", source, "."], encoding=None)
    return status != 0 or hashlib.sha256(packed).hexdigest() != checksum


def is_outdated(run: Run, unit: str, patterns: Iterable[str]) -> bool:
    """Tell whether the unit runs since before something changed that it reads, or never gets as far as running."""
    answer = run(["systemctl", "show", "--timestamp=unix", "--property=ActiveState,ExecMainStartTimestamp", unit])[1]
    state = dict(line.split("=", 1) for line in answer.splitlines() if "=" in line)
    if state.get("ActiveState") != "active":
        return state.get("ActiveState") == "activating"
    started = int(state["ExecMainStartTimestamp"].lstrip("@"))
    return any(int(os.stat(path).st_mtime) > started for pattern in patterns for path in glob.glob(pattern))


def look(run: Run, wanted: dict[str, Any]) -> dict[str, Any]:
    """Return what the host lacks."""
    files = {**wanted["files"], wanted["env_file"]: wanted["env_checksum"]}
    return {
        "packages": missing_packages(run, wanted["packages"]),
        "requirements": missing_requirements(run, wanted["python"], wanted["requirements"]),
        "accounts": missing_accounts(wanted["user"], wanted["group"]),
        "files": differing_directories(wanted["directories"])
        + differing_files(files, wanted["env_file"], wanted["group"]),
        "application": differs(run, wanted["source"], wanted["archive"], wanted["archive_checksum"]),
        "outdated": is_outdated(run, wanted["unit"], wanted["restart_after"]),
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "packages": {"type": "list", "elements": "str", "default": []},
            "user": {"type": "str", "required": True},
            "group": {"type": "str", "required": True},
            "python": {"type": "path", "required": True},
            "requirements": {"type": "list", "elements": "str", "default": []},
            "directories": {"type": "list", "elements": "path", "default": []},
            "files": {"type": "dict", "default": {}},
            "env_file": {"type": "path", "required": True},
            "env_checksum": {"type": "str", "required": True, "no_log": True},
            "archive": {"type": "list", "elements": "str", "default": []},
            "archive_checksum": {"type": "str", "default": ""},
            "source": {"type": "path"},
            "unit": {"type": "str", "required": True},
            "restart_after": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    if module.params["archive"] and not module.params["source"]:
        module.fail_json(msg="The option archive needs the option source: give the directory of the application.")
    try:
        lacks = look(partial(module.run_command, expand_user_and_vars=False), module.params)
    except OSError as error:
        module.fail_json(msg=f"The host could not be looked at: {error}.")
    module.exit_json(changed=False, **lacks)


if __name__ == "__main__":
    main()
