# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: drill_report
short_description: Make the row of a failover drill
version_added: 0.2.0
author: ResultOps engineers (@resultops)
description:
  - Takes what P(resultops.celery.result_writer#module) counted on each worker host and what
    P(resultops.celery.failover_watch#module) saw, and gives the rows that are written to
    C(reports/failover_drill.json).
  - There is one row, and a second one with the profile V(celery-defaults) if writers with Celery's own settings took
    part. A row has a C(note) if there is something to say about it.
positional: drill, profile, engine
options:
  _input:
    description:
      - One entry for each writer, with its C(host), the C(result) of C(state=examined), whether it used the
        C(stock) settings, and whether it was C(cut_off) together with the primary.
      - A writer that was cut off counts for everything but C(blocked_ms_max), because it is blocked as long as the cut
        lasts. What became of it stands in the note.
    type: list
    elements: dict
    required: true
  drill:
    description: The name of the drill.
    type: str
    required: true
  profile:
    description: The profile of the workers.
    type: str
    required: true
  engine:
    description: Product and version of the primary.
    type: str
    required: true
  watch:
    description: What the watch returned.
    type: dict
    default: {}
  broken_at:
    description: When something was broken, in seconds since 1970. Without it, nothing was.
    type: float
  restored_at:
    description: When it was about to be restored.
    type: float
  problems:
    description: What was wrong with the set at the end. Without any it healed.
    type: list
    elements: str
    default: []
  skipped:
    description: Why the drill was not held. The row then has no figures.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Show the row of a drill
  ansible.builtin.debug:
    msg: >-
      {{ writers | resultops.celery.drill_report('kill', 'durable', 'Redis 8.0.2', watch=watch,
                                                 broken_at=fault.broken_at, restored_at=healing.healed_at) }}
"""

RETURN = r"""
_value:
  description: The rows.
  type: list
  elements: dict
  sample:
    - drill: kill
      profile: durable
      engine: Redis 8.0.2
      acknowledged: 31250
      lost: 0
      failed: 0
      blocked_ms_max: 2480
      recovered_ms: 2390
      healed: true
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Optional

from ansible_collections.resultops.celery.plugins.module_utils import _drill


def drill_report(
    writers: Iterable[Mapping[str, Any]],
    drill: str,
    profile: str,
    engine: str,
    watch: Optional[Mapping[str, Any]] = None,
    broken_at: Optional[float] = None,
    restored_at: Optional[float] = None,
    problems: Iterable[str] = (),
    skipped: str = "",
) -> list[dict[str, Any]]:
    if skipped:
        return [_drill.skipped_row(drill, profile, engine, skipped)]
    return _drill.drill_rows(writers, drill, profile, engine, watch or {}, broken_at, restored_at, problems)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"drill_report": drill_report}
