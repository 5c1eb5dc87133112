# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a server listens, and whether its certificate is the one in the file."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _redis_tls


@pytest.mark.parametrize(
    ("bind", "address"),
    [
        ("* -::*", "127.0.0.1"),
        (str(ip_address(0)), "127.0.0.1"),
        ("::", "::1"),
        ("", "127.0.0.1"),
        ("10.1.2.3 127.0.0.1", "127.0.0.1"),
        ("10.1.2.3 10.1.2.4", "10.1.2.3"),
        ("-::1", "::1"),
        ("redis.example.org", "redis.example.org"),
    ],
)
def test_the_address_is_one_that_the_server_listens_on(bind: str, address: str) -> None:
    assert _redis_tls._local_address(bind) == address


def live(server: Any, **changes: str) -> dict[str, str]:
    return {**server.tls_settings, "bind": "127.0.0.1", "tls-port": str(server.port), **changes}


def compare(settings: dict[str, str]) -> _redis_tls.Answer:
    return _redis_tls.serves_other_certificate(settings, None, 5, "")


@pytest.mark.parametrize("asks", ["no", "optional", "yes"])
def test_the_served_certificate_is_compared(stopped_server: Any, write_certificate: Any, asks: str) -> None:
    stopped_server.start(tls_auth_clients=asks)
    assert compare(live(stopped_server)) == _redis_tls.Answer(False)
    write_certificate(stopped_server.directory, "server")
    assert compare(live(stopped_server)) == _redis_tls.Answer(True)


def test_only_the_first_certificate_of_the_file_counts(redis_server: Any, write_certificate: Any) -> None:
    file = redis_server.directory / "server.crt"
    write_certificate(redis_server.directory, "authority")
    file.write_text(f"a comment\n{file.read_text()}{(redis_server.directory / 'authority.crt').read_text()}")
    assert compare(live(redis_server)) == _redis_tls.Answer(False)


def test_what_cannot_be_compared_is_a_warning(redis_server: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("nothing")
    for path in ("/nowhere", str(tmp_path / "empty")):
        answer = compare(live(redis_server, **{"tls-cert-file": path}))
        assert not answer.differs
        assert path in answer.warning
    closed = compare(live(redis_server, **{"tls-port": "1"}))
    assert "127.0.0.1:1 could not be compared" in closed.warning
