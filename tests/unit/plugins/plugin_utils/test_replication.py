# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every case of a replication set and of its sentinels that cannot work."""

from __future__ import annotations

import subprocess

import pytest
import redis
from ansible_collections.resultops.celery.plugins.plugin_utils import _replication

PASSWORD = "long-enough-for-a-test"


def member(number: int, **changes):
    name = f"redis{number}"
    return {
        "name": name,
        "hostname": f"{name}.example.com",
        "port": 6379,
        "address": f"192.0.2.{number}",
        "dns_names": [f"{name}.example.com", "localhost"],
        "provider": "redis",
        "version": "8.0.2",
        **changes,
    }


def members(count: int = 3, **first):
    return [member(1, **first), *(member(number) for number in range(2, count + 1))]


def a_set(**changes):
    return {
        "group": "ha",
        "host": "redis2",
        "members": members(),
        "primary": "redis1",
        "profile": "fast",
        "persistence": "aof",
        "min_replicas_to_write": 1,
        "min_replicas_max_lag": 3,
        "hosts_file": True,
        "passwords": {"redis_replication_password": PASSWORD},
        **changes,
    }


def a_primary(**changes):
    return {
        "name": "results",
        "group": "ha",
        "members": members(),
        "quorum": 2,
        "down_after": 2000,
        "failover_timeout": 15000,
        "parallel_syncs": 1,
        "auth_user": "sentinel",
        "auth_password": PASSWORD,
        **changes,
    }


def sentinels(**changes):
    return {
        "group": "sentinel",
        "sentinels": members(),
        "primaries": [a_primary()],
        "hosts_file": True,
        "passwords": {"sentinel_admin_password": "may have spaces and 'quotes'", "sentinel_peer_password": PASSWORD},
        "unquoted": ["sentinel_peer_password"],
        **changes,
    }


GOOD_SETS = {
    "fast": a_set(),
    "durable": a_set(profile="durable", persistence="aof_and_rdb"),
    "as texts": a_set(min_replicas_to_write="1", min_replicas_max_lag="3"),
    "five members": a_set(members=members(5), min_replicas_to_write=3),
    "two members without a limit": a_set(members=members(2), min_replicas_to_write=0, min_replicas_max_lag=0),
    "the first member by default": a_set(primary="", host=""),
    "nothing installed yet": a_set(members=members(version="")),
    "patch versions may differ": a_set(members=members(version="8.0.5")),
    "wildcard": a_set(members=members(dns_names=["*.example.com"])),
    "any case": a_set(members=members(dns_names=["Redis1.Example.com"])),
    "names in the DNS": a_set(hosts_file=False),
    "what is not known": {"members": [{"name": "redis1", "hostname": "a", "address": "192.0.2.1", "dns_names": ["a"]}]},
}


@pytest.mark.parametrize("case", GOOD_SETS)
def test_sets_that_work(case):
    assert _replication.problems_of_set(GOOD_SETS[case]) == []
    assert _replication.warnings_of_set(GOOD_SETS[case]) == []


