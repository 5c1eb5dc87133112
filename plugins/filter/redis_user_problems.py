# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ..module_utils import _redis_acl
from ..module_utils._secrets import secret_problems

DOCUMENTATION = r"""
name: redis_user_problems
short_description: What is wrong with a set of Redis accounts
version_added: 0.1.0
author: ResultOps engineers (@resultops)
description:
  - Judges on the controller what M(resultops.celery.redis_acl) would refuse on the host, and the passwords.
  - No sentence ever contains a password.
options:
  _input:
    description: Users in the form that M(resultops.celery.redis_acl) takes.
    type: list
    elements: dict
    required: true
  variable:
    description: Name of the variable that the sentences shall blame.
    type: str
    default: users
"""

EXAMPLES = r"""
- name: Refuse accounts that cannot work
  ansible.builtin.assert:
    that: redis_users | resultops.celery.redis_user_problems('redis_users') | length == 0
"""

RETURN = r"""
_value:
  description: One sentence for each problem, with the variable and the remedy.
  type: list
  elements: str
"""


def redis_user_problems(users: Sequence[Mapping[str, Any]], variable: str = "users") -> list[str]:
    validated = [ArgumentSpecValidator(_redis_acl.USER_OPTIONS).validate(dict(user)) for user in users]
    problems = [f"{variable}: {message}." for result in validated for message in result.error_messages]
    if problems:
        return problems
    declarations = [result.validated_parameters for result in validated]
    problems = secret_problems(
        {f"{variable}[{user['name']}].password": user["password"] for user in declarations if _needs_password(user)}
    )
    if problems:
        return problems
    try:
        _redis_acl.declared_users(declarations, knows_client_setinfo=False)
    except _redis_acl.AclError as problem:
        return [str(problem).replace(" in users", f" in {variable}")]
    return []


def _needs_password(user: Mapping[str, Any]) -> bool:
    return user["enabled"] and not user["password_hashes"]


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"redis_user_problems": redis_user_problems}
