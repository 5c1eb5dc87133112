# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role's settings do against a real RabbitMQ, and what the documented traps of rpc look like."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import celery
import kombu.pools
import pytest
from ansible_collections.resultops.celery.tests.unit.rpc_broker import OTHER_NAME, RpcBroker
from celery.backends.rpc import BacklogLimitExceeded

REFUSED = "certificate verify failed"
# A program of its own, with the settings in its first line.
FORK = """
import celery, json, os, sys
app = celery.Celery("probe")
app.conf.update(json.loads(sys.stdin.readline()))
def get(value):
    try:
        return app.send_task("probe.echo", [value]).get(timeout=4)
    except celery.exceptions.TimeoutError:
        return "nothing"
if sys.argv[1] == "after":
    get("first")
child = os.fork()
print(get("child" if child == 0 else "parent"), flush=True)
if child:
    os.waitpid(child, 0)
"""


ANSWER = """
import celery, sys
from celery.app.task import Context
app = celery.Celery("probe")
app.conf.update(broker_url=sys.argv[1], result_backend="rpc://")
app.backend.store_result("some", 1, "SUCCESS", request=Context(reply_to=sys.argv[2], correlation_id="some"))
"""


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("CELERY_RESULT_BACKEND", raising=False)
    yield
    kombu.pools.reset()


@pytest.fixture(scope="module")
def working(rpc_broker: RpcBroker) -> Iterator[RpcBroker]:
    with rpc_broker.worker():
        yield rpc_broker


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def echo(app: celery.Celery, value: Any = "hello", **options: Any) -> Any:
    return app.send_task("probe.echo", [value], **options)