BAD_SETS = {
    "unknown group": (
        a_set(members=[], group="nowhere"),
        "redis_replication_group is 'nowhere', a group without a host",
    ),
    "not a member itself": (
        a_set(host="redis9"),
        "redis_replication_group is 'ha' on redis9, which is not in that group: its members are redis1, redis2, redis3",
    ),
    "primary elsewhere": (
        a_set(primary="redis9"),
        "redis_replication_primary is 'redis9', which is not a member of the group 'ha': use one of redis1, redis2, ",
    ),
    "mixed providers": (
        a_set(members=members(provider="valkey")),
        "redis_provider differs within the group 'ha': redis on redis2, redis3, valkey on redis1",
    ),
    "mixed versions": (
        a_set(members=members(version="7.0.15")),
        "run different versions: 7.0 on redis1, 8.0 on redis2, redis3",
    ),
    "unreachable minimum": (
        a_set(min_replicas_to_write=3),
        "redis_min_replicas_to_write is 3, but a set of 3 members has 2 replicas: the primary would refuse every "
        "result. Allowed are 0 to 1.",
    ),
    "no tolerance": (
        a_set(min_replicas_to_write=2),
        "redis_min_replicas_to_write is 2, as many as the set of 3 members has replicas: the loss of any member",
    ),
    "one member": (
        a_set(members=members(1), host="redis1"),
        "is 1, but a set of 1 member has 0 replicas: the primary would refuse every result. Allowed is 0.",
    ),
    "negative minimum": (a_set(min_replicas_to_write=-1), "redis_min_replicas_to_write must be a whole number"),
    "no number": (a_set(min_replicas_to_write="one"), "redis_min_replicas_to_write must be a whole number"),
    "durable with two": (
        a_set(members=members(2), profile="durable"),
        "redis_profile is durable in a set of 2 members: it needs at least 3",
    ),
    "durable without replicas": (
        a_set(profile="durable", min_replicas_to_write=0),
        "redis_min_replicas_to_write is 0 with redis_profile durable: no replica would have to hold a result. "
        "Allowed is 1.",
    ),
    "durable without files": (
        a_set(profile="durable", persistence="none"),
        "redis_persistence is none with redis_profile durable",
    ),
    "durable with snapshots": (
        a_set(profile="durable", persistence="rdb"),
        "redis_persistence is rdb with redis_profile durable",
    ),
    "comes back empty": (a_set(persistence="none"), "redis_persistence is none in a replication set"),
    "no lag allowed": (a_set(min_replicas_max_lag=1), "redis_min_replicas_max_lag is 1: it must be at least 2 seconds"),
    "lag off": (a_set(min_replicas_max_lag=0), "redis_min_replicas_max_lag is 0"),
    "no lag": (a_set(min_replicas_max_lag="3s"), "redis_min_replicas_max_lag is 3s"),
    "certificate for another name": (
        a_set(members=members(dns_names=["other.example.com", "*.com"])),
        "redis_hostname of redis1 is 'redis1.example.com', which its certificate does not cover: add it to "
        "redis_tls_dns_names (now other.example.com, *.com)",
    ),
    "no address for the hosts file": (
        a_set(members=members(address="")),
        "The name 'redis1.example.com' of redis1 would not resolve on the other hosts: redis_hosts_file is true, but",
    ),
    "no address at all": (
        a_set(members=members(address=""), hosts_file=False),
        "redis_hosts_file is false and no address is known",
    ),
    "does not resolve": (
        a_set(members=members(unresolved=["redis2.example.com"]), hosts_file=False),
        "redis1 does not resolve redis2.example.com: set redis_hosts_file to true",
    ),
    "one name twice": (
        a_set(members=members(hostname="redis2.example.com", dns_names=["redis2.example.com"])),
        "redis_hostname is 'redis2.example.com' on both redis1 and redis2",
    ),
    "one address twice": (
        a_set(members=members(address="192.0.2.3")),
        "redis1 and redis3 have the same address 192.0.2.3",
    ),
    "no name": (a_set(members=members(hostname="")), "redis_hostname is empty on redis1"),
    "local name": (
        a_set(members=members(hostname="localhost")),
        "redis_hostname of redis1 is 'localhost' with the address '192.0.2.1', which on every other host means",
    ),
    "local address": (a_set(members=members(address="127.0.1.1")), "with the address '127.0.1.1', which on every"),
    "no password": (
        a_set(passwords={"redis_replication_password": ""}),
        "redis_replication_password is missing",
    ),
}


@pytest.mark.parametrize("character", ['"', "\\"])
@pytest.mark.parametrize(("provider", "problems"), [("redis", 0), ("valkey", 1)])
def test_valkey_could_not_read_its_own_file(character, provider, problems):
    given = a_set(passwords={"redis_replication_password": f"{PASSWORD}{character}"})
    for member in given["members"]:
        member["provider"] = provider
    found = _replication.problems_of_set(given)
    assert [sentence.partition(",")[0] for sentence in found] == [
        'redis_replication_password contains a " or a \\'
    ] * problems


