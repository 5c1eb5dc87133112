# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Errors of PostgreSQL, MySQL and MariaDB, of their drivers and of the poolers before them, by failure class."""

from __future__ import annotations

import re

DRIVERS = ("psycopg", "pymysql", "MySQLdb", "sqlalchemy")

# SQLSTATE of PostgreSQL; one of two letters stands for all that begin so.
CLASS_OF_STATE = {
    "08": "refused",
    "22001": "schema",
    "22003": "schema",
    "25006": "read_only",
    "28": "auth",
    "3D": "schema",
    "3F": "schema",
    "42501": "acl",
    "42703": "schema",
    "42804": "schema",
    "42P01": "schema",
    "53100": "read_only",
    "53300": "too_many_connections",
    "55P03": "timeout",
    "57014": "timeout",
    "57P": "refused",
}

# Error numbers of MySQL and MariaDB, and those of their clients from 2000 on.
CLASS_OF_CODE = {
    1021: "read_only",
    1040: "too_many_connections",
    1044: "acl",
    1045: "auth",
    1049: "schema",
    1054: "schema",
    1129: "refused",
    1130: "auth",
    1142: "acl",
    1143: "acl",
    1146: "schema",
    1203: "too_many_connections",
    1205: "timeout",
    1213: "timeout",
    1226: "too_many_connections",
    1227: "acl",
    1264: "schema",
    1290: "read_only",
    1370: "acl",
    1406: "schema",
    1698: "auth",
    1792: "read_only",
    1836: "read_only",
    2005: "dns",
    2026: "tls",
    3159: "tls",
    4151: "auth",
    4166: "too_many_connections",
}

# What comes before the server has given a code: from the client library and from poolers.
CLASS_OF_TEXT = (
    (
        re.compile(r"password authentication failed|no password supplied|no pg_hba\.conf entry|no such user", re.I),
        "auth",
    ),
    (re.compile(r"role \"[^\"]*\" (does not exist|is not permitted to log in)|auth(entication)? failed", re.I), "auth"),
    (
        re.compile(r"too many (clients|connections)|connection slots are reserved|no more connections allowed", re.I),
        "too_many_connections",
    ),
    (
        re.compile(r"server does not support SSL|doesn't support SSL|certificate|SSL error|SSL SYSCALL|tlsv1", re.I),
        "tls",
    ),
    (re.compile(r"database \"?[^\"]*\"? does not exist|no such database", re.I), "schema"),
    (re.compile(r"unsupported startup parameter", re.I), "config"),
    (re.compile(r"could not translate host name|name or service not known|temporary failure in name", re.I), "dns"),
    (re.compile(r"time(d )?[ -]?out|query_wait_timeout", re.I), "timeout"),
    (re.compile(r"permission denied for", re.I), "acl"),
    (re.compile(r"read-only", re.I), "read_only"),
    (re.compile(r"no route to host|network is unreachable", re.I), "unreachable"),
    (
        re.compile(r"refused|starting up|shutting down|in recovery mode|closed the connection|lost connection", re.I),
        "refused",
    ),
)

# Where the remedy is another than with Redis.
REMEDIES = {
    "refused": "See whether the service runs, has finished starting, and listens on this address and port.",
    "tls": "See that the server offers TLS, and that the CA file belongs to its certificate.",
    "acl": "Run the playbook schema, which grants the account what a worker needs.",
    "schema": "Run the playbook schema, which brings the tables to what the workers need.",
    "read_only": "Connect to the primary, or see whether the disk of the server is full.",
    "too_many_connections": "Raise the limit of the account or of the server, lower pool_size or the number of worker "
    "processes, or put a pooler before the server.",
    "config": "Set worker_backend_pooler to what stands before the server, and deploy the worker again.",
}


def is_sql_error(error: BaseException) -> bool:
    """Tell whether an error comes from a driver of an SQL server."""
    return any(base.__module__.partition(".")[0] in DRIVERS for base in type(error).__mro__)


def class_of_code(code: int) -> str | None:
    """Return the failure class of an error number of MySQL."""
    return CLASS_OF_CODE.get(code)


def class_of(error: BaseException) -> str | None:
    """Return the failure class of an error of a driver, if it tells one."""
    error = getattr(error, "orig", None) or error
    if not is_sql_error(error):
        return None
    state = getattr(error, "sqlstate", None) or ""
    for length in (5, 3, 2):
        if len(state) == 5 and state[:length] in CLASS_OF_STATE:
            return CLASS_OF_STATE[state[:length]]
    code = next(iter(error.args), None)
    if isinstance(code, int) and code in CLASS_OF_CODE:
        return CLASS_OF_CODE[code]
    return next((failure_class for pattern, failure_class in CLASS_OF_TEXT if pattern.search(str(error))), None)


def said_by(error: BaseException) -> str:
    """Return the driver's own message, without the statement and the link that SQLAlchemy adds."""
    return str(getattr(error, "orig", None) or error)
