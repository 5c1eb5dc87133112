# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: broker_settings
short_description: Give the Celery settings that verify an AMQP broker
version_added: 0.4.0
author: ResultOps engineers (@resultops)
description:
  - Returns C(broker_use_ssl) for a broker URL with C(amqps), and nothing for others, without any secret.
  - By itself py-amqp trusts all authorities of the system and compares no host name, so that every certificate that any
    of them has issued, to whomever, is as good as that of the broker.
  - For Redis as a broker TLS is part of the URL, see P(resultops.celery.backend_url#filter).
positional: options
options:
  _input:
    description: The broker URL as Celery takes it, several with C(;) between them.
    type: str
    required: true
  options:
    description: What the broker is verified by, and what the worker shows.
    type: dict
    default: {}
    suboptions:
      ca_file:
        description: Path on the worker of the certificates that are trusted. Required with C(amqps).
        type: str
      certificate_file:
        description: Path on the worker of a client certificate.
        type: str
      private_key_file:
        description: Path on the worker of its private key.
        type: str
      server_name:
        description:
          - The name that the certificate must have. By default that in the URL.
          - Kombu keeps the first name for all brokers of a URL, so a cluster needs one that is in all certificates.
        type: str
"""

EXAMPLES = r"""
- name: Show the setting
  ansible.builtin.debug:
    msg: >-
      {{ 'amqps://app@rabbitmq1.example.org:5671/app'
         | resultops.celery.broker_settings({'ca_file': '/etc/celery/app/ca.crt'}) }}
"""

RETURN = r"""
_value:
  description: The settings, by their names in Celery.
  type: dict
  sample:
    broker_use_ssl:
      ca_certs: /etc/celery/app/ca.crt
      cert_reqs: 2
      server_hostname:
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.resultops.celery.plugins.module_utils import _backend_broker
from ansible_collections.resultops.celery.plugins.module_utils._backend_description import BackendError


def broker_settings(url: object, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    if options is not None and not isinstance(options, Mapping):
        raise AnsibleFilterError("The options of the broker settings must be a dictionary.")
    try:
        return _backend_broker.broker_settings(url, options)
    except BackendError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"broker_settings": broker_settings}
