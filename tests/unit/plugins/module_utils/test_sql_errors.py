# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The class of each error that real servers gave, and the sentence that is told of it."""

from __future__ import annotations

import psycopg
import pymysql
import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _celery_client as client
from ansible_collections.resultops.celery.plugins.module_utils import _report, _sql_errors
from sqlalchemy import exc


def of_postgresql(state: str) -> Exception:
    return psycopg.errors.lookup(state)("the server said something")


@pytest.mark.parametrize(
    ("state", "failure_class"),
    [
        ("28P01", "auth"),
        ("28000", "auth"),
        ("42501", "acl"),
        ("42P01", "schema"),
        ("42703", "schema"),
        ("22003", "schema"),
        ("3F000", "schema"),
        ("25006", "read_only"),
        ("53100", "read_only"),
        ("53300", "too_many_connections"),
        ("57P01", "refused"),
        ("57P03", "refused"),
        ("57014", "timeout"),
        ("55P03", "timeout"),
        ("08006", "refused"),
        ("XX000", None),
    ],
)
def test_states_of_postgresql(state: str, failure_class: str | None) -> None:
    assert _sql_errors.class_of(of_postgresql(state)) == failure_class


@pytest.mark.parametrize(
    ("code", "failure_class"),
    [
        (1045, "auth"),
        (1044, "acl"),
        (1142, "acl"),
        (1146, "schema"),
        (1054, "schema"),
        (1406, "schema"),
        (1290, "read_only"),
        (1040, "too_many_connections"),
        (1226, "too_many_connections"),
        (1205, "timeout"),
        (1, None),
    ],
)
def test_numbers_of_mysql(code: int, failure_class: str | None) -> None:
    assert _sql_errors.class_of(pymysql.err.OperationalError(code, "something")) == failure_class


@pytest.mark.parametrize(
    ("said", "failure_class"),
    [
        ('connection failed: FATAL:  password authentication failed for user "app"', "auth"),
        ('connection failed: FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "app", no encryption', "auth"),
        ('FATAL:  role "app" is not permitted to log in', "auth"),
        ('FATAL:  database "results" does not exist', "schema"),
        ("FATAL:  sorry, too many clients already", "too_many_connections"),
        ('FATAL:  too many connections for role "app"', "too_many_connections"),
        (
            "FATAL:  remaining connection slots are reserved for superusers",
            "too_many_connections",
        ),
        ("ERROR:  no more connections allowed (max_client_conn)", "too_many_connections"),
        ("FATAL:  unsupported startup parameter: options", "config"),
        ("server does not support SSL, but SSL was required", "tls"),
        ('server certificate for "server" does not match host name "db1"', "tls"),
        ("SSL error: certificate verify failed", "tls"),
        ("could not translate host name to address: Name or service not known", "dns"),
        ("connection timeout expired", "timeout"),
        ("FATAL:  query_wait_timeout", "timeout"),
        ("Connection refused. Is the server running on that host", "refused"),
        ("FATAL:  the database system is starting up", "refused"),
        ("server closed the connection unexpectedly", "refused"),
        ("something else", None),
    ],
)
def test_words_of_the_library_and_of_poolers(said: str, failure_class: str | None) -> None:
    assert _sql_errors.class_of(psycopg.OperationalError(said)) == failure_class


def test_errors_of_others_are_not_touched() -> None:
    assert _sql_errors.class_of(ValueError("permission denied for table x")) is None


def test_the_statement_neither_decides_nor_is_told() -> None:
    error = exc.ProgrammingError("SELECT 'read-only timeout'", {"a": "s3cret"}, of_postgresql("42P01"))
    assert client.classify(error)[0] == "schema"
    failure_class, sentence = client.explain(error)
    assert failure_class == "schema"
    assert sentence == f"ProgrammingError: the server said something. {_sql_errors.REMEDIES['schema']}"


def test_every_class_is_known_and_has_a_remedy() -> None:
    named = {*_sql_errors.CLASS_OF_STATE.values(), *_sql_errors.CLASS_OF_CODE.values(), *_sql_errors.REMEDIES}
    named |= {failure_class for _pattern, failure_class in _sql_errors.CLASS_OF_TEXT}
    assert named <= set(_report.FAILURE_CLASSES)
    assert named <= set(client.REMEDIES)
