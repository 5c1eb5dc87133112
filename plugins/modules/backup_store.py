#!/usr/bin/python
# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keep a backup that was fetched to the controller, and remove those that are too old."""

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_store
short_description: Keep a fetched backup and remove those that are too old
version_added: 0.2.0
author:
  - ResultOps engineers (@resultops)
description:
  - Runs on the controller. Verifies that the file arrived as it left the host, gives it its final name, and writes
    beside it what it holds.
  - Then removes the oldest backups of the directory, so that O(keep) are left. Nothing is removed before the new one is
    verified.
options:
  src:
    description:
      - The fetched file. It must be in O(directory) and is renamed.
    type: path
    required: true
  directory:
    description:
      - Where the backups of one set are kept.
    type: path
    required: true
  encrypted_sha256:
    description:
      - Checksum that the host computed.
    type: str
    required: true
  keep:
    description:
      - How many backups are kept.
    type: int
    required: true
extends_documentation_fragment:
  - resultops.celery._attributes.posix
  - resultops.celery._attributes
attributes:
  diff_mode:
    support: none
    details: The result is a new file.
seealso:
  - module: resultops.celery.redis_backup
  - module: resultops.celery.backup_info
"""

EXAMPLES = r"""
- name: Keep the backup and remove those that are too old
  resultops.celery.backup_store:
    src: backups/redis/results/.incoming
    directory: backups/redis/results
    encrypted_sha256: "{{ redis_backup.encrypted_sha256 }}"
    keep: 14
  delegate_to: localhost
  become: false
"""

RETURN = r"""
path:
  description: The backup.
  returned: success
  type: str
  sample: backups/redis/results/results-20261125T180000Z.rdb.enc
removed:
  description: Backups that were removed because there were more than O(keep).
  returned: success
  type: list
  elements: str
  sample: [backups/redis/results/results-20261111T180000Z.rdb.enc]
kept:
  description: How many backups of the set there are now.
  returned: success
  type: int
  sample: 14
"""

import os
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.resultops.celery.plugins.module_utils import _backup, _backup_files


def stored(params: dict[str, Any], dry: bool) -> dict[str, Any]:
    source, directory = Path(params["src"]), Path(params["directory"])
    if params["keep"] < 1:
        raise _backup.BackupError(f"keep is {params['keep']}: at least the new backup must be kept, so 1 or more.")
    if source.parent.resolve() != directory.resolve():
        raise _backup.BackupError(f"src is {source}, which is not in directory ({directory}).")
    manifest = _backup.read_manifest(str(source), _backup.Contents)
    written = _backup.checksum(str(source))
    if written.sha256 != params["encrypted_sha256"]:
        raise _backup.BackupError(
            f"{source} is not what the host made: its checksum is another one. The older backups stay."
        )
    path = directory / f"{manifest.stem}{manifest.suffix}"
    if path.exists():
        raise _backup.BackupError(f"{path} is there already: two backups of {manifest.set} have the same time.")
    removed = _backup_files.surplus(directory, params["keep"], path)
    if not dry:
        _backup_files.write_description(path, manifest, written)
        os.chmod(source, 0o600)
        os.replace(source, path)
        _backup_files.remove(removed)
    kept = {*_backup_files.newest_first(directory), path} - {*removed}
    return {"changed": True, "path": str(path), "removed": [str(old) for old in removed], "kept": len(kept)}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "src": {"type": "path", "required": True},
            "directory": {"type": "path", "required": True},
            "encrypted_sha256": {"type": "str", "required": True},
            "keep": {"type": "int", "required": True},
        },
        supports_check_mode=True,
    )
    try:
        result = stored(module.params, module.check_mode)
    except _backup.BackupError as problem:
        module.fail_json(msg=str(problem))
    except OSError as problem:
        module.fail_json(msg=f"The backup cannot be kept: {problem.filename}: {problem.strerror}.")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
