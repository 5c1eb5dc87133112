# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.module_utils._secrets import (
    secret_problems,
    secret_settings_problems,
)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", "is missing"),
        (None, "is missing"),
        ("redis_production_your_key_here", "placeholder"),
        ("rediss://celery:redis_production_your_key_here@redis1", "placeholder"),
        ("CHANGEME-please-please", "placeholder"),
        ("change_me", "placeholder"),
        ("<put the password here>", "placeholder"),
        ("fifteen letters", "too short"),
        ("two lines are\nnot one password", "control character"),
        ("a tab is no\tprintable character", "control character"),
        (1234567890123456789, "must be a text"),
        (["a", "list"], "must be a text"),
        (True, "must be a text"),
    ],
)
def test_an_unusable_secret_is_named_but_not_shown(value: Any, said: str) -> None:
    problems = secret_problems({"vault_redis_celery_password": value})
    assert len(problems) == 1
    assert problems[0].startswith("vault_redis_celery_password ")
    assert said in problems[0]
    assert problems[0].endswith(".")
    assert not value or str(value) not in problems[0]


@pytest.mark.parametrize(
    "value",
    ["p@ss:/w%rd#?&'\"{{ }}\\", "four simple words do", " spaces at both ends ", "äöü ✓ and some more"],
)
def test_every_printable_character_is_allowed(value: str) -> None:
    assert secret_problems({"vault_redis_celery_password": value}) == []


def test_all_variables_are_examined_in_their_order() -> None:
    problems = secret_problems({"vault_b": "", "vault_a": "short", "vault_c": "a password that is fine"})
    assert [sentence.split()[0] for sentence in problems] == ["vault_b", "vault_a"]


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"security_key_password": "x"}, "security_key_password"),
        ({"sentinel_kwargs": {"password": "x"}}, "sentinel_kwargs.password"),
        ({"predefined_queues": {"mail": {"secret_access_key": "x"}}}, "predefined_queues.mail.secret_access_key"),
        ({"sentinels": [{"Passphrase": "x"}]}, "sentinels[0].Passphrase"),
        ({"auth_tokens": ["x"]}, "auth_tokens[0]"),
        ({"password": 4711}, "password"),
    ],
)
def test_a_secret_among_settings_is_named_by_its_path(settings: dict[str, Any], path: str) -> None:
    (sentence,) = secret_settings_problems({"worker_settings": settings})
    assert sentence.startswith(f"worker_settings.{path} would stand in a file that every user of the host can read")


@pytest.mark.parametrize(
    "settings",
    [
        {"task_acks_late": True, "global_keyprefix": "shop", "sentinel_kwargs": {"ssl": True}},
        {"password": "", "token": None, "use_token": True},
        {"task_routes": {"accounts.reset_password": "mail"}},
        {"beat_schedule": {"refresh-token": {"task": "accounts.refresh_token", "schedule": 60}}},
    ],
)
def test_other_settings_are_no_secrets(settings: dict[str, Any]) -> None:
    assert secret_settings_problems({"worker_settings": settings}) == []
