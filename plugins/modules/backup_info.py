#!/usr/bin/python
# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find a backup on the controller and verify its checksum."""

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_info
short_description: Find a backup on the controller and verify its checksum
version_added: 0.2.0
author:
  - ResultOps engineers (@resultops)
description:
  - Runs on the controller. Returns the named backup, or the newest one of a directory, and what it says that it holds.
  - Fails when the file was cut, or differs from the checksum beside it. Only M(resultops.celery.redis_restore), which
    has the passphrase, can tell that nobody changed both.
  - Never changes anything.
options:
  path:
    description:
      - The backup. Without it the newest one in O(directory) is taken.
    type: path
  directory:
    description:
      - Where the backups of one set are kept.
    type: path
extends_documentation_fragment:
  - resultops.celery._attributes.posix
  - resultops.celery._attributes.info
  - resultops.celery._attributes
seealso:
  - module: resultops.celery.backup_store
  - module: resultops.celery.redis_restore
"""

EXAMPLES = r"""
- name: Find the newest backup
  resultops.celery.backup_info:
    directory: backups/redis/results
  delegate_to: localhost
  become: false
  register: redis_backup
"""

RETURN = r"""
path:
  description: The backup.
  returned: success
  type: str
  sample: backups/redis/results/results-20261125T180000Z.rdb.enc
encrypted_sha256:
  description: Checksum of the file.
  returned: success
  type: str
  sample: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
encrypted_bytes:
  description: Size of the file.
  returned: success
  type: int
  sample: 20971908
manifest:
  description: What the file holds. See RV(resultops.celery.redis_backup#module:manifest).
  returned: success
  type: dict
  sample: {set: results, keys: 200000, engine: Redis, version: 8.0.2}
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.resultops.celery.plugins.module_utils import _backup, _backup_files


def found(params: dict[str, Any]) -> dict[str, Any]:
    path = Path(params["path"]) if params["path"] else _newest(Path(params["directory"]))
    manifest, written = _backup_files.verified(path)
    return {
        "changed": False,
        "path": str(path),
        "encrypted_sha256": written.sha256,
        "encrypted_bytes": written.bytes,
        "manifest": manifest.as_dict(),
    }


def _newest(directory: Path) -> Path:
    backups = _backup_files.newest_first(directory)
    if not backups:
        raise _backup.BackupError(
            f"There is no backup in {directory} (a file that ends with {' or '.join(_backup_files.SUFFIXES)})."
        )
    return backups[0]


def main() -> None:
    module = AnsibleModule(
        argument_spec={"path": {"type": "path"}, "directory": {"type": "path"}},
        supports_check_mode=True,
        required_one_of=[("path", "directory")],
    )
    try:
        result = found(module.params)
    except _backup.BackupError as problem:
        module.fail_json(msg=str(problem))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
