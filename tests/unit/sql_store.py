# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of an application with strange results in them."""

from __future__ import annotations

import contextlib
from typing import Any

from ansible_collections.resultops.celery.tests.unit.sql_servers import SqlServer

PASSPHRASE = "a passphrase for the tests"
# What a dump could take for its own: the end of the data, a statement, a quote, an escape, a line break.
STRANGE = (
    "\\.\nCOPY app.celery_taskmeta (id) FROM stdin;\nINSERT INTO `celery_taskmeta` (`id`)\n(1,'\\'');\n\t\r\0"
    " strange \N{SNOWMAN}"
)


class SqlStore:
    """The parts of the tables that a backup is about."""

    def __init__(self, server: SqlServer, schema: str = "app") -> None:
        self.server = server
        self.engine = server.engine
        self.database = server.create_database()
        self.schema = schema
        postgresql = self.engine == "postgresql"
        self.prefix = f'"{schema}".' if postgresql else ""
        blob, text, moment = ("bytea", "text", "timestamp") if postgresql else ("longblob", "longtext", "datetime(6)")
        if postgresql:
            self.sql(f'CREATE SCHEMA "{schema}"')
        for table, key in (("celery_taskmeta", "task_id"), ("celery_tasksetmeta", "taskset_id")):
            self.sql(
                f"CREATE TABLE {self.prefix}{table} (id bigint PRIMARY KEY, {key} VARCHAR(155) UNIQUE,"
                f" result {blob}, traceback {text}, date_done {moment})"
            )
        for sequence in ("task_id_sequence", "taskset_id_sequence"):
            self.sql(f"CREATE SEQUENCE {self.prefix}{sequence}")
        self.sql(f"CREATE TABLE {self.prefix}celery_schema_version (version_num VARCHAR(32) NOT NULL)")
        self.sql(f"INSERT INTO {self.prefix}celery_schema_version VALUES ('0006')")

    @property
    def login(self) -> dict[str, Any]:
        wanted = {
            "engine": self.engine,
            "login_unix_socket": str(self.server.socket_directory),
            "login_port": self.server.port,
            "login_user": self.server.superuser,
            "database": self.database,
        }
        return {**wanted, "schema": self.schema} if self.engine == "postgresql" else wanted

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        return self.server.sql(statement, *values, database=self.database)

    def add(self, count: int) -> None:
        """That many results, and two groups."""
        tasks = [
            (
                number,
                f"task {number}",
                f"{STRANGE}{number}".encode(),
                STRANGE.replace("\0", "") if number % 2 else None,
                "2026-11-25 18:00:00.123456",
            )
            for number in range(1, count + 1)
        ]
        with contextlib.closing(self.server.connect(self.database)) as connection:
            cursor = connection.cursor()
            names = "id, task_id, result, traceback, date_done"
            cursor.executemany(f"INSERT INTO {self.prefix}celery_taskmeta ({names}) VALUES (%s, %s, %s, %s, %s)", tasks)
            cursor.executemany(
                f"INSERT INTO {self.prefix}celery_tasksetmeta (id, taskset_id, result) VALUES (%s, %s, %s)",
                [(number, f"group {number}", b"") for number in (1, 2)],
            )

    def content(self) -> list[list[tuple[Any, ...]]]:
        return [
            self.sql(f"SELECT * FROM {self.prefix}{table} ORDER BY id")
            for table in ("celery_taskmeta", "celery_tasksetmeta")
        ]

    def next_id(self) -> int:
        name = f"{self.prefix}task_id_sequence"
        statement = f"SELECT nextval('{name}')" if self.engine == "postgresql" else f"SELECT NEXTVAL({name})"
        return int(self.sql(statement)[0][0])
