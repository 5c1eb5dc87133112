# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How settings are written and compared."""

from __future__ import annotations

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _mysql_settings
from ansible_collections.resultops.celery.plugins.module_utils._mysql_settings import Running


@pytest.mark.parametrize(
    ("wanted", "running"),
    [
        ("ON", Running("ON", False, "BOOLEAN")),
        ("1", Running("ON", False, "BOOLEAN")),
        ("64M", Running("67108864", False, "BIGINT UNSIGNED")),
        ("67108864", Running("67108864", False, "BIGINT UNSIGNED")),
        ("-1", Running("-1", False, "BIGINT")),
        ("2.5", Running("2.500000", False, "DOUBLE")),
        ("B,A", Running("A,B", False, "SET")),
        ("TLSv1.2, TLSv1.3", Running("TLSv1.2,TLSv1.3", True, "SET")),
        ("utf8mb4", Running("UTF8MB4", False, "ENUM")),
        ("ON", Running("1", False, "ENUM")),
        ("/a/b", Running("/a/b", True, "VARCHAR")),
    ],
)
def test_the_same_however_it_is_spelt(wanted, running):
    assert _mysql_settings.same(wanted, running)


@pytest.mark.parametrize(
    ("wanted", "running"),
    [
        ("OFF", Running("ON", False, "BOOLEAN")),
        ("64K", Running("67108864", False, "BIGINT UNSIGNED")),
        ("A", Running("A,B", False, "SET")),
        ("latin1", Running("utf8mb4", False, "ENUM")),
        ("/a/B", Running("/a/b", True, "VARCHAR")),
    ],
)
def test_not_the_same(wanted, running):
    assert not _mysql_settings.same(wanted, running)


def test_the_file():
    text = _mysql_settings.rendered({"time_zone": "+00:00", "init_connect": 'SET x = "#y"', "a": "1"})
    assert text.splitlines()[1:] == [
        "[mariadbd]",
        "a = 1",
        'init_connect = "SET x = \\"#y\\""',
        "default_time_zone = +00:00",
    ]
