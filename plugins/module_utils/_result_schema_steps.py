# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The steps that the revisions of the result tables are made of.

Each step looks at what is there and does what is missing, so that a run which was interrupted anywhere is finished by
the next one. Steps that only plan write their statements down, and change a copy of what is there instead.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import datetime, timezone

from ansible_collections.resultops.celery.plugins.module_utils._result_schema_shape import (
    BLOBS,
    GROUPS,
    INTEGERS,
    KEY,
    SEQUENCES,
    TASKS,
    Column,
    Index,
    Shape,
    Table,
    look,
)
from ansible_collections.resultops.celery.plugins.module_utils._sql_session import Session, SqlError, tidy

SMALL_ID_LIMIT = 2**31 - 1
# Stores that run meanwhile take ids from the sequence.
SMALL_ID_MARGIN = 1_000_000
BATCH = 1000
PAUSE = 0.2

TASK_COLUMNS = {
    "id": "id",
    "task_id": "text",
    "status": "status",
    "result": "bytes",
    "date_done": "moment",
    "traceback": "long",
    "name": "text",
    "args": "bytes",
    "kwargs": "bytes",
    "worker": "text",
    "retries": "number",
    "queue": "text",
}
GROUP_COLUMNS = {"id": "id", "taskset_id": "text", "result": "bytes", "date_done": "moment"}
COLUMNS = {TASKS: TASK_COLUMNS, GROUPS: GROUP_COLUMNS}
LATER_COLUMNS = {TASKS: {"children": "bytes", "stamps": "bytes"}, GROUPS: {}}
DATE_INDEX = {TASKS: f"ix_{TASKS}_date_done", GROUPS: f"ix_{GROUPS}_date_done"}


class RefusedError(SqlError):
    """The server refuses a statement; the code says why."""

    def __init__(self, sentence: str, code: str) -> None:
        super().__init__(sentence)
        self.code = code


class StepsError(SqlError):
    """A revision cannot be reached from what is there."""


