# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Results in Redis, in one server or in the primary that sentinels name: the URL and the settings of Celery."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from ansible_collections.resultops.celery.plugins.module_utils._backend_description import (
    BackendError,
    Description,
    Kind,
    Options,
    bracketed,
    flag,
    hosts_of,
    no_unknown,
    serializer_of,
    text,
    tls_files,
    whole_number,
)

REDIS_FIELDS = (
    "kind",
    "hosts",
    "port",
    "profile",
    "username",
    "database",
    "key_prefix",
    "tls",
    "ca_file",
    "certificate_file",
    "private_key_file",
)
SENTINEL_FIELDS = (*REDIS_FIELDS, "primary_name", "sentinel_username")

PROFILES = ("stock", "fast", "durable")
# The module that the role worker puts beside celeryconfig.py. Its name has nothing that a scheme must not have: Celery
# and Kombu find the password of a URL behind its scheme, to hide it.
CLASSES = {
    "redis": {"fast": "celeryresults.FastRedisBackend", "durable": "celeryresults.DurableRedisBackend"},
    "sentinel": {"fast": "celeryresults.FastSentinelBackend", "durable": "celeryresults.DurableSentinelBackend"},
}

# Celery's own defaults: a setting that equals them is left out of the result.
CELERY_DEFAULTS: dict[str, Any] = {
    "result_expires": 86400,
    "result_serializer": "json",
    "result_accept_content": ["json"],
    "result_extended": False,
    "result_backend_thread_safe": False,
    "redis_max_connections": None,
    "redis_client_name": "",
}

REDIS_OPTIONS: dict[str, Any] = {
    "result_expires": 86400,
    "result_serializer": "json",
    "result_extended": False,
    "result_backend_max_retries": 15,
    "result_backend_thread_safe": False,
    "redis_socket_timeout": 10,
    "redis_socket_connect_timeout": 5,
    "redis_max_connections": None,
    "redis_client_name": "",
}
PROFILE_OPTIONS: dict[str, dict[str, Any]] = {
    "stock": {},
    "fast": {"result_backend_max_retries": 1000, "retry_seconds": 60},
    "durable": {
        "result_backend_max_retries": 1000,
        "retry_seconds": 60,
        "durable_replicas": 1,
        "durable_timeout_ms": 500,
    },
}
# A primary that hangs must be given up before the sentinels name another.
SENTINEL_OPTIONS: dict[str, Any] = {
    "redis_socket_timeout": 1,
    "redis_socket_connect_timeout": 1,
    "result_backend_max_retries": 150,
}
SENTINEL_TIMEOUT = 0.5
# The first and the longest pause between two tries, in milliseconds.
PAUSES = {"redis": (250, 5000), "sentinel": (100, 500), "fast": (100, 2000), "durable": (100, 2000)}


def _redis_host(description: Description) -> str:
    hosts = hosts_of(description)
    if len(hosts) != 1:
        raise BackendError(
            f"A backend of kind redis has exactly one host, but its description names {len(hosts)}; "
            "name the one Redis that stores the results."
        )
    return hosts[0]


def _sentinel_hosts(description: Description) -> list[str]:
    hosts = hosts_of(description)
    if not hosts or len(set(hosts)) != len(hosts):
        raise BackendError(
            f"A backend of kind sentinel has one or more hosts, each once, but its description names "
            f"{', '.join(hosts) or 'none'}; name the hosts on which the sentinels run."
        )
    return hosts


def _profile(description: Description) -> str:
    profile = text(description, "profile") or "stock"
    if profile not in PROFILES:
        raise BackendError(
            f"The profile {profile!r} of the backend description is not supported; allowed are {', '.join(PROFILES)}."
        )
    return profile


