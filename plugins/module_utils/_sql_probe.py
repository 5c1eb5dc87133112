# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a worker needs of PostgreSQL, MySQL or MariaDB, asked with the plain driver first and then through Celery."""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from itertools import count
from types import ModuleType
from typing import Any, ClassVar
from uuid import uuid4

from ansible_collections.resultops.celery.plugins.module_utils import _celery_client as client
from ansible_collections.resultops.celery.plugins.module_utils import _sql_errors
from ansible_collections.resultops.celery.plugins.module_utils._probe import CONNECTION_CHECKS, PAYLOAD, Probe

PORTS = {"postgresql": 5432, "mysql": 3306}
BASE = ("status", "result", "date_done", "traceback", "children")
EXTENDED = ("name", "args", "kwargs", "worker", "retries", "queue", "stamps")
TABLES = {
    "task": ("celery_taskmeta", ("id", "task_id", *BASE, *EXTENDED)),
    "group": ("celery_tasksetmeta", ("id", "taskset_id", "result", "date_done")),
}
SEQUENCES = ("task_id_sequence", "taskset_id_sequence")
RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE")
REVISIONS = "celery_schema_version"

# What MySQL says first, and what it is answered to change to TLS.
CLIENT_SSL, CAPABILITIES, UTF8MB4 = 0x800, 0x200 | 0x800 | 0x8000, 45

POSTGRESQL_SESSION = """SELECT current_user, current_database(), current_setting('server_version'),
    current_setting('TimeZone'), current_setting('transaction_read_only'), pg_is_in_recovery()"""
POSTGRESQL_COLUMNS = """SELECT c.relname, a.attname, format_type(a.atttypid, NULL)
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %s AND c.relkind IN ('r', 'p', 'S') AND a.attnum > 0 AND NOT a.attisdropped"""
POSTGRESQL_RIGHTS = """SELECT c.relname, p, CASE c.relkind WHEN 'S' THEN has_sequence_privilege(c.oid, 'USAGE')
        ELSE has_table_privilege(c.oid, p) END
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, unnest(%s::text[]) p
    WHERE n.nspname = %s AND c.relname = ANY (%s)"""
MYSQL_SESSION = """SELECT CURRENT_USER(), DATABASE(), VERSION(), TIMESTAMPDIFF(SECOND, UTC_TIMESTAMP(), NOW()),
    @@global.read_only, @@session.sql_mode"""
MYSQL_COLUMNS = "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = %s"
MYSQL_SEQUENCES = "SELECT table_name FROM information_schema.tables WHERE table_schema = %s AND table_type = 'SEQUENCE'"
MYSQL_RIGHTS = """SELECT '', privilege_type, grantee FROM information_schema.user_privileges
    UNION ALL SELECT '', privilege_type, grantee FROM information_schema.schema_privileges
        WHERE DATABASE() LIKE table_schema
    UNION ALL SELECT table_name, privilege_type, grantee FROM information_schema.table_privileges
        WHERE table_schema = DATABASE()"""


