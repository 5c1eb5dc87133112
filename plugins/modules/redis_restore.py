#!/usr/bin/python
# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Put the data of a backup into a running Redis or Valkey server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_restore
short_description: Put the data of a backup into a running Redis or Valkey server
version_added: 0.2.0
author:
  - ResultOps engineers (@resultops)
description:
  - Decrypts a backup of M(resultops.celery.redis_backup), proves that it is complete, and loads it into a private
    server that nobody else reaches. From there the data is copied into the running server, where it appears all at
    once.
  - The server is not stopped, so that a Sentinel does not fail over, and its replicas and its append-only file get the
    data like any other. What the server held is kept until the keys have been counted.
  - In check mode all of this is done except the copy, which proves that a backup can be restored on this host.
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
  replace:
    description:
      - Whether the backup takes the place of what the server holds. Without it a server that holds keys is refused.
    type: bool
    default: false
  work_directory:
    description:
      - Directory on the host's disk, in which a private directory holds the data in the clear until the private server
        has loaded it.
    type: path
    required: true
  load_timeout:
    description:
      - Seconds to wait for the private server to load the data.
    type: int
    default: 3600
extends_documentation_fragment:
  - resultops.celery._redis
  - resultops.celery._attributes
attributes:
  diff_mode:
    description: Returns how many keys each database has before and after.
requirements:
  - python3-cryptography on the host
seealso:
  - module: resultops.celery.redis_backup
"""

EXAMPLES = r"""
- name: Restore the data of the server
  resultops.celery.redis_restore:
    src: /var/tmp/redis-restore/results-20261125T180000Z.rdb.enc
    passphrase: "{{ vault_redis_backup_passphrase }}"
    work_directory: /var/tmp
    unix_socket: /run/redis/redis-server.sock
    login_user: admin
    login_password: "{{ vault_redis_admin_password }}"
"""

RETURN = r"""
keys:
  description: Keys that the backup holds.
  returned: success
  type: int
  sample: 200000
restored:
  description: Keys that were copied into the server, which in check mode would have been.
  returned: success
  type: int
  sample: 199997
expired:
  description: Keys that are not there because they expired since the backup was taken.
  returned: success
  type: int
  sample: 3
replaced:
  description: Keys that the server held before and that the backup took the place of.
  returned: success
  type: int
  sample: 0
replicas:
  description: Replicas that have acknowledged all the data.
  returned: success
  type: int
  sample: 2
seconds:
  description: What it took to decrypt and check the backup, to load it into the private server, and to copy it.
  returned: success
  type: dict
  sample: {decrypt: 0.4, load: 0.6, copy: 2.1}
