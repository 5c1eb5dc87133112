# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What filters and roles share; the filters' own tests read the URL and the settings as their users do."""

from __future__ import annotations

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _backend

PLAIN = {"kind": "redis", "hosts": ["redis1"], "tls": False}


def test_each_kind_gives_both_url_and_settings() -> None:
    for kind in _backend.KINDS.values():
        assert callable(kind.url)
        assert callable(kind.settings)


@pytest.mark.parametrize("port", [6380, "6380"])
def test_numbers_may_come_as_text(port: int | str) -> None:
    assert ":6380/" in _backend.backend_url({**PLAIN, "port": port}, "word")


@pytest.mark.parametrize("port", [True, 6380.5, "6380.0", " 6380", "6_380", None, float("inf")])
def test_what_is_no_whole_number_is_refused(port: object) -> None:
    with pytest.raises(_backend.BackendError, match="whole number"):
        _backend.backend_url({**PLAIN, "port": port}, "word")


def test_a_wish_of_none_keeps_the_default() -> None:
    wish = {"redis_socket_timeout": None, "redis_max_connections": None}
    assert _backend.celery_settings(PLAIN, wish) == _backend.celery_settings(PLAIN)


def test_retries_are_finite_and_outlast_half_a_minute() -> None:
    settings = _backend.celery_settings(PLAIN)
    first = settings["result_backend_base_sleep_between_retries_ms"]
    longest = settings["result_backend_max_sleep_between_retries_ms"]
    retries = settings["result_backend_max_retries"]
    # Celery sleeps a random time below the limit, so half of it on average.
    average = sum(min(longest, first * 2**number) / 2 for number in range(1, retries + 1)) / 1000
    assert 30 < average < 40


def test_options_must_be_a_dictionary() -> None:
    with pytest.raises(_backend.BackendError, match="must be a dictionary"):
        _backend.celery_settings(PLAIN, ["result_expires"])  # type: ignore[arg-type]