def _common_description(description: Description, port: int) -> dict[str, Any]:
    tls = flag("The tls entry of the backend description", description.get("tls", True))
    wanted: dict[str, Any] = {
        "profile": _profile(description),
        "port": whole_number("The port of the backend description", description.get("port", port), 1, 65535),
        "database": whole_number("The database of the backend description", description.get("database", 0), 0),
        "username": text(description, "username"),
        "key_prefix": text(description, "key_prefix"),
        "tls": tls,
        **tls_files(description, tls),
    }
    if not re.fullmatch(r"[A-Za-z0-9_.:-]*", wanted["key_prefix"]):
        raise BackendError(
            f"The key_prefix {wanted['key_prefix']!r} of the backend description must consist of "
            "letters, digits and the characters _ . : - only."
        )
    return wanted


def _redis_description(description: Description) -> dict[str, Any]:
    no_unknown("The backend description", description, REDIS_FIELDS)
    return {"host": _redis_host(description), **_common_description(description, 6379)}


def _sentinel_description(description: Description) -> dict[str, Any]:
    no_unknown("The backend description", description, SENTINEL_FIELDS)
    wanted = {
        "hosts": _sentinel_hosts(description),
        **_common_description(description, 26379),
        "primary_name": text(description, "primary_name") or "results",
        "sentinel_username": text(description, "sentinel_username"),
    }
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", wanted["primary_name"]):
        raise BackendError(
            f"The primary_name {wanted['primary_name']!r} of the backend description must consist of "
            "letters, digits and the characters _ . - only."
        )
    return wanted


def _scheme(kind: str, profile: str, scheme: str) -> str:
    """Celery splits the scheme at the plus sign and finds the class before it without any setting."""
    return scheme if profile == "stock" else f"{CLASSES[kind][profile]}+{scheme}"


def _credentials(wanted: Mapping[str, Any], password: str) -> str:
    return f"{quote(wanted['username'], safe='')}:{quote(password, safe='')}"


def _redis_url(description: Description, password: str) -> str:
    wanted = _redis_description(description)
    host = bracketed(wanted["host"])
    address = f"{_credentials(wanted, password)}@{host}:{wanted['port']}/{wanted['database']}"
    if not wanted["tls"]:
        return f"{_scheme('redis', wanted['profile'], 'redis')}://{address}"
    query = {"ssl_cert_reqs": "required", "ssl_ca_certs": wanted["ca_file"]}
    if wanted["certificate_file"]:
        query["ssl_certfile"] = wanted["certificate_file"]
        query["ssl_keyfile"] = wanted["private_key_file"]
    query["ssl_check_hostname"] = "true"
    return f"{_scheme('redis', wanted['profile'], 'rediss')}://{address}?{urlencode(query, quote_via=quote, safe='')}"


def _sentinel_url(description: Description, password: str) -> str:
    """Name all sentinels; Celery takes the credentials of the first for the primary, and no TLS parameters at all."""
    wanted = _sentinel_description(description)
    first, *others = (f"{bracketed(host)}:{wanted['port']}/{wanted['database']}" for host in wanted["hosts"])
    addresses = [f"sentinel://{_credentials(wanted, password)}@{first}", *(f"sentinel://{other}" for other in others)]
    return _scheme("sentinel", wanted["profile"], ";".join(addresses))


def _chosen(kind: str, profile: str, options: Options) -> dict[str, Any]:
    defaults = {**REDIS_OPTIONS, **(SENTINEL_OPTIONS if kind == "sentinel" else {}), **PROFILE_OPTIONS[profile]}
    no_unknown("The options of the Celery settings", options, defaults)
    return {**defaults, **{name: value for name, value in options.items() if value is not None}}


def _transport_options(wanted: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "additional_connection_errors": ["redis.exceptions.ReadOnlyError", "redis.exceptions.OutOfMemoryError"],
    }
    if wanted["key_prefix"]:
        found["global_keyprefix"] = wanted["key_prefix"]
    if "retry_seconds" in chosen:
        found["retry_seconds"] = whole_number("The retry_seconds option", chosen["retry_seconds"], 1, 3600)
        found["retry_policy"] = {"max_retries": 60, "interval_start": 0, "interval_step": 0.1, "interval_max": 1}
    if "durable_replicas" in chosen:
        limit = whole_number("The redis_socket_timeout in seconds", chosen["redis_socket_timeout"], 1, 3600) * 1000 - 1
        found["durable_replicas"] = whole_number("The durable_replicas option", chosen["durable_replicas"], 1)
        found["durable_timeout_ms"] = whole_number(
            "The durable_timeout_ms option, which ends before redis_socket_timeout,",
            chosen["durable_timeout_ms"],
            1,
            limit,
        )
    return found


