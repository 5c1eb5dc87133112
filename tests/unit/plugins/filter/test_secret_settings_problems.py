# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.resultops.celery.plugins.filter import secret_settings_problems as plugin


def test_a_secret_is_named_by_its_path_but_not_shown() -> None:
    settings = {"sentinel_kwargs": {"password": "a secret by mistake"}}
    assert plugin.secret_settings_problems({"worker_broker_transport_options": settings}) == [
        "worker_broker_transport_options.sentinel_kwargs.password would stand in a file that every user of the host "
        "can read; put its value into worker_environment and let the application take it from os.environ."
    ]


def test_something_else_is_refused_without_showing_it() -> None:
    with pytest.raises(plugin.AnsibleFilterError, match="must be a dictionary") as refusal:
        plugin.secret_settings_problems("a secret by mistake")  # type: ignore[arg-type]
    assert "mistake" not in str(refusal.value)
