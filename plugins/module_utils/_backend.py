# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The backend description: what it may contain, the URL and the Celery settings that follow from it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

Description = Mapping[str, Any]
Options = Mapping[str, Any]


class BackendError(ValueError):
    """A description or an option that cannot be used; the message is one sentence without secrets."""


@dataclass(frozen=True)
class Kind:
    """What one kind of backend knows: how its URL is written and which settings suit it."""

    url: Callable[[Description, str], str]
    settings: Callable[[Description, Options], dict[str, Any]]


REDIS_FIELDS = (
    "kind",
    "hosts",
    "port",
    "username",
    "database",
    "key_prefix",
    "tls",
    "ca_file",
    "certificate_file",
    "private_key_file",
)

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

SERIALIZERS = ("json", "msgpack")


def _text(description: Description, field: str) -> str:
    value = description.get(field)
    return "" if value is None else str(value)


def _whole_number(where: str, value: object, low: int, high: int | None = None) -> int:
    allowed = f"a whole number from {low} to {high}" if high is not None else f"a whole number of at least {low}"
    refusal = BackendError(f"{where} is {value!r}, but it must be {allowed}.")
    if isinstance(value, bool):
        raise refusal
    try:
        number = int(str(value))
    except ValueError as error:
        raise refusal from error
    if str(number) != str(value) or number < low or (high is not None and number > high):
        raise refusal
    return number


