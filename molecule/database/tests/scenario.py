# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The servers and workers of this scenario, and sessions that one server opens at another as a client would."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from fleet import BIN, CHECKOUT, Fleet

INVENTORY = CHECKOUT / "molecule" / "database" / "inventory"
LOG = CHECKOUT / ".cache" / "molecule" / "database.log"


@dataclass(frozen=True)
class Server:
    """One host with a server, and the other from which the tests reach it."""

    name: str
    client: str
    engine: str
    unit: str
    port: int
    ca_file: str
    worst_score: float
    # Of every file that Ansible owns: group and mode.
    files: tuple[tuple[str, str, int], ...]

    @property
    def playbook(self) -> str:
        return f"resultops.celery.{self.engine}"

    def ago(self, **interval: int) -> str:
        """The SQL of a moment in the past; the name of the argument is the unit."""
        unit, number = next(iter(interval.items()))
        if self.engine == "postgresql":
            return f"(now() AT TIME ZONE 'utc' - interval '{number} {unit}')"
        return f"(UTC_TIMESTAMP() - INTERVAL {number} {unit.removesuffix('s')})"

    @property
    def next_id(self) -> str:
        """The SQL of the next id of a result."""
        return "nextval('probe.task_id_sequence')" if self.engine == "postgresql" else "nextval(probe.task_id_sequence)"


def postgresql(name: str, client: str, version: int) -> Server:
    directory = f"/etc/postgresql/{version}/main"
    files = (
        (f"{directory}/conf.d/90-resultops.conf", "postgres", 0o640),
        (f"{directory}/pg_hba.conf", "postgres", 0o640),
        (f"{directory}/pg_ident.conf", "postgres", 0o640),
        (f"{directory}/tls", "postgres", 0o750),
        (f"{directory}/tls/server.key", "postgres", 0o640),
    )
    other = 32 - version
    ca_file = f"/etc/postgresql/{other}/main/tls/ca.crt"
    return Server(name, client, "postgresql", f"postgresql@{version}-main.service", 5432, ca_file, 2.5, files)


def mariadb(name: str, client: str) -> Server:
    files = (
        ("/etc/mysql/mariadb.conf.d/90-resultops.cnf", "mysql", 0o640),
        ("/etc/mysql/tls", "mysql", 0o750),
        ("/etc/mysql/tls/server.key", "mysql", 0o640),
    )
    return Server(name, client, "mysql", "mariadb.service", 3306, "/etc/mysql/tls/ca.crt", 1.6, files)


SERVERS = {
    server.name: server
    for server in (
        postgresql("dbpg13", "dbpg12", 17),
        postgresql("dbpg12", "dbpg13", 15),
        mariadb("dbmaria13", "dbmaria12"),
        mariadb("dbmaria12", "dbmaria13"),
    )
}
POSTGRESQL = {name: server for name, server in SERVERS.items() if server.engine == "postgresql"}
MARIADB = {name: server for name, server in SERVERS.items() if server.engine == "mysql"}
ALL = tuple(SERVERS.values())
# Where each worker keeps its results. Its queue bears the name of the engine.
WORKERS = {"dbworker13": SERVERS["dbpg13"], "dbworkermaria": SERVERS["dbmaria12"]}
REVISION = "SELECT version_num FROM probe.celery_schema_version"

POSTGRESQL_CLIENT = """
import psycopg2
answers = []
try:
    session = psycopg2.connect(host=given["host"], hostaddr=given["address"], port=5432, user=given["user"],
                               password=given["password"], dbname=given["database"] or "results",
                               sslmode=given["ssl_mode"], sslrootcert=given["ca"], connect_timeout=10)
    session.autocommit = True
    for statement in given["statements"]:
        cursor = session.cursor()
        try:
            cursor.execute(statement)
            answers.append([list(row) for row in cursor.fetchall()] if cursor.description else "done")
        except psycopg2.Error as error:
            answers.append(f"{type(error).__name__}: {error}")
except psycopg2.Error as error:
    answers = f"{type(error).__name__}: {error}"
print(json.dumps(answers, default=str))
"""
MARIADB_CLIENT = """
import pymysql, socket, ssl
answers = []
try:
    context = None
    if given["ssl_mode"] != "disable":
        context = ssl.create_default_context(cafile=given["ca"])
    session = pymysql.connect(host=given["host"], port=3306, user=given["user"], password=given["password"],
                              database=given["database"], ssl=context, ssl_disabled=context is None, autocommit=True,
                              connect_timeout=10)
    for statement in given["statements"]:
        cursor = session.cursor()
        try:
            cursor.execute(statement)
            answers.append([list(row) for row in cursor.fetchall()] if cursor.description else "done")
        except pymysql.MySQLError as error:
            answers.append(f"{type(error).__name__}: {error}")
except (pymysql.MySQLError, OSError) as error:
    answers = f"{type(error).__name__}: {error}"
print(json.dumps(answers, default=str))
"""


