# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module against a real server: who may do what, and that a change costs nobody more than it must."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.resultops.celery.tests.unit.replication_set import ReplicationSet, wait_until

ADMIN = "admin's own: \\ #1 'secret'"
NASTY = "p@ss:/w%rd#?&'\"{{ }}\\ >x ~* with space"
OLD = "the password before"
USERS: list[dict[str, Any]] = [
    {"name": "admin", "password": ADMIN, "profile": "admin"},
    {"name": "celery", "password": NASTY, "profile": "results"},
    {"name": "celery_broker", "password": NASTY, "profile": "broker", "key_prefix": "broker:"},
    {"name": "cache", "password": NASTY, "profile": "custom", "rules": ["%R~cache:*", "&events", "+@read", "-keys"]},
]
LOGIN = {"login_user": "admin", "login_password": ADMIN}


def digest(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()


@pytest.fixture
def manage(redis_server: Any, run_on_host: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    def run(users: list[dict[str, Any]] | None = None, **arguments: Any) -> dict[str, Any]:
        wanted = {
            "path": str(redis_server.acl_file),
            "unix_socket": str(redis_server.socket),
            "users": USERS if users is None else users,
            **LOGIN,
            **arguments,
        }
        return run_on_host("redis_acl", **wanted)

    return run


@pytest.fixture
def first_run(manage: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """The users are there; the server had only its default user before."""
    return manage(login_user="default", login_password=None)


@pytest.fixture
def admin(redis_server: Any, first_run: dict[str, Any]) -> redis.Redis:
    assert first_run["live"]
    client: redis.Redis = redis_server.client("admin", ADMIN)
    return client


def with_user(name: str, **changes: Any) -> list[dict[str, Any]]:
    return [{**user, **changes} if user["name"] == name else user for user in USERS]


def test_the_first_run_makes_the_users_and_the_second_changes_nothing(
    redis_server: Any, manage: Any, first_run: dict[str, Any]
) -> None:
    assert (first_run["changed"], first_run["live"]) == (True, True)
    assert first_run["added"] == ["admin", "cache", "celery", "celery_broker"]
    assert first_run["changed_users"] == ["default"]
    second = manage()
    assert not second["changed"]
    assert second["diff"] == []
    lines = redis_server.acl_file.read_text().splitlines()
    assert lines[0] == "user default off ~* &* +@all"
    assert [line.split()[1] for line in lines] == ["default", "admin", "cache", "celery", "celery_broker"]
    assert redis_server.acl_file.stat().st_mode & 0o777 == 0o640


@pytest.mark.usefixtures("first_run")
def test_the_server_reads_the_same_users_from_the_file(redis_server: Any, manage: Any) -> None:
    redis_server.restart()
    assert not manage()["changed"]
    assert "loaded_from_file" not in redis_server.client("admin", ADMIN).acl_users()
    redis_server.acl_file.write_text(redis_server.acl_file.read_text() + "user loaded_from_file on +@all\n")
    redis_server.restart()
    assert manage()["removed"] == ["loaded_from_file"]


@pytest.mark.usefixtures("first_run")
def test_every_password_works_and_nobody_comes_in_without(redis_server: Any) -> None:
    for user in USERS:
        with pytest.raises(redis.ResponseError, match="wrong number of arguments"):
            redis_server.client(user["name"], user["password"]).execute_command("GET")
    with pytest.raises(redis.AuthenticationError):
        redis_server.client().ping()
    with pytest.raises(redis.AuthenticationError):
        redis_server.client("celery", NASTY + " ").ping()


def test_check_mode_predicts_and_changes_nothing(redis_server: Any, manage: Any) -> None:
    arguments = {"login_user": "default", "login_password": None}
    before = redis_server.client().acl_list()
    predicted = manage(check_mode=True, **arguments)
    assert redis_server.client().acl_list() == before
    assert not redis_server.acl_file.exists()
    done = manage(**arguments)
    same = ("changed", "added", "changed_users", "removed", "disconnected", "diff")
    assert {key: predicted[key] for key in same} == {key: done[key] for key in same}


def test_what_was_changed_by_hand_is_put_back(manage: Any, admin: redis.Redis) -> None:
    before = sorted(admin.acl_list())
    for rules in (
        ("celery", "+flushall"),
        ("cache", "~*"),
        ("celery_broker", ">one more password"),
        ("default", "-@all"),
        ("stranger", "on", "nopass", "+@all", "~*"),
    ):
        admin.execute_command("ACL", "SETUSER", *rules)
    result = manage()
    assert result["changed_users"] == ["cache", "celery", "celery_broker", "default"]
    assert (result["added"], result["removed"]) == ([], ["stranger"])
    assert sorted(admin.acl_list()) == before
    assert not manage()["changed"]


def test_the_same_rights_written_otherwise_are_no_change(manage: Any, admin: redis.Redis) -> None:
    rules = ["reset", "on", f"#{digest(NASTY)}", "&events", "+@read", "-keys", "+select", "-select", "~x", "resetkeys"]
    admin.execute_command("ACL", "SETUSER", "cache", *rules, "%R~cache:*")
    assert not manage()["changed"]


@pytest.mark.parametrize("left_over", ["file", "server"])
def test_a_half_finished_run_is_finished(redis_server: Any, manage: Any, admin: redis.Redis, left_over: str) -> None:
    wanted, users = redis_server.acl_file.read_text(), sorted(admin.acl_list())
    if left_over == "file":
        admin.execute_command("ACL", "DELUSER", "celery")
        admin.execute_command("ACL", "SETUSER", "cache", "off")
    else:
        redis_server.acl_file.write_text("user default on nopass ~* &* +@all\n")
    assert manage()["changed"]
    assert redis_server.acl_file.read_text() == wanted
    assert sorted(admin.acl_list()) == users
    assert not manage()["changed"]


def test_no_password_and_no_whole_hash_is_ever_shown(redis_server: Any, manage: Any, admin: redis.Redis) -> None:
    redis_server.acl_file.write_text(f"user old on >plaintext #{digest(OLD)} ~* +@all\n")
    admin.execute_command("ACL", "SETUSER", "celery", f"#{digest('leaked')}")
    for result in (manage(check_mode=True), manage()):
        printed = json.dumps(result)
        assert "plaintext" not in printed
        for password in (ADMIN, NASTY, OLD, "leaked"):
            assert json.dumps(password)[1:-1] not in printed
            assert digest(password) not in printed
        assert f"#{digest('leaked')[:8]}" in printed
        assert f"#{digest(NASTY)[:8]}" in printed


class Connection:
    """A connection that never reconnects by itself, as a library would."""

    def __init__(self, server: Any, user: str, password: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(server.socket))
        self._socket.settimeout(5)
        assert self._ask("AUTH", user, password) == b"+OK\r\n"

    def is_open(self) -> bool:
        return self._ask("PUBLISH", "celery-task-meta-open", "x") == b":0\r\n"

    def _ask(self, *words: str) -> bytes:
        encoded = [word.encode() for word in words]
        parts = [b"*%d\r\n" % len(words), *(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)]
        try:
            self._socket.sendall(b"".join(parts))
            return self._socket.recv(100)
        except BrokenPipeError:
            return b""


def test_a_password_change_drops_only_who_uses_the_old_one(redis_server: Any, manage: Any, admin: redis.Redis) -> None:
    others = Connection(redis_server, "admin", ADMIN)
    worker = Connection(redis_server, "celery", NASTY)
    both = manage(with_user("celery", password="new one", previous_password=NASTY))
    assert (both["changed_users"], both["disconnected"]) == (["celery"], [])
    assert worker.is_open()
    assert redis_server.client("celery", "new one").publish("celery-task-meta-a", "x") == 0
    assert redis_server.client("celery", NASTY).publish("celery-task-meta-a", "x") == 0
    after = manage(with_user("celery", password="new one"))
    assert (after["changed_users"], after["disconnected"]) == (["celery"], ["celery"])
    assert not worker.is_open()
    with pytest.raises(redis.AuthenticationError):
        redis_server.client("celery", NASTY).ping()
    assert others.is_open()
    assert admin.ping()


@pytest.mark.usefixtures("first_run")
def test_connections_survive_a_revoked_password_if_wanted(redis_server: Any, manage: Any) -> None:
    worker = Connection(redis_server, "celery", NASTY)
    result = manage(with_user("celery", password="new one"), kill_revoked=False)
    assert (result["changed_users"], result["disconnected"]) == (["celery"], [])
    assert worker.is_open()


@pytest.mark.usefixtures("first_run")
def test_a_change_of_rights_drops_nobody_and_disabling_does(redis_server: Any, manage: Any) -> None:
    worker = Connection(redis_server, "celery", NASTY)
    assert manage(with_user("celery", key_prefix="app", profile="custom", rules=["allchannels", "+publish"]))["failed"]
    changed = manage(with_user("celery", profile="custom", rules=["allchannels", "+publish"]))
    assert (changed["changed_users"], changed["disconnected"]) == (["celery"], [])
    assert worker.is_open()
    assert manage(with_user("celery", enabled=False))["disconnected"] == ["celery"]
    assert not worker.is_open()


def test_the_admin_changes_the_password_it_logs_in_with(redis_server: Any, manage: Any, admin: redis.Redis) -> None:
    rotation = {"login_password": "next", "login_previous_password": ADMIN}
    both = manage(with_user("admin", password="next", previous_password=ADMIN), **rotation)
    assert (both["changed_users"], both["disconnected"]) == (["admin"], [])
    assert admin.ping()
    assert not manage(with_user("admin", password="next", previous_password=ADMIN), **rotation)["changed"]
    done = manage(with_user("admin", password="next"), **rotation)
    assert done["disconnected"] == ["admin"]
    with pytest.raises(redis.AuthenticationError):
        redis_server.client("admin", ADMIN).ping()
    assert not manage(with_user("admin", password="next"), login_password="next")["changed"]


@pytest.mark.usefixtures("first_run")
def test_the_password_can_change_in_one_step(redis_server: Any, manage: Any) -> None:
    changed = manage(with_user("admin", password="next"), login_password="next", login_previous_password=ADMIN)
    assert changed["changed_users"] == ["admin"]
    assert redis_server.client("admin", "next").ping()


@pytest.mark.usefixtures("first_run")
def test_the_user_that_is_logged_in_can_be_removed_last(redis_server: Any, manage: Any) -> None:
    users = [{"name": "root", "password": "a root", "profile": "admin"}, *USERS[1:]]
    result = manage(users)
    assert (result["added"], result["removed"]) == (["root"], ["admin"])
    assert not manage(users, login_user="root", login_password="a root")["changed"]
    assert "admin" not in redis_server.client("root", "a root").execute_command("ACL", "USERS")


def test_a_rule_that_the_server_does_not_know_is_named_before_anything_changes(
    redis_server: Any, manage: Any, admin: redis.Redis
) -> None:
    before, file = admin.acl_list(), redis_server.acl_file.read_text()
    for rule in ("+nosuch", "-nosuch", "+@nosuch", "+config|nosuch", "(~x +nosuch)"):
        result = manage([*with_user("celery", key_prefix="other"), {"name": "z", "password": NASTY, "rules": [rule]}])
        assert "does not know the rule " in result["msg"]
        assert result["msg"].endswith(f"{rule.strip('()').split()[-1]}, which the user z in users has.")
        assert (admin.acl_list(), redis_server.acl_file.read_text()) == (before, file)


def test_a_user_that_the_server_refuses_takes_the_others_back(
    redis_server: Any, manage: Any, admin: redis.Redis
) -> None:
    before, file = sorted(admin.acl_list()), redis_server.acl_file.read_text()
    users = [
        *with_user("celery", key_prefix="other")[:3],
        {"name": "z", "password": NASTY, "rules": ["~*", "~x", "+get"]},
    ]
    result = manage(users)
    assert "refused ACL" in result["msg"]
    assert digest(NASTY) not in result["msg"]
    assert (sorted(admin.acl_list()), redis_server.acl_file.read_text()) == (before, file)


def test_a_file_that_cannot_be_put_in_place_takes_the_server_back(
    manage: Any, admin: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: AnsibleModule, _source: str, _target: str) -> None:
        self.fail_json(msg="The disk is gone.")

    before = sorted(admin.acl_list())
    monkeypatch.setattr(AnsibleModule, "atomic_move", broken)
    users = [{"name": "root", "password": "a root", "profile": "admin"}, *with_user("celery", key_prefix="other")[1:3]]
    assert manage(users)["msg"] == "The disk is gone."
    assert sorted(admin.acl_list()) == before


def test_without_a_server_only_the_file_is_managed(stopped_server: Any, run_on_host: Any, redis_program: Path) -> None:
    arguments = {
        "path": str(stopped_server.acl_file),
        "unix_socket": str(stopped_server.socket),
        "server_binary": str(redis_program),
        **LOGIN,
    }
    refused = run_on_host("redis_acl", users=[{"name": "z", "password": NASTY, "rules": ["~*", "~x"]}], **arguments)
    assert "refused ACL" in refused["msg"]
    unknown = run_on_host("redis_acl", users=[{"name": "z", "password": NASTY, "rules": ["+nosuch"]}], **arguments)
    assert "does not know the rule +nosuch, which the user z in users has." in unknown["msg"]
    assert not stopped_server.acl_file.exists()
    first = run_on_host("redis_acl", users=USERS, **arguments)
    assert (first["changed"], first["live"], first["added"]) == (True, False, [])
    assert not run_on_host("redis_acl", users=USERS, **arguments)["changed"]
    stopped_server.start()
    again = run_on_host("redis_acl", users=USERS, **arguments)
    assert (again["changed"], again["live"]) == (False, True)


def test_before_the_package_is_installed_the_version_must_be_given(stopped_server: Any, run_on_host: Any) -> None:
    arguments = {
        "path": str(stopped_server.acl_file),
        "unix_socket": str(stopped_server.socket),
        "server_binary": "/nowhere/redis-server",
        "users": USERS,
    }
    assert run_on_host("redis_acl", check_mode=True, **arguments)["changed"]
    assert "set server_version" in run_on_host("redis_acl", **arguments)["msg"]
    assert "must be a version number" in run_on_host("redis_acl", server_version="new", **arguments)["msg"]
    assert not stopped_server.acl_file.exists()
    for version, known in (("7.0.15", False), ("7.2", True), ("8.1.1", True)):
        run_on_host("redis_acl", server_version=version, **arguments)
        assert ("+client|setinfo" in stopped_server.acl_file.read_text()) is known


@pytest.mark.usefixtures("first_run")
def test_refused_logins_are_one_sentence(redis_server: Any, manage: Any) -> None:
    where = f"The server at {redis_server.socket}"
    assert manage(login_password=None)["msg"].startswith(f"{where} wants a login before INFO")
    assert manage(login_password="no")["msg"] == f"{where} refused user admin (login_user) with login_password."
    as_worker = manage(login_user="celery", login_password=NASTY)
    assert as_worker["msg"].startswith(f"{where} does not let login_user run INFO")


DEFAULT_LINES = [("user default off ~* &* +@all", 0), ("user default off", 100)]


@pytest.mark.usefixtures("first_run")
@pytest.mark.parametrize(("default_line", "lost"), DEFAULT_LINES, ids=["as written", "only off"])
def test_a_killed_server_loses_no_transaction(redis_server: Any, default_line: str, lost: int) -> None:
    lines = redis_server.acl_file.read_text().splitlines()
    assert lost or lines[0] == default_line
    redis_server.acl_file.write_text("\n".join([default_line, *lines[1:]]) + "\n")
    redis_server.restart(appendonly="yes")
    admin = redis_server.client("admin", ADMIN)
    for number in range(100):
        script = "redis.call('SET', KEYS[1], 1) redis.call('SET', KEYS[2], 1)"
        admin.eval(script, 2, f"a{number}", f"b{number}")
        admin.set(f"plain{number}", 1)
    redis_server.restart(appendonly="yes")
    survivors = redis_server.client("admin", ADMIN)
    assert len(survivors.keys("plain*")) == 100
    assert len(survivors.keys("a*")) == len(survivors.keys("b*")) == 100 - lost


# --- Sentinel and replication ----------------------------------------------------------------------------------------

NODE_PROFILES = ("replica", "sentinel", "exporter")
SENTINEL_PROFILES = ("sentinel_client", "sentinel_peer", "sentinel_exporter")
SENTINEL_USERS: list[dict[str, Any]] = [
    {"name": "admin", "password": ADMIN, "profile": "admin"},
    *({"name": profile, "password": NASTY, "profile": profile} for profile in SENTINEL_PROFILES),
]


@pytest.fixture
def manage_sentinel(one_node: ReplicationSet, run_on_host: Callable[..., dict[str, Any]]) -> Callable[..., Any]:
    """A running sentinel as the package starts it: everybody who reaches it may do everything."""
    sentinel = one_node.sentinels[0]
    sentinel.acl_file.write_text("")
    sentinel.state_file.write_text("sentinel monitor mymaster 127.0.0.1 1 2\n")

    def run(users: list[dict[str, Any]] | None = None, **arguments: Any) -> dict[str, Any]:
        wanted = {
            "path": str(sentinel.acl_file),
            "unix_socket": str(sentinel.socket),
            "server_binary": str(sentinel.program),
            "users": SENTINEL_USERS if users is None else users,
            **LOGIN,
            **arguments,
        }
        return run_on_host("redis_acl", **{name: value for name, value in wanted.items() if value is not None})

    return run


@pytest.fixture
def first_sentinel_run(one_node: ReplicationSet, manage_sentinel: Callable[..., Any]) -> dict[str, Any]:
    one_node.sentinels[0].admin_password = ""
    one_node.sentinels[0].start(wait=False)
    wait_until(one_node.sentinels[0].socket.exists, "The start of the sentinel")
    result: dict[str, Any] = manage_sentinel(login_user="default", login_password=None)
    one_node.sentinels[0].admin_password = ADMIN
    return result


def test_a_running_sentinel_gets_its_users_one_by_one(
    one_node: ReplicationSet, manage_sentinel: Any, first_sentinel_run: dict[str, Any]
) -> None:
    sentinel = one_node.sentinels[0]
    assert (first_sentinel_run["live"], first_sentinel_run["changed"]) == (True, True)
    assert first_sentinel_run["added"] == sorted(user["name"] for user in SENTINEL_USERS)
    assert first_sentinel_run["changed_users"] == ["default"]
    assert not manage_sentinel()["changed"]
    assert not manage_sentinel(check_mode=True)["changed"]
    with pytest.raises(redis.AuthenticationError):
        sentinel.client("default", "").ping()
    sentinel.restart(write_files=False)
    assert not manage_sentinel()["changed"]
    assert "user default off" in sentinel.acl_file.read_text().splitlines()[0]


@pytest.mark.usefixtures("first_sentinel_run")
def test_accounts_of_a_sentinel_are_put_back_and_rotated(one_node: ReplicationSet, manage_sentinel: Any) -> None:
    sentinel = one_node.sentinels[0]
    sentinel.call("ACL", "SETUSER", "sentinel_client", "+sentinel|set")
    sentinel.call("ACL", "SETUSER", "stranger", "on", "nopass", "+@all")
    result = manage_sentinel()
    assert (result["changed_users"], result["removed"]) == (["sentinel_client"], ["stranger"])
    rotated = [
        {**user, "previous_password": ADMIN, "password": OLD} if user["name"] == "admin" else user
        for user in SENTINEL_USERS
    ]
    assert manage_sentinel(rotated)["changed_users"] == ["admin"]
    last = [{**user, "password": OLD} if user["name"] == "admin" else user for user in SENTINEL_USERS]
    assert manage_sentinel(last, login_password=OLD)["disconnected"] == ["admin"]
    assert not manage_sentinel(last, login_password=OLD)["changed"]


@pytest.mark.usefixtures("first_sentinel_run")
def test_a_user_that_sentinel_refuses_takes_the_others_back(one_node: ReplicationSet, manage_sentinel: Any) -> None:
    sentinel = one_node.sentinels[0]
    before, file = sorted(sentinel.call("ACL", "LIST")), sentinel.acl_file.read_text()
    users = [
        *SENTINEL_USERS[:2],
        {"name": "new", "password": NASTY, "rules": ["+ping"]},
        {"name": "z", "password": NASTY, "rules": ["~*", "~x", "+ping"]},
    ]
    result = manage_sentinel(users)
    assert "refused ACL" in result["msg"]
    assert (sorted(sentinel.call("ACL", "LIST")), sentinel.acl_file.read_text()) == (before, file)
    unknown = manage_sentinel([*SENTINEL_USERS, {"name": "z", "password": NASTY, "profile": "results"}])
    assert "does not know the rule +" in unknown["msg"]
    assert (sorted(sentinel.call("ACL", "LIST")), sentinel.acl_file.read_text()) == (before, file)


def test_accounts_of_a_sentinel_before_it_runs(one_node: ReplicationSet, manage_sentinel: Any) -> None:
    """They are tried on a private Sentinel, which knows other commands than a server."""
    sentinel = one_node.sentinels[0]
    sentinel.acl_file.unlink()
    refused = manage_sentinel([*SENTINEL_USERS, {"name": "z", "password": NASTY, "profile": "replica"}])
    assert "does not know the rule +psync, which the user z in users has." in refused["msg"]
    assert not sentinel.acl_file.exists()
    result = manage_sentinel()
    assert (result["changed"], result["live"]) == (True, False)
    assert not manage_sentinel()["changed"]
    one_node.sentinels[0].admin_password = ADMIN
    sentinel.start()
    assert (manage_sentinel()["changed"], manage_sentinel()["live"]) == (False, True)


def test_a_server_does_not_take_the_accounts_of_a_sentinel(manage: Any, first_run: dict[str, Any]) -> None:
    assert first_run["changed"]
    for profile in SENTINEL_PROFILES:
        result = manage([*USERS, {"name": "z", "password": NASTY, "profile": profile}])
        assert "does not know the rule +sentinel|" in result["msg"]
    nodes = [*USERS, *({"name": profile, "password": NASTY, "profile": profile} for profile in NODE_PROFILES)]
    assert manage(nodes)["added"] == sorted(NODE_PROFILES)
    assert not manage(nodes)["changed"]


DENIED_ON_NODES = [
    ("FLUSHALL",),
    ("KEYS", "*"),
    ("GET", "x"),
    ("SET", "x", "1"),
    ("CONFIG", "SET", "maxmemory", "1"),
    ("ACL", "LIST"),
    ("SHUTDOWN",),
    ("EVAL", "return 1", "0"),
]
DENIED_ON_SENTINELS = [
    ("SENTINEL", "SET", "results", "quorum", "1"),
    ("SENTINEL", "REMOVE", "results"),
    ("SENTINEL", "FAILOVER", "results"),
    ("SENTINEL", "CONFIG", "GET", "*"),
    ("SENTINEL", "RESET", "*"),
    ("ACL", "LIST"),
    ("SHUTDOWN",),
    ("CLIENT", "KILL", "ID", "1"),
]
ALLOWED_ON_SENTINELS = {
    "client": [("SENTINEL", "MASTERS")],
    "peer": [("PING",), ("PUBLISH", "__sentinel__:hello", "x"), ("CLIENT", "SETNAME", "x")],
    "exporter": [
        ("INFO",),
        ("SENTINEL", "MASTERS"),
        ("SENTINEL", "CKQUORUM", "results"),
        ("SENTINEL", "SLAVES", "results"),
    ],
}
ALLOWED_ON_NODES = {
    "replica": [("PING",)],
    "sentinel": [("INFO",), ("ROLE",), ("CONFIG", "REWRITE"), ("CLIENT", "SETNAME", "x"), ("PUBLISH", "x", "x")],
    "exporter": [
        ("INFO",),
        ("CONFIG", "GET", "*"),
        ("SLOWLOG", "GET"),
        ("LATENCY", "LATEST"),
        ("LATENCY", "HISTOGRAM"),
    ],
}


def test_each_account_of_a_replication_set_can_do_its_job_and_no_more(replication_set: ReplicationSet) -> None:
    """A failover by hand goes through all that Sentinel does; nothing of it is denied on any of the six."""
    sentinel = replication_set.sentinels[0]
    old = replication_set.primary
    sentinel.call("SENTINEL", "FAILOVER", "results")
    wait_until(lambda: replication_set.named_primary(sentinel) != old.port, "The failover")
    wait_until(lambda: replication_set.link_is_up(old), "The link of the old primary")
    replication_set.wait_for_agreement()
    processes = [*replication_set.nodes, *replication_set.sentinels]
    assert [process.call("ACL", "LOG") for process in processes] == [[]] * 6
    passwords = replication_set.passwords
    sentinel_passwords = {**passwords, "exporter": passwords["sentinel-exporter"]}
    for process, allowed, denied, known in (
        (replication_set.nodes[0], ALLOWED_ON_NODES, DENIED_ON_NODES, passwords),
        (sentinel, ALLOWED_ON_SENTINELS, DENIED_ON_SENTINELS, sentinel_passwords),
    ):
        for user, commands in allowed.items():
            client = process.client(user, known[user])
            for command in commands:
                client.execute_command(*command)
            for command in denied:
                with pytest.raises(redis.exceptions.NoPermissionError):
                    client.execute_command(*command)
            client.close()
