# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings for poolers against a real PgBouncer that gives each transaction another connection."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from ansible_collections.resultops.celery.tests.unit.ports import free_port
from ansible_collections.resultops.celery.tests.unit.sql_servers import PATIENCE, Postgresql
from ansible_collections.resultops.celery.tests.unit.worker_store import PASSWORD, Store, load
from celery import states
from sqlalchemy import exc

load()


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with Postgresql() as server:
        found = Store(server)
        server.sql(f"ALTER ROLE {found.user} SET timezone = 'UTC'")
        yield found


@pytest.fixture(scope="module", params=["session", "transaction"])
def pooler(request: pytest.FixtureRequest, store: Store) -> Iterator[tuple[str, int]]:
    """The mode and the port of a pooler that runs beside the server, with TLS on both sides."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if not program:
        pytest.fail("These tests need PgBouncer: install the Debian package pgbouncer.")
    server, port = store.server, free_port()
    directory = server.directory / f"pooler-{request.param}"
    directory.mkdir()
    quoted = PASSWORD.replace('"', '""')
    (directory / "users").write_text(f'"{store.user}" "{quoted}"\n')
    settings = {
        "listen_addr": "127.0.0.1",
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "scram-sha-256",
        "auth_file": directory / "users",
        "pool_mode": request.param,
        "default_pool_size": 3,
        "client_tls_sslmode": "require",
        "client_tls_cert_file": server.certificate,
        "client_tls_key_file": server.key,
        "server_tls_sslmode": "verify-full",
        "server_tls_ca_file": server.ca_file,
        "logfile": directory / "log",
        "server_round_robin": 1,
    }
    lines = [f"{name} = {value}" for name, value in settings.items()]
    address = f"host={server.host} port={server.port} dbname={store.database}"
    configuration = directory / "pgbouncer.ini"
    configuration.write_text(f"[databases]\n{store.database} = {address}\n[pgbouncer]\n" + "\n".join(lines) + "\n")
    identity = server._identity
    if identity:
        for path in (directory, *directory.iterdir()):
            shutil.chown(path, identity.pw_uid, identity.pw_gid)
    process = subprocess.Popen([program, str(configuration)], stderr=subprocess.DEVNULL, **server._as_account())
    try:
        until_it_listens(port, process, directory / "log")
        yield request.param, port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def until_it_listens(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"PgBouncer does not start: {log.read_text() if log.exists() else ''}")
        time.sleep(0.05)


@pytest.mark.parametrize("profile", ["stock", "fast"])
def test_many_threads_share_few_connections(store: Store, pooler: tuple[str, int], profile: str) -> None:
    mode, port = pooler
    app = store.application(profile, {"worker_pool": "threads", "pool_size": 3}, {"port": port, "pooler": mode})
    errors: list[Exception] = []

    def work() -> None:
        try:
            for number in range(8):
                task = str(uuid4())
                app.backend.store_result(task, {"number": number}, states.SUCCESS)
                assert app.backend.get_task_meta(task, cache=False)["result"] == {"number": number}
        except Exception as error:  # noqa: BLE001 - any is too much
            errors.append(error)

    threads = [threading.Thread(target=work) for _number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(store.connections()) <= 3


def test_without_the_setting_it_does_not_work(store: Store, pooler: tuple[str, int]) -> None:
    """What the setting leaves out is what the pooler refuses."""
    _mode, port = pooler
    app = store.application(changes={"port": port}, result_backend_always_retry=False)
    with pytest.raises(exc.OperationalError, match="unsupported startup parameter"):
        app.backend.get_task_meta(str(uuid4()))
