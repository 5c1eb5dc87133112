# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The URL and the settings of rpc as Celery reads them; what they do is in tests/unit/roles/test_worker_rpc.py."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _backend
from celery import Celery
from celery.app.defaults import DEFAULTS

RPC = {"kind": "rpc"}


def test_celery_reads_what_is_said() -> None:
    app = Celery("probe", set_as_current=False)
    options = {"result_persistent": True, "result_serializer": "msgpack", "task_default_queue_type": "quorum"}
    app.conf.update(_backend.celery_settings(RPC, options), result_backend=_backend.backend_url(RPC))
    assert type(app.backend).__name__ == "RPCBackend"
    assert (app.backend.expires, app.backend.persistent, app.backend.serializer) == (1800, True, "msgpack")
    assert app.backend.binding.expires == 1800
    assert app.amqp.queues["celery"].queue_arguments == {"x-queue-type": "quorum"}


def test_nothing_is_said_that_celery_does_anyway() -> None:
    settings = _backend.celery_settings(RPC)
    assert [name for name, value in settings.items() if DEFAULTS[name] == value] == []
    assert settings == {
        "result_expires": 1800,
        "broker_transport_options": {"connect_retries_timeout": 60, "interval_start": 0.2, "interval_max": 0.2},
        "broker_heartbeat": 30,
        "worker_prefetch_multiplier": 1,
    }


def test_a_password_belongs_to_the_broker() -> None:
    assert _backend.backend_url(RPC) == _backend.backend_url(RPC, "") == "rpc://"
    with pytest.raises(_backend.BackendError, match="rpc has no password of its own") as refusal:
        _backend.backend_url(RPC, "only-once")
    assert "only-once" not in str(refusal.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"result_expires": 0}, "result_expires in seconds is 0, but it must be a whole number from 10 to 4294967"),
        ({"result_expires": 4294968}, "from 10 to 4294967"),
        ({"result_persistent": "yes"}, "result_persistent option is 'yes', but it must be true or false"),
        ({"task_default_queue_type": "stream"}, "'stream', but it must be one of classic, quorum"),
        ({"connect_retries_timeout": 0}, "connect_retries_timeout option in seconds is 0"),
        ({"broker_heartbeat": -1}, "broker_heartbeat option in seconds is -1"),
        ({"worker_prefetch_multiplier": "many"}, "worker_prefetch_multiplier option is 'many'"),
        ({"redis_socket_timeout": 1}, "unknown entries redis_socket_timeout"),
        ({"result_serializer": "pickle"}, "run code in every reader"),
    ],
)
def test_a_wish_that_cannot_be_met_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(_backend.BackendError, match=said):
        _backend.celery_settings(RPC, options)


def test_a_server_of_its_own_is_refused() -> None:
    for use in (_backend.backend_url, _backend.celery_settings):
        with pytest.raises(_backend.BackendError, match="unknown entries hosts"):
            use({**RPC, "hosts": ["mq1"]})
