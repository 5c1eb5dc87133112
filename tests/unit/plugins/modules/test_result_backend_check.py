# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module against real servers: it passes where a worker could work, and names the class where it could not."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _backend
from ansible_collections.resultops.celery.plugins.module_utils import _celery_client as client
from ansible_collections.resultops.celery.plugins.modules import result_backend_check as check
from ansible_collections.resultops.celery.tests.unit.replication_set import HOST, ReplicationSet

MODULE = "result_backend_check"
STEPS = ["store", "wait", "chord", "expire"]
TIMEOUT = 2.0


def run_with(settings: Any, *, check_mode: bool = False, **changes: Any) -> client.CheckRun:
    run = client.CheckRun("redis")
    wanted = {"serializers": [], "checks": STEPS, **changes}
    check.run_checks(run, check.BackendProbe(settings, TIMEOUT), wanted, check_mode)
    return run


def outcome(run: client.CheckRun) -> list[tuple[str, str]]:
    """The failed checks with their classes."""
    return [(row["check"], row["failure_class"]) for row in run.failures]


def statuses(run: client.CheckRun) -> dict[str, str]:
    return {row["check"]: row["status"] for row in run.rows}


def test_everything_works_with_the_deployed_rules_and_nothing_is_left(celery_redis: Any, worker_settings: Any) -> None:
    celery_redis.admin.execute_command("ACL", "LOG", "RESET")
    run = run_with(worker_settings(celery_redis))
    assert run.failures == []
    assert [row["check"] for row in run.rows] == [
        *("dns", "tcp", "tls", "auth", "store_json", "read_json", "wait_json", "chord", "expire", "delete"),
    ]
    assert set(statuses(run).values()) == {"passed"}
    assert celery_redis.admin.dbsize() == 0
    denied = {entry["object"] for entry in celery_redis.admin.execute_command("ACL", "LOG")}
    # redis-py says who it is and asks for notices at each connection, and accepts a refusal.
    assert denied <= {"client|setinfo", "client|maint_notifications"}


def test_a_key_prefix_outside_the_rules_is_refused(celery_redis: Any, worker_settings: Any) -> None:
    options = {"global_keyprefix": "foreign"}
    run = run_with(worker_settings(celery_redis, result_backend_transport_options=options))
    assert outcome(run)[0] == ("store_json", "acl")


def test_a_name_that_does_not_resolve(celery_redis: Any, worker_settings: Any) -> None:
    run = run_with(worker_settings(celery_redis, result_backend=celery_redis.url(hosts=["nowhere.invalid"])))
    assert outcome(run) == [("dns", "dns")]
    assert set(statuses(run).values()) == {"failed", "skipped"}


def test_a_closed_port(celery_redis: Any, worker_settings: Any, free_port: Callable[[], int]) -> None:
    run = run_with(worker_settings(celery_redis, result_backend=celery_redis.url(port=free_port())))
    assert outcome(run) == [("tcp", "refused")]


def test_another_authority(celery_redis: Any, worker_settings: Any, other_authority: Any) -> None:
    url = celery_redis.url(ca_file=str(other_authority.certificate))
    run = run_with(worker_settings(celery_redis, result_backend=url))
    assert outcome(run) == [("tls", "tls")]
    assert "The CA file does not belong" in run.failures[0]["detail"]


def test_a_missing_ca_file(celery_redis: Any, worker_settings: Any) -> None:
    run = run_with(worker_settings(celery_redis, result_backend=celery_redis.url(ca_file="/nowhere/ca.crt")))
    assert outcome(run) == [("tls", "config")]
    assert "/nowhere/ca.crt" in run.failures[0]["detail"]


def test_a_certificate_for_another_name(
    celery_redis_factory: Callable[..., Any], celery_authority: Any, worker_settings: Any
) -> None:
    server = celery_redis_factory(celery_authority.issue("other.example.org"))
    run = run_with(worker_settings(server))
    assert outcome(run) == [("tls", "tls")]
    assert "for the name" in run.failures[0]["detail"]


