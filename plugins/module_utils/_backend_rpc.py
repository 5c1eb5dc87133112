# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Results that the broker brings back to whoever waits for them (rpc): the URL and the settings of Celery."""

from __future__ import annotations

from typing import Any

from ansible_collections.resultops.celery.plugins.module_utils._backend_description import (
    BackendError,
    Description,
    Kind,
    Options,
    flag,
    no_unknown,
    serializer_of,
    whole_number,
)

FIELDS = ("kind",)
QUEUE_TYPES = ("classic", "quorum")
OPTIONS: dict[str, Any] = {
    "result_expires": 1800,
    "result_serializer": "json",
    "result_extended": False,
    "result_persistent": False,
    "connect_retries_timeout": 60,
    "broker_heartbeat": 30,
    "worker_prefetch_multiplier": 1,
    "task_default_queue_type": "classic",
}
# RabbitMQ takes milliseconds in 32 bits. Below the least, a client that is busy elsewhere finds its queue gone.
LEAST_EXPIRY, LONGEST_EXPIRY = 10, 4294967


def _url(description: Description, _password: str) -> str:
    """Celery reads no more than the scheme: results go the way that tasks come."""
    no_unknown("The backend description", description, FIELDS)
    return "rpc://"


def _settings(description: Description, options: Options) -> dict[str, Any]:
    no_unknown("The backend description", description, FIELDS)
    no_unknown("The options of the Celery settings", options, OPTIONS)
    chosen = {**OPTIONS, **{name: value for name, value in options.items() if value is not None}}
    serializer, queue_type = serializer_of(chosen), str(chosen["task_default_queue_type"])
    if queue_type not in QUEUE_TYPES:
        raise BackendError(
            f"The task_default_queue_type option is {queue_type!r}, but it must be one of {', '.join(QUEUE_TYPES)}."
        )
    settings: dict[str, Any] = {
        "result_expires": whole_number(
            "The result_expires in seconds", chosen["result_expires"], LEAST_EXPIRY, LONGEST_EXPIRY
        ),
        # Whoever waits gives up with broker_connection_timeout otherwise, before a server has restarted.
        "broker_transport_options": {
            "connect_retries_timeout": whole_number(
                "The connect_retries_timeout option in seconds", chosen["connect_retries_timeout"], 1, 3600
            ),
            # A worker that has a result tries once a second. Whoever waits must be back first: its queue comes with it.
            "interval_start": 0.2,
            "interval_max": 0.2,
        },
        "broker_heartbeat": whole_number("The broker_heartbeat option in seconds", chosen["broker_heartbeat"], 0, 3600),
        "worker_prefetch_multiplier": whole_number(
            "The worker_prefetch_multiplier option", chosen["worker_prefetch_multiplier"], 0, 1000
        ),
    }
    if serializer != "json":
        settings |= {"result_serializer": serializer, "result_accept_content": [serializer]}
    if flag("The result_extended option", chosen["result_extended"]):
        settings["result_extended"] = True
    if flag("The result_persistent option", chosen["result_persistent"]):
        settings["result_persistent"] = True
    if queue_type != "classic":
        settings["task_default_queue_type"] = queue_type
    return settings


KINDS: dict[str, Kind] = {"rpc": Kind(url=_url, settings=_settings, password=False)}
