#!/usr/bin/python
# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_info
short_description: Say in one round trip what a host lacks
version_added: 0.1.0
author: ResultOps engineers (@resultops)
description:
  - Compares a Debian host with all that a service needs there. These are packages, accounts, Python requirements,
    directories, files and an application.
  - Tells also whether the service runs since before something changed that it only reads when it starts.
  - The roles of this collection ask it once and skip all tasks that have nothing to do.
  - Has to run as root where files are compared that not everybody may read.
requirements:
  - GNU tar, where O(archive) is given
extends_documentation_fragment:
  - resultops.celery._attributes.info
  - resultops.celery._attributes
options:
  packages:
    description: Debian packages that must be installed.
    type: list
    elements: str
    default: []
  user:
    description: An account that must exist.
    type: str
  group:
    description: A group that must exist.
    type: str
  python:
    description: The interpreter whose packages are compared with O(requirements). It needs the package packaging.
    type: path
  requirements:
    description: Requirement specifiers that the packages of O(python) must meet.
    type: list
    elements: str
    default: []
  directories:
    description: Directories that must exist and belong to root.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Path of the directory.
        type: path
        required: true
      group:
        description: Group of the directory.
        type: str
        default: root
      mode:
        description: Mode of the directory, as an octal number in quotes.
        type: str
        default: "0755"
  files:
    description: Files that must exist and belong to root.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Path of the file.
        type: path
        required: true
      checksum:
        description:
          - SHA-256 checksum of the content. It is kept secret, because it allows to guess short secrets.
        type: str
        required: true
      group:
        description: Group of the file.
        type: str
        default: root
      mode:
        description: Mode of the file, as an octal number in quotes.
        type: str
        default: "0644"
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
    description: The systemd unit of the service.
    type: str
  restart_after:
    description: Patterns of the paths that O(unit) reads only when it starts.
    type: list
    elements: path
    default: []
  kernel_settings:
    description: Names of kernel settings to read, as C(sysctl) spells them.
    type: list
    elements: str
    default: []
seealso:
  - module: resultops.celery.celery_config_check
"""

EXAMPLES = r"""
- name: Look at what the host lacks
  resultops.celery.host_info:
    packages: [redis-server]
    directories:
      - path: /etc/systemd/system/redis-server.service.d
    files:
      - path: /etc/systemd/system/redis-server.service.d/50-resultops.conf
        checksum: "{{ lookup('ansible.builtin.template', 'drop-in.conf.j2') | hash('sha256') }}"
    kernel_settings: [vm.overcommit_memory]
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
directories:
  description: The directories that do not exist or differ by owner, group or mode.
  returned: success
  type: list
  elements: str
  sample: [/etc/celery/app]
files:
  description: The files that do not exist or differ by content, owner, group or mode.
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
    - Whether the unit runs since before one of O(restart_after) changed or its program was replaced by an upgrade, or
      never gets as far as running.
    - A unit that is stopped or does not exist is not outdated.
  returned: success
  type: bool
  sample: false
daemon_reload_needed:
  description: Whether files of the unit or of its drop-ins have changed since systemd read them.
  returned: success
  type: bool
  sample: false
  version_added: 0.5.0
kernel_settings:
  description: The values of O(kernel_settings). A setting that this kernel does not have is left out.
  returned: success
  type: dict
  sample:
    vm.overcommit_memory: "1"
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

# The user id of root.
OWNER = 0

