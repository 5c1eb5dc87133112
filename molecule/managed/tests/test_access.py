# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may do what on a server that belongs to somebody else, and what is refused."""

from __future__ import annotations

import json
import re

import pytest
from scenario import GIVEN_AWAY, INVENTORY, SCHEMAS, TRANSACTION

FORBIDDEN = (
    "SELECT * FROM {schema}.celery_taskmeta",
    "SELECT * FROM {schema}.celery_tasksetmeta",
    "SELECT * FROM {schema}.celery_schema_version",
    "SELECT * FROM {schema}.celery_purge_status",
    "INSERT INTO {schema}.celery_taskmeta (id) VALUES (1)",
    "DELETE FROM {schema}.celery_taskmeta",
    "SELECT nextval('{schema}.task_id_sequence')",
    "CALL {schema}.celery_purge(1, 1)",
)


class TestInterfaceToAllTables:
    def test_its_roles_would_see_every_new_table(self, fleet):
        """Otherwise the tests below would show nothing."""
        made = ("CREATE TABLE public.leaky (id int)", "SET ROLE anon", "SELECT * FROM public.leaky")
        assert fleet.ask("dbadmin", *made, "RESET ROLE", "DROP TABLE public.leaky")[2] == []

    @pytest.mark.parametrize("schema", SCHEMAS)
    def test_nothing_was_given_to_them_or_to_everybody(self, fleet, schema):
        assert fleet.provider(GIVEN_AWAY.format(schema=schema)) == []

    @pytest.mark.parametrize("role", ["anon", "authenticated"])
    @pytest.mark.parametrize("schema", SCHEMAS)
    def test_they_can_do_nothing(self, fleet, schema, role):
        statements = [statement.format(schema=schema) for statement in FORBIDDEN]
        answers = dict(zip(statements, fleet.ask("dbadmin", f"SET ROLE {role}", *statements)[1:], strict=True))
        assert answers == dict.fromkeys(statements, "InsufficientPrivilege")


def test_the_worker_can_store_and_no_more(fleet):
    refused = (
        "CREATE TABLE probe.mine (id int)",
        "DROP TABLE probe.celery_taskmeta",
        "SELECT * FROM given.celery_taskmeta",
        "SELECT * FROM cron.job",
        "SET ROLE probe_owner",
    )
    assert fleet.ask("probe", *refused, port=TRANSACTION) == ["InsufficientPrivilege"] * len(refused)
    assert fleet.ask("given_user", "SELECT count(*) FROM probe.celery_taskmeta") == ["InsufficientPrivilege"]
    assert fleet.ask("results_monitor", "SELECT result FROM probe.celery_taskmeta") == ["InsufficientPrivilege"]
    assert fleet.ask("results_monitor", "SELECT count(status) FROM probe.celery_taskmeta")[0][0][0] >= 0


def test_nobody_was_a_superuser(fleet):
    assert fleet.provider("SELECT rolname FROM pg_roles WHERE rolsuper") == [["postgres"]]
    log = fleet.host("managed").check_output("cat /var/log/postgresql/postgresql-17-main.log")
    assert "user=dbadmin" in log
    assert "user=postgres database=postgres application_name=resultops.celery" not in log
    assert set(re.findall(r"user=postgres database=\S+ application_name=(\S+)", log)) <= {"psql"}


def test_what_is_the_providers_was_left_alone(fleet):
    rights = "SELECT has_database_privilege('public', 'postgres', 'CONNECT, TEMPORARY')"
    assert fleet.provider(f"{rights}, has_schema_privilege('anon', 'public', 'USAGE')") == [["t", "t"]]


@pytest.fixture(scope="module")
def said(fleet, tmp_path_factory):
    """What was said to all that must be refused."""
    path = tmp_path_factory.mktemp("refusals") / "said.json"
    address = fleet.host("managed").check_output("hostname -i").split()[0]
    playbook = str(INVENTORY.parent / "tests" / "refusals.yml")
    run = fleet.playbook(playbook, "-e", f"said={path}", "-e", f"address={address}")
    assert run.returncode == 0, run.stdout + run.stderr
    assert fleet.secrets_in(run.stdout) == []
    results = json.loads(path.read_text())
    return {who: {row["item"]: row.get("msg", "") for row in rows} for who, rows in results.items()}


REFUSALS = {
    "authority": "certificate verify failed",
    "name": "does not match host name|not valid for",
    "plaintext": "SSL required",
}


class TestRefusals:
    @pytest.mark.parametrize("case", REFUSALS)
    @pytest.mark.parametrize("who", ["schema", "backend"])
    def test_a_server_that_does_not_prove_who_it_is(self, said, who, case):
        assert re.search(REFUSALS[case], said[who][case]), said[who][case]
        assert len(said[who][case].splitlines()) == 1

    @pytest.mark.parametrize("who", ["schema", "access"])
    def test_a_pooler_in_transaction_mode_is_refused_to_who_changes_something(self, fleet, said, who):
        assert "At managed:6543 is a pooler that shares sessions" in said[who]["a pooler for transactions"]
        assert fleet.provider("SELECT 1 FROM pg_roles WHERE rolname LIKE 'late%'") == []
