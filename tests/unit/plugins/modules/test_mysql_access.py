# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module against a real server: each account can log in and do no more, and changes by hand are mended."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pymysql
import pytest
from ansible_collections.resultops.celery.tests.unit.sql_servers import Mariadb

PASSWORD = "p@ss:/w%rd#?&'\"{{ }}\\ $HOME `x`"
OTHER_PASSWORD = "%s another; one=\\n%41 *"
PURGE_PASSWORD = "only for the removal"
OWNER_PASSWORD = "only for the tables"
MONITOR_PASSWORD = "only to look at it"
DENIED = 1044, 1045, 1142, 1143, 1227, 1370, 1410, 1698


@pytest.fixture(scope="module")
def mariadb() -> Iterator[Mariadb]:
    """A server of its own, because each of these tests removes all of its accounts."""
    with Mariadb() as server:
        yield server


@pytest.fixture
def applications() -> list[dict[str, Any]]:
    return [
        {
            "name": "web_shop",
            "password": PASSWORD,
            "purge_password": PURGE_PASSWORD,
            "owner_password": OWNER_PASSWORD,
        },
        {
            "name": "billing",
            "database": "bills",
            "username": "biller",
            "password": OTHER_PASSWORD,
            "connection_limit": 1,
        },
    ]


@pytest.fixture
def manage(
    mariadb: Mariadb, applications: list[dict[str, Any]], run_on_host: Callable[..., dict[str, Any]]
) -> Iterator[Callable[..., dict[str, Any]]]:
    def run(**arguments: Any) -> dict[str, Any]:
        wanted = {
            "applications": applications,
            "clients": ["127.0.0.0/8", "192.0.2.0/24"],
            "monitor_password": MONITOR_PASSWORD,
            "unix_socket": str(mariadb.socket),
            "login_user": mariadb.superuser,
            **arguments,
        }
        return run_on_host("mysql_access", **wanted)

    yield run
    for user, host in mariadb.sql("SELECT User, Host FROM mysql.global_priv"):
        if user not in (mariadb.superuser, "root", "mysql", "mariadb.sys", "PUBLIC"):
            with contextlib.suppress(pymysql.err.OperationalError):
                mariadb.sql(f"DROP USER '{user}'@'{host}'" if host else f"DROP ROLE `{user}`")
    for database in ("web_shop", "bills", "webXshop"):
        mariadb.drop_database(database)


@pytest.fixture
def attempt(mariadb: Mariadb) -> Callable[..., Any]:
    """What one statement of an account gives, or the number of the error."""

    def run(user: str, password: str, statement: str, **options: Any) -> Any:
        try:
            with contextlib.closing(
                mariadb.connect(user=user, password=password, **({"host": "127.0.0.1"} | options))
            ) as connection:
                cursor = connection.cursor()
                cursor.execute(statement)
                return list(cursor.fetchall())
        except pymysql.MySQLError as error:
            return error.args[0]

    return run


def test_everything_is_made_once(manage, mariadb):
    assert manage()["changed"]
    named = "SELECT SCHEMA_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME IN (%s, %s)"
    assert set(mariadb.sql(named, "web_shop", "bills")) == {("web_shop", "utf8mb4_bin"), ("bills", "utf8mb4_bin")}
    again = manage()
    assert (again["changed"], again["statements"], again["diff"]) == (False, [], {"before": {}, "after": {}})


def test_everybody_logs_in_with_any_password_over_tls_only(manage, attempt):
    manage()
    accounts = {
        "web_shop": PASSWORD,
        "biller": OTHER_PASSWORD,
        "web_shop_purge": PURGE_PASSWORD,
        "web_shop_owner": OWNER_PASSWORD,
        "results_monitor": MONITOR_PASSWORD,
    }
    for user, password in accounts.items():
        assert attempt(user, password, "SELECT 1") == [(1,)], user
        assert attempt(user, f"{password} not", "SELECT 1") in DENIED, user
        assert attempt(user, password, "SELECT 1", ssl=None, ssl_disabled=True) in DENIED, user


FORBIDDEN = (
    "CREATE TABLE web_shop.mine (id int)",
    "CREATE DATABASE mine",
    "CREATE USER mine",
    "SELECT * FROM bills.results",
    "SELECT * FROM web_shop.results",
    "SELECT * FROM mysql.global_priv",
    "SET GLOBAL max_connections = 1000",
    "SELECT LOAD_FILE('/etc/passwd') INTO OUTFILE '/tmp/never'",
    "GRANT SELECT ON web_shop.* TO biller@'127.0.0.0/255.0.0.0'",
    "SHUTDOWN",
)


def test_workers_can_do_nothing_before_the_migrations_grant_it(manage, attempt, mariadb):
    manage()
    for database in ("web_shop", "bills"):
        mariadb.sql(f"CREATE TABLE {database}.results (id int)")
    answers = {statement: attempt("web_shop", PASSWORD, statement) for statement in FORBIDDEN}
    assert {statement: answer for statement, answer in answers.items() if answer not in DENIED} == {}


def test_what_the_migrations_grant_stays(manage, mariadb):
    manage()
    mariadb.sql("CREATE TABLE web_shop.results (id int)")
    mariadb.sql("GRANT SELECT, INSERT ON web_shop.results TO 'web_shop'@'127.0.0.0/255.0.0.0'")
    mariadb.sql("GRANT SELECT (id) ON web_shop.results TO 'results_monitor'@'127.0.0.1'")
    assert not manage()["changed"]


