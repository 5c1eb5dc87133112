# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bring the result tables of one application to a revision, by Alembic and the revisions that travel with this file."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import inspect
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from ansible_collections.resultops.celery.plugins.module_utils import (
    _result_schema_0001,
    _result_schema_0002,
    _result_schema_0003,
    _result_schema_0004,
    _result_schema_0005,
    _result_schema_0006,
)
from ansible_collections.resultops.celery.plugins.module_utils._result_schema_grants import DML, grants
from ansible_collections.resultops.celery.plugins.module_utils._result_schema_shape import (
    GROUPS,
    TASKS,
    VERSIONS,
    Shape,
    differences,
    look,
)
from ansible_collections.resultops.celery.plugins.module_utils._result_schema_steps import Steps, StepsError, run, steps
from ansible_collections.resultops.celery.plugins.module_utils._sql_session import (
    PORTS,
    SHARED,
    Session,
    SqlError,
    mysql_socket,
    shares_sessions,
)

REVISIONS: tuple[ModuleType, ...] = (
    _result_schema_0001,
    _result_schema_0002,
    _result_schema_0003,
    _result_schema_0004,
    _result_schema_0005,
    _result_schema_0006,
)
NAMES: tuple[str, ...] = tuple(module.revision for module in REVISIONS)
PURGE_REVISION = _result_schema_0006.revision
BASE = "base"
HEAD = "head"
OLDEST = {"PostgreSQL": (13, 0), "MariaDB": (10, 6), "MySQL": (8, 0)}
LIBRARIES = {"alembic": "python3-alembic", "sqlalchemy": "python3-sqlalchemy"}


class SchemaError(SqlError):
    """One sentence that says why nothing was changed."""


@dataclass
class Outcome:
    before: str
    after: str
    adopted: bool = False
    statements: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def sql(self) -> list[str]:
        """What changes something, without what it was headed with."""
        return [statement for statement in self.statements if not statement.startswith("--")]


def require_libraries() -> None:
    missing = []
    for name in LIBRARIES:
        try:
            importlib.import_module(name)
        except ImportError:
            missing.append(name)
    if missing:
        packages = " and ".join(LIBRARIES[name] for name in missing)
        raise SchemaError(
            f"{sys.executable} has no library {' and no '.join(missing)}: install {packages} on this host."
        )


def migrate(params: dict[str, Any], check_mode: bool) -> Outcome:
    """What was there, what is there now, and the SQL between the two."""
    require_libraries()
    if params["revision"] not in (HEAD, BASE, *NAMES):
        raise SchemaError(f"revision is {params['revision']}: it must be one of {', '.join((HEAD, BASE, *NAMES))}.")
    try:
        session = Session(params)
    except SqlError as problem:
        if check_mode and params["login_unix_socket"] and not _socket_exists(params):
            return _nothing_yet(f"No server runs yet that listens at {params['login_unix_socket']}.")
        raise SchemaError(str(problem)) from None
    with contextlib.closing(session):
        return Migration(session, params, check_mode).run()


def _socket_exists(params: dict[str, Any]) -> bool:
    path = params["login_unix_socket"]
    if params["engine"] == "postgresql":
        return os.path.exists(os.path.join(path, f".s.PGSQL.{params['login_port'] or PORTS['postgresql']}"))
    try:
        return os.path.exists(mysql_socket(path))
    except SqlError:
        return False


def _nothing_yet(problem: str) -> Outcome:
    return Outcome(before=BASE, after=NAMES[-1], problems=[problem])


