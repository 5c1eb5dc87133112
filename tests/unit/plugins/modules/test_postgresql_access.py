# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module against a real server: each role can do its job and no more, and changes by hand are mended."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from ansible_collections.resultops.celery.tests.unit.sql_servers import Pooler, Postgresql

PASSWORD = "p@ss:/w%rd#?&'\"{{ }}\\ $HOME `x`"
OTHER_PASSWORD = "Pässwörd ﬁn Ⅸ  and more"
PURGE_PASSWORD = "only for the removal"
MONITOR_PASSWORD = "only to look at it"


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Postgresql]:
    """A server of its own, because each of these tests removes all of its accounts."""
    with Postgresql() as server:
        yield server


@pytest.fixture
def database(postgresql: Postgresql) -> Iterator[str]:
    yield (named := postgresql.new_name("access"))
    postgresql.drop_database(named)
    left = "SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_' AND rolname <> 'postgres'"
    for (role,) in postgresql.sql(left):
        for owned in [row[0] for row in postgresql.sql("SELECT datname FROM pg_database WHERE datallowconn")]:
            postgresql.sql(f'DROP OWNED BY "{role}"', database=owned)
        postgresql.sql(f'DROP ROLE "{role}"')


@pytest.fixture
def applications() -> list[dict[str, Any]]:
    return [
        {"name": "shop", "password": PASSWORD, "purge_password": PURGE_PASSWORD},
        {"name": "billing", "schema": "bills", "username": "biller", "password": OTHER_PASSWORD, "connection_limit": 1},
    ]


@pytest.fixture
def manage(
    postgresql: Postgresql,
    database: str,
    applications: list[dict[str, Any]],
    run_on_host: Callable[..., dict[str, Any]],
) -> Callable[..., dict[str, Any]]:
    def run(**arguments: Any) -> dict[str, Any]:
        wanted = {
            "database": database,
            "applications": applications,
            "monitor_password": MONITOR_PASSWORD,
            "unix_socket": str(postgresql.socket_directory),
            "login_port": postgresql.port,
            **arguments,
        }
        return run_on_host("postgresql_access", **wanted)

    return run


@pytest.fixture
def attempt(postgresql: Postgresql, database: str) -> Callable[..., Any]:
    """What one statement of a role gives, or the name of the error."""

    def run(user: str, password: str, statement: str, where: str = "") -> Any:
        try:
            with contextlib.closing(postgresql.connect(where or database, user=user, password=password)) as connection:
                cursor = connection.execute(statement)
                return cursor.fetchall() if cursor.description else []
        except psycopg.Error as error:
            return type(error).__name__

    return run


def test_everything_is_made_once(manage, postgresql, database):
    first = manage()
    assert first["changed"]
    assert first["statements"][0].startswith(f'CREATE DATABASE "{database}"')
    encoding = "SELECT pg_encoding_to_char(encoding), datcollate FROM pg_database WHERE datname = %s"
    assert postgresql.sql(encoding, database) == [("UTF8", "C")]
    again = manage()
    assert (again["changed"], again["statements"], again["diff"]) == (False, [], {"before": {}, "after": {}})


def test_workers_log_in_with_any_password_and_their_settings(manage, attempt):
    manage()
    for user, password, schema in (("shop", PASSWORD, "shop"), ("biller", OTHER_PASSWORD, "bills")):
        settings = "SELECT current_setting('search_path'), current_setting('TimeZone'), "
        settings += "current_setting('statement_timeout'), current_setting('lock_timeout')"
        assert attempt(user, password, settings) == [(schema, "UTC", "5s", "2s")]
        assert attempt(user, f"{password} not", "SELECT 1") == "OperationalError"
    assert attempt("shop_purge", PURGE_PASSWORD, "SHOW statement_timeout") == [("0",)]
    assert attempt("results_monitor", MONITOR_PASSWORD, "SHOW default_transaction_read_only") == [("on",)]


FORBIDDEN = (
    "CREATE TABLE shop.mine (id int)",
    "CREATE TABLE public.mine (id int)",
    "CREATE TEMPORARY TABLE mine (id int)",
    "CREATE SCHEMA mine",
    "CREATE ROLE mine",
    "SELECT * FROM bills.results",
    "SELECT rolpassword FROM pg_authid",
    "SET ROLE shop_owner",
    "SET ROLE postgres",
    "ALTER ROLE shop CONNECTION LIMIT 100",
    "DROP SCHEMA shop",
    "COPY (SELECT 1) TO PROGRAM 'true'",
)