def _settings(kind: str, wanted: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    profile = wanted["profile"]
    serializer = serializer_of(chosen)
    first_pause, longest_pause = PAUSES[kind if profile == "stock" else profile]
    settings: dict[str, Any] = {
        "result_expires": whole_number("The result_expires in seconds", chosen["result_expires"], 1),
        "result_serializer": serializer,
        "result_accept_content": [serializer],
        "result_extended": flag("The result_extended option", chosen["result_extended"]),
        "result_backend_always_retry": True,
        "result_backend_max_retries": whole_number(
            "The result_backend_max_retries option", chosen["result_backend_max_retries"], 1
        ),
        "result_backend_base_sleep_between_retries_ms": first_pause,
        "result_backend_max_sleep_between_retries_ms": longest_pause,
        "result_backend_thread_safe": flag(
            "The result_backend_thread_safe option", chosen["result_backend_thread_safe"]
        ),
        "result_backend_transport_options": _transport_options(wanted, chosen),
        "redis_socket_timeout": whole_number(
            "The redis_socket_timeout in seconds", chosen["redis_socket_timeout"], 1, 3600
        ),
        "redis_socket_connect_timeout": whole_number(
            "The redis_socket_connect_timeout in seconds", chosen["redis_socket_connect_timeout"], 1, 3600
        ),
        "redis_socket_keepalive": True,
        "redis_max_connections": (
            None
            if chosen["redis_max_connections"] is None
            else whole_number("The redis_max_connections option", chosen["redis_max_connections"], 1)
        ),
        "redis_client_name": str(chosen["redis_client_name"]),
    }
    if any(not "!" <= character <= "~" for character in settings["redis_client_name"]):
        raise BackendError("The redis_client_name must consist of printable ASCII characters without spaces.")
    return {
        name: value for name, value in settings.items() if name not in CELERY_DEFAULTS or value != CELERY_DEFAULTS[name]
    }


def _redis_settings(description: Description, options: Options) -> dict[str, Any]:
    wanted = _redis_description(description)
    return _settings("redis", wanted, _chosen("redis", wanted["profile"], options))


def _sentinel_settings(description: Description, options: Options) -> dict[str, Any]:
    wanted = _sentinel_description(description)
    settings = _settings("sentinel", wanted, _chosen("sentinel", wanted["profile"], options))
    transport_options = settings["result_backend_transport_options"]
    transport_options["master_name"] = wanted["primary_name"]
    sentinel: dict[str, Any] = {"socket_timeout": SENTINEL_TIMEOUT, "socket_connect_timeout": SENTINEL_TIMEOUT}
    if wanted["sentinel_username"]:
        sentinel["username"] = wanted["sentinel_username"]
    if wanted["tls"]:
        encrypted = {
            "ssl_cert_reqs": "required",
            "ssl_check_hostname": True,
            "ssl_ca_certs": wanted["ca_file"],
            "ssl_certfile": wanted["certificate_file"],
            "ssl_keyfile": wanted["private_key_file"],
        }
        encrypted = {name: value for name, value in encrypted.items() if value}
        settings["redis_backend_use_ssl"] = encrypted
        sentinel |= {"ssl": True, **encrypted}
    else:
        transport_options["allow_plaintext"] = True
    transport_options["sentinel_kwargs"] = sentinel
    if wanted["profile"] == "stock":
        # Celery repeats the write by itself, and then repeats what repeated it.
        transport_options["retry_policy"] = {
            "max_retries": 4,
            "interval_start": 0,
            "interval_step": 0.1,
            "interval_max": 0.3,
        }
    return settings


KINDS: dict[str, Kind] = {
    "redis": Kind(url=_redis_url, settings=_redis_settings),
    "sentinel": Kind(url=_sentinel_url, settings=_sentinel_settings),
}