def test_an_expired_certificate(
    celery_redis_factory: Callable[..., Any], celery_authority: Any, worker_settings: Any
) -> None:
    server = celery_redis_factory(celery_authority.issue("localhost", days=-1))
    run = run_with(worker_settings(server))
    assert outcome(run) == [("tls", "tls")]
    assert "Renew the certificate" in run.failures[0]["detail"]


def test_tls_on_a_plaintext_port(
    celery_redis_factory: Callable[..., Any], celery_authority: Any, worker_settings: Any
) -> None:
    server = celery_redis_factory(tls=False)
    url = server.url(tls=True, ca_file=str(celery_authority.certificate))
    assert outcome(run_with(worker_settings(server, result_backend=url))) == [("tls", "tls")]


def test_plaintext_on_a_tls_port(celery_redis: Any, worker_settings: Any) -> None:
    run = run_with(worker_settings(celery_redis, result_backend=celery_redis.url(tls=False, ca_file="")))
    assert outcome(run) == [("tls", "tls")]
    assert "rediss://" in run.failures[0]["detail"]


def test_plaintext_works_where_it_is_wanted(celery_redis_factory: Callable[..., Any], worker_settings: Any) -> None:
    run = run_with(worker_settings(celery_redis_factory(tls=False)))
    assert run.failures == []
    assert "not encrypted" in next(row["detail"] for row in run.rows if row["check"] == "tls")


def test_a_name_that_is_not_verified(celery_redis: Any, worker_settings: Any) -> None:
    url = celery_redis.url().replace("ssl_check_hostname=true", "ssl_check_hostname=false")
    assert outcome(run_with(worker_settings(celery_redis, result_backend=url))) == [("tls", "tls")]


def test_a_server_that_hangs(celery_redis: Any, worker_settings: Any) -> None:
    celery_redis.send(signal.SIGSTOP)
    try:
        run = run_with(worker_settings(celery_redis))
    finally:
        celery_redis.send(signal.SIGCONT)
    assert outcome(run) == [("tls", "timeout")]
    assert sum(row["seconds"] for row in run.rows) < 3 * TIMEOUT


@pytest.mark.parametrize("wrong", [{"password": "not this one"}, {"username": "nobody"}], ids=["password", "user"])
def test_wrong_credentials(celery_redis: Any, worker_settings: Any, wrong: dict[str, Any]) -> None:
    run = run_with(worker_settings(celery_redis, result_backend=celery_redis.url(**wrong)))
    assert outcome(run) == [("auth", "auth")]


@pytest.mark.parametrize(
    ("right", "failed"),
    [
        ("ping", "auth"),
        ("setex", "store_json"),
        ("publish", "store_json"),
        ("get", "store_json"),
        ("subscribe", "wait_json"),
        ("evalsha", "chord"),
        ("script|load", "chord"),
        ("zadd", "chord"),
        ("zrange", "chord"),
        ("exists", "delete"),
        ("incrby", "chord"),
        ("expire", "chord"),
        ("del", "chord"),
    ],
)
def test_a_missing_right(celery_redis: Any, worker_settings: Any, right: str, failed: str) -> None:
    celery_redis.admin.execute_command("ACL", "SETUSER", "celery", f"-{right}")
    celery_redis.admin.execute_command("SCRIPT", "FLUSH")
    run = run_with(worker_settings(celery_redis))
    assert outcome(run)[0] == (failed, "acl")
    if right not in ("del", "exists"):
        assert celery_redis.admin.dbsize() == 0


def test_a_missing_channel(celery_redis: Any, worker_settings: Any) -> None:
    celery_redis.admin.execute_command("ACL", "SETUSER", "celery", "resetchannels")
    assert outcome(run_with(worker_settings(celery_redis)))[0] == ("store_json", "acl")


def test_no_memory(celery_redis: Any, worker_settings: Any) -> None:
    celery_redis.admin.config_set("maxmemory", "1")
    run = run_with(worker_settings(celery_redis))
    assert outcome(run) == [("store_json", "oom")]
    assert statuses(run)["chord"] == "skipped"
    assert statuses(run)["delete"] == "passed"


def test_a_replica(celery_redis: Any, worker_settings: Any, free_port: Callable[[], int]) -> None:
    celery_redis.admin.execute_command("REPLICAOF", "127.0.0.1", str(free_port()))
    run = run_with(worker_settings(celery_redis))
    assert outcome(run)[0] == ("store_json", "read_only")