def test_workers_can_not_do_more(manage, attempt, postgresql, database):
    manage()
    postgresql.sql("CREATE TABLE bills.results (id int); GRANT ALL ON bills.results TO PUBLIC", database=database)
    answers = {statement: attempt("shop", PASSWORD, statement) for statement in FORBIDDEN}
    assert answers == dict.fromkeys(FORBIDDEN, "InsufficientPrivilege")


def test_the_owner_can_not_log_in_and_owns(manage, attempt, postgresql, database):
    manage()
    assert attempt("shop_owner", PASSWORD, "SELECT 1") == "OperationalError"
    made = "SET ROLE shop_owner; CREATE TABLE shop.results (id int)"
    postgresql.sql(made, database=database)
    assert attempt("shop", PASSWORD, "SELECT * FROM shop.results") == "InsufficientPrivilege", "granted by migrations"


def test_connections_are_limited(manage, postgresql, database):
    manage()
    with (
        contextlib.closing(postgresql.connect(database, user="biller", password=OTHER_PASSWORD)),
        pytest.raises(psycopg.OperationalError, match="too many connections for role"),
    ):
        postgresql.connect(database, user="biller", password=OTHER_PASSWORD)


def test_passwords_are_kept_as_verifiers_and_said_nowhere(manage, postgresql):
    result = manage()
    stored = dict(postgresql.sql("SELECT rolname, rolpassword FROM pg_authid WHERE rolname ~ 'shop|bill'"))
    assert stored.pop("shop_owner") is None
    assert stored.pop("billing_owner") is None
    assert stored.pop("billing_purge") is None
    assert {verifier.split("$")[0] for verifier in stored.values()} == {"SCRAM-SHA-256"}
    said = json.dumps(result)
    for secret in (PASSWORD, OTHER_PASSWORD, PURGE_PASSWORD, MONITOR_PASSWORD, *stored.values()):
        assert json.dumps(secret)[1:-1] not in said


def test_a_password_is_only_replaced_when_it_differs(manage, attempt, applications, postgresql):
    manage()
    before = postgresql.sql("SELECT rolpassword FROM pg_authid WHERE rolname = 'biller'")
    applications[0]["password"] = "the next password"
    result = manage()
    assert result["statements"] == ["ALTER ROLE \"shop\" PASSWORD '...'"]
    assert result["diff"]["before"]["role shop"]["password"] == "another one"
    assert result["diff"]["after"]["role shop"]["password"] == "as wanted"
    assert attempt("shop", "the next password", "SELECT 1") == [(1,)]
    assert attempt("shop", PASSWORD, "SELECT 1") == "OperationalError"
    assert postgresql.sql("SELECT rolpassword FROM pg_authid WHERE rolname = 'biller'") == before


BY_HAND = (
    "ALTER ROLE shop SUPERUSER CREATEDB CREATEROLE REPLICATION BYPASSRLS",
    "ALTER ROLE shop CONNECTION LIMIT -1 VALID UNTIL '2031-01-01'",
    "ALTER ROLE shop NOLOGIN",
    "ALTER ROLE shop_owner LOGIN PASSWORD 'known to somebody'",
    "GRANT billing_owner TO shop",
    "REVOKE pg_monitor FROM results_monitor",
    "GRANT CREATE, TEMPORARY ON DATABASE {database} TO PUBLIC",
    "GRANT CREATE ON DATABASE {database} TO shop",
    "REVOKE CONNECT ON DATABASE {database} FROM shop",
    "GRANT CREATE ON SCHEMA shop TO shop",
    "GRANT USAGE ON SCHEMA shop TO biller",
    "GRANT USAGE ON SCHEMA shop TO PUBLIC",
    "GRANT CREATE ON SCHEMA public TO PUBLIC",
    "REVOKE USAGE ON SCHEMA shop FROM shop",
    "ALTER SCHEMA shop OWNER TO biller",
    "ALTER ROLE shop IN DATABASE {database} SET statement_timeout = 0",
    "ALTER ROLE shop IN DATABASE {database} SET work_mem = '1GB'",
    "ALTER ROLE shop IN DATABASE {database} RESET search_path",
    "DROP SCHEMA shop",
)


