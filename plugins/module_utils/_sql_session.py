# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A session with the database of one application, on PostgreSQL, MariaDB or MySQL, and how it spells things."""

from __future__ import annotations

import contextlib
import glob
import importlib
import os
import ssl
import sys
from collections.abc import Iterator, Sequence
from typing import Any

ARGUMENTS: dict[str, dict[str, Any]] = {
    "engine": {"type": "str", "choices": ["postgresql", "mysql"], "required": True},
    "login_unix_socket": {"type": "path"},
    "login_host": {"type": "str"},
    "login_port": {"type": "int"},
    "login_user": {"type": "str", "required": True},
    "login_password": {"type": "str", "no_log": True},
    "database": {"type": "str", "required": True},
    "schema": {"type": "str"},
    "ssl_mode": {
        "type": "str",
        "choices": ["verify-full", "verify-ca", "require", "disable"],
        "default": "verify-full",
    },
    "ca_file": {"type": "path"},
    "login_timeout": {"type": "int", "default": 10},
}
RULES: dict[str, Any] = {
    "required_one_of": [("login_unix_socket", "login_host")],
    "mutually_exclusive": [("login_unix_socket", "login_host")],
    "required_if": [("engine", "postgresql", ("schema",))],
}
PORTS = {"postgresql": 5432, "mysql": 3306}
SYSTEM_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
# A pooler with several sessions at hand may give the same one a few times.
POOLER_QUESTIONS = 5
SHARED = (
    "At {} is a pooler that shares sessions among its clients: name the server itself, or a pooler in session mode, in "
    "login_host and login_port."
)
MARIADB_SOCKETS = ("mysqld.sock", "mysql.sock", "*.sock")


class SqlError(Exception):
    """One sentence for the user, without any secret."""