def test_too_few_replicas(celery_redis: Any, worker_settings: Any) -> None:
    celery_redis.admin.config_set("min-replicas-to-write", "1")
    try:
        run = run_with(worker_settings(celery_redis))
    finally:
        celery_redis.admin.config_set("min-replicas-to-write", "0")
    assert outcome(run)[0] == ("store_json", "replicas")


def test_a_serializer_that_readers_do_not_accept(celery_redis: Any, worker_settings: Any) -> None:
    settings = worker_settings(celery_redis, result_serializer="pickle", result_accept_content=["json"])
    run = run_with(settings)
    assert outcome(run) == [("read_pickle", "serializer"), ("wait_pickle", "serializer"), ("chord", "serializer")]
    assert celery_redis.admin.dbsize() == 0


def test_a_serializer_that_is_not_installed_leaves_the_others_alone(celery_redis: Any, worker_settings: Any) -> None:
    run = run_with(worker_settings(celery_redis), serializers=["nothing", "json"])
    assert outcome(run) == [("store_nothing", "serializer")]
    assert statuses(run)["read_nothing"] == "skipped"
    assert statuses(run)["read_json"] == "passed"


def test_results_that_never_expire(celery_redis: Any, worker_settings: Any) -> None:
    run = run_with(worker_settings(celery_redis, result_expires=0), checks=["expire"])
    assert outcome(run) == [("expire", "config")]


def test_check_mode_stores_nothing(celery_redis: Any, worker_settings: Any) -> None:
    celery_redis.admin.config_resetstat()
    run = run_with(worker_settings(celery_redis), check_mode=True)
    assert run.failures == []
    assert statuses(run)["auth"] == "passed"
    assert statuses(run)["store_json"] == "skipped"
    assert "cmdstat_setex" not in celery_redis.admin.info("commandstats")


# The whole way: Ansible runs the module with the worker's files.


def test_ansible_runs_all_checks_and_prints_no_secret(celery_redis: Any, worker_files: Any, run_module: Any) -> None:
    worker_files.write(celery_redis)
    found, printed = run_module(MODULE)
    assert found["failed"] is False
    assert found["failed_checks"] == 0
    assert found["checks"][0]["check"] == "config"
    assert {row["status"] for row in found["checks"]} == {"passed"}
    assert {row["backend"] for row in found["checks"]} == {"redis"}
    for secret in worker_files.secrets:
        assert secret not in printed
        assert quote(secret, safe="") not in printed


def test_ansible_fails_with_one_sentence(celery_redis: Any, worker_files: Any, run_module: Any) -> None:
    worker_files.write(celery_redis)
    celery_redis.admin.execute_command("ACL", "SETUSER", "celery", "-setex")
    found, _printed = run_module(MODULE, checks=["store"])
    assert found["failed"] is True
    assert found["msg"].startswith("store_json failed (acl): NoPermissionError")
    assert found["failed_checks"] == 1
    reported, _printed = run_module(MODULE, checks=["store"], report_only=True)
    assert reported["failed"] is False
    assert reported["failed_checks"] == 1


def test_ansible_check_mode(celery_redis: Any, worker_files: Any, run_module: Any) -> None:
    worker_files.write(celery_redis)
    found, _printed = run_module(MODULE, "--check")
    assert [row["status"] for row in found["checks"]] == ["passed"] * 5 + ["skipped"] * 6


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda files: Path(files.env_file).unlink(), "cannot be read by this user (No such file or directory)"),
        (lambda files: Path(files.env_file).write_text("NOTHING=1\n"), "KeyError"),
        (lambda files: (files.directory / "celeryconfig.py").write_text("=\n"), "SyntaxError"),
        (lambda files: (files.directory / "celeryconfig.py").write_text(""), "mongodb"),
    ],
    ids=["no file", "no variable", "no Python", "another kind"],
)
def test_a_broken_configuration(
    celery_redis: Any, worker_files: Any, run_module: Any, spoil: Callable[[Any], object], said: str
) -> None:
    worker_files.write(celery_redis, CELERY_RESULT_BACKEND="mongodb://localhost/results")
    spoil(worker_files)
    found, _printed = run_module(MODULE, report_only=True)
    assert found["checks"][0]["failure_class"] == "config"
    assert said in found["checks"][0]["detail"]
    assert {row["status"] for row in found["checks"][1:]} == {"skipped"}


