# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The URL and the settings as SQLAlchemy, its drivers and Celery read them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _backend
from celery import Celery
from celery.app.defaults import NAMESPACES, flatten
from celery.beat import PersistentScheduler
from kombu.utils.url import maybe_sanitize_url
from sqlalchemy import make_url

HARD = "p@ss:/w%rd#?&'\"{{ }}\\ +;=%41$"
COMMON: dict[str, Any] = {
    "hosts": ["db1.example.org"],
    "username": "sh:op@x",
    "database": "results",
    "ca_file": "/etc/celery/my app/ca+1;&=.crt",
    "certificate_file": "/etc/celery/client.crt",
    "private_key_file": "/etc/celery/client.key",
}
POSTGRESQL = {**COMMON, "kind": "postgresql", "schema": "shop"}
MYSQL = {**COMMON, "kind": "mysql", "database": "shop"}
BOTH = pytest.mark.parametrize("description", [POSTGRESQL, MYSQL], ids=["postgresql", "mysql"])
PROFILES = pytest.mark.parametrize(
    ("profile", "before"), [("stock", "db+"), ("fast", "celerysqlresults.FastDatabaseBackend+")]
)


def read(description: dict[str, Any], before: str) -> Any:
    url = _backend.backend_url(description, HARD)
    assert url.startswith(before)
    return make_url(url.removeprefix(before))


@PROFILES
def test_postgresql_is_read_unchanged(profile: str, before: str) -> None:
    url = read({**POSTGRESQL, "profile": profile}, before)
    assert (url.drivername, url.username, url.password) == ("postgresql+psycopg", "sh:op@x", HARD)
    assert (url.host, url.port, url.database) == ("db1.example.org", 5432, "results")
    _arguments, parameters = url.get_dialect()().create_connect_args(url)
    assert parameters["sslmode"] == "verify-full"
    assert parameters["sslrootcert"] == COMMON["ca_file"]
    assert (parameters["sslcert"], parameters["sslkey"]) == ("/etc/celery/client.crt", "/etc/celery/client.key")


@PROFILES
def test_mysql_is_read_unchanged(profile: str, before: str) -> None:
    url = read({**MYSQL, "profile": profile, "port": 3307}, before)
    assert (url.drivername, url.username, url.password) == ("mysql+pymysql", "sh:op@x", HARD)
    assert (url.host, url.port, url.database, dict(url.query)) == (
        "db1.example.org",
        3307,
        "shop",
        {"charset": "utf8mb4"},
    )


@BOTH
@pytest.mark.parametrize("profile", ["stock", "fast"])
def test_logs_show_no_password(description: dict[str, Any], profile: str) -> None:
    shown = maybe_sanitize_url(_backend.backend_url({**description, "profile": profile}, "s3cret+word"))
    assert "s3cret" not in shown


def test_an_ipv6_address_and_plaintext() -> None:
    description = {"kind": "postgresql", "hosts": ["::1"], "username": "shop", "database": "results", "tls": False}
    assert _backend.backend_url(description, "word") == (
        "db+postgresql+psycopg://shop:word@[::1]:5432/results?sslmode=disable"
    )
    settings = _backend.celery_settings({**description, "kind": "mysql"})
    assert settings["database_engine_options"]["connect_args"]["ssl_disabled"] is True


@BOTH
def test_every_setting_is_one_of_celery(description: dict[str, Any]) -> None:
    assert set(_backend.celery_settings(description)) <= set(dict(flatten(NAMESPACES)))


@BOTH
def test_the_application_creates_no_table_and_keeps_connections_alive(description: dict[str, Any]) -> None:
    settings = _backend.celery_settings(description)
    assert settings["database_create_tables_at_setup"] is False
    options = settings["database_engine_options"]
    assert (options["pool_pre_ping"], options["pool_recycle"], options["hide_parameters"]) == (True, 3600, True)


@pytest.mark.parametrize(
    ("pool", "size"), [("prefork", 5), ("solo", 5), ("threads", 10), ("gevent", 20), ("eventlet", 20)]
)
def test_the_pool_follows_that_of_the_worker(pool: str, size: int) -> None:
    options = _backend.celery_settings(POSTGRESQL, {"worker_pool": pool})["database_engine_options"]
    assert (options["pool_size"], options["max_overflow"]) == (size, 0)
    options = _backend.celery_settings(MYSQL, {"worker_pool": pool, "pool_size": 3})["database_engine_options"]
    assert options["pool_size"] == 3


@pytest.mark.parametrize(
    ("pooler", "options", "prepares"),
    [("none", "-c timezone=utc", True), ("session", None, True), ("transaction", None, False)],
)
def test_what_a_pooler_refuses_is_left_out(pooler: str, options: str | None, prepares: bool) -> None:
    found = _backend.celery_settings({**POSTGRESQL, "pooler": pooler})["database_engine_options"]["connect_args"]
    assert found.get("options") == options
    assert ("prepare_threshold" not in found) is prepares


