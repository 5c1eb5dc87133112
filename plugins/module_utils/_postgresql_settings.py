# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Settings of PostgreSQL: how they are written, and whether a running value is the wanted one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

HEADER = "# Managed by Ansible, resultops.celery. Changes by hand are undone by the next run.\n"
NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)?")
# They would read other files, or move the server to other data.
REFUSED = ("include", "include_dir", "include_if_exists", "data_directory", "config_file")
MEMORY = {"B": 1, "kB": 1024, "MB": 1024**2, "GB": 1024**3, "TB": 1024**4}
TIME = {"us": 1, "ms": 1000, "s": 10**6, "min": 60 * 10**6, "h": 3600 * 10**6, "d": 86400 * 10**6}
TRUTH = {"on": True, "true": True, "yes": True, "1": True, "off": False, "false": False, "no": False, "0": False}


class SettingError(Exception):
    """One sentence for the user."""


@dataclass(frozen=True)
class Running:
    """One row of pg_settings."""

    value: str
    unit: str | None
    kind: str
    context: str
    # A session over the Unix socket shows 0 for what concerns TCP; this is what others begin with.
    default: str = ""

    @property
    def needs_restart(self) -> bool:
        return self.context == "postmaster"


def checked(settings: Mapping[str, object], option: str = "settings") -> dict[str, str]:
    """The settings with every value as the server would be told."""
    result: dict[str, str] = {}
    for name, value in settings.items():
        if not NAME.fullmatch(str(name)):
            raise SettingError(f"{option} has '{name}', which is no name of a setting: use lower-case letters.")
        if name in REFUSED:
            raise SettingError(f"{option} must not have {name}: it would lead the server to other files.")
        if isinstance(value, (dict, list)) or value is None:
            raise SettingError(f"{option}.{name} must be a text, a number or a truth value.")
        text = ("on" if value else "off") if isinstance(value, bool) else str(value)
        if "\n" in text or "\r" in text:
            raise SettingError(f"{option}.{name} must not have a line break.")
        result[str(name)] = text
    return result


def rendered(settings: Mapping[str, str]) -> str:
    """The managed file."""
    lines = [f"{name} = {_quoted(value)}\n" for name, value in sorted(settings.items())]
    return HEADER + "".join(lines)


def same(wanted: str, running: Running) -> bool:
    """Whether a running value is the wanted one, however it is spelt."""
    return any(_same(wanted, value, running) for value in (running.value, running.default or running.value))


def _same(wanted: str, value: str, running: Running) -> bool:
    if running.kind == "bool":
        return TRUTH.get(wanted.lower()) == TRUTH.get(value.lower())
    if running.kind in ("integer", "real"):
        quantity = _quantity(wanted, running.unit)
        return quantity is not None and quantity == _quantity(value, running.unit)
    if running.kind == "enum":
        return wanted.lower() == value.lower()
    return wanted == value


def shown(running: Running) -> str:
    """A running value as people read it."""
    unit = re.fullmatch(r"([0-9]*)([A-Za-z]+)", running.unit or "")
    if not unit or not re.fullmatch("[0-9]+", running.value):
        return running.value
    return f"{int(running.value) * int(unit[1] or 1)}{unit[2]}"


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"


def _quantity(text: str, unit: str | None) -> Fraction | None:
    """A number in bytes or microseconds; without a unit in that of the setting, and rounded to whole ones of those."""
    parts = re.fullmatch(r"\s*([-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))\s*([A-Za-z]*)\s*", text)
    if not parts:
        return None
    number = Fraction(parts[1])
    own = re.fullmatch(r"([0-9]*)([A-Za-z]+)", unit or "")
    if not own:
        return number if not parts[2] else None
    scale = MEMORY if own[2] in MEMORY else TIME
    step = int(own[1] or 1) * scale[own[2]]
    if not parts[2] or number < 0:
        return number * step
    if parts[2] not in scale:
        return None
    return Fraction(round(number * scale[parts[2]] / step)) * step
