# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest
from reference import markdown, page, stale

ROLE = {
    "entry_points": {
        "main": {
            "short_description": "Do it",
            "description": ["With O(demo_mode)."],
            "options": {
                "demo_mode": {
                    "type": "str",
                    "choices": ["a", "b"],
                    "default": "a|b",
                    "description": ["First.", "Second."],
                },
                "demo_users": {
                    "type": "list",
                    "elements": "dict",
                    "required": True,
                    "description": "Users.",
                    "options": {"name": {"type": "str", "description": "Name."}},
                },
            },
        }
    }
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("O(port) is V(0)", "`port` is `0`"),
        ("B(bold) and I(italic)", "**bold** and *italic*"),
        (r"C(off ~* \(all\))", "`off ~* (all)`"),
        ("See L(the manual, https://example.com/a).", "See [the manual](https://example.com/a)."),
        ("M(resultops.celery.redis_acl)", "[redis_acl](module_redis_acl.md)"),
        ("P(resultops.celery.backend_url#filter)", "[backend_url](filter_backend_url.md)"),
        ("M(community.crypto.openssl_privatekey)", "`community.crypto.openssl_privatekey`"),
        ("O(resultops.celery.worker#role:worker_app)", "`worker_app`"),
        ("WAIT(1) is no markup", "WAIT(1) is no markup"),
    ],
)
def test_translates_the_markup(text: str, expected: str) -> None:
    assert markdown(text) == expected


def test_lists_every_option_of_a_role() -> None:
    text = page("role", "demo", ROLE)
    assert "| `demo_mode` | str | `a\\|b` | First.<br>Second.<br>Choices: `a`, `b` |" in text
    assert "| `demo_users`<br>**required** | list of dict |  | Users. |" in text
    assert "| `demo_users[].name` | str |  | Name. |" in text


def test_refuses_a_description_that_yaml_read_as_a_mapping() -> None:
    broken = {"entry_points": {"main": {"short_description": "x", "description": [{"Allowed are": "a and b"}]}}}
    with pytest.raises(SystemExit, match="quote it"):
        page("role", "demo", broken)


def test_stale_pages_are_new_changed_and_left_over_ones(tmp_path: Path) -> None:
    for name in ("same.md", "changed.md", "gone.md"):
        (tmp_path / name).write_text("old", encoding="utf-8")
    pages = {"same.md": "old", "changed.md": "new", "new.md": "new"}
    assert stale(tmp_path, pages) == ["changed.md", "gone.md", "new.md"]