@pytest.mark.parametrize("case", BAD_SETS)
def test_sets_that_cannot_work(case):
    given, expected = BAD_SETS[case]
    (sentence,) = _replication.problems_of_set(given)
    assert expected in sentence
    assert PASSWORD not in sentence


def test_every_problem_is_named():
    given = a_set(primary="redis9", min_replicas_to_write=5, members=members(address="", version="7.0.15"))
    assert len(_replication.problems_of_set(given)) == 4


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (a_set(min_replicas_max_lag=10), "redis_min_replicas_max_lag is 10: a primary that is cut off"),
        (a_set(persistence="rdb"), "redis_persistence is rdb"),
    ],
)
def test_sets_that_work_at_a_price(given, expected):
    assert _replication.problems_of_set(given) == []
    (warning,) = _replication.warnings_of_set(given)
    assert expected in warning


GOOD_SENTINELS = {
    "three": sentinels(),
    "five": sentinels(sentinels=members(5), primaries=[a_primary(quorum=3)]),
    "two sets": sentinels(primaries=[a_primary(), a_primary(name="other", group="other")]),
    "as texts": sentinels(primaries=[a_primary(quorum="2", down_after="1000", failover_timeout="5000")]),
    "majority by default": sentinels(
        primaries=[{key: value for key, value in a_primary().items() if key != "quorum"}],
    ),
}


@pytest.mark.parametrize("case", GOOD_SENTINELS)
def test_sentinels_that_work(case):
    assert _replication.problems_of_sentinels(GOOD_SENTINELS[case]) == []
    assert _replication.warnings_of_sentinels(GOOD_SENTINELS[case]) == []


BAD_SENTINELS = {
    "none": (sentinels(sentinels=[], group="nowhere"), "sentinel_group is 'nowhere', a group without a host"),
    "one": (
        sentinels(sentinels=members(1), primaries=[a_primary(quorum=1)]),
        "(sentinel_group) has 1 sentinel: use an odd number, 3 or more",
    ),
    "two": (sentinels(sentinels=members(2)), "has 2 sentinels: use an odd number"),
    "even": (
        sentinels(sentinels=members(4), primaries=[a_primary(quorum=3)]),
        "The group 'sentinel' (sentinel_group) has 4 sentinels: use an odd number",
    ),
    "quorum too small": (
        sentinels(primaries=[a_primary(quorum=1)]),
        "sentinel_primaries[results].quorum is 1: with 3 sentinels it must be their majority, 2",
    ),
    "quorum too large": (sentinels(primaries=[a_primary(quorum=3)]), "sentinel_primaries[results].quorum is 3"),
    "quorum of nothing": (sentinels(primaries=[a_primary(quorum="most")]), "quorum is most"),
    "hasty": (
        sentinels(primaries=[a_primary(down_after=999)]),
        "down_after of the primary 'results' is 999 ms (sentinel_down_after, or down_after in sentinel_primaries): it "
        "must be at least 1000",
    ),
    "failover too short": (
        sentinels(primaries=[a_primary(failover_timeout=4999, down_after=1000)]),
        "failover_timeout of the primary 'results' is 4999 ms (sentinel_failover_timeout, or failover_timeout in "
        "sentinel_primaries): it must be at least 5000",
    ),
    "failover shorter than its detection": (
        sentinels(primaries=[a_primary(failover_timeout=15000, down_after=10000)]),
        "it must be at least 30000",
    ),
    "no syncs": (sentinels(primaries=[a_primary(parallel_syncs=0)]), "parallel_syncs of the primary 'results' is 0"),
    "one name twice": (
        sentinels(primaries=[a_primary(), a_primary(group="other")]),
        "sentinel_primaries has 2 primaries with the name 'results'",
    ),
    "one set twice": (
        sentinels(primaries=[a_primary(), a_primary(name="again")]),
        "sentinel_primaries watches the group 'ha' 2 times",
    ),
    "bad name": (sentinels(primaries=[a_primary(name="my results")]), "sentinel_primaries has the name 'my results'"),
    "no primaries": (sentinels(primaries=[]), "sentinel_primaries is empty"),
    "empty set": (
        sentinels(primaries=[a_primary(members=[])]),
        "sentinel_primaries[results].group is 'ha', a group without a host",
    ),
    "a set that does not resolve": (
        sentinels(primaries=[a_primary(members=members(address=""))]),
        "The name 'redis1.example.com' of redis1 would not resolve on the other hosts: redis_hosts_file",
    ),
    "a sentinel that does not resolve": (
        sentinels(sentinels=members(address="")),
        "The name 'redis1.example.com' of redis1 would not resolve on the other hosts: sentinel_hosts_file",
    ),
    "certificate for another name": (
        sentinels(sentinels=members(dns_names=[])),
        "sentinel_hostname of redis1 is 'redis1.example.com', which its certificate does not cover: add it to "
        "sentinel_tls_dns_names (now none)",
    ),
    "mixed providers": (
        sentinels(sentinels=members(provider="valkey")),
        "sentinel_provider differs within the sentinels",
    ),
    "no password on Redis": (
        sentinels(primaries=[a_primary(auth_password="")]),
        "sentinel_primaries[results].auth_password is missing",
    ),
    "password with a space": (
        sentinels(primaries=[a_primary(auth_password=f"{PASSWORD} more")]),
        "sentinel_primaries[results].auth_password contains a space or a quote",
    ),
    "password with a quote": (
        sentinels(primaries=[a_primary(auth_password=f'{PASSWORD}"')]),
        "sentinel_primaries[results].auth_password contains a space or a quote",
    ),
    "user with an apostrophe": (
        sentinels(primaries=[a_primary(auth_user="o'neill")]),
        "sentinel_primaries[results].auth_user contains a space or a quote",
    ),
    "password of the peers": (
        sentinels(passwords={"sentinel_peer_password": f"{PASSWORD}'s"}),
        "sentinel_peer_password contains a space or a quote",
    ),
    "no password of the peers": (sentinels(passwords={"sentinel_peer_password": ""}), "sentinel_peer_password is mis"),
}


