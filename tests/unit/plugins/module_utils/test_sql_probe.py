# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks against real PostgreSQL and MariaDB: they pass for a worker, or name the class of the failure."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _backend, _sql_probe
from ansible_collections.resultops.celery.plugins.module_utils import _celery_client as client
from ansible_collections.resultops.celery.plugins.modules import result_backend_check as check
from ansible_collections.resultops.celery.tests.unit.ports import free_port
from ansible_collections.resultops.celery.tests.unit.replication_set import Authority
from ansible_collections.resultops.celery.tests.unit.result_tables import PASSWORD as OF_THE_ROLE
from ansible_collections.resultops.celery.tests.unit.result_tables import Application
from ansible_collections.resultops.celery.tests.unit.sql_servers import Mariadb, Postgresql, SqlServer
from ansible_collections.resultops.celery.tests.unit.worker_store import PASSWORD, Store, load

TIMEOUT = 2.0
STEPS = ["store", "wait", "chord", "expire"]
ALL = [
    *("dns", "tcp", "tls", "auth", "session", "schema", "rights"),
    *("store_json", "read_json", "wait_json", "group", "expire", "delete"),
]

load()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CELERY_RESULT_BACKEND", raising=False)


@pytest.fixture(scope="module")
def postgresql() -> Iterator[SqlServer]:
    with Postgresql(listen_addresses="127.0.0.1,127.0.0.2") as server:
        yield server


@pytest.fixture(scope="module")
def mariadb() -> Iterator[SqlServer]:
    with Mariadb(bind_address="127.0.0.1,127.0.0.2") as server:
        yield server


@pytest.fixture(params=["postgresql", "mariadb"])
def store(request: pytest.FixtureRequest) -> Store:
    """Tables of this test only, because it may spoil them."""
    return Store(request.getfixturevalue(request.param))


@pytest.fixture
def on_postgresql(postgresql: SqlServer) -> Store:
    return Store(postgresql)


@pytest.fixture
def on_mariadb(mariadb: SqlServer) -> Store:
    return Store(mariadb)


def settings_of(store: Store, profile: str = "fast", password: str = PASSWORD, **changes: Any) -> Any:
    described = store.describe(profile, **changes)
    return SimpleNamespace(
        **_backend.celery_settings(described),
        result_backend=_backend.backend_url(described, password),
        broker_url="memory://",
    )


def run_with(settings: Any, *, check_mode: bool = False, **changes: Any) -> client.CheckRun:
    run = client.CheckRun("sql")
    run.redact.learn_url(settings.result_backend)
    wanted = {"serializers": [], "checks": STEPS, **changes}
    check.run_checks(run, _sql_probe.SqlProbe(settings, TIMEOUT), wanted, check_mode)
    assert PASSWORD not in str(run.rows)
    return run


def outcome(run: client.CheckRun) -> list[tuple[str, str]]:
    return [(row["check"], row["failure_class"]) for row in run.failures]


def details(run: client.CheckRun) -> str:
    return " ".join(row["detail"] for row in run.failures)


def spoil(store: Store, *statements: str) -> None:
    for statement in statements:
        store.server.sql(statement, database=store.database)


@pytest.mark.parametrize("engine", ["postgresql", "mariadb"])
def test_what_the_role_for_the_tables_makes_passes(
    engine: str, request: pytest.FixtureRequest, run_on_host: Callable[..., dict[str, Any]]
) -> None:
    application = Application(request.getfixturevalue(engine), run_on_host)
    assert not application.migrate().get("failed")
    if engine == "postgresql":
        application.sql(f"ALTER ROLE \"{application.user}\" SET timezone = 'UTC'")
    description = {
        "kind": application.engine,
        "hosts": [application.server.host],
        "port": application.server.port,
        "profile": "fast",
        "username": application.user,
        "database": application.database,
        "ca_file": str(application.server.ca_file),
        **({"schema": application.schema} if application.schema else {}),
    }
    settings = SimpleNamespace(
        **_backend.celery_settings(description, {"result_extended": True}),
        result_backend=_backend.backend_url(description, OF_THE_ROLE),
        broker_url="memory://",
    )
    run = run_with(settings, serializers=["json", "msgpack"])
    assert run.failures == []
    assert "revision 0" in next(row["detail"] for row in run.rows if row["check"] == "schema")


