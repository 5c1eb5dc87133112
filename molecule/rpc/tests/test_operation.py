# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What clients of a real worker see on good and on bad days, and what they leave behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from scenario import CLUSTER, wait_until

# What a result that is lost looks like: a wait without an end.
GET = """
import celery
def get(result, seconds=10):
    try:
        return result.get(timeout=seconds)
    except celery.exceptions.TimeoutError:
        return "lost"
"""
# The marker says that the task has been sent and the queue of replies is read.
MARKER = "/tmp/rpc-client-is-ready"
WAITING = """
import threading, time
echo.delay("ready").get(timeout=60)
result = sleep.delay(given["seconds"])
threading.Timer(1, lambda: open(given["marker"], "w").close()).start()
print(json.dumps(get(result, 90)))
"""
NOT_WAITING = """
import time
echo.delay("ready").get(timeout=60)
result = sleep.delay(given["seconds"])
open(given["marker"], "w").close()
time.sleep(given["seconds"] + 20)
print(json.dumps(get(result)))
"""
MANY = """
import threading, time
done, failed = [], []
def client(number):
    for turn in range(given["turns"]):
        try:
            if echo.delay([number, turn]).get(timeout=60) == [number, turn]:
                done.append(number)
        except Exception as error:
            failed.append(f"{type(error).__name__}: {error}")
# One application for each, as if they were processes of their own, which the cost of starting them would hide.
clients = [threading.Thread(target=client, args=(number,)) for number in range(given["clients"])]
started = time.monotonic()
for one in clients: one.start()
for one in clients: one.join()
print(json.dumps({"done": len(done), "failed": failed[:3], "seconds": time.monotonic() - started}))
"""


@contextmanager
def meanwhile(fleet: Any, server: str, code: str, **values: Any) -> Iterator[dict[str, Any]]:
    """A client that runs beside the test and is ready; what it printed stands in `answer` afterwards."""
    said: dict[str, Any] = {}
    marker = fleet.host(fleet.worker_of(server))
    marker.run("rm -f %s", MARKER)

    def run() -> None:
        try:
            said["answer"] = fleet.celery(server, GET + code, marker=MARKER, **values)
        except AssertionError as error:
            said["answer"] = f"failed: {str(error)[-800:]}"

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(lambda: marker.file(MARKER).exists or "answer" in said, 90, "the client is not ready")
    yield said
    thread.join(240)


def connections(fleet: Any, server: str, user: str) -> list[str]:
    return [row["pid"] for row in fleet.table(server, "list_connections", "pid", "user") if row["user"] == user]


def cut(fleet: Any, server: str) -> None:
    fleet.ctl(server, "close_all_user_connections", "probe_client", "test")


def restart(fleet: Any, server: str) -> None:
    fleet.host(server).check_output("systemctl restart rabbitmq-server")


class TestGoodDays:
    def test_a_result_comes_back_and_nothing_stays(self, fleet, server):
        assert fleet.celery(server, "print(json.dumps(echo.delay('hello').get(timeout=30)))") == "hello"
        wait_until(lambda: not connections(fleet, server, "probe_client"), 30, "the client is still connected")
        assert not [row for row in fleet.reply_queues(server).values() if row["consumers"]]

    def test_many_round_trips_leave_nothing_behind(self, fleet, server):
        # Each process of the worker opens a connection of its own with the first result that it sends.
        fleet.celery(server, MANY, clients=8, turns=10)
        wait_until(lambda: not connections(fleet, server, "probe_client"), 60, "a client is still connected")
        queues, links = fleet.queues(server), fleet.table(server, "list_connections", "pid")
        channels = fleet.table(server, "list_channels", "pid")
        # Eight clients on each of the two servers make more than 10,000.
        turns = {"clients": 8, "turns": 640}
        answer = fleet.celery(server, MANY, **turns)
        assert answer["failed"] == []
        assert answer["done"] == 8 * 640
        print(f"{server}: {answer['done']} round trips in {answer['seconds']:.1f} s")
        wait_until(lambda: not connections(fleet, server, "probe_client"), 30, "a client is still connected")
        assert fleet.queues(server).keys() <= queues.keys()
        assert len(fleet.table(server, "list_connections", "pid")) <= len(links)
        assert len(fleet.table(server, "list_channels", "pid")) <= len(channels)


