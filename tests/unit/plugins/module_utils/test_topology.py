# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is primary, decided from what everybody says; and everybody may be dead, hang, lie or answer nonsense."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _redis, _topology
from ansible_collections.resultops.celery.plugins.module_utils._topology import Address, Decision, Node, Own, Sentinel
from ansible_collections.resultops.celery.tests.unit.replication_set import Authority

ONE, TWO, THREE, FOUR = (Address(f"redis-{number}", 6379) for number in (1, 2, 3, 4))
STRANGER = Address("redis-9", 6379)


def primary(address: Address, keys: int = 0, replicas: int = 0) -> Node:
    return Node(
        address.host,
        address.port,
        reachable=True,
        role="primary",
        keys=keys,
        offset=100,
        connected_replicas=replicas,
        engine="Redis",
        version="7.0.15",
    )


def replica(address: Address, of: Address, keys: int = 0, **more: Any) -> Node:
    return Node(
        address.host,
        address.port,
        reachable=True,
        role="replica",
        keys=keys,
        primary_host=of.host,
        primary_port=of.port,
        **{"link_up": True, "offset": 100, "engine": "Redis", "version": "7.0.15", **more},
    )


def dead(address: Address) -> Node:
    return Node(address.host, address.port, failure_class="refused", error=f"{address} is dead.")


def sentinel(number: int, names: Address | None, epoch: int = 0, **more: Any) -> Sentinel:
    known = {"primary_host": names.host, "primary_port": names.port, "config_epoch": epoch} if names else {}
    return Sentinel(
        f"redis-{number}",
        26379,
        reachable=True,
        **{"flags": "master", "ckquorum": True, "quorum": 2, "version": "7.0.15", **known, **more},
    )


def silent(number: int) -> Sentinel:
    return Sentinel(f"redis-{number}", 26379, failure_class="timeout", error="It hangs.")


NOBODY = [silent(1), silent(2), silent(3)]
ALL_NAME_TWO = [sentinel(number, TWO, 1) for number in (1, 2, 3)]
HEALTHY = [primary(ONE, 5, 2), replica(TWO, ONE, 5), replica(THREE, ONE, 5)]


def settled(own: Own, nodes: list[Node], sentinels: list[Sentinel], initial: Address = ONE) -> tuple[Any, str]:
    decision = _topology.settle(own, nodes, sentinels, initial)
    return decision.primary, decision.source


# --- who is primary according to all ---


