# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils._certificates import problems_of_input

DOCUMENTATION = r"""
name: certificate_input_problems
short_description: What is wrong with the variables of the role tls
version_added: 0.1.0
author: ResultOps engineers (@resultops)
description:
  - Judges names, the CA's key and passphrase, and a certificate of your own, before anything changes.
  - No sentence ever contains key material.
options:
  _input:
    description:
      - The variables of the role without their prefix, with the keys C(passphrase), C(certificate), C(private_key),
        C(trusted), C(authority_managed), C(authority_certificate_file), C(authority_private_key_file), C(common_name),
        C(dns_names) and C(ip_addresses).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Refuse bad input
  ansible.builtin.assert:
    that: __tls_input | resultops.celery.certificate_input_problems | length == 0
"""

RETURN = r"""
_value:
  description: One sentence for each problem, with the variable and the remedy.
  type: list
  elements: str
"""


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"certificate_input_problems": problems_of_input}
