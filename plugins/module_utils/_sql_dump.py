# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The results of one application as the database's own programs write and read them, row by row accounted for.

PostgreSQL: the custom format of pg_dump. MariaDB and MySQL: the statements of their dump program, compressed by gzip.
Into a database goes the data only, because the role result_schema has made the tables: all of it in one transaction
that ends with a count, or nothing.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from ansible_collections.resultops.celery.plugins.module_utils import _sql_session

TABLES = {"celery_taskmeta": "task_id_sequence", "celery_tasksetmeta": "taskset_id_sequence"}
VERSIONS = "celery_schema_version"
DUMP = {"postgresql": ("pg_dump",), "mysql": ("mariadb-dump", "mysqldump")}
CLIENT = {"postgresql": ("psql",), "mysql": ("mariadb", "mysql")}
PACKAGES = {"postgresql": "postgresql-client", "mysql": "mariadb-client"}
COPY = re.compile(rb'COPY (?:"(?:[^"]|"")*"|[\w$]+)\.("?)(\w+)\1 (\(.*\)) FROM stdin;\n')
INSERT = re.compile(rb"INSERT INTO `(\w+)` ")
LARGEST_ROW = "1G"


@dataclass
class Counted:
    """A line of a dump that is data or begins data, and to which table it belongs."""

    table: str
    line: bytes
    rows: int


def scratch(directory: str) -> BinaryIO:
    """A file without a name, which is gone when it is closed, whatever happens."""
    return tempfile.TemporaryFile(dir=directory)


def dump(params: dict[str, Any], session: _sql_session.Session, target: BinaryIO) -> dict[str, int] | None:
    """Write the results, all of one moment. Where the engine can tell, says how many rows there were at that moment."""
    if session.engine == "mysql":
        _dump_mysql(params, session.where, target)
        return None
    with session.snapshot():
        moment = session.row("SELECT pg_export_snapshot()")[0]
        rows = count(session)
        command = [
            _program(DUMP["postgresql"], "postgresql"),
            "--format=custom",
            f"--snapshot={moment}",
            "--no-owner",
            "--no-privileges",
            "--lock-wait-timeout=10s",
            *(f"--table={session.of_schema(name)}" for name in (*TABLES, *TABLES.values())),
        ]
        with _login(params) as (options, environment):
            _run([*command, *options, f"--dbname={params['database']}"], environment, session.where, stdout=target)
        return rows


def rows_in(engine: str, source: BinaryIO) -> dict[str, int]:
    """Read a dump from its first to its last byte and count its rows."""
    found = dict.fromkeys(TABLES, 0)
    for part in lines(engine, source):
        found[part.table] += part.rows
    return found


def count(session: _sql_session.Session) -> dict[str, int]:
    return {
        table: int(session.row(f"SELECT count(*) FROM {session.of_schema(table)}")[0])  # noqa: S608 - a quoted name
        for table in TABLES
    }


def revision(session: _sql_session.Session) -> str:
    found = session.rows(f"SELECT version_num FROM {session.of_schema(VERSIONS)}")  # noqa: S608 - a quoted name
    return str(found[0][0]) if found else ""


