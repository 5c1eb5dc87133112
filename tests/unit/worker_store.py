# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of one application in a real server, and Celery applications that store their results there."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

from ansible_collections.resultops.celery.plugins.module_utils import _backend
from ansible_collections.resultops.celery.tests.unit.sql_servers import SqlServer
from celery import Celery

SOURCE = Path(__file__).resolve().parents[2] / "roles" / "worker" / "files" / "celerysqlresults.py"
PASSWORD = "p@ss:/w%rd#?&'\"{{ }}\\ "
MARIADB_PASSWORD = PASSWORD.replace("\\", "\\\\").replace("'", "\\'")
COLUMNS = """task_id VARCHAR(155) UNIQUE, status VARCHAR(50), result {blob}, date_done {time}, traceback {text},
    children {blob}, name VARCHAR(155), args {blob}, kwargs {blob}, worker VARCHAR(155), retries INTEGER,
    queue VARCHAR(155), stamps {blob}"""
SETS = "taskset_id VARCHAR(155) UNIQUE, result {blob}, date_done {time}"
TABLES = f"""CREATE SEQUENCE task_id_sequence; CREATE SEQUENCE taskset_id_sequence;
CREATE TABLE celery_taskmeta (id BIGINT PRIMARY KEY, {COLUMNS});
CREATE TABLE celery_tasksetmeta (id BIGINT PRIMARY KEY, {SETS})"""
POSTGRESQL_TABLES = TABLES.format(blob="BYTEA", time="TIMESTAMP", text="TEXT")
MARIADB_TABLES = TABLES.format(blob="LONGBLOB", time="DATETIME", text="LONGTEXT")


def load() -> types.ModuleType:
    """Import the module under the name by which the URL finds it, once for all tests of a process."""
    if "celerysqlresults" not in sys.modules:
        spec = importlib.util.spec_from_file_location("celerysqlresults", SOURCE)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules["celerysqlresults"] = module
        spec.loader.exec_module(module)
    return sys.modules["celerysqlresults"]


class Store:
    """The tables of one application as Celery makes them, and an account that may do no more than its worker needs."""

    def __init__(self, server: SqlServer) -> None:
        self.server = server
        self.kind = server.engine
        self.database = server.create_database()
        self.user = f"{self.database}_app"
        if self.kind == "postgresql":
            self._sql(f"CREATE ROLE {self.user} LOGIN PASSWORD '{PASSWORD.replace(chr(39), chr(39) * 2)}'")
            self._sql(f"REVOKE ALL ON DATABASE {self.database} FROM PUBLIC")
            self._sql(f"GRANT CONNECT ON DATABASE {self.database} TO {self.user}")
            self._sql("CREATE SCHEMA results")
            self._sql(f"GRANT USAGE ON SCHEMA results TO {self.user}")
            self._sql("SET search_path = results;" + POSTGRESQL_TABLES)
            self._sql(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA results TO {self.user}")
            self._sql(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA results TO {self.user}")
        else:
            # Not as an argument of the driver, which would read the percent sign of the host.
            self._sql(f"CREATE USER {self.user} IDENTIFIED BY '{MARIADB_PASSWORD}' REQUIRE SSL")
            for statement in MARIADB_TABLES.split(";"):
                self._sql(statement)
            self._sql(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {self.database}.* TO {self.user}")

    def _sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        return self.server.sql(statement, *values, database=self.database)

    def rows(self, columns: str, task: str) -> list[tuple[Any, ...]]:
        table = "results.celery_taskmeta" if self.kind == "postgresql" else "celery_taskmeta"
        return self._sql(f"SELECT {columns} FROM {table} WHERE task_id = %s", task)

    def connections(self) -> set[int]:
        if self.kind == "postgresql":
            found = self._sql("SELECT pid FROM pg_stat_activity WHERE usename = %s", self.user)
        else:
            found = self._sql("SELECT id FROM information_schema.processlist WHERE user = %s", self.user)
        return {int(row[0]) for row in found}

    def end_connections(self) -> None:
        for number in self.connections():
            self._sql(f"SELECT pg_terminate_backend({number})" if self.kind == "postgresql" else f"KILL {number}")

    def describe(self, profile: str, **changes: Any) -> dict[str, Any]:
        schema = {"schema": "results"} if self.kind == "postgresql" else {}
        return {
            "kind": self.kind,
            "hosts": [self.server.host],
            "port": self.server.port,
            "profile": profile,
            "username": self.user,
            "database": self.database,
            "ca_file": str(self.server.ca_file),
            **schema,
            **changes,
        }

    def application(
        self, profile: str = "fast", options: dict[str, Any] | None = None, changes: Any = None, **settings: Any
    ) -> Celery:
        """An application with the settings that the role gives, and changes."""
        described = self.describe(profile, **(changes or {}))
        given = {
            **_backend.celery_settings(described, options),
            "result_backend": _backend.backend_url(described, PASSWORD),
            "broker_url": "memory://",
            **settings,
        }
        app = Celery("probe", set_as_current=False)
        app.config_from_object(types.SimpleNamespace(**given))
        return app