class Migration:
    """One run, within one session."""

    def __init__(self, session: Session, params: dict[str, Any], check_mode: bool) -> None:
        self.session = session
        self.params = params
        self.check_mode = check_mode
        self.is_postgresql = session.engine == "postgresql"
        self.where: str = params["schema"] if self.is_postgresql else params["database"]
        self.limits = {"lock_timeout": params["lock_timeout"], "timeout": params["timeout"]}

    def run(self) -> Outcome:
        self._refuse_old_server()
        self._prepare_session()
        if self.is_postgresql:
            missing = self._refuse_wrong_place()
            if missing:
                return _nothing_yet(missing)
            self._refuse_pooler()
        else:
            self._refuse_lax_server()
        with self._alone():
            return self._migrate()

    def _migrate(self) -> Outcome:
        shape = look(self.session, self.where)
        before = self._current(shape)
        after = NAMES[-1] if self.params["revision"] == HEAD else self.params["revision"]
        found = differences(shape, self.session.engine)
        if found:
            raise SchemaError(
                f"{self.where} has tables that are not as Celery makes them, and they were left alone: "
                f"{'; '.join(found)}."
            )
        owners = self._owners(shape)
        outcome = Outcome(before, after, adopted=before == BASE and TASKS in shape.tables and after != BASE)
        handed_over: list[str] = []
        steps(self.session, self.where, self.limits, handed_over).short(TASKS, *owners)
        plan: list[str] = []
        planner = steps(self.session, self.where, self.limits, plan)
        if before != after:
            self._refuse_missing_right(shape)
            self._run_revisions(planner, before, after, plan)
            self._refuse_missing_triggers(plan)
        has_purge = _position(after) >= _position(PURGE_REVISION)
        given, outcome.problems = grants(self.session, self.params, planner.shape, has_purge=has_purge)
        if plan or given:
            outcome.statements = [*handed_over, *self._role(), *plan, *given]
        else:
            outcome.statements = handed_over
        if self.check_mode or not outcome.statements:
            return outcome
        steps(self.session, self.where, self.limits).short(TASKS, *owners)
        for statement in self._role():
            run(self.session, statement)
        if before != after:
            self._run_revisions(steps(self.session, self.where, self.limits), before, after, None)
        for statement in given:
            run(self.session, statement)
        if before != after:
            # What default privileges give away on new tables is only there once they are.
            taken, _problems = grants(self.session, self.params, look(self.session, self.where), has_purge=has_purge)
            for statement in taken:
                run(self.session, statement)
            outcome.statements += taken
        return outcome

    def _refuse_old_server(self) -> None:
        if self.is_postgresql:
            name = "PostgreSQL"
            number = int(self.session.row("SHOW server_version_num")[0])
            version = (number // 10000, number % 10000)
        else:
            text = str(self.session.row("SELECT VERSION()")[0])
            name = "MariaDB" if "mariadb" in text.lower() else "MySQL"
            parts = text.split("-", maxsplit=1)[0].split(".")
            version = (int(parts[0]), int(parts[1]))
        if version < OLDEST[name]:
            shown = ".".join(str(part) for part in version)
            oldest = ".".join(str(part) for part in OLDEST[name] if part)
            raise SchemaError(
                f"The server at {self.session.where} is {name} {shown}: {oldest} is the oldest supported."
            )

    def _prepare_session(self) -> None:
        """No limit of a role may end a step half way, and no wait may last longer than asked for."""
        if self.is_postgresql:
            settings = {"statement_timeout": "0", "lock_timeout": "0", "idle_in_transaction_session_timeout": "0"}
            for name, value in settings.items():
                run(self.session, f"SET {name} = {value}")
                shown = str(self.session.row(f"SHOW {name}")[0])
                if shown != value:
                    raise SchemaError(
                        f"{name} is {shown} at {self.session.where} and cannot be set for this session, so that a "
                        "migration would be ended half way: log in to the server itself, not to a proxy in front of it."
                    )
            if self.session.row("SELECT pg_is_in_recovery()")[0]:
                raise SchemaError(f"The server at {self.session.where} is a standby: log in to the primary.")
            return
        for setting in (
            "sql_mode = 'STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION'",
            "lock_wait_timeout = 1",
            "innodb_lock_wait_timeout = 1",
            "time_zone = '+00:00'",
            "TRANSACTION ISOLATION LEVEL READ COMMITTED",
        ):
            run(self.session, f"SET SESSION {setting}")
        if "mariadb" in str(self.session.row("SELECT VERSION()")[0]).lower():
            run(self.session, "SET SESSION max_statement_time = 0")

    def _refuse_wrong_place(self) -> str:
        """Roles and schemas are not made here. In check mode they may be about to be made."""
        owner = self.params["owner"]
        schemas = self.session.rows("SELECT 1 FROM pg_namespace WHERE nspname = %s", (self.where,))
        if not schemas:
            problem = f"The database {self.params['database']} has no schema {self.where}"
            if self.check_mode:
                return f"{problem} yet."
            raise SchemaError(f"{problem}: name the right one in schema, or create it first.")
        if owner:
            known = self.session.rows("SELECT pg_has_role(oid, 'MEMBER') FROM pg_roles WHERE rolname = %s", (owner,))
            if not known and self.check_mode:
                return f"There is no role {owner} yet."
            if not known or not known[0][0]:
                words = "is not a member of the role" if known else "cannot become the role"
                what = "" if known else ", which does not exist"
                raise SchemaError(f"{self.params['login_user']} {words} {owner}{what}: see to owner, or leave it out.")
        return ""

    def _refuse_pooler(self) -> None:
        """A lock and a setting that belong to a session mean nothing where each transaction may get another one."""
        if not self.params["login_host"]:
            return
        with contextlib.closing(Session(self.params)) as other:
            if shares_sessions(self.session, other):
                raise SchemaError(SHARED.format(self.session.where))

    def _refuse_lax_server(self) -> None:
        mode, read_only = self.session.row("SELECT @@GLOBAL.sql_mode, @@GLOBAL.read_only")
        if not {"STRICT_TRANS_TABLES", "STRICT_ALL_TABLES"} & {*str(mode).split(",")}:
            raise SchemaError(
                f"sql_mode of the server at {self.session.where} is not strict, so that it cuts off results without an "
                "error: add STRICT_TRANS_TABLES to sql_mode in its configuration."
            )
        if str(read_only).upper() not in ("0", "OFF"):
            raise SchemaError(f"The server at {self.session.where} is read-only: log in to the primary.")

    def _refuse_missing_right(self, shape: Shape) -> None:
        """Before anything changes, not in the middle of it."""
        if not self.is_postgresql:
            return
        who = self.params["owner"] or self.params["login_user"]
        user = "%s::name" if self.params["owner"] else "current_user"
        values = [self.params["owner"]] if self.params["owner"] else []
        question = f"SELECT has_schema_privilege({user}, %s, 'CREATE')"
        if not self.session.row(question, [*values, self.where])[0]:
            raise SchemaError(
                f"{who} has no right to create tables in the schema {self.where}: "
                f"GRANT CREATE, USAGE ON SCHEMA {self.where} TO {who}, or name another owner."
            )
        for name, table in shape.tables.items():
            if table.owner and not self.params["owner"]:
                owned = self.session.row("SELECT pg_has_role(%s::name, 'USAGE')", (table.owner,))[0]
                if not owned:
                    raise SchemaError(
                        f"{self.where}.{name} belongs to {table.owner}, and {who} is no member of it: log in as "
                        f"{table.owner}, or as a member."
                    )

    def _refuse_missing_triggers(self, plan: list[str]) -> None:
        """With a binary log MariaDB and MySQL want more than the right to make them."""
        if self.is_postgresql or not any(statement.startswith("CREATE TRIGGER") for statement in plan):
            return
        logged, trusted = self.session.row("SELECT @@GLOBAL.log_bin, @@GLOBAL.log_bin_trust_function_creators")
        rights = " ".join(str(row[0]) for row in self.session.rows("SHOW GRANTS") if " ON *.* " in str(row[0]))
        if logged and not trusted and "SUPER" not in rights and "ALL PRIVILEGES" not in rights:
            raise SchemaError(
                f"The server at {self.session.where} keeps a binary log and lets {self.params['login_user']} make no "
                "triggers, without which a table cannot be copied while others write: "
                "set log_bin_trust_function_creators to 1 there, or log in as an administrator."
            )

    def _owners(self, shape: Shape) -> list[str]:
        """An adopted table belongs to whom Celery logged in as, which shall have no right on its shape any more."""
        owner = self.params["owner"]
        if not self.is_postgresql or not owner:
            return []
        statements = []
        relations = [("TABLE", name, table.owner) for name, table in shape.tables.items()]
        relations += [("SEQUENCE", name, actual) for name, actual in shape.sequences.items()]
        ordinary = {row[0] for row in self.session.rows("SELECT rolname FROM pg_roles WHERE NOT rolsuper")}
        for kind, name, actual in relations:
            if actual == owner:
                continue
            if not self.session.row("SELECT pg_has_role(%s::name, 'USAGE')", (actual,))[0]:
                raise SchemaError(
                    f"{self.where}.{name} belongs to {actual}, and {self.params['login_user']} cannot give it to "
                    f"{owner}: log in as a superuser, or as a member of both."
                )
            of_schema = self.session.of_schema(name)
            statements.append(f"ALTER {kind} {of_schema} OWNER TO {self.session.name(owner)}")
            if actual in ordinary:
                # Whoever owns a table has all rights on it until then, and stores results by them.
                words = "USAGE" if kind == "SEQUENCE" else ", ".join(DML)
                statements.append(f"GRANT {words} ON {kind} {of_schema} TO {self.session.name(actual)}")
        return statements

    def _role(self) -> list[str]:
        """Whatever is made belongs to the owner."""
        owner = self.params["owner"] if self.is_postgresql else None
        return [f"SET ROLE {self.session.name(owner)}"] if owner else []

    def _current(self, shape: Shape) -> str:
        if VERSIONS not in shape.tables:
            return BASE
        statement = f"SELECT version_num FROM {self.session.of_schema(VERSIONS)}"  # noqa: S608 - a quoted name
        found = [row[0] for row in self.session.rows(statement)]
        if not found:
            return BASE
        unknown = [name for name in found if name not in NAMES]
        if unknown or len(found) > 1:
            raise SchemaError(
                f"{self.where} is at revision {' and '.join(found)}, and this release knows {NAMES[0]} to {NAMES[-1]}: "
                "use the release that brought it there, or a newer one."
            )
        return str(found[0])

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Only one run at a time may work on a schema. Planning needs no lock."""
        if self.check_mode:
            yield
            return
        digest = hashlib.sha256(f"resultops.celery {self.where}".encode())
        deadline = time.monotonic() + self.limits["timeout"]
        key = int.from_bytes(digest.digest()[:8], "big", signed=True)
        name = f"resultops.celery {digest.hexdigest()[:32]}"
        take = f"SELECT pg_try_advisory_lock({key})" if self.is_postgresql else f"SELECT GET_LOCK('{name}', 0)"
        give = f"SELECT pg_advisory_unlock({key})" if self.is_postgresql else f"SELECT RELEASE_LOCK('{name}')"
        while not self.session.row(take)[0]:
            if time.monotonic() > deadline:
                raise SchemaError(
                    f"Another run has been migrating {self.where} for {self.limits['timeout']} seconds: wait for it, "
                    "or give a longer timeout."
                )
            time.sleep(0.2)
        try:
            yield
        finally:
            with contextlib.suppress(SqlError):
                run(self.session, give)

    def _run_revisions(self, work: Steps, before: str, after: str, plan: list[str] | None) -> None:
        """Alembic finds the way, keeps the table of versions, and writes SQL instead of running it."""
        import sqlalchemy
        from alembic.config import Config
        from alembic.runtime.environment import EnvironmentContext
        from alembic.script import ScriptDirectory

        engine = sqlalchemy.create_engine(
            f"{self._dialect()}://",
            creator=lambda: self.session._connection,
            poolclass=sqlalchemy.pool.StaticPool,
            isolation_level="AUTOCOMMIT",
        )
        upwards = _position(after) > _position(before)

        def path(current: Any, _context: Any) -> Any:
            if upwards:
                return script._upgrade_revs(after, current)
            return script._downgrade_revs(after, current)

        def done(*_positional: Any, **_details: Any) -> None:
            work.refresh()

        # Alembic asks for a file and only writes to it.
        output: Any = _Plan(plan) if plan is not None else None

        with tempfile.TemporaryDirectory(prefix="result_schema_") as directory, engine.connect() as connection:
            _write_revisions(directory)
            script = ScriptDirectory(directory)
            environment = EnvironmentContext(
                Config(),
                script,
                fn=path,
                as_sql=plan is not None,
                starting_rev=before if plan is not None and before != BASE else None,
                destination_rev=after,
            )
            with environment:
                environment.configure(
                    connection=connection,
                    version_table=VERSIONS,
                    version_table_schema=self.where if self.is_postgresql else None,
                    transactional_ddl=False,
                    output_buffer=output,
                    on_version_apply=done,
                )
                try:
                    environment.run_migrations(steps=work)
                except sqlalchemy.exc.DBAPIError as problem:
                    raise SchemaError(f"The server at {self.session.where} refuses: {problem.orig}.") from None

    def _dialect(self) -> str:
        driver = type(self.session._connection).__module__.partition(".")[0]
        return f"postgresql+{driver}" if self.is_postgresql else "mysql+pymysql"


class _Plan:
    """What Alembic writes its SQL to."""

    def __init__(self, plan: list[str]) -> None:
        self.plan = plan

    def write(self, text: str) -> None:
        statement = text.strip().removesuffix(";")
        if statement:
            self.plan.append(statement)

    def flush(self) -> None:
        """There is nothing to flush."""


def _position(revision: str) -> int:
    return -1 if revision == BASE else NAMES.index(revision)


def _write_revisions(directory: str) -> None:
    """Alembic reads revisions from files, and in a module that Ansible runs there are none."""
    versions = os.path.join(directory, "versions")
    os.mkdir(versions)
    for module in REVISIONS:
        with open(os.path.join(versions, f"{module.revision}.py"), "w", encoding="utf-8") as file:
            file.write(inspect.getsource(module))


__all__ = ["BASE", "GROUPS", "HEAD", "NAMES", "Outcome", "SchemaError", "StepsError", "migrate"]
