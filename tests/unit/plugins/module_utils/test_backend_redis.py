# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What differs between one Redis and a set with sentinels; the filters' tests read URL and settings as users do."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _backend_redis

REDIS = {"hosts": ["redis1"], "tls": False}
SENTINEL = {"hosts": ["redis1", "redis2"], "tls": False}


def test_both_kinds_are_offered() -> None:
    assert sorted(_backend_redis.KINDS) == ["redis", "sentinel"]


def test_one_redis_is_one_host_and_sentinels_are_all_named() -> None:
    assert _backend_redis.KINDS["redis"].url(REDIS, "word") == "redis://:word@redis1:6379/0"
    url = _backend_redis.KINDS["sentinel"].url(SENTINEL, "word")
    assert url == "sentinel://:word@redis1:26379/0;sentinel://redis2:26379/0"


@pytest.mark.parametrize(
    ("kind", "description", "sentence"),
    [
        ("redis", {**REDIS, "hosts": ["a", "b"]}, "exactly one host"),
        ("redis", {**REDIS, "primary_name": "x"}, "unknown entries primary_name"),
        ("redis", {**REDIS, "profile": "quick"}, "profile 'quick'"),
        ("sentinel", {**SENTINEL, "hosts": ["a", "a"]}, "each once"),
        ("sentinel", {**SENTINEL, "primary_name": "a b"}, "primary_name 'a b'"),
    ],
)
def test_what_a_kind_does_not_take(kind: str, description: dict[str, Any], sentence: str) -> None:
    with pytest.raises(_backend_redis.BackendError, match=sentence):
        _backend_redis.KINDS[kind].url(description, "word")