# Behind sentinels, and with the classes of the profiles.


@pytest.fixture(autouse=True)
def backend_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory that holds celeryresults.py, as beside a deployed celeryconfig.py."""
    monkeypatch.syspath_prepend(str(Path(check.__file__).parents[2] / "roles" / "worker" / "files"))


def behind_sentinels(deployed: ReplicationSet, profile: str, **changes: Any) -> Any:
    described = {
        "kind": "sentinel",
        "profile": profile,
        "hosts": [f"s{number}" for number in range(len(deployed.sentinels))],
        "username": "celery",
        "sentinel_username": "client",
        **deployed.tls,
    }
    url = _backend.backend_url(described, deployed.passwords["celery"])
    for number, sentinel in enumerate(deployed.sentinels):
        url = url.replace(f"s{number}:26379", f"{HOST}:{sentinel.port}")
    return SimpleNamespace(**{**_backend.celery_settings(described), "result_backend": url, **changes})


@pytest.fixture
def watched(replication_set: ReplicationSet, monkeypatch: pytest.MonkeyPatch) -> ReplicationSet:
    monkeypatch.setenv("CELERY_SENTINEL_PASSWORD", replication_set.passwords["client"])
    return replication_set


def outcomes_of(settings: Any) -> list[tuple[str, str]]:
    return outcome(run_with(settings, checks=["store"]))


def test_behind_sentinels(watched: ReplicationSet) -> None:
    """All that needs a set with its sentinels, in one test, because that takes seconds to start."""
    for profile in ("fast", "durable"):
        run = run_with(behind_sentinels(watched, profile))
        assert run.failures == []
        assert [row["check"] for row in run.rows][:9] == [*check.SENTINEL_CHECKS, *check.CONNECTION_CHECKS]
        details = {row["check"]: row["detail"] for row in run.rows}
        assert details["primary"] == f"3 of 3 sentinels name {HOST} port {watched.primary.port} for results."
        assert "chain and host name verified" in details["sentinel_tls"]
    settings = behind_sentinels(watched, "durable")
    options = settings.result_backend_transport_options

    def with_sentinels(**changes: Any) -> Any:
        changed = {**options, "sentinel_kwargs": {**options["sentinel_kwargs"], **changes}}
        return behind_sentinels(watched, "durable", result_backend_transport_options=changed)

    assert outcomes_of(with_sentinels(password="wrong")) == [("sentinel_auth", "auth")]
    assert outcomes_of(with_sentinels(ssl_ca_certs="/nowhere")) == [("sentinel_tls", "config")]
    unknown = {**options, "master_name": "nope"}
    renamed = behind_sentinels(watched, "durable", result_backend_transport_options=unknown)
    assert outcomes_of(renamed) == [("primary", "no_primary")]
    lost = settings.result_backend.replace(f"{HOST}:{watched.sentinels[1].port}", "nowhere.invalid:1")
    run = run_with(behind_sentinels(watched, "durable", result_backend=lost), checks=["store"])
    assert run.failures == []
    assert "nowhere.invalid does not work" in run.rows[1]["detail"]
    for node in watched.nodes[1:]:
        node.hang()
    assert outcomes_of(settings)[0] == ("store_json", "replicas")
    watched.nodes[0].hang()
    down = run_with(settings, checks=["store"])
    while down.failures[0]["check"] != "primary":
        down = run_with(settings, checks=["store"])
    assert down.failures[0]["failure_class"] == "no_primary"
    assert "is down" in down.failures[0]["detail"]
    for sentinel in watched.sentinels:
        sentinel.kill()
    assert outcomes_of(settings) == [("sentinel_tcp", "refused")]


def test_a_single_server_with_the_fast_profile(celery_redis: Any, worker_settings: Any) -> None:
    described = celery_redis.description(profile="fast")
    settings = worker_settings(
        celery_redis, **_backend.celery_settings(described), result_backend=celery_redis.url(profile="fast")
    )
    assert run_with(settings).failures == []
