# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.resultops.celery.plugins.filter import secret_problems as plugin


def test_a_dictionary_is_examined() -> None:
    assert plugin.secret_problems({"vault_a": "", "vault_b": "long enough to pass"}) == [
        "vault_a is missing; set it, usually in the vault file of the inventory."
    ]


def test_the_least_length_is_a_choice() -> None:
    assert plugin.secret_problems({"vault_a": "short"}, minimum_length=5) == []
    assert plugin.secret_problems({"vault_a": "short"}, minimum_length=6) != []


def test_something_else_is_refused_without_showing_it() -> None:
    with pytest.raises(plugin.AnsibleFilterError, match="must be a dictionary") as refusal:
        plugin.secret_problems("a secret by mistake")  # type: ignore[arg-type]
    assert "mistake" not in str(refusal.value)
