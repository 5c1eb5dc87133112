# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What makes a secret unusable, said without ever repeating it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

PLACEHOLDER = re.compile(r"your_(key|password|secret)_here|^change[-_ ]?(me|this|it)|^<.*>$|^(todo|tbd|xxx+)$", re.I)
SECRET_KEY = re.compile(r"password|passphrase|secret|token", re.I)


def secret_problems(values: Mapping[str, Any], minimum_length: int = 16) -> list[str]:
    """Return one sentence for each problem; the first one found for each variable."""
    problems = []
    for name, value in values.items():
        problem = _problem(value, minimum_length)
        if problem:
            problems.append(f"{name} {problem}.")
    return problems


def _problem(value: object, minimum_length: int) -> str | None:
    if isinstance(value, (bool, int, float, list, tuple, dict)):
        return "must be a text; write it in quotes where it is set"
    text = "" if value is None else str(value)
    if not text:
        return "is missing; set it, usually in the vault file of the inventory"
    if PLACEHOLDER.search(text):
        return "still holds the placeholder of the example; replace it by a secret of your own"
    if any(unicodedata.category(character) == "Cc" for character in text):
        return "contains a control character such as a line break or a tab; only printable characters are allowed"
    if len(text) < minimum_length:
        return f"is too short; at least {minimum_length} characters are needed"
    return None


def secret_settings_problems(settings: Mapping[str, Any]) -> list[str]:
    """Return one sentence for each password-like setting that holds a value, at any depth."""
    return [
        f"{path} would stand in a file that every user of the host can read; put its value into worker_environment "
        "and let the application take it from os.environ."
        for name, value in settings.items()
        for path in _secret_paths(name, value, secret=False)
    ]


def _secret_paths(path: str, value: object, *, secret: bool) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, nested in value.items():
            # A name with a dot is that of a task, for example in task_routes.
            secret_key = "." not in str(key) and SECRET_KEY.search(str(key)) is not None
            yield from _secret_paths(f"{path}.{key}", nested, secret=secret_key)
    elif isinstance(value, (list, tuple)):
        for position, nested in enumerate(value):
            yield from _secret_paths(f"{path}[{position}]", nested, secret=secret)
    elif secret and value not in (None, "") and not isinstance(value, bool):
        yield path