@pytest.mark.parametrize(
    ("nodes", "sentinels", "expected"),
    [
        # Nobody has been anything yet.
        ([dead(ONE), dead(TWO), dead(THREE)], NOBODY, (None, "none")),
        ([primary(ONE), dead(TWO), dead(THREE)], NOBODY, (None, "none")),
        ([primary(ONE), primary(TWO), primary(THREE)], [], (None, "none")),
        # The sentinels know best, even about a primary that is dead.
        (HEALTHY, [sentinel(number, ONE) for number in (1, 2, 3)], (ONE, "sentinels")),
        ([dead(ONE), replica(TWO, ONE), replica(THREE, ONE)], [sentinel(1, ONE)], (ONE, "sentinels")),
        ([primary(ONE, 5), primary(TWO, 7, 1), replica(THREE, TWO, 7)], ALL_NAME_TWO, (TWO, "sentinels")),
        ([primary(ONE, 5), dead(TWO), dead(THREE)], [silent(1), silent(2), sentinel(3, TWO, 1)], (TWO, "sentinels")),
        (HEALTHY, [silent(1), sentinel(2, TWO, 1), sentinel(3, TWO, 1)], (TWO, "sentinels")),
        # A newer configuration counts more than votes, and votes more than nothing.
        (HEALTHY, [sentinel(1, TWO, 7), sentinel(2, ONE, 6), sentinel(3, ONE, 6)], (TWO, "sentinels")),
        (HEALTHY, [sentinel(1, THREE), sentinel(2, TWO), sentinel(3, TWO)], (TWO, "sentinels")),
        # A draw is decided by who calls itself primary.
        (HEALTHY, [sentinel(1, TWO), sentinel(2, ONE)], (ONE, "sentinels")),
        # A sentinel that does not know the set says nothing.
        (HEALTHY, [sentinel(1, None), sentinel(2, None), sentinel(3, ONE)], (ONE, "sentinels")),
        (HEALTHY, [sentinel(1, None)], (ONE, "nodes")),
        # All sentinels are down: the nodes show it.
        (HEALTHY, NOBODY, (ONE, "nodes")),
        ([dead(ONE), primary(TWO, 5, 1), replica(THREE, TWO, 5)], NOBODY, (TWO, "nodes")),
        ([dead(ONE), dead(TWO), replica(THREE, TWO, 5)], NOBODY, (TWO, "nodes")),
        ([dead(ONE), replica(TWO, ONE, 5), replica(THREE, ONE, 5)], NOBODY, (ONE, "nodes")),
        ([primary(ONE), primary(TWO), primary(THREE, 5)], NOBODY, (THREE, "nodes")),
        ([primary(ONE), primary(TWO, 0, 1), dead(THREE)], NOBODY, (TWO, "nodes")),
        # A replaced, empty host calls itself primary, and nobody follows it.
        ([primary(ONE), primary(TWO, 5, 1), replica(THREE, TWO, 5)], NOBODY, (TWO, "nodes")),
        ([primary(ONE), dead(TWO), replica(THREE, TWO, 5)], NOBODY, (TWO, "nodes")),
        # A chain of replicas has its primary at the top.
        ([primary(ONE, 5, 1), replica(TWO, ONE, 5), replica(THREE, TWO, 5)], NOBODY, (ONE, "nodes")),
        # Two are followed, but one of them is alive.
        (
            [dead(ONE), primary(TWO, 5), replica(THREE, ONE, 5), replica(FOUR, TWO)],
            NOBODY,
            (TWO, "nodes"),
        ),
    ],
)
def test_the_primary_is_who_all_say_it_is(
    nodes: list[Node], sentinels: list[Sentinel], expected: tuple[Address | None, str]
) -> None:
    decision = _topology.decide(nodes, sentinels)
    assert (decision.primary, decision.source) == expected


@pytest.mark.parametrize(
    ("nodes", "sentinels", "sentence"),
    [
        (
            [primary(ONE, 5), primary(TWO, 7, 1), replica(THREE, TWO, 7)],
            [sentinel(1, ONE), silent(2), silent(3)],
            r"Only 1 of 3 sentinels say who is the primary, and name redis-1:6379, but redis-2:6379 is a primary with",
        ),
        (
            [primary(ONE, 5), primary(TWO, 7), dead(THREE)],
            NOBODY,
            r"redis-1:6379 \(5 keys\) and redis-2:6379 \(7 keys\) are all primaries with data",
        ),
        (
            [primary(ONE, 5), primary(TWO, 7, 1), replica(THREE, TWO, 7)],
            NOBODY,
            r"redis-1:6379 \(5 keys\) and redis-2:6379 \(7 keys\) are all primaries with data",
        ),
        (
            [primary(ONE, 5), dead(TWO), replica(THREE, TWO, 7)],
            NOBODY,
            "The replicas follow redis-2:6379, but redis-1:6379 is a primary with 5 keys",
        ),
        (
            [dead(ONE), replica(TWO, ONE), replica(THREE, FOUR), dead(FOUR)],
            NOBODY,
            "The replicas follow redis-1:6379 and redis-4:6379, and no sentinel says which",
        ),
        (
            [replica(ONE, TWO), replica(TWO, ONE), dead(THREE)],
            NOBODY,
            "redis-1:6379 and redis-2:6379 are replicas of one another",
        ),
        ([dead(ONE), replica(TWO, STRANGER)], NOBODY, "The replica redis-2:6379 follows redis-9:6379, which is none"),
        (HEALTHY, [sentinel(1, STRANGER)], "The sentinel redis-1:26379 names redis-9:6379 as primary, which is none"),
        (
            [dead(ONE), dead(TWO), dead(THREE)],
            [sentinel(1, ONE), sentinel(2, TWO)],
            "The sentinels name redis-1:6379 and redis-2:6379 as primary and none of them more often",
        ),
        (
            [primary(ONE), primary(TWO), dead(THREE)],
            [sentinel(1, ONE), sentinel(2, TWO)],
            "The sentinels name redis-1:6379 and redis-2:6379 as primary and none of them more often",
        ),
    ],
)
def test_what_cannot_be_decided_is_a_sentence(nodes: list[Node], sentinels: list[Sentinel], sentence: str) -> None:
    with pytest.raises(_topology.TopologyError, match=sentence):
        _topology.decide(nodes, sentinels)


