# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How things are spelt for MariaDB."""

from __future__ import annotations

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _mysql


@pytest.mark.parametrize(
    ("network", "pattern"),
    [
        ("192.0.2.0/24", "192.0.2.0/255.255.255.0"),
        ("192.0.2.7/32", "192.0.2.7"),
        ("2001:db8::7/128", "2001:db8::7"),
        ("0.0.0.0/0", "%"),
        ("::/0", "%"),
    ],
)
def test_networks(network, pattern):
    assert _mysql.host_pattern(network) == pattern


@pytest.mark.parametrize("text", ["it's", "back\\slash", "both'\\", "%s {} `x`", '"'])
def test_quoting(mariadb, text):
    assert mariadb.sql(f"SELECT {_mysql.literal(text)}") == [(text,)]


@pytest.mark.parametrize("password", ["p@ss:/w%rd#?&'\"{{ }}\\", "Pässwörd"])
def test_the_hash_is_the_servers_own(mariadb, password):
    assert mariadb.sql("SELECT PASSWORD(%s)", password) == [(_mysql.password_hash(password),)]


def test_the_certificate_that_is_shown(mariadb):
    shown = _mysql.served_certificate(str(mariadb.socket))
    assert shown is not None
    assert shown == _mysql.first_certificate(str(mariadb.certificate))
    assert _mysql.first_certificate("/nowhere") is None
    assert _mysql.first_certificate(str(mariadb.key)) is None


def test_nobody_there(tmp_path):
    assert _mysql.connect({"unix_socket": str(tmp_path / "none"), "login_user": "root"}) is None
    assert _mysql.served_certificate(str(tmp_path / "none")) is None
