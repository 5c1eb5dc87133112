# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings against a real Redis: what they save that Celery's defaults lose."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.filter import celery_settings as plugin
from celery import Celery
from celery.app.defaults import DEFAULTS

OUTAGE = 2.0
AROUND = 1.0
PAUSE = 0.02


def client_with(server: Any, settings: dict[str, Any]) -> Celery:
    app = Celery("probe", set_as_current=False)
    app.conf.update(settings, result_backend=server.url())
    return app


def store_during(app: Celery, disturb: Callable[[], None]) -> tuple[list[str], int]:
    """Store results in two threads while the server is disturbed; gives the stored ids and the number of failures."""
    stored: list[str] = []
    failures: list[Exception] = []
    finished = threading.Event()

    def work(name: str) -> None:
        number = 0
        while not finished.is_set():
            task = f"{name}-{number}"
            number += 1
            try:
                app.backend.store_result(task, {"number": number}, "SUCCESS")
            except Exception as error:  # noqa: BLE001 - every error of a store is a lost result
                failures.append(error)
            else:
                stored.append(task)
            time.sleep(PAUSE)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    time.sleep(AROUND)
    disturb()
    time.sleep(AROUND)
    finished.set()
    for thread in threads:
        thread.join()
    return stored, len(failures)


def results_present(server: Any, tasks: list[str]) -> int:
    return server.admin.exists(*(f"celery-task-meta-{task}" for task in tasks))


@pytest.fixture
def own_redis(celery_redis_factory: Callable[..., Any]) -> Any:
    return celery_redis_factory()


def restart(server: Any) -> Callable[[], None]:
    def disturb() -> None:
        server.kill()
        time.sleep(OUTAGE)
        server.start()

    return disturb


def test_a_restart_of_the_server_loses_results_by_default_and_none_with_the_settings(own_redis: Any) -> None:
    _stored, failed_by_default = store_during(client_with(own_redis, {}), restart(own_redis))
    own_redis.admin.flushall()
    settings = plugin.celery_settings(own_redis.description())
    stored, failed = store_during(client_with(own_redis, settings), restart(own_redis))
    assert failed_by_default > 20
    assert failed == 0
    assert len(stored) > 20
    assert results_present(own_redis, stored) == len(stored)


@pytest.mark.parametrize(
    ("refuse", "allow"),
    [
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
    ],
    ids=["no memory", "read-only"],
)
def test_refused_writes_are_repeated(celery_redis: Any, refuse: tuple[str, ...], allow: tuple[str, ...]) -> None:
    def disturb() -> None:
        celery_redis.admin.execute_command(*refuse)
        time.sleep(OUTAGE)
        celery_redis.admin.execute_command(*allow)

    _stored, failed_by_default = store_during(client_with(celery_redis, {}), disturb)
    settings = plugin.celery_settings(celery_redis.description())
    stored, failed = store_during(client_with(celery_redis, settings), disturb)
    assert failed_by_default > 20
    assert failed == 0
    assert results_present(celery_redis, stored) == len(stored)


def test_a_client_that_waits_gets_its_result_after_a_restart(own_redis: Any) -> None:
    settings = plugin.celery_settings(own_redis.description())
    waiting, storing = client_with(own_redis, settings), client_with(own_redis, settings)
    waiting.backend.on_task_call(None, "awaited")
    disturbance = threading.Thread(target=restart(own_redis))
    disturbance.start()
    store = threading.Timer(OUTAGE / 2, lambda: storing.backend.store_result("awaited", 7, "SUCCESS"))
    store.start()
    assert waiting.AsyncResult("awaited").get(timeout=30) == 7
    disturbance.join()
    store.join()


def test_nothing_is_said_that_celery_does_anyway(celery_authority: Any) -> None:
    description = {"kind": "redis", "hosts": ["redis1"], "ca_file": str(celery_authority.certificate)}
    settings = plugin.celery_settings(description)
    same = {name for name, value in settings.items() if name in DEFAULTS and DEFAULTS[name] == value}
    assert same == set()
    assert "result_expires" not in settings
    assert "result_serializer" not in settings


def test_wishes_become_settings() -> None:
    description = {"kind": "redis", "hosts": ["redis1"], "tls": False, "key_prefix": "shop"}
    options = {
        "result_expires": 3600,
        "result_serializer": "msgpack",
        "result_extended": True,
        "result_backend_thread_safe": True,
        "redis_max_connections": 20,
        "redis_client_name": "shop-worker",
    }
    settings = plugin.celery_settings(description, options)
    assert {name: settings[name] for name in options} == options
    assert settings["result_accept_content"] == ["msgpack"]
    assert settings["result_backend_transport_options"]["global_keyprefix"] == "shop"


