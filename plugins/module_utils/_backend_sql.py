# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Results in PostgreSQL or in MySQL and MariaDB: the URL and the settings of Celery."""

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

MYSQL_FIELDS = (
    "kind",
    "hosts",
    "port",
    "profile",
    "username",
    "database",
    "tls",
    "ca_file",
    "certificate_file",
    "private_key_file",
)
POSTGRESQL_FIELDS = (*MYSQL_FIELDS, "schema", "pooler")

PROFILES = ("stock", "fast")
POOLERS = ("none", "session", "transaction")
PORTS = {"postgresql": 5432, "mysql": 3306}
DRIVERS = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql"}
# The module that the role worker puts beside celeryconfig.py. Its name has nothing that a scheme must not have: Celery
# and Kombu find the password of a URL behind its scheme, to hide it.
CLASSES = {"stock": "db", "fast": "celerysqlresults.FastDatabaseBackend"}

OPTIONS: dict[str, Any] = {
    "result_serializer": "json",
    "result_extended": False,
    "result_backend_max_retries": 15,
    "worker_pool": "prefork",
    "pool_size": None,
    "pool_timeout": 30,
    "pool_recycle": 3600,
    "connect_timeout": 5,
    "application_name": "celery",
}
MYSQL_OPTIONS: dict[str, Any] = {**OPTIONS, "read_timeout": 10}
POSTGRESQL_OPTIONS: dict[str, Any] = {**OPTIONS, "tcp_user_timeout": 10}

# The most connections of one process. A process opens only as many as work at once, so a child of prefork has one.
POOL_SIZES = {"prefork": 5, "solo": 5, "threads": 10, "gevent": 20, "eventlet": 20}
# The first and the longest pause between two tries, in milliseconds.
PAUSES = (250, 5000)

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


def _name(description: Description, field: str, default: str = "") -> str:
    found = text(description, field) or default
    if not NAME.fullmatch(found):
        raise BackendError(
            f"The {field} {found!r} of the backend description must consist of up to 63 letters, digits and _, "
            "and must not begin with a digit."
        )
    return found


def _chosen(field: str, value: str, allowed: tuple[str, ...], why: str = "") -> str:
    if value not in allowed:
        raise BackendError(
            f"The {field} {value!r} of the backend description is not supported{why}; allowed are {', '.join(allowed)}."
        )
    return value


def _common_description(kind: str, description: Description) -> dict[str, Any]:
    hosts = hosts_of(description)
    if len(hosts) != 1:
        raise BackendError(
            f"A backend of kind {kind} has exactly one host, but its description names {len(hosts)}; "
            "name the server that stores the results, or the pooler before it."
        )
    profile = text(description, "profile") or "stock"
    durable = ", because what the server has committed is durable already" if profile == "durable" else ""
    tls = flag("The tls entry of the backend description", description.get("tls", True))
    wanted: dict[str, Any] = {
        "kind": kind,
        "host": hosts[0],
        "port": whole_number("The port of the backend description", description.get("port", PORTS[kind]), 1, 65535),
        "profile": _chosen("profile", profile, PROFILES, durable),
        "username": text(description, "username"),
        "database": _name(description, "database"),
        "tls": tls,
        **tls_files(description, tls),
    }
    if not wanted["username"]:
        raise BackendError(f"A backend of kind {kind} needs the username of the application's account.")
    return wanted


def _postgresql_description(description: Description) -> dict[str, Any]:
    no_unknown("The backend description", description, POSTGRESQL_FIELDS)
    pooler = _chosen("pooler", text(description, "pooler") or "none", POOLERS)
    schema = _name(description, "schema") if text(description, "schema") else ""
    return {**_common_description("postgresql", description), "schema": schema, "pooler": pooler}


def _mysql_description(description: Description) -> dict[str, Any]:
    no_unknown("The backend description", description, MYSQL_FIELDS)
    return _common_description("mysql", description)


def _url(wanted: Mapping[str, Any], password: str, query: Mapping[str, str]) -> str:
    """Celery takes what stands before the first plus sign off, and SQLAlchemy reads the rest."""
    credentials = f"{quote(wanted['username'], safe='')}:{quote(password, safe='')}"
    address = f"{bracketed(wanted['host'])}:{wanted['port']}/{wanted['database']}"
    scheme = f"{CLASSES[wanted['profile']]}+{DRIVERS[wanted['kind']]}"
    return f"{scheme}://{credentials}@{address}?{urlencode(query, quote_via=quote, safe='')}"


def _postgresql_url(description: Description, password: str) -> str:
    wanted = _postgresql_description(description)
    if not wanted["tls"]:
        return _url(wanted, password, {"sslmode": "disable"})
    query = {"sslmode": "verify-full", "sslrootcert": wanted["ca_file"]}
    if wanted["certificate_file"]:
        query["sslcert"] = wanted["certificate_file"]
        query["sslkey"] = wanted["private_key_file"]
    return _url(wanted, password, query)