# Runs in the virtual environment, which knows its packages and can read version specifiers.
REQUIREMENTS_CHECK = """
import importlib.metadata, json, sys
from packaging.requirements import InvalidRequirement, Requirement
missing = []
for text in json.loads(sys.argv[1]):
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
    status, answer, _problem = run([python, "-c", REQUIREMENTS_CHECK, json.dumps(requirements)])
    return json.loads(answer) if status == 0 else requirements


def missing_accounts(user: str | None, group: str | None) -> list[str]:
    """Return those of the user and the group that do not exist."""
    wanted: list[tuple[str, Callable[[str], Any], str | None]] = [
        ("user", pwd.getpwnam, user),
        ("group", grp.getgrnam, group),
    ]
    return [f"{what} {name}" for what, look_up, name in wanted if name and not _known(look_up, name)]


def _known(look_up: Callable[[str], Any], name: str) -> bool:
    try:
        look_up(name)
    except KeyError:
        return False
    return True


def differing_files(files: list[dict[str, str]]) -> list[str]:
    """Return the files whose content, owner, group or mode is not the wanted one."""
    return [
        file["path"]
        for file in files
        if not _belongs_to(file) or hashlib.sha256(Path(file["path"]).read_bytes()).hexdigest() != file["checksum"]
    ]


def differing_directories(directories: list[dict[str, str]]) -> list[str]:
    """Return the directories that do not exist or whose owner, group or mode is not the wanted one."""
    return [item["path"] for item in directories if not os.path.isdir(item["path"]) or not _belongs_to(item)]


def _belongs_to(wanted: dict[str, str]) -> bool:
    """Tell whether the path exists, belongs to root and has the group and mode that are wanted."""
    try:
        state = os.stat(wanted["path"])
        group = grp.getgrnam(wanted["group"]).gr_gid
    except (FileNotFoundError, NotADirectoryError, KeyError):
        return False
    return (stat.S_IMODE(state.st_mode), state.st_uid, state.st_gid) == (int(wanted["mode"], 8), OWNER, group)


def differs(run: Run, source: str, archive: list[str], checksum: str) -> bool:
    """Tell whether the deployed application is another one than that on the controller."""
    if not archive:
        return False
    status, packed, _problem = run([*archive, "--directory", source, "."], encoding=None)
    return status != 0 or hashlib.sha256(packed).hexdigest() != checksum


def unit_state(run: Run, unit: str | None) -> dict[str, str]:
    """What systemd knows of the unit; empty without one."""
    if not unit:
        return {}
    properties = "ActiveState,ExecMainStartTimestamp,MainPID,NeedDaemonReload"
    answer = run(["systemctl", "show", "--timestamp=unix", f"--property={properties}", unit])[1]
    return dict(line.split("=", 1) for line in answer.splitlines() if "=" in line)


def is_outdated(state: dict[str, str], patterns: Iterable[str]) -> bool:
    """Tell whether the unit runs since before something changed that it reads, or never gets as far as running."""
    if state.get("ActiveState") != "active":
        return state.get("ActiveState") == "activating"
    if _program_was_replaced(state.get("MainPID", "0")):
        return True
    started = int(state["ExecMainStartTimestamp"].lstrip("@"))
    return any(int(os.stat(path).st_mtime) > started for pattern in patterns for path in glob.glob(pattern))


def _program_was_replaced(process: str) -> bool:
    """Tell whether a package upgrade has put another file in the place of the running program."""
    try:
        return os.readlink(f"/proc/{process}/exe").endswith(" (deleted)")
    except OSError:
        return False


def kernel_values(names: list[str]) -> dict[str, str]:
    """Return the values of those settings that this kernel has."""
    paths = {name: Path("/proc/sys", *name.split(".")) for name in names}
    return {name: path.read_text(encoding="ascii").strip() for name, path in paths.items() if path.exists()}


def look(run: Run, wanted: dict[str, Any]) -> dict[str, Any]:
    """Return what the host lacks."""
    state = unit_state(run, wanted["unit"])
    return {
        "packages": missing_packages(run, wanted["packages"]),
        "requirements": missing_requirements(run, wanted["python"], wanted["requirements"]),
        "accounts": missing_accounts(wanted["user"], wanted["group"]),
        "directories": differing_directories(wanted["directories"]),
        "files": differing_files(wanted["files"]),
        "application": differs(run, wanted["source"], wanted["archive"], wanted["archive_checksum"]),
        "outdated": is_outdated(state, wanted["restart_after"]),
        "daemon_reload_needed": state.get("NeedDaemonReload") == "yes",
        "kernel_settings": kernel_values(wanted["kernel_settings"]),
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "packages": {"type": "list", "elements": "str", "default": []},
            "user": {"type": "str"},
            "group": {"type": "str"},
            "python": {"type": "path"},
            "requirements": {"type": "list", "elements": "str", "default": []},
            "directories": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "path": {"type": "path", "required": True},
                    "group": {"type": "str", "default": "root"},
                    "mode": {"type": "str", "default": "0755"},
                },
            },
            "files": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "path": {"type": "path", "required": True},
                    "checksum": {"type": "str", "required": True, "no_log": True},
                    "group": {"type": "str", "default": "root"},
                    "mode": {"type": "str", "default": "0644"},
                },
            },
            "archive": {"type": "list", "elements": "str", "default": []},
            "archive_checksum": {"type": "str", "default": ""},
            "source": {"type": "path"},
            "unit": {"type": "str"},
            "restart_after": {"type": "list", "elements": "path", "default": []},
            "kernel_settings": {"type": "list", "elements": "str", "default": []},
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
