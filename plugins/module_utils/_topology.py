# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the nodes and the sentinels of a replication set say, and who is primary according to all of them.

Asking and deciding are apart: everything below the heading "Decide" works on answers only.
"""

from __future__ import annotations

import errno
import ipaddress
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, TypeVar

from ansible_collections.resultops.celery.plugins.module_utils import _redis

MEMBER_ARGUMENTS: dict[str, dict[str, Any]] = {
    "nodes": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {"host": {"type": "str", "required": True}, "port": {"type": "int", "default": 6379}},
    },
    "sentinels": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"host": {"type": "str", "required": True}, "port": {"type": "int", "default": 26379}},
    },
    "primary_name": {"type": "str", "default": "results"},
    "sentinel_user": {"type": "str", "default": "default"},
    "sentinel_password": {"type": "str", "no_log": True},
    "sentinel_previous_password": {"type": "str", "no_log": True},
}
LOGIN_ARGUMENTS: dict[str, dict[str, Any]] = {
    "login_user": {"type": "str", "default": "default"},
    "login_password": {"type": "str", "no_log": True},
    "login_previous_password": {"type": "str", "no_log": True},
    "ca_file": {"type": "path"},
    "certificate_file": {"type": "path"},
    "private_key_file": {"type": "path"},
    "login_timeout": {"type": "float", "default": 5},
}
LOGIN_RULES: dict[str, Any] = {"required_together": [("certificate_file", "private_key_file")]}
NODE_OPTION: dict[str, Any] = {
    "type": "dict",
    "options": {"host": {"type": "str", "required": True}, "port": {"type": "int", "default": 6379}},
}

REQUIREMENTS = ("primary", "links", "quorum", "agreement", "one_version")
NO_SUCH_NAME = "No such master with that name"
SECONDS_PER_DAY = 86400
# The connection is the same as to a node, but the options to set are others.
OPTION_OF_NODES = re.compile(r"\blogin_(user|password|previous_password)\b")
# Anything else that a program which is no Redis can make of an answer.
NOT_UNDERSTOOD = (ValueError, TypeError, KeyError, IndexError, AttributeError)
CLASS_OF_ERROR = (
    (("LoginError", "AuthenticationError"), "auth"),
    (("NoPermissionError",), "acl"),
    (("ImportError",), "config"),
    (("SSLError",), "tls"),
    (("gaierror",), "dns"),
    (("ConnectionRefusedError",), "refused"),
    (("TimeoutError", "BusyLoadingError"), "timeout"),
)
UNREACHABLE = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN}

Answer = TypeVar("Answer")


class TopologyError(_redis.RedisError):
    """Who is primary cannot be decided, and why, in one sentence."""


@dataclass(frozen=True)
class Address:
    """Where a node or a sentinel listens, by the name that the others know it by."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @classmethod
    def of(cls, option: Mapping[str, Any]) -> Address:
        return cls(option["host"], int(option["port"]))

    @property
    def option(self) -> dict[str, Any]:
        return {"host": self.host, "port": self.port}


@dataclass(frozen=True)
class Node:
    """What a server of the replication set says of itself."""

    host: str
    port: int
    reachable: bool = False
    failure_class: str = ""
    error: str = ""
    role: str = ""
    primary_host: str = ""
    primary_port: int = 0
    link_up: bool = False
    syncing: bool = False
    offset: int = -1
    lag_bytes: int = -1
    last_io_seconds: int = -1
    connected_replicas: int = 0
    engine: str = ""
    version: str = ""
    aof: bool = False
    keys: int = 0
    certificate_days: int = -1
    addresses: frozenset[str] = frozenset()

    @property
    def address(self) -> Address:
        return Address(self.host, self.port)

    @property
    def primary(self) -> Address:
        """The node that this replica follows."""
        return Address(self.primary_host, self.primary_port)

    @property
    def result(self) -> dict[str, Any]:
        fields = asdict(self)
        del fields["addresses"]
        return fields


