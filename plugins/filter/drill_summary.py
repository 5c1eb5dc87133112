# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: drill_summary
short_description: Judge the rows of failover drills
version_added: 0.2.0
author: ResultOps engineers (@resultops)
description:
  - Lays the rows out as a table to print, and writes a sentence for each that must not be.
  - That is a set that did not heal, a drill in which nothing was stored or nobody can tell what was lost, and a lost
    result with the profile V(durable) or in the drills V(planned) and V(rolling).
  - Rows with the profile V(celery-defaults) are shown and not judged.
options:
  _input:
    description: Rows as P(resultops.celery.drill_report#filter) gives them.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the table
  ansible.builtin.debug:
    msg: "{{ (rows | resultops.celery.drill_summary).table }}"
"""

RETURN = r"""
_value:
  description: A dictionary with C(table), C(failures) and C(failed), the number of failures.
  type: dict
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible_collections.resultops.celery.plugins.module_utils import _drill


def drill_summary(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return _drill.drill_summary(rows)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"drill_summary": drill_summary}