def _flag(where: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise BackendError(f"{where} is {value!r}, but it must be true or false.")
    return value


def _no_unknown(what: str, given: Mapping[str, Any], known: Collection[str]) -> None:
    unknown = sorted(str(name) for name in given if name not in known)
    if unknown:
        raise BackendError(f"{what} has unknown entries {', '.join(unknown)}; allowed are {', '.join(known)}.")


def _redis_host(description: Description) -> str:
    hosts = description.get("hosts")
    if not isinstance(hosts, (list, tuple)) or not all(str(host or "") for host in hosts):
        raise BackendError("The hosts of the backend description must be a list of host names.")
    if len(hosts) != 1:
        raise BackendError(
            f"A backend of kind redis has exactly one host, but its description names {len(hosts)}; "
            "name the one Redis that stores the results."
        )
    host = str(hosts[0])
    if any(character in host for character in "/@?#% \t\r\n"):
        raise BackendError(f"The host {host!r} of the backend description must be a bare host name or IP address.")
    return host


def _tls_files(description: Description, tls: bool) -> dict[str, str]:
    files = {field: _text(description, field) for field in ("ca_file", "certificate_file", "private_key_file")}
    for field, path in files.items():
        # Celery decodes these values twice and its broker library once, so no encoding of a % suits both.
        if "%" in path:
            raise BackendError(f"The {field} {path!r} of the backend description must not contain a percent sign.")
        if path and not path.startswith("/"):
            raise BackendError(f"The {field} {path!r} of the backend description must be an absolute path.")
        if path and not tls:
            raise BackendError(f"The backend description gives a {field} but says tls: false; remove one of them.")
    if tls and not files["ca_file"]:
        raise BackendError(
            "The backend description asks for TLS without a ca_file; give the path of the CA certificate on the worker."
        )
    if bool(files["certificate_file"]) != bool(files["private_key_file"]):
        raise BackendError(
            "The backend description must give certificate_file and private_key_file together or leave out both."
        )
    return files


def _redis_description(description: Description) -> dict[str, Any]:
    _no_unknown("The backend description", description, REDIS_FIELDS)
    tls = _flag("The tls entry of the backend description", description.get("tls", True))
    wanted: dict[str, Any] = {
        "host": _redis_host(description),
        "port": _whole_number("The port of the backend description", description.get("port", 6379), 1, 65535),
        "database": _whole_number("The database of the backend description", description.get("database", 0), 0),
        "username": _text(description, "username"),
        "key_prefix": _text(description, "key_prefix"),
        "tls": tls,
        **_tls_files(description, tls),
    }
    if not re.fullmatch(r"[A-Za-z0-9_.:-]*", wanted["key_prefix"]):
        raise BackendError(
            f"The key_prefix {wanted['key_prefix']!r} of the backend description must consist of "
            "letters, digits and the characters _ . : - only."
        )
    return wanted


def _redis_url(description: Description, password: str) -> str:
    wanted = _redis_description(description)
    host = f"[{wanted['host']}]" if ":" in wanted["host"] else wanted["host"]
    credentials = f"{quote(wanted['username'], safe='')}:{quote(password, safe='')}"
    address = f"{credentials}@{host}:{wanted['port']}/{wanted['database']}"
    if not wanted["tls"]:
        return f"redis://{address}"
    query = {"ssl_cert_reqs": "required", "ssl_ca_certs": wanted["ca_file"]}
    if wanted["certificate_file"]:
        query["ssl_certfile"] = wanted["certificate_file"]
        query["ssl_keyfile"] = wanted["private_key_file"]
    query["ssl_check_hostname"] = "true"
    return f"rediss://{address}?{urlencode(query, quote_via=quote, safe='')}"


def _serializer(options: Options) -> str:
    serializer = str(options["result_serializer"])
    if serializer not in SERIALIZERS:
        reason = " (pickle would let everybody who can write a result run code in every reader)"
        raise BackendError(
            f"The result_serializer {serializer!r} is not supported; allowed are {' and '.join(SERIALIZERS)}"
            f"{reason if serializer == 'pickle' else ''}."
        )
    return serializer


def _redis_settings(description: Description, options: Options) -> dict[str, Any]:
    wanted = _redis_description(description)
    _no_unknown("The options of the Celery settings", options, REDIS_OPTIONS)
    chosen = {**REDIS_OPTIONS, **{name: value for name, value in options.items() if value is not None}}
    serializer = _serializer(chosen)
    transport_options: dict[str, Any] = {
        "additional_connection_errors": ["redis.exceptions.ReadOnlyError", "redis.exceptions.OutOfMemoryError"],
    }
    if wanted["key_prefix"]:
        transport_options["global_keyprefix"] = wanted["key_prefix"]
    settings: dict[str, Any] = {
        "result_expires": _whole_number("The result_expires in seconds", chosen["result_expires"], 1),
        "result_serializer": serializer,
        "result_accept_content": [serializer],
        "result_extended": _flag("The result_extended option", chosen["result_extended"]),
        "result_backend_always_retry": True,
        "result_backend_max_retries": _whole_number(
            "The result_backend_max_retries option", chosen["result_backend_max_retries"], 1
        ),
        "result_backend_base_sleep_between_retries_ms": 250,
        "result_backend_max_sleep_between_retries_ms": 5000,
        "result_backend_thread_safe": _flag(
            "The result_backend_thread_safe option", chosen["result_backend_thread_safe"]
        ),
        "result_backend_transport_options": transport_options,
        "redis_socket_timeout": _whole_number(
            "The redis_socket_timeout in seconds", chosen["redis_socket_timeout"], 1, 3600
        ),
        "redis_socket_connect_timeout": _whole_number(
            "The redis_socket_connect_timeout in seconds", chosen["redis_socket_connect_timeout"], 1, 3600
        ),
        "redis_socket_keepalive": True,
        "redis_max_connections": (
            None
            if chosen["redis_max_connections"] is None
            else _whole_number("The redis_max_connections option", chosen["redis_max_connections"], 1)
        ),
        "redis_client_name": str(chosen["redis_client_name"]),
    }
    if any(not "!" <= character <= "~" for character in settings["redis_client_name"]):
        raise BackendError("The redis_client_name must consist of printable ASCII characters without spaces.")
    return {
        name: value for name, value in settings.items() if name not in CELERY_DEFAULTS or value != CELERY_DEFAULTS[name]
    }


KINDS: dict[str, Kind] = {"redis": Kind(url=_redis_url, settings=_redis_settings)}


def _kind(description: object) -> Kind:
    if not isinstance(description, Mapping):
        raise BackendError("The backend description must be a dictionary with the entries kind, hosts and more.")
    name = description.get("kind")
    if name not in KINDS:
        raise BackendError(f"The backend kind {name!r} is not supported; allowed is {', '.join(KINDS)}.")
    return KINDS[name]


def backend_url(description: Description, password: object) -> str:
    """Return the URL with its password; the only place of the collection that builds one."""
    kind = _kind(description)
    secret = "" if password is None else str(password)
    if not secret:
        raise BackendError("The password of the backend is empty; set the variable that holds it, usually in a vault.")
    return kind.url(description, secret)


def celery_settings(description: Description, options: Options | None = None) -> dict[str, Any]:
    """Return the non-secret Celery settings that differ from Celery's defaults."""
    kind = _kind(description)
    if options is not None and not isinstance(options, Mapping):
        raise BackendError("The options of the Celery settings must be a dictionary.")
    return kind.settings(description, options or {})
