#!/usr/bin/python
# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Put the results of a backup into the empty tables of an application."""

from __future__ import annotations

DOCUMENTATION = r"""
module: sql_restore
short_description: Put the results of a backup into the empty tables of an application
version_added: 0.3.0
author:
  - ResultOps engineers (@resultops)
description:
  - Decrypts a backup of M(resultops.celery.sql_backup), proves that it is complete, and puts its results into tables
    that M(resultops.celery.result_schema) has made and that are empty. All of them appear at once, counted, or none.
  - In check mode all of this is done except the last step, the commit, which proves that the backup can be restored.
options:
  src:
    description:
      - The backup, on the host.
    type: path
    required: true
  passphrase:
    description:
      - Passphrase with which the backup was made.
    type: str
    required: true
  work_directory:
    description:
      - Directory on the host's disk, in which a file without a name holds the data in the clear meanwhile.
    type: path
    required: true
extends_documentation_fragment:
  - resultops.celery._sql_session
  - resultops.celery._attributes
attributes:
  diff_mode:
    description: Returns how many rows each table has before and after.
requirements:
  - python3-cryptography on the host
  - postgresql-client or mariadb-client on the host
seealso:
  - module: resultops.celery.sql_backup
"""

EXAMPLES = r"""
- name: Restore the results of the application
  resultops.celery.sql_restore:
    engine: postgresql
    login_unix_socket: /run/postgresql
    login_user: postgres
    database: results
    schema: app
    src: /var/tmp/sql-restore/app-20261125T180000Z.dump.enc
    passphrase: "{{ vault_result_schema_backup_passphrase }}"
    work_directory: /var/tmp
"""

RETURN = r"""
task_results:
  description: Results of tasks that were restored, which in check mode could be.
  returned: success
  type: int
  sample: 200000
group_results:
  description: Results of groups that were restored.
  returned: success
  type: int
  sample: 120
seconds:
  description: What it took to decrypt, to verify and to load.
  returned: success
  type: dict
  sample: {decrypt: 0.4, verify: 0.8, load: 3.1}
manifest:
  description: What the backup holds. See RV(resultops.celery.sql_backup#module:manifest).
  returned: success
  type: dict
  sample: {set: app, results: 200000, groups: 120, engine: PostgreSQL, revision: "0006"}
"""

import os
import shutil
import time
from typing import Any, BinaryIO

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.resultops.celery.plugins.module_utils import _backup, _sql_dump, _sql_session

MEBIBYTE = 2**20
ENGINES = {"postgresql": ("PostgreSQL",), "mysql": ("MariaDB", "MySQL")}


class Restore:
    """One backup into the tables of an application."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.params: dict[str, Any] = module.params
        self.seconds: dict[str, float] = {}
        self._since = time.monotonic()

    def run(self) -> dict[str, Any]:
        session = _sql_session.Session(self.params)
        try:
            manifest = self._fitting(session)
            self._require_space(manifest)
            with _sql_dump.scratch(self.params["work_directory"]) as stream:
                rows = self._decrypted(session.engine, stream)
                _sql_dump.load(self.params, session, stream, rows, keep=not self.module.check_mode)
                self._lap("load")
        finally:
            session.close()
        return {
            "changed": any(rows.values()),
            "task_results": manifest.results,
            "group_results": manifest.groups,
            "seconds": self.seconds,
            "manifest": manifest.as_dict(),
            "diff": {
                "before": "".join(f"{table}: 0 rows\n" for table in rows),
                "after": "".join(f"{table}: {count} rows\n" for table, count in rows.items()),
            },
        }

    def _fitting(self, session: _sql_session.Session) -> _backup.Dump:
        """Refuse what cannot go well before anything is decrypted."""
        source = self.params["src"]
        manifest = _backup.read_manifest(source, _backup.Dump)
        if manifest.engine not in ENGINES[session.engine]:
            raise _backup.BackupError(
                f"{source} was made by {manifest.made_by}: restore it to a server of that kind, not to {session.where}."
            )
        revision = _sql_dump.revision(session)
        if revision < manifest.revision:
            raise _backup.BackupError(
                f"The tables at {session.where} have the revision {revision or 'none'}, and {source} is of "
                f"{manifest.revision}: bring them to that revision with the role result_schema first."
            )
        held = {table: count for table, count in _sql_dump.count(session).items() if count}
        if held:
            told = " and ".join(f"{count} rows in {table}" for table, count in held.items())
            raise _backup.BackupError(
                f"The server at {session.where} holds {told}: restore to empty tables, so that nothing is lost."
            )
        return manifest

    def _require_space(self, manifest: _backup.Dump) -> None:
        directory = self.params["work_directory"]
        if not os.path.isdir(directory):
            raise _backup.BackupError(f"work_directory is {directory}, which is no directory of this host.")
        free = shutil.disk_usage(directory).free
        if free <= manifest.bytes:
            raise _backup.BackupError(
                f"{directory} (work_directory) has {free // MEBIBYTE} MiB left, and the data takes "
                f"{manifest.bytes // MEBIBYTE + 1} MiB."
            )

    def _decrypted(self, engine: str, stream: BinaryIO) -> dict[str, int]:
        manifest = _backup.decrypt(self.params["src"], stream, self.params["passphrase"], _backup.Dump)
        stream.flush()
        self._lap("decrypt")
        rows = _sql_dump.rows_in(engine, stream)
        wanted = {"celery_taskmeta": manifest.results, "celery_tasksetmeta": manifest.groups}
        if rows != wanted:
            raise _backup.BackupError(f"{self.params['src']} holds {rows}, and its manifest says {wanted}.")
        self._lap("verify")
        return rows

    def _lap(self, name: str) -> None:
        now = time.monotonic()
        self.seconds[name] = round(now - self._since, 2)
        self._since = now


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "src": {"type": "path", "required": True},
            "passphrase": {"type": "str", "required": True, "no_log": True},
            "work_directory": {"type": "path", "required": True},
            **_sql_session.ARGUMENTS,
        },
        supports_check_mode=True,
        **_sql_session.RULES,
    )
    try:
        result = Restore(module).run()
    except (_backup.BackupError, _sql_session.SqlError) as problem:
        module.fail_json(msg=str(problem))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