def lines(engine: str, source: BinaryIO) -> Iterator[Counted]:
    """The lines that are data, without all that a dump says besides."""
    source.seek(0)
    if engine == "mysql":
        yield from _statements(source)
        return
    command = [_program(("pg_restore",), "postgresql"), "--data-only", "--file=-"]
    process = subprocess.Popen(command, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    stdout, stderr = process.stdout, process.stderr
    if stdout is None or stderr is None:
        raise _sql_session.SqlError("pg_restore has no output.")
    try:
        yield from _copied(stdout)
        said = stderr.read().decode(errors="replace")
        if process.wait():
            raise _sql_session.SqlError(f"pg_restore cannot read the dump: {' '.join(said.split())[:500]}")
    finally:
        process.kill()
        process.wait()
        stdout.close()
        stderr.close()


def load(
    params: dict[str, Any], session: _sql_session.Session, source: BinaryIO, wanted: dict[str, int], keep: bool
) -> None:
    """Put the rows of a dump into the empty tables of the application, or in a trial take them back in the end."""
    engine = session.engine
    names = {table: session.of_schema(table) for table in TABLES}
    begin, end = _frame(engine, names, wanted, keep)
    with _login(params) as (options, environment), tempfile.TemporaryFile() as said:
        command = [_program(CLIENT[engine], engine), *options, *_client_options(engine, params)]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=said,
            env={**os.environ, **environment},
        )
        stdin = process.stdin
        if stdin is None:
            raise _sql_session.SqlError(f"{command[0]} has no input.")
        # A client that gave up closes its end; what it said is told below.
        with contextlib.suppress(BrokenPipeError):
            stdin.write(begin.encode())
            for part in lines(engine, source):
                stdin.write(_renamed(engine, part, names))
            stdin.write(end.encode())
        with contextlib.suppress(BrokenPipeError):
            stdin.close()
        if process.wait():
            said.seek(0)
            words = " ".join(said.read().decode(errors="replace").split())
            raise _sql_session.SqlError(f"The server at {session.where} takes nothing of the backup: {words[:500]}")
    if keep:
        _advance_sequences(session)


def _copied(stdout: Any) -> Iterator[Counted]:
    table = ""
    for line in stdout:
        begun = COPY.fullmatch(line)
        if table and line == b"\\.\n":
            yield Counted(table, line, 0)
            table = ""
        elif table:
            yield Counted(table, line, 1)
        elif begun and begun[2].decode() in TABLES:
            table = begun[2].decode()
            yield Counted(table, line, 0)


def _statements(source: BinaryIO) -> Iterator[Counted]:
    # The dump program writes each row into a line of its own; a line break within a value is written as \n.
    table, ended = "", False
    with gzip.GzipFile(fileobj=source) as opened:
        for line in opened:
            begun = INSERT.match(line)
            if begun:
                table = begun[1].decode()
            if table:
                yield Counted(table, line, int(begun is not None or line.startswith(b"(")))
            if table and line.endswith(b";\n"):
                table = ""
            ended = line.startswith(b"-- Dump completed") or (ended and not line.strip())
    if not ended:
        raise _sql_session.SqlError("The dump ends before its end: the program that writes it was interrupted.")


def _dump_mysql(params: dict[str, Any], where: str, target: BinaryIO) -> None:
    with _login(params) as (options, environment), gzip.GzipFile(fileobj=target, mode="wb", mtime=0) as packed:
        command = [
            _program(DUMP["mysql"], "mysql"),
            *options,
            "--single-transaction",
            "--quick",
            "--hex-blob",
            "--complete-insert",
            "--no-create-info",
            "--no-tablespaces",
            "--skip-add-locks",
            "--skip-disable-keys",
            "--skip-triggers",
            "--default-character-set=utf8mb4",
            f"--max-allowed-packet={LARGEST_ROW}",
            params["database"],
            *TABLES,
        ]
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, env={**os.environ, **environment})
            if process.stdout is not None:
                shutil.copyfileobj(process.stdout, packed)
                process.stdout.close()
            if process.wait():
                said.seek(0)
                raise _refused(where, said.read())


def _frame(engine: str, names: dict[str, str], wanted: dict[str, int], keep: bool) -> tuple[str, str]:
    """What stands before and behind the data: one transaction that fails unless exactly these rows are there."""
    tables = ", ".join(names.values())
    differs = " OR ".join(
        f"(SELECT count(*) FROM {name}) <> {wanted[table]}"  # noqa: S608 - quoted names
        for table, name in names.items()
    )
    sentence = "somebody else wrote into the tables meanwhile, or a part of the backup is missing"
    finish = "COMMIT;\n" if keep else "ROLLBACK;\n"
    if engine == "postgresql":
        begin = (
            f"BEGIN;\nSET LOCAL lock_timeout = '10s';\nSET LOCAL statement_timeout = 0;\n"
            f"LOCK TABLE {tables} IN SHARE ROW EXCLUSIVE MODE;\n"
        )
        check = f"DO $count$ BEGIN IF {differs} THEN RAISE EXCEPTION '{sentence}'; END IF; END $count$;\n"
        return begin, check + finish
    begin = "SET NAMES utf8mb4;\nSET time_zone = '+00:00';\nSET sql_mode = 'STRICT_ALL_TABLES';\nSTART TRANSACTION;\n"
    check = (
        f"DELIMITER //\nBEGIN NOT ATOMIC IF {differs} THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = '{sentence}';"
        " END IF; END //\nDELIMITER ;\n"
    )
    return begin, check + finish


