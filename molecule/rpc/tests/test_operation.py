# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What clients of a real worker see on good and on bad days, and what they leave behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from scenario import CLIENT, CLUSTER, CLUSTER_WORKER, WORKER_DIRECTORY, WORKER_UNIT, wait_until

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
MARKER, GO = "/tmp/rpc-client-is-ready", "/tmp/rpc-client-may-look"
WAITING = """
echo.delay("ready").get(timeout=60)
result = hold.delay(given["name"])
open(given["marker"], "w").close()
print(json.dumps(get(result, 120)))
"""
NOT_WAITING = """
import os, time
echo.delay("ready").get(timeout=60)
result = hold.delay(given["name"])
open(given["marker"], "w").close()
while not os.path.exists(given["go"]):
    time.sleep(0.1)
print(json.dumps(get(result, 5)))
"""
# Eight processes, forked before they use Celery.
MANY = """
import multiprocessing, time
def client(number, said):
    failed = []
    for turn in range(given["turns"]):
        try:
            answer = echo.delay([number, turn]).get(timeout=60)
            if answer != [number, turn]:
                failed.append(repr(answer))
        except Exception as error:
            failed.append(f"{type(error).__name__}: {error}")
    said.put(failed)
forked = multiprocessing.get_context("fork")
said = forked.Queue()
clients = [forked.Process(target=client, args=(number, said)) for number in range(given["clients"])]
started = time.monotonic()
for one in clients: one.start()
failed = [problem for _one in clients for problem in said.get(timeout=170)]
for one in clients: one.join()
print(json.dumps({"failed": failed[:3], "seconds": time.monotonic() - started}))
"""


@contextmanager
def meanwhile(fleet: Any, server: str, code: str, **values: Any) -> Iterator[dict[str, Any]]:
    """A client that runs beside the test and is ready; what it printed stands in `answer` afterwards."""
    said: dict[str, Any] = {}
    marker = fleet.host(fleet.worker_of(server))
    marker.run("rm -f %s %s", MARKER, GO)

    def run() -> None:
        try:
            said["answer"] = fleet.celery(server, GET + code, marker=MARKER, go=GO, **values)
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


def read_again(fleet: Any, server: str, before: set[str]) -> bool:
    return any(row["consumers"] and row["pid"] not in before for row in fleet.reply_queues(server).values())


def release(fleet: Any, server: str, name: str) -> None:
    """Let the task end, and wait until it has."""
    host, path = fleet.host(fleet.worker_of(server)), f"{WORKER_DIRECTORY}/{name}"
    host.check_output("touch %s", path)
    wait_until(lambda: host.file(f"{path}.done").exists, 30, "the task does not end")


class TestGoodDays:
    def test_a_result_comes_back_and_nothing_stays(self, fleet, server):
        assert fleet.celery(server, "print(json.dumps(echo.delay('hello').get(timeout=30)))") == "hello"
        wait_until(lambda: not connections(fleet, server, "probe_client"), 30, "the client is still connected")
        assert not [row for row in fleet.reply_queues(server).values() if row["consumers"]]

    def test_many_round_trips_leave_nothing_behind(self, fleet, server, capsys):
        # Each process of the worker opens a connection of its own with the first result that it sends.
        fleet.celery(server, MANY, clients=8, turns=5)
        wait_until(lambda: not connections(fleet, server, "probe_client"), 60, "a client is still connected")
        queues, links = fleet.queues(server), fleet.table(server, "list_connections", "pid")
        channels = fleet.table(server, "list_channels", "pid")
        # Eight clients on each of the two servers make more than 10,000.
        answer = fleet.celery(server, MANY, clients=8, turns=640)
        assert answer["failed"] == []
        with capsys.disabled():
            print(f"{server}: 8 processes made {8 * 640} round trips in {answer['seconds']:.1f} s")
        wait_until(lambda: not connections(fleet, server, "probe_client"), 30, "a client is still connected")
        assert fleet.queues(server).keys() <= queues.keys()
        assert len(fleet.table(server, "list_connections", "pid")) <= len(links)
        assert len(fleet.table(server, "list_channels", "pid")) <= len(channels)


class TestBadDays:
    @pytest.mark.parametrize("happens", [cut, restart])
    def test_who_waits_gets_what_comes_once_it_is_back(self, fleet, server, happens):
        name = f"waiting-{happens.__name__}"
        with meanwhile(fleet, server, WAITING, name=name) as said:
            before = {row["pid"] for row in fleet.reply_queues(server).values()}
            happens(fleet, server)
            wait_until(lambda: read_again(fleet, server, before), 60, "the client reads no queue")
            release(fleet, server, name)
        assert said["answer"] == name

    @pytest.mark.parametrize("happens", [cut, restart])
    def test_who_does_not_wait_loses_what_comes_meanwhile(self, fleet, server, happens):
        name = f"not-waiting-{happens.__name__}"
        with meanwhile(fleet, server, NOT_WAITING, name=name) as said:
            happens(fleet, server)
            release(fleet, server, name)
            time.sleep(2)
            fleet.host(fleet.worker_of(server)).check_output("touch %s", GO)
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
        worker = fleet.host(CLUSTER_WORKER)
        worker.check_output(f"systemctl stop {WORKER_UNIT}")
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
            worker.check_output(f"systemctl start {WORKER_UNIT}")
            # The worker and a new client were told three nodes, of which this was the first, and one name of all.
            again = "print(json.dumps(echo.delay('again').get(timeout=60)))"
            assert fleet.as_worker(CLUSTER_WORKER, CLIENT + again) == "again"
        finally:
            unit.check_output("systemctl start rabbitmq-server")
            worker.check_output(f"systemctl start {WORKER_UNIT}")
        wait_until(lambda: len(fleet.table("rpca", "cluster_status")["running_nodes"]) == 3, 60, "the node is back")
        assert fleet.queues("rpca").get(name, {}).get("messages", 0) == 0