class Databases(Fleet):
    """The fleet, with sessions over the network and statements on the hosts themselves."""

    def ask(self, server: Server, user: str, *statements: str, **options: Any) -> Any:
        """What each statement of an account gives; what refuses the whole session comes back as one text.

        Options: C(password), C(host) (the name that the certificate must carry), C(ssl_mode), C(database).
        """
        client = POSTGRESQL_CLIENT if server.engine == "postgresql" else MARIADB_CLIENT
        values = {
            "host": server.name,
            "address": self.address(server.name),
            "user": user,
            "password": self.secrets().get(f"vault_{server.engine}_{PASSWORDS.get(user, user)}_password"),
            "ca": server.ca_file,
            "ssl_mode": "verify-full",
            "database": None,
            "statements": statements,
        }
        return self._run(server.client, ["python3", "-"], client, values | options)

    def address(self, name: str) -> str:
        return str(self.host(name).check_output("hostname -i")).split()[0]

    def on_host(self, server: Server, statement: str) -> str:
        """What the superuser is told on the host itself; one line for each row."""
        if server.engine == "postgresql":
            command = "psql --no-psqlrc -qAtX -v ON_ERROR_STOP=1 -U postgres -d results -c %s"
        else:
            command = "mariadb --batch --skip-column-names --execute=%s"
        return str(self.host(server.name).check_output(command, statement))

    def pid(self, server: Server) -> str:
        return self.pid_of(server.name, server.unit)

    def pid_of(self, name: str, unit: str) -> str:
        return str(self.host(name).check_output("systemctl show --value --property MainPID %s", unit))

    def run(self, *servers: Server, arguments: tuple[str, ...] = ()) -> str:
        """Run the playbooks of servers and their tables; return what they said."""
        playbooks = sorted({server.playbook for server in servers})
        names = ",".join(server.name for server in servers)
        return self.said(*playbooks, "resultops.celery.schema", "--limit", names, *arguments)

    def said(self, *arguments: str) -> str:
        """What playbooks say that must not fail."""
        run = self.playbook(*arguments)
        assert run.returncode == 0, (run.stdout + run.stderr)[-6000:]
        return run.stdout

    def store_info(self, *servers: Server) -> dict[str, dict[str, Any]]:
        """What the module says on hosts of one engine about the results of the application."""
        names = ",".join(server.name for server in servers)
        command = [str(BIN / "ansible"), names, *self.use_inventory, "--become"]
        run = subprocess.run(
            [*command, "--module-name", "resultops.celery.result_store_info", "--args", STORE[servers[0].engine]],
            capture_output=True,
            text=True,
            cwd=CHECKOUT,
            env={**os.environ, "ANSIBLE_CALLBACK_RESULT_FORMAT": "json", "ANSIBLE_NOCOLOR": "1"},
            timeout=120,
            check=False,
        )
        assert run.returncode == 0, run.stdout + run.stderr
        said = re.findall(r"^(\w+) \| SUCCESS => (\{.*?^\})", run.stdout, re.DOTALL | re.MULTILINE)
        return {name: json.loads(told) for name, told in said}


def wait_until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"{what} after {seconds} seconds")
        time.sleep(0.3)
    return found


# Accounts whose password has another name in the vault.
PASSWORDS = {"probe_purge": "purge", "probe_owner": "owner", "results_monitor": "monitor"}
# Who may look at the results of an application on the host itself.
STORE = {
    "postgresql": "engine=postgresql login_unix_socket=/run/postgresql login_user=results_monitor database=results"
    " schema=probe exact=true",
    "mysql": "engine=mysql login_unix_socket=/run/mysqld/mysqld.sock login_user=root database=probe exact=true",
}
