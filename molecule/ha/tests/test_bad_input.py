# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Input that could not survive the loss of one host is refused with a sentence, before anything changes."""

from __future__ import annotations

import json
import re

import pytest
from scenario import SETS

HA13 = SETS["ha13"]

PRIMARY = {"name": "ha13", "group": "ha13", "auth_password": "{{ vault_redis_sentinel_password }}"}

BAD_INPUT = {
    "even number of sentinels": ({"sentinel_group": "two"}, "has 2 sentinels", "odd number"),
    "quorum below a majority": (
        {"sentinel_primaries": [{**PRIMARY, "quorum": 1}]},
        "sentinel_primaries[ha13].quorum is 1",
        "majority, 2",
    ),
    "quorum above a majority": (
        {"sentinel_primaries": [{**PRIMARY, "quorum": 3}]},
        "sentinel_primaries[ha13].quorum is 3",
        "majority, 2",
    ),
    "hasty sentinels": ({"sentinel_down_after": 500}, "sentinel_down_after", "at least 1000"),
    "two primaries with one name": (
        {"sentinel_primaries": [PRIMARY, {**PRIMARY, "group": "havalkey"}]},
        "2 primaries with the name 'ha13'",
        "each needs its own",
    ),
    "unreachable minimum": (
        {"redis_min_replicas_to_write": 3},
        "redis_min_replicas_to_write is 3",
        "3 members has 2 replicas",
    ),
    "primary of another set": (
        {"redis_replication_primary": "ha12a"},
        "redis_replication_primary is 'ha12a'",
        "use one of ha13a, ha13b, ha13c",
    ),
    "unknown group": ({"redis_replication_group": "nowhere"}, "redis_replication_group is 'nowhere'", "without a host"),
    "name that the certificate does not have": (
        {"redis_tls_dns_names": ["localhost"]},
        "redis_hostname of ha13a is 'ha13a', which its certificate does not cover",
        "redis_tls_dns_names",
    ),
    "durable without a file": ({"redis_persistence": "none"}, "redis_persistence is none", "aof"),
    "mixed versions": (
        {"redis_replication_group": "mixed", "redis_replication_primary": ""},
        "different versions",
        "7.0",
    ),
    "password that Sentinel cannot read back": (
        {"sentinel_peer_password": "long enough, but with spaces"},
        "sentinel_peer_password contains a space",
        "any other printable",
    ),
    "missing password": ({"redis_replication_password": ""}, "redis_replication_password is missing", "vault"),
    "sentinels in plaintext": (
        {"worker_backend_tls": False},
        "worker_client_certificate is issued",
        "worker_backend_tls true",
    ),
}


@pytest.fixture(scope="module")
def inventory(tmp_path_factory) -> str:
    """Groups that are wrong by themselves."""
    path = tmp_path_factory.mktemp("inventory") / "hosts.yml"
    groups = {"two": ["ha13a", "ha13b"], "mixed": ["ha13a", "ha13b", "ha13c", "ha12a"]}
    path.write_text(json.dumps({name: {"hosts": {host: {} for host in hosts}} for name, hosts in groups.items()}))
    return str(path)


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_refused_with_a_sentence_before_anything_changes(fleet, inventory, tmp_path, case):
    variables, *expected = BAD_INPUT[case]
    (tmp_path / "variables.json").write_text(json.dumps(variables))
    limit = "localhost,ha13,haworker13" + (",ha12a" if case == "mixed versions" else "")
    run = fleet.playbook(
        "resultops.celery.preflight", "-i", inventory, "--extra-vars", f"@{tmp_path}/variables.json", "--limit", limit
    )
    said = " ".join((run.stdout + run.stderr).split())
    assert run.returncode != 0, said
    for words in expected:
        assert words in said
    assert not re.search(r"changed=[1-9]", said)
