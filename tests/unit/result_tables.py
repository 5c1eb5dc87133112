# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An application's place in a real server, with the tables that a release of Celery makes in it.

application = Application(postgresql, run_on_host)
application.make_tables("5.4")
application.fill(1000)
application.migrate()["revision_after"]
application.backend().store_result("id", 1, "SUCCESS")
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

from ansible_collections.resultops.celery.tests.unit.sql_servers import SqlServer
from celery import Celery
from celery.backends.database import DatabaseBackend
from celery.backends.database.session import ResultModelBase
from sqlalchemy import create_engine, pool

PASSWORD = r"""p@ss:/w%rd#?&'"{{ }}\ """
TYPES = {
    "postgresql": {"BLOB": "BYTEA", "MOMENT": "TIMESTAMP WITHOUT TIME ZONE"},
    "mysql": {"BLOB": "BLOB", "MOMENT": "DATETIME"},
}
# As Celery 5.4.0 and 5.5.3 say it; from 5.6.3 on there are the indexes.
TABLES = """
CREATE SEQUENCE task_id_sequence;
CREATE TABLE celery_taskmeta (
    id INTEGER NOT NULL, task_id VARCHAR(155), status VARCHAR(50), result BLOB, date_done MOMENT, traceback TEXT,
    name VARCHAR(155), args BLOB, kwargs BLOB, worker VARCHAR(155), retries INTEGER, queue VARCHAR(155),
    PRIMARY KEY (id), UNIQUE (task_id));
CREATE SEQUENCE taskset_id_sequence;
CREATE TABLE celery_tasksetmeta (
    id INTEGER NOT NULL, taskset_id VARCHAR(155), result BLOB, date_done MOMENT, PRIMARY KEY (id), UNIQUE (taskset_id))
"""
INDEXES = """;
CREATE INDEX ix_celery_taskmeta_date_done ON celery_taskmeta (date_done);
CREATE INDEX ix_celery_tasksetmeta_date_done ON celery_tasksetmeta (date_done)
"""
RELEASES = ("5.4", "5.6", "5.7")