@dataclass(frozen=True)
class Sentinel:
    """What a sentinel says of the primary."""

    host: str
    port: int
    reachable: bool = False
    failure_class: str = ""
    error: str = ""
    primary_host: str = ""
    primary_port: int = 0
    config_epoch: int = -1
    flags: str = ""
    known_sentinels: int = 0
    known_replicas: int = 0
    quorum: int = 0
    ckquorum: bool = False
    tilt: bool = False
    version: str = ""
    certificate_days: int = -1

    @property
    def address(self) -> Address:
        return Address(self.host, self.port)

    @property
    def primary(self) -> Address:
        """The node that this sentinel takes for the primary."""
        return Address(self.primary_host, self.primary_port)

    @property
    def result(self) -> dict[str, Any]:
        return asdict(self)


# --- Ask -------------------------------------------------------------------------------------------------------------


def ask(params: Mapping[str, Any]) -> tuple[list[Node], list[Sentinel]]:
    """Ask all nodes and sentinels at once; one that is dead or hangs costs one timeout, not one each."""
    nodes = [Address.of(option) for option in params["nodes"]]
    sentinels = [Address.of(option) for option in params["sentinels"]]
    jobs: list[Callable[[], Any]] = [partial(ask_node, address, params) for address in nodes]
    jobs += [partial(ask_sentinel, address, params) for address in sentinels]
    late: list[Any] = [Node(address.host, address.port, **_late(params)) for address in nodes]
    late += [Sentinel(address.host, address.port, **_late(params)) for address in sentinels]
    answers = in_parallel(jobs, late, 2 * params["login_timeout"] + 1)
    return with_lag(answers[: len(nodes)]), answers[len(nodes) :]


def ask_node(address: Address, params: Mapping[str, Any]) -> Node:
    """Return what a node says, or why it says nothing."""
    try:
        server = connect_node(address, params)
        with closing(server):
            facts = server.information()
            if server.is_sentinel:
                return Node(
                    address.host,
                    address.port,
                    failure_class="config",
                    error=f"{address} (nodes) is a sentinel, which belongs into sentinels.",
                )
            return replace(
                node_of(address, facts),
                engine=server.version.product,
                version=server.version.number,
                certificate_days=days_left(server),
                addresses=_addresses(address),
            )
    except _redis.RedisError as error:
        return Node(address.host, address.port, failure_class=failure_class(error), error=str(error))
    except NOT_UNDERSTOOD:
        return Node(address.host, address.port, **_garbage(address))


def ask_sentinel(address: Address, params: Mapping[str, Any]) -> Sentinel:
    """Return what a sentinel says, or why it says nothing."""
    try:
        server = connect_sentinel(address, params)
        with closing(server):
            return _sentinel(server, address, params["primary_name"])
    except _redis.RedisError as error:
        return Sentinel(address.host, address.port, failure_class=failure_class(error), error=str(error))
    except NOT_UNDERSTOOD:
        return Sentinel(address.host, address.port, **_garbage(address))


def _sentinel(server: _redis.Server, address: Address, name: str) -> Sentinel:
    facts = server.information()
    known = Sentinel(
        address.host,
        address.port,
        reachable=True,
        tilt=facts.get("sentinel_tilt") == "1",
        version=server.version.number,
        certificate_days=days_left(server),
    )
    if not server.is_sentinel:
        return replace(
            known,
            reachable=False,
            failure_class="config",
            error=f"{address} (sentinels) is no sentinel.",
        )
    try:
        monitored = monitored_primary(server, name)
        current = server.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)
    except _redis.RefusedError as refusal:
        if NO_SUCH_NAME not in str(refusal):
            raise
        return replace(known, error=f"{address} monitors nothing by the name {name} (primary_name).")
    return replace(
        known,
        primary_host=current[0],
        primary_port=int(current[1]),
        config_epoch=int(monitored["config-epoch"]),
        flags=monitored["flags"],
        known_sentinels=int(monitored["num-other-sentinels"]) + 1,
        known_replicas=int(monitored["num-slaves"]),
        quorum=int(monitored["quorum"]),
        ckquorum=_has_quorum(server, name),
    )


def monitored_primary(server: _redis.Server, name: str) -> dict[str, str]:
    """What a sentinel knows of the primary."""
    return pairs(server.call("SENTINEL", "MASTER", name))


def pairs(words: Sequence[str]) -> dict[str, str]:
    """Names and values, which a server sends one after the other."""
    return dict(zip(words[::2], words[1::2], strict=True))