def test_changes_by_hand_are_mended(manage, postgresql, database):
    manage()
    for by_hand in BY_HAND:
        postgresql.sql(by_hand.format(database=database), database=database)
        dry = manage(check_mode=True)
        assert dry["statements"], by_hand
        assert dry["diff"]["before"] != dry["diff"]["after"], by_hand
        assert manage()["statements"] == dry["statements"], by_hand
        assert not manage()["changed"], by_hand


def test_what_others_were_granted_is_left_alone(manage, postgresql, database):
    manage()
    postgresql.sql("CREATE ROLE analyst; GRANT USAGE ON SCHEMA shop TO analyst", database=database)
    assert not manage()["changed"]


def test_check_mode_makes_nothing(manage, postgresql, database):
    result = manage(check_mode=True)
    assert result["changed"]
    assert 'CREATE SCHEMA "shop" AUTHORIZATION "shop_owner"' in result["statements"]
    assert "REVOKE CONNECT, TEMPORARY ON DATABASE" in "\n".join(result["statements"])
    assert result["diff"]["before"]["role shop"] == "absent"
    assert postgresql.sql("SELECT 1 FROM pg_roles WHERE rolname = 'shop'") == []
    assert postgresql.sql("SELECT 1 FROM pg_database WHERE datname = %s", database) == []


def test_a_run_that_fails_leaves_no_half(manage, postgresql, database, applications):
    postgresql.create_database(database)
    applications[1]["statement_timeout"] = "soon"
    assert re.search("invalid value for parameter", manage()["msg"])
    assert postgresql.sql("SELECT 1 FROM pg_roles WHERE rolname = 'shop'") == []


def test_two_roles_of_one_name_are_refused(manage, applications):
    applications[1]["username"] = "shop"
    assert re.search("The role shop is wanted twice", manage()["msg"])


def test_without_a_server(run_on_host, applications, tmp_path):
    wanted = {"database": "results", "applications": applications, "unix_socket": str(tmp_path)}
    assert run_on_host("postgresql_access", check_mode=True, **wanted)["changed"]
    assert re.search("No server runs at", run_on_host("postgresql_access", **wanted)["msg"])


ADMINISTRATOR_PASSWORD = "what the provider's page says"


