# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.resultops.celery.plugins.filter.redis_setting_problems import redis_setting_problems

SECRET = "not to be said"


def test_good_settings():
    assert redis_setting_problems({"hz": 20, "client-output-buffer-limit": ["pubsub 1gb 1gb 60"]}, ["port"]) == []


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"port": 6379, "HZ": 20}, "redis_extra_settings contains port: the role owns these"),
        ({"PORT": 6379}, "redis_extra_settings contains port: the role owns these"),
        ({"masterauth": SECRET}, "redis_extra_settings contains masterauth: a secret cannot stand there"),
        ({"primaryauth": SECRET}, "redis_extra_settings contains primaryauth: a secret cannot stand there"),
        ({"TLS-key-file-pass": SECRET}, "contains tls-key-file-pass: a secret cannot stand there"),
        ({"rename-command": "KEYS none"}, "redis_extra_settings must not have the directive rename-command"),
        ({"a directive": 1}, "redis_extra_settings has the directive 'a directive'"),
        ({"hz": 1, "HZ": 2}, "redis_extra_settings has the directive hz twice"),
    ],
)
def test_bad_settings(settings, expected):
    (sentence,) = redis_setting_problems(settings, ["port"], "redis_extra_settings")
    assert expected in sentence
    assert SECRET not in sentence
