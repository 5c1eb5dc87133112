#!/usr/bin/python
# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Save the results of an application from a database into an encrypted file."""

from __future__ import annotations

DOCUMENTATION = r"""
module: sql_backup
short_description: Save the results of an application from a database into an encrypted file
version_added: 0.3.0
author:
  - ResultOps engineers (@resultops)
description:
  - Lets the database's own program write the results of one application as of one moment (C(pg_dump),
    C(mariadb-dump)), reads what it wrote from the first to the last byte, counts the rows, and writes it encrypted and
    authenticated (AES-256-GCM) into a directory. The data itself never has a name on disk in the clear.
  - On PostgreSQL the rows must be as many as the server counts at the very same moment.
  - Those who store results do not wait for it.
  - The file begins with a manifest in the clear that says what the file holds, and that cannot be changed unnoticed.
options:
  directory:
    description:
      - Directory on the host for the encrypted file, and for the dump while it is being encrypted. The file belongs to
        whom the directory belongs, so that it can be fetched without further rights.
    type: path
    required: true
  set_name:
    description:
      - Name of the application, with which the name of the file begins.
    type: str
    required: true
  host_name:
    description:
      - Name of this host for the manifest.
    type: str
    required: true
  passphrase:
    description:
      - Passphrase of at least 16 characters. Without it nobody can read the backup again.
    type: str
    required: true
extends_documentation_fragment:
  - resultops.celery._sql_session
  - resultops.celery._attributes
attributes:
  diff_mode:
    support: none
    details: The result is a new file.
requirements:
  - python3-cryptography on the host
  - postgresql-client or mariadb-client on the host, of the server's release or a later one
seealso:
  - module: resultops.celery.backup_store
  - module: resultops.celery.sql_restore
"""

EXAMPLES = r"""
- name: Save the results of the application
  resultops.celery.sql_backup:
    engine: postgresql
    login_unix_socket: /run/postgresql
    login_user: postgres
    database: results
    schema: app
    directory: /var/tmp/sql-backup
    set_name: app
    host_name: "{{ inventory_hostname }}"
    passphrase: "{{ vault_result_schema_backup_passphrase }}"
  register: sql_backup
"""

RETURN = r"""
path:
  description: The encrypted file on the host. Empty in check mode.
  returned: success
  type: str
  sample: /var/tmp/sql-backup/app-20261125T180000Z.dump.enc
encrypted_sha256:
  description: Checksum of the encrypted file. Empty in check mode.
  returned: success
  type: str
  sample: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
encrypted_bytes:
  description: Size of the encrypted file.
  returned: success
  type: int
  sample: 20971908
seconds:
  description: What it took to dump, to verify and to encrypt.
  returned: success
  type: dict
  sample: {dump: 2.1, verify: 0.8, encrypt: 0.4}
manifest:
  description: What the file holds. Empty in check mode.
  returned: success
  type: dict
  sample:
    set: app
    host: db1
    engine: PostgreSQL
    version: "17.11"
    revision: "0006"
    results: 200000
    groups: 120
    bytes: 20971520
    sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    created: "2026-11-25T18:00:00Z"
"""

import os
import time
from datetime import UTC, datetime
from typing import Any, BinaryIO

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.resultops.celery.plugins.module_utils import _backup, _secrets, _sql_dump, _sql_session

NOTHING: dict[str, Any] = {
    "changed": True,
    "path": "",
    "encrypted_sha256": "",
    "encrypted_bytes": 0,
    "seconds": {},
    "manifest": {},
}


class Backup:
    """One backup of the results of an application."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.params: dict[str, Any] = module.params
        self.seconds: dict[str, float] = {}
        self._since = time.monotonic()

    def run(self) -> dict[str, Any]:
        problems = _secrets.secret_problems({"passphrase": self.params["passphrase"]})
        if problems:
            raise _backup.BackupError(problems[0])
        directory = self.params["directory"]
        if not os.path.isdir(directory):
            raise _backup.BackupError(f"directory is {directory}, which is no directory of this host.")
        session = _sql_session.Session(self.params)
        try:
            revision = _sql_dump.revision(session)
            if self.module.check_mode:
                return NOTHING
            with _sql_dump.scratch(directory) as stream:
                manifest = self._dumped(session, revision, stream)
                return self._encrypted(manifest, stream)
        finally:
            session.close()

    def _dumped(self, session: _sql_session.Session, revision: str, stream: BinaryIO) -> _backup.Dump:
        created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        counted = _sql_dump.dump(self.params, session, stream)
        stream.flush()
        self._lap("dump")
        rows = _sql_dump.rows_in(session.engine, stream)
        if counted is not None and rows != counted:
            raise _backup.BackupError(f"The dump holds {rows}, and the server counted {counted} at the same moment.")
        plain = _backup.checksum(f"/proc/self/fd/{stream.fileno()}")
        self._lap("verify")
        product, version = _product(session)
        return _backup.Dump(
            set=self.params["set_name"],
            host=self.params["host_name"],
            engine=product,
            version=version,
            revision=revision,
            results=rows["celery_taskmeta"],
            groups=rows["celery_tasksetmeta"],
            bytes=plain.bytes,
            sha256=plain.sha256,
            created=created,
        )

    def _encrypted(self, manifest: _backup.Dump, stream: BinaryIO) -> dict[str, Any]:
        directory = self.params["directory"]
        path = os.path.join(directory, f"{manifest.stem}{manifest.suffix}")
        owner = os.stat(directory)
        stream.seek(0)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "wb") as target:
                written = _backup.encrypt(stream, target, manifest, self.params["passphrase"])
                os.fchown(target.fileno(), owner.st_uid, owner.st_gid)
        except OSError as error:
            raise _backup.BackupError(f"The backup {path} cannot be written: {error.strerror}.") from error
        self._lap("encrypt")
        return {
            **NOTHING,
            "path": path,
            "encrypted_sha256": written.sha256,
            "encrypted_bytes": written.bytes,
            "seconds": self.seconds,
            "manifest": manifest.as_dict(),
        }

    def _lap(self, name: str) -> None:
        now = time.monotonic()
        self.seconds[name] = round(now - self._since, 2)
        self._since = now


def _product(session: _sql_session.Session) -> tuple[str, str]:
    if session.engine == "postgresql":
        return "PostgreSQL", str(session.row("SHOW server_version")[0]).split()[0]
    version = str(session.row("SELECT VERSION()")[0])
    return ("MariaDB" if "mariadb" in version.lower() else "MySQL"), version.split("-", maxsplit=1)[0]


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "set_name": {"type": "str", "required": True},
            "host_name": {"type": "str", "required": True},
            "passphrase": {"type": "str", "required": True, "no_log": True},
            **_sql_session.ARGUMENTS,
        },
        supports_check_mode=True,
        **_sql_session.RULES,
    )
    try:
        result = Backup(module).run()
    except (_backup.BackupError, _sql_session.SqlError) as problem:
        module.fail_json(msg=str(problem))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
