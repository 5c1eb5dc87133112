# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module with real workers: it passes where one answers, and names the hop where none does."""

from __future__ import annotations

import socket
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _backend
from ansible_collections.resultops.celery.plugins.module_utils import _celery_client as client
from ansible_collections.resultops.celery.plugins.modules import task_roundtrip
from ansible_collections.resultops.celery.tests.unit.rpc_broker import RpcBroker
from ansible_collections.resultops.celery.tests.unit.sql_servers import Mariadb, Postgresql, SqlServer
from ansible_collections.resultops.celery.tests.unit.worker_store import PASSWORD, Store, load
from celery.contrib.testing.worker import start_worker
from kombu import Queue

MODULE = "task_roundtrip"
TIMEOUT = 3.0


def run_with(
    settings: Any,
    *,
    queue: str | None = None,
    check_mode: bool = False,
    timeout: float = TIMEOUT,
    worker_app: str | None = None,
) -> client.CheckRun:
    run = client.CheckRun("redis")
    task_roundtrip.run_hops(run, task_roundtrip.Roundtrip(settings, queue, timeout, worker_app), check_mode)
    return run


def outcome(run: client.CheckRun) -> list[tuple[str, str]]:
    return [(row["check"], row["failure_class"]) for row in run.failures]


def statuses(run: client.CheckRun) -> dict[str, str]:
    return {row["check"].removeprefix("roundtrip_"): row["status"] for row in run.rows}


def results_left(server: Any) -> list[str]:
    return list(server.admin.keys("celery-task*"))


def test_a_worker_answers_and_nothing_is_left(celery_redis: Any, worker_settings: Any, celery_worker: Any) -> None:
    celery_worker(celery_redis, "--hostname", f"shop@{socket.gethostname()}")
    run = run_with(worker_settings(celery_redis), timeout=10, worker_app="shop")
    assert run.failures == []
    assert list(statuses(run)) == ["broker", "ping", "subscribe", "publish", "worker", "read", "delete"]
    assert set(statuses(run).values()) == {"passed"}
    assert run.rows[1]["detail"] == f"The worker shop@{socket.gethostname()} answers."
    assert results_left(celery_redis) == []


def test_the_worker_of_another_host_does_not_stand_in(
    celery_redis: Any, worker_settings: Any, celery_worker: Any
) -> None:
    celery_worker(celery_redis, "--hostname", "shop@another-host")
    run = run_with(worker_settings(celery_redis), worker_app="shop")
    assert outcome(run) == [("roundtrip_ping", "no_worker")]
    detail = run.failures[0]["detail"]
    assert detail.startswith(f"The worker shop@{socket.gethostname()} does not answer within 3 s")
    assert "celery-shop.service" in detail
    assert {statuses(run)[hop] for hop in ("subscribe", "publish", "worker", "read", "delete")} == {"skipped"}


@pytest.mark.parametrize(
    ("worker_app", "remote_control", "reason"),
    [(None, True, "no worker is named"), ("shop", False, "worker_enable_remote_control is off")],
)
def test_a_worker_that_cannot_be_asked_by_name(
    celery_redis: Any,
    worker_settings: Any,
    celery_worker: Any,
    worker_app: str | None,
    remote_control: bool,
    reason: str,
) -> None:
    celery_worker(celery_redis)
    settings = worker_settings(celery_redis, worker_enable_remote_control=remote_control)
    run = run_with(settings, timeout=10, worker_app=worker_app)
    assert run.failures == []
    assert statuses(run)["ping"] == "skipped"
    assert reason in run.rows[1]["detail"]
    assert statuses(run)["worker"] == "passed"


def test_a_queue_that_no_worker_consumes(celery_redis: Any, worker_settings: Any, celery_worker: Any) -> None:
    celery_worker(celery_redis)
    run = run_with(worker_settings(celery_redis), queue="reports")
    assert outcome(run) == [("roundtrip_worker", "no_worker")]
    assert "none consumes the queue reports" in run.failures[0]["detail"]


