# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module against a real server: it changes what differs, and nothing is left half done."""

from __future__ import annotations

import json
import os
import re
import signal
import ssl
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.resultops.celery.tests.unit.replication_set import Process, ReplicationSet, wait_until

SECRET = "p@ss:/w%rd#?&'\"{{ }}\\ with space"
SETTINGS: dict[str, Any] = {
    "maxmemory": "512mb",
    "maxmemory-policy": "volatile-ttl",
    "appendonly": True,
    "appendfsync": "everysec",
    "save": ["3600 1", "300 100"],
    "bind": ["127.0.0.1"],
    "client-output-buffer-limit": ["pubsub 256mb 64mb 60", "replica 512mb 128mb 60"],
    "notify-keyspace-events": "xE$",
    "latency-tracking-info-percentiles": "50 99.0 99.9",
    "oom-score-adj-values": [0, 200, 800],
    "repl-backlog-size": "1500kb",
    "tls-protocols": "TLSv1.3 TLSv1.2",
    "proc-title-template": '{title} "quoted" {server-mode}',
    "tcp-keepalive": 60,
    "slowlog-log-slower-than": -1,
    "tcp-backlog": 100,
}
ALREADY_SO = {"appendfsync", "bind", "latency-tracking-info-percentiles", "oom-score-adj-values"}
LIVE = sorted(SETTINGS.keys() - ALREADY_SO - {"tcp-backlog"})


