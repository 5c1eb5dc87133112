# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each mistake is one sentence before anything changes."""

from __future__ import annotations

import json
import re

import pytest

PASSWORD = "long enough for a test"
SHOP = {"name": "shop", "password": PASSWORD}
BAD_INPUT = {
    "no application": ({"applications": []}, "{0}_applications is empty"),
    "missing secret": (
        {"applications": [{"name": "shop", "password": ""}]},
        "{0}_applications[shop].password is missing",
    ),
    "undefined vault variable": (
        {"applications": [{"name": "shop", "password": "{{{{ vault_forgotten }}}}"}]},
        "vault_forgotten",
    ),
    "placeholder": (
        {"applications": [{"name": "shop", "password": "shop_test_your_key_here"}]},
        "placeholder",
    ),
    "placeholder of the CA": ({"tls_ca_passphrase": "tls_test_your_key_here"}, "tls_ca_passphrase", "placeholder"),
    "same name twice": ({"applications": [SHOP, SHOP]}, "shop and shop share"),
    "same user twice": (
        {"applications": [SHOP, {"name": "billing", "username": "shop", "password": PASSWORD}]},
        "shop and billing share the name shop",
    ),
    "name that is none": ({"applications": [{"name": "The Shop", "password": PASSWORD}]}, "name is 'The Shop'"),
    "network that is none": ({"clients": ["workers"]}, "{0}_clients has 'workers'", "192.0.2.0/24"),
    "nobody may connect": ({"clients": [], "applications": [SHOP]}, "[shop] has no clients"),
    "too many connections": (
        {"max_connections": 20, "applications": [{"name": "shop", "password": PASSWORD, "connection_limit": 50}]},
        "{0}_max_connections is 20",
    ),
    "memory that is none": ({"memory": "much"}, "{0}_memory is 'much'"),
    "setting that the role owns": ({"extra_settings": {"port": 1}}, "{0}_extra_settings", "port"),
    "bind to nothing": ({"bind": []}, "{0}_bind is empty"),
    "restart of another kind": ({"restart": "soon"}, "{0}_restart", "now"),
}


@pytest.mark.parametrize("engine", ["postgresql", "mysql"])
@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_refused_with_a_sentence_before_anything_changes(fleet, tmp_path, engine, case):
    values, *expected = BAD_INPUT[case]
    variables = {name if name.startswith("tls_") else f"{engine}_{name}": value for name, value in values.items()}
    (tmp_path / "variables.json").write_text(json.dumps(variables).replace("{{{{", "{{").replace("}}}}", "}}"))
    host = "dbpg13" if engine == "postgresql" else "dbmaria13"
    run = fleet.playbook(f"resultops.celery.{engine}", "--extra-vars", f"@{tmp_path}/variables.json", "--limit", host)
    assert run.returncode != 0
    said = " ".join((run.stdout + run.stderr).split())
    for words in expected:
        assert words.format(engine) in said
    assert not re.search(r"changed=[1-9]", said)
    assert "Install" not in said