def _has_quorum(server: _redis.Server, name: str) -> bool:
    try:
        server.call("SENTINEL", "CKQUORUM", name)
    except _redis.RefusedError as refusal:
        if "NOQUORUM" not in str(refusal):
            raise
        return False
    return True


def connect_node(address: Address, params: Mapping[str, Any], timeout: float | None = None) -> _redis.Server:
    """Log in to a node."""
    return _connect(
        address,
        params,
        params["login_user"],
        params["login_password"],
        params["login_previous_password"],
        timeout or params["login_timeout"],
    )


def connect_sentinel(address: Address, params: Mapping[str, Any], timeout: float | None = None) -> _redis.Server:
    """Log in to a sentinel."""
    try:
        return _connect(
            address,
            params,
            params["sentinel_user"],
            params["sentinel_password"],
            params["sentinel_previous_password"],
            timeout or params["login_timeout"],
        )
    except _redis.RedisError as error:
        raise type(error)(OPTION_OF_NODES.sub(r"sentinel_\1", str(error))) from error


def _connect(
    address: Address,
    params: Mapping[str, Any],
    user: str,
    password: str | None,
    previous: str | None,
    timeout: float,
) -> _redis.Server:
    server = _redis.connect(
        {
            "unix_socket": None,
            "login_host": address.host,
            "login_port": address.port,
            "ca_file": params["ca_file"],
            "certificate_file": params["certificate_file"],
            "private_key_file": params["private_key_file"],
            "login_user": user,
            "login_password": password,
            "login_previous_password": previous,
            "login_timeout": timeout,
            "loading_timeout": 0,
            "probe": False,
        }
    )
    if server is None:  # which it never is without the probe
        raise _redis.RedisError(f"Nothing listens at {address}.") from ConnectionRefusedError()
    return server


def node_of(address: Address, facts: Mapping[str, str]) -> Node:
    """Read a node's INFO."""
    is_replica = facts["role"] == "slave"
    common = Node(
        address.host,
        address.port,
        reachable=True,
        connected_replicas=int(facts["connected_slaves"]),
        aof=facts["aof_enabled"] == "1",
        keys=keys_of(facts),
    )
    if not is_replica:
        return replace(common, role="primary", offset=int(facts["master_repl_offset"]))
    return replace(
        common,
        role="replica",
        primary_host=facts["master_host"],
        primary_port=int(facts["master_port"]),
        link_up=facts["master_link_status"] == "up",
        syncing=facts["master_sync_in_progress"] == "1",
        offset=int(facts["slave_repl_offset"]),
        last_io_seconds=int(facts["master_last_io_seconds_ago"]),
    )


def keys_of(facts: Mapping[str, str]) -> int:
    """Count the keys of all databases."""
    return sum(
        int(found[1])
        for name, value in facts.items()
        if re.fullmatch(r"db\d+", name) and (found := re.match(r"keys=(\d+)", value))
    )


def with_lag(nodes: Iterable[Node]) -> list[Node]:
    """Say how far each replica is behind the node that it follows."""
    nodes = list(nodes)
    offsets = {node.address: node.offset for node in nodes if node.role == "primary"}
    followed = [find(nodes, node.primary) if node.role == "replica" else None for node in nodes]
    return [
        replace(node, lag_bytes=max(0, offsets[primary] - node.offset)) if primary in offsets and node.link_up else node
        for node, primary in zip(nodes, followed, strict=True)
    ]


