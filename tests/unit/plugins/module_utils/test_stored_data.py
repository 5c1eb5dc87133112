# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a server that stopped left any key, judged by files that a real server wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _stored_data

FACT = b"\xfa\x09redis-ver\x067.0.15"


def test_a_directory_without_files_has_no_data(tmp_path: Path) -> None:
    assert not _stored_data.has_data(str(tmp_path))
    assert not _stored_data.has_data(str(tmp_path / "absent"))
    (tmp_path / "notes.txt").write_text("not of a server")
    assert not _stored_data.has_data(str(tmp_path))


@pytest.mark.parametrize("appendonly", ["yes", "no"])
@pytest.mark.parametrize("key", [None, "k"])
def test_what_a_server_left_is_seen(stopped_server: Any, appendonly: str, key: str | None) -> None:
    stopped_server.start(appendonly=appendonly)
    client = stopped_server.client()
    if key:
        client.set(key, "")
    if appendonly == "no":
        client.save()
    stopped_server.kill()
    left = [path for path in stopped_server.directory.rglob("*") if path.suffix in (".rdb", ".aof")]
    assert left, "the server left nothing to look at"
    assert _stored_data.has_data(str(stopped_server.directory)) is bool(key)


def test_a_rewritten_append_only_file_is_seen(stopped_server: Any, wait_until: Any) -> None:
    """All the data are in its base, and what was added since is empty."""
    stopped_server.start(appendonly="yes")
    client = stopped_server.client()
    client.set("key", "x" * 10)
    client.bgrewriteaof()
    wait_until(lambda: client.info("persistence")["aof_rewrite_in_progress"] == 0)
    stopped_server.kill()
    assert _stored_data.has_data(str(stopped_server.directory))


@pytest.mark.parametrize(
    ("head", "empty"),
    [
        (b"REDIS0010" + FACT + b"\xff", True),
        (b"REDIS0010" + FACT + b"\xfa\x0aredis-bits\xc0\x40" + b"\xff", True),
        (b"REDIS0010" + b"\xfa\x05ctime\xc2\x01\x02\x03\x04" + b"\xff", True),
        (b"REDIS0010" + b"\xfa\x03abc\xc1\x01\x02" + b"\xff", True),
        (b"REDIS0010" + b"\xfa\x40\x03abc\x80\x00\x00\x00\x01x" + b"\xff", True),
        (b"REDIS0010" + b"\xfa\x03abc\x81" + b"\x00" * 7 + b"\x01x" + b"\xff", True),
        (b"REDIS0010" + FACT + b"\xfe\x00", False),
        (b"REDIS0010" + FACT + b"\xf5", False),
        # What cannot be understood may be data.
        (b"REDIS0010" + b"\xfa\x03abc\xc3\x01\x01x" + b"\xff", False),
        (b"REDIS0010" + FACT, False),
        (b"REDIS", False),
        (b"VALKEY080" + FACT + b"\xff", False),
        (b"*2\r\n$6\r\nSELECT\r\n", False),
    ],
)
def test_the_end_right_after_the_facts_means_empty(head: bytes, empty: bool) -> None:
    assert _stored_data.is_empty_rdb(head) is empty


def test_a_single_file_is_judged_by_its_name_and_content(tmp_path: Path) -> None:
    for name, content, expected in (
        ("a.rdb", b"REDIS0010" + FACT + b"\xfe", True),
        ("b.aof", b"", False),
        ("c.manifest", b"file a.rdb", False),
    ):
        (tmp_path / name).write_bytes(content)
        assert _stored_data.file_has_data(str(tmp_path / name)) is expected
    assert not _stored_data.file_has_data(str(tmp_path / "absent.rdb"))
