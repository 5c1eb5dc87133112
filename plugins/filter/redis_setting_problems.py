# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..module_utils import _redis_settings

DOCUMENTATION = r"""
name: redis_setting_problems
short_description: What is wrong with further settings of a Redis server
version_added: 0.1.0
author: ResultOps engineers (@resultops)
description:
  - Judges on the controller what M(resultops.celery.redis_config) would refuse on the host.
  - No sentence ever contains the value of a secret directive.
options:
  _input:
    description: Directives with their values, in the form that M(resultops.celery.redis_config) takes.
    type: dict
    required: true
  owned:
    description: Directives that must not stand there, because the role sets them.
    type: list
    elements: str
    required: true
  variable:
    description: Name of the variable that the sentences shall blame.
    type: str
    default: settings
"""

EXAMPLES = r"""
- name: Refuse settings that cannot work
  ansible.builtin.assert:
    that: redis_extra_settings | resultops.celery.redis_setting_problems(['port'], 'redis_extra_settings') | length == 0
"""

RETURN = r"""
_value:
  description: One sentence for each problem, with the variable and the remedy.
  type: list
  elements: str
"""


def redis_setting_problems(settings: Mapping[str, Any], owned: Sequence[str], variable: str = "settings") -> list[str]:
    names = {str(name).lower() for name in settings}
    problems = []
    if names & _redis_settings.SECRETS:
        problems.append(
            f"{variable} contains {', '.join(sorted(names & _redis_settings.SECRETS))}: a secret cannot stand there, "
            "since its values are shown by --diff."
        )
    taken = names & set(owned) - _redis_settings.SECRETS
    if taken:
        problems.append(f"{variable} contains {', '.join(sorted(taken))}: the role owns these, use its variables.")
    if problems:
        return problems
    try:
        _redis_settings.checked(settings, variable)
    except _redis_settings.SettingError as problem:
        return [str(problem)]
    return []


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"redis_setting_problems": redis_setting_problems}
