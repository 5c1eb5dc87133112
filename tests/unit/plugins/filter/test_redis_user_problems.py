# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.resultops.celery.plugins.filter.redis_user_problems import redis_user_problems

PASSWORD = "long enough for a test"


def user(name: str = "celery", **changes):
    return {"name": name, "profile": "results", "password": PASSWORD, **changes}


def test_good_accounts():
    users = [user(), user("other", key_prefix="other"), user("broker", profile="broker", key_prefix="queue-")]
    assert redis_user_problems(users) == []


@pytest.mark.parametrize(
    "profile",
    ["admin", "replica", "sentinel", "exporter", "sentinel_client", "sentinel_peer", "sentinel_exporter"],
)
def test_accounts_of_the_machinery(profile):
    assert redis_user_problems([user(profile=profile)]) == []
    (sentence,) = redis_user_problems([user(profile=profile, key_prefix="app")], "redis_users")
    assert sentence == (
        "The user celery in redis_users has a key_prefix, which only the profiles results and broker use."
    )


def test_hashes_replace_the_password():
    assert redis_user_problems([user(password="", password_hashes=["0" * 64])]) == []


@pytest.mark.parametrize(
    ("users", "expected"),
    [
        ([user(password="")], "redis_users[celery].password is missing"),
        ([user(password="secret")], "redis_users[celery].password is too short"),
        ([user(password="celery_test_your_key_here")], "redis_users[celery].password still holds the placeholder"),
        ([user("one"), user("two")], "The users one and two in redis_users could read each other's keys"),
        ([user(key_prefix="a*")], "in redis_users has the key_prefix"),
        ([user(profile="everything")], "redis_users: value of profile must be one of"),
        ([{"profile": "results", "password": PASSWORD}], "redis_users: missing required arguments: name"),
        ([user(pasword="a typing error")], "redis_users: pasword. Supported parameters include"),
        ([user(profile="broker")], "in redis_users has the profile broker without a key_prefix"),
    ],
)
def test_bad_accounts(users, expected):
    (sentence,) = redis_user_problems(users, "redis_users")
    assert expected in sentence
    assert PASSWORD not in sentence