def test_no_worker_at_all(celery_redis: Any, worker_settings: Any) -> None:
    run = run_with(worker_settings(celery_redis), timeout=1)
    assert outcome(run) == [("roundtrip_worker", "no_worker")]
    assert "No worker answers" in run.failures[0]["detail"]
    assert statuses(run)["read"] == "skipped"
    assert statuses(run)["delete"] == "passed"
    assert results_left(celery_redis) == []


def test_a_worker_that_cannot_store(celery_redis: Any, worker_settings: Any, celery_worker: Any) -> None:
    celery_worker(celery_redis, CELERY_RESULT_BACKEND=celery_redis.url("not this one"))
    run = run_with(worker_settings(celery_redis))
    assert outcome(run) == [("roundtrip_store", "unknown")], run.failures
    assert statuses(run)["worker"] == "passed"
    assert "took the task" in run.failures[0]["detail"]


def test_a_backend_that_lets_nobody_store(celery_redis: Any, worker_settings: Any, celery_worker: Any) -> None:
    celery_worker(celery_redis)
    celery_redis.admin.execute_command("ACL", "SETUSER", "celery", "-setex")
    run = run_with(worker_settings(celery_redis))
    assert outcome(run)[0] == ("roundtrip_store", "acl")


@pytest.mark.parametrize(
    ("changes", "failure_class"),
    [
        ({"hosts": ["nowhere.invalid"]}, "dns"),
        ({"port": None}, "refused"),
        ({"password": "not this one"}, "auth"),
        ({"ca_file": None}, "tls"),
        ({"database": 1, "username": "celery", "password": None}, "acl"),
    ],
    ids=["dns", "refused", "auth", "tls", "acl"],
)
def test_a_broker_that_cannot_be_used(
    celery_redis: Any,
    worker_settings: Any,
    free_port: Callable[[], int],
    other_authority: Any,
    changes: dict[str, Any],
    failure_class: str,
) -> None:
    actual = {"port": free_port(), "ca_file": str(other_authority.certificate), "password": celery_redis.password}
    chosen = {name: actual[name] if value is None else value for name, value in changes.items()}
    run = run_with(worker_settings(celery_redis, broker_url=celery_redis.url(**chosen)))
    assert outcome(run)[0][1] == failure_class
    assert outcome(run)[0][0] in ("roundtrip_broker", "roundtrip_publish")


def test_a_result_backend_that_cannot_be_used(celery_redis: Any, worker_settings: Any) -> None:
    run = run_with(worker_settings(celery_redis, result_backend=celery_redis.url("not this one")))
    assert outcome(run)[0] == ("roundtrip_subscribe", "auth")
    assert statuses(run)["publish"] == "skipped"


def test_check_mode_publishes_nothing(celery_redis: Any, worker_settings: Any) -> None:
    run = run_with(worker_settings(celery_redis), check_mode=True)
    assert statuses(run)["broker"] == "passed"
    assert statuses(run)["publish"] == "skipped"
    assert celery_redis.admin.info("keyspace") == {}


def test_ansible_reports_the_hop_and_prints_no_secret(celery_redis: Any, worker_files: Any, run_module: Any) -> None:
    worker_files.write(celery_redis)
    found, printed = run_module(MODULE)
    assert found["failed"] is True
    assert found["msg"].startswith("roundtrip_worker failed (no_worker): No worker answers")
    for secret in worker_files.secrets:
        assert secret not in printed
        assert quote(secret, safe="") not in printed


def test_a_missing_broker_is_a_fault_of_the_configuration(
    celery_redis: Any, worker_files: Any, run_module: Any
) -> None:
    worker_files.write(celery_redis, CELERY_BROKER_URL="")
    found, _printed = run_module(MODULE, report_only=True)
    assert found["failed"] is False
    assert found["checks"][0]["failure_class"] == "config"
    assert "CELERY_BROKER_URL" in found["checks"][0]["detail"]


