#!/usr/bin/python
# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Say how many results a database keeps, how old they are and what they take."""

from __future__ import annotations

DOCUMENTATION = r"""
module: result_store_info
short_description: Say how many results a database keeps, how old they are and what they take
version_added: 0.3.0
author:
  - ResultOps engineers (@resultops)
description:
  - Counts the results of one application on PostgreSQL, MariaDB or MySQL, those that have expired and are still there,
    those that never got ready, and what they take on disk. Says how the last purge went.
  - Never changes anything, and reads in a transaction that could not. A large table is estimated and not counted, and
    every statement has a time limit.
  - Works with tables that Celery made, too. Those do not say when a row was made, so nothing is known of the age of
    results that never got ready.
  - For Redis and Valkey see M(resultops.celery.redis_data_info).
options:
  retention:
    description:
      - Seconds after which a result has expired. Without it what the last purge was told.
    type: int
  retention_unfinished:
    description:
      - Seconds after which a result that never got ready is a leftover. Without it what the last purge was told.
    type: int
  max_purge_age:
    description:
      - Seconds since the start of the last purge, after which RV(problems) says so.
    type: int
    default: 93600
  exact:
    description:
      - Count every row, however large the table is.
    type: bool
    default: false
  timeout:
    description:
      - Seconds for each statement, and for the search for expired results. What was counted until then is returned
        with RV(complete=false).
    type: int
    default: 30
extends_documentation_fragment:
  - resultops.celery._sql_session
  - resultops.celery._attributes.posix
  - resultops.celery._attributes.info
  - resultops.celery._attributes
seealso:
  - module: resultops.celery.redis_data_info
"""

EXAMPLES = r"""
- name: Look at the results of the application
  resultops.celery.result_store_info:
    engine: postgresql
    login_host: db1.example.com
    login_user: results_monitor
    login_password: "{{ vault_postgresql_results_monitor_password }}"
    ca_file: /etc/ssl/resultops/ca.crt
    database: results
    schema: app
  register: store

- name: Refuse a store that nobody tidies up
  ansible.builtin.assert:
    that:
      - store.problems | length == 0
      - store.expired < 100000
"""

RETURN = r"""
exists:
  description: Whether the tables of Celery are there. The rest is returned only then.
  returned: success
  type: bool
  sample: true
kept:
  description: Results of tasks that are kept.
  returned: when the tables are there
  type: int
  sample: 812345
exact:
  description: Whether everything was counted, and not estimated.
  returned: when the tables are there
  type: bool
  sample: false
by_status:
  description: Results of tasks by their status.
  returned: when the tables are there
  type: dict
  sample: {SUCCESS: 812000, FAILURE: 300, STARTED: 45}
expired:
  description:
    - Results and groups that have expired and are still there. Empty where nobody said how long they are kept.
  returned: when the tables are there
  type: int
  sample: 0
unfinished_old:
  description: Results that never got ready and are older than O(retention_unfinished).
  returned: when the tables are there
  type: int
  sample: 0
complete:
  description: Whether all that has expired was counted, or only what was found within O(timeout).
  returned: when the tables are there
  type: bool
  sample: true
oldest:
  description: UTC time of the oldest result.
  returned: when the tables are there
  type: str
  sample: "2026-11-24T18:00:00"
bytes:
  description: What all of it takes on disk.
  returned: when the tables are there
  type: dict
  sample: {table: 209715200, index: 52428800, toast: 8192, total: 262152192}
tables:
  description: The same for each table.
  returned: when the tables are there
  type: list
  elements: dict
  sample:
    - name: celery_taskmeta
      rows: 812345
      exact: false
      by_status: {SUCCESS: 812000, FAILURE: 300, STARTED: 45}
      expired: 0
      unfinished_old: 0
      complete: true
      oldest: "2026-11-24T18:00:00"
      bytes: {table: 209715200, index: 52428800, toast: 8192, total: 262152192}
purge:
  description:
    - What the last purge did. RV(purge.backlog) are the expired results that were locked when it came by.
    - Empty where the schema has no purge.
  returned: when the tables are there
  type: dict
  contains:
    started:
      description: UTC time of its start.
      type: str
      returned: success
    ended:
      description: UTC time of its end. Empty while it runs, and when it was killed.
      type: str
      returned: success
    removed:
      description: Results that it removed.
      type: int
      returned: success
    error:
      description: Why it ended early.
      type: str
      returned: success
    backlog:
      description: Expired results that it left because they were locked.
      type: int
      returned: success
    oldest:
      description: UTC time of the oldest result that it left.
      type: str
      returned: success
    retention:
      description: Seconds that it was told to keep results.
      type: int
      returned: success
    retention_unfinished:
      description: Seconds that it was told to keep results that never got ready.
      type: int
      returned: success
  sample:
    started: "2026-11-25T18:00:00"
    ended: "2026-11-25T18:00:13"
    removed: 33012
    error: null
    backlog: 0
    oldest: "2026-11-24T18:00:00"
    retention: 86400
    retention_unfinished: 604800
problems:
  description: What is wrong with the purge, a sentence each.
  returned: when the tables are there
  type: list
  elements: str
  sample: []
"""

from datetime import datetime
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.resultops.celery.plugins.module_utils import _result_store, _sql_session


def looked_at(params: dict[str, Any]) -> dict[str, Any]:
    session = _sql_session.Session(params)
    try:
        with session.snapshot(params["timeout"]):
            return described(_result_store.Store(session, params), params)
    finally:
        session.close()


def described(store: _result_store.Store, params: dict[str, Any]) -> dict[str, Any]:
    if not store.tables():
        return {"changed": False, "exists": False}
    now, purge = store.now(), store.purge()
    limits = _result_store.limits(now, params, purge)
    tables = [store.described(table, limits) for table in store.tables()]
    tasks = tables[0]
    return _spelled(
        {
            "changed": False,
            "exists": True,
            "kept": tasks["rows"],
            "exact": all(table["exact"] for table in tables),
            "by_status": tasks["by_status"],
            "expired": _sum(table["expired"] for table in tables),
            "unfinished_old": _sum(table["unfinished_old"] for table in tables),
            "complete": all(table["complete"] for table in tables),
            "oldest": min((table["oldest"] for table in tables if table["oldest"]), default=None),
            "bytes": {kind: sum(table["bytes"][kind] for table in tables) for kind in tasks["bytes"]},
            "tables": tables,
            "purge": purge,
            "problems": _result_store.purge_problems(purge, now, params["max_purge_age"]),
        }
    )


def _sum(counts: Any) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _spelled(value: Any) -> Any:
    """Times as texts, as they have to travel."""
    if isinstance(value, dict):
        return {key: _spelled(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_spelled(item) for item in value]
    return value.isoformat(timespec="seconds") if isinstance(value, datetime) else value


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "retention": {"type": "int"},
            "retention_unfinished": {"type": "int"},
            "max_purge_age": {"type": "int", "default": 93600},
            "exact": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 30},
            **_sql_session.ARGUMENTS,
        },
        supports_check_mode=True,
        **_sql_session.RULES,
    )
    try:
        result = looked_at(module.params)
    except _sql_session.SqlError as problem:
        module.fail_json(msg=str(problem))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