@pytest.fixture
def manage(redis_server: Any, run_on_host: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    def run(settings: dict[str, Any] | None = None, **arguments: Any) -> dict[str, Any]:
        wanted = {
            "path": str(redis_server.settings_file),
            "unix_socket": str(redis_server.socket),
            "settings": SETTINGS if settings is None else settings,
            **arguments,
        }
        return run_on_host("redis_config", **wanted)

    return run


def served_certificate(port: int) -> str:
    return ssl.get_server_certificate(("127.0.0.1", port))


def test_the_first_run_changes_and_the_second_does_not(redis_server: Any, manage: Any) -> None:
    first = manage()
    assert (first["changed"], first["live"]) == (True, True)
    assert first["changed_settings"] == LIVE
    assert first["restart_required"] == ["tcp-backlog"]
    assert first["settings"]["maxmemory"] == "512mb"
    live = redis_server.settings("maxmemory", "save", "appendonly", "tcp-keepalive")
    assert live == {
        "maxmemory": str(512 * 1024**2),
        "save": "3600 1 300 100",
        "appendonly": "yes",
        "tcp-keepalive": "60",
    }
    assert redis_server.settings_file.stat().st_mode & 0o777 == 0o640
    second = manage()
    assert (second["changed"], second["changed_settings"], second["diff"]) == (False, [], second["diff"])
    assert second["restart_required"] == ["tcp-backlog"]


def test_the_file_makes_the_next_start_what_the_live_change_made_of_this_one(redis_server: Any, manage: Any) -> None:
    manage(secret_settings={"masterauth": SECRET})
    before = redis_server.settings(*sorted(SETTINGS), "masterauth")
    redis_server.restart(save="900 1", maxmemory="1mb")
    after = redis_server.settings(*sorted(SETTINGS), "masterauth")
    assert after == before | {"tcp-backlog": "100", "tls-protocols": "TLSv1.3 TLSv1.2"}
    result = manage(secret_settings={"masterauth": SECRET})
    assert (result["changed"], result["restart_required"]) == (False, [])


def test_check_mode_predicts_and_changes_nothing(redis_server: Any, manage: Any) -> None:
    before = redis_server.settings(*sorted(SETTINGS))
    predicted = manage(check_mode=True)
    assert redis_server.settings(*sorted(SETTINGS)) == before
    assert not redis_server.settings_file.exists()
    done = manage()
    same = ("changed", "changed_settings", "restart_required", "settings", "diff")
    assert {key: predicted[key] for key in same} == {key: done[key] for key in same}


def test_the_prediction_of_what_needs_a_restart_is_what_the_server_says(manage: Any) -> None:
    fixed = {
        "databases": 4,
        "dir": "/",
        "dbfilename": "other.rdb",
        "enable-debug-command": "local",
        "io-threads": 2,
        "logfile": "/dev/null",
        "unixsocketperm": 770,
    }
    predicted = manage(fixed, check_mode=True)["restart_required"]
    assert predicted == sorted(fixed)
    assert manage(fixed)["restart_required"] == predicted


def test_settings_changed_by_hand_are_put_back(redis_server: Any, manage: Any) -> None:
    manage()
    admin = redis_server.client()
    admin.config_set("maxmemory", "1mb")
    admin.config_set("client-output-buffer-limit", "pubsub 0 0 0")
    admin.config_set("save", "1 1")
    result = manage()
    assert result["changed_settings"] == ["client-output-buffer-limit", "maxmemory", "save"]
    live, _backlog = result["diff"][-1]["before"].splitlines()[1:3], None
    assert live == ["maxmemory 1048576", "save 1 1"]
    assert "appendonly" not in json.dumps(result["diff"])
    assert not manage()["changed"]


def test_a_file_changed_by_hand_is_put_back(redis_server: Any, manage: Any) -> None:
    manage()
    wanted = redis_server.settings_file.read_text()
    redis_server.settings_file.write_text(wanted + "requirepass something\n")
    redis_server.settings_file.chmod(0o600)
    result = manage()
    assert (result["changed"], result["changed_settings"]) == (True, [])
    assert redis_server.settings_file.read_text() == wanted
    assert redis_server.settings_file.stat().st_mode & 0o777 == 0o640
    assert "something" not in json.dumps(result)
    redis_server.settings_file.chmod(0o644)
    assert manage(check_mode=True)["changed"]
    assert redis_server.settings_file.stat().st_mode & 0o777 == 0o644
    assert manage()["changed"]


@pytest.mark.parametrize("left_over", ["file", "server"])
def test_a_half_finished_run_is_finished(redis_server: Any, manage: Any, left_over: str) -> None:
    manage()
    if left_over == "file":
        redis_server.client().config_set("maxmemory", "0")
    else:
        redis_server.settings_file.unlink()
    assert manage()["changed"]
    assert redis_server.settings("maxmemory") == {"maxmemory": str(512 * 1024**2)}
    assert "maxmemory 512mb\n" in redis_server.settings_file.read_text()
    assert not manage()["changed"]


def test_a_secret_is_applied_and_never_shown(redis_server: Any, manage: Any) -> None:
    redis_server.client().config_set("masterauth", "the old secret")
    for result in (
        manage({}, secret_settings={"masterauth": SECRET}, check_mode=True),
        manage({}, secret_settings={"masterauth": SECRET}),
    ):
        printed = json.dumps(result)
        assert result["changed_settings"] == ["masterauth"]
        assert "masterauth ********" in printed
        for secret in (json.dumps(SECRET)[1:-1], "p@ss", "the old secret"):
            assert secret not in printed
    assert redis_server.settings("masterauth") == {"masterauth": SECRET}
    assert not manage({}, secret_settings={"masterauth": SECRET})["changed"]


def test_a_secret_among_the_plain_settings_is_refused(manage: Any) -> None:
    result = manage({"requirepass": "not to be seen"})
    assert result["msg"] == "settings must not have the secret requirepass: it belongs into secret_settings."
    assert "not to be seen" not in json.dumps(result)


def test_an_unknown_directive_is_named_before_anything_changes(redis_server: Any, manage: Any) -> None:
    result = manage({"maxmemory": "9mb", "maxmemroy": "9mb"})
    assert result["failed"]
    assert "does not know the directive maxmemroy, which stands in settings." in result["msg"]
    assert redis_server.settings("maxmemory") == {"maxmemory": "0"}
    assert not redis_server.settings_file.exists()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"maxmemory-policy": "all"}, "settings.maxmemory-policy is refused by "),
        ({"hz": "many"}, "settings.hz is refused by "),
        ({"tls-cert-file": "/nowhere"}, "settings.tls-cert-file is refused by "),
        ({"save": "3600"}, "settings.save needs 2 words for each entry and has 1 in all."),
        ({"user": "x on"}, "settings must not have the directive user: users belong into redis_acl."),
        ({"replicaof": "a 1"}, "settings must not have the directive replicaof: it is the server's own state"),
        ({"hz": {"a": 1}}, "settings.hz must be a text, a number, a boolean or a list of these."),
        ({"hz": "10\nuser x on"}, "settings.hz has a control character"),
        ({"bad name": 1}, "settings has the directive 'bad name'"),
        ({"HZ": 1, "hz": 1}, "settings has the directive hz twice."),
        ({"maxmemory": "0%"}, "settings.maxmemory is 0%: a share of the host's memory is between 1% and 100%."),
    ],
)
def test_what_cannot_be_right_changes_neither_server_nor_file(
    redis_server: Any, manage: Any, settings: dict[str, Any], sentence: str
) -> None:
    result = manage({"maxclients": 321, "tcp-backlog": 99, **settings})
    assert result["failed"]
    assert result["msg"].startswith(sentence)
    assert redis_server.settings("maxclients", "hz") == {"maxclients": "10000", "hz": "10"}
    assert os.listdir(redis_server.directory).count("managed.conf") == 0
    assert not [name for name in os.listdir(redis_server.directory) if name.startswith(".ansible")]


