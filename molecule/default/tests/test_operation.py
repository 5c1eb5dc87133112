# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens on bad days and on later runs: crashes, changes by hand, rotation, bad input."""

from __future__ import annotations

import json
import re

import pytest
from fleet import CA_FILE, engine_of, recap, unsafe
from scenario import REDIS_HOSTS

STORE_AND_COUNT = """
import celery
from urllib.parse import quote
app = celery.Celery(set_as_current=False)
app.conf.result_backend = (f"rediss://celery:{quote(given['password'], safe='')}@{given['host']}:6379/0"
                           f"?ssl_cert_reqs=required&ssl_ca_certs={quote(given['ca'], safe='')}")
app.conf.result_backend_always_retry = True
app.conf.result_backend_max_retries = 20
app.conf.result_expires = 600
ids = [f"crash-{number}" for number in range(given["count"])]
if given["store"]:
    for task_id in ids:
        app.backend.store_result(task_id, task_id, "SUCCESS")
print(json.dumps(sum(app.backend.get_result(task_id) == task_id for task_id in ids)))
"""


def pid_of(fleet, server) -> str:
    return fleet.host(server).check_output("systemctl show --value --property MainPID %s", engine_of(server).unit)


def test_kill_minus_nine_loses_no_acknowledged_result(fleet, server):
    values = {"host": server, "password": fleet.secret("vault_redis_celery_password"), "ca": CA_FILE, "count": 500}
    assert fleet.python("worker13", STORE_AND_COUNT, store=True, **values) == 500
    before = pid_of(fleet, server)
    fleet.host(server).check_output("kill -9 %s", before)
    assert fleet.python("worker13", STORE_AND_COUNT, store=False, **values) == 500
    assert pid_of(fleet, server) not in (before, "0")


SERVED_CERTIFICATE = """
import socket, ssl
context = ssl.create_default_context(cafile=given["ca"])
with context.wrap_socket(socket.create_connection((given["host"], 6379)), server_hostname=given["host"]) as connection:
    print(json.dumps(connection.getpeercert()["serialNumber"]))
"""


def test_changes_by_hand_are_taken_back_without_a_restart(fleet):
    password = fleet.secret("vault_redis_admin_password")
    pids = {server: pid_of(fleet, server) for server in REDIS_HOSTS}
    serials = {server: fleet.python("worker13", SERVED_CERTIFICATE, host=server, ca=CA_FILE) for server in REDIS_HOSTS}
    for server in REDIS_HOSTS:
        fleet.redis(
            server,
            "admin",
            password,
            ["CONFIG", "SET", "maxmemory", "1gb", "maxmemory-policy", "allkeys-lru"],
            ["ACL", "SETUSER", "celery", "+@all", "~*"],
            ["ACL", "SETUSER", "intruder", "on", "nopass", "~*", "+@all"],
        )
        fleet.host(server).check_output("truncate --size 100 %s/tls/server.crt", engine_of(server).managed)
    run = fleet.playbook("resultops.celery.redis", "--diff")
    assert run.returncode == 0, run.stdout + run.stderr
    for server in REDIS_HOSTS:
        assert recap(run.stdout, server)["changed"] == 3, "certificate, accounts and settings"
        memory, users, refused = fleet.redis(
            server,
            "admin",
            password,
            ["CONFIG", "GET", "maxmemory*"],
            ["ACL", "USERS"],
            ["ACL", "DRYRUN", "celery", "FLUSHALL"],
        )
        assert "134217728" in memory
        assert "volatile-ttl" in memory
        assert set(users) == {"admin", "celery", "celery_broker", "default", "other"}
        assert "no permissions" in refused
        assert pid_of(fleet, server) == pids[server]
        assert fleet.python("worker13", SERVED_CERTIFICATE, host=server, ca=CA_FILE) != serials[server]
    again = fleet.playbook("resultops.celery.redis")
    assert {server: recap(again.stdout, server)["changed"] for server in REDIS_HOSTS} == dict.fromkeys(REDIS_HOSTS, 0)


