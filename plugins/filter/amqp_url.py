# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: amqp_url
short_description: Build the URL of an AMQP broker
version_added: 0.4.0
author: ResultOps engineers (@resultops)
description:
  - Turns the description of a broker and a password into the URL that Celery takes as broker URL.
  - User name, password and virtual host are percent-encoded, so that every printable character is allowed in them.
  - Several hosts, the nodes of a cluster, become one URL with C(;), of which Celery tries one after the other.
positional: password
options:
  _input:
    description:
      - A dictionary with the entries C(hosts), C(username), C(virtual_host), C(port) and C(tls).
      - C(port) is 5671 by default. With C(tls) V(false) it is 5672, and nothing is encrypted.
    type: dict
    required: true
  password:
    description: The password of the account.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show the settings of a worker whose results come back through its broker
  ansible.builtin.debug:
    msg: "{{ broker | resultops.celery.amqp_url(vault_rabbitmq_app_worker_password) | hash('sha256') }}"
  vars:
    broker:
      hosts: [rabbitmq1.example.org]
      username: app_worker
      virtual_host: app
"""

RETURN = r"""
_value:
  description: The URL, which contains the password.
  type: str
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.resultops.celery.plugins.module_utils import _backend_broker
from ansible_collections.resultops.celery.plugins.module_utils._backend_description import BackendError


def amqp_url(description: Mapping[str, Any], password: object) -> str:
    if not isinstance(description, Mapping):
        raise AnsibleFilterError("The description of the broker must be a dictionary with the entries hosts and more.")
    try:
        return _backend_broker.amqp_url(description, password)
    except BackendError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"amqp_url": amqp_url}