# --- where one node belongs ---


AFTER_FAILOVER = [dead(ONE), primary(TWO, 7, 1), replica(THREE, TWO, 7)]
EMPTY_ONE, EMPTY_TWO = Own(ONE, False), Own(TWO, False)
ALL_DEAD = [dead(ONE), dead(TWO), dead(THREE)]


@pytest.mark.parametrize(
    ("own", "nodes", "sentinels", "expected"),
    [
        # A fresh set: the inventory decides, on each of its hosts.
        (EMPTY_ONE, ALL_DEAD, NOBODY, (ONE, "initial")),
        (EMPTY_TWO, ALL_DEAD, NOBODY, (ONE, "initial")),
        (EMPTY_TWO, [primary(ONE), dead(TWO), dead(THREE)], NOBODY, (ONE, "initial")),
        # The host of the inventory's primary was replaced by an empty one.
        (EMPTY_ONE, [dead(ONE), primary(TWO, 5, 1), replica(THREE, TWO, 5)], ALL_NAME_TWO, (TWO, "sentinels")),
        (EMPTY_ONE, [dead(ONE), primary(TWO, 5, 1), replica(THREE, TWO, 5)], NOBODY, (TWO, "nodes")),
        (EMPTY_ONE, [dead(ONE), dead(TWO), replica(THREE, TWO, 5)], NOBODY, (TWO, "nodes")),
        # The old primary comes back: running, or not yet; with sentinels, and alone.
        (
            Own(ONE, True),
            [primary(ONE, 5), primary(TWO, 7, 1), replica(THREE, TWO, 7)],
            ALL_NAME_TWO,
            (TWO, "sentinels"),
        ),
        (Own(ONE, True), [dead(ONE), primary(TWO, 7, 1), replica(THREE, TWO, 7)], NOBODY, (TWO, "nodes")),
        (Own(ONE, True), ALL_DEAD, NOBODY, (ONE, "own")),
        (Own(TWO, True), ALL_DEAD, NOBODY, (TWO, "own")),
        # All stopped: what the state file says counts.
        (Own(ONE, True, follows=TWO), ALL_DEAD, NOBODY, (TWO, "own")),
        (Own(ONE, False, follows=TWO), ALL_DEAD, NOBODY, (TWO, "own")),
        # Conversion: the server with data becomes the primary of a set that was meant to begin with another.
        (Own(TWO, True), [dead(ONE), primary(TWO, 5), dead(THREE)], NOBODY, (TWO, "nodes")),
        (EMPTY_ONE, [dead(ONE), primary(TWO, 5), dead(THREE)], NOBODY, (TWO, "nodes")),
        (Own(TWO, True), [primary(ONE), dead(TWO), dead(THREE)], NOBODY, (TWO, "own")),
        (Own(ONE, False), [primary(ONE), primary(TWO, 5), dead(THREE)], NOBODY, (TWO, "nodes")),
        # After a failover an empty primary is believed: all that the old one has may have expired.
        (Own(ONE, True), [dead(ONE), primary(TWO, 0, 1), replica(THREE, TWO)], ALL_NAME_TWO, (TWO, "sentinels")),
        # A replica follows an empty primary, as it did before.
        (Own(TWO, True, follows=ONE), [primary(ONE), dead(TWO), dead(THREE)], [sentinel(1, ONE)], (ONE, "sentinels")),
    ],
)
def test_a_node_follows_who_is_believed_most(
    own: Own, nodes: list[Node], sentinels: list[Sentinel], expected: tuple[Address, str]
) -> None:
    assert settled(own, nodes, sentinels) == expected