class Steps(ABC):
    """What a revision may do on either engine."""

    busy: frozenset[str]
    types: dict[str, str]

    def __init__(self, session: Session, where: str, limits: dict[str, int], plan: list[str] | None = None) -> None:
        self.session = session
        self.where = where
        self.lock_timeout = limits["lock_timeout"]
        self.timeout = limits["timeout"]
        self.plan = plan
        self.there = look(session, where)
        self.shape: Shape = self.there.copy()

    @property
    def engine(self) -> str:
        return self.session.engine

    def refresh(self) -> None:
        """Forget what was foreseen, once a revision is done."""
        if self.plan is None:
            self.there = look(self.session, self.where)
            self.shape = self.there.copy()

    def emit(self, statement: str) -> None:
        if self.plan is not None:
            self.plan.append(statement)
            return
        run(self.session, statement)

    def patiently(self, action: Callable[[], None], table: str) -> None:
        """Try again while other transactions are in the way, which each try makes wait only for a moment."""
        deadline = time.monotonic() + self.timeout
        while True:
            try:
                action()
            except RefusedError as refusal:
                if refusal.code not in self.busy:
                    raise
                if time.monotonic() > deadline:
                    raise StepsError(
                        f"{self.where}.{table} was in use by other transactions for {self.timeout} seconds: end those "
                        "that are idle, or give a longer timeout, and run this again, which goes on where it stopped."
                    ) from None
                time.sleep(PAUSE)
            else:
                return

    def quoted(self, name: str) -> str:
        return self.session.name(name)

    def of(self, name: str) -> str:
        return self.session.of_schema(name)

    def type_of(self, column: str) -> str:
        return self.types[{**TASK_COLUMNS, **GROUP_COLUMNS, **LATER_COLUMNS[TASKS]}[column]]

    def highest(self, table: str) -> int:
        """The highest id in use; only of a table that is really there."""
        if table not in self.there.tables:
            return 0
        return int(self.session.row(f"SELECT COALESCE(MAX(id), 0) FROM {self.of(table)}")[0])  # noqa: S608

    def is_empty(self, table: str) -> bool:
        if table not in self.there.tables:
            return True
        return not self.session.rows(f"SELECT 1 FROM {self.of(table)} LIMIT 1")  # noqa: S608

    def create_tables(self) -> None:
        """0001: what Celery 5.4 makes, with wide types from the start."""
        statements = []
        for table in (TASKS, GROUPS):
            statements += self._missing_sequence(table)
            if table not in self.shape.tables:
                statements.append(self._create_table(table))
                self.shape.tables[table] = Table(
                    columns={
                        name: Column(self._shown_type(kind), nullable=name != "id")
                        for name, kind in COLUMNS[table].items()
                    },
                    indexes={
                        "PRIMARY": Index(("id",), unique=True, primary=True),
                        f"{table}_{KEY[table]}_key": Index((KEY[table],), unique=True),
                    },
                )
        self.short(TASKS, *statements)

    def drop_tables(self) -> None:
        """0001, backwards."""
        for table in (TASKS, GROUPS):
            if table in self.shape.tables and not self.is_empty(table):
                raise StepsError(
                    f"{self.where}.{table} holds results, which would be lost: revision 0001, which is what Celery 5.4 "
                    "makes, is the lowest that it can go down to."
                )
        self.short(
            TASKS,
            *[f"DROP TABLE {self.of(table)}" for table in (TASKS, GROUPS) if table in self.shape.tables],
            *[f"DROP SEQUENCE {self.of(name)}" for name in SEQUENCES.values() if name in self.shape.sequences],
        )

    def _missing_sequence(self, table: str) -> list[str]:
        name = SEQUENCES[table]
        if name in self.shape.sequences or not self.uses_sequence(table):
            return []
        self.shape.sequences[name] = ""
        start = self.highest(table) + 1
        return [f"CREATE SEQUENCE {self.of(name)}" + (f" START WITH {start}" if start > 1 else "")]

    def add_columns(self) -> None:
        """0002: what Celery 5.7 added, and the age of a row that is not done."""
        for table in (TASKS, GROUPS):
            wanted = {**COLUMNS[table], **LATER_COLUMNS[table]}
            missing = [name for name in wanted if name not in self.shape.tables[table].columns]
            parts = [f"ADD COLUMN {self.quoted(name)} {self.types[wanted[name]]}" for name in missing]
            statements = [f"ALTER TABLE {self.of(table)} {', '.join(parts)}"] if parts else []
            for name in missing:
                self.shape.tables[table].columns[name] = Column(self._shown_type(wanted[name]))
            if "created" not in self.shape.tables[table].columns:
                statements += self._created(table)
                self.shape.tables[table].columns["created"] = Column(self._shown_type("moment"), nullable=False)
            self.short(table, *statements)

    def drop_columns(self) -> None:
        """0002, backwards. Celery of any version ignores the other columns, and they may hold values."""
        for table in (TASKS, GROUPS):
            if "created" in self.shape.tables[table].columns:
                del self.shape.tables[table].columns["created"]
                self.short(table, f"ALTER TABLE {self.of(table)} DROP COLUMN {self.quoted('created')}")

    def refuse_narrow_ids(self) -> None:
        """Before a table goes back to ids of 32 bits."""
        for table in (TASKS, GROUPS):
            highest = max(self.highest(table), self._next_id(table))
            if highest > SMALL_ID_LIMIT - SMALL_ID_MARGIN:
                raise StepsError(
                    f"{self.where}.{table} has ids up to {highest}, for which 32 bits are too few: revision 0003 is "
                    "the lowest that it can go down to."
                )

    @abstractmethod
    def short(self, table: str, *statements: str) -> None:
        """Do all of it, or nothing, and hold the table for a moment only."""

    @abstractmethod
    def uses_sequence(self, table: str) -> bool:
        """Whether Celery takes the ids of the table from a sequence."""

    @abstractmethod
    def widen_ids(self) -> None:
        """0003: ids of 64 bits."""

    @abstractmethod
    def narrow_ids(self) -> None:
        """0003, backwards."""

    @abstractmethod
    def store_well(self) -> None:
        """0004: large values, and how they are kept."""

    @abstractmethod
    def store_as_before(self) -> None:
        """0004, backwards."""

    @abstractmethod
    def index_dates(self) -> None:
        """0005: the index that finds what is old."""

    @abstractmethod
    def index_dates_as_celery(self) -> None:
        """0005, backwards."""

    @abstractmethod
    def _create_table(self, table: str) -> str: ...

    @abstractmethod
    def _created(self, table: str) -> list[str]: ...

    @abstractmethod
    def _shown_type(self, kind: str) -> str:
        """How the server names a type."""

    @abstractmethod
    def _next_id(self, table: str) -> int: ...


