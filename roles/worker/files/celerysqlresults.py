# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A result backend for Celery 5.7 that stores a result in PostgreSQL, MySQL or MariaDB with one statement.

Celery selects, inserts, updates and commits, and outside the children of a prefork worker it opens a connection for
each of its operations. Here one statement stores a result and keeps an earlier SUCCESS, which is final, and all
processes and threads keep their connections. Tables, columns and contents are Celery's own: its readers and writers
work on the same results.

The URL names the class before its scheme, as in celerysqlresults.FastDatabaseBackend+postgresql+psycopg://..., which
Celery finds without any setting. Its pool is that of database_engine_options.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import sqlalchemy
from celery import states
from celery.backends.database import DatabaseBackend
from celery.backends.database.session import SessionManager
from celery.exceptions import ImproperlyConfigured
from celery.utils.log import get_logger
from kombu.exceptions import ContentDisallowed
from kombu.utils.encoding import bytes_to_str, ensure_bytes
from kombu.utils.objects import cached_property
from sqlalchemy import exc, func
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.orm import Session

__all__ = ["FastDatabaseBackend"]

logger = get_logger(__name__)

DIALECTS = ("postgresql", "mysql", "mariadb")
# What a server says that takes the same statement later, or whose successor does.
PASSING = (exc.OperationalError, exc.InterfaceError, exc.InternalError, exc.TimeoutError)
# MySQL calls these operational: an account without the right, and a database that is not there.
LASTING_CODES = frozenset({1044, 1049, 1142, 1143})
PICKLE = b"\x80"
# Nothing is ever open that could be rolled back. Older SQLAlchemy asks PyMySQL for it all the same.
QUIET = {} if tuple(map(int, sqlalchemy.__version__.split(".")[:2])) < (2, 1) else {"skip_autocommit_rollback": True}


class Engines:
    """The engines of the process, one for each server and its options: all threads share their connections."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._engines: dict[Any, sqlalchemy.Engine] = {}

    def get(self, url: str, options: dict[str, Any], callback: Callable[..., Any] | None) -> sqlalchemy.Engine:
        key = (url, repr(sorted(options.items())), callback)
        with self._lock:
            if key not in self._engines:
                engine = sqlalchemy.create_engine(url, **options, **QUIET, isolation_level="AUTOCOMMIT")
                if callback is not None:
                    callback(engine)
                self._engines[key] = engine
            return self._engines[key]

    def start_afresh(self, url: str) -> None:
        """Close the idle connections, which may lead to a server that was demoted."""
        with self._lock:
            engines = [engine for (known, *_rest), engine in self._engines.items() if known == url]
        for engine in engines:
            engine.dispose()

    def forget_inherited(self) -> None:
        """Leave the connections of the parent process to it."""
        self._lock = threading.Lock()
        for engine in self._engines.values():
            engine.dispose(close=False)


ENGINES = Engines()
os.register_at_fork(after_in_child=ENGINES.forget_inherited)


class PooledSessions(SessionManager):
    """Celery's sessions over connections that are kept; Celery itself keeps those of forked processes only."""

    def get_engine(self, dburi: str, **options: Any) -> sqlalchemy.Engine:
        return ENGINES.get(dburi, options, self.engine_callback)

    def create_session(
        self,
        dburi: str,
        short_lived_sessions: bool = False,  # noqa: ARG002 - Celery's signature
        **options: Any,
    ) -> tuple[sqlalchemy.Engine, Callable[[], Session]]:
        engine = self.get_engine(dburi, **options)
        return engine, partial(Session, engine)

    def invalidate(self, dburi: str) -> None:
        ENGINES.start_afresh(dburi)

    def prepare_models(self, engine: sqlalchemy.Engine) -> None:
        """Create and alter nothing: the tables belong to the role result_schema."""


def naive_utc(moment: datetime | None) -> datetime | None:
    """Return what a column without time zone takes whatever the time zone of the session is."""
    return moment.astimezone(UTC).replace(tzinfo=None) if moment and moment.tzinfo else moment


