# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What there is of Celery's tables in a database, and whether they are Celery's."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.resultops.celery.plugins.module_utils._sql_session import Session

TASKS = "celery_taskmeta"
GROUPS = "celery_tasksetmeta"
SEQUENCES = {TASKS: "task_id_sequence", GROUPS: "taskset_id_sequence"}
VERSIONS = "celery_schema_version"
INTEGERS = {"postgresql": ("integer", "bigint"), "mysql": ("int", "bigint")}
BLOBS = {
    TASKS: ("result", "children", "args", "kwargs", "stamps"),
    GROUPS: ("result",),
}

# Type of a column, by engine: what Celery makes, and what may be there instead.
_TEXT = {"postgresql": r"character varying(\(\d+\))?|text", "mysql": r"varchar\(\d+\)"}
_BYTES = {"postgresql": "bytea", "mysql": "(tiny|medium|long)?blob"}
_ID = {"postgresql": "integer|bigint", "mysql": r"(int|bigint)(\(\d+\))?"}
_NUMBER = {"postgresql": "integer|bigint", "mysql": r"(int|bigint)(\(\d+\))?"}
_MOMENT = {"postgresql": r"timestamp(\(\d\))? without time zone", "mysql": r"datetime(\(\d\))?"}
_LONG_TEXT = {"postgresql": "text", "mysql": "(tiny|medium|long)?text"}
CELERY: dict[str, dict[str, dict[str, str]]] = {
    TASKS: {
        "id": _ID,
        "task_id": _TEXT,
        "status": _TEXT,
        "result": _BYTES,
        "date_done": _MOMENT,
        "traceback": _LONG_TEXT,
        "children": _BYTES,
        "name": _TEXT,
        "args": _BYTES,
        "kwargs": _BYTES,
        "worker": _TEXT,
        "retries": _NUMBER,
        "queue": _TEXT,
        "stamps": _BYTES,
        "created": _MOMENT,
    },
    GROUPS: {"id": _ID, "taskset_id": _TEXT, "result": _BYTES, "date_done": _MOMENT, "created": _MOMENT},
}
KEY = {TASKS: "task_id", GROUPS: "taskset_id"}
# The tables of every Celery have these; all others may be added.
REQUIRED = {
    TASKS: ("id", "task_id", "status", "result", "date_done", "traceback"),
    GROUPS: ("id", "taskset_id", "result", "date_done"),
}
KINDS = {"p": "a partitioned table", "v": "a view", "m": "a materialized view", "f": "a foreign table"}


@dataclass
class Column:
    type: str
    nullable: bool = True
    default: str = ""
    compression: str = ""
    generated: bool = False


@dataclass
class Index:
    columns: tuple[str, ...]
    unique: bool = False
    primary: bool = False
    valid: bool = True
    method: str = "btree"


@dataclass
class Table:
    columns: dict[str, Column] = field(default_factory=dict)
    indexes: dict[str, Index] = field(default_factory=dict)
    owner: str = ""
    kind: str = ""
    engine: str = ""
    options: set[str] = field(default_factory=set)
    triggers: set[str] = field(default_factory=set)
    checks: dict[str, bool] = field(default_factory=dict)

    @property
    def primary(self) -> str:
        return next((name for name, index in self.indexes.items() if index.primary), "")

    @property
    def id_type(self) -> str:
        return re.sub(r"\(.*", "", self.columns["id"].type)

    @property
    def has_auto_increment(self) -> bool:
        return self.columns["id"].generated


@dataclass
class Shape:
    """Everything of the application's schema that bears a name of Celery's, or of a migration's."""

    tables: dict[str, Table] = field(default_factory=dict)
    sequences: dict[str, str] = field(default_factory=dict)
    functions: set[str] = field(default_factory=set)

    def copy(self) -> Shape:
        return copy.deepcopy(self)


def look(session: Session, where: str) -> Shape:
    return _postgresql(session, where) if session.engine == "postgresql" else _mysql(session, where)


def _postgresql(session: Session, schema: str) -> Shape:
    shape = Shape()
    names: dict[int, str] = {}
    for oid, name, kind, owner, options in session.rows(
        "SELECT c.oid, c.relname, c.relkind::text, pg_get_userbyid(c.relowner), c.reloptions"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')"
        " AND (c.relname LIKE 'celery%%' OR c.relname IN ('task_id_sequence', 'taskset_id_sequence'))",
        (schema,),
    ):
        if kind == "S":
            shape.sequences[name] = owner
        else:
            shape.tables[name] = Table(owner=owner, kind=KINDS.get(kind, ""), options=set(options or []))
            names[oid] = name
    if names:
        _postgresql_tables(session, shape, names)
    shape.functions = {
        row[0]
        for row in session.rows(
            "SELECT proname FROM pg_proc WHERE pronamespace = (SELECT oid FROM pg_namespace WHERE nspname = %s)",
            (schema,),
        )
    }
    return shape


