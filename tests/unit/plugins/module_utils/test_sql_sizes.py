# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sizes for hosts from the smallest to the largest."""

from __future__ import annotations

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _sql_sizes

GIB = 1024**3


def megabytes(text: str) -> float:
    number = int(text.rstrip("kMBG"))
    return number / 1024 if "k" in text else number


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("50%", 4 * GIB),
        ("100%", 8 * GIB),
        ("1%", 8 * GIB // 100),
        ("512mb", GIB // 2),
        ("2GB", 2 * GIB),
        ("2g", 2 * GIB),
    ],
)
def test_a_share_or_a_size(text, size):
    assert _sql_sizes.memory_share(text, 8 * GIB) == size


@pytest.mark.parametrize("text", ["0%", "101%", "much", "", "-1gb", "0mb", "1.5gb", "512"])
def test_nonsense_is_refused_with_a_sentence(text):
    with pytest.raises(_sql_sizes.SizeError, match=f"memory is '{text}'"):
        _sql_sizes.memory_share(text, 8 * GIB)


@pytest.mark.parametrize("memory", [GIB // 4, GIB, 4 * GIB, 64 * GIB, 1024 * GIB])
@pytest.mark.parametrize("connections", [1, 20, 100, 2000])
def test_postgresql_never_promises_more_than_there_is(memory, connections):
    sizes = {name: megabytes(value) for name, value in _sql_sizes.postgresql_sizes(memory, connections).items()}
    available = memory / 1024**2
    assert sizes["shared_buffers"] <= available / 4 or sizes["shared_buffers"] == 32
    assert sizes["shared_buffers"] <= 8192
    assert sizes["shared_buffers"] + sizes["work_mem"] * connections <= available or sizes["work_mem"] == 1
    assert sizes["effective_cache_size"] < available
    assert sizes["min_wal_size"] < sizes["max_wal_size"]
    assert 1 <= sizes["work_mem"] <= 64


def test_postgresql_on_a_host_of_eight_gigabytes():
    assert _sql_sizes.postgresql_sizes(8 * GIB, 100) == {
        "shared_buffers": "2048MB",
        "effective_cache_size": "5324MB",
        "work_mem": "20971kB",
        "maintenance_work_mem": "409MB",
        "max_wal_size": "2048MB",
        "min_wal_size": "512MB",
    }


@pytest.mark.parametrize("memory", [GIB // 4, GIB, 4 * GIB, 64 * GIB, 1024 * GIB])
def test_mariadb_never_promises_more_than_there_is(memory):
    sizes = {name: megabytes(value) for name, value in _sql_sizes.mariadb_sizes(memory).items()}
    assert sizes["innodb_buffer_pool_size"] <= memory / 1024**2 * 0.6
    assert 96 <= sizes["innodb_log_file_size"] <= 2048
