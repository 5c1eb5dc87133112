# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each mistake is one sentence before anything changes."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

PASSWORD = "long enough for a test"
SHOP = {"name": "shop", "password": PASSWORD}
BAD_INPUT: dict[str, tuple[Any, ...]] = {
    "no application": ({"applications": []}, "{0}_applications is empty"),
    "missing secret": (
        {"applications": [{"name": "shop", "password": ""}]},
        "{0}_applications[shop].password is missing",
    ),
    "undefined vault variable": (
        {"applications": [{"name": "shop", "password": "{{ vault_forgotten }}"}]},
        "{0}_applications[shop].password is missing",
        "vault",
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
HOSTS = {"postgresql": "dbpg13", "mysql": "dbmaria13"}


def variables(values: dict[str, Any], *engines: str) -> dict[str, Any]:
    return {
        (name if name.startswith("tls_") else f"{engine}_{name}"): value
        for engine in engines
        for name, value in values.items()
    }


@pytest.fixture(scope="module")
def sentences(fleet, tmp_path_factory) -> dict[tuple[str, str], str]:
    """What each engine's role says to each case: all of them in one run."""
    tasks = [
        {
            "name": case,
            "block": [
                {
                    "name": f"Judge {case}",
                    "ansible.builtin.include_role": {
                        "name": "resultops.celery.{{ engine }}",
                        "tasks_from": "preflight",
                    },
                    "vars": variables(values, *HOSTS),
                }
            ],
            "rescue": [
                {
                    "name": f"Repeat {case}",
                    "ansible.builtin.copy": {
                        "content": "{{ ansible_failed_result.msg }}",
                        "dest": f"{{{{ playbook_dir }}}}/{case}.{{{{ engine }}}}",
                        "mode": "0600",
                    },
                    "delegate_to": "localhost",
                }
            ],
        }
        for case, (values, *_words) in BAD_INPUT.items()
    ]
    engine = "{{ 'postgresql' if inventory_hostname in groups['postgresql'] else 'mysql' }}"
    play = {"hosts": list(HOSTS.values()), "gather_facts": False, "vars": {"engine": engine}, "tasks": tasks}
    directory = tmp_path_factory.mktemp("bad_input")
    (directory / "play.yml").write_text(json.dumps([play]))
    said = fleet.said(str(directory / "play.yml"))
    assert "Install" not in said
    return {(file.suffix[1:], file.stem): file.read_text() for file in directory.iterdir() if file.name != "play.yml"}


@pytest.mark.parametrize("engine", HOSTS)
@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_refused_with_a_sentence(sentences, engine, case):
    said = " ".join(sentences[engine, case].split())
    for words in BAD_INPUT[case][1:]:
        assert words.format(engine) in said


@pytest.mark.parametrize("engine", HOSTS)
def test_it_is_refused_before_anything_changes(fleet, engine):
    given = json.dumps(variables(BAD_INPUT["bind to nothing"][0], engine))
    run = fleet.playbook(f"resultops.celery.{engine}", "--extra-vars", given, "--limit", HOSTS[engine])
    assert run.returncode != 0
    assert f"{engine}_bind is empty" in run.stdout
    assert not re.search(r"changed=[1-9]", run.stdout)
    assert "Install" not in run.stdout
