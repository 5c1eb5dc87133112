# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result backends against real servers with the deployed accounts, beside Celery's own on the same results."""

from __future__ import annotations

import importlib.util
import itertools
import os
import signal
import socket
import ssl
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from ansible_collections.resultops.celery.plugins.module_utils import _backend
from ansible_collections.resultops.celery.tests.unit.replication_set import HOST, ReplicationSet
from celery import Celery, chord, group, states
from celery.contrib.testing.worker import start_worker
from celery.exceptions import BackendStoreError, ImproperlyConfigured
from celery.result import GroupResult

SOURCE = Path(__file__).resolve().parents[3] / "roles" / "worker" / "files" / "celeryresults.py"
ONCE = {"result_backend_always_retry": False}
VALUE = {"text": "résumé ✓", "numbers": [1, 2.5, None, True], "nested": {"list": [[], {}]}}


def load() -> types.ModuleType:
    """Import the module under the name by which the settings find it."""
    spec = importlib.util.spec_from_file_location("celeryresults", SOURCE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["celeryresults"] = module
    spec.loader.exec_module(module)
    return module


results = load()


def description(deployed: ReplicationSet, profile: str, kind: str, **changes: Any) -> dict[str, Any]:
    sentinels = {
        "hosts": [f"sentinel{number}" for number in range(len(deployed.sentinels))],
        "sentinel_username": "client",
    }
    node = {"hosts": [HOST], "port": deployed.nodes[0].port}
    return {
        "kind": kind,
        "profile": profile,
        "username": "celery",
        **deployed.tls,
        **(sentinels if kind == "sentinel" else node),
        **changes,
    }


def application(
    deployed: ReplicationSet,
    profile: str = "fast",
    kind: str = "redis",
    options: dict[str, Any] | None = None,
    **changes: Any,
) -> Celery:
    """An application with the settings that the role gives, and changes."""
    described = description(deployed, profile, kind)
    url = _backend.backend_url(described, deployed.passwords["celery"])
    for number, sentinel in enumerate(deployed.sentinels):
        url = url.replace(f"sentinel{number}:26379", f"{HOST}:{sentinel.port}")
    settings = {**_backend.celery_settings(described, options), "result_backend": url, "broker_url": "memory://"}
    if kind == "sentinel" and profile == "stock":
        settings["result_backend_transport_options"]["sentinel_kwargs"]["password"] = deployed.passwords["client"]
    app = Celery("probe", set_as_current=False)
    app.config_from_object(types.SimpleNamespace(**{**settings, **changes}))
    return app


def key_of(task: str) -> str:
    return f"celery-task-meta-{task}"


def until(condition: Callable[[], Any], seconds: float = 15.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"This did not happen within {seconds} s."
        time.sleep(0.02)
    return found


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("CELERY_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def deployed_pair(redis_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicationSet]:
    with ReplicationSet(tmp_path_factory.mktemp("pair"), redis_program, nodes=2, sentinels=0) as deployed:
        yield deployed


@pytest.fixture
def pair(deployed_pair: ReplicationSet) -> Iterator[ReplicationSet]:
    """A primary and its replica; what a test changes live is undone."""
    primary, replica = deployed_pair.nodes
    primary.call("FLUSHALL")
    primary.call("ACL", "LOG", "RESET")
    yield deployed_pair
    replica.go_on()
    primary.go_on()
    primary.call("REPLICAOF", "NO", "ONE")
    primary.call("CONFIG", "SET", "min-replicas-to-write", "0")
    primary.call("CONFIG", "SET", "maxmemory", "0")
    until(lambda: deployed_pair.link_is_up(replica))


@pytest.fixture(scope="module")
def deployed_set(redis_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicationSet]:
    directory = tmp_path_factory.mktemp("set")
    # Sentinel starts no second failover within twice this time.
    with ReplicationSet(directory, redis_program, down_after=2000, failover_timeout=2000) as deployed:
        yield deployed


@pytest.fixture
def behind(deployed_set: ReplicationSet, monkeypatch: pytest.MonkeyPatch) -> Iterator[ReplicationSet]:
    """Three nodes and three sentinels; what a test breaks is healed."""
    monkeypatch.setenv("CELERY_SENTINEL_PASSWORD", deployed_set.passwords["client"])
    primary_of(deployed_set).call("FLUSHALL")
    yield deployed_set
    for process in (*deployed_set.nodes, *deployed_set.sentinels):
        if process.is_running:
            process.go_on()
        else:
            process.start(write_files=False)
    primary_of(deployed_set)
    deployed_set.wait_for_agreement()


def role_of(node: Any) -> str:
    try:
        return str(node.information()["role"])
    except redis.RedisError:
        return ""


def primary_of(deployed: ReplicationSet) -> Any:
    """The only primary, once the old one knows that it is none."""

    def only() -> Any:
        found = [node for node in deployed.nodes if role_of(node) == "master"]
        return found[0] if len(found) == 1 else None

    return until(only, 30)


def denials(deployed: ReplicationSet) -> list[str]:
    running = [process for process in (*deployed.nodes, *deployed.sentinels) if process.is_running]
    return [entry["object"] for process in running for entry in process.client().acl_log()]


# Celery's readers and writers on the same results.

SERIALIZERS = ["json", "msgpack", "pickle", "yaml"]
COMPRESSIONS = [None, "gzip", "zlib", "bzip2", "lzma"]


@pytest.mark.parametrize("profile", ["fast", "durable"])
@pytest.mark.parametrize(("serializer", "compression"), [*itertools.product(SERIALIZERS, COMPRESSIONS)])
def test_every_serializer_and_compression(
    pair: ReplicationSet, profile: str, serializer: str, compression: str | None
) -> None:
    encoding = {
        "result_serializer": serializer,
        "result_accept_content": [serializer],
        "result_compression": compression,
    }
    ours, stock = (application(pair, name, **encoding).backend for name in (profile, "stock"))
    stock.store_result("one", {"pid": 1}, states.STARTED)
    ours.store_result("one", VALUE, states.SUCCESS)
    assert stock.get_task_meta("one", cache=False)["result"] == VALUE
    for late in (ours, stock):
        late.store_result("one", ValueError("late"), states.FAILURE)
        assert stock.get_task_meta("one", cache=False)["status"] == states.SUCCESS
    stock.store_result("two", "first", states.SUCCESS)
    ours.store_result("two", "second", states.SUCCESS)
    assert ours.get_task_meta("two", cache=False)["result"] == "first"
    ours.store_result("three", ValueError("wrong"), states.FAILURE)
    found = stock.get_task_meta("three", cache=False)
    assert found["status"] == states.FAILURE
    assert str(found["result"]) == "wrong"


ZONES = [{}, {"timezone": "Europe/Berlin"}, {"enable_utc": False}, {"timezone": "Asia/Kolkata", "enable_utc": False}]


@pytest.mark.parametrize("extended", [True, False], ids=["extended", "plain"])
@pytest.mark.parametrize("zone", ZONES, ids=str)
@pytest.mark.parametrize("state", [states.SUCCESS, states.FAILURE, states.STARTED, states.REVOKED])
def test_the_payload_is_that_of_celery(pair: ReplicationSet, state: str, zone: dict[str, Any], extended: bool) -> None:
    request = types.SimpleNamespace(group="g", parent_id="p", task="shop.add", args=(1,), kwargs={}, hostname="w")
    request.retries, request.delivery_info, request.children = 0, {"routing_key": "q"}, []
    metas = []
    for name in ("fast", "stock"):
        backend = application(pair, name, result_extended=extended, **zone).backend
        value = ValueError("wrong") if state in states.EXCEPTION_STATES else VALUE
        backend.store_result(name, value, state, traceback="lines", request=request)
        metas.append(backend.decode(backend.get(key_of(name))))
    assert [meta.pop("task_id") for meta in metas] == ["fast", "stock"]
    dates = [meta.pop("date_done") for meta in metas]
    assert metas[0] == metas[1]
    if state in states.READY_STATES:
        one, two = map(datetime.fromisoformat, dates)
        assert timedelta(0) <= two - one < timedelta(seconds=5)
        assert one.utcoffset() == two.utcoffset()
    else:
        assert dates == [None, None]


def test_a_failure_is_replaced_by_a_success(pair: ReplicationSet) -> None:
    backend = application(pair).backend
    for state in (states.STARTED, states.RETRY, states.FAILURE, states.SUCCESS):
        backend.store_result("one", ValueError() if state in states.EXCEPTION_STATES else 1, state)
        assert backend.get_task_meta("one", cache=False)["status"] == state


@pytest.mark.parametrize(
    ("settings", "state", "seconds"),
    [
        ({}, states.SUCCESS, 86400),
        ({"result_expires": 77}, states.SUCCESS, 77),
        ({"result_expires": 77, "result_failure_expires": 55}, states.FAILURE, 55),
        ({"result_expires": 77, "result_failure_expires": 55}, states.SUCCESS, 77),
        ({"result_failure_expires": 0}, states.FAILURE, -1),
        ({"result_expires": 0}, states.SUCCESS, -1),
    ],
)
def test_results_expire_as_celery_expires_them(
    pair: ReplicationSet, settings: dict[str, Any], state: str, seconds: int
) -> None:
    for profile in ("fast", "durable", "stock"):
        value = ValueError() if state == states.FAILURE else 1
        application(pair, profile, **settings).backend.store_result(profile, value, state)
        assert pair.nodes[0].client().ttl(key_of(profile)) == seconds


def test_keys_and_channels_have_the_prefix(pair: ReplicationSet) -> None:
    pair.nodes[0].call("ACL", "SETUSER", "celery", "~shop_*", "&shop_*")
    options = {"global_keyprefix": "shop"}
    ours, stock = (application(pair, name, result_backend_transport_options=options) for name in ("fast", "stock"))
    stock.backend.on_task_call(None, "one")
    ours.backend.store_result("one", 7, states.SUCCESS)
    assert pair.nodes[0].client().keys() == ["shop_celery-task-meta-one"]
    assert stock.AsyncResult("one").get(timeout=5) == 7


@pytest.mark.parametrize("profile", ["fast", "durable"])
def test_a_waiting_client_is_woken(pair: ReplicationSet, profile: str) -> None:
    waiting, storing = application(pair, "stock"), application(pair, profile)
    waiting.backend.on_task_call(None, "awaited")
    threading.Timer(0.2, storing.backend.store_result, ("awaited", VALUE, states.SUCCESS)).start()
    assert waiting.AsyncResult("awaited").get(timeout=5) == VALUE


def test_the_announcement_is_the_result(pair: ReplicationSet) -> None:
    listener = pair.nodes[0].client().pubsub()
    listener.subscribe(key_of("one"))
    listener.get_message(timeout=5)
    application(pair).backend.store_result("one", VALUE, states.SUCCESS)
    message = listener.get_message(timeout=5)
    assert message
    assert message["data"] == pair.nodes[0].client().get(key_of("one"))


def commands(pair: ReplicationSet) -> dict[str, int]:
    statistics = pair.nodes[0].client().info("commandstats")
    return {name.removeprefix("cmdstat_"): found["calls"] for name, found in statistics.items()}


@pytest.mark.parametrize("profile", ["fast", "durable"])
def test_a_store_is_one_round_trip_also_after_started(pair: ReplicationSet, profile: str) -> None:
    backend = application(pair, profile).backend
    backend.store_result("first", 1, states.SUCCESS)
    pair.nodes[0].call("CONFIG", "RESETSTAT")
    backend.store_result("one", {"pid": 1}, states.STARTED)
    backend.store_result("one", 1, states.SUCCESS)
    found = commands(pair)
    assert found["evalsha"] == 2
    assert found.get("wait", 0) == (2 if profile == "durable" else 0)
    assert not {"multi", "exec", "script|load", "hello"} & set(found)


def test_what_is_too_large_is_refused(pair: ReplicationSet, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = application(pair).backend
    monkeypatch.setattr(backend, "_MAX_STR_VALUE_SIZE", 1000)
    with pytest.raises(BackendStoreError, match="too large") as refusal:
        backend.store_result("one", "x" * 1000, states.SUCCESS)
    assert refusal.value.task_id == "one"


# Groups, chords, and what else an application does.


def tasks_of(app: Celery) -> tuple[Any, Any, Any]:
    @app.task(name="probe.add")
    def add(one: int, two: int) -> int:
        return one + two

    @app.task(name="probe.total")
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    @app.task(name="probe.fail")
    def fail() -> None:
        raise ValueError("on purpose")

    return add, total, fail


@pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "unordered"])
@pytest.mark.parametrize("profile", ["fast", "durable"])
def test_all_that_an_application_does_with_an_empty_script_cache(
    pair: ReplicationSet, profile: str, ordered: bool
) -> None:
    app = application(pair, profile, task_track_started=True)
    app.conf.result_backend_transport_options["result_chord_ordered"] = ordered
    app.set_current()
    add, total, fail = tasks_of(app)
    pair.nodes[0].call("SCRIPT", "FLUSH")
    with start_worker(app, perform_ping_check=False, shutdown_timeout=20):
        assert add.delay(1, 2).get(timeout=10) == 3
        with pytest.raises(ValueError, match="on purpose"):
            fail.delay().get(timeout=10)
        assert group(add.s(n, n) for n in range(4)).apply_async().get(timeout=10) == [0, 2, 4, 6]
        saved = group(add.s(n, 1) for n in range(3)).apply_async()
        saved.save()
        restored = GroupResult.restore(saved.id, app=app)
        assert restored
        assert restored.get(timeout=10) == [1, 2, 3]
        restored.delete()
        assert chord((add.s(n, n) for n in range(5)), total.s()).apply_async().get(timeout=10) == 20
        pair.nodes[0].call("SCRIPT", "FLUSH")
        inner = chord([add.s(1, 1), add.s(2, 2)], total.s())
        assert chord([inner, add.s(3, 3)], total.s()).apply_async().get(timeout=10) == 12
        with pytest.raises(Exception, match="on purpose"):
            chord([fail.s(), add.s(1, 1)], total.s()).apply_async().get(timeout=10)
        many = [add.delay(n, 0) for n in range(50)]
        assert [result.get(timeout=10) for result in many] == list(range(50))
        again = dict(app.backend.get_many([result.id for result in many], timeout=5))
        assert len(again) == 50
        many[0].forget()
        assert many[0].state == states.PENDING
        app.backend.store_result("progress", {"done": 5}, "PROGRESS")
        assert app.AsyncResult("progress").info == {"done": 5}
        app.backend.mark_as_revoked("revoked", "terminated")
        assert app.AsyncResult("revoked").state == states.REVOKED
    assert denials(pair) == []


def test_a_part_of_a_chord_counts_once_and_its_claim_is_not_lost(
    pair: ReplicationSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = application(pair).backend
    body = types.SimpleNamespace(options={}, results=[], task="body", id="body")
    body.delay = body.results.append
    run_script, lost = backend._run_script, [True]

    def lose_the_answer(script: str, *arguments: Any) -> Any:
        answer = run_script(script, *arguments)
        if script == results.CHORD_PART_RETURN_LUA and lost.pop():
            lost.append(False)
            raise redis.ConnectionError("Connection closed by server.")
        lost.append(False)
        return answer

    monkeypatch.setattr(backend, "_run_script", lose_the_answer)
    monkeypatch.setattr("celery.backends.redis.maybe_signature", lambda signature, **_app: signature)
    backend.set_chord_size("parts", 1)
    part = types.SimpleNamespace(id="part", group="parts", group_index=0, chord=body)
    lost[:] = [True]
    backend.on_chord_part_return(part, states.SUCCESS, 7)
    assert body.results == [[7]]


# What goes wrong, and is repeated.


def meanwhile(seconds: float, action: Callable[[], Any]) -> threading.Timer:
    timer = threading.Timer(seconds, action)
    timer.start()
    return timer


REFUSALS = [
    (("CONFIG", "SET", "min-replicas-to-write", "5"), ("CONFIG", "SET", "min-replicas-to-write", "0"), "NOREPLICAS"),
    (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE"), "READONLY|MASTERDOWN"),
    (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0"), "OOM"),
]


@pytest.mark.parametrize(("refuse", "allow", "said"), REFUSALS, ids=["NOREPLICAS", "READONLY", "OOM"])
def test_a_refused_write_is_named_and_repeated(
    pair: ReplicationSet, refuse: tuple[str, ...], allow: tuple[str, ...], said: str
) -> None:
    primary = pair.nodes[0]
    primary.call(*refuse)
    with pytest.raises(results.RefusedForNowError, match=said):
        application(pair, **ONCE).backend.store_result("one", 1, states.SUCCESS)
    timer = meanwhile(1.0, lambda: primary.call(*allow))
    application(pair).backend.store_result("two", 2, states.SUCCESS)
    timer.join()
    assert primary.client().exists(key_of("one"), key_of("two")) == 1


def test_a_group_is_repeated_too(pair: ReplicationSet) -> None:
    app = application(pair, "durable")
    pair.nodes[1].hang()
    timer = meanwhile(1.0, pair.nodes[1].go_on)
    app.GroupResult("some", [app.AsyncResult("one")]).save()
    timer.join()
    assert pair.nodes[1].client().exists("celery-taskset-meta-some")


def test_it_ends_in_time_and_says_why(pair: ReplicationSet) -> None:
    pair.nodes[0].call(*REFUSALS[0][0])
    backend = application(pair, options={"retry_seconds": 1}).backend
    started = time.monotonic()
    with pytest.raises(BackendStoreError, match="for 1 s: NOREPLICAS") as refusal:
        backend.store_result("one", 1, states.SUCCESS)
    assert 1 <= time.monotonic() - started < 2
    assert refusal.value.task_id == "one"


def test_without_rights_nothing_is_repeated(pair: ReplicationSet) -> None:
    pair.nodes[0].call("ACL", "SETUSER", "celery", "-publish")
    try:
        started = time.monotonic()
        with pytest.raises(redis.ResponseError, match="can't run this command"):
            application(pair).backend.store_result("one", 1, states.SUCCESS)
        assert time.monotonic() - started < 1
    finally:
        pair.nodes[0].call("ACL", "SETUSER", "celery", "+publish")


def test_without_the_right_to_load_scripts_the_sentence_says_so(pair: ReplicationSet) -> None:
    pair.nodes[0].call("ACL", "SETUSER", "celery", "-script|load")
    pair.nodes[0].call("SCRIPT", "FLUSH")
    try:
        with pytest.raises(redis.ResponseError, match=r"script\|load"):
            application(pair).backend.store_result("one", 1, states.SUCCESS)
    finally:
        pair.nodes[0].call("ACL", "SETUSER", "celery", "+script|load")


def test_a_restart_of_the_server_is_ridden_out(pair: ReplicationSet) -> None:
    primary = pair.nodes[0]
    # With everysec a server that is killed during a flush has not written what it got meanwhile.
    primary.call("CONFIG", "SET", "appendfsync", "always")
    backend = application(pair, "durable").backend
    backend.store_result("one", 1, states.SUCCESS)
    primary.kill()
    timer = meanwhile(1.0, lambda: primary.start(write_files=False))
    backend.store_result("two", 2, states.SUCCESS)
    timer.join()
    assert primary.client().exists(key_of("one"), key_of("two")) == 2


def test_pauses_are_many_at_first_and_few_in_a_long_outage(pair: ReplicationSet) -> None:
    backend = application(pair).backend
    tries, now = 0, 0.0
    while now < 60:
        pause = backend._pause(now)
        assert 0.05 <= pause <= max(0.1, now / 10)
        tries, now = tries + 1, now + pause
    assert 50 < tries < 130


# The durable profile.


def test_a_durable_result_is_on_the_replica_when_it_counts_as_stored(pair: ReplicationSet) -> None:
    backend = application(pair, "durable").backend
    replica = pair.nodes[1].client()
    for number in range(50):
        backend.store_result(str(number), number, states.SUCCESS)
        assert replica.exists(key_of(str(number)))


def test_without_a_replica_nothing_counts_as_stored(pair: ReplicationSet) -> None:
    pair.nodes[1].hang()
    backend = application(pair, "durable", **ONCE).backend
    started = time.monotonic()
    with pytest.raises(results.NotReplicatedError, match="Only 0 of 1 replicas confirmed the result within 500 ms"):
        backend.store_result("one", 1, states.SUCCESS)
    assert 0.4 < time.monotonic() - started < 1.0


@pytest.mark.parametrize("state", [states.SUCCESS, states.FAILURE, states.STARTED])
def test_a_retry_that_meets_its_own_result_waits_for_the_replica_too(pair: ReplicationSet, state: str) -> None:
    pair.nodes[1].hang()
    for _try in range(3):
        backend = application(pair, "durable", **ONCE).backend
        with pytest.raises(results.NotReplicatedError):
            backend.store_result("one", ValueError() if state == states.FAILURE else 1, state)
    assert pair.nodes[0].client().exists(key_of("one"))
    pair.nodes[1].go_on()
    application(pair, "durable", **ONCE).backend.store_result("one", 1, states.SUCCESS)
    assert pair.nodes[1].client().exists(key_of("one"))


def test_a_missing_replica_is_waited_for(pair: ReplicationSet) -> None:
    pair.nodes[1].hang()
    timer = meanwhile(1.2, pair.nodes[1].go_on)
    started = time.monotonic()
    application(pair, "durable").backend.store_result("one", 1, states.SUCCESS)
    assert time.monotonic() - started > 1.1
    timer.join()
    assert pair.nodes[1].client().exists(key_of("one"))


def test_the_result_of_another_run_stays_when_it_is_made_sure_of(pair: ReplicationSet) -> None:
    application(pair, "stock").backend.store_result("one", "first", states.SUCCESS)
    backend = application(pair, "durable").backend
    backend.store_result("one", "second", states.SUCCESS)
    assert backend.get_task_meta("one", cache=False)["result"] == "first"


def test_a_result_that_is_there_already_is_written_again_before_the_wait(pair: ReplicationSet) -> None:
    """WAIT speaks of writes of its own connection only; some versions answer at once where there was none."""
    application(pair, "stock").backend.store_result("one", "first", states.SUCCESS)
    backend = application(pair, "durable").backend
    backend.store_result("other", 1, states.SUCCESS)
    pair.nodes[0].call("CONFIG", "RESETSTAT")
    backend.store_result("one", "second", states.SUCCESS)
    found = commands(pair)
    assert (found["setex"], found["evalsha"], found["wait"]) == (1, 2, 2)
    assert backend.get_task_meta("one", cache=False)["result"] == "first"


@pytest.mark.parametrize(
    ("options", "socket_timeout"), [({"durable_replicas": 0}, 10), ({"durable_timeout_ms": 1000}, 1), ({}, None)]
)
def test_limits_that_would_prove_nothing_are_refused(
    pair: ReplicationSet, options: dict[str, Any], socket_timeout: int | None
) -> None:
    changes = {"result_backend_transport_options": options, "redis_socket_timeout": socket_timeout}
    with pytest.raises(ImproperlyConfigured, match="durable_replicas is"):
        _backend_of = application(pair, "durable", **changes).backend


# Connections.


def test_only_the_own_authority_is_trusted_and_read_once(pair: ReplicationSet, tmp_path: Path) -> None:
    renewed = tmp_path / "ca.crt"
    renewed.write_bytes(pair.authority.certificate.read_bytes())
    app = application(pair)
    app.backend.connparams["ssl_ca_certs"] = str(renewed)
    results._trusting.cache_clear()
    connections = [app.backend.client.connection_pool.make_connection() for _number in range(3)]
    for connection in connections:
        connection.connect()
    contexts = {id(connection._sock.context): connection._sock.context for connection in connections}
    assert len(contexts) == 1
    (context,) = contexts.values()
    assert [dict(entry[0] for entry in found["subject"]) for found in context.get_ca_certs()] == [
        {"commonName": "authority"}
    ]
    assert context.check_hostname
    assert context.verify_mode == ssl.CERT_REQUIRED
    renewed.unlink()
    renewed.write_bytes(b"\n" + pair.authority.certificate.read_bytes())
    again = app.backend.client.connection_pool.make_connection()
    again.connect()
    assert again._sock.context is not context
    for connection in (*connections, again):
        connection.disconnect()


def test_a_server_of_another_authority_is_refused(pair: ReplicationSet, tmp_path: Path, write_certificate: Any) -> None:
    write_certificate(tmp_path, "other")
    app = application(pair, **ONCE)
    app.backend.connparams["ssl_ca_certs"] = str(tmp_path / "other.crt")
    with pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
        app.backend.store_result("one", 1, states.SUCCESS)


@pytest.mark.parametrize("profile", ["fast", "durable"])
def test_threads_share_a_backend(pair: ReplicationSet, profile: str) -> None:
    app = application(pair, profile, result_backend_thread_safe=True)
    problems: list[Exception] = []

    def store(name: int) -> None:
        try:
            for number in range(60):
                app.backend.store_result(f"{name}-{number}", [name, number], states.STARTED)
                app.backend.store_result(f"{name}-{number}", [name, number], states.SUCCESS)
        except Exception as error:  # noqa: BLE001 - every error is one too many
            problems.append(error)

    threads = [threading.Thread(target=store, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    found = dict(app.backend.get_many([f"{name}-{number}" for name in range(8) for number in range(60)], timeout=5))
    assert all(meta["result"] == [int(part) for part in task.split("-")] for task, meta in found.items())
    assert len(found) == 480


def test_an_interrupted_store_leaves_no_answer_behind(pair: ReplicationSet) -> None:
    """As a task's time limit does it in a worker's process."""
    backend = application(pair, **ONCE).backend
    backend.store_result("one", 1, states.SUCCESS)

    def interrupt(*_arguments: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    pair.nodes[0].hang()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(KeyboardInterrupt):
            backend.store_result("two", 2, states.SUCCESS)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        pair.nodes[0].go_on()
    assert backend.get(key_of("none")) is None
    backend.store_result("three", 3, states.SUCCESS)
    assert backend.get_task_meta("three", cache=False)["result"] == 3


def test_a_store_that_is_interrupted_between_two_answers_leaves_none_behind(
    pair: ReplicationSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = application(pair, "durable", **ONCE).backend
    backend.store_result("one", 1, states.SUCCESS)
    answer, answers = backend._answer, []

    def interrupt_the_second(connection: Any) -> Any:
        if answers:
            raise KeyboardInterrupt
        answers.append(answer(connection))
        return answers[0]

    monkeypatch.setattr(backend, "_answer", interrupt_the_second)
    with pytest.raises(KeyboardInterrupt):
        backend.store_result("two", 2, states.SUCCESS)
    assert backend.get(key_of("none")) is None


def test_a_forked_process_has_connections_of_its_own(pair: ReplicationSet) -> None:
    backend = application(pair).backend
    backend.store_result("parent", 1, states.SUCCESS)
    child = os.fork()
    if not child:
        try:
            for number in range(50):
                backend.store_result(f"child-{number}", number, states.SUCCESS)
        except BaseException:  # noqa: BLE001 - the parent sees the code
            os._exit(1)
        os._exit(0)
    for number in range(50):
        backend.store_result(f"parent-{number}", number, states.SUCCESS)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(pair.nodes[0].client().keys()) == 101


# Behind sentinels.


@pytest.mark.parametrize("profile", ["stock", "fast", "durable"])
def test_every_profile_works_behind_sentinels(behind: ReplicationSet, profile: str) -> None:
    app = application(behind, profile, "sentinel")
    app.backend.on_task_call(None, "one")
    application(behind, "durable", "sentinel").backend.store_result("one", VALUE, states.SUCCESS)
    assert app.AsyncResult("one").get(timeout=5) == VALUE
    app.backend.store_result("two", VALUE, states.SUCCESS)
    assert app.backend.get_task_meta("two", cache=False)["result"] == VALUE


def store_while(app: Celery, disturb: Callable[[], Any], seconds: float) -> tuple[list[str], list[Exception], float]:
    """Store numbered results in two threads; gives those that count as stored, the errors, and the longest block."""
    stored: list[str] = []
    errors: list[Exception] = []
    longest = [0.0]
    finished = threading.Event()

    def work(name: str) -> None:
        number = 0
        while not finished.is_set():
            number += 1
            started = time.monotonic()
            try:
                app.backend.store_result(f"{name}-{number}", number, states.SUCCESS)
            except Exception as error:  # noqa: BLE001 - every error is a lost result
                errors.append(error)
            else:
                stored.append(f"{name}-{number}")
            longest.append(time.monotonic() - started)
            time.sleep(0.002)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    disturb()
    time.sleep(seconds)
    finished.set()
    for thread in threads:
        thread.join()
    return stored, errors, max(longest)


def missing(deployed: ReplicationSet, stored: list[str]) -> int:
    client = primary_of(deployed).client()
    parts = [stored[start : start + 500] for start in range(0, len(stored), 500)]
    return len(stored) - sum(client.exists(*map(key_of, part)) for part in parts)


# Sentinel alone needs up to 3.2 seconds: this shows that the client adds little, also on a busy machine.
@pytest.mark.parametrize(
    ("profile", "disturb", "limit"),
    [("durable", "kill", 5.0), ("fast", "kill", 5.0), ("durable", "hang", 6.0)],
    ids=["durable-kill", "fast-kill", "durable-hang"],
)
def test_a_lost_primary_is_ridden_out(behind: ReplicationSet, profile: str, disturb: str, limit: float) -> None:
    app = application(behind, profile, "sentinel")
    stored, errors, longest = store_while(app, getattr(primary_of(behind), disturb), limit + 0.5)
    assert errors == []
    assert 0.5 < longest < limit
    for node in behind.nodes:
        if node.is_running:
            node.go_on()
    lost = missing(behind, stored)
    assert lost == 0 if profile == "durable" else lost < 10
    assert denials(behind) == []


def test_a_planned_handover_loses_nothing_durable(behind: ReplicationSet) -> None:
    app = application(behind, "durable", "sentinel")
    old = primary_of(behind)

    def hand_over() -> None:
        old.call("CLIENT", "PAUSE", "5000", "WRITE")
        behind.sentinels[0].call("SENTINEL", "FAILOVER", "results")
        until(lambda: all(behind.named_primary(sentinel) != old.port for sentinel in behind.sentinels))
        old.call("REPLICAOF", HOST, str(behind.named_primary(behind.sentinels[0])))
        old.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        old.call("CLIENT", "KILL", "TYPE", "pubsub")
        old.call("CLIENT", "UNPAUSE")

    waiting = application(behind, "stock", "sentinel")
    waiting.backend.on_task_call(None, "awaited")
    stored, errors, _longest = store_while(app, hand_over, 1.0)
    assert errors == []
    app.backend.store_result("awaited", 7, states.SUCCESS)
    assert waiting.AsyncResult("awaited").get(timeout=10) == 7
    assert missing(behind, stored) == 0
    assert primary_of(behind) is not old


def test_a_sentinel_that_hangs_costs_its_timeout_once(behind: ReplicationSet) -> None:
    behind.sentinels[1].hang()
    app = application(behind, "fast", "sentinel", **ONCE)
    seconds = []
    for number in range(6):
        started = time.monotonic()
        app.backend.store_result(str(number), 1, states.SUCCESS)
        seconds.append(time.monotonic() - started)
        app.backend.client.connection_pool.disconnect()
    assert sum(second > 0.4 for second in seconds) <= 1
    assert max(seconds) < 1.5


def test_threads_find_the_primary_at_the_same_time(behind: ReplicationSet) -> None:
    behind.sentinels[2].kill()
    app = application(behind, "durable", "sentinel", result_backend_thread_safe=True, **ONCE)
    pool = app.backend.client.connection_pool
    stored, errors, _longest = store_while(app, lambda: pool.disconnect(inuse_connections=False), 0.5)
    assert [error for error in errors if not isinstance(error, redis.ConnectionError)] == []
    assert missing(behind, stored) == 0


def test_sentinels_that_do_not_help_are_named(behind: ReplicationSet, monkeypatch: pytest.MonkeyPatch) -> None:
    options = application(behind, "fast", "sentinel").conf.result_backend_transport_options
    nobody = application(
        behind, "fast", "sentinel", result_backend_transport_options={**options, "master_name": "nope"}, **ONCE
    )
    with pytest.raises(results.PrimaryNotFoundError, match=r"No sentinel names a primary of 'nope'.*does not know it"):
        nobody.backend.store_result("one", 1, states.SUCCESS)
    monkeypatch.setenv("CELERY_SENTINEL_PASSWORD", "not the password")
    with pytest.raises(results.PrimaryNotFoundError, match="AuthenticationError") as refusal:
        application(behind, "fast", "sentinel", **ONCE).backend.store_result("one", 1, states.SUCCESS)
    assert "not the password" not in str(refusal.value)


def test_a_primary_that_is_down_is_not_named(behind: ReplicationSet) -> None:
    app = application(behind, "fast", "sentinel", **ONCE)
    primary_of(behind).hang()
    said: list[str] = []

    def is_down() -> bool:
        try:
            app.backend.client.connection_pool.disconnect()
            app.backend.store_result("one", 1, states.SUCCESS)
        except results.PrimaryNotFoundError as error:
            said.append(str(error))
        except redis.RedisError:
            pass
        return bool(said)

    until(is_down)
    assert "says that it is down" in said[0]


def test_lonely_sentinels_are_not_believed_where_that_is_wanted(behind: ReplicationSet) -> None:
    options = application(behind, "fast", "sentinel").conf.result_backend_transport_options
    lonely = {**options, "min_other_sentinels": 3}
    app = application(behind, "fast", "sentinel", result_backend_transport_options=lonely, **ONCE)
    with pytest.raises(results.PrimaryNotFoundError, match="sees only 2 other sentinels"):
        app.backend.store_result("one", 1, states.SUCCESS)


SENTINELS = {"kind": "sentinel", "hosts": ["s1", "s2"], "profile": "fast", "ca_file": "/ca.crt"}


def built(query: str = "", **changes: Any) -> Any:
    settings = _backend.celery_settings(SENTINELS)
    settings["result_backend"] = _backend.backend_url(SENTINELS, "hidden") + query
    app = Celery("probe", set_as_current=False)
    app.config_from_object(types.SimpleNamespace(**{**settings, **changes}))
    return app.backend


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"redis_backend_use_ssl": None}, "redis_backend_use_ssl is not set, so the Redis nodes would be reached in"),
        (
            {"result_backend_transport_options": {"master_name": "x", "sentinel_kwargs": {"username": "client"}}},
            "lacks ssl: True, so the sentinels would be asked in plaintext",
        ),
        ({"query": "?ssl_ca_certs=/ca.crt"}, "The URL of the result backend has ssl_ parameters, which Celery drops"),
        ({"result_backend_transport_options": {"sentinel_kwargs": {"ssl": True}}}, "lacks master_name"),
    ],
)
def test_plaintext_without_a_word_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=said) as refusal:
        built(**changes)
    assert "hidden" not in str(refusal.value)


def test_plaintext_that_is_accepted_is_used() -> None:
    plain = {"master_name": "x", "allow_plaintext": True}
    backend = built(redis_backend_use_ssl=None, result_backend_transport_options=plain)
    assert backend.client.connection_pool.connection_class is results.PrimaryConnection
    assert built().client.connection_pool.connection_class is results.VerifiedPrimaryConnection


# Answers that a real server cannot be made to give.


class OddServer:
    """Says hello, and then to each script what it was told to say."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with self._listener:
            while True:
                try:
                    connection, _address = self._listener.accept()
                except OSError:
                    return
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection:
            while received := connection.recv(65536):
                if b"HELLO" in received:
                    connection.sendall(b"%1\r\n$5\r\nproto\r\n:3\r\n")
                elif b"EVALSHA" in received:
                    connection.sendall(self._answer)
                    if not self._answer.endswith(b"\r\n"):
                        return

    def close(self) -> None:
        self._listener.close()


@pytest.mark.parametrize(
    ("answer", "error", "repeated"),
    [
        (b"-LOADING Redis is loading the dataset in memory\r\n", redis.exceptions.BusyLoadingError, True),
        (b"-MASTERDOWN Link with MASTER is down\r\n", results.RefusedForNowError, True),
        (b"-UNBLOCKED force unblock from blocking operation\r\n", results.RefusedForNowError, True),
        (b"-MISCONF Redis is configured to save RDB snapshots\r\n", results.RefusedForNowError, True),
        (b"-BUSY Redis is busy running a script\r\n", results.RefusedForNowError, True),
        (b"-ERR Error running script: @user_script: 12: -OOM command\r\n", results.RefusedForNowError, True),
        (b"-NOPERM this user has no permissions\r\n", redis.exceptions.NoPermissionError, False),
        (b"-WRONGTYPE Operation against a key\r\n", redis.exceptions.ResponseError, False),
        (b":5\r\n", redis.exceptions.InvalidResponse, False),
        (b"$100\r\nhalf", redis.exceptions.ConnectionError, True),
        (b"", redis.exceptions.ConnectionError, True),
    ],
    ids=lambda value: value[:10].decode() if isinstance(value, bytes) else None,
)
def test_an_odd_answer(answer: bytes, error: type[Exception], repeated: bool) -> None:
    server = OddServer(answer)
    app = Celery("probe", set_as_current=False)
    described = {"kind": "redis", "hosts": ["127.0.0.1"], "port": server.port, "tls": False, "profile": "fast"}
    settings = {**_backend.celery_settings(described), **ONCE, "result_backend": _backend.backend_url(described, "x")}
    app.config_from_object(types.SimpleNamespace(**settings))
    try:
        with pytest.raises(error) as raised:
            app.backend.store_result("one", 1, states.SUCCESS)
    finally:
        server.close()
    assert app.backend.exception_safe_to_retry(raised.value) is repeated
