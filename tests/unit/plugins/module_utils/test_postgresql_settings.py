# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How settings are written and compared."""

from __future__ import annotations

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _postgresql_settings
from ansible_collections.resultops.celery.plugins.module_utils._postgresql_settings import Running


@pytest.mark.parametrize(
    ("wanted", "running"),
    [
        ("yes", Running("on", None, "bool", "sighup")),
        ("0", Running("off", None, "bool", "sighup")),
        ("128MB", Running("16384", "8kB", "integer", "postmaster")),
        ("0.125GB", Running("16384", "8kB", "integer", "postmaster")),
        ("16384", Running("16384", "8kB", "integer", "postmaster")),
        ("4MB", Running("4096", "kB", "integer", "user")),
        ("5s", Running("5000", "ms", "integer", "user")),
        ("1min", Running("60", "s", "integer", "user")),
        ("-1", Running("-1", "ms", "integer", "superuser")),
        ("0.90", Running("0.9", None, "real", "sighup")),
        ("LZ4", Running("lz4", None, "enum", "superuser")),
        ("localhost, 192.0.2.1", Running("localhost, 192.0.2.1", None, "string", "postmaster")),
        ("60", Running("0", "s", "integer", "user", "60")),
    ],
)
def test_the_same_however_it_is_spelt(wanted, running):
    assert _postgresql_settings.same(wanted, running)


@pytest.mark.parametrize(
    ("wanted", "running"),
    [
        ("off", Running("on", None, "bool", "sighup")),
        ("maybe", Running("on", None, "bool", "sighup")),
        ("128kB", Running("16384", "8kB", "integer", "postmaster")),
        ("5s", Running("5", "ms", "integer", "user")),
        ("5 parsecs", Running("5", "ms", "integer", "user")),
        ("UTC", Running("utc", None, "string", "user")),
        ("0.8", Running("0.9", None, "real", "sighup")),
    ],
)
def test_not_the_same(wanted, running):
    assert not _postgresql_settings.same(wanted, running)


def test_values_are_quoted():
    text = _postgresql_settings.rendered({"b": "it's \\ so", "a": "on"})
    assert text.splitlines()[1:] == ["a = 'on'", "b = 'it''s \\\\ so'"]


def test_values_are_shown_with_their_unit():
    assert _postgresql_settings.shown(Running("16384", "8kB", "integer", "postmaster")) == "131072kB"
    assert _postgresql_settings.shown(Running("-1", "kB", "integer", "user")) == "-1"
    assert _postgresql_settings.shown(Running("on", None, "bool", "user")) == "on"
