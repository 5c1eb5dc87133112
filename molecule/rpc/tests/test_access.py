# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each account can do, and that it can do no more."""

from __future__ import annotations

import json
import re
import uuid

import pytest
from fleet import CA_FILE
from scenario import CLUSTER

REPLIES = str(uuid.uuid4())
WORKER_OWN = "celeryev.00000000-0000-0000-0000-000000000001"
PIDBOX = "celery@other.celery.pidbox"

# Creates, sends to and reads a queue of each name, and says what became of it.
TRY = """
result = {}
for name in given["names"]:
    # That a queue of tasks is there already, with other arguments, is no refusal.
    def declare(channel):
        try:
            channel.queue_declare(name, durable=True, auto_delete=name != "celery",
                                  arguments={"x-expires": 60000} if name != "celery" else {})
        except amqp.exceptions.PreconditionFailed:
            pass
    result[name] = {
        "create": attempt(declare),
        "read": attempt(lambda channel: channel.basic_get(name, no_ack=False)),
        "purge": attempt(lambda channel: channel.queue_purge(name)),
    }
def publish(channel, exchange, key):
    channel.confirm_select()
    channel.basic_publish(amqp.Message("x"), exchange, key)
    channel.wait(amqp.spec.Basic.Ack)
result["direct"] = attempt(lambda channel: publish(channel, "", "nobody"))
result["topic"] = attempt(lambda channel: publish(channel, "amq.topic", "x"))
result["exchange"] = attempt(lambda channel: channel.exchange_declare("mine", "direct"))
print(json.dumps(result))
"""


def tried(fleet, server, account, *names):
    return fleet.amqp(server, account, TRY, names=list(names))


class TestStandard:
    def test_a_client_may_have_replies_and_sends_tasks(self, fleet, server):
        may = tried(fleet, server, "probe_client", "celery", REPLIES, WORKER_OWN, PIDBOX, "elsewhere")
        assert may["celery"]["create"] == may[REPLIES]["create"] == may[REPLIES]["read"] == may["direct"] == "done"
        for name in (WORKER_OWN, PIDBOX, "elsewhere"):
            assert (may[name]["create"], may[name]["read"]) == ("refused", "refused"), name
        assert (may["topic"], may["exchange"]) == ("refused", "refused")

    def test_a_worker_may_take_tasks_and_answer_but_read_no_replies(self, fleet, server):
        may = tried(fleet, server, "probe_worker", "celery", REPLIES, WORKER_OWN, PIDBOX, "elsewhere")
        assert may["celery"] == {"create": "done", "read": "done", "purge": "done"}
        assert may["direct"] == may[WORKER_OWN]["create"] == may[PIDBOX]["create"] == "done"
        assert (may[REPLIES]["create"], may[REPLIES]["read"]) == ("refused", "refused")
        assert (may["elsewhere"]["create"], may["topic"], may["exchange"]) == ("refused", "refused", "refused")


class TestStrict:
    def test_a_client_may_have_replies_only(self, fleet, server):
        may = tried(fleet, server, "other_client", "celery", REPLIES, WORKER_OWN)
        assert may[REPLIES]["create"] == may[REPLIES]["read"] == may["direct"] == "done"
        assert may["celery"] == {"create": "refused", "read": "refused", "purge": "refused"}
        assert may[WORKER_OWN]["create"] == may["topic"] == "refused"

    def test_a_worker_may_take_tasks_only(self, fleet, server):
        may = tried(fleet, server, "other_worker", "celery", REPLIES, WORKER_OWN)
        assert (may["celery"]["create"], may["celery"]["read"], may["direct"]) == ("refused", "done", "done")
        for name in (REPLIES, WORKER_OWN):
            assert (may[name]["create"], may[name]["read"]) == ("refused", "refused")


KNOCK = """
from contextlib import suppress
def knock(**more):
    try:
        with suppress(Exception):
            link.close()
        connect(**more).close()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "in"
print(json.dumps([knock(vhost=given["other"]), knock(vhost="/"), knock(password="wrong"),
                  knock(user="guest", password="guest", vhost="/"), knock(server_hostname="mq.example.com")]))
"""


class TestDoors:
    @pytest.mark.parametrize(("account", "other"), [("probe_client", "other"), ("other_worker", "probe")])
    def test_nobody_gets_in_elsewhere(self, fleet, server, account, other):
        elsewhere, root, wrong, guest, name = fleet.amqp(server, account, KNOCK, other=other)
        assert "NotAllowed" in elsewhere
        assert "NotAllowed" in root
        assert "AccessRefused" in wrong
        assert "AccessRefused" in guest
        assert "Hostname mismatch" in name

    def test_an_account_has_no_more_connections_than_its_limit(self, fleet, server):
        code = """
kept, refused = [link], ""
try:
    for number in range(5):
        kept.append(connect())
except Exception as error:
    refused = f"{type(error).__name__}: {error}"
print(json.dumps([len(kept), refused]))
"""
        count, refused = fleet.amqp(server, "other_client", code)
        assert count == 3
        assert "NotAllowed" in refused