@pytest.mark.parametrize(
    ("own", "nodes", "sentinels", "sentence"),
    [
        (
            Own(TWO, True),
            [primary(ONE), dead(TWO), dead(THREE)],
            [sentinel(1, ONE)],
            "redis-2:6379 has data and would lose them to the primary redis-1:6379, which is empty",
        ),
        (
            Own(TWO, True),
            [primary(ONE, 0, 1), dead(TWO), replica(THREE, ONE)],
            NOBODY,
            "redis-2:6379 has data and would lose them to the primary redis-1:6379, which is empty",
        ),
        (
            Own(TWO, False, follows=STRANGER),
            ALL_DEAD,
            NOBODY,
            "redis-2:6379 follows redis-9:6379 according to its state file, which is none of the nodes",
        ),
    ],
)
def test_a_node_never_loses_data_to_nothing(
    own: Own, nodes: list[Node], sentinels: list[Sentinel], sentence: str
) -> None:
    with pytest.raises(_topology.TopologyError, match=sentence):
        settled(own, nodes, sentinels)


# --- names, quorum, agreement, problems ---


def test_a_node_is_found_by_its_name_or_its_address() -> None:
    nodes = [replace(primary(ONE), addresses=frozenset({"192.0.2.1"})), primary(TWO), primary(Address("redis-2", 6380))]
    assert _topology.find(nodes, Address("REDIS-1.", 6379)) == ONE
    assert _topology.find(nodes, Address("192.0.2.1", 6379)) == ONE
    assert _topology.find(nodes, Address("192.0.2.1", 6380)) is None
    assert _topology.find(nodes, Address("192.0.2.2", 6379)) is None
    assert _topology.find(nodes, Address("redis-2", 6380)) == Address("redis-2", 6380)


@pytest.mark.parametrize(
    ("sentinels", "quorum", "agreed"),
    [
        ([sentinel(number, ONE) for number in (1, 2, 3)], True, True),
        ([sentinel(1, ONE), sentinel(2, ONE), silent(3)], True, True),
        ([sentinel(1, ONE), silent(2), silent(3)], False, True),
        ([sentinel(1, ONE, quorum=1), silent(2), silent(3)], False, True),
        ([sentinel(1, ONE), sentinel(2, TWO), sentinel(3, ONE)], True, False),
        ([sentinel(1, ONE), sentinel(2, ONE, ckquorum=False), silent(3)], False, True),
        ([sentinel(1, ONE), sentinel(2, ONE), sentinel(3, None, ckquorum=False)], True, False),
        ([sentinel(number, ONE, quorum=3) for number in (1, 2)] + [silent(3)], False, True),
        (NOBODY, False, False),
        ([], False, False),
    ],
)
def test_quorum_and_agreement(sentinels: list[Sentinel], quorum: bool, agreed: bool) -> None:
    assert _topology.has_quorum(sentinels) is quorum
    assert _topology.agreed(HEALTHY, sentinels) is agreed


def problems(nodes: list[Node], sentinels: list[Sentinel], of: Address | None = ONE, lag: int | None = None) -> Any:
    found = _topology.assess(nodes, sentinels, Decision(of, "sentinels"), lag)
    return {name: sentences for name, sentences in found.items() if sentences}


TWO_OF_THREE = HEALTHY[:2]
ALL_NAME_ONE = [sentinel(number, ONE) for number in (1, 2, 3)]
TWO_NAME_ONE = ALL_NAME_ONE[:2]