class PostgresqlSteps(Steps):
    """Nothing here holds a table for longer than `lock_timeout` and the moment that its statement takes."""

    # Lock timeout, deadlock.
    busy = frozenset({"55P03", "40P01"})
    types = {  # noqa: RUF012 - a constant of the class
        "id": "bigint NOT NULL",
        "text": "varchar(155)",
        "status": "varchar(50)",
        "bytes": "bytea",
        "moment": "timestamp",
        "long": "text",
        "number": "integer",
    }
    OPTIONS = (
        "autovacuum_vacuum_scale_factor=0.02",
        "autovacuum_vacuum_insert_scale_factor=0.05",
        "autovacuum_analyze_scale_factor=0.02",
        "autovacuum_vacuum_cost_limit=1000",
    )

    @property
    def version(self) -> int:
        return int(self.session.row("SHOW server_version_num")[0]) // 10000

    def uses_sequence(self, table: str) -> bool:  # noqa: ARG002 - of either engine
        return True

    def short(self, table: str, *statements: str) -> None:
        if not statements:
            return
        group = ["BEGIN", f"SET LOCAL lock_timeout = '{self.lock_timeout}ms'", *statements, "COMMIT"]

        def all_of_it() -> None:
            try:
                for statement in group:
                    self.emit(statement)
            except SqlError:
                run(self.session, "ROLLBACK")
                raise

        self.patiently(all_of_it, table)

    def widen_ids(self) -> None:
        for table in (TASKS, GROUPS):
            self._change_ids(table, "bigint")

    def narrow_ids(self) -> None:
        self.refuse_narrow_ids()
        for table in (TASKS, GROUPS):
            self._change_ids(table, "integer")

    def _change_ids(self, table: str, wanted: str) -> None:
        """To change the type in place would rewrite the table while nobody could store anything."""
        actual = self.shape.tables[table]
        if actual.id_type == wanted:
            return
        self._refuse_dependents(table)
        helper, index, check = f"{table}_id_new", f"{table}_id_new_key", f"{table}_id_new_set"
        name, new = self.of(table), self.quoted("id_new")
        self._begin_copy(table, wanted, helper)
        self.patiently(lambda: self._copy_ids(table), table)
        self._build_index(table, index, "(id_new)", unique=True)
        if check not in actual.checks:
            self.short(
                table,
                f"ALTER TABLE {name} ADD CONSTRAINT {self.quoted(check)} CHECK ({new} IS NOT NULL) NOT VALID",
            )
        if not actual.checks.get(check):
            self.patiently(lambda: self.emit(f"ALTER TABLE {name} VALIDATE CONSTRAINT {self.quoted(check)}"), table)
        default = actual.columns["id"].default
        primary = actual.primary
        if primary == "PRIMARY":
            primary = f"{table}_pkey"
        self.short(
            table,
            f"LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE",
            f"DROP TRIGGER {self.quoted(helper)} ON {name}",
            f"DROP FUNCTION {self.of(helper)}()",
            f"ALTER TABLE {name} ALTER COLUMN {new} SET NOT NULL",
            f"ALTER TABLE {name} DROP CONSTRAINT {self.quoted(check)}",
            *([f"ALTER SEQUENCE {self.of(SEQUENCES[table])} OWNED BY NONE"] if default else []),
            *([f"ALTER TABLE {name} ALTER COLUMN {new} SET DEFAULT {default}"] if default else []),
            f"ALTER TABLE {name} DROP COLUMN id",
            f"ALTER TABLE {name} RENAME COLUMN {new} TO id",
            f"ALTER TABLE {name} ADD CONSTRAINT {self.quoted(primary)} PRIMARY KEY USING INDEX {self.quoted(index)}",
            *self._granted_again(table),
        )
        self.emit(f"ANALYZE {name}")
        actual.columns["id"] = Column(wanted, nullable=False)

    def _granted_again(self, table: str) -> list[str]:
        """A column takes what was granted on it alone along when it goes."""
        rows = self.session.rows(
            "SELECT x.privilege_type, pg_get_userbyid(x.grantee) FROM pg_attribute, aclexplode(attacl) x"
            " WHERE attrelid = to_regclass(%s) AND attname = 'id' AND x.grantee <> 0 ORDER BY 1, 2",
            (self.of(table),),
        )
        return [f"GRANT {word} (id) ON {self.of(table)} TO {self.quoted(user)}" for word, user in rows]

    def _refuse_dependents(self, table: str) -> None:
        found = self.session.rows(
            "SELECT DISTINCT coalesce(r.ev_class, f.conrelid)::regclass::text FROM pg_depend d"
            " JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid AND a.attname = 'id'"
            " LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid"
            " LEFT JOIN pg_constraint f"
            " ON d.classid = 'pg_constraint'::regclass AND f.oid = d.objid AND f.contype = 'f'"
            " WHERE d.refobjid = to_regclass(%s) AND coalesce(r.ev_class, f.conrelid) IS NOT NULL",
            (self.of(table),),
        )
        if found:
            raise StepsError(
                f"{self.where}.{table}.id cannot change its type while {', '.join(sorted(row[0] for row in found))} "
                "depends on it: drop what depends on it, and make it anew afterwards."
            )

    def _begin_copy(self, table: str, wanted: str, helper: str) -> None:
        """From here on, every store fills the new column by itself."""
        actual = self.shape.tables[table]
        name = self.of(table)
        statements = []
        column = actual.columns.get("id_new")
        if column and column.type != wanted:
            statements.append(f"ALTER TABLE {name} DROP COLUMN id_new")
            column = None
            actual.checks.pop(f"{table}_id_new_set", None)
        if column is None:
            statements.append(f"ALTER TABLE {name} ADD COLUMN id_new {wanted}")
        if helper not in actual.triggers or statements:
            statements += [
                f"CREATE OR REPLACE FUNCTION {self.of(helper)}() RETURNS trigger LANGUAGE plpgsql AS "
                "$copy$ BEGIN NEW.id_new := NEW.id; RETURN NEW; END $copy$",
                f"DROP TRIGGER IF EXISTS {self.quoted(helper)} ON {name}",
                f"CREATE TRIGGER {self.quoted(helper)} BEFORE INSERT OR UPDATE ON {name}"
                f" FOR EACH ROW EXECUTE FUNCTION {self.of(helper)}()",
            ]
        self.short(table, *statements)

    def _copy_ids(self, table: str) -> None:
        """Each batch is a transaction of its own, and is followed by as long a pause for the stores' sake."""
        name = self.of(table)
        self.emit(f"SET lock_timeout = '{self.lock_timeout}ms'")
        self.emit(
            # S608: names are quoted
            "DO $copy$\n"  # noqa: S608
            "DECLARE\n"
            f"    low bigint := (SELECT min(id)::bigint - 1 FROM {name} WHERE id_new IS NULL);\n"
            "    high bigint;\n"
            "    begun timestamptz;\n"
            "BEGIN\n"
            "    LOOP\n"
            "        begun := clock_timestamp();\n"
            "        SELECT max(id) INTO high\n"
            f"            FROM (SELECT id FROM {name} WHERE id > low ORDER BY id LIMIT {BATCH}) AS batch;\n"
            "        EXIT WHEN high IS NULL;\n"
            f"        UPDATE {name} SET id_new = id WHERE id > low AND id <= high AND id_new IS NULL;\n"
            "        COMMIT;\n"
            "        low := high;\n"
            "        PERFORM pg_sleep(extract(epoch FROM clock_timestamp() - begun));\n"
            "    END LOOP;\n"
            "END $copy$"
        )
        self.emit("SET lock_timeout = 0")

    def _build_index(self, table: str, index: str, what: str, *, unique: bool = False) -> None:
        """A build that was interrupted leaves an index that nothing uses and every store pays for."""
        word = "UNIQUE " if unique else ""

        def build() -> None:
            existing = self.shape.tables[table].indexes.get(index)
            if existing and existing.valid:
                return
            # The build waits for transactions that began before it, but nobody waits for the build.
            self.emit(f"SET lock_timeout = '{self.timeout}s'")
            if existing:
                self.emit(f"DROP INDEX CONCURRENTLY {self.of(index)}")
            try:
                self.emit(f"CREATE {word}INDEX CONCURRENTLY {self.quoted(index)} ON {self.of(table)} {what}")
            except SqlError:
                self.shape = look(self.session, self.where)
                raise
            self.emit("SET lock_timeout = 0")

        self.patiently(build, table)
        self.shape.tables[table].indexes[index] = Index(("id_new",) if unique else ("date_done",), unique=unique)

    def store_well(self) -> None:
        for table in (TASKS, GROUPS):
            actual = self.shape.tables[table]
            statements = []
            if self._has_lz4():
                values = [*BLOBS[table], *(["traceback"] if table == TASKS else [])]
                plain = [name for name in values if actual.columns[name].compression != "lz4"]
                for name in plain:
                    actual.columns[name].compression = "lz4"
                statements += self._compression(table, plain, "lz4")
            if not actual.options.issuperset(self.OPTIONS):
                statements.append(f"ALTER TABLE {self.of(table)} SET ({', '.join(self.OPTIONS)})")
                actual.options |= {*self.OPTIONS}
            self.short(table, *statements)

    def store_as_before(self) -> None:
        for table in (TASKS, GROUPS):
            actual = self.shape.tables[table]
            pressed = [name for name, column in actual.columns.items() if column.compression == "lz4"]
            statements = self._compression(table, pressed, "default")
            names = [option.partition("=")[0] for option in self.OPTIONS]
            if actual.options.intersection(self.OPTIONS):
                statements.append(f"ALTER TABLE {self.of(table)} RESET ({', '.join(names)})")
            for name in pressed:
                actual.columns[name].compression = ""
            actual.options -= {*self.OPTIONS}
            self.short(table, *statements)

    def _compression(self, table: str, columns: Sequence[str], method: str) -> list[str]:
        parts = [f"ALTER COLUMN {self.quoted(name)} SET COMPRESSION {method}" for name in columns]
        return [f"ALTER TABLE {self.of(table)} {', '.join(parts)}"] if parts else []

    def _has_lz4(self) -> bool:
        if self.version < 14:
            return False
        row = self.session.row(
            "SELECT 'lz4' = ANY (enumvals) FROM pg_settings WHERE name = 'default_toast_compression'"
        )
        return bool(row[0])

    def index_dates(self) -> None:
        for table in (TASKS, GROUPS):
            # From version 16 on a BRIN leaves an update within its page. One that sums up by itself writes more WAL.
            if self.version < 16:
                self._build_index(table, DATE_INDEX[table], "(date_done)")
            else:
                self._build_index(table, self._brin(table), "USING brin (date_done) WITH (pages_per_range = 32)")
                self._drop_index(table, DATE_INDEX[table])

    def index_dates_as_celery(self) -> None:
        for table in (TASKS, GROUPS):
            self._build_index(table, DATE_INDEX[table], "(date_done)")
            self._drop_index(table, self._brin(table))

    def _brin(self, table: str) -> str:
        return f"{table}_date_done_brin"

    def _drop_index(self, table: str, index: str) -> None:
        if self.shape.tables[table].indexes.pop(index, None):
            self.emit(f"SET lock_timeout = '{self.timeout}s'")
            self.patiently(lambda: self.emit(f"DROP INDEX CONCURRENTLY {self.of(index)}"), table)
            self.emit("SET lock_timeout = 0")

    def _create_table(self, table: str) -> str:
        columns = [f"{self.quoted(name)} {self.types[kind]}" for name, kind in COLUMNS[table].items()]
        return f"CREATE TABLE {self.of(table)} ({', '.join(columns)}, PRIMARY KEY (id), UNIQUE ({KEY[table]}))"

    def _created(self, table: str) -> list[str]:
        # A time that is the same for all rows costs nothing, however many there are.
        return [
            f"ALTER TABLE {self.of(table)} ADD COLUMN created timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'utc')"
        ]

    def _shown_type(self, kind: str) -> str:
        named = {"id": "bigint", "moment": "timestamp without time zone"}
        return named.get(kind, self.types[kind].replace("varchar", "character varying"))

    def _next_id(self, table: str) -> int:
        if SEQUENCES[table] not in self.there.sequences:
            return 0
        return int(self.session.row(f"SELECT last_value FROM {self.of(SEQUENCES[table])}")[0])  # noqa: S608


