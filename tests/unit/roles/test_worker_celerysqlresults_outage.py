# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result backend while a real server is away."""

from __future__ import annotations

import threading
import time
from uuid import uuid4

import pytest
from ansible_collections.resultops.celery.tests.unit.sql_servers import Mariadb, Postgresql, SqlServer
from ansible_collections.resultops.celery.tests.unit.worker_store import Store, load
from celery import states

load()


@pytest.mark.parametrize("maker", [Postgresql, Mariadb])
def test_a_server_that_is_away_for_three_seconds_loses_no_result(maker: type[SqlServer]) -> None:
    with maker() as server:
        store = Store(server)
        app, tasks, errors, stop = store.application(), [], [], threading.Event()

        def work() -> None:
            while not stop.is_set():
                task = str(uuid4())
                try:
                    app.backend.store_result(task, 1, states.SUCCESS)
                    tasks.append(task)
                except Exception as error:  # noqa: BLE001 - every error is a lost result
                    errors.append(error)
                time.sleep(0.01)

        thread = threading.Thread(target=work)
        thread.start()
        time.sleep(0.5)
        server.stop()
        time.sleep(3)
        server.start()
        stored = len(tasks)
        while len(tasks) < stored + 5 and not errors:
            time.sleep(0.05)
        stop.set()
        thread.join()
        assert errors == []
        # Without a sync of its files, MariaDB may lose what it had last; the settings of a test say so.
        assert server.engine == "mysql" or all(store.rows("id", task) for task in tasks)
