# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verifiers and quoting, judged by a real server."""

from __future__ import annotations

import contextlib

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _postgresql

PASSWORDS = [
    "p@ss:/w%rd#?&'\"{{ }}\\ $HOME `x`",
    "Pässwörd ﬁn Ⅸ",
    "no\u00a0break and soft\u00adhyphen",
    "\u0627\u0644\u0633\u0631",  # Arabic
    "\u0627mixed\u0628",  # left to right inside right to left: taken as it is
    "private \ue000 use",
]


@pytest.mark.parametrize("password", PASSWORDS, ids=ascii)
def test_the_server_lets_in_by_our_verifier_and_we_know_its_own(postgresql, password):
    role = postgresql.new_name("verified")
    postgresql.sql(f"CREATE ROLE {role} LOGIN PASSWORD {_postgresql.literal(_postgresql.verifier(password))}")
    try:
        postgresql.connect(user=role, password=password).close()
        with contextlib.closing(postgresql.connect()) as connection:
            made = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
        assert _postgresql.verifies(password, made)
        assert not _postgresql.verifies(f"{password}x", made)
    finally:
        postgresql.sql(f"DROP ROLE {role}")


@pytest.mark.parametrize(
    "stored", [None, "", "md5d41d8cd98f00b204e9800998ecf8427e", "SCRAM-SHA-256$4096:=$a:b", "SCRAM-SHA-256$x"]
)
def test_other_verifiers_verify_nothing(stored):
    assert not _postgresql.verifies("password", stored)


def test_salts_differ():
    assert _postgresql.verifier("password") != _postgresql.verifier("password")


@pytest.mark.parametrize("text", ["it's", "back\\slash", "both'\\", "%s {} $1"])
def test_quoting(postgresql, text):
    session = _postgresql.connect(
        {"unix_socket": str(postgresql.socket_directory), "login_port": postgresql.port, "login_user": "postgres"}
    )
    assert session is not None
    assert session.rows(f"SELECT {_postgresql.literal(text)} AS {_postgresql.name(text)}") == [(text,)]
    with pytest.raises(_postgresql.PostgresqlError, match="refuses"):
        session.run("SELECT nothing")
    session.close()


def test_nobody_there(tmp_path):
    assert _postgresql.connect({"unix_socket": str(tmp_path), "login_port": 5432, "login_user": "postgres"}) is None


def test_who_is_not_let_in_gets_a_sentence(postgresql):
    where = {"unix_socket": str(postgresql.socket_directory), "login_port": postgresql.port, "login_user": "stranger"}
    with pytest.raises(_postgresql.PostgresqlError, match=r"No session at .* as stranger"):
        _postgresql.connect(where)
