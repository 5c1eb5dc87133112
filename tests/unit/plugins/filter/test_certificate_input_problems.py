# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter with the variables that the role tls gives it; plugin_utils/test_certificates.py has the cases."""

from __future__ import annotations

import pathlib

import pytest
import yaml
from ansible_collections.resultops.celery.plugins.filter.certificate_input_problems import FilterModule

ROLE = pathlib.Path(__file__).resolve().parents[4] / "roles" / "tls"
certificate_input_problems = FilterModule().filters()["certificate_input_problems"]


@pytest.fixture
def given(celery_authority, tmp_path):
    certificate, private_key = celery_authority.issue("redis1")
    return {
        "passphrase": "a passphrase of the tests only",
        "certificate": certificate.read_text(),
        "private_key": private_key.read_text(),
        "trusted": celery_authority.certificate.read_text(),
        "authority_managed": True,
        "authority_certificate_file": str(tmp_path / "ca.crt"),
        "authority_private_key_file": str(tmp_path / "ca.key"),
        "common_name": "redis1",
        "dns_names": ["redis1"],
        "ip_addresses": [],
    }


def test_the_role_gives_what_the_filter_reads(given):
    variables = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())
    assert variables["__tls_input"].keys() == given.keys()


def test_a_certificate_of_your_own(given):
    assert certificate_input_problems(given) == []


def test_a_certificate_that_does_not_match_its_key(given, celery_authority):
    other_key = celery_authority.issue("redis2")[1].read_text()
    (sentence,) = certificate_input_problems({**given, "private_key": other_key})
    assert sentence.startswith("tls_certificate does not belong to tls_private_key")