@pytest.mark.parametrize(
    ("nodes", "sentinels", "of", "name", "sentence"),
    [
        (HEALTHY, ALL_NAME_ONE, None, "primary", "Nobody says which node is the primary."),
        ([dead(ONE), *HEALTHY[1:]], ALL_NAME_ONE, ONE, "primary", "The primary redis-1:6379 does not answer (refused)"),
        ([replica(ONE, TWO), *HEALTHY[1:]], ALL_NAME_ONE, ONE, "primary", "redis-1:6379 should be the primary"),
        ([*TWO_OF_THREE, dead(THREE)], ALL_NAME_ONE, ONE, "links", "redis-3:6379 does not answer (refused)"),
        ([*TWO_OF_THREE, primary(THREE)], ALL_NAME_ONE, ONE, "links", "redis-3:6379 is a primary, too."),
        (
            [*TWO_OF_THREE, replica(THREE, TWO)],
            ALL_NAME_ONE,
            ONE,
            "links",
            "follows redis-2:6379 instead of the primary",
        ),
        ([*TWO_OF_THREE, replica(THREE, ONE, link_up=False)], ALL_NAME_ONE, ONE, "links", "has no link to its primary"),
        (
            [*TWO_OF_THREE, replica(THREE, ONE, link_up=False, syncing=True)],
            ALL_NAME_ONE,
            ONE,
            "links",
            "copies everything from its primary",
        ),
        (
            [*TWO_OF_THREE, replica(THREE, ONE, lag_bytes=11)],
            ALL_NAME_ONE,
            ONE,
            "links",
            "is 11 bytes behind, allowed are 10",
        ),
        (HEALTHY, [*ALL_NAME_ONE[:1], silent(2), silent(3)], ONE, "quorum", "1 of 3 sentinels see a quorum"),
        (
            HEALTHY,
            [*TWO_NAME_ONE, silent(3)],
            ONE,
            "agreement",
            "redis-3:26379 does not answer (timeout)",
        ),
        (HEALTHY, [*TWO_NAME_ONE, sentinel(3, None, error="Unknown.")], ONE, "agreement", "Unknown."),
        (HEALTHY, [*TWO_NAME_ONE, sentinel(3, TWO)], ONE, "agreement", "redis-3:26379 still names redis-2:6379"),
        (HEALTHY, [*TWO_NAME_ONE, sentinel(3, ONE, flags="s_down,master")], ONE, "agreement", "as s_down,master"),
        (HEALTHY, [*TWO_NAME_ONE, sentinel(3, ONE, tilt=True)], ONE, "agreement", "is in TILT mode"),
        (HEALTHY, [], ONE, "agreement", "There is no sentinel (sentinels)."),
        (
            [*TWO_OF_THREE, replica(THREE, ONE, version="8.0.2")],
            ALL_NAME_ONE,
            ONE,
            "one_version",
            "Redis 7.0.15, Redis 8.0.2",
        ),
        (
            HEALTHY,
            [*TWO_NAME_ONE, sentinel(3, ONE, version="8.0.2")],
            ONE,
            "one_version",
            "sentinels run different",
        ),
    ],
)
def test_each_problem_is_a_sentence_of_its_requirement(
    nodes: list[Node], sentinels: list[Sentinel], of: Address | None, name: str, sentence: str
) -> None:
    found = problems(nodes, sentinels, of, 10)
    assert any(sentence in text for text in found[name]), found


def test_a_healthy_set_has_no_problems() -> None:
    assert problems(HEALTHY, ALL_NAME_ONE, lag=0) == {}


def test_the_lag_is_told_for_links_that_are_up() -> None:
    nodes = [primary(ONE), replica(TWO, ONE, offset=70), replica(THREE, ONE, offset=70, link_up=False)]
    assert [node.lag_bytes for node in _topology.with_lag(nodes)] == [-1, 30, -1]
    ahead = [primary(ONE), replica(TWO, ONE, offset=170), replica(THREE, STRANGER)]
    assert [node.lag_bytes for node in _topology.with_lag(ahead)] == [-1, 0, -1]


# --- those that answer nonsense, or nothing ---


