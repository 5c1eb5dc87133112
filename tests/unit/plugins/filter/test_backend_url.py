# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The URL as those read it who use it: Celery, its broker library, and the Redis client."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.filter import backend_url as plugin
from celery import Celery
from kombu import Connection
from kombu.utils.url import maybe_sanitize_url

HARD = "p@ss:/w%rd#?&'\"{{ }}\\ +;=%41é✓$"
DESCRIPTION = {
    "kind": "redis",
    "hosts": ["redis1.example.org"],
    "port": 6380,
    "username": "cel:ery/@",
    "database": 3,
    "ca_file": "/etc/celery/my app/ca+1;&=.crt",
    "certificate_file": "/etc/celery/client.crt",
    "private_key_file": "/etc/celery/client.key",
}


def read_by_celery(url: str) -> dict[str, Any]:
    app = Celery("probe", set_as_current=False)
    app.conf.result_backend = url
    return dict(app.backend.connparams)


def read_by_kombu(url: str) -> dict[str, Any]:
    connection = Connection(url)
    parameters = connection.info()
    return {**parameters, **connection.ssl}


def test_celery_reads_every_part_unchanged() -> None:
    found = read_by_celery(plugin.backend_url(DESCRIPTION, HARD))
    assert found["password"] == HARD
    assert found["username"] == DESCRIPTION["username"]
    assert (found["host"], found["port"], found["db"]) == ("redis1.example.org", 6380, 3)
    assert found["ssl_cert_reqs"] == ssl.CERT_REQUIRED
    assert found["ssl_check_hostname"] is True
    assert found["ssl_ca_certs"] == DESCRIPTION["ca_file"]
    assert found["ssl_certfile"] == DESCRIPTION["certificate_file"]
    assert found["ssl_keyfile"] == DESCRIPTION["private_key_file"]


def test_the_broker_library_reads_every_part_unchanged() -> None:
    found = read_by_kombu(plugin.backend_url(DESCRIPTION, HARD))
    assert found["password"] == HARD
    assert found["userid"] == DESCRIPTION["username"]
    assert (found["hostname"], found["port"], found["virtual_host"]) == ("redis1.example.org", 6380, "3")
    assert found["ssl_cert_reqs"] == ssl.CERT_REQUIRED
    assert found["ssl_check_hostname"] is True
    assert found["ssl_ca_certs"] == DESCRIPTION["ca_file"]
    assert found["ssl_certfile"] == DESCRIPTION["certificate_file"]


def test_every_printable_character_survives() -> None:
    everything = "".join(map(chr, range(32, 127)))
    url = plugin.backend_url({"kind": "redis", "hosts": ["redis1"], "ca_file": "/ca.crt"}, everything)
    assert read_by_celery(url)["password"] == everything
    assert read_by_kombu(url)["password"] == everything


def test_an_address_of_version_6() -> None:
    url = plugin.backend_url({"kind": "redis", "hosts": ["2001:db8::1"], "ca_file": "/ca.crt"}, "word")
    assert read_by_celery(url)["host"] == "2001:db8::1"


def test_plaintext_only_where_it_is_asked_for() -> None:
    assert plugin.backend_url({"kind": "redis", "hosts": ["redis1"], "ca_file": "/ca"}, "word").startswith("rediss://")
    plain = plugin.backend_url({"kind": "redis", "hosts": ["redis1"], "tls": False}, "word")
    assert plain.startswith("redis://")
    assert plain.endswith("@redis1:6379/0")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "mongodb"}, "kind 'mongodb' is not supported; allowed are redis, sentinel"),
        ({"kind": None}, "kind None is not supported"),
        ({"hosts": []}, "exactly one host, but its description names 0"),
        ({"hosts": ["a", "b"]}, "exactly one host, but its description names 2"),
        ({"hosts": "redis1"}, "must be a list"),
        ({"hosts": ["redis1:6379/0"]}, "bare host name"),
        ({"port": 0}, "port of the backend description is 0"),
        ({"port": "some"}, "whole number from 1 to 65535"),
        ({"database": -1}, "database of the backend description is -1"),
        ({"tls": "no"}, "must be true or false"),
        ({"ca_file": ""}, "TLS without a ca_file"),
        ({"ca_file": "ca.crt"}, "absolute path"),
        ({"ca_file": "/100%.crt"}, "percent sign"),
        ({"tls": False}, "says tls: false"),
        ({"certificate_file": ""}, "together or leave out both"),
        ({"key_prefix": "a*"}, "letters, digits"),
        ({"passwort": "x"}, "unknown entries passwort"),
    ],
)
def test_a_description_that_cannot_be_used_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(plugin.AnsibleFilterError, match=said) as refusal:
        plugin.backend_url({**DESCRIPTION, **changes}, HARD)
    assert HARD not in str(refusal.value)