manifest:
  description: What the backup holds. See RV(resultops.celery.redis_backup#module:manifest).
  returned: success
  type: dict
  sample: {set: results, keys: 200000, engine: Redis, version: 8.0.2}
"""

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.resultops.celery.plugins.module_utils import (
    _backup,
    _rdb,
    _redis,
    _redis_copy,
    _redis_data,
)

MEBIBYTE = 2**20


class Restore:
    """One backup into the server of this host."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.params: dict[str, Any] = module.params
        self.program = _redis_data.program(self.params["server_binary"])
        self.seconds: dict[str, float] = {}
        self._since = time.monotonic()

    def run(self) -> dict[str, Any]:
        target = self._target()
        before = _redis_data.keys_by_database(target.information())
        if before and not self.params["replace"]:
            raise _backup.BackupError(
                f"The server at {target.where} holds {sum(before.values())} keys: restore to an empty server, or let "
                "the backup take their place (redis_restore_replace)."
            )
        self._require_memory(_backup.read_manifest(self.params["src"], _backup.Manifest))
        private = tempfile.mkdtemp(prefix="redis-restore-", dir=self.params["work_directory"])
        try:
            manifest = self._decrypted(target, Path(private) / "dump.rdb")
            return self._loaded(manifest, target, Path(private), before)
        finally:
            shutil.rmtree(private)

    def _target(self) -> _redis.Server:
        target = _redis.connect(self.params)
        if target is None:
            raise _backup.BackupError("No server is running on this host: deploy it first, then restore into it.")
        state = _redis_data.State.of(target.information())
        if state.role != "primary":
            raise _backup.BackupError(
                f"The server at {target.where} is a replica of {state.primary}: restore into the primary, its replicas "
                "follow by themselves."
            )
        return target

    def _decrypted(self, target: _redis.Server, path: Path) -> _backup.Manifest:
        source = self.params["src"]
        manifest = _backup.read_manifest(source, _backup.Manifest)
        free = shutil.disk_usage(path.parent).free
        if free <= manifest.bytes:
            raise _backup.BackupError(
                f"{path.parent.parent} (work_directory) has {free // MEBIBYTE} MiB left, and the data takes "
                f"{manifest.bytes // MEBIBYTE + 1} MiB."
            )
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            manifest = _backup.decrypt(source, stream, self.params["passphrase"], _backup.Manifest)
        try:
            contents = _rdb.check(self.program, str(path), f"The data in {source}")
        except _rdb.TooNewError as error:
            raise _backup.BackupError(
                f"{source} was made by {manifest.made_by}, whose format (RDB {manifest.rdb_version}) "
                f"{target.version.text} on this host cannot read: restore to {manifest.made_by} or a later release."
            ) from error
        if contents.keys != manifest.keys:
            raise _backup.BackupError(f"{source} has {contents.keys} keys, and its manifest says {manifest.keys}.")
        self._lap("decrypt")
        return manifest

    def _loaded(
        self, manifest: _backup.Manifest, target: _redis.Server, private: Path, before: dict[int, int]
    ) -> dict[str, Any]:
        databases = target.call("CONFIG", "GET", "databases")[1]
        with _redis_data.private_server(self.program, private, databases, self.params["load_timeout"]) as source:
            os.unlink(private / "dump.rdb")
            loaded = _redis_data.keys_by_database(source.information())
            self._lap("load")
            self._refuse_too_little_memory(source, target)
            self._warn_of_functions(source)
            restored, replicas = dict(loaded), 0
            if not self.module.check_mode:
                copied, replicas = _redis_copy.restore(source, target, replace=self.params["replace"])
                restored = {number: found.keys for number, found in copied.items() if found.keys}
                self._lap("copy")
            count = sum(restored.values())
            self._account(manifest, source, count)
        return {
            "changed": bool(restored or before),
            "keys": manifest.keys,
            "restored": count,
            "expired": manifest.keys - count,
            "replaced": sum(before.values()),
            "replicas": replicas,
            "seconds": self.seconds,
            "manifest": manifest.as_dict(),
            "diff": {
                "before_header": f"server at {target.where}",
                "after_header": f"server at {target.where}",
                "before": _shown(before),
                "after": _shown(restored),
            },
        }

    def _account(self, manifest: _backup.Manifest, source: _redis.Server, count: int) -> None:
        """Every key of the backup was copied, or the private server says that it expired."""
        facts = source.information()
        expired = int(facts.get("rdb_last_load_keys_expired", "0")) + int(facts["expired_keys"])
        missing = manifest.keys - count - expired
        if missing > 0:
            self.module.warn(f"{missing} keys of the backup were neither restored nor have they expired.")

    def _require_memory(self, manifest: _backup.Manifest) -> None:
        """The private server must not bring the host to the point where the kernel ends the real one."""
        available = _available_memory()
        if available is not None and available < manifest.memory:
            raise _backup.BackupError(
                f"This host has {available // MEBIBYTE} MiB of memory available, and the data of the backup takes "
                f"{manifest.memory // MEBIBYTE} MiB."
            )

    def _refuse_too_little_memory(self, source: _redis.Server, target: _redis.Server) -> None:
        facts = target.information()
        limit, used = int(facts["maxmemory"]), int(facts["used_memory"])
        wanted = int(source.information()["used_memory_dataset"])
        if limit and used + wanted > limit:
            raise _backup.BackupError(
                f"The server at {target.where} may use {limit // MEBIBYTE} MiB (redis_maxmemory), of which it uses "
                f"{used // MEBIBYTE}; the backup takes {wanted // MEBIBYTE} MiB beside it until it is in place: give "
                "it more memory for the restore, or empty it first."
            )

    def _warn_of_functions(self, source: _redis.Server) -> None:
        if source.call("FUNCTION", "LIST"):
            self.module.warn("The backup holds functions (FUNCTION LOAD), which are not restored: load them again.")

    def _lap(self, name: str) -> None:
        now = time.monotonic()
        self.seconds[name] = round(now - self._since, 2)
        self._since = now


def _available_memory() -> int | None:
    try:
        text = Path("/proc/meminfo").read_text(encoding="utf-8")
    except OSError:
        return None
    found = [line.split()[1] for line in text.splitlines() if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else None


def _shown(keys: dict[int, int]) -> str:
    return "".join(f"database {number}: {count} keys\n" for number, count in sorted(keys.items()))


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "src": {"type": "path", "required": True},
            "passphrase": {"type": "str", "required": True, "no_log": True},
            "replace": {"type": "bool", "default": False},
            "work_directory": {"type": "path", "required": True},
            "load_timeout": {"type": "int", "default": 3600},
            **_redis.CONNECTION_ARGUMENTS,
        },
        supports_check_mode=True,
        **_redis.CONNECTION_RULES,
    )
    try:
        result = Restore(module).run()
    except _redis.RedisError as problem:
        module.fail_json(msg=str(problem))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
