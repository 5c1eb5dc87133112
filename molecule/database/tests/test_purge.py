# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The purge as its timer starts it: what it removes, what it keeps, and how its failure is seen."""

from __future__ import annotations

import subprocess

import pytest
from scenario import MARIADB, POSTGRESQL, SERVERS, wait_until

UNIT = "celery-purge-probe.service"
TIMER = "celery-purge-probe.timer"
LOGIN = "/etc/celery-purge/probe.login"
DAY, WEEK = {"days": 1}, {"days": 7}
# Status, and how long ago it ended and began. Finished results are kept for a day, unfinished ones for a week.
RESULTS = {
    "expired": ("SUCCESS", {"hours": 25}, {"hours": 26}),
    "kept": ("SUCCESS", {"hours": 23}, {"hours": 24}),
    "long": ("FAILURE", {"minutes": 1}, {"days": 9}),
    "lost": ("STARTED", None, {"days": 8}),
    "running": ("STARTED", None, {"days": 6}),
}
LEFT = "SELECT task_id FROM probe.celery_taskmeta WHERE task_id LIKE 'aged-%' ORDER BY task_id"
STATUS = "SELECT removed, backlog, COALESCE(error, 'none'), ended IS NOT NULL FROM probe.celery_purge_status"


def store(fleet, server):
    rows = ", ".join(
        f"({server.next_id}, 'aged-{name}', '{status}', {server.ago(**done) if done else 'NULL'}, {server.ago(**made)})"
        for name, (status, done, made) in RESULTS.items()
    )
    fleet.on_host(server, "DELETE FROM probe.celery_taskmeta")
    columns = "(id, task_id, status, date_done, created)"
    fleet.on_host(server, f"INSERT INTO probe.celery_taskmeta {columns} VALUES {rows}")
    group = f"({server.next_id}, 'aged-group', {server.ago(days=2)}, {server.ago(days=2)})"
    fleet.on_host(server, f"INSERT INTO probe.celery_tasksetmeta (id, taskset_id, date_done, created) VALUES {group}")


def purge(fleet, server):
    host = fleet.host(server.name)
    started = host.run("systemctl start %s", UNIT)
    return started.rc, host.check_output("journalctl --unit %s --output cat --no-pager", UNIT)


@pytest.mark.parametrize("engine", [POSTGRESQL, MARIADB], ids=["postgresql", "mariadb"])
def test_what_has_expired_goes_and_the_rest_stays(fleet, engine):
    for server in engine.values():
        store(fleet, server)
        rc, said = purge(fleet, server)
        assert rc == 0, said
        assert fleet.on_host(server, LEFT).split() == ["aged-kept", "aged-long", "aged-running"]
        assert fleet.on_host(server, "SELECT count(*) FROM probe.celery_tasksetmeta") == "0"
        removed, *rest = fleet.on_host(server, STATUS).replace("|", "\t").split("\t")
        assert (removed, rest[:2], rest[2] in ("t", "1")) == ("3", ["0", "none"], True)
        timer = fleet.host(server.name).service(TIMER)
        assert timer.is_running
        assert timer.is_enabled
    for told in fleet.store_info(*engine.values()).values():
        assert told["problems"] == []
        assert (told["expired"], told["unfinished_old"], told["complete"]) == (0, 0, True)
        assert told["by_status"]["STARTED"] == 1


def fails(fleet, server, reason):
    """Fail once, and be seen by systemd and in the journal, which says no secret."""
    rc, said = purge(fleet, server)
    assert rc != 0
    assert reason in said
    assert fleet.secrets_in(said) == []
    assert fleet.host(server.name).run("systemctl is-failed --quiet %s", UNIT).rc == 0


def test_a_table_that_is_locked_away_is_seen(fleet):
    server = SERVERS["dbpg12"]
    hold = "BEGIN; LOCK TABLE probe.celery_taskmeta; SELECT pg_sleep(120)"
    command = [
        "docker",
        "exec",
        fleet.container(server.name),
        "psql",
        "-qAtXU",
        "postgres",
        "-d",
        "results",
        "-c",
        hold,
    ]
    held = "FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE '%LOCK TABLE probe%'"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        try:
            wait_until(lambda: fleet.on_host(server, f"SELECT count(*) {held}") == "1", 20, "The table is not locked")
            fails(fleet, server, "canceling statement due to lock timeout")
        finally:
            fleet.on_host(server, f"SELECT pg_terminate_backend(pid) {held}")
    assert "lock timeout" in fleet.on_host(server, STATUS)
    assert "lock timeout" in " ".join(fleet.store_info(server)[server.name]["problems"])
    assert purge(fleet, server)[0] == 0
    assert fleet.on_host(server, STATUS) == "0|0|none|t"


def test_a_password_that_is_wrong_is_seen(fleet):
    server = SERVERS["dbmaria13"]
    host = fleet.host(server.name)
    login = host.file(LOGIN)
    assert (login.user, login.group, login.mode) == ("root", "root", 0o600)
    assert host.file("/etc/celery-purge").mode == 0o700
    host.check_output("cp --preserve %s /var/tmp/login && sed -i 's/^password=.*/password=wrong/' %s", LOGIN, LOGIN)
    fails(fleet, server, "Access denied for user 'probe_purge'")
    host.check_output("cp --preserve /var/tmp/login %s", LOGIN)
    assert purge(fleet, server)[0] == 0