@pytest.mark.parametrize("maker", [Postgresql, Mariadb])
def test_results_in_an_sql_server(maker: type[SqlServer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CELERY_RESULT_BACKEND", raising=False)
    load()
    with maker() as server:
        store = Store(server)
        described = store.describe("fast")
        settings = SimpleNamespace(
            **_backend.celery_settings(described),
            result_backend=_backend.backend_url(described, PASSWORD),
            broker_url="memory://",
        )
        with start_worker(store.application(), perform_ping_check=False, pool="solo"):
            probe = task_roundtrip.Roundtrip(settings, None, 10.0)  # type: ignore[arg-type]
            run = client.CheckRun(probe.backend)
            task_roundtrip.run_hops(run, probe, check_mode=False)
        assert run.failures == []
        assert run.rows[-1]["backend"] == store.kind
        schema = "results." if store.kind == "postgresql" else ""
        assert server.sql(f"SELECT count(*) FROM {schema}celery_taskmeta", database=store.database) == [(0,)]


class TestRpc:
    """With the account of a worker, which may have no queue of results."""

    @pytest.fixture(autouse=True)
    def clean_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("CELERY_RESULT_BACKEND", raising=False)

    def run(self, settings: Any, timeout: float = TIMEOUT, **options: Any) -> client.CheckRun:
        probe = task_roundtrip.RpcRoundtrip(settings, options.pop("queue", None), timeout, **options)
        run = client.CheckRun(probe.backend)
        task_roundtrip.run_hops(run, probe, check_mode=False)
        return run

    def test_a_worker_answers_and_no_queue_is_needed(self, rpc_broker: RpcBroker) -> None:
        with rpc_broker.worker("probe_worker", "--hostname", f"shop@{socket.gethostname()}"):
            run = self.run(rpc_broker.module("probe_worker"), 10, worker_app="shop")
            assert run.failures == []
            passed = dict.fromkeys(["broker", "ping", "subscribe", "publish", "worker", "read", "delete"], "passed")
            assert statuses(run) == {**passed, "read": "skipped"}
            assert {row["backend"] for row in run.rows} == {"rpc"}
            assert rpc_broker.queues() == {}
            other = self.run(rpc_broker.module("probe_worker"), queue="elsewhere")
            assert outcome(other) == [("roundtrip_publish", "acl")]

    def test_strict_permissions_are_enough(self, rpc_broker: RpcBroker) -> None:
        settings = rpc_broker.module("strict_worker", worker_enable_remote_control=False)
        settings.task_queues = [Queue("celery", no_declare=True)]
        script = "from kombu import Queue\napp.conf.task_queues = [Queue('celery', no_declare=True)]\n"
        arguments = ("--without-gossip", "--without-mingle")
        with rpc_broker.worker("strict_worker", *arguments, script=script, worker_enable_remote_control=False):
            run = self.run(settings, 10, worker_app="shop")
        assert run.failures == []
        assert statuses(run)["ping"] == statuses(run)["read"] == "skipped"
        silent = self.run(settings)
        assert outcome(silent) == [("roundtrip_worker", "no_worker")]
        assert "Nobody consumes the queue celery" in silent.failures[0]["detail"]

    def test_a_worker_whose_results_go_elsewhere(self, rpc_broker: RpcBroker) -> None:
        with rpc_broker.worker("probe_worker", result_backend="disabled://"):
            run = self.run(rpc_broker.module("probe_worker"))
        assert outcome(run) == [("roundtrip_store", "unknown")]
        assert "although this host can store results" in run.failures[0]["detail"]

    def test_no_worker_at_all(self, rpc_broker: RpcBroker) -> None:
        run = self.run(rpc_broker.module("probe_worker"))
        assert outcome(run) == [("roundtrip_worker", "no_worker")]