@pytest.mark.parametrize("profile", ["stock", "fast"])
def test_everything_works_and_nothing_is_left(store: Store, profile: str) -> None:
    run = run_with(settings_of(store, profile))
    assert run.failures == []
    assert [row["check"] for row in run.rows] == ALL
    assert {row["status"] for row in run.rows} == {"passed"}
    assert "certificate valid for" in next(row["detail"] for row in run.rows if row["check"] == "tls")
    for table in ("celery_taskmeta", "celery_tasksetmeta"):
        schema = "results." if store.kind == "postgresql" else ""
        assert store.server.sql(f"SELECT count(*) FROM {schema}{table}", database=store.database) == [(0,)]


def test_each_serializer(store: Store) -> None:
    run = run_with(settings_of(store), serializers=["json", "msgpack"], checks=["store"])
    assert run.failures == []
    assert [row["check"] for row in run.rows][7:-1] == ["store_json", "read_json", "store_msgpack", "read_msgpack"]


def test_ansible_check_mode_only_asks(store: Store) -> None:
    run = run_with(settings_of(store), check_mode=True)
    assert [row["status"] for row in run.rows] == ["passed"] * 7 + ["skipped"] * 6


@pytest.mark.parametrize(
    ("changes", "failure"),
    [
        ({"hosts": ["nowhere.invalid"]}, ("dns", "dns")),
        ({"port": 0}, ("tcp", "refused")),
        ({"hosts": ["127.0.0.2"]}, ("tls", "tls")),
        ({"ca_file": "/nowhere/ca.crt"}, ("tls", "config")),
        ({"username": "nobody"}, ("auth", "auth")),
    ],
    ids=["name", "port", "certificate", "ca", "user"],
)
def test_a_connection_that_does_not_work(store: Store, changes: dict[str, Any], failure: tuple[str, str]) -> None:
    changes = {**changes, "port": free_port()} if changes.get("port") == 0 else changes
    run = run_with(settings_of(store, **changes))
    assert outcome(run) == [failure]
    assert [row["status"] for row in run.rows[len(run.rows) - 6 :]] == ["skipped"] * 6


def test_a_wrong_password(store: Store) -> None:
    assert outcome(run_with(settings_of(store, password="not this one"))) == [("auth", "auth")]