PLAINTEXT = """
import socket
def say(text):
    try:
        with socket.create_connection((given["host"], 5671), timeout=5) as raw:
            raw.sendall(text)
            return raw.recv(64).hex()
    except OSError as error:
        return type(error).__name__
print(json.dumps([say(b"AMQP\\x00\\x00\\x09\\x01"), say(b"AMQP\\x03\\x01\\x00\\x00")]))
"""
ANYWHERE = ".".join("0000")
EPMD, AMQPS, METRICS, DISTRIBUTION, TOOLS = 4369, 5671, 15691, 25672, range(35672, 35683)


def where(row):
    """The address of a socket that the watcher saw."""
    return row["address"] if row["family"] == 4 else "ipv6"


class TestNetwork:
    def test_nothing_was_open_while_it_was_installed(self, fleet, node):
        host = fleet.host(node)
        own = host.check_output("hostname --ip-address").split()[0]
        rows = [json.loads(row) for row in host.file("/var/log/host-watch/sockets.jsonl").content_string.splitlines()]
        seen = [(where(row), row["port"]) for row in rows if where(row) != "127.0.0.11"]
        assert (own, AMQPS) in seen, "the watcher did not see the server start"
        # 3.10 tries for a moment, before it starts, whether it could listen at all; nobody answers there. And all tools
        # run Erlang for a moment to start the port mapper, bound as the distribution is.
        first, last = map(int, host.check_output("cat /proc/sys/net/ipv4/ip_local_port_range").split())
        bound = {own if node in CLUSTER else "127.0.0.1", *([ANYWHERE] if node == "rpc12" else [])}
        tried = [place for place in seen if place[0] in bound and first <= place[1] <= last]
        allowed = {("127.0.0.1", port) for port in (AMQPS, EPMD, DISTRIBUTION, *TOOLS)} | {(own, AMQPS), (own, METRICS)}
        if node in CLUSTER:
            allowed |= {(own, port) for port in (EPMD, DISTRIBUTION, *TOOLS)}
        assert set(seen) - allowed - set(tried) == set()

    def test_only_what_shall_be_open_is(self, fleet, node):
        host = fleet.host(node)
        own = host.check_output("hostname --ip-address").split()[0]
        lines = host.check_output("ss -Hltn").splitlines()
        listening = {line.split()[3] for line in lines if "127.0.0.11:" not in line}
        wanted = {f"{own}:{AMQPS}", f"127.0.0.1:{AMQPS}", f"127.0.0.1:{EPMD}"}
        wanted |= {f"{own}:{METRICS}"} if node != "rpca" else set()
        wanted |= {f"{own}:{EPMD}", f"{own}:{DISTRIBUTION}"} if node in CLUSTER else {f"127.0.0.1:{DISTRIBUTION}"}
        assert listening == wanted

    def test_plaintext_is_refused(self, fleet, node):
        for answer in fleet.python(fleet.worker_of(node), PLAINTEXT, host=node):
            assert not answer.startswith("414d5150"), "it speaks AMQP"
            # What comes is an alert of TLS, or the end of the connection.
            assert answer in ("", "ConnectionResetError") or answer.startswith("15")

    def test_who_asks_for_metrics_shows_a_certificate(self, fleet, server):
        code = """
import http.client, ssl
def ask(*pair):
    context = ssl.create_default_context(cafile=given["ca"])
    if pair:
        context.load_cert_chain(*pair)
    try:
        connection = http.client.HTTPSConnection(given["host"], 15691, context=context, timeout=10)
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode().count("rabbitmq_")
    except OSError as error:
        return type(error).__name__
print(json.dumps([ask(), ask("/etc/celery/probe/tls/client.crt", "/etc/celery/probe/tls/client.key")]))
"""
        stranger, known = fleet.python(fleet.worker_of(server), code, host=server, ca=CA_FILE)
        assert isinstance(stranger, str)
        assert known > 100


class TestFiles:
    def test_what_ansible_owns_is_closed_to_others_and_to_the_server(self, fleet, node):
        host = fleet.host(node)
        for path in ("definitions.json", "rabbitmq.conf", "inter_node_tls.config", "tls/server.key"):
            file = host.file(f"/etc/rabbitmq/managed/{path}")
            assert (file.user, file.group, file.mode) == ("root", "rabbitmq", 0o640), path
        cookie = host.file("/var/lib/rabbitmq/.erlang.cookie")
        assert (cookie.user, cookie.mode) == ("rabbitmq", 0o400)

    def test_the_unit_is_hardened(self, fleet, node):
        said = fleet.host(node).check_output("systemd-analyze security rabbitmq-server.service --no-pager | tail -n 1")
        assert float(re.search(r"([0-9.]+) [A-Z]", said)[1]) <= 1.7, said

    def test_no_secret_is_to_be_seen(self, fleet, node):
        host = fleet.host(node)
        texts = [
            host.check_output("find /etc/rabbitmq -type f -exec cat {} +"),
            host.check_output("ps -eww -o args"),
            host.check_output("journalctl --no-pager --output cat"),
            host.check_output("cat /dev/null /var/log/rabbitmq/*"),
            host.file("/var/log/host-watch/commands.txt").content_string,
        ]
        assert [fleet.secrets_in(text) for text in texts] == [[]] * len(texts)
