# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: verify_summary
short_description: Summarise the rows of a verify report
version_added: 0.1.0
author: ResultOps engineers (@resultops)
description:
  - Counts the rows by status, writes the first failures as sentences, and lays the rows out as a table to print.
positional: most_failures
options:
  _input:
    description: Rows as P(resultops.celery.verify_report#filter) gives them.
    type: list
    elements: dict
    required: true
  most_failures:
    description: How many failures are written as sentences.
    type: int
    default: 5
"""

EXAMPLES = r"""
- name: Show the table
  ansible.builtin.debug:
    msg: "{{ (rows | resultops.celery.verify_summary).table }}"
"""

RETURN = r"""
_value:
  description: A dictionary with C(passed), C(failed), C(skipped), C(failures) and C(table).
  type: dict
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible_collections.resultops.celery.plugins.module_utils import _report


def verify_summary(rows: Iterable[Mapping[str, Any]], most_failures: int = 5) -> dict[str, Any]:
    return _report.verify_summary(rows, most_failures)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"verify_summary": verify_summary}
