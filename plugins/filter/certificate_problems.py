# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError

from ..plugin_utils._certificates import problems_of_certificate

DOCUMENTATION = r"""
name: certificate_problems
short_description: Why a certificate must be issued again
version_added: 0.1.0
author: ResultOps engineers (@resultops)
description:
  - Compares a certificate with what is wanted and returns one phrase for each difference.
  - Reads the certificate of the CA on the controller.
options:
  _input:
    description: The certificate as PEM text. An empty string means that there is none yet.
    type: str
    required: true
  subject_alternative_names:
    description: Wanted names, each as C(DNS:name) or C(IP:address).
    type: list
    elements: str
    required: true
  usages:
    description: Wanted extended key usages.
    type: list
    elements: str
    choices: [serverAuth, clientAuth]
    required: true
  key_fingerprint:
    description: SHA-256 of the public key on the host, as M(community.crypto.openssl_privatekey) returns it.
    type: str
    required: true
  authority_file:
    description: Path of the CA certificate on the controller.
    type: path
    required: true
  renew_days:
    description: Days before the end of its validity at which the certificate counts as expiring.
    type: int
    required: true
"""

EXAMPLES = r"""
- name: Say why the certificate would be issued again
  ansible.builtin.debug:
    msg: >-
      {{ pem | resultops.celery.certificate_problems(
           subject_alternative_names=['DNS:redis1.example.com'],
           usages=['serverAuth'],
           key_fingerprint=key.fingerprint.sha256,
           authority_file='.pki/ca.crt',
           renew_days=30) }}
"""

RETURN = r"""
_value:
  description: One phrase for each difference; empty when the certificate is the wanted one.
  type: list
  elements: str
"""


def certificate_problems(
    pem: str,
    subject_alternative_names: list[str],
    usages: list[str],
    key_fingerprint: str,
    authority_file: str,
    renew_days: int,
) -> list[str]:
    try:
        with open(authority_file, encoding="ascii") as stream:
            authority_pem = stream.read()
    except OSError as error:
        raise AnsibleFilterError(f"The CA certificate {authority_file} cannot be read: {error.strerror}.") from error
    return problems_of_certificate(
        pem,
        subject_alternative_names=subject_alternative_names,
        usages=usages,
        key_fingerprint=key_fingerprint,
        authority_pem=authority_pem,
        renew_days=renew_days,
    )


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"certificate_problems": certificate_problems}
