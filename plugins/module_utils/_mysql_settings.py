# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Settings of MariaDB: how they are written, told, and whether a running value is the wanted one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

HEADER = "# Managed by Ansible, resultops.celery. Changes by hand are undone by the next run.\n"
NAME = re.compile(r"[a-z][a-z0-9_]*")
# They would move the server to other data, or open it for everybody.
REFUSED = ("datadir", "skip_grant_tables", "init_file", "init_connect", "plugin_load", "plugin_load_add")
# Where the option in the file has another name than the variable of the running server.
OPTIONS = {"time_zone": "default_time_zone"}
SUFFIX = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
TRUTH = {"on": True, "true": True, "1": True, "yes": True, "off": False, "false": False, "0": False, "no": False}


class SettingError(Exception):
    """One sentence for the user."""


@dataclass(frozen=True)
class Running:
    """One row of information_schema.SYSTEM_VARIABLES."""

    value: str
    read_only: bool
    kind: str


def checked(settings: Mapping[str, object], option: str = "settings") -> dict[str, str]:
    """The settings with every value as the server would be told."""
    result: dict[str, str] = {}
    for given, value in settings.items():
        name = str(given).replace("-", "_")
        if not NAME.fullmatch(name):
            raise SettingError(f"{option} has '{given}', which is no name of a setting: use lower-case letters.")
        if name in REFUSED:
            raise SettingError(f"{option} must not have {name}, which leads the server elsewhere or opens it.")
        if name in result:
            raise SettingError(f"{option} has {name} twice.")
        if isinstance(value, (dict, list)) or value is None:
            raise SettingError(f"{option}.{name} must be a text, a number or a truth value.")
        text = ("ON" if value else "OFF") if isinstance(value, bool) else str(value)
        if "\n" in text or "\r" in text:
            raise SettingError(f"{option}.{name} must not have a line break.")
        result[name] = text
    return result


def rendered(settings: Mapping[str, str]) -> str:
    """The managed file."""
    lines = [f"{OPTIONS.get(name, name)} = {_quoted(value)}\n" for name, value in sorted(settings.items())]
    return HEADER + "[mariadbd]\n" + "".join(lines)


def same(wanted: str, running: Running) -> bool:
    """Whether a running value is the wanted one, however it is spelt."""
    if running.kind == "BOOLEAN":
        return TRUTH.get(wanted.lower()) == TRUTH.get(running.value.lower())
    if number(wanted, running.kind) is not None:
        return number(wanted, running.kind) == number(running.value, running.kind)
    if running.kind in ("SET", "FLAGSET"):
        return _words(wanted) == _words(running.value)
    if running.kind == "ENUM":
        known = TRUTH.get(wanted.lower())
        return wanted.lower() == running.value.lower() or (
            known is not None and known == TRUTH.get(running.value.lower())
        )
    return wanted == running.value


def number(text: str, kind: str) -> Optional[float]:
    """The number that a text is, where the setting is one."""
    if not re.search("INT|DOUBLE", kind):
        return None
    parts = re.fullmatch(r"(-?[0-9]+(?:\.[0-9]+)?)([kmgt]?)", text.strip().lower())
    return float(parts[1]) * SUFFIX[parts[2]] if parts else None


def _words(text: str) -> set[str]:
    return {word.strip().lower() for word in text.split(",") if word.strip()}


def _quoted(value: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_.:/,%+-]+", value):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