def _renamed(engine: str, part: Counted, names: dict[str, str]) -> bytes:
    """The schema may have another name than it had."""
    begun = COPY.fullmatch(part.line) if engine == "postgresql" and not part.rows else None
    return b"COPY %s %s FROM stdin;\n" % (names[part.table].encode(), begun[3]) if begun else part.line


def _advance_sequences(session: _sql_session.Session) -> None:
    """The next id comes after all that were restored."""
    for table, sequence in TABLES.items():
        highest = session.row(f"SELECT max(id) FROM {session.of_schema(table)}")[0]  # noqa: S608 - a quoted name
        name = session.of_schema(sequence)
        if highest is None:
            continue
        if session.engine == "postgresql":
            session.run(f"SELECT setval('{name}', greatest({highest}, nextval('{name}')))")
        else:
            # It never goes backwards.
            session.run(f"SELECT SETVAL({name}, {highest})")


def _client_options(engine: str, params: dict[str, Any]) -> list[str]:
    if engine == "postgresql":
        return ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--dbname={params['database']}"]
    return ["--batch", f"--max-allowed-packet={LARGEST_ROW}", params["database"]]


@contextlib.contextmanager
def _login(params: dict[str, Any]) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Options for the command line, which everybody may read, and the environment with the rest."""
    password = params["login_password"]
    engine = params["engine"]
    socket, host = params["login_unix_socket"], params["login_host"]
    port = str(params["login_port"] or _sql_session.PORTS[engine])
    if engine == "postgresql":
        environment = {"PGCONNECT_TIMEOUT": str(params["login_timeout"]), "PGTZ": "UTC"}
        if host:
            environment["PGSSLMODE"] = params["ssl_mode"]
            if params["ssl_mode"].startswith("verify"):
                environment["PGSSLROOTCERT"] = params["ca_file"] or _sql_session.SYSTEM_AUTHORITIES
        if password:
            environment["PGPASSWORD"] = password
        yield [f"--host={socket or host}", f"--port={port}", f"--username={params['login_user']}"], environment
        return
    options = ["--no-defaults", f"--user={params['login_user']}"]
    if socket:
        options.append(f"--socket={_sql_session.mysql_socket(socket)}")
    else:
        options += [f"--host={host}", f"--port={port}", "--protocol=TCP"]
        if params["ssl_mode"] == "disable":
            options.append("--skip-ssl")
        else:
            options.append(f"--ssl-ca={params['ca_file'] or _sql_session.SYSTEM_AUTHORITIES}")
            if params["ssl_mode"] == "verify-full":
                options.append("--ssl-verify-server-cert")
    yield options, {"MYSQL_PWD": password} if password else {}


def _program(names: tuple[str, ...], engine: str) -> str:
    for name in names:
        found = shutil.which(name)
        if found:
            return found
    raise _sql_session.SqlError(
        f"This host has no program {' or '.join(names)}: install the package {PACKAGES[engine]}."
    )


def _run(command: list[str], environment: dict[str, str], where: str, stdout: BinaryIO) -> None:
    done = subprocess.run(
        command, stdout=stdout, stderr=subprocess.PIPE, env={**os.environ, **environment}, check=False
    )
    if done.returncode:
        raise _refused(where, done.stderr)


def _refused(where: str, said: bytes) -> _sql_session.SqlError:
    words = " ".join(said.decode(errors="replace").split())
    return _sql_session.SqlError(f"The server at {where} gives no dump: {words[:500]}")
