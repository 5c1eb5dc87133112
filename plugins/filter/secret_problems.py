# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: secret_problems
short_description: Say which secrets cannot be used
version_added: 0.1.0
author: ResultOps engineers (@resultops)
description:
  - Returns one sentence for each value that is missing, still the placeholder of an example, not a text, too short,
    or contains a control character. The sentence names the variable and never repeats the value.
positional: minimum_length
options:
  _input:
    description: The values by the names of their variables.
    type: dict
    required: true
  minimum_length:
    description: The least number of characters.
    type: int
    default: 16
"""

EXAMPLES = r"""
- name: Refuse unusable secrets before anything changes
  ansible.builtin.assert:
    that: problems | length == 0
    fail_msg: "{{ problems | join(' ') }}"
    quiet: true
  vars:
    problems: >-
      {{
        {
          "vault_redis_admin_password": vault_redis_admin_password | default(""),
          "vault_redis_celery_password": vault_redis_celery_password | default(""),
        } | resultops.celery.secret_problems
      }}
"""

RETURN = r"""
_value:
  description: The sentences; an empty list if all values can be used.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.resultops.celery.plugins.module_utils import _secrets


def secret_problems(values: Mapping[str, Any], minimum_length: int = 16) -> list[str]:
    if not isinstance(values, Mapping):
        raise AnsibleFilterError("The secrets to examine must be a dictionary of variable names and values.")
    return _secrets.secret_problems(values, minimum_length)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"secret_problems": secret_problems}