def _received(connection: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        piece = connection.recv(length - len(data))
        if not piece:
            raise client.CheckFailedError(
                "refused", f"The server closed the connection at once. {_sql_errors.REMEDIES['refused']}"
            )
        data += piece
    return data


def ask_postgresql_for_tls(connection: socket.socket) -> None:
    """Send the request that comes before the handshake."""
    connection.sendall(struct.pack("!ii", 8, 80877103))
    answer = _received(connection, 1)
    if answer == b"N":
        raise client.CheckFailedError("tls", f"The server does not offer TLS. {_sql_errors.REMEDIES['tls']}")
    if answer != b"S":
        raise client.CheckFailedError(
            "tls", f"The port belongs to no PostgreSQL, or to one in trouble. {client.REMEDIES['refused']}"
        )


def ask_mysql_for_tls(connection: socket.socket) -> None:
    """Read the greeting and answer that TLS follows."""
    size = int.from_bytes(_received(connection, 4)[:3], "little")
    greeting = _received(connection, size)
    if greeting[:1] == b"\xff":
        code = int.from_bytes(greeting[1:3], "little")
        failure_class = _sql_errors.class_of_code(code) or "refused"
        said = greeting[3:].decode("utf-8", "replace").lstrip("#0123456789").strip()
        remedy = _sql_errors.REMEDIES.get(failure_class, client.REMEDIES[failure_class])
        raise client.CheckFailedError(failure_class, f"The server refuses this host ({code}: {said}). {remedy}")
    after_version = greeting.index(b"\0", 1) + 1
    capabilities = int.from_bytes(greeting[after_version + 13 : after_version + 15], "little")
    if not capabilities & CLIENT_SSL:
        raise client.CheckFailedError("tls", f"The server does not offer TLS. {_sql_errors.REMEDIES['tls']}")
    answer = struct.pack("<IIB23x", CAPABILITIES, 1 << 24, UTF8MB4)
    connection.sendall(len(answer).to_bytes(3, "little") + b"\1" + answer)


class SqlProbe(Probe):
    """What a worker and a waiting client do with a result backend in an SQL server."""

    further_checks: ClassVar[dict[str, str]] = {"chord": "group", "expire": "expire"}
    woken = "A waiting client saw the result {seconds:.3f} s after the store; it asks every half a second."

    def __init__(self, settings: ModuleType, timeout: float) -> None:
        self._numbers = count()
        self._tasks: set[str] = set()
        self._groups: set[str] = set()
        super().__init__(settings, timeout)
        self._url = import_module("sqlalchemy").make_url(self._backend.url)
        self._kind = "postgresql" if self._url.get_backend_name() == "postgresql" else "mysql"

    def _application(self, serializer: str = "") -> Any:
        """Return an application with connections of its own, which a class that shares them has by another name."""
        app = super()._application(serializer)
        name = f"probe{next(self._numbers)}"
        app.conf.database_engine_options = {**(app.conf.database_engine_options or {}), "logging_name": name}
        return app

    @property
    def connection_checks(self) -> list[str]:
        return [*CONNECTION_CHECKS, "session", "schema", "rights"]

    @property
    def address(self) -> tuple[str, int]:
        return str(self._url.host), int(self._url.port or PORTS[self._kind])

    @property
    def _schema(self) -> str:
        """Where the tables are: a schema of PostgreSQL, a database of MySQL."""
        if self._kind == "mysql":
            return str(self._url.database)
        return str((self._app.conf.database_table_schemas or {}).get("task") or "public")

    @property
    def _tables(self) -> dict[str, tuple[str, ...]]:
        names = self._app.conf.database_table_names or {}
        return {names.get(which) or usual: columns for which, (usual, columns) in TABLES.items()}

    # The connection.

    @property
    def _tls_files(self) -> dict[str, Any] | None:
        """Return the files of TLS by the names of the Redis client, or nothing where it is not wanted."""
        if self._kind == "postgresql":
            query = dict(self._url.query)
            mode = query.get("sslmode", "prefer")
            if mode == "disable":
                return None
            self._refuse_weak(mode == "verify-full", f"sslmode is {mode}. Write sslmode=verify-full in the URL")
            files = {"ssl_ca_certs": "sslrootcert", "ssl_certfile": "sslcert", "ssl_keyfile": "sslkey"}
        else:
            query = (self._app.conf.database_engine_options or {}).get("connect_args", {})
            if query.get("ssl_disabled"):
                return None
            verified = query.get("ssl_verify_cert") and query.get("ssl_verify_identity")
            wish = "connect_args of database_engine_options lack ssl_verify_cert and ssl_verify_identity. Set them"
            self._refuse_weak(bool(verified), wish)
            files = {"ssl_ca_certs": "ssl_ca", "ssl_certfile": "ssl_cert", "ssl_keyfile": "ssl_key"}
        return {name: query[own] for name, own in files.items() if query.get(own)}

    @staticmethod
    def _refuse_weak(verified: bool, why: str) -> None:
        if not verified:
            raise client.CheckFailedError("tls", f"The certificate or the host name is not verified, because {why}.")

    def tls(self) -> str:
        files = self._tls_files
        if files is None:
            return "The connection is not encrypted, because URL and settings do not ask for it."
        ask = ask_postgresql_for_tls if self._kind == "postgresql" else ask_mysql_for_tls
        return client.handshake(*self.address, files, self._timeout, ask)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Any]:
        """A cursor of the plain driver, with the parameters that the worker gives it."""
        dialect = self._url.get_dialect()()
        arguments, parameters = dialect.create_connect_args(self._url)
        own = (self._app.conf.database_engine_options or {}).get("connect_args", {})
        driver = self._url.get_dialect().import_dbapi()
        with contextlib.closing(driver.connect(*arguments, **{**parameters, **own})) as connection:
            yield connection.cursor()

    def _asked(self, question: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._connected() as cursor:
            # Without values a percent sign is one.
            cursor.execute(question, values or None)
            return list(cursor.fetchall())

    def auth(self) -> str:
        question = POSTGRESQL_SESSION if self._kind == "postgresql" else MYSQL_SESSION
        user, database, version = self._asked(question)[0][:3]
        product = "PostgreSQL" if self._kind == "postgresql" else "Server"
        return f"Signed in as {user}, database {database}. {product} {version}."

    def session(self) -> str:
        """See that the server takes writes and that dates are in UTC."""
        problems: list[tuple[str, str]] = []
        if self._kind == "postgresql":
            zone, read_only, standby = self._asked(POSTGRESQL_SESSION)[0][3:]
            utc, refuses = str(zone).upper() in ("UTC", "ETC/UTC", "GMT", "UCT"), read_only == "on" or standby
        else:
            offset, read_only, mode = self._asked(MYSQL_SESSION)[0][3:]
            zone, utc, refuses = f"{offset} s from UTC", not offset, bool(read_only)
            if "STRICT_" not in str(mode):
                said = "The session is not strict, so the server would cut off long results. Set sql_mode."
                problems.append(("schema", said))
        if refuses:
            problems.insert(0, ("read_only", f"The server is read-only. {_sql_errors.REMEDIES['read_only']}"))
        if not utc:
            said = f"The time zone of the session is {zone}, so dates differ from those of the purge. Set it to UTC."
            problems.append(("schema", said))
        self._tell(problems)
        return "The server takes writes, and the session is in UTC."

    @staticmethod
    def _tell(problems: Sequence[tuple[str, str]]) -> None:
        if problems:
            raise client.CheckFailedError(problems[0][0], " ".join(said for _class, said in problems))

    # The tables.

    def schema(self) -> str:
        """See that tables, columns and sequences are there, and that none of them is too small."""
        found: dict[str, dict[str, str]] = {}
        question = POSTGRESQL_COLUMNS if self._kind == "postgresql" else MYSQL_COLUMNS
        for table, column, kind in self._asked(question, [self._schema]):
            found.setdefault(str(table), {})[str(column)] = str(kind).lower()
        lacks = [name for name in (*self._tables, *self._sequences_wanted) if name not in found]
        for table, columns in self._tables.items():
            lacks += [f"{table}.{name}" for name in columns if table in found and name not in found[table]]
        small = [name for name in self._tables if found.get(name, {}).get("id", "bigint") != "bigint"]
        short = [
            f"{table}.{name}"
            for table in self._tables
            for name, kind in found.get(table, {}).items()
            if self._kind == "mysql" and kind in ("blob", "text")
        ]
        remedy = _sql_errors.REMEDIES["schema"]
        problems = []
        if lacks:
            problems.append(("schema", f"{self._schema} lacks {', '.join(lacks)}. {remedy}"))
        if small:
            said = f"The id of {' and '.join(small)} has 32 bits, which are used up after 2 thousand million results."
            problems.append(("schema", f"{said} {remedy}"))
        if short:
            problems.append(("schema", f"{', '.join(short)} hold 64 KB only. {remedy}"))
        self._tell(problems)
        return f"{self._schema} has the tables with all columns of Celery 5.7 and 64-bit ids{self._revision}."

    @property
    def _sequences_wanted(self) -> Sequence[str]:
        """MySQL has none, MariaDB and PostgreSQL do."""
        if self._kind == "postgresql" or "mariadb" in str(self._asked("SELECT VERSION()")[0][0]).lower():
            return SEQUENCES
        return ()

    @property
    def _revision(self) -> str:
        """What the role result_schema has made, where the account may read it."""
        name = f'"{self._schema}".{REVISIONS}' if self._kind == "postgresql" else REVISIONS
        try:
            found = self._asked(f"SELECT version_num FROM {name}")  # noqa: S608 - a name that the role has checked
        except Exception as error:
            if client.classify(error)[0] in ("acl", "schema"):
                return ""
            raise
        return f", revision {found[0][0]}" if found else ""

    def rights(self) -> str:
        """See that the account may do what a worker does, and that it may create nothing."""
        lacks, too_many = self._postgresql_rights() if self._kind == "postgresql" else self._mysql_rights()
        problems = []
        if lacks:
            problems.append(("acl", f"The account lacks {', '.join(lacks)}. {_sql_errors.REMEDIES['acl']}"))
        if too_many:
            said = f"The account may {too_many} in {self._schema}, which a worker needs not. Revoke it, or give the"
            problems.append(("acl", f"{said} worker an account that owns nothing."))
        self._tell(problems)
        return f"The account may read and write the results in {self._schema}, and create nothing there."

    def _postgresql_rights(self) -> tuple[list[str], str]:
        relations = [*self._tables, *SEQUENCES]
        found = self._asked(POSTGRESQL_RIGHTS, [list(RIGHTS), self._schema, relations])
        lacks = [f"{right} on {name}" for name, right, granted in found if not granted and name not in SEQUENCES]
        lacks += sorted({f"USAGE on {name}" for name, _right, granted in found if not granted and name in SEQUENCES})
        schema = "SELECT has_schema_privilege(%s, 'USAGE'), has_schema_privilege(%s, 'CREATE')"
        usage, create = self._asked(schema, [self._schema] * 2)[0]
        return [*([] if usage else [f"USAGE on the schema {self._schema}"]), *lacks], "CREATE" if create else ""

    def _mysql_rights(self) -> tuple[list[str], str]:
        (user,) = self._asked("SELECT CURRENT_USER()")[0]
        name, _at, host = str(user).rpartition("@")
        granted = {
            (str(table), str(right).upper())
            for table, right, grantee in self._asked(MYSQL_RIGHTS)
            if grantee == f"'{name}'@'{host}'"
        }
        lacks = [
            f"{right} on {table}"
            for table in self._tables
            for right in RIGHTS
            if not granted & {("", right), (table, right)}
        ]
        too_many = sorted({right for _table, right in granted if right in ("CREATE", "ALTER", "DROP")})
        return lacks, " and ".join(too_many)

    # Through Celery.

    def _task(self) -> str:
        task = str(uuid4())
        self._tasks.add(task)
        return task

    def store(self, serializer: str, task: str) -> str:
        self._tasks.add(task)
        self._application(serializer).backend.store_result(task, PAYLOAD, "SUCCESS")
        return f"Celery {sys.modules['celery'].__version__} stored a result as {serializer}."

    def group(self) -> str:
        app, group = self._application(), str(uuid4())
        self._groups.add(group)
        tasks = [self._task(), self._task()]
        app.backend.save_group(group, app.GroupResult(group, [app.AsyncResult(task) for task in tasks]))
        restored = self._application().backend.restore_group(group, cache=False)
        if restored is None or [member.id for member in restored.results] != tasks:
            raise client.CheckFailedError("unknown", f"The saved group came back changed. {client.REMEDIES['unknown']}")
        return "A group was saved and restored."

    def expire(self) -> str:
        if self._app.conf.result_expires:
            raise client.CheckFailedError(
                "config",
                f"result_expires is {self._app.conf.result_expires}, so beat plans celery.backend_cleanup, which "
                "deletes all expired results at once, beside the purge of the server. Set result_expires to None.",
            )
        return "Celery plans no cleanup of its own, so that only the purge of the server removes results."

    def delete(self) -> str:
        if not self._tasks | self._groups:
            return "Nothing was stored."
        backend = self._application().backend
        for task in sorted(self._tasks):
            backend.forget(task)
        for group in sorted(self._groups):
            backend.delete_group(group)
        left = [task for task in self._tasks if backend.get_task_meta(task, cache=False)["status"] != "PENDING"]
        left += [group for group in self._groups if backend.restore_group(group, cache=False) is not None]
        if left:
            raise client.CheckFailedError("unknown", f"Deleted results are still there. {client.REMEDIES['unknown']}")
        return f"Nothing is left of {len(self._tasks)} probe results and {len(self._groups)} groups."
