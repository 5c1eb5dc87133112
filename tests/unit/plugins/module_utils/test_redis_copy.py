# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From one real server into another: everything at once, or nothing."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _redis, _redis_copy

LOGIN = {"login_password": None, "login_previous_password": None, "login_timeout": 10, "loading_timeout": 10}


def connected(server: Any) -> _redis.Server:
    connection = _redis.connect({**LOGIN, "unix_socket": str(server.socket)})
    assert connection
    return connection


@pytest.fixture
def target_server(redis_server: Any) -> Any:
    return redis_server


@pytest.fixture
def target(target_server: Any) -> Iterator[_redis.Server]:
    connection = connected(target_server)
    yield connection
    connection.close()


@pytest.fixture
def source(target_server: Any, redis_program: Path, tmp_path: Path) -> Iterator[_redis.Server]:
    server = type(target_server)(redis_program, tmp_path)
    server.start()
    connection = connected(server)
    yield connection
    connection.close()
    server.kill()


def fill(server: _redis.Server, count: int, database: int = 0) -> None:
    server.call("SELECT", str(database))
    script = "for i = 1, ARGV[1] do redis.call('SETEX', 'result-'..i, 3600, string.rep('x', 100)) end"
    server.call("EVAL", script, "0", str(count))
    server.call("SELECT", "0")


def everything(server: _redis.Server) -> dict[str, str]:
    """Every key of every database with its dump."""
    found = {}
    for number in range(16):
        server.call("SELECT", str(number))
        for key in server.call("KEYS", "*"):
            found[f"{number}/{key}"] = server.call("DUMP", key)
    server.call("SELECT", "0")
    return found


def interrupted(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], Any]) -> None:
    """Something happens to the target after a database was copied."""
    copy = _redis_copy._copy_database

    def copy_then(*arguments: Any) -> None:
        copy(*arguments)
        happens()

    monkeypatch.setattr(_redis_copy, "_copy_database", copy_then)


def test_every_type_arrives_with_its_expiry(source: _redis.Server, target: _redis.Server) -> None:
    source.call("SET", "text", "\udcff\udc80 no UTF-8 \r\n*5\r\n")
    source.call("SET", "", "an empty name")
    source.call("SETEX", "soon", "100", "1")
    source.call("RPUSH", "list", *map(str, range(300)))
    source.call("SADD", "set", "1", "2")
    source.call("ZADD", "sorted", "1.5", "a")
    source.call("HSET", "hash", "field", "value")
    source.call("XADD", "stream", "1-1", "field", "value")
    source.call("SELECT", "3")
    source.call("SET", "other", "database")
    wanted = everything(source)
    copied, replicas = _redis_copy.restore(source, target, replace=False)
    assert everything(target) == wanted
    assert {number: found.keys for number, found in copied.items()} == {0: 8, 3: 1}
    assert replicas == 0
    assert 90 < target.call("TTL", "soon") <= 100
    assert target.call("TTL", "text") == -1


def test_many_keys_arrive_and_do_not_stand_in_memory_twice(source: _redis.Server, target: _redis.Server) -> None:
    fill(source, 20_000)
    copied, _replicas = _redis_copy.restore(source, target, replace=False)
    assert copied[0].keys == 20_000
    assert target.call("DBSIZE") == 20_000
    assert source.call("DBSIZE") == 0


def test_what_was_there_is_replaced_in_every_database(source: _redis.Server, target: _redis.Server) -> None:
    fill(source, 500)
    fill(target, 7)
    target.call("SET", "old", "1")
    target.call("SELECT", "5")
    target.call("SET", "older", "1")
    wanted = everything(source)
    _redis_copy.restore(source, target, replace=True)
    assert everything(target) == wanted


def test_an_empty_backup_replaces_too(source: _redis.Server, target: _redis.Server) -> None:
    fill(target, 7)
    _redis_copy.restore(source, target, replace=True)
    assert everything(target) == {}


