# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: broker_problems
short_description: What is wrong with the way of a worker to its broker
version_added: 0.4.0
author: ResultOps engineers (@resultops)
description:
  - Judges on the controller what the role P(resultops.celery.worker#role) was given about an AMQP broker, before
    anything changes. About other brokers it says nothing, unless results are to come back through them.
  - With C(worker_backend) V(rpc) it also names what has no effect there, and what makes clients wait for ever.
  - No sentence ever contains a value that may be secret.
options:
  _input:
    description:
      - The variables of the role by their names. C(worker_broker_url), C(worker_backend) and C(worker_settings) are
        always judged, all others where they are given.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Refuse what cannot work
  ansible.builtin.assert:
    that: problems | length == 0
    fail_msg: "{{ problems | join(' ') }}"
  vars:
    problems: "{{ given | resultops.celery.broker_problems }}"
    given:
      worker_broker_url: amqps://app@rabbitmq1.example.org:5671/app
      worker_backend: rpc
      worker_settings:
        task_ignore_result: true
"""

RETURN = r"""
_value:
  description: The sentences; an empty list if nothing is wrong.
  type: list
  elements: str
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.resultops.celery.plugins.module_utils import _backend_broker as broker

# What says where other kinds of results go, and its value where it says nothing.
OF_OTHER_BACKENDS: dict[str, Any] = {
    "worker_backend_hosts": [],
    "worker_backend_port": 0,
    "worker_backend_username": "",
    "worker_backend_password": "",
    "worker_backend_database": "",
    "worker_backend_schema": "",
    "worker_backend_pooler": "none",
    "worker_backend_key_prefix": "",
    "worker_backend_tls": True,
    "worker_sentinel_password": "",
}
CERTIFICATES = ("worker_client_certificate_file", "worker_client_private_key_file")
# Settings that rpc reads, by the place for them.
ELSEWHERE = {"result_expires": "worker_result_expires", "result_persistent": "worker_backend_options"}
WITHOUT_EFFECT = ("result_compression", "result_exchange", "result_exchange_type", "result_backend_transport_options")


def broker_problems(given: Mapping[str, Any]) -> list[str]:
    if not isinstance(given, Mapping):
        raise AnsibleFilterError("What is judged must be a dictionary of the variables of the role worker.")
    url = str(given.get("worker_broker_url") or "")
    found = list(_of_tls(url, given)) if broker.is_amqp(url) else []
    if given.get("worker_backend") == "rpc":
        found += _of_rpc(url, given)
    return found


def _of_tls(url: str, given: Mapping[str, Any]) -> Iterator[str]:
    settings = given.get("worker_settings") or {}
    encrypted = broker.uses_amqps(url)
    own = settings.get("broker_use_ssl")
    if "broker_use_ssl" in settings and (own or encrypted):
        lacks = broker.lacks_of(own)
        if lacks:
            yield (
                f"worker_settings.broker_use_ssl lacks {' and '.join(lacks)}, so that Celery would take the "
                "certificate of somebody else for that of the broker: remove it where worker_broker_url begins with "
                "amqps://, and the role writes one that verifies, or add what it lacks (server_hostname: null is the "
                "host in the URL)."
            )
    name = str(given.get("worker_broker_server_name") or "")
    hosts = broker.hosts_in(url)
    if encrypted and len(hosts) > 1 and not name and "broker_use_ssl" not in settings:
        yield (
            f"worker_broker_url names {len(hosts)} brokers, and Celery would look for the name of the first in the "
            "certificates of all: give a name that stands in each of them in worker_broker_server_name "
            "(rabbitmq_tls_dns_names puts it there)."
        )
    without_use = [
        variable
        for variable in ("worker_broker_server_name", "worker_broker_trusted_ca_file")
        if given.get(variable) and (not encrypted or "broker_use_ssl" in settings)
    ]
    if without_use:
        yield (
            f"{' and '.join(without_use)} would have no effect: leave it empty where worker_broker_url does not begin "
            "with amqps:// or worker_settings has a broker_use_ssl."
        )


def _of_rpc(url: str, given: Mapping[str, Any]) -> Iterator[str]:
    if not broker.is_amqp(url):
        yield (
            f"worker_backend is rpc and worker_broker_url begins with {broker.scheme(url)}://: results would stay "
            "there for ever where their reader has gone. Use an AMQP broker such as RabbitMQ (amqps://), or another "
            "worker_backend."
        )
    if given.get("worker_profile") == "durable":
        yield (
            "worker_profile is durable and worker_backend is rpc: a result is lost with the connection of its reader, "
            "whatever the broker keeps. Set worker_profile to stock, or worker_backend to sentinel or postgresql."
        )
    unused = [name for name, neutral in OF_OTHER_BACKENDS.items() if name in given and str(given[name]) != str(neutral)]
    if unused:
        wanted = ", ".join(f"{name}: {OF_OTHER_BACKENDS[name]!r}" for name in unused)
        yield (
            f"{', '.join(unused)} would have no effect where worker_backend is rpc, because results come back through "
            f"worker_broker_url: leave the default ({wanted})."
        )
    shown = ["worker_client_certificate"] if given.get("worker_client_certificate") == "issued" else []
    shown += [name for name in CERTIFICATES if given.get(name)]
    if shown and not broker.uses_amqps(url):
        yield f"{' and '.join(shown)} would be shown to nobody, because worker_broker_url does not begin with amqps://."
    yield from _of_rpc_settings(given.get("worker_settings") or {})


def _of_rpc_settings(settings: Mapping[str, Any]) -> Iterator[str]:
    if settings.get("task_ignore_result"):
        yield (
            "worker_settings.task_ignore_result is true and worker_backend is rpc: whoever waits for a result would "
            "wait for ever. Remove it, and set ignore_result for the tasks that nobody waits for."
        )
    for name, variable in ELSEWHERE.items():
        if name in settings:
            yield f"worker_settings sets {name} and worker_backend is rpc: set it by {variable}."
    without_effect = [name for name in WITHOUT_EFFECT if settings.get(name)]
    if without_effect:
        yield (
            f"worker_settings sets {', '.join(without_effect)}, which has no effect where worker_backend is rpc: "
            "remove it."
        )


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"broker_problems": broker_problems}