class TestRotation:
    """A new password while the old one still works, in a run that is as talkative as Ansible can be."""

    NEW = "the next one: p@ss:/w%rd#?&'\"\\ and more"

    @pytest.fixture(scope="class")
    @staticmethod
    def talkative_run(fleet, tmp_path_factory):
        celery, broker = map(fleet.secret, ("vault_redis_celery_password", "vault_redis_broker_password"))
        variables = tmp_path_factory.mktemp("rotation") / "vault.yml"
        variables.write_text(f"""---
worker_backend_password: {unsafe(TestRotation.NEW)}
redis_users:
  - name: celery
    profile: results
    password: {unsafe(TestRotation.NEW)}
    previous_password: {unsafe(celery)}
  - name: celery_broker
    profile: broker
    key_prefix: probe-
    password: {unsafe(broker)}
  - name: other
    profile: results
    key_prefix: other_
    password: {unsafe(broker)}
""")
        yield fleet.playbook("resultops.celery.site", "-vvv", "--diff", "--extra-vars", f"@{variables}")
        restored = fleet.playbook("resultops.celery.site")
        assert restored.returncode == 0, restored.stdout + restored.stderr

    def test_it_works(self, talkative_run):
        assert talkative_run.returncode == 0, talkative_run.stdout[-8000:] + talkative_run.stderr

    @pytest.mark.usefixtures("talkative_run")
    def test_both_passwords_are_valid(self, fleet):
        for password in (self.NEW, fleet.secret("vault_redis_celery_password")):
            (reply,) = fleet.redis("redis13", "celery", password, ["GET", "celery-task-meta-none"])
            assert reply is None

    def test_no_secret_is_said(self, fleet, talkative_run):
        text = talkative_run.stdout + talkative_run.stderr
        assert len(text) > 50_000, "the run was not talkative"
        assert fleet.secrets_in(text, new=self.NEW) == []


BAD_INPUT = {
    "unknown backend": ({"worker_backend": "memcached"}, "worker_backend", "memcached"),
    "missing secret": ({"redis_admin_password": ""}, "redis_admin_password is missing", "vault"),
    "undefined vault variable": (
        {"worker_backend_password": "{{ vault_forgotten }}"},
        "worker_backend_password is missing",
        "vault",
    ),
    "placeholder": ({"redis_admin_password": "redis_test_your_key_here"}, "redis_admin_password", "placeholder"),
    "placeholder of the CA": ({"tls_ca_passphrase": "tls_test_your_key_here"}, "tls_ca_passphrase", "placeholder"),
    "short password": ({"redis_admin_password": "short"}, "redis_admin_password is too short", "16"),
    "wrong passphrase": ({"tls_ca_passphrase": "not that of the CA key"}, "tls_ca_passphrase does not open", "ca.key"),
    "unsupported provider": ({"redis_provider": "keydb"}, "redis_provider", "valkey"),
    "empty group of servers": (
        {
            "worker_backend_hosts": [],
            "worker_redis_group": "nobody",
            "worker_broker_url": "rediss://broker.example.com",
        },
        "worker_redis_group",
        "worker_backend_hosts",
    ),
    "empty group of workers": ({"worker_hosts_group": "nobody"}, "nobody", "empty"),
    "same prefix twice": (
        {
            "redis_users": [
                {"name": "one", "profile": "results", "password": "long enough for a test"},
                {"name": "two", "profile": "results", "password": "long enough for a test"},
            ]
        },
        "one",
        "two",
    ),
    "unknown CA": (
        {"worker_redis_group": "nobody", "worker_ca_certificate_file": "nowhere"},
        "worker_ca_certificate is empty",
        "worker_trusted_ca_file",
    ),
    "secret in the settings": ({"redis_extra_settings": {"masterauth": "x"}}, "redis_extra_settings", "masterauth"),
    "unlimited memory": ({"redis_maxmemory": "0"}, "redis_maxmemory is '0'", "50%"),
    "setting that the role owns": ({"redis_extra_settings": {"port": 6379}}, "redis_extra_settings", "port"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_refused_with_a_sentence_before_anything_changes(fleet, tmp_path, case):
    variables, *expected = BAD_INPUT[case]
    (tmp_path / "variables.json").write_text(json.dumps(variables))
    arguments = ["--extra-vars", f"@{tmp_path}/variables.json", "--limit", "localhost,redis13,worker13"]
    run = fleet.playbook("resultops.celery.site", *arguments)
    assert run.returncode != 0
    said = run.stdout + run.stderr
    for words in expected:
        assert words in said
    assert not re.search(r"changed=[1-9]", said)
    assert "Install" not in said
