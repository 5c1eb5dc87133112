# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks against a real RabbitMQ: they pass for each account that is right, or name the class of the failure."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _celery_client as client
from ansible_collections.resultops.celery.plugins.module_utils import _rpc_probe
from ansible_collections.resultops.celery.plugins.modules import result_backend_check as check
from ansible_collections.resultops.celery.tests.unit.ports import free_port
from ansible_collections.resultops.celery.tests.unit.rpc_broker import HOST, OTHER_NAME, PASSWORD, RpcBroker

TIMEOUT = 3.0
STEPS = ["store", "wait", "chord", "expire"]
CONNECTION = ["dns", "tcp", "tls", "auth"]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CELERY_RESULT_BACKEND", raising=False)


def run_with(settings: Any, *, reads: bool = True, check_mode: bool = False, **changes: Any) -> client.CheckRun:
    run = client.CheckRun("rpc")
    run.redact.learn_url(settings.broker_url)
    wanted = {"serializers": [], "checks": STEPS, **changes}
    probe = check.kind_of_probe("rpc", reads)(settings, TIMEOUT)
    check.run_checks(run, probe, wanted, check_mode)
    assert PASSWORD not in str(run.rows)
    return run


def outcome(run: client.CheckRun) -> list[tuple[str, str]]:
    return [(row["check"], row["failure_class"]) for row in run.failures]


def sentences(run: client.CheckRun) -> str:
    return " ".join(row["detail"] for row in run.failures)


@pytest.mark.parametrize("account", ["probe_client", "probe_both", "strict_client", "quorum_client"])
def test_a_client_has_a_queue_that_goes_with_it(rpc_broker: RpcBroker, account: str) -> None:
    run = run_with(rpc_broker.module(account), serializers=["json", "msgpack"])
    assert run.failures == []
    of_serializers = [f"{step}_{name}" for name in ("json", "msgpack") for step in ("store", "read", "wait")]
    assert [row["check"] for row in run.rows] == [*CONNECTION, *of_serializers, "expire", "delete"]
    assert "chain and host name verified" in run.rows[2]["detail"]
    assert "RabbitMQ" in run.rows[3]["detail"]
    assert "Its queue went with it" in run.rows[6]["detail"]
    assert rpc_broker.queues(account.rpartition("_")[0]) == {}


@pytest.mark.parametrize("account", ["probe_worker", "strict_worker"])
def test_a_worker_only_answers(rpc_broker: RpcBroker, account: str) -> None:
    run = run_with(rpc_broker.module(account), reads=False)
    assert run.failures == []
    assert [row["check"] for row in run.rows] == [*CONNECTION, "store_json", "delete"]
    run = run_with(rpc_broker.module(account))
    assert outcome(run) == [("store_json", "acl")]
    assert "The account may not have a queue of results" in sentences(run)
    assert "worker_reads_results" in sentences(run)


@pytest.mark.parametrize(
    ("rights", "failed", "said"),
    [
        ((".*", "^$", ".*"), "store_json", "The account may not send results"),
        ((".*", ".*", "^$"), "read_json", "The account may not read its queue of results"),
    ],
)
def test_a_right_that_is_missing_is_named(
    rpc_broker: RpcBroker, rights: tuple[str, str, str], failed: str, said: str
) -> None:
    rpc_broker.server.ctl("add_user", "probe_odd", PASSWORD)
    try:
        rpc_broker.server.ctl("set_permissions", "-p", "probe", "probe_odd", *rights)
        run = run_with(rpc_broker.module("probe_odd"), checks=["store"])
        assert outcome(run) == [(failed, "acl")]
        assert said in sentences(run)
        assert rpc_broker.queues() == {}
    finally:
        rpc_broker.server.ctl("delete_user", "probe_odd")