def test_clients_never_see_a_part(
    source: _redis.Server, target: _redis.Server, target_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(source, 3000)
    fill(source, 10, database=2)
    seen = []
    with target_server.client() as client:
        interrupted(monkeypatch, lambda: seen.append(client.dbsize()))
        _redis_copy.restore(source, target, replace=False)
        assert seen == [0, 0]
        assert client.dbsize() == 3000


def test_a_key_that_somebody_writes_meanwhile_is_not_lost(
    source: _redis.Server, target: _redis.Server, target_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(source, 100)
    with target_server.client() as client:
        interrupted(monkeypatch, lambda: client.set("new", "1"))
        with pytest.raises(_redis_copy.CopyError, match="Somebody wrote to the server"):
            _redis_copy.restore(source, target, replace=False)
    assert list(everything(target)) == ["0/new"]


def test_a_key_that_goes_missing_is_noticed(
    source: _redis.Server, target: _redis.Server, target_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(source, 100)
    fill(target, 1)
    before = everything(target)

    def lose() -> None:
        with target_server.client() as client:
            client.execute_command("SELECT", 15)
            client.delete("result-17")

    interrupted(monkeypatch, lose)
    with pytest.raises(
        _redis_copy.CopyError, match=r"Of the 100 keys of database 0 only 99 arrived.*nothing was changed"
    ):
        _redis_copy.restore(source, target, replace=True)
    assert everything(target) == before


def test_keys_that_expire_meanwhile_are_allowed_for(
    source: _redis.Server, target: _redis.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(source, 10)
    for number in range(5):
        source.call("PSETEX", f"brief-{number}", "300", "1")
    interrupted(monkeypatch, lambda: time.sleep(0.6))
    copied, _replicas = _redis_copy.restore(source, target, replace=False)
    assert copied[0].keys == 15
    assert sum(copied[0].deadlines.values()) == 15
    assert target.call("EXISTS", "brief-1") == 0
    assert target.call("DBSIZE") in range(10, 16)


def test_memory_that_does_not_suffice_changes_nothing(source: _redis.Server, target: _redis.Server) -> None:
    fill(source, 30_000)
    fill(target, 5)
    before = everything(target)
    target.call("CONFIG", "SET", "maxmemory", "3mb")
    with pytest.raises(_redis.RedisError, match=r"refused one of many commands: OOM|maxmemory"):
        _redis_copy.restore(source, target, replace=True)
    target.call("CONFIG", "SET", "maxmemory", "0")
    assert everything(target) == before


def test_keys_that_were_dropped_to_make_room_are_noticed(source: _redis.Server, target: _redis.Server) -> None:
    fill(source, 30_000)
    target.call("CONFIG", "SET", "maxmemory", "3mb", "maxmemory-policy", "volatile-ttl")
    with pytest.raises(_redis_copy.CopyError, match=r"dropped \d+ keys to make room \(maxmemory\)"):
        _redis_copy.restore(source, target, replace=False)
    assert everything(target) == {}


def test_a_server_that_takes_nothing_any_more_says_what_is_left(
    source: _redis.Server, target: _redis.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(source, 10)
    fill(source, 10, database=1)
    interrupted(monkeypatch, lambda: target.call("CONFIG", "SET", "min-replicas-to-write", "1"))
    with pytest.raises(_redis_copy.CopyError, match=r"NOREPLICAS.* a part of the backup is left in database 14, 15"):
        _redis_copy.restore(source, target, replace=False)
    target.call("CONFIG", "SET", "min-replicas-to-write", "0")
    target.call("SELECT", "0")
    assert target.call("DBSIZE") == 0
    monkeypatch.undo()
    fill(source, 10)
    _redis_copy.restore(source, target, replace=True)
    assert {key.split("/")[0] for key in everything(target)} == {"0"}


def test_too_few_free_databases_are_a_sentence(target_server: Any, source: _redis.Server) -> None:
    target_server.restart(databases="2")
    fill(source, 1)
    fill(source, 1, database=1)
    few = connected(target_server)
    with pytest.raises(_redis_copy.CopyError, match=r"Of the 2 databases .* only 0 are free of data, and 2 are needed"):
        _redis_copy.restore(source, few, replace=False)


def test_replicas_have_it_when_it_is_done(
    source: _redis.Server,
    target_server: Any,
    redis_program: Path,
    tmp_path_factory: Any,
    wait_until: Any,
    free_port: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    replica = type(target_server)(redis_program, tmp_path_factory.mktemp("replica"))
    port = str(free_port())
    target_server.restart(repl_diskless_sync_delay="0", port=port)
    replica.start(replicaof=f"127.0.0.1 {port}")
    try:
        with replica.client() as client:
            wait_until(lambda: client.info("replication")["master_link_status"] == "up")
            fill(source, 1000)
            primary = connected(target_server)
            _copied, replicas = _redis_copy.restore(source, primary, replace=False)
            assert replicas == 1
            # A replica that hangs is waited for, longer than an answer may take, and then reported.
            monkeypatch.setattr(_redis_copy, "REPLICA_SECONDS", 3)
            os.kill(replica.pid, signal.SIGSTOP)
            fill(source, 1000)
            hasty = _redis.connect({**LOGIN, "unix_socket": str(target_server.socket), "login_timeout": 2})
            assert hasty
            _copied, replicas = _redis_copy.restore(source, hasty, replace=True)
            assert replicas == 0
            os.kill(replica.pid, signal.SIGCONT)
            wait_until(lambda: client.dbsize() == 1000)
            assert client.dbsize() == 1000
            assert client.info("stats")["sync_full"] == 0
            assert primary.information()["sync_full"] == "1"
    finally:
        replica.kill()


def test_it_is_all_in_the_append_only_file(source: _redis.Server, target_server: Any) -> None:
    target_server.restart(appendonly="yes")
    fill(source, 1000)
    fill(source, 10, database=4)
    _redis_copy.restore(source, connected(target_server), replace=False)
    target_server.restart(appendonly="yes")
    with target_server.client() as client:
        assert client.info("keyspace")["db0"]["keys"] == 1000
        assert client.info("keyspace")["db4"]["keys"] == 10
        assert client.info("keyspace").keys() == {"db0", "db4"}