class TestBadDays:
    @pytest.mark.parametrize("happens", [cut, restart])
    def test_who_waits_gets_the_result_all_the_same(self, fleet, server, happens):
        with meanwhile(fleet, server, WAITING, seconds=8) as said:
            happens(fleet, server)
        assert said["answer"] == 8

    @pytest.mark.parametrize("happens", [cut, restart])
    def test_who_does_not_wait_loses_what_comes_meanwhile(self, fleet, server, happens):
        with meanwhile(fleet, server, NOT_WAITING, seconds=10) as said:
            happens(fleet, server)
        assert said["answer"] == "lost"

    def test_a_queue_that_nobody_reads_goes_when_it_expires(self, fleet, server):
        """As after polling .state: declared, never consumed, its client gone. The policy of `other` says 10 s."""
        name = "99999999-9999-3999-8999-999999999999"
        code = """
link.channel().queue_declare(given["name"], durable=True, auto_delete=True, arguments={"x-expires": 86400000})
print("null")
"""
        fleet.amqp(server, "other_client", code, name=name)
        assert fleet.reply_queues(server, "other")[name]["policy"] == "reply-queues"
        wait_until(lambda: name not in fleet.reply_queues(server, "other"), 30, "the queue is still there")


class TestCluster:
    def test_all_nodes_belong_to_it(self, fleet):
        for node in CLUSTER:
            status = fleet.table(node, "cluster_status")
            assert set(status["running_nodes"]) == {f"rabbit@{name}" for name in CLUSTER}
            assert status["partitions"] == {}

    def test_a_queue_of_tasks_has_a_member_on_every_node(self, fleet):
        rows = fleet.table("rpca", "list_queues", "-p", "probe", "name", "type", "members")
        (queue,) = [row for row in rows if row["name"] == "celery"]
        assert (queue["type"], len(queue["members"])) == ("quorum", 3)

    def test_the_loss_of_a_node_takes_its_reply_queues_and_no_task(self, fleet):
        sent = """
channel = link.channel()
channel.confirm_select()
channel.queue_declare(given["name"], durable=True, auto_delete=True, arguments={"x-expires": 86400000})
for message, key in ((amqp.Message("result", delivery_mode=1), given["name"]),
                     (amqp.Message("task", delivery_mode=2), "celery")):
    channel.basic_publish(message, "", key)
    channel.wait(amqp.spec.Basic.Ack)
print("null")
"""
        name = "88888888-8888-3888-8888-888888888888"
        fleet.amqp("rpcc", "probe_client", sent, name=name)
        wait_until(lambda: fleet.queues("rpca")["celery"]["messages"] == 1, 20, "the task is not there")
        assert fleet.queues("rpca")[name]["messages"] == 1
        unit = fleet.host("rpcc")
        unit.check_output("systemctl kill --signal KILL rabbitmq-server && systemctl stop rabbitmq-server")
        try:
            wait_until(lambda: "rabbit@rpcc" not in fleet.table("rpca", "cluster_status")["running_nodes"], 90, "seen")
            task = "print(json.dumps(link.channel().basic_get('celery', no_ack=True).body))"
            assert fleet.amqp("rpcb", "probe_worker", task) == "task"
            gone = "print(json.dumps(attempt(lambda channel: channel.queue_declare(given['name'], passive=True))))"
            # 4.0 lets whoever asks for it wait, as if the node would come back any moment.
            assert fleet.amqp("rpcb", "probe_client", gone, name=name) in ("no answer", "not found")
        finally:
            unit.check_output("systemctl start rabbitmq-server")
        wait_until(lambda: len(fleet.table("rpca", "cluster_status")["running_nodes"]) == 3, 60, "the node is back")
        assert fleet.queues("rpca").get(name, {}).get("messages", 0) == 0