class Answering(socketserver.ThreadingTCPServer):
    """A server that answers INFO with some bytes and all other commands with the same or others, over TLS or not."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, answer: bytes | None, other: bytes | None, context: ssl.SSLContext | None) -> None:
        self.answer, self.other, self.context = answer, other, context
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


class Handler(socketserver.BaseRequestHandler):
    server: Answering

    def handle(self) -> None:
        stream = self.request
        with contextlib.suppress(OSError):
            if self.server.context:
                stream = self.server.context.wrap_socket(self.request, server_side=True)
            while command := stream.recv(4096):
                answer = self.server.answer if b"INFO" in command else self.server.other
                if answer is None:
                    time.sleep(3)
                    return
                stream.sendall(answer)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("topology") / "own")


@pytest.fixture
def answering(authority: Authority) -> Iterator[Callable[..., int]]:
    started: list[Answering] = []

    def start(answer: bytes | None, encrypted: bool = True, host: str = "localhost", **other: bytes | None) -> int:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.issue(f"server{len(started)}", [host]))
        started.append(Answering(answer, other.get("other", answer), context if encrypted else None))
        return int(started[-1].server_address[1])

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


def parameters(authority: Authority, **changes: Any) -> dict[str, Any]:
    return {
        "nodes": [],
        "sentinels": [],
        "primary_name": "results",
        "login_user": "admin",
        "login_password": None,
        "login_previous_password": None,
        "sentinel_user": "admin",
        "sentinel_password": None,
        "sentinel_previous_password": None,
        "ca_file": str(authority.certificate),
        "certificate_file": None,
        "private_key_file": None,
        "login_timeout": 1.0,
        **changes,
    }


def info(text: str) -> bytes:
    body = text.replace("\n", "\r\n").encode()
    return b"$%d\r\n%s\r\n" % (len(body), body)


SERVER = "redis_version:7.0.15\nredis_mode:standalone\nloading:0\n"


@pytest.mark.parametrize(
    ("answer", "failure_class"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "unknown"),
        (b":not a number\r\n", "unknown"),
        (b"*-1\r\n", "unknown"),
        (b"$-1\r\n", "unknown"),
        (b"*2\r\n$1\r\na\r\n$1\r\nb\r\n", "unknown"),
        (b"+OK\r\n", "unknown"),
        (info(SERVER), "unknown"),
        (info(f"{SERVER}role:slave\nconnected_slaves:0\naof_enabled:1\n"), "unknown"),
        (info(f"{SERVER}role:master\nconnected_slaves:many\naof_enabled:1\n"), "unknown"),
        (info("redis_version:7.0.15\nredis_mode:sentinel\n"), "config"),
        (info("redis_version:7.0.15\nredis_mode:standalone\nloading:1\n"), "timeout"),
        (b"-NOAUTH Authentication required.\r\n", "auth"),
        (b"-NOPERM this user has no permissions to run the 'info' command\r\n", "acl"),
        (b"-ERR max number of clients reached\r\n", "unknown"),
        (b"-LOADING Redis is loading the dataset in memory\r\n", "timeout"),
        (b"", "timeout"),
        (None, "timeout"),
    ],
)
def test_a_node_that_answers_nonsense_is_a_row(
    authority: Authority, answering: Any, answer: bytes | None, failure_class: str
) -> None:
    address = Address("localhost", answering(answer))
    node = _topology.ask_node(address, parameters(authority))
    assert (node.reachable, node.failure_class) == (False, failure_class), node.error
    assert node.error.endswith(".")
    assert f"localhost:{address.port}" in node.error
    sentinel_row = _topology.ask_sentinel(address, parameters(authority))
    assert not sentinel_row.reachable
    assert sentinel_row.error


@pytest.mark.parametrize(
    ("answer", "failure_class"),
    [
        (b"*0\r\n", "unknown"),
        (b"*1\r\n$1\r\nx\r\n", "unknown"),
        (b"*2\r\n$2\r\nip\r\n$1\r\nx\r\n", "unknown"),
        (b"*-1\r\n", "unknown"),
        (b":1\r\n", "unknown"),
        (b"-ERR unknown command\r\n", "unknown"),
        (b"-NOPERM this user has no permissions to run the 'sentinel|master' command\r\n", "acl"),
        (None, "timeout"),
    ],
)
def test_a_sentinel_that_answers_half_is_a_row(
    authority: Authority, answering: Any, answer: bytes | None, failure_class: str
) -> None:
    """INFO is right, and what comes after it is not."""
    port = answering(info("redis_version:7.0.15\nredis_mode:sentinel\nsentinel_tilt:0\n"), other=answer)
    row = _topology.ask_sentinel(Address("localhost", port), parameters(authority))
    assert (row.reachable, row.failure_class) == (False, failure_class), row.error
    assert row.error.endswith(".")


def test_a_sentinel_that_does_not_know_the_set_is_reachable(authority: Authority, answering: Any) -> None:
    known = info("redis_version:7.0.15\nredis_mode:sentinel\nsentinel_tilt:1\n")
    port = answering(known, other=b"-ERR No such master with that name\r\n")
    row = _topology.ask_sentinel(Address("localhost", port), parameters(authority))
    assert (row.reachable, row.failure_class, row.primary_host, row.tilt) == (True, "", "", True)
    assert row.error == f"localhost:{port} monitors nothing by the name results (primary_name)."


def test_tls_is_verified(authority: Authority, answering: Any, tmp_path: Path) -> None:
    good = info(SERVER)
    other = Authority(tmp_path / "other")
    for port, changes in (
        (answering(good, host="elsewhere.example.org"), {}),
        (answering(good), {"ca_file": str(other.certificate)}),
        (answering(good, encrypted=False), {}),
    ):
        node = _topology.ask_node(Address("localhost", port), parameters(authority, **changes))
        assert (node.reachable, node.failure_class) == (False, "tls"), node.error


def test_names_and_ports_that_lead_nowhere(authority: Authority) -> None:
    nowhere = _topology.ask_node(Address("no-such-host.invalid", 6379), parameters(authority))
    assert nowhere.failure_class == "dns", nowhere.error
    refused = _topology.ask_node(Address("localhost", 1), parameters(authority))
    assert refused.failure_class == "refused", refused.error
    assert _topology.ask_sentinel(Address("localhost", 1), parameters(authority)).failure_class == "refused"


def test_many_that_hang_cost_one_timeout(authority: Authority, answering: Any) -> None:
    hanging = [{"host": "localhost", "port": answering(None)} for _number in range(4)]
    started = time.monotonic()
    nodes, sentinels = _topology.ask(parameters(authority, nodes=hanging, sentinels=hanging))
    assert time.monotonic() - started < 4, "one after the other would take 8 seconds"
    assert {row.failure_class for row in (*nodes, *sentinels)} == {"timeout"}


def test_a_name_server_that_hangs_costs_a_bounded_time(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """What resolves names has no timeout of its own."""
    real = socket.getaddrinfo

    def slow(host: Any, *arguments: Any, **named: Any) -> Any:
        if host == "slow.example.org":
            time.sleep(5)
        return real(host, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    started = time.monotonic()
    wanted = parameters(
        authority,
        login_timeout=0.3,
        nodes=[{"host": "slow.example.org", "port": 6379}, {"host": "localhost", "port": 1}],
    )
    nodes, _sentinels = _topology.ask(wanted)
    assert time.monotonic() - started < 3
    assert [node.failure_class for node in nodes] == ["timeout", "refused"]


def test_problems_with_a_sentinels_login_name_its_options(authority: Authority, answering: Any) -> None:
    port = answering(b"-WRONGPASS invalid username-password pair or user is disabled.\r\n")
    wanted = parameters(authority, sentinel_password="wrong", sentinel_previous_password="also", login_password="wrong")
    row = _topology.ask_sentinel(Address("localhost", port), wanted)
    assert row.failure_class == "auth"
    assert "(sentinel_user) with sentinel_password and sentinel_previous_password" in row.error
    node = _topology.ask_node(Address("localhost", port), wanted)
    assert node.failure_class == "auth"
    assert "(login_user) with login_password" in node.error


def test_a_hidden_error_still_has_a_class() -> None:
    error = _redis.RedisError("It cannot be reached.")
    error.__cause__ = OSError(113, "No route to host")
    assert _topology.failure_class(error) == "unreachable"
    assert _topology.failure_class(_redis.RedisError("Something else.")) == "unknown"