@pytest.mark.parametrize("password", ["", None])
def test_a_missing_password_is_refused(password: str | None) -> None:
    with pytest.raises(plugin.AnsibleFilterError, match="password of the backend is empty"):
        plugin.backend_url(DESCRIPTION, password)


def test_a_description_must_be_a_dictionary() -> None:
    with pytest.raises(plugin.AnsibleFilterError, match="must be a dictionary"):
        plugin.backend_url("redis", "word")  # type: ignore[arg-type]


SENTINELS = {
    "kind": "sentinel",
    "hosts": ["redis1.example.org", "redis2.example.org", "2001:db8::3"],
    "username": "cel:ery/@",
    "sentinel_username": "client",
    "database": 3,
    "ca_file": "/etc/celery/ca.crt",
}


def test_celery_reads_the_sentinels_and_the_account_of_the_primary() -> None:
    found = read_by_celery(plugin.backend_url(SENTINELS, HARD))
    assert [(host["host"], host["port"]) for host in found["hosts"]] == [
        ("redis1.example.org", 26379),
        ("redis2.example.org", 26379),
        ("2001:db8::3", 26379),
    ]
    assert (found["username"], found["password"], found["db"]) == (SENTINELS["username"], HARD, 3)


def test_the_password_stands_in_the_url_once() -> None:
    assert plugin.backend_url({**SENTINELS, "profile": "durable"}, "only-once").count("only-once") == 1


@pytest.mark.parametrize("profile", ["fast", "durable"])
def test_the_class_of_a_profile_comes_before_the_scheme(profile: str) -> None:
    for description, scheme, kind in ((DESCRIPTION, "rediss", "Redis"), (SENTINELS, "sentinel", "Sentinel")):
        stock = plugin.backend_url(description, HARD)
        assert stock.startswith(f"{scheme}://")
        assert plugin.backend_url({**description, "profile": "stock"}, HARD) == stock
        assert plugin.backend_url({**description, "profile": profile}, HARD) == (
            f"celeryresults.{profile.capitalize()}{kind}Backend+{stock}"
        )


@pytest.mark.parametrize("description", [DESCRIPTION, SENTINELS])
def test_kombu_finds_the_password_behind_the_class(description: dict[str, Any]) -> None:
    url = plugin.backend_url({**description, "profile": "durable"}, "only-once")
    for part in url.split(";"):
        assert "only-once" not in maybe_sanitize_url(part)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hosts": []}, "one or more hosts, each once, but its description names none"),
        ({"hosts": ["a", "b", "a"]}, "each once, but its description names a, b, a"),
        ({"hosts": ["a;b"]}, "bare host name"),
        ({"primary_name": "a b"}, "primary_name 'a b'"),
        ({"profile": "quick"}, "profile 'quick' of the backend description is not supported; allowed are stock, fast"),
        ({"port": 0}, "port of the backend description is 0"),
    ],
)
def test_sentinels_that_cannot_be_used_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(plugin.AnsibleFilterError, match=said):
        plugin.backend_url({**SENTINELS, **changes}, HARD)


def test_a_single_redis_has_no_sentinels() -> None:
    with pytest.raises(plugin.AnsibleFilterError, match="unknown entries primary_name"):
        plugin.backend_url({**DESCRIPTION, "primary_name": "results"}, HARD)
