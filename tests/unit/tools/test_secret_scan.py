# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import secrets

import pytest
from secret_scan import find_secrets, looks_random

RANDOM = "".join(["x9", "Qz7", "Lm2", "Rk8", "Tv4", "Wb6"])
HEX = "".join(["3f9a", "07c1", "5be8", "d246", "90ab"])
BASE64 = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (f"-----BEGIN PRIVATE KEY-----\n{BASE64}\n", "a private key"),
        (f"-----BEGIN RSA PRIVATE KEY-----\n  {BASE64}\n", "a private key"),
        ("$ANSIBLE_" + f"VAULT;1.1;AES256\n{HEX * 2}\n", "vault-encrypted text"),
        ("rediss://celery:" + "hunter2@redis1:6379/0", "a URL with a password"),
        ("redis_password: " + RANDOM, "a generated password"),
        ('"api_key": ' + f'"{HEX}"', "a generated password"),
        ("REDIS_PASSWORD=" + RANDOM, "a generated password"),
    ],
)
def test_finds_it_and_keeps_it_to_itself(text: str, what: str) -> None:
    assert find_secrets("a.yml", f"first\n{text}") == [f"a.yml, line 2: looks like {what}."]


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN PRIVATE KEY----- starts the file",
        "a file that starts with $ANSIBLE_" + "VAULT;1.1;AES256 is encrypted",
        "rediss://celery:redis_production_your_key_here@redis1:6379/0",
        "rediss://celery:{{ password | urlencode }}@redis1:6379/0",
        "rediss://redis1:6379/0",
        "write it as rediss://user:password@host:6379/0",
        "redis_password: redis_production_your_key_here",
        'redis_password: "{{ vault_redis_celery_password }}"',
        "password = os.environ['REDIS_PASSWORD_2_OF_34']",
        f"password_hash: {HEX}",
        "minimum_password_length: 16",
    ],
)
def test_leaves_placeholders_and_templates_alone(text: str) -> None:
    assert find_secrets("a.yml", text) == []


def test_urls_in_tests_may_have_plain_words_as_password() -> None:
    assert find_secrets("t.py", "rediss://celery:" + "wrong@redis1/0", example_urls=True) == []
    assert len(find_secrets("t.py", f"rediss://celery:{RANDOM}@redis1/0", example_urls=True)) == 1


def test_generated_passwords_look_random_and_words_do_not() -> None:
    assert sum(looks_random(secrets.token_hex(20)) for attempt in range(100)) >= 95
    assert not looks_random("correct-horse-battery-staple")
    assert not looks_random("aaaaaaaaaaaaaa111")
