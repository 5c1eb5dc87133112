#!/usr/bin/python
# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Save the data of a Redis or Valkey server into an encrypted file."""

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_backup
short_description: Save the data of a Redis or Valkey server into an encrypted file
version_added: 0.2.0
author:
  - ResultOps engineers (@resultops)
description:
  - Lets the running server save its data as of one moment, checks that file with the server's own checker, and writes
    it encrypted and authenticated (AES-256-GCM) into a directory. The data itself never lies there in the clear.
  - Works on primaries and replicas, whatever the server's own persistence is. A server that keeps no C(dump.rdb) keeps
    none afterwards.
  - The file begins with a manifest in the clear that says what the file holds, and that cannot be changed unnoticed.
options:
  directory:
    description:
      - Directory on the host for the encrypted file. The file belongs to whom the directory belongs, so that it can be
        fetched without further rights.
    type: path
    required: true
  set_name:
    description:
      - Name of the server or replication set, with which the name of the file begins.
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
  save_timeout:
    description:
      - Seconds to wait for the server to save its data, and for one that it is saving already.
    type: int
    default: 3600
extends_documentation_fragment:
  - resultops.celery._redis
  - resultops.celery._attributes
attributes:
  diff_mode:
    support: none
    details: The result is a new file.
requirements:
  - python3-cryptography on the host
seealso:
  - module: resultops.celery.backup_store
  - module: resultops.celery.redis_restore
"""

EXAMPLES = r"""
- name: Save the data of the server
  resultops.celery.redis_backup:
    directory: /var/tmp/redis-backup
    set_name: results
    host_name: "{{ inventory_hostname }}"
    passphrase: "{{ vault_redis_backup_passphrase }}"
    unix_socket: /run/redis/redis-server.sock
    login_user: admin
    login_password: "{{ vault_redis_admin_password }}"
  register: redis_backup
"""

RETURN = r"""
path:
  description: The encrypted file on the host. Empty in check mode.
  returned: success
  type: str
  sample: /var/tmp/redis-backup/results-20261125T180000Z.rdb.enc
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
  description: What the server took to save, and what it took to check and to encrypt.
  returned: success
  type: dict
  sample: {save: 0.9, encrypt: 0.4}
manifest:
  description: What the file holds. Empty in check mode.
  returned: success
  type: dict
  sample:
    set: results
    host: redis2
    role: replica
    engine: Redis
    version: 8.0.2
    rdb_version: 12
    keys: 200000
    expiring: 200000
    memory: 94371840
    bytes: 20971520
    sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    created: "2026-11-25T18:00:00Z"
"""

import os
import shutil
import time
from datetime import UTC, datetime
from typing import Any, BinaryIO

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.resultops.celery.plugins.module_utils import (
    _backup,
    _rdb,
    _redis,
    _redis_data,
    _secrets,
)


class Backup:
    """One backup of the server of this host."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.params: dict[str, Any] = module.params
        self.program = _redis_data.program(self.params["server_binary"])

    def run(self) -> dict[str, Any]:
        server = self._server()
        facts = server.information()
        state = _redis_data.State.of(facts)
        if not state.complete:
            raise _backup.BackupError(
                f"The server at {server.where} is a replica that has not all the data of {state.primary}: take the "
                "backup from another server of its set, or wait for its link."
            )
        result: dict[str, Any] = {
            "changed": True,
            "path": "",
            "encrypted_sha256": "",
            "encrypted_bytes": 0,
            "seconds": {},
            "manifest": {},
        }
        if self.module.check_mode:
            return result
        created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        started = time.monotonic()
        with _redis_data.snapshot(server, self.params["save_timeout"]) as stream:
            saved = time.monotonic()
            manifest = self._manifest(server, state, int(facts["used_memory_dataset"]), created, stream)
            path, written = self._encrypt(manifest, stream)
        return {
            **result,
            "path": path,
            "encrypted_sha256": written.sha256,
            "encrypted_bytes": written.bytes,
            "seconds": {"save": round(saved - started, 2), "encrypt": round(time.monotonic() - saved, 2)},
            "manifest": manifest.as_dict(),
        }

    def _server(self) -> _redis.Server:
        problems = _secrets.secret_problems({"passphrase": self.params["passphrase"]})
        if problems:
            raise _backup.BackupError(problems[0])
        if not os.path.isdir(self.params["directory"]):
            raise _backup.BackupError(f"directory is {self.params['directory']}, which is no directory of this host.")
        server = _redis.connect(self.params)
        if server is None:
            raise _backup.BackupError("No server is running on this host: there is nothing to take a backup of.")
        return server

    def _manifest(
        self, server: _redis.Server, state: _redis_data.State, memory: int, created: str, stream: BinaryIO
    ) -> _backup.Manifest:
        file = f"/proc/self/fd/{stream.fileno()}"
        contents = _rdb.check(self.program, file, "The file that the server saved")
        plain = _backup.checksum(file)
        return _backup.Manifest(
            set=self.params["set_name"],
            host=self.params["host_name"],
            role=state.role,
            engine=server.version.product,
            version=server.version.number,
            rdb_version=contents.version,
            keys=contents.keys,
            expiring=contents.expiring,
            memory=memory,
            bytes=plain.bytes,
            sha256=plain.sha256,
            created=created,
        )

    def _encrypt(self, manifest: _backup.Manifest, stream: BinaryIO) -> tuple[str, _backup.Written]:
        directory = self.params["directory"]
        free = shutil.disk_usage(directory).free
        if free <= manifest.bytes:
            raise _backup.BackupError(
                f"{directory} has {free // 2**20} MiB left, and the backup takes {manifest.bytes // 2**20 + 1} MiB."
            )
        path = os.path.join(directory, f"{manifest.stem}{manifest.suffix}")
        owner = os.stat(directory)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "wb") as target:
                written = _backup.encrypt(stream, target, manifest, self.params["passphrase"])
                os.fchown(target.fileno(), owner.st_uid, owner.st_gid)
        except OSError as error:
            raise _backup.BackupError(f"The backup {path} cannot be written: {error.strerror}.") from error
        return path, written


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "set_name": {"type": "str", "required": True},
            "host_name": {"type": "str", "required": True},
            "passphrase": {"type": "str", "required": True, "no_log": True},
            "save_timeout": {"type": "int", "default": 3600},
            **_redis.CONNECTION_ARGUMENTS,
        },
        supports_check_mode=True,
        **_redis.CONNECTION_RULES,
    )
    try:
        result = Backup(module).run()
    except _redis.RedisError as problem:
        module.fail_json(msg=str(problem))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
