# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The backups of one set as they lie on the controller: a file each, and beside it what it holds."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible_collections.resultops.celery.plugins.module_utils import _backup

SUFFIXES = tuple(kind.suffix for kind in (_backup.Manifest, _backup.Dump))


def described(path: Path) -> Path:
    """The file with the manifest of a backup."""
    known = next((suffix for suffix in SUFFIXES if path.name.endswith(suffix)), "")
    return path.with_name(path.name[: len(path.name) - len(known)] + ".json")


def newest_first(directory: Path) -> list[Path]:
    """The backups in a directory; their names begin alike and end with their time."""
    found = (path for suffix in SUFFIXES for path in directory.glob(f"*{suffix}") if not path.name.startswith("."))
    return sorted(found, reverse=True)


def surplus(directory: Path, keep: int, new: Path) -> list[Path]:
    """What is more than the newest ones. The new one stays even when the clock of its host is behind."""
    others = [path for path in newest_first(directory) if path != new]
    return others[keep - 1 :]


def verified(path: Path) -> tuple[_backup.Contents, _backup.Written]:
    """A backup whose bytes are those that were stored, as far as one can tell without the passphrase."""
    manifest = _backup.read_manifest(str(path), _backup.Contents)
    written = _backup.checksum(str(path))
    beside = described(path)
    if beside.exists():
        wanted = _sha256_in(beside)
        if wanted != written.sha256:
            raise _backup.BackupError(f"{path} is damaged: it has not the checksum that stands in {beside.name}.")
    return manifest, written


def write_description(path: Path, manifest: _backup.Contents, written: _backup.Written) -> None:
    """Write the manifest beside a backup, complete or not at all."""
    text = json.dumps(
        {
            **manifest.as_dict(),
            "file": path.name,
            "encrypted_bytes": written.bytes,
            "encrypted_sha256": written.sha256,
        },
        indent=2,
    )
    descriptor, staged = tempfile.mkstemp(prefix=".manifest-", dir=path.parent)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(f"{text}\n")
    os.replace(staged, described(path))


def remove(paths: list[Path]) -> None:
    for path in paths:
        for file in _files(path):
            file.unlink(missing_ok=True)


def _files(path: Path) -> Iterator[Path]:
    yield path
    yield described(path)


def _sha256_in(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))["encrypted_sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _backup.BackupError(f"The manifest {path} cannot be read, delete it or put it right.") from error
