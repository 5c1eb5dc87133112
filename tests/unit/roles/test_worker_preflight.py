# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input is refused in one sentence before anything changes: every case is a host of one play."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
PASSWORD = "p@ss:/w%rd#?&'\"\\ with spaces"
GOOD = {
    "ansible_connection": "local",
    "worker_app": "shop",
    "worker_backend_hosts": ["redis.example"],
    "worker_backend_password": PASSWORD,
    "worker_broker_url": "amqps://shop:p%40ss@broker.example:5671/shop",
    "worker_ca_certificate": "PEM text",
}
SENTINEL = {
    "worker_backend": "sentinel",
    "worker_backend_hosts": ["redis1", "redis2", "redis3"],
    "worker_sentinel_password": PASSWORD,
}
POSTGRESQL = {"worker_backend": "postgresql", "worker_backend_hosts": ["db1"]}
MYSQL = {"worker_backend": "mysql", "worker_backend_hosts": ["db1"]}
RPC = {"worker_backend": "rpc", "worker_backend_hosts": [], "worker_backend_password": ""}
ISSUED = {"worker_client_certificate": "issued", "tls_ca_passphrase": PASSWORD}
# Beginning of the sentence by what is wrong; an empty one means that the case is accepted.
CASES: dict[str, tuple[dict[str, Any], str]] = {
    "good": ({}, ""),
    "debian_12": ({"release": "12"}, ""),
    "debian_11": ({"release": "11"}, "debian_11 runs Debian 11: the role worker supports Debian 12 and 13."),
    "ubuntu": ({"distribution": "Ubuntu"}, "ubuntu runs Ubuntu 13: the role worker supports Debian 12 and 13."),
    "backend": ({"worker_backend": "sqlite"}, "worker_backend is 'sqlite': set it to redis or sentinel or"),
    "profile": ({"worker_profile": "quick"}, "worker_profile is 'quick': set it to stock or fast or durable."),
    "mode": ({"worker_mode": "daemon"}, "worker_mode is 'daemon': set it to service or config_only."),
    "no_password": ({"worker_backend_password": ""}, "worker_backend_password is missing"),
    "no_vault": ({"worker_backend_password": "{{ vault_that_is_not_there }}"}, "worker_backend_password is missing"),
    "placeholder": (
        {"worker_backend_password": "redis_production_your_key_here"},
        "worker_backend_password still holds the placeholder",
    ),
    "short": ({"worker_backend_password": "only-15-letters"}, "worker_backend_password is too short"),
    "no_broker": ({"worker_broker_url": ""}, "worker_broker_url is missing"),
    "no_broker_vault": (
        {
            "worker_broker_url": "{{ {'kind': 'redis', 'hosts': ['h'], 'ca_file': '/ca.crt'}"
            " | resultops.celery.backend_url(vault_that_is_not_there) }}"
        },
        "worker_broker_url is missing",
    ),
    "broker_placeholder": (
        {"worker_broker_url": "amqps://shop:rabbitmq_production_your_key_here@h//"},
        "worker_broker_url still holds the placeholder",
    ),
    "no_ca": ({"worker_ca_certificate": ""}, "worker_ca_certificate is empty and no host of the group redis"),
    "no_ca_needed": ({"worker_ca_certificate": "", "worker_trusted_ca_file": "/etc/ssl/cert.pem"}, ""),
    "no_scheme": ({"worker_broker_url": "broker.example:5671"}, "worker_broker_url does not begin with a scheme"),
    "plaintext": (
        {"worker_broker_url": "redis://u:p@broker.example:6379/0"},
        "worker_broker_url reaches broker.example without encryption",
    ),
    "one_of_two_in_plaintext": (
        {"worker_broker_url": "amqp://u:p%2F@127.0.0.1//;amqp://u:p@broker.example//"},
        "worker_broker_url reaches broker.example without encryption",
    ),
    "loopback": ({"worker_broker_url": "amqp://u:p@127.0.0.1//;redis://localhost;pyamqp://u:p@[::1]:5672//"}, ""),
    "plaintext_accepted": (
        {"worker_broker_url": "amqp://u:p@broker.example//", "worker_broker_allow_plaintext": True},
        "",
    ),
    "tls_by_setting": (
        {
            "worker_broker_url": "amqp://u:p@broker.example//",
            "worker_settings": {"broker_use_ssl": {"ca_certs": "/ca.crt", "cert_reqs": 2, "server_hostname": None}},
        },
        "",
    ),
    "broker_not_verified": (
        {"worker_settings": {"broker_use_ssl": {"ca_certs": "/ca.crt"}}},
        "worker_settings.broker_use_ssl lacks cert_reqs: 2 and server_hostname, so that Celery would take",
    ),
    "brokers_without_a_common_name": (
        {"worker_broker_url": "amqps://u:p@mq1:5671/v;amqps://u:p@mq2:5671/v"},
        "worker_broker_url names 2 brokers, and Celery would look for the name of the first",
    ),
    "broker_ca": ({"worker_broker_trusted_ca_file": "/etc/ssl/broker.crt"}, ""),
    "broker_ca_percent": ({"worker_broker_trusted_ca_file": "/100%.crt"}, "The ca_file '/100%.crt' of the backend"),
    "rpc": (RPC, ""),
    "rpc_on_loopback": ({**RPC, "worker_broker_url": "amqp://u:p@localhost//", "worker_ca_certificate": ""}, ""),
    "rpc_managed": ({**RPC, "worker_ca_certificate": "", "worker_broker_trusted_ca_file": "/etc/ssl/cert.pem"}, ""),
    "rpc_no_ca": (
        {**RPC, "worker_ca_certificate": ""},
        "worker_ca_certificate is empty and no host of the group rabbitmq gets a certificate",
    ),
    "rpc_on_redis": (
        {**RPC, "worker_broker_url": "rediss://:p@redis.example:6379/0"},
        "worker_backend is rpc and worker_broker_url begins with rediss://: results would stay there",
    ),
    "rpc_durable": ({**RPC, "worker_profile": "durable"}, "worker_profile is durable and worker_backend is rpc"),
    "rpc_password": (
        {**RPC, "worker_backend_password": PASSWORD, "worker_backend_schema": "shop"},
        "worker_backend_password, worker_backend_schema would have no effect where worker_backend is rpc",
    ),
    "rpc_ignored": (
        {**RPC, "worker_settings": {"task_ignore_result": True}},
        "worker_settings.task_ignore_result is true and worker_backend is rpc: whoever waits",
    ),
    "rpc_expiry": ({**RPC, "worker_result_expires": 5}, "The result_expires in seconds is 5, but it must be a whole"),
    "rpc_persistent": (
        {**RPC, "worker_backend_options": {"result_persistent": 1}},
        "The result_persistent option is 1, but it must be true or false",
    ),
    "rpc_issued": ({**RPC, **ISSUED}, ""),
    "no_hosts": (
        {"worker_backend_hosts": [], "worker_redis_group": "stores"},
        "The inventory group 'stores' (worker_redis_group) is empty",
    ),
    "two_hosts": ({"worker_backend_hosts": ["a", "b"]}, "A backend of kind redis has exactly one host"),
    "stock": ({"worker_profile": "stock"}, ""),
    "sentinel": (SENTINEL, ""),
    "stock_sentinel": ({**SENTINEL, "worker_profile": "stock"}, ""),
    "durable_sentinel": ({**SENTINEL, "worker_profile": "durable"}, ""),
    "durable_managed": ({"worker_profile": "durable"}, ""),
    "durable_single": (
        {"worker_backend_hosts": [], "worker_redis_group": "all", "worker_profile": "durable"},
        "worker_profile is durable and worker_backend is redis: a single Redis has no replica",
    ),
    "no_sentinels": (
        {**SENTINEL, "worker_backend_hosts": [], "worker_redis_group": "stores", "worker_sentinel_group": "watchers"},
        "The inventory groups 'watchers' (worker_sentinel_group) and 'stores' (worker_redis_group) are empty",
    ),
    "no_sentinel_password": (
        {**SENTINEL, "worker_sentinel_password": ""},
        "worker_sentinel_password is missing",
    ),
    "sentinel_password_placeholder": (
        {**SENTINEL, "worker_sentinel_password": "sentinel_production_your_key_here"},
        "worker_sentinel_password still holds the placeholder",
    ),
    "sentinel_reserved": (
        {**SENTINEL, "worker_settings": {"redis_backend_use_ssl": {}, "result_backend_transport_options": {}}},
        "worker_settings and worker_environment set redis_backend_use_ssl, result_backend_transport_options: use",
    ),
    "primary_name": ({**SENTINEL, "worker_primary_name": "a b"}, "The primary_name 'a b' of the backend description"),
    "issued": (ISSUED, ""),
    "issued_and_own": (
        {**ISSUED, "worker_client_certificate_file": "/a", "worker_client_private_key_file": "/b"},
        "worker_client_certificate is issued: leave worker_client_certificate_file and worker_client_private_key_file",
    ),
    "issued_without_tls": ({**ISSUED, "worker_backend_tls": False}, "worker_client_certificate is issued: leave"),
    "issued_without_authority": ({"worker_client_certificate": "issued"}, "tls_ca_passphrase is missing"),
    "app": ({"worker_app": "../etc"}, "worker_app must consist of up to 31 lower-case letters"),
    "accounts": ({"worker_user": "a b", "worker_group": "C"}, "worker_user, worker_group must consist of up to 31"),
    "type": ({"worker_result_expires": "soon"}, "argument 'worker_result_expires' is of type str"),
    "source": ({"worker_application_src": "/nonexistent"}, "worker_application_src is '/nonexistent', which is no"),
    "variable": (
        {"worker_environment": {"GOOD": "a b", "NOT-GOOD": 1}},
        "worker_environment: NOT-GOOD must have a name of letters",
    ),
    "variable_placeholder": (
        {"worker_environment": {"GOOD": "a b", "DJANGO_SECRET_KEY": "django_production_your_key_here"}},
        "worker_environment.DJANGO_SECRET_KEY still holds the placeholder",
    ),
    "variable_of_two_lines": (
        {"worker_environment": {"BROKEN": "a\nb"}},
        "worker_environment.BROKEN contains a control character",
    ),
    "variables": ({"worker_environment": {"EMPTY": "", "NUMBER": 7, "FLAG": True, "SHORT": "x"}}, ""),
    "secret_setting": (
        {"worker_settings": {"security_key_password": "x"}},
        "worker_settings.security_key_password would stand in a file that every user of the host can read",
    ),
    "secret_option": (
        {"worker_broker_transport_options": {"sentinel_kwargs": {"password": "x"}}},
        "worker_broker_transport_options.sentinel_kwargs.password would stand in a file",
    ),
    "reserved": (
        {"worker_settings": {"broker_url": "x"}, "worker_environment": {"CELERY_RESULT_BACKEND": "x"}},
        "worker_settings and worker_environment set broker_url, CELERY_RESULT_BACKEND: use the role's own variables",
    ),
    "postgresql": (POSTGRESQL, ""),
    "mysql": ({**MYSQL, "worker_app": "my-shop"}, ""),
    "stock_postgresql": ({**POSTGRESQL, "worker_profile": "stock", "worker_backend_pooler": "transaction"}, ""),
    "no_postgresql": (
        {**POSTGRESQL, "worker_backend_hosts": []},
        "The inventory group 'postgresql' (worker_postgresql_group) is empty: put a host into it",
    ),
    "no_mysql": (
        {**MYSQL, "worker_backend_hosts": [], "worker_mysql_group": "stores"},
        "The inventory group 'stores' (worker_mysql_group) is empty: put a host into it",
    ),
    "two_postgresql": ({**POSTGRESQL, "worker_backend_hosts": ["a", "b"]}, "A backend of kind postgresql has exactly"),
    "no_ca_of_mysql": (
        {**MYSQL, "worker_ca_certificate": ""},
        "worker_ca_certificate is empty and no host of the group mysql",
    ),
    "durable_postgresql": (
        {**POSTGRESQL, "worker_profile": "durable"},
        "worker_profile is durable and worker_backend is postgresql: what an SQL server has committed is durable",
    ),
    "prefix_on_mysql": (
        {**MYSQL, "worker_backend_key_prefix": "shop"},
        "worker_backend_key_prefix is set and worker_backend is mysql: leave it empty",
    ),
    "expiry_on_postgresql": (
        {**POSTGRESQL, "worker_result_expires": 3600},
        "worker_result_expires is 3600 and worker_backend is postgresql: leave it at 0 and set the retention",
    ),
    "compression_on_mysql": (
        {**MYSQL, "worker_settings": {"result_compression": "gzip"}},
        "worker_settings sets result_compression and worker_backend is mysql: remove it",
    ),
    "schema_on_redis": (
        {"worker_backend_schema": "shop"},
        "worker_backend_schema is shop and worker_backend is redis: leave it empty",
    ),
    "pooler_on_mysql": (
        {**MYSQL, "worker_backend_pooler": "session"},
        "worker_backend_pooler is session and worker_backend is mysql: set it to none",
    ),
    "pooler": ({**POSTGRESQL, "worker_backend_pooler": "all"}, "value of worker_backend_pooler must be one of"),
    "redis_option_on_postgresql": (
        {**POSTGRESQL, "worker_backend_options": {"redis_socket_timeout": 3}},
        "The options of the Celery settings has unknown entries redis_socket_timeout",
    ),
    "database_of_redis": (
        {"worker_backend_database": "results"},
        "The database of the backend description is 'results', but it must be a whole number",
    ),
    "database_of_postgresql": (
        {**POSTGRESQL, "worker_backend_database": "re-sults"},
        "The database 're-sults' of the backend description must consist of",
    ),
    "reserved_on_sql": (
        {**POSTGRESQL, "worker_settings": {"database_engine_options": {}, "result_expires": 1}},
        "worker_settings and worker_environment set database_engine_options, result_expires: use the role's own",
    ),
    "option": (
        {"worker_backend_options": {"speed": 1}},
        "The options of the Celery settings has unknown entries speed",
    ),
}


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    directory = tmp_path_factory.mktemp("preflight")
    collections = directory / "ansible_collections" / "resultops"
    collections.mkdir(parents=True)
    (collections / "celery").symlink_to(ROOT)
    hosts = {name: {**GOOD, **changes} for name, (changes, _sentence) in CASES.items()}
    (directory / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))
    facts = {
        "distribution": "{{ distribution | default('Debian') }}",
        "distribution_major_version": "{{ release | default('13') }}",
    }
    role = {"name": "resultops.celery.worker", "tasks_from": "preflight"}
    play = {"hosts": "all", "gather_facts": False, "tasks": [{"ansible.builtin.include_role": role}]}
    (directory / "ansible.cfg").touch()
    (directory / "play.json").write_text(json.dumps([play]))
    command = [
        str(Path(sys.executable).with_name("ansible-playbook")),
        "--inventory=hosts.json",
        f"--extra-vars={json.dumps({'ansible_facts': facts})}",
        "play.json",
    ]
    settings = {
        "ANSIBLE_COLLECTIONS_PATH": str(directory),
        "ANSIBLE_INJECT_FACT_VARS": "false",
        "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
        "ANSIBLE_CONFIG": str(directory / "ansible.cfg"),
        "ANSIBLE_FORKS": "4",
    }
    answer = subprocess.run(
        command, cwd=directory, env={**os.environ, **settings}, capture_output=True, text=True, check=False
    )
    return json.loads(answer.stdout)


@pytest.mark.parametrize("name", CASES)
def test_the_sentence_names_variable_problem_and_remedy(output: dict[str, Any], name: str) -> None:
    results = [task["hosts"][name] for play in output["plays"] for task in play["tasks"] if name in task["hosts"]]
    sentences = [str(result["msg"]) for result in results if result.get("failed")]
    expected = CASES[name][1]
    assert len(sentences) == (1 if expected else 0)
    # Ansible puts its own words before those of a filter or of a type check.
    assert expected in "".join(sentences)[: len(expected) + 120]


def test_nothing_changes_and_no_secret_is_shown(output: dict[str, Any]) -> None:
    assert all(host["changed"] == 0 for host in output["stats"].values())
    assert PASSWORD[:8] not in json.dumps(output)
