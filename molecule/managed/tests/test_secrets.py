# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the runs said, and what could be seen on the hosts meanwhile."""

from __future__ import annotations

import pytest
from scenario import LOG


def test_none_was_said(fleet):
    assert fleet.secrets_said(LOG, "Result tables in a managed server") == []


@pytest.mark.parametrize("name", ["managed", "managedworker"])
def test_none_was_to_be_seen_on_the_hosts(fleet, name):
    assert fleet.secrets_seen_on(name) == []


def test_the_provider_keeps_verifiers(fleet):
    stored = fleet.provider("SELECT rolname, left(rolpassword, 14) FROM pg_authid WHERE rolname ~ '^(probe|results)'")
    kept = {name: verifier for name, verifier in stored if verifier}
    assert kept == {"probe": "SCRAM-SHA-256$", "results_monitor": "SCRAM-SHA-256$"}
