# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real PostgreSQL and a real MariaDB on loopback, each with TLS, a Unix socket and its files in one directory.

    with Postgresql() as server:
        database = server.create_database()
        server.sql("CREATE ROLE app LOGIN PASSWORD 'x'")
        server.sql("SELECT 1", database=database)
        server.connect(database, user="app", password="x")  # over TLS; without a user: the superuser over the socket

The fixtures `postgresql` and `mariadb` give one of each for all tests of a process: let every test create a database.
Servers refuse to run as root: under root they run as accounts that the system has.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, ClassVar, Self

import psycopg
import pymysql
import pytest
from ansible_collections.resultops.celery.tests.unit.ports import free_port
from ansible_collections.resultops.celery.tests.unit.replication_set import Authority

PATIENCE = 60.0
HOST = "localhost"


class SqlServer:
    """One server process, with settings of its own when `options` are given."""

    engine: ClassVar[str]
    account: ClassVar[str]
    superuser: ClassVar[str]
    stop_signal: ClassVar[int]
    package: ClassVar[str]

    def __init__(self, **options: str) -> None:
        self.options = {name.replace("_", "-"): value for name, value in options.items()}
        self.host = HOST
        self.port = free_port()
        # Short, since the path of a socket may have no more than 107 bytes.
        self.directory = Path(tempfile.mkdtemp(prefix=f"celery-{self.engine}-"))
        self.directory.chmod(0o755)
        self.data = self.directory / "data"
        self.socket_directory = self.directory / "run"
        self.log = self.directory / "server.log"
        authority_directory = self.directory / "ca"
        authority_directory.mkdir(mode=0o755)
        self.authority = Authority(authority_directory)
        self._process: subprocess.Popen[bytes] | None = None
        self._names = itertools.count(1)

    def __enter__(self) -> Self:
        certificate, key = self.authority.issue("server")
        self.ca_file = self.authority.certificate
        self.certificate = self.directory / "server.crt"
        self.key = self.directory / "server.key"
        shutil.copy(certificate, self.certificate)
        shutil.copy(key, self.key)
        self.key.chmod(0o600)
        for path in (self.ca_file, self.certificate):
            path.chmod(0o644)
        self.data.mkdir(mode=0o700)
        self.socket_directory.mkdir(mode=0o755)
        self.log.touch()
        if self._identity:
            for path in (self.key, self.data, self.socket_directory, self.log):
                shutil.chown(path, self._identity.pw_uid, self._identity.pw_gid)
        try:
            self._initialise()
            self._start_somewhere()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_details: object) -> None:
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def login(self) -> dict[str, Any]:
        """The arguments of a module that logs in over TLS; user and password are up to the test."""
        return {"login_host": self.host, "login_port": self.port, "ca_file": str(self.ca_file)}

    def _start_somewhere(self) -> None:
        """Another run of the tests may have taken the port since it was free."""
        for _attempt in range(5):
            try:
                return self.start()
            except pytest.fail.Exception as failure:
                if "already in use" not in str(failure):
                    raise
                self.port = free_port()
        pytest.fail(f"Five ports in a row were taken before {self.engine} could have them.")

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command(), stdout=log, stderr=log, **self._as_account())
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"The server does not start: {self.log.read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Without what a clean shutdown would write: nobody starts from these files again but by `restart`."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(self.stop_signal)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def restart(self, **options: str) -> None:
        self.stop()
        self.options |= {name.replace("_", "-"): value for name, value in options.items()}
        self.start()

    def new_name(self, stem: str = "test") -> str:
        """A name that no other test uses."""
        return f"{stem}_{next(self._names)}"

    def sql(self, statement: str, *values: Any, database: str | None = None) -> list[tuple[Any, ...]]:
        """What one statement of the superuser gives."""
        with contextlib.closing(self.connect(database)) as connection:
            cursor = connection.cursor()
            cursor.execute(statement, values or None)
            return [tuple(row) for row in cursor.fetchall()] if cursor.description else []

    def connect(
        self, database: str | None = None, *, user: str | None = None, password: str | None = None, **options: Any
    ) -> Any:
        raise NotImplementedError

    def create_database(self, name: str | None = None) -> str:
        name = name or self.new_name()
        self.sql(f"CREATE DATABASE {name}")
        return name

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _initialise(self) -> None:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError

    @property
    def _identity(self) -> pwd.struct_passwd | None:
        if os.geteuid() != 0:
            return None
        try:
            return pwd.getpwnam(self.account)
        except KeyError:
            pytest.fail(f"These tests need the server {self.engine}: install the Debian package {self.package}.")

    def _as_account(self) -> dict[str, Any]:
        identity = self._identity
        # Servers that share a temporary directory take each other's files away when they start.
        where: dict[str, Any] = {
            "cwd": str(self.directory),
            "env": {**os.environ, "TMPDIR": str(self.socket_directory)},
        }
        if not identity:
            return where
        return {**where, "user": identity.pw_uid, "group": identity.pw_gid, "extra_groups": []}

    def _prepare(self, *command: str) -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=False, **self._as_account())
        if done.returncode:
            pytest.fail(f"{command[0]} failed: {done.stdout[-1000:]}{done.stderr[-1000:]}")

    def _program(self, *candidates: str | None) -> str:
        found = next((name for name in candidates if name), None)
        if not found:
            pytest.fail(f"These tests need the server {self.engine}: install the Debian package {self.package}.")
        return found


