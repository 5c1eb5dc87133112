# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a role documents, checks and defaults to is one and the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "dict": (dict,),
    "float": (float, int),
    "int": (int,),
    "list": (list,),
    "path": (str,),
    "raw": (object,),
    "str": (str,),
}
SECRET = re.compile(r"(password|passphrase|private_key|secret|token)s?$|_url$")

pytestmark = pytest.mark.parametrize("role", ROLES)


class _Loader(yaml.SafeLoader):
    pass


_Loader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))


def load(role: str, path: str) -> dict[str, Any]:
    file = ROOT / "roles" / role / path
    return _Loader(file.read_text(encoding="utf-8")).get_single_data() or {} if file.exists() else {}


def options_of(role: str) -> dict[str, dict[str, Any]]:
    """Return the options of every entry point; the same name must mean the same everywhere."""
    merged: dict[str, dict[str, Any]] = {}
    for entry_point in load(role, "meta/argument_specs.yml")["argument_specs"].values():
        for name, option in entry_point.get("options", {}).items():
            assert merged.setdefault(name, option) == option, f"{name} differs between entry points"
    return merged


def every_option(options: dict[str, dict[str, Any]], parent: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, option in options.items():
        yield f"{parent}{name}", option
        yield from every_option(option.get("options", {}), f"{parent}{name}.")


def typed(value: Any) -> Any:
    """Make 1, True and "1" differ, which == and a glance do not."""
    if isinstance(value, dict):
        return {key: typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [typed(item) for item in value]
    return type(value).__name__, value


def test_the_names_are_the_same(role: str) -> None:
    optional = {name for name, option in options_of(role).items() if not option.get("required")}
    assert optional == set(load(role, "defaults/main.yml"))


def test_the_defaults_are_the_same(role: str) -> None:
    documented = {name: typed(option["default"]) for name, option in options_of(role).items() if "default" in option}
    assert documented == {name: typed(value) for name, value in load(role, "defaults/main.yml").items()}


def test_a_default_has_the_type_of_its_option(role: str) -> None:
    wrong = [
        name
        for name, option in options_of(role).items()
        if "default" in option
        and not (isinstance(option["default"], str) and "{{" in option["default"])
        and (
            not isinstance(option["default"], PYTHON_TYPES[option["type"]])
            or (isinstance(option["default"], bool) and option["type"] not in ("bool", "raw"))
        )
    ]
    assert wrong == []


def test_every_option_has_a_type_and_a_description(role: str) -> None:
    wrong = [
        name
        for name, option in every_option(options_of(role))
        if option.get("type") not in PYTHON_TYPES
        or not option.get("description")
        or (option["type"] == "list" and "elements" not in option)
    ]
    assert wrong == []


def test_secrets_are_never_logged(role: str) -> None:
    logged = [
        name
        for name, option in every_option(options_of(role))
        if SECRET.search(name) and option["type"] in ("str", "raw", "list") and option.get("no_log") is not True
    ]
    assert logged == []


def test_variables_carry_the_name_of_the_role(role: str) -> None:
    wrong = [name for name in options_of(role) if not name.startswith(f"{role}_")]
    wrong += [name for name in load(role, "vars/main.yml") if not re.match(rf"__{role}(_|$)", name)]
    assert wrong == []


def test_every_variable_is_used(role: str) -> None:
    defaults = load(role, "defaults/main.yml")
    internals = load(role, "vars/main.yml")
    folder = ROOT / "roles" / role
    text = "\n".join(
        path.read_text(encoding="utf-8")
        for part in ("tasks", "handlers", "templates")
        for path in (folder / part).rglob("*")
        if path.is_file()
    )
    values = {**defaults, **internals}
    unused = [
        name
        for name in {**options_of(role), **internals}
        if not re.search(rf"\b{name}\b", text)
        and not any(re.search(rf"\b{name}\b", str(value)) for other, value in values.items() if other != name)
    ]
    assert unused == []