def _postgresql_tables(session: Session, shape: Shape, names: dict[int, str]) -> None:
    oids = ", ".join(str(oid) for oid in names)
    compression = "attcompression::text" if _version(session) >= 14 else "''"
    for oid, name, kind, required, default, pressed, identity in session.rows(
        f"SELECT a.attrelid, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,"  # noqa: S608 - numbers
        f" pg_get_expr(d.adbin, d.adrelid), {compression}, a.attidentity::text || a.attgenerated::text"
        " FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum"
        f" WHERE a.attrelid IN ({oids}) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attrelid, a.attnum"
    ):
        shape.tables[names[oid]].columns[name] = Column(
            kind, not required, default or "", {"l": "lz4", "p": "pglz"}.get(pressed or "", ""), bool(identity)
        )
    for oid, name, columns, unique, primary, valid, method in session.rows(
        # S608: numbers
        "SELECT i.indrelid, c.relname,"  # noqa: S608
        " ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int[]) WITH ORDINALITY k(n, o)"
        " JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.n ORDER BY k.o),"
        " i.indisunique AND i.indpred IS NULL, i.indisprimary, i.indisvalid AND i.indisready, m.amname"
        " FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam"
        f" WHERE i.indrelid IN ({oids}) ORDER BY c.relname"
    ):
        shape.tables[names[oid]].indexes[name] = Index(tuple(columns), unique, primary, valid, method)
    for oid, name in session.rows(
        f"SELECT tgrelid, tgname FROM pg_trigger WHERE NOT tgisinternal AND tgrelid IN ({oids})"  # noqa: S608
    ):
        shape.tables[names[oid]].triggers.add(name)
    for oid, name, valid in session.rows(
        f"SELECT conrelid, conname, convalidated FROM pg_constraint WHERE contype = 'c' AND conrelid IN ({oids})"  # noqa: S608
    ):
        shape.tables[names[oid]].checks[name] = valid


def _version(session: Session) -> int:
    return int(session.row("SHOW server_version_num")[0]) // 10000


def _mysql(session: Session, database: str) -> Shape:
    shape = Shape()
    for name, kind, engine in session.rows(
        "SELECT table_name, table_type, engine FROM information_schema.tables WHERE table_schema = %s"
        " AND (table_name IN ('task_id_sequence', 'taskset_id_sequence') OR table_name LIKE 'celery%%')",
        (database,),
    ):
        if kind == "SEQUENCE":
            shape.sequences[name] = ""
        else:
            shape.tables[name] = Table(kind="" if kind == "BASE TABLE" else f"a {kind.lower()}", engine=engine or "")
    for table, name, kind, nullable, default, extra in session.rows(
        "SELECT table_name, column_name, column_type, is_nullable, column_default, extra"
        " FROM information_schema.columns WHERE table_schema = %s ORDER BY table_name, ordinal_position",
        (database,),
    ):
        if table in shape.tables:
            words = "" if default in (None, "NULL") else str(default)
            shape.tables[table].columns[name] = Column(
                _text(kind), nullable == "YES", words, generated="auto_increment" in extra.lower()
            )
    for table, name, unique, columns in session.rows(
        "SELECT table_name, index_name, MAX(non_unique) = 0, GROUP_CONCAT(column_name ORDER BY seq_in_index)"
        " FROM information_schema.statistics WHERE table_schema = %s GROUP BY table_name, index_name",
        (database,),
    ):
        if table in shape.tables:
            shape.tables[table].indexes[name] = Index(tuple(columns.split(",")), bool(unique), name == "PRIMARY")
    for table, name in session.rows(
        "SELECT event_object_table, trigger_name FROM information_schema.triggers WHERE trigger_schema = %s",
        (database,),
    ):
        if table in shape.tables:
            shape.tables[table].triggers.add(name)
    shape.functions = {
        row[0]
        for row in session.rows(
            "SELECT routine_name FROM information_schema.routines WHERE routine_schema = %s", (database,)
        )
    }
    return shape


def _text(value: Any) -> str:
    """MySQL 8 gives some of these as bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)


def differences(shape: Shape, engine: str) -> list[str]:
    """What is not as Celery makes it, or could have made it with its tables widened by hand."""
    found = []
    for name, columns in CELERY.items():
        table = shape.tables.get(name)
        if table is None:
            continue
        if table.kind:
            found.append(f"{name} is {table.kind}")
            continue
        if engine == "mysql" and table.engine.lower() != "innodb":
            found.append(f"{name} is kept by the storage engine {table.engine}, not InnoDB")
        found += [f"{name} has no column {column}" for column in REQUIRED[name] if column not in table.columns]
        for column, actual in table.columns.items():
            found += _column_differences(f"{name}.{column}", actual, columns.get(column), engine)
        found += _key_differences(name, table)
    return found


def _column_differences(name: str, actual: Column, wanted: dict[str, str] | None, engine: str) -> list[str]:
    if wanted is None:
        needed = not actual.nullable and not actual.default and not actual.generated
        temporary = name.endswith(".id_new")
        return [f"{name} is no column of Celery's and needs a value"] if needed and not temporary else []
    if not re.fullmatch(wanted[engine], actual.type):
        return [f"{name} is {actual.type}"]
    if engine == "postgresql" and actual.generated:
        return [f"{name} is generated by the server"]
    return []


def _key_differences(name: str, table: Table) -> list[str]:
    found = []
    if not any(index.primary and index.columns == ("id",) for index in table.indexes.values()):
        found.append(f"{name} has no primary key on id")
    if not any(index.unique and index.columns == (KEY[name],) for index in table.indexes.values()):
        found.append(f"{name}.{KEY[name]} is not unique")
    return found
