# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from check_tarball import problems

GOOD = {
    "FILES.json": b"{}",
    "LICENSE": b"",
    "MANIFEST.json": b"{}",
    "README.md": b"",
    "meta/runtime.yml": b"",
    "playbooks/site.yml": b"",
    "plugins/filter/backend_url.py": b"",
    "roles/worker/templates/.env.example.j2": b"A=redis_production_your_key_here",
}


def test_a_clean_tarball_passes() -> None:
    assert problems(GOOD, GOOD) == []


@pytest.mark.parametrize(
    "name",
    ["tests/unit/test_x.py", "molecule/default/molecule.yml", "tools/build", ".ci/run", "roles/worker/.env", "ca.key"],
)
def test_refuses_what_a_user_must_not_get(name: str) -> None:
    members = {**GOOD, name: b""}
    assert problems(members, members) == [
        f"{name} does not belong in the tarball: add it to build_ignore in galaxy.yml."
    ]


def test_refuses_what_git_ignores() -> None:
    assert problems({**GOOD, "notes.txt": b""}, GOOD) == ["notes.txt is in the tarball although git ignores it."]


def test_names_what_is_missing() -> None:
    members = {name: data for name, data in GOOD.items() if name != "README.md"}
    assert problems(members, GOOD) == ["README.md is missing from the tarball: look at build_ignore in galaxy.yml."]


def test_refuses_secrets() -> None:
    members = {**GOOD, "docs/a.md": b"rediss://celery:" + b"hunter2@redis1/0"}
    assert problems(members, members) == ["docs/a.md, line 1: looks like a URL with a password."]