def test_no_setting_carries_a_secret_or_tls() -> None:
    description = {"kind": "redis", "hosts": ["redis1"], "ca_file": "/etc/ca.crt", "username": "celery"}
    assert not [name for name in plugin.celery_settings(description) if "ssl" in name or "password" in name]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"result_expires": 0}, "result_expires in seconds is 0"),
        ({"result_expires": "tomorrow"}, "'tomorrow', but it must be a whole number"),
        ({"result_serializer": "pickle"}, "run code in every reader"),
        ({"result_serializer": "yaml"}, "allowed are json and msgpack"),
        ({"result_extended": "yes"}, "must be true or false"),
        ({"redis_max_connections": 0}, "at least 1"),
        ({"redis_client_name": "two words"}, "without spaces"),
        ({"visibility_timeout": 1}, "unknown entries visibility_timeout"),
    ],
)
def test_a_wish_that_cannot_be_met_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(plugin.AnsibleFilterError, match=said):
        plugin.celery_settings({"kind": "redis", "hosts": ["redis1"], "tls": False}, options)


SENTINELS = {
    "kind": "sentinel",
    "hosts": ["redis1", "redis2", "redis3"],
    "username": "celery",
    "sentinel_username": "client",
    "ca_file": "/etc/ca.crt",
    "certificate_file": "/etc/client.crt",
    "private_key_file": "/etc/client.key",
}
ENCRYPTED = {
    "ssl_cert_reqs": "required",
    "ssl_check_hostname": True,
    "ssl_ca_certs": "/etc/ca.crt",
    "ssl_certfile": "/etc/client.crt",
    "ssl_keyfile": "/etc/client.key",
}


def test_sentinels_and_nodes_are_both_reached_with_tls() -> None:
    settings = plugin.celery_settings(SENTINELS)
    assert settings["redis_backend_use_ssl"] == ENCRYPTED
    assert settings["result_backend_transport_options"]["sentinel_kwargs"] == {
        "username": "client",
        "ssl": True,
        "socket_timeout": 0.5,
        "socket_connect_timeout": 0.5,
        **ENCRYPTED,
    }
    assert settings["result_backend_transport_options"]["master_name"] == "results"
    assert "password" not in str(settings)


def test_plaintext_to_sentinels_is_said_aloud() -> None:
    plain = {"kind": "sentinel", "hosts": ["redis1"], "tls": False}
    settings = plugin.celery_settings(plain)
    assert settings["result_backend_transport_options"]["allow_plaintext"] is True
    assert "redis_backend_use_ssl" not in settings
    assert "allow_plaintext" not in plugin.celery_settings(SENTINELS)["result_backend_transport_options"]


def test_a_primary_that_hangs_is_given_up_before_another_is_chosen() -> None:
    settings = plugin.celery_settings(SENTINELS)
    assert settings["redis_socket_timeout"] == settings["redis_socket_connect_timeout"] == 1


@pytest.mark.parametrize("profile", ["fast", "durable"])
@pytest.mark.parametrize("kind", ["redis", "sentinel"])
def test_a_profile_repeats_by_time(kind: str, profile: str) -> None:
    single = {"kind": "redis", "hosts": ["redis1"], "tls": False}
    settings = plugin.celery_settings({**(single if kind == "redis" else SENTINELS), "profile": profile})
    assert settings["result_backend_transport_options"]["retry_seconds"] == 60
    assert "retry_seconds" not in plugin.celery_settings(single)["result_backend_transport_options"]


def test_the_wishes_of_the_durable_profile() -> None:
    durable = {**SENTINELS, "profile": "durable"}
    options = plugin.celery_settings(durable)["result_backend_transport_options"]
    assert (options["durable_replicas"], options["durable_timeout_ms"]) == (1, 500)
    wishes = {"durable_replicas": 2, "durable_timeout_ms": 900, "retry_seconds": 30}
    options = plugin.celery_settings(durable, wishes)["result_backend_transport_options"]
    assert {name: options[name] for name in wishes} == wishes


@pytest.mark.parametrize(
    ("profile", "options", "said"),
    [
        ("durable", {"durable_timeout_ms": 1000}, "durable_timeout_ms option, which ends before redis_socket_timeout"),
        ("durable", {"durable_replicas": 0}, "durable_replicas option is 0"),
        ("fast", {"durable_replicas": 1}, "unknown entries durable_replicas"),
        ("stock", {"retry_seconds": 10}, "unknown entries retry_seconds"),
        ("fast", {"retry_seconds": 0}, "retry_seconds option is 0"),
    ],
)
def test_a_wish_that_does_not_fit_the_profile_is_refused(profile: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(plugin.AnsibleFilterError, match=said):
        plugin.celery_settings({**SENTINELS, "profile": profile}, options)
