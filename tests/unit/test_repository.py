# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for the whole repository that no linter knows."""

from __future__ import annotations

import fnmatch
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from secret_scan import PLACEHOLDER, find_secrets

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
PLUGINS = sorted(
    path.relative_to(ROOT / "plugins")
    for path in (ROOT / "plugins").rglob("*.py")
    if path.name != "__init__.py" and path.parent.name != "doc_fragments"
)


class _Loader(yaml.SafeLoader):
    pass


_Loader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))


def load_yaml(path: Path) -> Any:
    return _Loader(path.read_text(encoding="utf-8")).get_single_data()


def project_files() -> dict[str, str]:
    """Return the text of every file that is, or would be, in the repository."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    paths = {name: ROOT / name for name in names if name}
    return {name: path.read_text(encoding="utf-8") for name, path in paths.items() if path.is_file()}


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    return project_files()


def test_no_file_carries_a_secret(files: dict[str, str]) -> None:
    found = [
        sentence
        for name, text in files.items()
        for sentence in find_secrets(name, text, example_urls=name.startswith("tests/"))
    ]
    assert found == []


def test_no_file_names_a_place_on_one_machine(files: dict[str, str]) -> None:
    own = re.compile("|".join(re.escape(f"{place}/") for place in (ROOT, Path.home())))
    homes = re.compile(r"/home/[a-z]\w*/|/[U]sers/")
    found = [
        f"{name}, line {text.count(chr(10), 0, match.start()) + 1}: {match.group()}"
        for name, text in files.items()
        for places in ([own] if name.startswith("tests/") else [own, homes])
        for match in places.finditer(text)
    ]
    assert found == []


@pytest.mark.parametrize(
    "path",
    [
        ".env",
        ".env.production",
        "examples/django/.env",
        "inventories/demo/group_vars/all/vault.yml",
        "inventories/single/.vault_password",
        "inventories/single/vault_pass.txt",
        "inventories/single/.pki/ca.key",
        "inventories/single/.pki/serial",
        "inventories/single/backups/redis/results/results-20261125T180000Z.json",
        "backups/redis/results/results-20261125T180000Z.rdb.enc",
        "results-20261125T180000Z.rdb.enc",
        "app-20261125T180000Z.dump.enc",
        "server.pem",
        "server.crt",
        "server.p12",
        "server.pfx",
        ".envrc",
        ".venv/bin/python",
        ".cache/x",
        "reports/verify.json",
        "dist/resultops-celery-0.1.0.tar.gz",
        "tests/output/x",
        "plugins/modules/__pycache__/x.pyc",
    ],
)
def test_git_ignores_secrets_and_leavings(path: str) -> None:
    assert ignored(path)


@pytest.mark.parametrize(
    "path",
    [
        ".env.example",
        "examples/django/.env.example",
        "roles/worker/templates/.env.example.j2",
        "roles/worker/templates/env.j2",
        "inventories/single/group_vars/all/vault.example.yml",
        "roles/tls/tasks/main.yml",
        "tests/unit/test_repository.py",
    ],
)
def test_git_takes_examples_and_templates(path: str) -> None:
    assert not ignored(path)


def left_out_of_the_tarball(path: str) -> bool:
    return any(fnmatch.fnmatch(path, pattern) for pattern in load_yaml(ROOT / "galaxy.yml")["build_ignore"])


@pytest.mark.parametrize("directory", ["", "inventories/single/"])
@pytest.mark.parametrize(
    "name",
    [
        ".env",
        ".envrc",
        ".env-prod",
        ".env_prod",
        ".env.eu",
        ".env.e",
        ".env.exam",
        ".env.production",
        "client.p12",
        "client.pfx",
        "client.pem",
        "client.key",
        "backups",
        "results-20261125T180000Z.rdb.enc",
        "app-20261125T180000Z.dump.enc",
    ],
)
def test_a_plain_build_leaves_secrets_out(directory: str, name: str) -> None:
    assert left_out_of_the_tarball(f"{directory}{name}")


@pytest.mark.parametrize("directory", ["", "inventories/single/"])
@pytest.mark.parametrize("name", [".env.example", ".env.example.j2", "environment.j2", "vault.example.yml"])
def test_a_plain_build_takes_examples_and_templates(directory: str, name: str) -> None:
    assert not left_out_of_the_tarball(f"{directory}{name}")


def ignored(path: str) -> bool:
    done = subprocess.run(["git", "check-ignore", "--no-index", "--quiet", path], cwd=ROOT, check=False)
    assert done.returncode in (0, 1)
    return done.returncode == 0


def test_example_vaults_hold_placeholders_only(files: dict[str, str]) -> None:
    examples = [name for name in files if name.endswith("vault.example.yml")]
    assert examples
    wrong = [
        f"{name}: {variable}"
        for name in examples
        for variable, value in load_yaml(ROOT / name).items()
        if not PLACEHOLDER.fullmatch(str(value))
    ]
    assert wrong == []


def test_placeholders_name_a_service_and_an_environment(files: dict[str, str]) -> None:
    """Templates may put the service in front: ~ '_production_your_key_here'."""
    wrong = [
        f"{name}: {word}"
        for name, text in files.items()
        if name.startswith(("inventories/", "roles/", "examples/", "docs/", "README.md"))
        for word in re.findall(r"(?i)(?<![\w*])(\w*your_key_here|change_?me|replace_?me|xxx+)(?!\w)", text)
        if not PLACEHOLDER.fullmatch(word) and not PLACEHOLDER.fullmatch(f"service{word}")
    ]
    assert wrong == []


@pytest.mark.parametrize("plugin", PLUGINS, ids=str)
def test_every_plugin_has_unit_tests_beside_it(plugin: Path) -> None:
    tests = ROOT / "tests" / "unit" / "plugins" / plugin.parent / f"test_{plugin.stem.lstrip('_')}.py"
    assert tests.is_file()


@pytest.mark.parametrize("role", ROLES)
def test_a_role_has_the_files_of_a_role(role: str) -> None:
    wanted = ["defaults/main.yml", "meta/argument_specs.yml", "meta/main.yml", "tasks/main.yml", "tasks/preflight.yml"]
    assert [path for path in wanted if not (ROOT / "roles" / role / path).is_file()] == []


@pytest.mark.parametrize("role", ROLES)
def test_main_reads_as_a_table_of_contents(role: str) -> None:
    tasks = load_yaml(ROOT / "roles" / role / "tasks" / "main.yml")
    assert [task["name"] for task in tasks if "ansible.builtin.include_tasks" not in task] == []
    assert tasks[0]["ansible.builtin.include_tasks"] == "preflight.yml"


@pytest.mark.parametrize("role", ROLES)
def test_tasks_say_which_file_they_stand_in(role: str) -> None:
    wrong = [
        f"{path.name}: {task.get('name')}"
        for path in sorted((ROOT / "roles" / role / "tasks").rglob("*.yml"))
        if path.name != "main.yml"
        for task in flattened(load_yaml(path))
        if not str(task.get("name")).startswith(f"{path.stem} | ")
    ]
    assert wrong == []


def flattened(tasks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for task in tasks:
        nested = [task[part] for part in ("block", "rescue", "always") if part in task]
        if not nested:
            yield task
        for part in nested:
            yield from flattened(part)


def test_the_version_has_an_entry_or_fragments_in_the_changelog() -> None:
    version = load_yaml(ROOT / "galaxy.yml")["version"]
    released = load_yaml(ROOT / "changelogs" / "changelog.yaml")["releases"]
    assert version in released or any((ROOT / "changelogs" / "fragments").glob("*.yml"))


def test_continuous_integration_calls_make_test_and_nothing_else() -> None:
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    commands = [line for line in lines if line and not re.match(r"#|set -|cd ", line)]
    assert commands in (["make test"], ["exec make test"])


def test_no_sanity_check_is_ignored() -> None:
    assert list((ROOT / "tests" / "sanity").glob("ignore-*")) == []
