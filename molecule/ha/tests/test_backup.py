# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup of a replication set comes back on an empty host, key by key, and into the set itself without a failover."""

from __future__ import annotations

import json
import os
import pathlib
import secrets
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from scenario import CERTIFICATE, EXTENDED, INVENTORY, KEY, REDIS_PORT, SETS, Sets

HA13 = SETS["ha13"]
WORKER = HA13.workers[0]
EMPTY_HOST = "haspare2"
COUNT = 400
RUN, LATER = "backup", "after-the-backup"
# What the role leaves on a host, so that other tests find it bare again.
PURGE = """
set -e
export DEBIAN_FRONTEND=noninteractive
apt-get purge --yes --quiet redis-server redis-tools
rm -rf /var/lib/redis /etc/redis /etc/systemd/system/redis-server.service.d
systemctl daemon-reload
"""


class Backups:
    """The two playbooks with a passphrase and a directory of their own."""

    def __init__(self, fleet: Sets, directory: pathlib.Path) -> None:
        self.fleet = fleet
        # The inventory in which the empty host is a server.
        self.extended = Sets(INVENTORY, client=fleet.client, arguments=("-i", str(EXTENDED)))
        self.passphrase = secrets.token_urlsafe(16) + r"""p@ss:/w%rd#?&'"{{ }}\ x"""
        self.directory = directory / "backups"
        self.variables = directory / "variables.yml"
        quoted = self.passphrase.replace("'", "''")
        self.variables.touch(0o600)
        self.variables.write_text(
            f"redis_backup_passphrase: !unsafe '{quoted}'\nredis_backup_directory: {self.directory}\n"
        )

    def run(self, playbook: str, limit: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        given = ("-vvv", "--limit", limit, "--extra-vars", f"@{self.variables}", *arguments)
        done = self.extended.playbook(f"resultops.celery.{playbook}", *given)
        assert self.fleet.secrets_in(done.stdout + done.stderr, passphrase=self.passphrase) == []
        return done

    def succeeds(self, playbook: str, limit: str, *arguments: str) -> str:
        done = self.run(playbook, limit, *arguments)
        assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
        return done.stdout

    def kept(self) -> list[pathlib.Path]:
        return sorted((self.directory / HA13.name).glob("*.rdb.enc"))

    def manifest(self) -> dict[str, Any]:
        (described,) = (self.directory / HA13.name).glob("*.json")
        return dict(json.loads(described.read_text()))

    def on_the_empty_host(self, *command: Any) -> Any:
        """A reply of the server there, over TLS with a client's certificate."""
        password = self.fleet.secret("vault_redis_admin_password")
        files = {"worker": WORKER, "certificate": CERTIFICATE, "key": KEY}
        return self.fleet.redis(EMPTY_HOST, "admin", password, list(command), port=REDIS_PORT, **files)[0]


@pytest.fixture(scope="module")
def backups(fleet: Sets, tmp_path_factory: pytest.TempPathFactory) -> Backups:
    return Backups(fleet, tmp_path_factory.mktemp("backup"))


@pytest.fixture(scope="module")
def taken(fleet: Sets, backups: Backups) -> dict[str, Any]:
    """The set as it was when the backup was taken, and what was stored before and after."""
    primary = fleet.settled(HA13)
    assert fleet.store(WORKER, RUN, COUNT) == COUNT
    before = fleet.pids(HA13)
    backups.succeeds("backup", HA13.name)
    assert fleet.store(WORKER, LATER, COUNT) == COUNT
    return {"primary": primary, "pids": before}


@pytest.fixture(scope="module")
def empty_host(fleet: Sets, backups: Backups) -> Iterator[str]:
    backups.succeeds("redis", EMPTY_HOST, "--extra-vars", "redis_replication_group=''")
    assert backups.on_the_empty_host("DBSIZE") == 0
    yield EMPTY_HOST
    fleet.host(EMPTY_HOST).run_expect([0], PURGE)


@pytest.mark.usefixtures("taken")
class TestBackup:
    def test_it_is_of_a_replica_and_complete(self, backups: Backups, taken: dict[str, Any]) -> None:
        manifest = backups.manifest()
        assert manifest["role"] == "replica"
        assert manifest["host"] in set(HA13.nodes) - {taken["primary"]}
        assert manifest["keys"] >= COUNT
        (file,) = backups.kept()
        assert file.name == manifest["file"]
        assert os.stat(file).st_mode & 0o777 == 0o600
        assert os.stat(file.parent).st_mode & 0o777 == 0o700
        assert f"celery-task-meta-{RUN}-1".encode() not in file.read_bytes()

    def test_it_leaves_nothing_on_the_hosts(self, fleet: Sets) -> None:
        for node in HA13.nodes:
            assert fleet.host(node).check_output("find /var/tmp -name 'redis-backup-*'") == ""

    def test_the_set_did_not_notice(self, fleet: Sets, taken: dict[str, Any]) -> None:
        assert fleet.problems(HA13) == []
        assert fleet.settled(HA13) == taken["primary"]
        assert fleet.pids(HA13) == taken["pids"]

    def test_older_ones_are_removed_when_there_are_too_many(self, backups: Backups) -> None:
        (first,) = backups.kept()
        kept = first.read_bytes(), first.with_name(first.name.replace(".rdb.enc", ".json")).read_bytes()
        backups.succeeds("backup", HA13.name, "--extra-vars", "redis_backup_keep=1")
        (second,) = backups.kept()
        assert second.name > first.name
        # The first is what the following tests are about.
        second.unlink()
        second.with_name(second.name.replace(".rdb.enc", ".json")).unlink()
        first.write_bytes(kept[0])
        first.with_name(first.name.replace(".rdb.enc", ".json")).write_bytes(kept[1])


@pytest.mark.usefixtures("taken")
class TestRestore:
    def test_an_empty_host_gets_every_key(self, backups: Backups, empty_host: str) -> None:
        (file,) = backups.kept()
        given = ("--extra-vars", f"redis_restore_file={file} redis_replication_group=''")
        dry = backups.succeeds("restore", empty_host, "--check", *given)
        assert "can be restored" in " ".join(dry.split())
        assert backups.on_the_empty_host("DBSIZE") == 0
        backups.succeeds("restore", empty_host, *given)
        there = backups.on_the_empty_host("EXISTS", *(f"celery-task-meta-{RUN}-{number}" for number in range(COUNT)))
        assert there == COUNT
        manifest = backups.manifest()
        assert COUNT <= backups.on_the_empty_host("DBSIZE") <= manifest["keys"]
        assert backups.on_the_empty_host("EXISTS", f"celery-task-meta-{LATER}-1") == 0
        assert 0 < backups.on_the_empty_host("TTL", f"celery-task-meta-{RUN}-1") <= 600

    def test_a_second_restore_is_refused(self, backups: Backups, empty_host: str) -> None:
        (file,) = backups.kept()
        before = backups.on_the_empty_host("DBSIZE")
        given = ("--extra-vars", f"redis_restore_file={file} redis_replication_group=''")
        done = backups.run("restore", empty_host, *given)
        assert done.returncode != 0
        assert f"{empty_host} holds {before} keys: restore to an empty server" in " ".join(done.stdout.split())
        assert backups.on_the_empty_host("DBSIZE") == before

    def test_nothing_in_the_clear_is_left(self, fleet: Sets, empty_host: str) -> None:
        assert fleet.host(empty_host).check_output("find /var/tmp -name 'redis-restore-*'") == ""

    def test_the_set_itself_takes_it_back_without_a_failover(
        self, fleet: Sets, backups: Backups, taken: dict[str, Any]
    ) -> None:
        backups.succeeds("restore", HA13.name, "--extra-vars", "redis_restore_replace=true")
        assert fleet.count(WORKER, RUN, COUNT) == COUNT
        assert fleet.count(WORKER, LATER, COUNT) == 0
        assert fleet.settled(HA13) == taken["primary"]
        assert fleet.pids(HA13) == taken["pids"]
        sizes = {node: replies[0] for node, replies in fleet.nodes(HA13, ["DBSIZE"]).items()}
        assert len(set(sizes.values())) == 1, sizes
