# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prove that the tarball alone is enough: install it, read its documentation, run its playbooks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

COLLECTION = "resultops.celery"


class Installation:
    """The collection as a user has it: installed from the tarball, used from a directory that knows no checkout."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.path = home / "collections" / "ansible_collections" / "resultops" / "celery"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
            "ANSIBLE_COLLECTIONS_PATH": str(home / "collections"),
            "ANSIBLE_HOME": str(home / "ansible"),
            "ANSIBLE_NOCOLOR": "1",
        }

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=self.home, env=self.environment, capture_output=True, text=True, check=False)

    def expect(self, *command: str) -> str:
        done = self.run(*command)
        if done.returncode:
            sys.exit(f"'{' '.join(command)}' failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def install(self, tarball: str) -> None:
        collections = str(self.home / "collections")
        # --force, because a link to the checkout below the virtual environment would count as installed.
        command = ("ansible-galaxy", "collection", "install", "--offline", "--force", "-p", collections, tarball)
        self.expect(*command)
        listing = json.loads(self.expect("ansible-galaxy", "collection", "list", "--format", "json"))
        if COLLECTION not in listing.get(str(self.path.parents[1]), {}):
            sys.exit(f"ansible-galaxy does not list {COLLECTION} below {collections}.")

    def check_documentation(self) -> int:
        """Read every plugin's and role's documentation and see that it comes from the installed copy."""
        wanted = {
            "module": self.names("plugins/modules/*.py"),
            "filter": self.names("plugins/filter/*.py"),
            "role": self.names("roles/*/meta/argument_specs.yml", parent=2),
        }
        for kind, names in wanted.items():
            if not names:
                sys.exit(f"The tarball carries no {kind} with documentation.")
            documents = json.loads(self.expect("ansible-doc", "--json", "--type", kind, *names))
            for name in names:
                document = documents.get(name) or {}
                source = document.get("path") if kind == "role" else document.get("doc", {}).get("filename")
                if not source:
                    sys.exit(f"ansible-doc knows no documentation of the {kind} {name}.")
                if not Path(source).is_relative_to(self.path):
                    sys.exit(f"The {kind} {name} comes from {source}, not from the installed tarball.")
        return sum(map(len, wanted.values()))

    def names(self, pattern: str, parent: int = 0) -> list[str]:
        found = (path.parents[parent - 1].name if parent else path.stem for path in self.path.glob(pattern))
        return sorted(f"{COLLECTION}.{name}" for name in found if not name.startswith("_"))

    def check_playbooks(self) -> int:
        inventory = str(self.path / "inventories" / "single")
        playbooks = sorted(path.stem for path in (self.path / "playbooks").glob("*.yml"))
        for name in playbooks:
            self.expect("ansible-playbook", "-i", inventory, f"{COLLECTION}.{name}", "--syntax-check")
        return len(playbooks)

    def check_refusal(self) -> str:
        """Follow the example's instructions except for the one that matters: fill in the secrets."""
        inventory = self.home / "inventory"
        shutil.copytree(self.path / "inventories" / "single", inventory)
        for example in inventory.rglob("vault.example.yml"):
            example.rename(example.with_name("vault.yml"))
        command = ["ansible-playbook", "-i", str(inventory), "-c", "local", "--check"]
        variables = {"ansible_become": False, "ansible_python_interpreter": sys.executable}
        command += ["-e", json.dumps(variables), f"{COLLECTION}.site"]
        done = self.run(*command)
        sentences = [line.strip() for line in done.stdout.splitlines() if "placeholder" in line]
        if not done.returncode or not sentences or "changed=0" not in done.stdout:
            sys.exit(f"{COLLECTION}.site did not refuse the example's placeholders:\n{done.stdout}{done.stderr}")
        return sentences[0]


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        installation = Installation(Path(home).resolve())
        print("==> Installing the tarball into an empty collections path", flush=True)
        installation.install(sys.argv[1])
        print("==> Reading the documentation of everything in it", flush=True)
        print(f"    {installation.check_documentation()} plugins and roles, all from the installed copy")
        print(f"==> Checking the playbooks by name ({COLLECTION}.site, …)", flush=True)
        print(f"    {installation.check_playbooks()} playbooks")
        print(f"==> Running {COLLECTION}.site with the example inventory as it is, which must be refused", flush=True)
        print(f"    refused: {installation.check_refusal()}")


if __name__ == "__main__":
    main()