def test_mysql_is_verified_strict_and_in_utc() -> None:
    found = _backend.celery_settings(MYSQL)["database_engine_options"]["connect_args"]
    assert found["ssl_ca"] == COMMON["ca_file"]
    assert found["ssl_verify_cert"] is found["ssl_verify_identity"] is True
    assert "time_zone = '+00:00'" in found["init_command"]
    assert "STRICT_TRANS_TABLES" in found["init_command"]


@BOTH
def test_beat_plans_no_cleanup(description: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a schedule from before still has it."""
    monkeypatch.delenv("CELERY_RESULT_BACKEND", raising=False)

    def planned(**changes: Any) -> list[str]:
        url = _backend.backend_url({**description, "tls": False, "ca_file": "", **NO_FILES}, "word")
        app = Celery("probe", set_as_current=False)
        settings = {**_backend.celery_settings(description), "result_backend": url, **changes}
        app.config_from_object(SimpleNamespace(**settings))
        scheduler = PersistentScheduler(app, schedule_filename=str(tmp_path / "schedule"))
        names = list(scheduler.schedule)
        scheduler.close()
        return names

    assert planned() == []
    assert planned(result_expires=86400) == ["celery.backend_cleanup"]
    assert planned() == []


NO_FILES = {"certificate_file": "", "private_key_file": ""}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({**POSTGRESQL, "hosts": ["a", "b"]}, "exactly one host"),
    ({**POSTGRESQL, "hosts": []}, "exactly one host"),
    ({**POSTGRESQL, "profile": "durable"}, "what the server has committed is durable already; allowed are stock, fast"),
    ({**MYSQL, "profile": "quick"}, "profile 'quick' of the backend description is not supported; allowed are"),
    ({**POSTGRESQL, "database": ""}, "database '' of the backend description must consist of"),
    ({**POSTGRESQL, "database": "a-b"}, "database 'a-b' of the backend description must consist of"),
    ({**POSTGRESQL, "schema": 'x"; DROP'}, "schema 'x\"; DROP' of the backend description must consist of"),
    ({**POSTGRESQL, "pooler": "statement"}, "pooler 'statement'"),
    ({**MYSQL, "schema": "shop"}, "unknown entries schema"),
    ({**MYSQL, "key_prefix": "shop"}, "unknown entries key_prefix"),
    ({**MYSQL, "username": ""}, "needs the username"),
    ({**MYSQL, "port": 0}, "whole number from 1 to 65535"),
    ({**MYSQL, "tls": "yes"}, "must be true or false"),
    ({**POSTGRESQL, "ca_file": ""}, "TLS without a ca_file"),
]


@pytest.mark.parametrize(("description", "sentence"), REFUSED)
def test_a_description_that_cannot_work_is_refused(description: dict[str, Any], sentence: str) -> None:
    for use in (_backend.backend_url, _backend.celery_settings):
        with pytest.raises(_backend.BackendError) as refusal:
            use(description, "s3cret" if use is _backend.backend_url else None)
        assert sentence in str(refusal.value)
        assert "s3cret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"result_expires": 3600}, "a purge on the side of the server removes what is too old"),
        ({"result_serializer": "pickle"}, "run code in every reader"),
        ({"redis_socket_timeout": 3}, "unknown entries redis_socket_timeout"),
        ({"worker_pool": "fibers"}, "worker_pool option is 'fibers'"),
        ({"pool_size": 0}, "pool_size option is 0"),
        ({"connect_timeout": 0.5}, "connect_timeout option in seconds is 0.5"),
        ({"application_name": "a b"}, "application_name must consist of"),
        ({"result_backend_max_retries": 0}, "max_retries option is 0"),
    ],
)
@BOTH
def test_an_option_that_cannot_work_is_refused(
    description: dict[str, Any], options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(_backend.BackendError, match=sentence):
        _backend.celery_settings(description, options)


def test_a_password_that_the_driver_would_send_wrong_is_refused() -> None:
    assert _backend.backend_url(POSTGRESQL, "é✓")
    with pytest.raises(_backend.BackendError, match="outside ASCII"):
        _backend.backend_url(MYSQL, "é✓")


@BOTH
def test_other_wishes(description: dict[str, Any]) -> None:
    wishes = {"result_serializer": "msgpack", "result_extended": True, "connect_timeout": 2, "pool_recycle": 60}
    settings = _backend.celery_settings(description, wishes)
    assert (settings["result_serializer"], settings["result_accept_content"]) == ("msgpack", ["msgpack"])
    assert settings["result_extended"] is True
    assert settings["database_engine_options"]["connect_args"]["connect_timeout"] == 2
    assert settings["database_engine_options"]["pool_recycle"] == 60