def test_a_file_that_cannot_be_put_in_place_takes_the_server_back(
    redis_server: Any, manage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: AnsibleModule, _source: str, _target: str) -> None:
        self.fail_json(msg="The disk is gone.")

    monkeypatch.setattr(AnsibleModule, "atomic_move", broken)
    result = manage({"maxmemory": "77mb"})
    assert result["msg"] == "The disk is gone."
    assert redis_server.settings("maxmemory") == {"maxmemory": "0"}


def test_without_a_server_only_the_file_is_managed(stopped_server: Any, run_on_host: Any, redis_program: Path) -> None:
    arguments = {
        "path": str(stopped_server.settings_file),
        "unix_socket": str(stopped_server.socket),
        "server_binary": str(redis_program),
    }
    refused = run_on_host("redis_config", settings={"maxmemory-policy": "all"}, **arguments)
    assert refused["msg"].startswith("settings.maxmemory-policy is refused by ")
    unknown = run_on_host("redis_config", settings={"maxmemroy": 1}, **arguments)
    assert "does not know the directive maxmemroy" in unknown["msg"]
    assert not stopped_server.settings_file.exists()
    first = run_on_host("redis_config", settings=SETTINGS, **arguments)
    assert (first["changed"], first["live"], first["restart_required"]) == (True, False, [])
    assert first["server_version"]
    assert not run_on_host("redis_config", settings=SETTINGS, **arguments)["changed"]
    stopped_server.start()
    assert not run_on_host("redis_config", settings=SETTINGS, **arguments)["changed"]


def test_before_the_package_is_installed_check_mode_passes(stopped_server: Any, run_on_host: Any) -> None:
    result = run_on_host(
        "redis_config",
        check_mode=True,
        path=str(stopped_server.settings_file),
        unix_socket=str(stopped_server.socket),
        server_binary="/nowhere/redis-server",
        settings=SETTINGS,
    )
    assert (result["changed"], result["live"], result["server_version"]) == (True, False, "")
    assert not stopped_server.settings_file.exists()