def test_the_owner_changes_its_own_tables_only(manage, attempt, mariadb):
    manage()
    mariadb.create_database("webXshop")
    assert attempt("web_shop_owner", OWNER_PASSWORD, "CREATE TABLE web_shop.made (id int)") == []
    assert attempt("web_shop_owner", OWNER_PASSWORD, "CREATE TABLE bills.made (id int)") in DENIED
    # In what is granted on a whole database, an underscore would stand for any character.
    assert attempt("web_shop_owner", OWNER_PASSWORD, "CREATE TABLE webXshop.made (id int)") in DENIED


def test_connections_are_limited(manage, mariadb):
    manage()
    login = {"user": "biller", "password": OTHER_PASSWORD, "host": "127.0.0.1"}
    with (
        contextlib.closing(mariadb.connect(**login)),
        pytest.raises(pymysql.err.OperationalError, match="max_user_connections"),
    ):
        mariadb.connect(**login)


def test_no_password_and_no_hash_is_said(manage, mariadb):
    said = json.dumps(manage())
    priv = mariadb.sql(
        "SELECT JSON_VALUE(Priv, '$.authentication_string') FROM mysql.global_priv WHERE User = 'biller'"
    )
    for secret in (PASSWORD, OTHER_PASSWORD, PURGE_PASSWORD, OWNER_PASSWORD, MONITOR_PASSWORD, priv[0][0]):
        assert json.dumps(secret)[1:-1] not in said


def test_a_password_is_only_replaced_when_it_differs(manage, attempt, applications):
    manage()
    applications[1]["password"] = "the next password"
    result = manage()
    assert len(result["statements"]) == 2, "one for each network"
    assert result["diff"]["before"]["'biller'@'127.0.0.0/255.0.0.0'"]["password"] == "another one"
    assert attempt("biller", "the next password", "SELECT 1") == [(1,)]
    assert attempt("biller", OTHER_PASSWORD, "SELECT 1") in DENIED


SHOP = "'web_shop'@'127.0.0.0/255.0.0.0'"
BY_HAND = (
    f"GRANT ALL ON *.* TO {SHOP}",
    f"GRANT SELECT ON bills.* TO {SHOP}",
    f"GRANT SELECT ON bills.results TO {SHOP}",
    f"GRANT SELECT (id) ON bills.results TO {SHOP}",
    f"GRANT CREATE ON web_shop.* TO {SHOP}",
    f"ALTER USER {SHOP} REQUIRE NONE",
    f"ALTER USER {SHOP} WITH MAX_USER_CONNECTIONS 0",
    f"ALTER USER {SHOP} ACCOUNT LOCK",
    f"ALTER USER {SHOP} IDENTIFIED BY 'another'",
    f"ALTER USER {SHOP} IDENTIFIED VIA unix_socket OR mysql_native_password USING PASSWORD('known')",
    f"DROP USER {SHOP}",
    "CREATE USER 'web_shop'@'%' IDENTIFIED BY 'known to somebody'",
    "CREATE USER ''@'%'",
    "CREATE USER 'root'@'%' IDENTIFIED BY 'known to somebody'",
    "REVOKE CREATE ON `web\\_shop`.* FROM 'web_shop_owner'@'127.0.0.1'",
    "ALTER DATABASE web_shop CHARACTER SET latin1",
)


def test_changes_by_hand_are_mended(manage, mariadb):
    manage()
    mariadb.sql("CREATE TABLE bills.results (id int)")
    for by_hand in BY_HAND:
        mariadb.sql(by_hand)
        dry = manage(check_mode=True)
        assert dry["statements"], by_hand
        assert dry["diff"]["before"] != dry["diff"]["after"], by_hand
        assert manage()["statements"] == dry["statements"], by_hand
        assert not manage()["changed"], by_hand


def test_a_granted_role_is_taken_back(manage, mariadb):
    manage()
    mariadb.sql("CREATE ROLE IF NOT EXISTS everything")
    try:
        mariadb.sql(f"GRANT everything TO {SHOP}")
        assert manage()["statements"] == [f"REVOKE `everything` FROM {SHOP}"]
        assert not manage()["changed"]
    finally:
        mariadb.sql("DROP ROLE everything")


def test_accounts_of_others_are_left_alone(manage, mariadb):
    manage()
    mariadb.sql("CREATE USER analyst@'%' IDENTIFIED BY 'of somebody else'; ")
    mariadb.sql("GRANT SELECT ON web_shop.* TO analyst@'%'")
    assert not manage()["changed"]


def test_check_mode_makes_nothing(manage, mariadb):
    result = manage(check_mode=True)
    assert "CREATE DATABASE `web_shop` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin" in result["statements"]
    assert result["diff"]["before"][SHOP] == "absent"
    assert mariadb.sql("SELECT 1 FROM mysql.global_priv WHERE User = 'web_shop'") == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"username": "web_shop"}, "The account web_shop is wanted by web_shop and billing"),
        ({"database": "web_shop"}, "The database web_shop is wanted twice"),
        ({"clients": ["nowhere"]}, "One of the networks is none"),
    ],
)
def test_mistakes_are_one_sentence(manage, applications, change, sentence):
    applications[1] |= change
    assert sentence in manage()["msg"]


def test_without_a_server(run_on_host, applications, tmp_path):
    wanted = {"applications": applications, "unix_socket": str(tmp_path / "none")}
    assert run_on_host("mysql_access", check_mode=True, **wanted)["changed"]
    assert "No server runs at" in run_on_host("mysql_access", **wanted)["msg"]
