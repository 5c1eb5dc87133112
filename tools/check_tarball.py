# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check what a collection tarball carries: check_tarball.py <tarball>, run from the root of the checkout."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from secret_scan import find_secrets

GENERATED = {"FILES.json", "MANIFEST.json"}
WANTED = ("LICENSE", "README.md", "meta/runtime.yml", "playbooks/site.yml", "plugins", "roles")
UNWANTED_NAMES = {"tests", "molecule", "tools", "benchmarks", "reports", "dist", ".pki", "venv", "Makefile"}
HIDDEN_ALLOWED = {".env.example", ".env.example.j2"}


def unwanted(path: str) -> bool:
    parts = PurePosixPath(path).parts
    hidden = [part for part in parts if part.startswith(".") and part not in HIDDEN_ALLOWED]
    return bool(hidden) or parts[0] in UNWANTED_NAMES or parts[-1].endswith((".key", ".pem", ".crt", ".pyc"))


def problems(members: Mapping[str, bytes], known: Iterable[str]) -> list[str]:
    """Compare the files of a tarball with the rules and with the files that git knows or would take."""
    names = set(members) - GENERATED
    found = [
        f"{path} is missing from the tarball: look at build_ignore in galaxy.yml."
        for path in WANTED
        if not any(name == path or name.startswith(f"{path}/") for name in names)
    ]
    found += [
        f"{name} does not belong in the tarball: add it to build_ignore in galaxy.yml."
        for name in sorted(names)
        if unwanted(name)
    ]
    found += [f"{name} is in the tarball although git ignores it." for name in sorted(names - set(known))]
    for name in sorted(names):
        found += find_secrets(name, members[name].decode("utf-8", errors="replace"))
    return found


def read_members(tarball: Path) -> dict[str, bytes]:
    members = {}
    with tarfile.open(tarball) as archive:
        for member in archive.getmembers():
            if file := archive.extractfile(member) if member.isfile() else None:
                members[member.name] = file.read()
    return members


def main() -> int:
    tarball = Path(sys.argv[1])
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    known = subprocess.run(listing, check=True, capture_output=True, text=True).stdout.split("\0")
    members = read_members(tarball)
    found = problems(members, known)
    for sentence in found:
        print(sentence, file=sys.stderr)
    if not found:
        print(f"==> {tarball}: {len(members)} files, no tests, no tools, no secrets")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
