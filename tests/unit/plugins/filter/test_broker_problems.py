# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each mistake is named by one sentence, and what works is not."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.filter import broker_problems as plugin

SECRET = "correct horse battery staple"
AMQPS = "amqps://shop:correct%20horse@mq1:5671/shop"
CLUSTER = ";".join(AMQPS.replace("mq1", name) for name in ("mq1", "mq2", "mq3"))
VERIFIED = {"ca_certs": "/ca.crt", "cert_reqs": 2, "server_hostname": None}
DEFAULTS = {**plugin.OF_OTHER_BACKENDS, "worker_profile": "fast", "worker_client_certificate": "none"}


def found(url: str = AMQPS, backend: str = "rpc", **more: Any) -> list[str]:
    given = {**DEFAULTS, "worker_broker_url": url, "worker_backend": backend, "worker_settings": {}, **more}
    return plugin.broker_problems(given)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"backend": "redis", "worker_backend_hosts": ["redis1"], "worker_backend_password": SECRET},
        {"url": CLUSTER, "worker_broker_server_name": "mq.example.org"},
        {"url": CLUSTER, "worker_settings": {"broker_use_ssl": {**VERIFIED, "server_hostname": "mq.example.org"}}},
        {"url": "amqp://shop@127.0.0.1//"},
        {"backend": "redis", "url": "rediss://redis1/0", "worker_settings": {"broker_use_ssl": {"ssl_cert_reqs": 2}}},
        {"worker_broker_trusted_ca_file": "/ca.crt", "worker_client_certificate": "issued"},
        {"worker_profile": "stock", "worker_settings": {"task_ignore_result": False}},
        {"backend": "redis", "worker_settings": {"task_ignore_result": True, "result_compression": "gzip"}},
    ],
)
def test_what_works_is_not_named(given: dict[str, Any]) -> None:
    assert found(**given) == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"worker_settings": {"broker_use_ssl": True}},
            "broker_use_ssl lacks cert_reqs: 2 and server_hostname, so that",
        ),
        ({"worker_settings": {"broker_use_ssl": None}}, "broker_use_ssl lacks cert_reqs: 2 and server_hostname"),
        (
            {"backend": "redis", "worker_settings": {"broker_use_ssl": {"ca_certs": "/ca.crt", "cert_reqs": 2}}},
            "broker_use_ssl lacks server_hostname, so that Celery would take the certificate of somebody else",
        ),
        (
            {"url": "amqp://shop@mq1//", "worker_settings": {"broker_use_ssl": {"server_hostname": None}}},
            "broker_use_ssl lacks cert_reqs: 2, so",
        ),
        ({"url": CLUSTER}, "worker_broker_url names 3 brokers, and Celery would look for the name of the first"),
        (
            {"url": "amqp://shop@127.0.0.1//", "worker_broker_trusted_ca_file": "/ca.crt"},
            "worker_broker_trusted_ca_file would have no effect: leave it empty",
        ),
        (
            {"worker_broker_server_name": "mq", "worker_settings": {"broker_use_ssl": VERIFIED}},
            "worker_broker_server_name would have no effect",
        ),
        ({"url": "rediss://:x@redis1/0"}, "worker_backend is rpc and worker_broker_url begins with rediss://: results"),
        ({"worker_profile": "durable"}, "worker_profile is durable and worker_backend is rpc: a result is lost with"),
        (
            {"worker_backend_hosts": ["mq1"], "worker_backend_password": SECRET, "worker_backend_key_prefix": "shop"},
            "worker_backend_hosts, worker_backend_password, worker_backend_key_prefix would have no effect",
        ),
        ({"worker_backend_tls": False}, "worker_backend_tls would have no effect"),
        (
            {"url": "amqp://shop@127.0.0.1//", "worker_client_certificate": "issued"},
            "worker_client_certificate would be shown to nobody",
        ),
        (
            {
                "url": "amqp://shop@127.0.0.1//",
                "worker_client_certificate_file": "/a",
                "worker_client_private_key_file": "/b",
            },
            "worker_client_certificate_file and worker_client_private_key_file would be shown to nobody",
        ),
        ({"worker_settings": {"task_ignore_result": True}}, "whoever waits for a result would wait for ever"),
        (
            {"worker_settings": {"result_expires": 60}},
            "sets result_expires and worker_backend is rpc: set it by worker_r",
        ),
        (
            {"worker_settings": {"result_persistent": True}},
            "sets result_persistent and worker_backend is rpc: set it by",
        ),
        (
            {"worker_settings": {"result_compression": "gzip", "result_exchange": "x"}},
            "worker_settings sets result_compression, result_exchange, which has no effect",
        ),
    ],
)
def test_each_mistake_is_one_sentence(given: dict[str, Any], said: str) -> None:
    (sentence,) = found(**given)
    assert said in sentence
    assert "correct" not in sentence


def test_what_is_judged_must_be_a_dictionary() -> None:
    with pytest.raises(plugin.AnsibleFilterError, match="must be a dictionary"):
        plugin.broker_problems(["amqps://mq1"])  # type: ignore[arg-type]
