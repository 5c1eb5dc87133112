# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The setting for each kind of broker; what it does is in tests/unit/roles/test_worker_rpc.py."""

from __future__ import annotations

import pytest
from ansible_collections.resultops.celery.plugins.filter import broker_settings as plugin

URL = "amqps://shop:p%40ss@mq1:5671/shop"


def test_an_encrypted_broker_is_verified() -> None:
    assert plugin.broker_settings(URL, {"ca_file": "/etc/ca.crt"}) == {
        "broker_use_ssl": {"ca_certs": "/etc/ca.crt", "cert_reqs": 2, "server_hostname": None}
    }
    wishes = {"certificate_file": "/a.crt", "private_key_file": "/a.key", "server_name": "mq.example.org"}
    assert plugin.broker_settings(URL, {"ca_file": "/etc/ca.crt", **wishes})["broker_use_ssl"] == {
        "ca_certs": "/etc/ca.crt",
        "cert_reqs": 2,
        "server_hostname": "mq.example.org",
        "certfile": "/a.crt",
        "keyfile": "/a.key",
    }


@pytest.mark.parametrize("url", ["amqp://mq1//", "rediss://redis1/0", "", None])
def test_others_get_nothing(url: str | None) -> None:
    assert plugin.broker_settings(url, {"ca_file": "/etc/ca.crt"}) == plugin.broker_settings(url) == {}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (None, "TLS without a ca_file"),
        ({"ca_file": "ca.crt"}, "absolute path"),
        ({"ca_file": "/ca.crt", "certificate_file": "/a.crt"}, "together or leave out both"),
        ({"cafile": "/ca.crt"}, "unknown entries cafile"),
        ("/ca.crt", "must be a dictionary"),
    ],
)
def test_options_that_cannot_be_used_are_refused(options: object, said: str) -> None:
    with pytest.raises(plugin.AnsibleFilterError, match=said):
        plugin.broker_settings(URL, options)  # type: ignore[arg-type]