class MysqlSteps(Steps):
    """MariaDB and MySQL. What they cannot change while others write is copied into a table that takes the place."""

    # Lock timeout, deadlock, and a row that a trigger copied at the same moment.
    busy = frozenset({"1205", "1213", "1062"})
    types = {  # noqa: RUF012 - a constant of the class
        "id": "BIGINT NOT NULL",
        "text": "VARCHAR(155)",
        "status": "VARCHAR(50)",
        "bytes": "LONGBLOB",
        "moment": "DATETIME",
        "long": "LONGTEXT",
        "number": "INTEGER",
    }
    # In this order: with the last one, all that happens to a row that a trigger has copied is copied, too.
    EVENTS = ("delete", "update", "insert")
    # Nobody else calls a table so, whatever he keeps beside those of Celery.
    COPY, REPLACED = "_resultops_new", "_resultops_old"
    # Celery's own types, and how many bytes they hold.
    NARROW = {"longblob": ("BLOB", 65535), "longtext": ("TEXT", 65535)}  # noqa: RUF012 - a constant of the class

    @property
    def is_mariadb(self) -> bool:
        return "mariadb" in str(self.session.row("SELECT VERSION()")[0]).lower()

    def uses_sequence(self, table: str) -> bool:  # noqa: ARG002 - of either engine
        return self.is_mariadb

    def short(self, table: str, *statements: str) -> None:
        """Each statement commits by itself here; a run that is interrupted between two finds what is done."""
        for statement in statements:
            self.patiently(lambda statement=statement: self.emit(statement), table)  # type: ignore[misc]

    def widen_ids(self) -> None:
        # The values of 0004 come along, since a table should only be copied once.
        for table in (TASKS, GROUPS):
            self._copy(table, {**self._wide_values(table), "id": "BIGINT"})

    def narrow_ids(self) -> None:
        self.refuse_narrow_ids()
        for table in (TASKS, GROUPS):
            self._copy(table, {"id": "INTEGER"})

    def store_well(self) -> None:
        for table in (TASKS, GROUPS):
            self._copy(table, self._wide_values(table))

    def store_as_before(self) -> None:
        for table in (TASKS, GROUPS):
            narrow = {}
            for name in self._wide_values(table):
                kind, limit = self.NARROW.get(self.shape.tables[table].columns[name].type, ("", 0))
                if kind:
                    narrow[name] = kind
                    self._refuse_large_values(table, name, limit)
            self._copy(table, narrow)

    def _refuse_large_values(self, table: str, column: str, limit: int) -> None:
        if table not in self.there.tables:
            return
        statement = f"SELECT 1 FROM {self.of(table)} WHERE LENGTH({self.quoted(column)}) > {limit} LIMIT 1"  # noqa: S608
        if self.session.rows(statement):
            raise StepsError(
                f"{self.where}.{table}.{column} has values of more than {limit} bytes, which Celery's own column "
                "cannot hold: revision 0004 is the lowest that it can go down to."
            )

    def _wide_values(self, table: str) -> dict[str, str]:
        names = dict.fromkeys(BLOBS[table], self.types["bytes"])
        return {**names, "traceback": self.types["long"]} if table == TASKS else names

    def _copy(self, table: str, wanted: dict[str, str]) -> None:
        """Change types while others write: into a copy that triggers keep up, which then takes the table's place."""
        actual = self.shape.tables[table]
        self._clean(table)
        changes = {
            name: kind
            for name, kind in wanted.items()
            if name in actual.columns
            and actual.columns[name].type.partition("(")[0] != self._shown_type_of(kind).partition("(")[0]
        }
        if not changes:
            return
        self._refuse_dependents(table)
        new, old = self.of(table + self.COPY), self.of(table + self.REPLACED)
        try:
            self.emit(f"CREATE TABLE {new} LIKE {self.of(table)}")
            self.emit(f"ALTER TABLE {new} {', '.join(self._modified(table, changes))}")
            self.short(table, *self._triggers(table))
            self._copy_rows(table)
            self.short(table, f"RENAME TABLE {self.of(table)} TO {old}, {new} TO {self.of(table)}")
        except SqlError:
            if self.plan is None:
                self.shape = look(self.session, self.where)
                self._clean(table)
            raise
        self.emit(f"DROP TABLE {old}")
        for name, kind in changes.items():
            actual.columns[name].type = self._shown_type_of(kind)

    def _refuse_dependents(self, table: str) -> None:
        """A copy would take neither foreign keys nor triggers along."""
        keys = self.session.rows(
            "SELECT DISTINCT CONCAT(table_name, '.', constraint_name) FROM information_schema.key_column_usage"
            " WHERE referenced_table_name IS NOT NULL AND (table_schema = %s AND table_name = %s"
            " OR referenced_table_schema = %s AND referenced_table_name = %s)",
            (self.where, table) * 2,
        )
        found = sorted(row[0] for row in keys) + sorted(self.shape.tables[table].triggers)
        if found:
            raise StepsError(
                f"{self.where}.{table} cannot be changed while {', '.join(found)} depends on it: drop what depends on "
                "it, and make it anew afterwards."
            )

    def _clean(self, table: str) -> None:
        """Take away what a run that was interrupted has left."""
        names = [f"{table}{self.COPY}_{event}" for event in self.EVENTS]
        left = [f"DROP TRIGGER {self.of(name)}" for name in names if name in self.shape.tables[table].triggers]
        for name in (table + self.COPY, table + self.REPLACED):
            if self.shape.tables.pop(name, None):
                left.append(f"DROP TABLE {self.of(name)}")
        self.short(table, *left)
        self.shape.tables[table].triggers -= {*names}

    def _modified(self, table: str, changes: dict[str, str]) -> list[str]:
        actual = self.shape.tables[table]
        parts = []
        for name, kind in changes.items():
            rest = "" if name != "id" else " NOT NULL AUTO_INCREMENT" if actual.has_auto_increment else " NOT NULL"
            parts.append(f"MODIFY {self.quoted(name)} {kind}{rest}")
        return parts

    def _triggers(self, table: str) -> list[str]:
        new, names = self.of(table + self.COPY), list(self.shape.tables[table].columns)
        columns = ", ".join(self.quoted(name) for name in names)
        values = ", ".join(f"NEW.{self.quoted(name)}" for name in names)
        changed = ", ".join(f"{self.quoted(name)} = NEW.{self.quoted(name)}" for name in names)
        # REPLACE locks a gap of the unique key, for which it and the copying of other rows can wait for each other.
        put = f"INSERT INTO {new} ({columns}) VALUES ({values}) ON DUPLICATE KEY UPDATE {changed}"  # noqa: S608 - quoted
        actions = {"insert": put, "update": put, "delete": f"DELETE FROM {new} WHERE id = OLD.id"}  # noqa: S608
        return [
            f"CREATE TRIGGER {self.of(f'{table}{self.COPY}_{event}')} AFTER {event.upper()} ON {self.of(table)}"
            f" FOR EACH ROW {actions[event]}"
            for event in self.EVENTS
        ]

    def _copy_rows(self, table: str) -> None:
        """The rows are locked while they are copied, so that none comes back that was deleted meanwhile."""
        name, new = self.of(table), self.of(table + self.COPY)
        names = [self.quoted(column) for column in self.shape.tables[table].columns]
        # S608: names are quoted
        ahead = (
            "SELECT MAX(id) INTO @high FROM"  # noqa: S608
            f" (SELECT id FROM {name} WHERE id > @low ORDER BY id LIMIT {BATCH}) AS batch"
        )
        # What a trigger has copied already is newer, and stays.
        fill = (
            f"INSERT INTO {new} ({', '.join(names)}) SELECT {', '.join(names)} FROM {name}"  # noqa: S608
            f" WHERE id > @low AND id <= @high LOCK IN SHARE MODE ON DUPLICATE KEY UPDATE id = {new}.id"
        )
        self.emit(f"SET @low = (SELECT COALESCE(MIN(id), 1) - 1 FROM {name})")  # noqa: S608
        if self.plan is not None:
            self.plan.append(f"-- The next 3 statements are repeated until @high is NULL, {BATCH} rows at a time.")
            self.plan += [ahead, fill, "SET @low = @high"]
            return
        while True:
            begun = time.monotonic()
            self.emit(ahead)
            if self.session.row("SELECT @high")[0] is None:
                return
            self.patiently(lambda: self.emit(fill), table)
            self.emit("SET @low = @high")
            time.sleep(time.monotonic() - begun)

    def index_dates(self) -> None:
        for table in (TASKS, GROUPS):
            index = DATE_INDEX[table]
            if index in self.shape.tables[table].indexes:
                continue
            self.shape.tables[table].indexes[index] = Index(("date_done",))
            self.short(
                table,
                f"CREATE INDEX {self.quoted(index)} ON {self.of(table)} (date_done) ALGORITHM=INPLACE LOCK=NONE",
            )

    def index_dates_as_celery(self) -> None:
        """It is Celery's own index."""

    def _create_table(self, table: str) -> str:
        increment = "" if self.uses_sequence(table) else " AUTO_INCREMENT"
        columns = [
            f"{self.quoted(name)} {self.types[kind]}{increment if name == 'id' else ''}"
            for name, kind in COLUMNS[table].items()
        ]
        keys = f"PRIMARY KEY (id), UNIQUE KEY {self.quoted(KEY[table])} ({KEY[table]})"
        return f"CREATE TABLE {self.of(table)} ({', '.join(columns)}, {keys}) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"

    def _created(self, table: str) -> list[str]:
        # An expression would have the table copied; the same time for all rows does not.
        now = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S")  # noqa: UP017 - Python 3.9
        return [
            f"ALTER TABLE {self.of(table)} ADD COLUMN created DATETIME NOT NULL DEFAULT '{now}', ALGORITHM=INSTANT",
            f"ALTER TABLE {self.of(table)} ALTER COLUMN created SET DEFAULT (UTC_TIMESTAMP())",
        ]

    def _shown_type(self, kind: str) -> str:
        return self._shown_type_of(self.types[kind])

    @staticmethod
    def _shown_type_of(kind: str) -> str:
        words = kind.lower().split()[0]
        return "int" if words == "integer" else words

    def _next_id(self, table: str) -> int:
        if SEQUENCES[table] not in self.there.sequences:
            return 0
        statement = f"SELECT next_not_cached_value FROM {self.of(SEQUENCES[table])}"  # noqa: S608
        return int(self.session.row(statement)[0])


def steps(session: Session, where: str, limits: dict[str, int], plan: list[str] | None = None) -> Steps:
    kind = PostgresqlSteps if session.engine == "postgresql" else MysqlSteps
    return kind(session, where, limits, plan)


def run(session: Session, statement: str) -> None:
    """One statement, whose refusal keeps the server's code."""
    cursor = session._connection.cursor()
    try:
        cursor.execute(statement)
    except session._problem as problem:
        code = getattr(problem, "sqlstate", None) or getattr(problem, "pgcode", None)
        if session.engine == "mysql" and problem.args:
            code = problem.args[0]
        raise RefusedError(f"The server at {session.where} refuses: {tidy(problem)}", str(code)) from None
    finally:
        cursor.close()


__all__ = ["INTEGERS", "MysqlSteps", "PostgresqlSteps", "RefusedError", "Steps", "StepsError", "run", "steps"]
