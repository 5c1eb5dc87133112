# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The connection to a PostgreSQL server on this host, how it spells things, and its password verifiers."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import pwd
import re
import secrets
import stringprep
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

CONNECTION_ARGUMENTS: dict[str, dict[str, Any]] = {
    "unix_socket": {"type": "path", "default": "/run/postgresql"},
    "login_port": {"type": "int", "default": 5432},
    "login_user": {"type": "str", "default": "postgres"},
}
ITERATIONS = 4096
VERIFIER = re.compile(r"SCRAM-SHA-256\$([0-9]+):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)")
PROHIBITED = (
    stringprep.in_table_a1,
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


class PostgresqlError(Exception):
    """One sentence for the user, without any secret."""


class Server:
    """One session; what it does is committed at once unless a transaction was begun."""

    def __init__(self, connection: Any, where: str, problem: type[Exception]) -> None:
        self._connection = connection
        self._problem = problem
        self.where = where

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        cursor = self._run(statement, values)
        return [tuple(row) for row in cursor.fetchall()]

    def run(self, statement: str) -> None:
        self._run(statement, ())

    def close(self) -> None:
        self._connection.close()

    def _run(self, statement: str, values: Sequence[Any]) -> Any:
        cursor = self._connection.cursor()
        try:
            cursor.execute(statement, tuple(values) or None)
        except self._problem as problem:
            raise PostgresqlError(f"The server at {self.where} refuses: {_tidy(problem)}") from problem
        return cursor


def connect(params: dict[str, Any], database: str = "postgres") -> Server | None:
    """A session, or None where no server runs."""
    where = os.path.join(params["unix_socket"], f".s.PGSQL.{params['login_port']}")
    if not os.path.exists(where):
        return None
    driver = _driver()
    try:
        with _as_account(params["login_user"]):
            connection = driver.connect(
                host=params["unix_socket"],
                port=params["login_port"],
                user=params["login_user"],
                dbname=database,
                connect_timeout=10,
                application_name="resultops.celery",
            )
    except driver.Error as problem:
        if "refused" in str(problem):
            return None
        raise PostgresqlError(f"No session at {where} as {params['login_user']}: {_tidy(problem)}") from problem
    connection.autocommit = True
    return Server(connection, where, driver.Error)


@contextmanager
def _as_account(account: str) -> Iterator[None]:
    """Be the account of the same name while a session begins: a stock server lets nobody else be its superuser."""
    try:
        user = pwd.getpwnam(account).pw_uid if os.geteuid() == 0 else None
    except KeyError:
        user = None
    if user is None:
        yield
        return
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)


def _driver() -> Any:
    for name in ("psycopg2", "psycopg"):
        try:
            return __import__(name)
        except ImportError:
            continue
    raise PostgresqlError("The Python library psycopg2 is missing on this host: install python3-psycopg2.")


def _tidy(problem: Exception) -> str:
    words = " ".join(str(problem).split())
    return words if words.endswith(".") else f"{words}."


def name(text: str) -> str:
    """An identifier as it stands in a statement."""
    return '"' + text.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as it stands in a statement."""
    escaped = text.replace("'", "''")
    return f"'{escaped}'" if "\\" not in escaped else " E'" + escaped.replace("\\", "\\\\") + "'"


def verifier(password: str, salt: bytes | None = None, iterations: int = ITERATIONS) -> str:
    """What the server stores in the place of a password, so that it never travels to it."""
    salt = secrets.token_bytes(16) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", _prepared(password), salt, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    parts = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${iterations}:{parts[0]}${parts[1]}:{parts[2]}"


def verifies(password: str, stored: str | None) -> bool:
    """Whether a stored verifier is that of the password."""
    parts = VERIFIER.fullmatch(stored or "")
    if not parts:
        return False
    try:
        salt = base64.b64decode(parts[2], validate=True)
    except binascii.Error:
        return False
    return hmac.compare_digest(verifier(password, salt, int(parts[1])), stored or "")


def _prepared(password: str) -> bytes:
    """SASLprep as PostgreSQL does it: a password that it does not allow is taken as it is."""
    if password.isascii():
        return password.encode()
    mapped = "".join(
        " " if stringprep.in_table_c12(character) else character
        for character in password
        if not stringprep.in_table_b1(character)
    )
    prepared = unicodedata.ucd_3_2_0.normalize("NFKC", mapped)
    if not prepared or any(table(character) for character in prepared for table in PROHIBITED):
        return password.encode()
    right_to_left = [stringprep.in_table_d1(character) for character in prepared]
    if any(right_to_left) and (
        any(stringprep.in_table_d2(character) for character in prepared) or not (right_to_left[0] and right_to_left[-1])
    ):
        return password.encode()
    return prepared.encode()
