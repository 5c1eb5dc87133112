# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: secret_settings_problems
short_description: Say which settings hold a secret
version_added: 0.1.0
author: ResultOps engineers (@resultops)
description:
  - Returns one sentence for each setting whose name contains C(password), C(passphrase), C(secret) or C(token) and
    that has a value other than a boolean, also inside nested dictionaries and lists. The sentence names the path of
    the setting and the environment as the place for it, and never repeats the value.
  - Names with a dot are those of tasks, for example in C(task_routes), and are not judged.
options:
  _input:
    description: The settings by the names of the variables that hold them.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Refuse secrets in a file that everybody can read
  ansible.builtin.assert:
    that: problems | length == 0
    fail_msg: "{{ problems | join(' ') }}"
    quiet: true
  vars:
    problems: "{{ {'worker_settings': worker_settings} | resultops.celery.secret_settings_problems }}"
"""

RETURN = r"""
_value:
  description: The sentences; an empty list if no setting holds a secret.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.resultops.celery.plugins.module_utils import _secrets


def secret_settings_problems(settings: Mapping[str, Any]) -> list[str]:
    if not isinstance(settings, Mapping):
        raise AnsibleFilterError("The settings to examine must be a dictionary of variable names and settings.")
    return _secrets.secret_settings_problems(settings)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"secret_settings_problems": secret_settings_problems}