class Postgresql(SqlServer):
    """The superuser needs no password at the socket; everybody else needs one, and TLS on the port."""

    engine = "postgresql"
    account = "postgres"
    superuser = "postgres"
    stop_signal = signal.SIGQUIT
    package = "postgresql"

    @property
    def programs(self) -> Path:
        """Where the programs of the newest version are."""
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parents[1].name))
        return Path(self._program(*(str(path) for path in reversed(found)), shutil.which("initdb"))).parent

    @property
    def version(self) -> int:
        return int(self.sql("SHOW server_version_num")[0][0]) // 10000

    def create_database(self, name: str | None = None) -> str:
        name = name or self.new_name()
        self.sql(f'CREATE DATABASE "{name}"')
        return name

    def drop_database(self, name: str) -> None:
        self.sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def connect(
        self, database: str | None = None, *, user: str | None = None, password: str | None = None, **options: Any
    ) -> Any:
        if user is None:
            options = {"host": str(self.socket_directory), "user": self.superuser} | options
        else:
            tls = {"sslmode": "verify-full", "sslrootcert": str(self.ca_file)}
            options = {"host": self.host, "user": user, "password": password} | tls | options
        place = {"dbname": database or "postgres", "port": self.port, "autocommit": True}
        return psycopg.connect(**{**place, **options})

    def _initialise(self) -> None:
        self._prepare(
            str(self.programs / "initdb"),
            f"--pgdata={self.data}",
            f"--username={self.superuser}",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
            "--no-instructions",
        )
        # Backends of earlier tests keep their connections until they are collected.
        with (self.data / "postgresql.conf").open("a") as settings:
            settings.write("max_connections = 500\n")
        (self.data / "pg_hba.conf").write_text(
            f"local all {self.superuser} trust\nlocal all all scram-sha-256\nhostssl all all all scram-sha-256\n"
        )

    def _command(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1,::1" if Path("/proc/net/if_inet6").exists() else "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.socket_directory),
            "ssl": "on",
            "ssl_cert_file": str(self.certificate),
            "ssl_key_file": str(self.key),
            "shared_buffers": "32MB",
            "fsync": "off",
            "full_page_writes": "off",
            **{name.replace("-", "_"): value for name, value in self.options.items()},
        }
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [str(self.programs / "postgres"), "-D", str(self.data), *words]

    def _answers(self) -> bool:
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True


