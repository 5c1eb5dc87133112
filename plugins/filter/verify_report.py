# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: verify_report
short_description: Gather the checks of all hosts in one list
version_added: 0.1.0
author: ResultOps engineers (@resultops)
description:
  - Takes what P(resultops.celery.result_backend_check#module) and P(resultops.celery.task_roundtrip#module) returned on
    each host, and gives the list that is written to C(reports/verify.json).
  - A host without a result, and a check that crashed, appear as failed rows.
positional: variables, results, reached, backend
options:
  _input:
    description: The names of the hosts that should have been checked.
    type: list
    elements: str
    required: true
  variables:
    description: The variables of all hosts, usually C(hostvars).
    type: dict
    required: true
  results:
    description:
      - One entry for each registered result, with its C(variable), the name of the C(check) to report if the result has
        no rows, and the sentence to report if its task was C(skipped).
    type: list
    elements: dict
    required: true
  reached:
    description: The variable that is registered on every host that was reached, and on those that were unreachable.
    type: str
    required: true
  backend:
    description: The kind of the backend for rows of hosts that gave no result.
    type: str
    default: redis
"""

EXAMPLES = r"""
- name: Show all rows
  ansible.builtin.debug:
    msg: "{{ ansible_play_hosts_all | resultops.celery.verify_report(hostvars, results, 'ping') }}"
  vars:
    results:
      - variable: roundtrip
        check: task_roundtrip
        skipped: The host runs no worker.
"""

RETURN = r"""
_value:
  description: The rows.
  type: list
  elements: dict
  sample:
    - check: dns
      backend: redis
      host: worker1
      status: passed
      failure_class: null
      seconds: 0.002
      detail: The name redis1 resolves to 192.0.2.10.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible_collections.resultops.celery.plugins.module_utils import _report


def verify_report(
    hosts: Iterable[str],
    variables: Mapping[str, Any],
    results: Iterable[Mapping[str, str]],
    reached: str,
    backend: str = "redis",
) -> list[dict[str, Any]]:
    return _report.verify_report(hosts, variables, results, reached, backend)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"verify_report": verify_report}