class Session:
    """One connection. Each statement stands for itself unless it runs in a snapshot."""

    def __init__(self, params: dict[str, Any]) -> None:
        self.engine: str = params["engine"]
        self.where = where(params)
        self._password = params["login_password"] or ""
        self._open = _postgresql if self.engine == "postgresql" else _mysql
        try:
            self._connection, self._problem = self._open(params)
        except SqlError as problem:
            raise SqlError(self._without_secrets(str(problem))) from None
        self.prefix = f"{self.name(params['schema'])}." if self.engine == "postgresql" else ""

    def name(self, text: str) -> str:
        """An identifier as it stands in a statement."""
        quote = '"' if self.engine == "postgresql" else "`"
        return quote + text.replace(quote, quote * 2) + quote

    def of_schema(self, text: str) -> str:
        """The name of an object of the application, wherever the session looks for names."""
        return f"{self.prefix}{self.name(text)}"

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        cursor = self._run(statement, values)
        return [tuple(row) for row in cursor.fetchall()]

    def row(self, statement: str, values: Sequence[Any] = ()) -> tuple[Any, ...]:
        return self.rows(statement, values)[0]

    def run(self, statement: str, values: Sequence[Any] = ()) -> None:
        self._run(statement, values)

    @contextlib.contextmanager
    def snapshot(self, seconds: float = 0) -> Iterator[None]:
        """See the data of one moment and change nothing; a statement may take that long, 0 is no limit."""
        if self.engine == "postgresql":
            self.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            self.run(f"SET LOCAL statement_timeout = {int(seconds * 1000)}")
            self.run("SET LOCAL TimeZone = 'UTC'")
        else:
            self._limit(seconds)
            self.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            self.run("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
        try:
            yield
        finally:
            # The server may be gone; what went wrong is told already.
            with contextlib.suppress(SqlError):
                self.run("ROLLBACK")

    def close(self) -> None:
        with contextlib.suppress(self._problem):
            self._connection.close()

    def _limit(self, seconds: float) -> None:
        if "mariadb" in str(self.row("SELECT VERSION()")[0]).lower():
            self.run(f"SET SESSION max_statement_time = {seconds:g}")
        else:
            self.run(f"SET SESSION max_execution_time = {int(seconds * 1000)}")

    def _run(self, statement: str, values: Sequence[Any]) -> Any:
        cursor = self._connection.cursor()
        try:
            cursor.execute(statement, tuple(values) or None)
        except self._problem as problem:
            sentence = self._without_secrets(tidy(problem))
            raise SqlError(f"The server at {self.where} refuses: {sentence}") from None
        return cursor

    def _without_secrets(self, text: str) -> str:
        return text.replace(self._password, "********") if self._password else text


def where(params: dict[str, Any]) -> str:
    """What the user calls the server."""
    if params["login_unix_socket"]:
        return str(params["login_unix_socket"])
    return f"{params['login_host']}:{params['login_port'] or PORTS[params['engine']]}"


def shares_sessions(one: Session, other: Session) -> bool:
    """Whether a pooler gives each transaction another session: settings and locks of a session mean nothing then."""
    pid = "SELECT pg_backend_pid()"
    own, others = set(), set()
    for _question in range(POOLER_QUESTIONS):
        own.add(one.row(pid))
        others.add(other.row(pid))
    return len(own) > 1 or bool(own & others)


def mysql_socket(path: str) -> str:
    """The socket itself, where only its directory was named."""
    if not os.path.isdir(path):
        return path
    found = [one for pattern in MARIADB_SOCKETS for one in sorted(glob.glob(os.path.join(path, pattern)))]
    if not found:
        raise SqlError(f"login_unix_socket is {path}, which holds no socket of a server.")
    return found[0]


def tidy(problem: Exception) -> str:
    """What a driver says, in one line."""
    said = problem.args[-1] if problem.args else problem
    words = " ".join(str(said).split())
    return words if words.endswith(".") else f"{words}."


def _postgresql(params: dict[str, Any]) -> tuple[Any, type[Exception]]:
    driver = _driver({"psycopg2": "python3-psycopg2", "psycopg": "python3-psycopg"})
    options: dict[str, Any] = {
        "user": params["login_user"],
        "password": params["login_password"],
        "dbname": params["database"],
        "port": params["login_port"] or PORTS["postgresql"],
        "connect_timeout": params["login_timeout"],
        "application_name": "resultops.celery",
    }
    if params["login_unix_socket"]:
        options["host"] = params["login_unix_socket"]
    else:
        options |= {"host": params["login_host"], "sslmode": params["ssl_mode"]}
        if params["ssl_mode"].startswith("verify"):
            options["sslrootcert"] = params["ca_file"] or SYSTEM_AUTHORITIES
    try:
        connection = driver.connect(**{name: value for name, value in options.items() if value is not None})
    except driver.Error as problem:
        raise SqlError(f"No session at {where(params)} as {params['login_user']}: {tidy(problem)}") from None
    connection.autocommit = True
    if driver.__name__ == "psycopg":
        # A pooler may hand the next statement to another server.
        connection.prepare_threshold = None
    return connection, driver.Error


def _mysql(params: dict[str, Any]) -> tuple[Any, type[Exception]]:
    driver = _driver({"pymysql": "python3-pymysql"})
    options: dict[str, Any] = {
        "user": params["login_user"],
        "password": params["login_password"] or "",
        "database": params["database"],
        "connect_timeout": params["login_timeout"],
        "charset": "utf8mb4",
        "autocommit": True,
        "program_name": "resultops.celery",
    }
    if params["login_unix_socket"]:
        options["unix_socket"] = mysql_socket(params["login_unix_socket"])
    else:
        options |= {"host": params["login_host"], "port": params["login_port"] or PORTS["mysql"]}
        if params["ssl_mode"] != "disable":
            options["ssl"] = _context(params)
    try:
        return driver.connect(**options), driver.MySQLError
    except (driver.MySQLError, RuntimeError, OSError) as problem:
        raise SqlError(f"No session at {where(params)} as {params['login_user']}: {tidy(problem)}") from None


def _context(params: dict[str, Any]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=params["ca_file"])
    context.check_hostname = params["ssl_mode"] == "verify-full"
    if params["ssl_mode"] == "require":
        context.verify_mode = ssl.CERT_NONE
    return context


def _driver(packages: dict[str, str]) -> Any:
    for name in packages:
        with contextlib.suppress(ImportError):
            return importlib.import_module(name)
    raise SqlError(
        f"{sys.executable} has no library {' or '.join(packages)}: "
        f"install the package {' or '.join(packages.values())} on this host."
    )
