# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a URL and a broker_use_ssl say; what py-amqp makes of them is in tests/unit/roles/test_worker_rpc.py."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _backend_broker as broker


@pytest.mark.parametrize(
    ("url", "amqp", "amqps", "hosts"),
    [
        ("amqps://u:p%3B@mq1:5671/v", True, True, {"mq1"}),
        ("amqp://u:p@mq1//;amqps://u:p@[::1]:5671/v", True, True, {"mq1", "::1"}),
        ("pyamqp://mq1", True, False, {"mq1"}),
        ("rediss://:p@redis1:6379/0", False, False, {"redis1"}),
        ("amqps://u:p@[broken/v", True, True, set()),
        ("", False, False, set()),
    ],
)
def test_a_url_is_read(url: str, amqp: bool, amqps: bool, hosts: set[str]) -> None:
    assert (broker.is_amqp(url), broker.uses_amqps(url), broker.hosts_in(url)) == (amqp, amqps, hosts)


@pytest.mark.parametrize(
    ("settings", "lacks"),
    [
        ({"cert_reqs": 2, "server_hostname": None, "ca_certs": "/ca.crt"}, []),
        ({"cert_reqs": "2", "server_hostname": "mq"}, []),
        ({"cert_reqs": 2}, ["server_hostname"]),
        ({"server_hostname": None}, ["cert_reqs: 2"]),
        ({"cert_reqs": 1, "server_hostname": None}, ["cert_reqs: 2"]),
        ({"context": {"check_hostname": True}, "server_hostname": "mq"}, []),
        ({"context": {"cafile": "/ca.crt"}, "server_hostname": "mq"}, ["check_hostname: true in context"]),
        (True, ["cert_reqs: 2", "server_hostname"]),
        (False, ["cert_reqs: 2", "server_hostname"]),
        (None, ["cert_reqs: 2", "server_hostname"]),
    ],
)
def test_what_does_not_verify_is_found(settings: Any, lacks: list[str]) -> None:
    assert broker.lacks_of(settings) == lacks


def test_what_is_written_verifies() -> None:
    written = broker.broker_settings("amqps://mq1/v", {"ca_file": "/ca.crt"})
    assert broker.lacks_of(written["broker_use_ssl"]) == []