class Pooler:
    """A PgBouncer in front of a database, with TLS on both sides, in one of its modes.

    with Pooler(server, database, {"app": "password"}, "transaction") as pooler:
        server.connect(database, user="app", password="password", port=pooler.port)

    With a login, such as user=app password=secret, every client becomes that account of the server.
    """

    def __init__(
        self, server: Postgresql, database: str, users: dict[str, str], mode: str, login: str = "", **options: str
    ) -> None:
        self.server = server
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="celery-pooler-"))
        self.log = self.directory / "log"
        accounts = {name: password.replace('"', '""') for name, password in users.items()}
        (self.directory / "users").write_text("".join(f'"{name}" "{text}"\n' for name, text in accounts.items()))
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256",
            "auth_file": self.directory / "users",
            "pool_mode": mode,
            "client_tls_sslmode": "require",
            "client_tls_cert_file": server.certificate,
            "client_tls_key_file": server.key,
            "server_tls_sslmode": "verify-full",
            "server_tls_ca_file": server.ca_file,
            "logfile": self.log,
            **options,
        }
        self.configuration = self.directory / "pgbouncer.ini"
        self.configuration.write_text(
            f"[databases]\n{database} = host={server.host} port={server.port} dbname={database} {login}\n[pgbouncer]\n"
            + "".join(f"{name} = {value}\n" for name, value in settings.items())
        )

    def __enter__(self) -> Self:
        program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
        if not program:
            pytest.fail("These tests need PgBouncer: install the Debian package pgbouncer.")
        if identity := self.server._identity:
            for path in (self.directory, *self.directory.iterdir()):
                shutil.chown(path, identity.pw_uid, identity.pw_gid)
        self._process = subprocess.Popen(
            [program, str(self.configuration)], stderr=subprocess.DEVNULL, **self.server._as_account()
        )
        deadline = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return self
            if self._process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"PgBouncer does not start: {self.log.read_text() if self.log.exists() else ''}")
            time.sleep(0.05)

    def __exit__(self, *_details: object) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


class Mariadb(SqlServer):
    """The superuser is who runs the tests, at the socket; everybody else needs a password."""

    engine = "mysql"
    account = "nobody"
    package = "mariadb-server-core"
    stop_signal = signal.SIGKILL

    @property
    def superuser(self) -> str:  # type: ignore[override]
        return pwd.getpwuid(os.geteuid()).pw_name

    @property
    def socket(self) -> Path:
        return self.socket_directory / "mysqld.sock"

    @property
    def version(self) -> tuple[int, int]:
        major, minor = str(self.sql("SELECT VERSION()")[0][0]).split(".")[:2]
        return int(major), int(minor)

    def create_database(self, name: str | None = None) -> str:
        name = name or self.new_name()
        self.sql(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")
        return name

    def drop_database(self, name: str) -> None:
        self.sql(f"DROP DATABASE IF EXISTS `{name}`")

    def connect(
        self, database: str | None = None, *, user: str | None = None, password: str | None = None, **options: Any
    ) -> Any:
        if user is None:
            options = {"unix_socket": str(self.socket), "user": self.superuser} | options
        else:
            context = ssl.create_default_context(cafile=str(self.ca_file))
            options = {
                "host": self.host,
                "port": self.port,
                "user": user,
                "password": password,
                "ssl": context,
            } | options
        return pymysql.connect(database=database, charset="utf8mb4", autocommit=True, **options)

    def _initialise(self) -> None:
        self._prepare(
            self._program(shutil.which("mariadb-install-db")),
            "--no-defaults",
            f"--datadir={self.data}",
            "--auth-root-authentication-method=socket",
            f"--auth-root-socket-user={self.superuser}",
            "--skip-test-db",
            "--skip-name-resolve",
        )

    def _command(self) -> list[str]:
        settings = {
            "datadir": str(self.data),
            "tmpdir": str(self.socket_directory),
            "bind-address": "127.0.0.1",
            "port": str(self.port),
            "socket": str(self.socket),
            "pid-file": str(self.socket_directory / "server.pid"),
            "ssl-ca": str(self.ca_file),
            "ssl-cert": str(self.certificate),
            "ssl-key": str(self.key),
            "innodb-buffer-pool-size": "64M",
            "innodb-log-file-size": "64M",
            "innodb-flush-log-at-trx-commit": "0",
            "skip-name-resolve": "ON",
            **self.options,
        }
        program = self._program(shutil.which("mariadbd", path=f"{os.environ['PATH']}:/usr/sbin"))
        return [program, "--no-defaults", *(f"--{name}={value}" for name, value in settings.items())]

    def _answers(self) -> bool:
        try:
            self.connect().close()
        except pymysql.err.OperationalError:
            return False
        return True