def test_a_replaced_certificate_is_served_and_no_connection_drops(
    redis_server: Any, manage: Any, write_certificate: Any
) -> None:
    settings = redis_server.tls_settings
    assert not manage(settings)["tls_reloaded"]
    connection = redis.Redis(
        port=redis_server.port, ssl=True, ssl_cert_reqs="none", ssl_check_hostname=False, single_connection_client=True
    )
    number = connection.client_id()
    before = served_certificate(redis_server.port)
    write_certificate(redis_server.directory, "server")
    predicted = manage(settings, check_mode=True)
    assert (predicted["changed"], predicted["tls_reloaded"]) == (True, True)
    assert served_certificate(redis_server.port) == before
    result = manage(settings)
    assert (result["changed"], result["tls_reloaded"], result["changed_settings"]) == (True, True, [])
    assert served_certificate(redis_server.port) == (redis_server.directory / "server.crt").read_text()
    assert connection.client_id() == number
    assert not manage(settings)["changed"]
    assert manage(settings, reload_tls=True)["tls_reloaded"]


def test_a_key_that_does_not_fit_leaves_the_old_certificate(
    redis_server: Any, manage: Any, write_certificate: Any
) -> None:
    before = served_certificate(redis_server.port)
    write_certificate(redis_server.directory, "other")
    settings = {**redis_server.tls_settings, "tls-key-file": str(redis_server.directory / "other.key")}
    result = manage(settings)
    assert result["failed"]
    assert result["msg"].startswith("settings.tls-key-file is refused by ") or "tls-" in result["msg"]
    assert served_certificate(redis_server.port) == before
    assert redis_server.settings("tls-key-file")["tls-key-file"].endswith("server.key")


def test_the_network_way_verifies_the_server(redis_server: Any, run_on_host: Any, write_certificate: Any) -> None:
    arguments = {
        "path": str(redis_server.settings_file),
        "login_host": "localhost",
        "login_port": redis_server.port,
        "settings": {"hz": 11},
    }
    trusted = run_on_host("redis_config", ca_file=str(redis_server.directory / "server.crt"), **arguments)
    assert trusted["changed_settings"] == ["hz"]
    write_certificate(redis_server.directory, "stranger")
    refused = run_on_host("redis_config", ca_file=str(redis_server.directory / "stranger.crt"), **arguments)
    assert "CERTIFICATE_VERIFY_FAILED" in refused["msg"].upper().replace(" ", "_")
    unknown = run_on_host("redis_config", **{**arguments, "login_host": "no-such-host.invalid"})
    assert unknown["msg"].startswith("The name no-such-host.invalid (login_host) cannot be resolved")


def test_refused_logins_are_one_sentence(redis_server: Any, manage: Any) -> None:
    admin = redis_server.client()
    admin.execute_command("ACL", "SETUSER", "small", "on", ">small password", "+ping")
    admin.execute_command("ACL", "SETUSER", "boss", "on", ">boss password", "+@all", "~*", "&*")
    admin.execute_command("ACL", "SETUSER", "default", "off")
    assert manage()["msg"] == (
        f"The server at {redis_server.socket} wants a login before INFO: set login_user and login_password."
    )
    wrong = manage(login_user="boss", login_password="wrong one", login_previous_password="wrong two")
    assert wrong["msg"] == (
        f"The server at {redis_server.socket} refused user boss (login_user) "
        "with login_password and login_previous_password."
    )
    small = manage(login_user="small", login_password="small password")
    assert small["msg"].startswith(f"The server at {redis_server.socket} does not let login_user run INFO")
    assert manage(login_user="boss", login_password="x", login_previous_password="boss password")["changed"]


def test_a_server_that_hangs_is_one_sentence(redis_server: Any, manage: Any) -> None:
    os.kill(redis_server.pid, signal.SIGSTOP)
    try:
        result = manage(login_timeout=0.5)
    finally:
        os.kill(redis_server.pid, signal.SIGCONT)
    assert (
        result["msg"] == f"The server at {redis_server.socket} did not answer INFO within 0.5 seconds (login_timeout)."
    )