def days_left(server: _redis.Server) -> int:
    """Count the days until the certificate that the server showed expires."""
    end = server.certificate_end
    return -1 if end is None else int((end - time.time()) // SECONDS_PER_DAY)


def failure_class(error: BaseException) -> str:
    """Name the class of a failure after what caused it."""
    link: BaseException | None = error
    while link is not None:
        names = {kind.__name__ for kind in type(link).__mro__}
        for wanted, found in CLASS_OF_ERROR:
            if names.intersection(wanted):
                return found
        if isinstance(link, OSError) and link.errno in UNREACHABLE:
            return "unreachable"
        link = link.__cause__ or link.__context__
    return "timeout" if "still loading its data" in str(error) else "unknown"


def _late(params: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "failure_class": "timeout",
        "error": f"No answer within twice {params['login_timeout']:g} seconds (login_timeout).",
    }


def _garbage(address: Address) -> dict[str, Any]:
    return {"failure_class": "unknown", "error": f"What {address} answers is not what Redis or Valkey would."}


def _addresses(address: Address) -> frozenset[str]:
    """The name is resolved already, or the node would not have answered."""
    try:
        return frozenset(str(found[4][0]) for found in socket.getaddrinfo(address.host, address.port))
    except OSError:
        return frozenset()


def in_parallel(jobs: Sequence[Callable[[], Answer]], late: Sequence[Answer], seconds: float) -> list[Answer]:
    """Do all jobs at once; what is not done in time is given the answer of `late`.

    Threads that never end, such as those that wait for a name server, do not keep the module from ending.
    """
    answers = dict(enumerate(late))

    def work(number: int) -> None:
        answers[number] = jobs[number]()

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(len(jobs))]
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [answers[number] for number in range(len(jobs))]


# --- Decide ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Decision:
    """Who is primary, and who said so: sentinels, nodes, own, initial or none."""

    primary: Address | None
    source: str


def same_host(first: str, second: str) -> bool:
    """Compare two names or addresses as they are written."""
    return first.rstrip(".").lower() == second.rstrip(".").lower()


def find(nodes: Iterable[Node], wanted: Address) -> Address | None:
    """Find the node that a name or an IP address belongs to."""
    candidates = [node for node in nodes if node.port == wanted.port]
    for node in candidates:
        if same_host(node.host, wanted.host):
            return node.address
    if _is_ip_address(wanted.host):
        for node in candidates:
            if wanted.host in node.addresses:
                return node.address
    return None


def decide(nodes: Sequence[Node], sentinels: Sequence[Sentinel]) -> Decision:
    """Believe the live sentinels, and without them the live nodes."""
    named = named_by_sentinels(nodes, sentinels)
    if named:
        _refuse_few_sentinels(nodes, sentinels, named)
        return Decision(named, "sentinels")
    found = found_among_nodes(nodes)
    return Decision(found, "nodes") if found else Decision(None, "none")


def _refuse_few_sentinels(nodes: Sequence[Node], sentinels: Sequence[Sentinel], named: Address) -> None:
    """A minority may have slept through a failover; it must not undo what replicas do for all to see."""
    telling = [sentinel for sentinel in sentinels if sentinel.primary_host]
    if len(telling) > len(sentinels) // 2:
        return
    followed = {find(nodes, node.primary) for node in nodes if node.role == "replica" and node.link_up}
    for node in nodes:
        if node.role == "primary" and node.address != named and node.address in followed:
            raise TopologyError(
                f"Only {len(telling)} of {len(sentinels)} sentinels say who is the primary, and name {named}, but "
                f"{node.address} is a primary with replicas: start the other sentinels, or repair the set by hand."
            )


@dataclass(frozen=True)
class Own:
    """What is known of the node that the module runs on, whether its server is running or not."""

    address: Address
    has_data: bool
    follows: Address | None = None


def settle(own: Own, nodes: Sequence[Node], sentinels: Sequence[Sentinel], initial: Address) -> Decision:
    """Decide where this node belongs: believe sentinels, then nodes, then what it was itself, then the inventory."""
    decision = decide(nodes, sentinels)
    if decision.primary is None and own.follows:
        followed = find(nodes, own.follows)
        if followed is None:
            raise TopologyError(
                f"{own.address} follows {own.follows} according to its state file, which is none of the nodes, and "
                "nobody answers who is primary: start the other servers and sentinels first."
            )
        decision = Decision(followed, "own")
    if decision.primary is None and own.has_data:
        decision = Decision(own.address, "own")
    if decision.primary is None:
        return Decision(initial, "initial")
    _refuse_empty_primary(own, nodes, sentinels, decision)
    return decision