class TestManagedServer:
    """One that belongs to somebody else, whose administrator is no superuser."""

    @pytest.fixture
    def administrator(self, postgresql: Postgresql, database: str) -> str:
        postgresql.sql(f"CREATE ROLE boss LOGIN CREATEROLE CREATEDB PASSWORD {quoted(ADMINISTRATOR_PASSWORD)}")
        postgresql.sql(f"CREATE DATABASE {database} OWNER boss")
        return "boss"

    @pytest.fixture
    def manage_managed(self, manage, postgresql, administrator):
        def run(**arguments: Any) -> dict[str, Any]:
            login = {"login_user": administrator, "login_password": ADMINISTRATOR_PASSWORD, **postgresql.login}
            return manage(**{**login, **arguments})

        return run

    def test_everything_is_made_once_and_without_a_superuser(self, manage_managed, attempt):
        dry = manage_managed(check_mode=True)
        first = manage_managed()
        assert first["changed"]
        assert first["statements"] == dry["statements"]
        assert 'GRANT "shop_owner" TO CURRENT_USER' in first["statements"]
        assert first["diff"]["before"].keys() == first["diff"]["after"].keys()
        again = manage_managed()
        assert (again["changed"], again["statements"], again["diff"]) == (False, [], {"before": {}, "after": {}})
        for user, password, schema in (("shop", PASSWORD, "shop"), ("biller", OTHER_PASSWORD, "bills")):
            settings = "SELECT current_setting('search_path'), current_setting('TimeZone')"
            assert attempt(user, password, settings) == [(schema, "UTC")]
        assert attempt("shop_purge", PURGE_PASSWORD, "SHOW statement_timeout") == [("0",)]
        assert attempt("results_monitor", MONITOR_PASSWORD, "SHOW default_transaction_read_only") == [("on",)]
        made = "SET ROLE shop_owner; CREATE TABLE shop.results (id int)"
        assert attempt("boss", ADMINISTRATOR_PASSWORD, made) == []

    def test_what_is_the_providers_is_left_alone(self, manage_managed, postgresql, database):
        rights = "SELECT datacl::text, (SELECT nspacl::text FROM pg_namespace WHERE nspname = 'public') "
        rights += "FROM pg_database WHERE datname = current_database()"
        before = postgresql.sql(rights, database=database)
        manage_managed()
        assert postgresql.sql(rights, database=database) == before

    def test_where_nobody_may_connect_the_roles_may(self, manage_managed, postgresql, database, attempt):
        postgresql.sql(f"REVOKE CONNECT ON DATABASE {database} FROM PUBLIC")
        postgresql.sql(f"GRANT CONNECT ON DATABASE {database} TO boss")
        assert f'GRANT CONNECT ON DATABASE "{database}" TO "shop"' in manage_managed()["statements"]
        assert attempt("shop", PASSWORD, "SELECT 1") == [(1,)]
        assert not manage_managed()["changed"]

    def test_a_password_is_only_replaced_when_it_differs(self, manage_managed, attempt, applications, postgresql):
        manage_managed()
        applications[0]["password"] = "the next password"
        result = manage_managed()
        assert result["statements"] == ["ALTER ROLE \"shop\" PASSWORD '...'"]
        assert result["diff"]["before"]["role shop"]["password"] == "another one"
        assert attempt("shop", "the next password", "SELECT 1") == [(1,)]
        with contextlib.closing(postgresql.connect("postgres", user="biller", password=OTHER_PASSWORD)):
            assert not manage_managed()["changed"], "the limit of connections is reached, and the password is right"

    def test_changes_by_hand_are_mended(self, manage_managed, postgresql, database):
        manage_managed()
        for by_hand in (
            "ALTER ROLE shop NOLOGIN CONNECTION LIMIT 3",
            "GRANT billing_owner TO shop",
            "GRANT USAGE ON SCHEMA shop TO PUBLIC",
            "REVOKE USAGE ON SCHEMA shop FROM shop",
            "REVOKE shop_purge FROM boss",
            "ALTER ROLE shop IN DATABASE {database} RESET TimeZone",
        ):
            postgresql.sql(by_hand.format(database=database), database=database)
            assert manage_managed()["changed"], by_hand
            assert not manage_managed()["changed"], by_hand

    def test_without_monitoring(self, manage_managed, postgresql):
        manage_managed(monitor_user="")
        assert postgresql.sql("SELECT 1 FROM pg_roles WHERE rolname = 'results_monitor'") == []

    def test_a_pooler_in_transaction_mode_is_refused(self, manage_managed, postgresql, database):
        users = {"boss": ADMINISTRATOR_PASSWORD}
        with Pooler(postgresql, database, users, "transaction") as pooler:
            assert re.search("a pooler that shares sessions", manage_managed(login_port=pooler.port)["msg"])
        assert postgresql.sql("SELECT 1 FROM pg_roles WHERE rolname = 'shop'") == []
        with Pooler(postgresql, database, users, "session") as pooler:
            assert manage_managed(login_port=pooler.port)["changed"]

    def test_a_pooler_that_wants_the_project_in_each_name(self, manage_managed, applications, postgresql, database):
        users = {
            "boss": ADMINISTRATOR_PASSWORD,
            "shop": PASSWORD,
            "shop_purge": PURGE_PASSWORD,
            "results_monitor": MONITOR_PASSWORD,
        }
        del applications[1]
        login = f"user=boss password={quoted(ADMINISTRATOR_PASSWORD)}"
        of_project = {f"{user}.project": password for user, password in users.items()}
        with Pooler(postgresql, database, of_project, "session", login) as pooler:
            through = {"login_port": pooler.port, "login_user": "boss.project"}
            assert 'CREATE ROLE "shop" NOLOGIN' in manage_managed(**through)["statements"]
            assert not manage_managed(**through)["changed"]

    def test_no_session_is_one_sentence_and_no_secret(self, manage_managed):
        result = manage_managed(login_password="not the password")
        assert re.search("No session at .* as boss: .*password authentication failed", result["msg"])
        assert "not the password" not in json.dumps(result)


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