class TestWhoAnswers:
    """The certificate of the server stands for its address only, and its authority is not one of the system."""

    def connects(self, url: str, **settings: Any) -> str:
        """Say what is wrong, or nothing."""
        app = celery.Celery("probe", set_as_current=False)
        app.conf.update(broker_url=url, broker_connection_timeout=5, **settings)
        try:
            with app.connection_for_write() as connection:
                connection.connect()
        except OSError as error:
            return str(error)
        return ""

    def test_by_itself_celery_trusts_the_system_and_compares_no_name(
        self, rpc_broker: RpcBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        right = rpc_broker.url("probe_client")
        wrong = rpc_broker.url("probe_client", OTHER_NAME)
        assert REFUSED in self.connects(right)
        monkeypatch.setenv("SSL_CERT_FILE", str(rpc_broker.authority.certificate))
        assert self.connects(right) == self.connects(wrong) == ""

    def test_a_trust_file_alone_compares_no_name_either(self, rpc_broker: RpcBroker) -> None:
        own = {"ca_certs": str(rpc_broker.authority.certificate), "cert_reqs": 2}
        assert self.connects(rpc_broker.url("probe_client", OTHER_NAME), broker_use_ssl=own) == ""

    def test_with_the_settings_of_the_role_it_must_be_the_right_one(self, rpc_broker: RpcBroker) -> None:
        right = rpc_broker.settings("probe_client")
        assert self.connects(right["broker_url"], broker_use_ssl=dict(right["broker_use_ssl"])) == ""
        wrong = rpc_broker.settings("probe_client", rpc_broker.url("probe_client", OTHER_NAME))
        assert "mismatch" in self.connects(wrong["broker_url"], broker_use_ssl=dict(wrong["broker_use_ssl"]))
        other = dict(right["broker_use_ssl"], ca_certs=str(rpc_broker.other_authority.certificate))
        assert REFUSED in self.connects(right["broker_url"], broker_use_ssl=other)

    def test_a_name_of_all_brokers_is_compared_instead_of_that_in_the_url(self, rpc_broker: RpcBroker) -> None:
        named = dict(rpc_broker.settings("probe_client")["broker_use_ssl"], server_hostname="127.0.0.1")
        assert self.connects(rpc_broker.url("probe_client", OTHER_NAME), broker_use_ssl=named) == ""


class TestResults:
    def test_a_result_comes_back_and_nothing_stays(self, working: RpcBroker) -> None:
        app = working.client()
        assert echo(app).get(timeout=20) == "hello"
        app.backend.result_consumer.stop()
        app.close()
        wait_until(lambda: working.queues() == {})

    def test_a_group_is_waited_for_in_the_process_that_sent_it(self, working: RpcBroker) -> None:
        app = working.client()
        signatures = [app.signature("probe.echo", args=[number]) for number in range(3)]
        assert celery.group(signatures, app=app).apply_async().get(timeout=20) == [0, 1, 2]

    def test_tasks_in_quorum_queues_and_delayed_ones(self, rpc_broker: RpcBroker) -> None:
        app = rpc_broker.client("quorum_client")
        with rpc_broker.worker("quorum_worker"):
            assert echo(app).get(timeout=20) == "hello"
            assert echo(app, "later", countdown=1).get(timeout=20) == "later"

    def test_the_accounts_of_strict_permissions(self, rpc_broker: RpcBroker) -> None:
        quiet = {"worker_enable_remote_control": False}
        app = rpc_broker.client("strict_client")
        app.conf.task_queues = [kombu.Queue("celery", no_declare=True)]
        script = "from kombu import Queue\napp.conf.task_queues = [Queue('celery', no_declare=True)]\n"
        with rpc_broker.worker("strict_worker", "--without-gossip", "--without-mingle", script=script, **quiet):
            assert echo(app).get(timeout=20) == "hello"


class TestTraps:
    """Each is a row of the table of guards in docs/rabbitmq.md."""

    def test_a_chord_is_refused(self, working: RpcBroker) -> None:
        app = working.client()
        header = [app.signature("probe.echo", args=[number]) for number in range(2)]
        with pytest.raises(NotImplementedError, match='The "rpc" result backend does not support chords!'):
            celery.chord(header, app=app)(app.signature("probe.echo"))

    def test_a_group_cannot_be_saved(self, working: RpcBroker) -> None:
        app = working.client()
        sent = celery.group([app.signature("probe.echo", args=[1])], app=app).apply_async()
        with pytest.raises(NotImplementedError, match="save_group is not supported"):
            sent.save()

    def test_another_process_sees_nothing(self, working: RpcBroker) -> None:
        app, other = working.client(), working.client()
        result = echo(app)
        assert result.get(timeout=20) == "hello"
        assert other.AsyncResult(result.id).state == "PENDING"

    def test_looking_at_the_state_leaves_a_queue(self, working: RpcBroker) -> None:
        app = working.client()
        result = echo(app)
        wait_until(lambda: result.state == "SUCCESS")
        name = app.backend.oid
        app.close()
        kombu.pools.reset()
        assert working.queues()[name]["consumers"] == 0
        working.server.ctl("delete_queue", "-p", "probe", name)

    def test_looking_at_the_state_has_a_limit(self, working: RpcBroker) -> None:
        app = working.client()
        with app.amqp.producer_pool.acquire() as producer:
            app.backend.on_task_call(producer, "")
        with working.client("probe_worker").connection_for_write() as connection:
            for number in range(1001):
                connection.default_channel.basic_publish(
                    connection.default_channel.prepare_message(
                        "{}",
                        content_type="application/json",
                        content_encoding="utf-8",
                        properties={"correlation_id": str(number)},
                    ),
                    routing_key=app.backend.oid,
                )
        wait_until(lambda: working.queues()[app.backend.oid]["messages"] > 1000)
        with pytest.raises(BacklogLimitExceeded):
            app.AsyncResult("unknown").state  # noqa: B018 (to read it is what is tested)
        working.server.ctl("delete_queue", "-p", "probe", app.backend.oid)

    @pytest.mark.parametrize("when", ["before", "after"])
    def test_a_fork_after_the_first_use_loses_results(self, working: RpcBroker, when: str) -> None:
        program = subprocess.run(
            [sys.executable, "-c", FORK, when],
            input=json.dumps(working.settings("probe_client")) + "\n",
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        answers = sorted(program.stdout.split())
        assert answers == ["child", "parent"] if when == "before" else answers != ["child", "parent"]

    def test_ignored_results_are_never_sent(self, working: RpcBroker) -> None:
        app = working.client(task_ignore_result=True)
        with pytest.raises(celery.exceptions.TimeoutError):
            working.client().AsyncResult(echo(app).id).get(timeout=1)

    def test_redis_as_broker_keeps_results_for_ever(self, redis_server: Any) -> None:
        url = f"redis+socket://{redis_server.socket}"
        app = celery.Celery("probe", set_as_current=False)
        app.conf.update(broker_url=url, result_backend="rpc://")
        name = app.backend.oid
        with app.amqp.producer_pool.acquire() as producer:
            app.backend.on_task_call(producer, "some")
        app.close()
        # The worker is another process, which knows nothing of the expiry that the client has given its queue.
        subprocess.run([sys.executable, "-c", ANSWER, url, name], check=True, timeout=60)
        assert redis_server.client().ttl(name) == -1