class Application:
    """A database, a schema where the engine has them, and the accounts, with passwords that are hard to quote."""

    def __init__(self, server: SqlServer, run: Callable[..., dict[str, Any]]) -> None:
        self.server = server
        self.engine = server.engine
        self.run = run
        self.database = server.create_database()
        self.schema = "shop" if self.engine == "postgresql" else None
        self.user = self.database
        self.purge_user = f"{self.database}_purge"
        self.monitor_user = f"{self.database}_monitor"
        self.owner = f"{self.database}_owner"
        self._make_accounts()

    @property
    def accounts(self) -> dict[str, str]:
        return {
            "application_user": self.user,
            "purge_user": self.purge_user,
            "monitor_user": self.monitor_user,
        }

    @property
    def arguments(self) -> dict[str, Any]:
        """How an administrator on the host logs in."""
        place = {"schema": self.schema, "owner": self.owner, "login_port": self.server.port} if self.schema else {}
        return {
            "engine": self.engine,
            "login_unix_socket": str(self.server.socket_directory),
            "login_user": self.server.superuser,
            "database": self.database,
            **place,
            **self.accounts,
        }

    def migrate(self, check_mode: bool = False, **arguments: Any) -> dict[str, Any]:
        wanted = {name: value for name, value in (self.arguments | arguments).items() if value is not None}
        result = self.run("result_schema", check_mode, **wanted)
        return {name: value for name, value in result.items() if name != "invocation"}

    def remote(self, user: str) -> dict[str, Any]:
        """How somebody logs in over TLS."""
        return {**self.server.login, "login_unix_socket": None, "login_user": user, "login_password": PASSWORD}

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with contextlib.closing(self.connect()) as connection:
            return execute(connection, statement, *values)

    def connect(self, user: str | None = None) -> Any:
        """A session in the schema: of the superuser, or of an account with its password."""
        connection = self.server.connect(self.database, user=user, password=PASSWORD if user else None)
        if self.schema:
            execute(connection, f"SET search_path = {self.schema}")
        return connection

    @contextlib.contextmanager
    def session(self, user: str | None = None) -> Iterator[Callable[..., list[tuple[Any, ...]]]]:
        with contextlib.closing(self.connect(user)) as connection:
            yield lambda statement, *values: execute(connection, statement, *values)

    def make_tables(self, release: str = "5.4") -> None:
        """As the application's own account made them, which owns them then."""
        if release == "5.7":
            engine = create_engine(self._dialect, creator=self.connect, poolclass=pool.NullPool)
            ResultModelBase.metadata.create_all(engine)
            engine.dispose()
        else:
            text = TABLES + (INDEXES if release == "5.6" else "")
            for word, kind in TYPES[self.engine].items():
                text = text.replace(word, kind)
            for statement in text.split(";"):
                self.sql(statement)
        if self.schema:
            self.sql(f'GRANT ALL ON SCHEMA shop TO "{self.user}"')
            for table in ("celery_taskmeta", "celery_tasksetmeta"):
                self.sql(f'ALTER TABLE {table} OWNER TO "{self.user}"')
            for sequence in ("task_id_sequence", "taskset_id_sequence"):
                self.sql(f'ALTER SEQUENCE {sequence} OWNER TO "{self.user}"')
        else:
            self.sql(f"GRANT ALL PRIVILEGES ON `{self.database}`.* TO `{self.user}`@'%'")

    def fill(self, rows: int = 10, first: int = 1) -> None:
        """Results of one byte more than nothing, in the order of their ids."""
        numbers = f"generate_series({first}, {first + rows - 1}) AS g(n)"
        value = "convert_to('\"x\"', 'UTF8')"
        if self.engine == "mysql":
            numbers, value = f"(SELECT seq AS n FROM seq_{first}_to_{first + rows - 1}) AS g", "'\"x\"'"
        self.sql(
            "INSERT INTO celery_taskmeta (id, task_id, status, result, date_done)"
            f" SELECT n, concat('task-', n), 'SUCCESS', {value}, '2026-01-02 03:04:05' FROM {numbers}"
        )
        self.sql(
            "INSERT INTO celery_tasksetmeta (id, taskset_id, result, date_done)"
            f" SELECT n, concat('group-', n), {value}, '2026-01-02 03:04:05' FROM {numbers}"
        )
        for sequence in ("task_id_sequence", "taskset_id_sequence"):
            self.sql(f"SELECT setval({self._sequence(sequence)}, {first + rows - 1})")

    def _sequence(self, name: str) -> str:
        return f"'{name}'" if self.engine == "postgresql" else name

    def count(self, table: str = "celery_taskmeta", where: str = "1 = 1") -> int:
        return int(self.sql(f"SELECT count(*) FROM {table} WHERE {where}")[0][0])

    def of(self, table: str) -> str:
        """A table's whole name, for those who look from elsewhere."""
        return f"{self.schema or self.database}.{table}"

    def columns(self, table: str = "celery_taskmeta") -> dict[str, str]:
        return {
            row[0]: row[1].partition("(")[0]
            for row in self.sql(
                f"SELECT column_name, {'data_type' if self.engine == 'postgresql' else 'column_type'}"
                " FROM information_schema.columns WHERE table_schema = %s AND table_name = %s",
                self.schema or self.database,
                table,
            )
        }

    def backend(self, user: str | None = None, **settings: Any) -> DatabaseBackend:
        """Celery's own backend over TLS, by default as the application's account."""
        name = user or self.user
        if self.engine == "postgresql":
            query = f"sslmode=verify-full&sslrootcert={quote(str(self.server.ca_file), safe='')}"
            options: dict[str, Any] = {}
        else:
            query = "charset=utf8mb4"
            options = {"connect_args": {"ssl": {"ca": str(self.server.ca_file)}}}
        password = quote(PASSWORD, safe="")
        address = f"{self.server.host}:{self.server.port}"
        app = Celery(set_as_current=False)
        app.conf.update(
            result_backend=f"db+{self._dialect}{name}:{password}@{address}/{self.database}?{query}",
            database_engine_options={"pool_pre_ping": True, "pool_recycle": 3600, **options},
            **{"result_extended": True, "result_backend_always_retry": False, **settings},
        )
        return app.backend

    @property
    def _dialect(self) -> str:
        return "postgresql+psycopg://" if self.engine == "postgresql" else "mysql+pymysql://"

    def _make_accounts(self) -> None:
        if self.engine == "postgresql":
            self.sql(f'CREATE ROLE "{self.owner}" NOLOGIN')
            quoted = PASSWORD.replace("'", "''")
            for user in self.accounts.values():
                self.sql(f"CREATE ROLE \"{user}\" LOGIN PASSWORD '{quoted}'")
                self.sql(f'ALTER ROLE "{user}" IN DATABASE "{self.database}" SET search_path = shop')
            self.sql(f'CREATE SCHEMA shop AUTHORIZATION "{self.owner}"')
            return
        for user in (*self.accounts.values(), self.owner):
            self.sql(f"CREATE USER `{user}`@'%%' IDENTIFIED BY %s", PASSWORD)
        self.sql(f"GRANT ALL PRIVILEGES ON `{self.database}`.* TO `{self.owner}`@'%'")


def execute(connection: Any, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    cursor = connection.cursor()
    cursor.execute(statement, values or None)
    return [tuple(row) for row in cursor.fetchall()] if cursor.description else []