def test_a_missing_library_is_one_sentence(manage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    result = manage()
    assert result["msg"].endswith("has no library redis: install the package python3-redis on this host.")


def fill(server: Any, keys: int) -> None:
    client = server.client()
    for number in range(keys):
        client.set(f"key{number}", "x" * 2000)
    client.save()


def test_a_server_that_loads_its_data_is_waited_for(redis_server: Any, manage: Any, wait_until: Any) -> None:
    fill(redis_server, 30)
    redis_server.kill()
    redis_server.start(wait=False, key_load_delay="40000", loading_process_events_interval_bytes="1024")
    wait_until(redis_server.socket.exists)
    impatient = manage(loading_timeout=0)
    assert impatient["msg"].endswith("was still loading its data after 0 seconds (loading_timeout).")
    patient = manage()
    assert patient["changed_settings"] == LIVE
    assert redis_server.client().dbsize() == 30


def test_a_server_that_refuses_writes_is_managed_all_the_same(redis_server: Any, manage: Any, wait_until: Any) -> None:
    admin = redis_server.client()
    admin.config_set("save", "3600 1")
    blocker = redis_server.directory / "dump.rdb"
    blocker.mkdir()
    admin.set("a", 1)
    admin.bgsave()
    wait_until(lambda: admin.info("persistence")["rdb_last_bgsave_status"] == "err")
    with pytest.raises(redis.ResponseError, match="MISCONF"):
        admin.set("b", 1)
    assert manage({"maxmemory": "55mb"})["changed_settings"] == ["maxmemory"]


# --- Replication -----------------------------------------------------------------------------------------------------

REPLICATION: dict[str, Any] = {
    "masteruser": "replica",
    "replica-announce-ip": "localhost",
    "replica-announce-port": 6379,
    "min-replicas-to-write": 1,
    "min-replicas-max-lag": 3,
    "repl-backlog-size": "64mb",
    "repl-backlog-ttl": 0,
    "repl-diskless-sync": False,
    "repl-diskless-sync-delay": 2,
    "repl-diskless-load": "on-empty-db",
    "repl-ping-replica-period": 2,
    "repl-timeout": 30,
    "repl-disable-tcp-nodelay": True,
    "replica-priority": 50,
    "replica-serve-stale-data": False,
    "replica-read-only": True,
    "tls-replication": True,
}


@pytest.fixture
def pair(redis_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicationSet]:
    """A primary and its replica."""
    with ReplicationSet(tmp_path_factory.mktemp("pair"), redis_program, nodes=2, sentinels=0) as deployed:
        yield deployed


def on(run_on_host: Callable[..., dict[str, Any]], node: Process, tmp_path: Path, **arguments: Any) -> dict[str, Any]:
    return run_on_host(
        "redis_config",
        path=str(tmp_path / f"{node.directory.name}.conf"),
        unix_socket=str(node.socket),
        login_user="admin",
        login_password=node.admin_password,
        server_binary=str(node.program),
        **arguments,
    )


def test_replication_is_kept_on_a_primary_and_on_its_replica_alike(
    pair: ReplicationSet, run_on_host: Any, tmp_path: Path
) -> None:
    secret = {"masterauth": pair.passwords["replica"]}
    already = {"masteruser", "replica-announce-ip", "repl-diskless-load", "replica-read-only", "tls-replication"}
    for node in pair.nodes:
        settings = {**REPLICATION, "replica-announce-port": node.port}
        pid, role = node.pid, node.information()["role"]
        predicted = on(run_on_host, node, tmp_path, settings=settings, secret_settings=secret, check_mode=True)
        result = on(run_on_host, node, tmp_path, settings=settings, secret_settings=secret)
        changed = set(result["changed_settings"])
        assert REPLICATION.keys() - changed - {"repl-diskless-load"} == already - {"repl-diskless-load"} | {
            "replica-announce-port"
        }
        assert predicted["changed_settings"] == result["changed_settings"]
        assert result["restart_required"] == []
        again = on(run_on_host, node, tmp_path, settings=settings, secret_settings=secret)
        assert (again["changed"], again["diff"]) == (False, [])
        assert (node.pid, node.information()["role"]) == (pid, role)
        assert not re.search("replicaof|slaveof", (tmp_path / f"{node.directory.name}.conf").read_text())
    assert pair.link_is_up(pair.nodes[1])


def test_the_password_of_the_link_is_rotated_and_never_shown(
    pair: ReplicationSet, run_on_host: Any, tmp_path: Path
) -> None:
    primary, replica = pair.nodes
    primary.call("ACL", "SETUSER", "replica", f">{SECRET}")
    arguments = {"settings": {"masteruser": "replica"}, "secret_settings": {"masterauth": SECRET}}
    result = on(run_on_host, replica, tmp_path, **arguments)
    assert result["changed_settings"] == ["masterauth"]
    printed = json.dumps(result)
    for secret in (SECRET, pair.passwords["replica"]):
        assert json.dumps(secret)[1:-1] not in printed
    assert "masterauth ********" in printed
    primary.call("ACL", "SETUSER", "replica", "<" + pair.passwords["replica"])
    before = int(primary.information()["sync_partial_ok"])
    primary.call("CLIENT", "KILL", "TYPE", "replica")
    wait_until(lambda: int(primary.information()["sync_partial_ok"]) > before, "The login with the new password")
    wait_until(lambda: pair.link_is_up(replica), "The link with the new password")
    assert not on(run_on_host, replica, tmp_path, **arguments)["changed"]


def test_drift_on_a_replica_is_put_back_and_it_stays_one(
    pair: ReplicationSet, run_on_host: Any, tmp_path: Path
) -> None:
    replica = pair.nodes[1]
    settings = {"masteruser": "replica", "replica-priority": 100, "min-replicas-to-write": 0}
    on(run_on_host, replica, tmp_path, settings=settings)
    replica.call("CONFIG", "SET", "masteruser", "nobody", "replica-priority", "0", "min-replicas-to-write", "5")
    result = on(run_on_host, replica, tmp_path, settings=settings)
    assert result["changed_settings"] == sorted(settings)
    assert pair.link_is_up(replica)


def test_a_replica_that_lost_its_primary_can_be_kept(pair: ReplicationSet, run_on_host: Any, tmp_path: Path) -> None:
    """It serves no data meanwhile, and still answers to the administrator."""
    primary, replica = pair.nodes
    on(run_on_host, replica, tmp_path, settings={"replica-serve-stale-data": False})
    primary.kill()
    wait_until(lambda: not pair.link_is_up(replica), "The end of the link")
    result = on(run_on_host, replica, tmp_path, settings={"replica-serve-stale-data": False, "repl-timeout": 30})
    assert result["changed_settings"] == ["repl-timeout"]


def test_valkey_names_the_login_of_the_link_in_its_own_way(
    pair: ReplicationSet, run_on_host: Any, tmp_path: Path
) -> None:
    replica = pair.nodes[1]
    arguments = {"settings": {"primaryuser": "other"}, "secret_settings": {"primaryauth": SECRET}}
    result = on(run_on_host, replica, tmp_path, **arguments)
    if "valkey" not in replica.program.resolve().name:
        assert "does not know the directive primaryauth, which stands in secret_settings." in result["msg"]
        assert json.dumps(SECRET)[1:-1] not in json.dumps(result)
        return
    assert result["changed_settings"] == ["primaryauth", "primaryuser"]
    assert not on(run_on_host, replica, tmp_path, **arguments)["changed"]
    plain = on(run_on_host, replica, tmp_path, settings={"primaryauth": SECRET})
    assert plain["msg"] == "settings must not have the secret primaryauth: it belongs into secret_settings."
