#!/usr/bin/python
# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bring the result tables of an application to a revision."""

from __future__ import annotations

DOCUMENTATION = r"""
module: result_schema
short_description: Own the tables that Celery keeps results in
version_added: 0.3.0
author:
  - ResultOps engineers (@resultops)
description:
  - Makes the tables of a SQL result backend, or adopts those that Celery has made, and brings them to a revision with
    what Celery's own lack - ids of 64 bits, room for large results, an index on C(date_done), the age of rows that are
    never done, and the procedure that removes expired results.
  - No result is lost, upwards or downwards, and stores go on meanwhile. What has to lock a table waits for the lock
    only as long as O(lock_timeout) and tries again.
  - What the accounts may do with the tables is part of it. The application needs no right to change a table, and
    Celery never creates one.
  - A run that was interrupted is finished by the next one. Only one at a time works on a schema.
  - Check mode shows the SQL and changes nothing, and says at which revision the tables are.
options:
  revision:
    description:
      - V(head) for the newest that this release knows, the name of another, or V(base) to remove tables that hold no
        result.
    type: str
    default: head
  owner:
    description:
      - Role that owns the tables. O(login_user) must be a member of it. Adopted tables are given to it.
      - Only used with O(engine=postgresql).
    type: str
  application_user:
    description:
      - Account that Celery logs in as. It may select, insert, update and delete, and take ids from the sequences.
      - With O(engine=mysql) all accounts of that name are meant, unless V(name@host) is given.
    type: str
  purge_user:
    description:
      - Account that removes expired results. It may see how old results are, delete them, and call C(celery_purge).
    type: str
  monitor_user:
    description:
      - Account that may see how many results there are and how old they are, but not one of them.
    type: str
  lock_timeout:
    description:
      - Milliseconds that one attempt to lock a table may wait, and stores behind it.
      - MariaDB and MySQL know whole seconds only, so that it is one second there.
    type: int
    default: 200
  timeout:
    description:
      - Seconds to wait for another run, and for transactions that keep a table or an old version of its rows.
    type: int
    default: 300
extends_documentation_fragment:
  - resultops.celery._sql_session
  - resultops.celery._attributes
attributes:
  diff_mode:
    description: Returns the revisions and the SQL between them.
requirements:
  - python3-alembic and python3-sqlalchemy on the host that the module runs on
seealso:
  - module: resultops.celery.result_store_info
notes:
  - PostgreSQL 13, MariaDB 10.6 and MySQL 8.0 are the oldest servers that are supported.
  - It needs a session of its own. A pooler that gives each transaction another one is refused.
"""

EXAMPLES = r"""
- name: Own the tables of one application, on the host of the server
  resultops.celery.result_schema:
    engine: postgresql
    login_unix_socket: /run/postgresql
    login_user: postgres
    database: results
    schema: shop
    owner: shop_owner
    application_user: shop
    purge_user: shop_purge
    monitor_user: results_monitor
  become: true
  become_user: postgres

- name: Look at the SQL for a managed server
  resultops.celery.result_schema:
    engine: mysql
    login_host: results.example.com
    login_user: shop_owner
    login_password: "{{ vault_mysql_owner_password }}"
    ca_file: /etc/ssl/certs/provider.pem
    database: shop
    application_user: shop
  check_mode: true
  diff: true
"""

RETURN = r"""
revision_before:
  description: Revision at which the tables were. V(base) stands for none.
  returned: success
  type: str
  sample: base
revision_after:
  description: Revision at which they are now.
  returned: success
  type: str
  sample: "0006"
adopted:
  description: Whether the tables were Celery's own before.
  returned: success
  type: bool
  sample: false
sql:
  description: The statements, in their order. In check mode those that would run.
  returned: success
  type: list
  elements: str
  sample:
    - ALTER TABLE "shop"."celery_taskmeta" ADD COLUMN "stamps" bytea
problems:
  description: What could not be done, such as a grant to an account that does not exist.
  returned: success
  type: list
  elements: str
  sample: []
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.resultops.celery.plugins.module_utils import _result_schema, _sql_session


def shown(outcome: _result_schema.Outcome) -> list[dict[str, str]]:
    """The diff: revisions on the left, what leads from one to the other on the right."""
    if not outcome.statements and outcome.before == outcome.after:
        return []
    sql = "".join(text if text.startswith("--") else f"{text};\n" for text in _lines(outcome.statements))
    return [
        {
            "before_header": f"revision {outcome.before}",
            "after_header": f"revision {outcome.after}",
            "before": "",
            "after": sql,
        }
    ]


def _lines(statements: list[str]) -> list[str]:
    return [f"{text}\n" if text.startswith("--") else text for text in statements]


def main() -> None:
    arguments: dict[str, dict[str, Any]] = {
        **_sql_session.ARGUMENTS,
        "revision": {"type": "str", "default": "head"},
        "owner": {"type": "str"},
        "application_user": {"type": "str"},
        "purge_user": {"type": "str"},
        "monitor_user": {"type": "str"},
        "lock_timeout": {"type": "int", "default": 200},
        "timeout": {"type": "int", "default": 300},
    }
    module = AnsibleModule(argument_spec=arguments, supports_check_mode=True, **_sql_session.RULES)
    for name in ("lock_timeout", "timeout"):
        if module.params[name] < 1:
            module.fail_json(msg=f"{name} is {module.params[name]}: it must be 1 or more.")
    try:
        outcome = _result_schema.migrate(module.params, module.check_mode)
    except _sql_session.SqlError as problem:
        module.fail_json(msg=str(problem))
    module.exit_json(
        changed=bool(outcome.statements) or outcome.before != outcome.after,
        revision_before=outcome.before,
        revision_after=outcome.after,
        adopted=outcome.adopted,
        sql=outcome.sql,
        problems=outcome.problems,
        diff=shown(outcome),
    )


if __name__ == "__main__":
    main()