def _refuse_empty_primary(own: Own, nodes: Sequence[Node], sentinels: Sequence[Sentinel], decision: Decision) -> None:
    """Data that was never replicated must not be replaced by nothing, as when a set is built around the wrong host.

    After a failover this node may be the old primary, and all that it had may have expired meanwhile.
    """
    had_failover = any(sentinel.config_epoch > 0 for sentinel in sentinels)
    if decision.primary == own.address or own.follows or not own.has_data or had_failover:
        return
    if any(node.address == decision.primary and node.reachable and not node.keys for node in nodes):
        raise TopologyError(
            f"{own.address} has data and would lose them to the primary {decision.primary}, which is empty: make the "
            "host with the data the primary, or empty its data directory."
        )


def agreed(nodes: Sequence[Node], sentinels: Sequence[Sentinel]) -> bool:
    """Whether all sentinels that answer name the same node."""
    answers = [sentinel for sentinel in sentinels if sentinel.reachable]
    named = {find(nodes, sentinel.primary) if sentinel.primary_host else None for sentinel in answers}
    return len(named) == 1 and None not in named


def has_quorum(sentinels: Sequence[Sentinel]) -> bool:
    """Whether enough sentinels are there to agree on a failover and to authorize it."""
    usable = [sentinel for sentinel in sentinels if sentinel.ckquorum]
    needed = max([len(sentinels) // 2 + 1, *(sentinel.quorum for sentinel in usable)])
    return len(usable) >= needed


def named_by_sentinels(nodes: Sequence[Node], sentinels: Sequence[Sentinel]) -> Address | None:
    """The node that the sentinels name: those with the newest configuration, and of them the most."""
    votes: Counter[tuple[int, Address]] = Counter()
    for sentinel in sentinels:
        if not sentinel.primary_host:
            continue
        found = find(nodes, sentinel.primary)
        if found is None:
            raise TopologyError(
                f"The sentinel {sentinel.address} names {sentinel.primary} as primary, which is none of the nodes: "
                "sentinels and servers have to know each other by the names in nodes (announce)."
            )
        votes[sentinel.config_epoch, found] += 1
    if not votes:
        return None
    newest = max(epoch for epoch, _address in votes)
    ranked = {address: count for (epoch, address), count in votes.items() if epoch == newest}
    most = max(ranked.values())
    best = [address for address, count in ranked.items() if count == most]
    if len(best) > 1:
        best = [node.address for node in nodes if node.address in best and node.role == "primary"]
    if len(best) != 1:
        raise TopologyError(
            f"The sentinels name {_and(map(str, ranked))} as primary and none of them more often than the other: "
            "wait until they agree, or repair them by hand."
        )
    return best[0]


def found_among_nodes(nodes: Sequence[Node]) -> Address | None:
    """The node that the live nodes show as primary; an empty one that nobody follows shows nothing."""
    primaries = [node for node in nodes if node.role == "primary"]
    with_data = [node for node in primaries if node.keys]
    if len(with_data) > 1:
        raise TopologyError(
            f"{_and(f'{node.address} ({node.keys} keys)' for node in with_data)} are all primaries with data, and no "
            "sentinel says which of them counts: start the sentinels, or empty those that do not count."
        )
    followed = followed_by_replicas(nodes)
    if len(followed) > 1:
        alive = [address for address in followed if address in {node.address for node in primaries}]
        followed = alive if len(alive) == 1 else followed
    if len(followed) > 1:
        raise TopologyError(
            f"The replicas follow {_and(map(str, followed))}, and no sentinel says which of them counts: "
            "start the sentinels, or repair the replicas by hand."
        )
    if followed and with_data and followed[0] != with_data[0].address:
        raise TopologyError(
            f"The replicas follow {followed[0]}, but {with_data[0].address} is a primary with {with_data[0].keys} "
            "keys, and no sentinel says which of them counts: start the sentinels, or empty the one that does not."
        )
    if followed:
        return followed[0]
    shown = with_data or [node for node in primaries if node.connected_replicas]
    return shown[0].address if len(shown) == 1 else None


def followed_by_replicas(nodes: Sequence[Node]) -> list[Address]:
    """The nodes that live replicas follow, without those that are replicas themselves."""
    replicas = [node for node in nodes if node.role == "replica"]
    followed: list[Address] = []
    for node in replicas:
        found = find(nodes, node.primary)
        if found is None:
            raise TopologyError(
                f"The replica {node.address} follows {node.primary}, which is none of the nodes: "
                "replicas have to know their primary by its name in nodes."
            )
        if found not in followed:
            followed.append(found)
    tops = [address for address in followed if address not in {node.address for node in replicas}]
    if followed and not tops:
        raise TopologyError(
            f"{_and(str(node.address) for node in replicas)} are replicas of one another, and no sentinel says which "
            "of them is the primary: start the sentinels, or repair the replicas by hand."
        )
    return tops


def assess(
    nodes: Sequence[Node], sentinels: Sequence[Sentinel], decision: Decision, max_lag_bytes: int | None = None
) -> dict[str, list[str]]:
    """Name by requirement, in sentences, what keeps the set from being healthy."""
    return {
        "primary": _primary_problems(nodes, decision),
        "links": _link_problems(nodes, decision, max_lag_bytes),
        "quorum": _quorum_problems(sentinels),
        "agreement": _agreement_problems(nodes, sentinels, decision),
        "one_version": _version_problems(nodes, sentinels),
    }


def _primary_problems(nodes: Sequence[Node], decision: Decision) -> list[str]:
    if decision.primary is None:
        return ["Nobody says which node is the primary."]
    node = next(node for node in nodes if node.address == decision.primary)
    if not node.reachable:
        return [f"The primary {node.address} does not answer ({node.failure_class}): {node.error}"]
    if node.role != "primary":
        return [f"{node.address} should be the primary according to the {decision.source}, but is a replica."]
    return []


def _link_problems(nodes: Sequence[Node], decision: Decision, max_lag_bytes: int | None) -> list[str]:
    found = []
    for node in nodes:
        if node.address == decision.primary:
            continue
        if not node.reachable:
            found.append(f"{node.address} does not answer ({node.failure_class}): {node.error}")
        elif node.role != "replica":
            found.append(f"{node.address} is a primary, too.")
        elif decision.primary and find(nodes, node.primary) != decision.primary:
            found.append(f"{node.address} follows {node.primary} instead of the primary {decision.primary}.")
        elif not node.link_up:
            state = "copies everything from" if node.syncing else "has no link to"
            found.append(f"{node.address} {state} its primary {node.primary}.")
        elif max_lag_bytes is not None and node.lag_bytes > max_lag_bytes:
            found.append(f"{node.address} is {node.lag_bytes} bytes behind, allowed are {max_lag_bytes}.")
    return found


def _quorum_problems(sentinels: Sequence[Sentinel]) -> list[str]:
    if has_quorum(sentinels):
        return []
    usable = sum(1 for sentinel in sentinels if sentinel.ckquorum)
    needed = max([len(sentinels) // 2 + 1, *(sentinel.quorum for sentinel in sentinels)])
    return [f"{usable} of {len(sentinels)} sentinels see a quorum, and a failover needs {needed}."]


def _agreement_problems(nodes: Sequence[Node], sentinels: Sequence[Sentinel], decision: Decision) -> list[str]:
    found = []
    for sentinel in sentinels:
        if not sentinel.reachable:
            found.append(
                f"The sentinel {sentinel.address} does not answer ({sentinel.failure_class}): {sentinel.error}"
            )
        elif not sentinel.primary_host:
            found.append(sentinel.error)
        elif find(nodes, sentinel.primary) != decision.primary:
            found.append(f"The sentinel {sentinel.address} still names {sentinel.primary}.")
        elif sentinel.flags != "master":
            found.append(f"The sentinel {sentinel.address} sees the primary as {sentinel.flags}.")
        elif sentinel.tilt:
            found.append(f"The sentinel {sentinel.address} is in TILT mode and does not act.")
    return found or ([] if sentinels else ["There is no sentinel (sentinels)."])


def _version_problems(nodes: Sequence[Node], sentinels: Sequence[Sentinel]) -> list[str]:
    found = []
    for what, versions in (
        ("nodes", {f"{node.engine} {node.version}" for node in nodes if node.reachable}),
        ("sentinels", {sentinel.version for sentinel in sentinels if sentinel.reachable}),
    ):
        if len(versions) > 1:
            found.append(f"The {what} run different versions: {', '.join(sorted(versions))}.")
    return found


def _is_ip_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _and(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
