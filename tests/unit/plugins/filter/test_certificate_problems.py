# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter as templates call it; plugin_utils/test_certificates.py has the cases."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.resultops.celery.plugins.filter.certificate_problems import FilterModule
from ansible_collections.resultops.celery.plugins.plugin_utils._certificates import public_key_fingerprint
from cryptography import x509

certificate_problems = FilterModule().filters()["certificate_problems"]


@pytest.fixture(scope="module")
def issued(celery_authority):
    return celery_authority.issue("redis1", days=40)[0].read_bytes()


@pytest.fixture
def wanted(celery_authority, issued):
    return {
        "subject_alternative_names": ["DNS:redis1"],
        "usages": [],
        "key_fingerprint": public_key_fingerprint(x509.load_pem_x509_certificate(issued)),
        "authority_file": str(celery_authority.certificate),
        "renew_days": 30,
    }


def test_the_wanted_certificate(issued, wanted):
    assert certificate_problems(issued.decode(), **wanted) == []


def test_the_authority_is_read_from_its_file(issued, wanted, other_authority):
    other = str(other_authority.certificate)
    assert certificate_problems(issued.decode(), **{**wanted, "authority_file": other}) == [
        "it was not issued by this certificate authority"
    ]


def test_the_authority_cannot_be_read(issued, wanted, tmp_path):
    with pytest.raises(AnsibleFilterError, match=r"ca\.crt cannot be read: No such file or directory"):
        certificate_problems(issued.decode(), **{**wanted, "authority_file": str(tmp_path / "ca.crt")})