def test_another_authority(store: Store, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")
    run = run_with(settings_of(store, ca_file=str(other.certificate)))
    assert outcome(run) == [("tls", "tls")]
    assert "CA file does not belong" in details(run)


def test_no_encryption_where_the_server_wants_it(store: Store) -> None:
    run = run_with(settings_of(store, tls=False, ca_file=""))
    assert outcome(run) == [("auth", "auth")]


def test_a_server_without_tls() -> None:
    with Postgresql(ssl="off") as server:
        run = run_with(settings_of(Store(server)))
    assert outcome(run) == [("tls", "tls")]
    assert "does not offer TLS" in details(run)


def test_a_name_that_is_not_verified(on_postgresql: Store) -> None:
    settings = settings_of(on_postgresql)
    settings.result_backend = settings.result_backend.replace("sslmode=verify-full", "sslmode=require")
    run = run_with(settings)
    assert outcome(run) == [("tls", "tls")]
    assert "sslmode is require" in details(run)


def test_a_server_that_hangs(postgresql: SqlServer) -> None:
    settings = settings_of(Store(postgresql))
    process = postgresql._process
    assert process
    process.send_signal(signal.SIGSTOP)
    try:
        run = run_with(settings)
    finally:
        process.send_signal(signal.SIGCONT)
    assert outcome(run) == [("tls", "timeout")]


def test_no_free_connection(on_postgresql: Store) -> None:
    spoil(on_postgresql, f"ALTER ROLE {on_postgresql.user} CONNECTION LIMIT 0")
    run = run_with(settings_of(on_postgresql))
    assert outcome(run) == [("auth", "too_many_connections")]
    assert "pool_size" in details(run)


def test_no_free_connection_of_mariadb(on_mariadb: Store) -> None:
    # The first connection stays, so the limit of one is reached by the next.
    spoil(on_mariadb, f"ALTER USER {on_mariadb.user} WITH MAX_USER_CONNECTIONS 1")
    with on_mariadb.server.connect(on_mariadb.database, user=on_mariadb.user, password=PASSWORD):
        run = run_with(settings_of(on_mariadb))
    assert outcome(run) == [("auth", "too_many_connections")]


def test_a_database_that_is_not_there(store: Store) -> None:
    run = run_with(settings_of(store, database="nowhere"))
    # MariaDB does not tell a stranger whether it is there.
    assert outcome(run) == [("auth", "schema" if store.kind == "postgresql" else "acl")]


def test_tables_that_are_not_there(store: Store) -> None:
    name = "results.celery_taskmeta" if store.kind == "postgresql" else "celery_taskmeta"
    spoil(store, f"DROP TABLE {name}")
    run = run_with(settings_of(store))
    assert outcome(run) == [("schema", "schema")]
    assert "lacks celery_taskmeta. Run the playbook schema" in details(run)


def test_columns_that_are_not_there_and_ids_that_are_too_small(store: Store) -> None:
    name = "results.celery_taskmeta" if store.kind == "postgresql" else "celery_taskmeta"
    kind = "ALTER COLUMN id TYPE INTEGER" if store.kind == "postgresql" else "MODIFY id INTEGER"
    spoil(store, f"ALTER TABLE {name} DROP COLUMN children, DROP COLUMN stamps, {kind}")
    run = run_with(settings_of(store))
    assert outcome(run) == [("schema", "schema")]
    assert "lacks celery_taskmeta.children, celery_taskmeta.stamps." in details(run)
    assert "The id of celery_taskmeta has 32 bits" in details(run)


def test_a_sequence_that_is_not_there(store: Store) -> None:
    name = "results.taskset_id_sequence" if store.kind == "postgresql" else "taskset_id_sequence"
    spoil(store, f"DROP SEQUENCE {name}")
    assert "lacks taskset_id_sequence" in details(run_with(settings_of(store)))


def test_blobs_that_are_too_small(on_mariadb: Store) -> None:
    spoil(on_mariadb, "ALTER TABLE celery_taskmeta MODIFY result BLOB, MODIFY traceback TEXT")
    run = run_with(settings_of(on_mariadb))
    assert outcome(run) == [("schema", "schema")]
    assert "celery_taskmeta.result, celery_taskmeta.traceback hold 64 KB only" in details(run)


def test_the_revision_is_told_where_it_may_be_read(store: Store) -> None:
    name = "results.celery_schema_version" if store.kind == "postgresql" else "celery_schema_version"
    spoil(store, f"CREATE TABLE {name} (version_num VARCHAR(32))", f"INSERT INTO {name} VALUES ('0003')")
    if store.kind == "postgresql":
        assert "revision" not in str(run_with(settings_of(store), check_mode=True).rows)
        spoil(store, f"GRANT SELECT ON {name} TO {store.user}")
    assert "revision 0003" in str(run_with(settings_of(store), check_mode=True).rows)


def test_a_missing_right(store: Store) -> None:
    if store.kind == "postgresql":
        spoil(
            store,
            f"REVOKE DELETE ON results.celery_tasksetmeta FROM {store.user}",
            f"REVOKE USAGE ON SEQUENCE results.task_id_sequence FROM {store.user}",
        )
        lacks = "lacks DELETE on celery_tasksetmeta, USAGE on task_id_sequence."
    else:
        spoil(store, f"REVOKE DELETE ON {store.database}.* FROM {store.user}")
        lacks = "lacks DELETE on celery_taskmeta, DELETE on celery_tasksetmeta."
    run = run_with(settings_of(store))
    assert outcome(run) == [("rights", "acl")]
    assert lacks in details(run)


def test_a_right_too_many(store: Store) -> None:
    if store.kind == "postgresql":
        spoil(store, f"GRANT CREATE ON SCHEMA results TO {store.user}")
    else:
        spoil(store, f"GRANT CREATE, DROP ON {store.database}.* TO {store.user}")
    run = run_with(settings_of(store))
    assert outcome(run) == [("rights", "acl")]
    assert "may CREATE" in details(run)


def test_rights_on_each_table_are_enough(on_mariadb: Store) -> None:
    store = on_mariadb
    spoil(store, f"REVOKE ALL ON {store.database}.* FROM {store.user}")
    for table in ("celery_taskmeta", "celery_tasksetmeta", "task_id_sequence", "taskset_id_sequence"):
        spoil(store, f"GRANT SELECT, INSERT, UPDATE, DELETE ON {store.database}.{table} TO {store.user}")
    assert run_with(settings_of(store)).failures == []


def test_a_standby_and_another_time_zone(on_postgresql: Store) -> None:
    store = on_postgresql
    spoil(
        store,
        f"ALTER ROLE {store.user} SET default_transaction_read_only = on",
        f"ALTER ROLE {store.user} SET timezone = 'America/New_York'",
    )
    run = run_with(settings_of(store, pooler="session"))
    assert outcome(run) == [("session", "read_only")]
    assert "time zone of the session is America/New_York" in details(run)


def test_a_read_only_mariadb(on_mariadb: Store) -> None:
    spoil(on_mariadb, "SET GLOBAL read_only = 1")
    try:
        run = run_with(settings_of(on_mariadb))
    finally:
        spoil(on_mariadb, "SET GLOBAL read_only = 0")
    assert outcome(run) == [("session", "read_only")]


def test_a_server_that_is_not_strict_and_far_from_utc(mariadb: SqlServer) -> None:
    store = Store(mariadb)
    settings = settings_of(store)
    spoil(store, "SET GLOBAL sql_mode = ''", "SET GLOBAL time_zone = '-05:00'")
    try:
        assert run_with(settings, check_mode=True).failures == []
        del settings.database_engine_options["connect_args"]["init_command"]
        run = run_with(settings)
    finally:
        spoil(store, "SET GLOBAL sql_mode = DEFAULT", "SET GLOBAL time_zone = DEFAULT")
    assert outcome(run) == [("session", "schema")]
    assert "is not strict" in details(run)
    assert "-18000 s from UTC" in details(run)


def test_a_cleanup_beside_the_purge(on_postgresql: Store) -> None:
    settings = settings_of(on_postgresql)
    settings.result_expires = 3600
    run = run_with(settings, checks=["expire"])
    assert outcome(run) == [("expire", "config")]
    assert "beat plans celery.backend_cleanup" in details(run)


def test_a_store_that_fails_after_the_checks_is_named(on_postgresql: Store) -> None:
    """The real error and not the masked one, also by Celery's own class."""
    spoil(on_postgresql, "ALTER TABLE results.celery_taskmeta ADD CHECK (status <> 'SUCCESS')")
    run = run_with(settings_of(on_postgresql))
    assert outcome(run)[0][0] == "store_json"
    assert "violates check constraint" in details(run)


def test_the_module_names_the_backend(
    store: Store, run_on_host: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(store)
    monkeypatch.setenv("CELERY_RESULT_BACKEND", "")
    text = "".join(f"{name} = {value!r}\n" for name, value in vars(settings).items() if name != "result_backend")
    module = f"config_{store.database}"
    (tmp_path / f"{module}.py").write_text(text)
    quoted = settings.result_backend.replace('"', '\\"')
    (tmp_path / ".env").write_text(f'CELERY_RESULT_BACKEND="{quoted}"\n')
    found = run_on_host(
        "result_backend_check",
        env_file=str(tmp_path / ".env"),
        config_directory=str(tmp_path),
        config_module=module,
        checks=["store"],
    )
    assert {row["backend"] for row in found["checks"][1:]} == {store.kind}
    assert found["failed_checks"] == 0