def _mysql_url(description: Description, password: str) -> str:
    """TLS is among the settings, because of the URL SQLAlchemy gives only some of it to PyMySQL."""
    if not password.isascii():
        raise BackendError(
            "The password of the backend has a character outside ASCII, which PyMySQL would send in another encoding "
            "than the server expects; choose one of printable ASCII characters."
        )
    return _url(_mysql_description(description), password, {"charset": "utf8mb4"})


def _options(known: Mapping[str, Any], options: Options) -> dict[str, Any]:
    if options.get("result_expires") is not None:
        raise BackendError(
            "The result_expires option is not used with SQL, where a purge on the side of the server removes what is "
            "too old; set the retention there and leave it out here."
        )
    given = {name: value for name, value in options.items() if name != "result_expires"}
    no_unknown("The options of the Celery settings", given, known)
    return {**known, **{name: value for name, value in given.items() if value is not None}}


def _seconds(option: str, chosen: Mapping[str, Any]) -> int:
    return whole_number(f"The {option} option in seconds", chosen[option], 1, 3600)


def _settings(chosen: Mapping[str, Any], connect_args: dict[str, Any]) -> dict[str, Any]:
    serializer = serializer_of(chosen)
    pool = str(chosen["worker_pool"])
    if pool not in POOL_SIZES:
        raise BackendError(f"The worker_pool option is {pool!r}, but it must be one of {', '.join(POOL_SIZES)}.")
    size = POOL_SIZES[pool] if chosen["pool_size"] is None else chosen["pool_size"]
    settings: dict[str, Any] = {
        # Without it beat plans no cleanup; only the purge of the server removes results.
        "result_expires": None,
        "result_backend_always_retry": True,
        "result_backend_max_retries": whole_number(
            "The result_backend_max_retries option", chosen["result_backend_max_retries"], 1
        ),
        "result_backend_base_sleep_between_retries_ms": PAUSES[0],
        "result_backend_max_sleep_between_retries_ms": PAUSES[1],
        "database_create_tables_at_setup": False,
        # Celery's own default would be replaced as a whole, so what it has stands here, too.
        "database_engine_options": {
            "pool_pre_ping": True,
            "pool_recycle": _seconds("pool_recycle", chosen),
            "pool_size": whole_number("The pool_size option", size, 1, 1000),
            "max_overflow": 0,
            "pool_timeout": _seconds("pool_timeout", chosen),
            "hide_parameters": True,
            "connect_args": connect_args,
        },
    }
    if serializer != "json":
        settings |= {"result_serializer": serializer, "result_accept_content": [serializer]}
    if flag("The result_extended option", chosen["result_extended"]):
        settings["result_extended"] = True
    return settings


def _application_name(chosen: Mapping[str, Any]) -> str:
    name = str(chosen["application_name"])
    if not re.fullmatch(r"[!-~]{1,63}", name):
        raise BackendError("The application_name must consist of up to 63 printable ASCII characters without spaces.")
    return name


def _postgresql_settings(description: Description, options: Options) -> dict[str, Any]:
    wanted = _postgresql_description(description)
    chosen = _options(POSTGRESQL_OPTIONS, options)
    connect_args: dict[str, Any] = {
        "application_name": _application_name(chosen),
        "connect_timeout": _seconds("connect_timeout", chosen),
        "keepalives": 1,
        "keepalives_idle": 30,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": _seconds("tcp_user_timeout", chosen) * 1000,
    }
    if wanted["pooler"] == "none":
        # Poolers refuse options of a session; behind one, only the setting of the role counts.
        connect_args["options"] = "-c timezone=utc"
    if wanted["pooler"] == "transaction":
        # The next transaction may meet another server connection, which does not know what was prepared.
        connect_args["prepare_threshold"] = None
    settings = _settings(chosen, connect_args)
    if wanted["schema"]:
        settings["database_table_schemas"] = {"task": wanted["schema"], "group": wanted["schema"]}
    return settings


def _mysql_settings(description: Description, options: Options) -> dict[str, Any]:
    wanted = _mysql_description(description)
    chosen = _options(MYSQL_OPTIONS, options)
    connect_args: dict[str, Any] = {
        "program_name": _application_name(chosen),
        "connect_timeout": _seconds("connect_timeout", chosen),
        "read_timeout": _seconds("read_timeout", chosen),
        "write_timeout": _seconds("read_timeout", chosen),
        # A server that is not strict would cut off what is too long, without an error.
        "init_command": "SET time_zone = '+00:00', sql_mode = CONCAT(@@sql_mode, ',STRICT_TRANS_TABLES')",
    }
    if wanted["tls"]:
        connect_args |= {"ssl_ca": wanted["ca_file"], "ssl_verify_cert": True, "ssl_verify_identity": True}
        if wanted["certificate_file"]:
            connect_args |= {"ssl_cert": wanted["certificate_file"], "ssl_key": wanted["private_key_file"]}
    else:
        connect_args["ssl_disabled"] = True
    return _settings(chosen, connect_args)


KINDS: dict[str, Kind] = {
    "postgresql": Kind(url=_postgresql_url, settings=_postgresql_settings),
    "mysql": Kind(url=_mysql_url, settings=_mysql_settings),
}