def test_doors_that_stay_shut(rpc_broker: RpcBroker) -> None:
    account = "probe_client"
    wrong = rpc_broker.module(account, rpc_broker.url(account, password="wrong"))
    assert outcome(run_with(wrong)) == [("auth", "auth")]
    elsewhere = rpc_broker.module(account, rpc_broker.url(account, virtual_host="strict"))
    assert outcome(run_with(elsewhere)) == [("auth", "acl")]
    rpc_broker.server.ctl("set_user_limits", account, '{"max-connections": 0}')
    try:
        assert outcome(run_with(rpc_broker.module(account))) == [("auth", "too_many_connections")]
    finally:
        rpc_broker.server.ctl("set_user_limits", account, '{"max-connections": 1000}')


def test_who_answers_is_verified(rpc_broker: RpcBroker) -> None:
    account = "probe_client"
    named = run_with(rpc_broker.module(account, rpc_broker.url(account, OTHER_NAME)))
    assert outcome(named) == [("tls", "tls")]
    assert "Issue the certificate for the name" in sentences(named)
    signed = dict(rpc_broker.settings(account)["broker_use_ssl"], ca_certs=str(rpc_broker.other_authority.certificate))
    assert outcome(run_with(rpc_broker.module(account, broker_use_ssl=signed))) == [("tls", "tls")]
    weak = run_with(rpc_broker.module(account, broker_use_ssl=None))
    assert outcome(weak) == [("tls", "tls")]
    assert "broker_use_ssl lacks cert_reqs: 2 and server_hostname" in sentences(weak)
    plain = run_with(rpc_broker.module(account, rpc_broker.url(account, tls=False)))
    assert "Write amqps:// in the URL" in sentences(plain)


def test_settings_that_do_not_verify_are_found_in_the_connection(rpc_broker: RpcBroker) -> None:
    probe = _rpc_probe.RpcProbe(rpc_broker.module("probe_client"), TIMEOUT)
    probe._app.conf.broker_use_ssl = {"cert_reqs": 0}
    with pytest.raises(client.CheckFailedError, match="is not verified"):
        probe.auth()


def test_one_broker_of_a_cluster_is_enough(rpc_broker: RpcBroker) -> None:
    here = rpc_broker.url("probe_client")
    gone = rpc_broker.url("probe_client", "localhost", port=free_port())
    run = run_with(rpc_broker.module("probe_client", f"{gone};{here}"), checks=["store"])
    assert run.failures == []
    assert "localhost does not work: ConnectionRefusedError" in run.rows[1]["detail"]
    assert outcome(run_with(rpc_broker.module("probe_client", gone))) == [("tcp", "refused")]


def test_a_broker_that_hangs(rpc_broker: RpcBroker) -> None:
    probe = _rpc_probe.RpcProbe(rpc_broker.module("probe_client"), 1.0)
    process = rpc_broker.server.process_group
    process(signal.SIGSTOP)
    try:
        with pytest.raises(TimeoutError):
            probe.tls()
    finally:
        process(signal.SIGCONT)


def test_a_broker_that_is_none(rpc_broker: RpcBroker) -> None:
    for url, said in (("redis://127.0.0.1:1/0", "broker of the kind redis"), (None, "Celery has no broker")):
        settings = rpc_broker.module("probe_client", broker_url=url)
        with pytest.raises(client.CheckFailedError, match=said) as failure:
            _rpc_probe.RpcProbe(settings, TIMEOUT)
        assert failure.value.failure_class == "config"


def test_queues_must_expire(rpc_broker: RpcBroker) -> None:
    run = run_with(rpc_broker.module("probe_client", result_expires=None), checks=["expire"])
    assert outcome(run) == [("expire", "config")]


def test_check_mode_sends_nothing(rpc_broker: RpcBroker) -> None:
    run = run_with(rpc_broker.module("probe_client"), check_mode=True)
    passed = [row["check"] for row in run.rows if row["status"] == "passed"]
    assert (passed, run.failures) == (CONNECTION, [])
    assert HOST in run.rows[1]["detail"]
