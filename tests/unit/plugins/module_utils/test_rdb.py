# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the checker says about files that a real server wrote, and about what became of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _rdb


@pytest.fixture
def saved(redis_server: Any) -> Path:
    with redis_server.client() as client:
        for number in range(300):
            client.set(f"result-{number}", f"value {number}", ex=3600 if number % 3 == 0 else None)
        client.save()
    return Path(redis_server.directory) / "dump.rdb"


def test_a_whole_file_is_counted(saved: Path, redis_program: Path) -> None:
    contents = _rdb.check(str(redis_program), str(saved))
    assert (contents.keys, contents.expiring, contents.expired) == (300, 100, 0)
    assert contents.version == int(saved.read_bytes()[5:9])


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text"])
def test_a_damaged_file_is_refused_with_a_sentence(saved: Path, redis_program: Path, damage: str) -> None:
    whole = saved.read_bytes()
    middle = len(whole) // 2
    saved.write_bytes(
        {
            "cut": whole[:middle],
            "flipped": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
            "empty": b"",
            "text": b"This is no database, only a long line of text. " * 20,
        }[damage]
    )
    with pytest.raises(_rdb.RdbError) as refused:
        _rdb.check(str(redis_program), str(saved))
    sentence = str(refused.value)
    assert sentence.startswith(f"{saved} is not a complete RDB file: ")
    assert sentence.endswith(".")
    assert not [unwanted for unwanted in ("offset", "\n", "\0") if unwanted in sentence]


def test_a_file_of_a_later_release_is_called_so(saved: Path, redis_program: Path) -> None:
    whole = saved.read_bytes()
    saved.write_bytes(whole[:5] + b"0099" + whole[9:])
    with pytest.raises(_rdb.TooNewError, match=r"has version 99 of the format RDB, which .* cannot read yet"):
        _rdb.check(str(redis_program), str(saved))


@pytest.mark.parametrize(
    ("server", "name"),
    [
        ("/usr/bin/redis-server", "redis-check-rdb"),
        ("/usr/bin/valkey-server", "valkey-check-rdb"),
        ("/opt/valkey/redis-server", "redis-check-rdb"),
    ],
)
def test_the_checker_has_the_name_of_its_server(server: str, name: str) -> None:
    assert _rdb.checker(server, "rdb") == name