@pytest.mark.parametrize("case", BAD_SENTINELS)
def test_sentinels_that_cannot_work(case):
    given, expected = BAD_SENTINELS[case]
    (sentence,) = _replication.problems_of_sentinels(given)
    assert expected in sentence
    assert PASSWORD not in sentence


def test_one_problem_of_a_set_with_two_names_is_said_once():
    broken = members(address="")
    given = sentinels(primaries=[a_primary(members=broken), a_primary(name="again", members=broken)])
    assert len(_replication.problems_of_sentinels(given)) == 2, "the address, and the set that is watched twice"


def test_a_long_failover_timeout_is_told():
    given = sentinels(primaries=[a_primary(failover_timeout=180000)])
    assert _replication.problems_of_sentinels(given) == []
    (warning,) = _replication.warnings_of_sentinels(given)
    assert "the next one comes after 360 s" in warning


@pytest.mark.parametrize(
    "password", ["plain", "back\\slash", "{{ x }}".replace(" ", ""), "#hash", "%41&?:/@", "a b", "it's", 'a"b']
)
def test_a_sentinel_starts_again_with_exactly_the_allowed_passwords(redis_program, tmp_path, password, wait_until):
    """Against a real one, because its way to write its own file is the reason of the rule."""
    program = tmp_path / "redis-sentinel"
    program.symlink_to(redis_program.resolve())
    socket = tmp_path / "sentinel.sock"
    state = tmp_path / "sentinel.conf"
    state.write_text(f"port 0\nunixsocket {socket}\nsentinel monitor results 127.0.0.1 1 2\n")
    client = redis.Redis(unix_socket_path=str(socket))

    def answers() -> bool:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return sentinel.poll() is not None

    with subprocess.Popen([program, state], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as sentinel:
        wait_until(answers)
        client.execute_command("SENTINEL", "SET", "results", "auth-pass", password)
        client.close()
        sentinel.kill()
    socket.unlink()
    with subprocess.Popen([program, state], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as sentinel:
        wait_until(answers)
        starts = sentinel.poll() is None
        sentinel.kill()
    assert starts is (_replication.UNQUOTABLE.search(password) is None)