class FastDatabaseBackend(DatabaseBackend):
    """One statement for each store, over a connection that was there before."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._dialect = sqlalchemy.make_url(self.url).get_backend_name()
        if self._dialect not in DIALECTS:
            raise ImproperlyConfigured(
                f"The class FastDatabaseBackend does not know {self._dialect}; allowed are {', '.join(DIALECTS)}."
            )
        self.session_manager = PooledSessions(engine_callback=self.session_manager.engine_callback)

    def _create_tables(self) -> None:
        """Create nothing, whatever database_create_tables_at_setup says."""

    def exception_safe_to_retry(self, error: BaseException) -> bool:
        """Repeat what may pass; a missing right or table does not."""
        code = next(iter(getattr(getattr(error, "orig", None), "args", ())), None)
        return isinstance(error, PASSING) and code not in LASTING_CODES

    def _execute(self, statement: Any, values: dict[str, Any]) -> None:
        engine = self.session_manager.get_engine(self.url, **self.engine_options)
        with engine.connect() as connection:
            connection.execute(statement, values)

    def _upsert(self, model: Any, key: str, written: Iterable[str], final: bool) -> Any:
        """Return the statement that inserts a row or replaces one, but for a final one."""
        table = model.__table__
        # A later store without stamps keeps those of an earlier one.
        kept = {"stamps"}
        if self._dialect == "postgresql":
            insert = postgresql.insert(table).inline()
            new = {
                name: func.coalesce(insert.excluded[name], table.c[name]) if name in kept else insert.excluded[name]
                for name in written
            }
            where = table.c.status.is_distinct_from(states.SUCCESS) if final else None
            return insert.on_conflict_do_update(index_elements=[table.c[key]], set_=new, where=where)
        insert = mysql.insert(table).inline()
        assigned = []
        # MySQL looks at the status as the assignments before have left it, so its own is the last.
        for name in sorted(written, key=lambda name: name == "status"):
            value = func.coalesce(insert.inserted[name], table.c[name]) if name in kept else insert.inserted[name]
            is_final = table.c.status.op("<=>")(states.SUCCESS) if final else None
            assigned.append((name, value if is_final is None else getattr(func, "if")(is_final, table.c[name], value)))
        return insert.on_duplicate_key_update(assigned)

    @cached_property
    def _result_columns(self) -> tuple[str, ...]:
        return tuple(
            column.key
            for column in sqlalchemy.inspect(self.task_cls).column_attrs
            if column.key not in ("id", "task_id")
        )

    @cached_property
    def _result_upsert(self) -> Any:
        return self._upsert(self.task_cls, "task_id", self._result_columns, final=True)

    @cached_property
    def _group_upsert(self) -> Any:
        return self._upsert(self.taskset_cls, "taskset_id", ("result", "date_done"), final=False)

    def _store_result(
        self, task_id: Any, result: Any, state: str, traceback: Any = None, request: Any = None, **_options: Any
    ) -> None:
        # Celery fills the row in, and no session ever sees it.
        row = self.task_cls(bytes_to_str(task_id))
        self._update_result(row, result, state, traceback=traceback, request=request)
        values = {name: getattr(row, name) for name in self._result_columns}
        values["date_done"] = naive_utc(values["date_done"])
        self._execute(self._result_upsert, {"task_id": row.task_id, **values})

    def _save_group(self, group_id: str, result: Any) -> Any:
        value = ensure_bytes(self.encode(self.prepare_value(result)))
        done = naive_utc(datetime.now(UTC))
        self._execute(self._group_upsert, {"taskset_id": group_id, "result": value, "date_done": done})
        return result

    def _query_task(self, session: Session, task_id: str, for_update: bool = False) -> Any:  # noqa: ARG002
        """Without Celery's second try, whose error hides that of the first."""
        return session.query(self.task_cls).filter(self.task_cls.task_id == task_id).first()

    def _decode_stored_result(self, payload: Any) -> Any:
        """Unpickle nothing that this application would not write: whoever writes a row would run code here."""
        if payload is None:
            return None
        payload = ensure_bytes(payload)
        try:
            return self.decode(payload)
        except Exception as error:
            if payload[:1] != PICKLE:
                raise
            raise ContentDisallowed(
                f"The stored result is no {self.serializer} but seems to be pickled, as Celery before 5.7 wrote it, "
                "and is not read because that could run code; remove such rows."
            ) from error

    def cleanup(self) -> None:
        """Leave it to the purge of the server, which removes in small batches and what Celery never does."""
        logger.info("Expired results are removed by the purge of the server, and not by Celery.")
