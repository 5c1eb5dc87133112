# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each account can do, and that it can do no more."""

from __future__ import annotations

import pathlib

import pytest
from scenario import SETS

CASES = pathlib.Path(__file__).with_name("celery_cases.py")

REFUSED = {
    "celery": [
        ["FLUSHALL"],
        ["FLUSHDB"],
        ["KEYS", "*"],
        ["SCAN", "0"],
        ["CONFIG", "GET", "*"],
        ["CONFIG", "SET", "min-replicas-to-write", "0"],
        ["ACL", "LIST"],
        ["EVAL", "return 1", "0"],
        ["SCRIPT", "FLUSH"],
        ["REPLICAOF", "NO", "ONE"],
        ["FAILOVER"],
        ["CLIENT", "PAUSE", "1"],
        ["INFO"],
        ["ROLE"],
        ["GET", "other_celery-task-meta-1"],
        ["SETEX", "other_celery-task-meta-1", "60", "forged"],
        ["SUBSCRIBE", "other_celery-task-meta-1"],
        ["PUBLISH", "__sentinel__:hello", "forged"],
    ],
    "replica": [["GET", "celery-task-meta-1"], ["KEYS", "*"], ["CONFIG", "GET", "*"], ["REPLICAOF", "NO", "ONE"]],
    "sentinel": [["GET", "celery-task-meta-1"], ["KEYS", "*"], ["CONFIG", "GET", "*"], ["FLUSHALL"], ["ACL", "LIST"]],
    "exporter": [["GET", "celery-task-meta-1"], ["KEYS", "*"], ["CONFIG", "SET", "maxmemory", "1"], ["FLUSHALL"]],
}
REFUSED_BY_SENTINELS = {
    "client": [
        ["SENTINEL", "FAILOVER", "{name}"],
        ["SENTINEL", "REMOVE", "{name}"],
        ["SENTINEL", "SET", "{name}", "quorum", "1"],
        ["SENTINEL", "MONITOR", "other", "127.0.0.1", "6379", "2"],
        ["SENTINEL", "RESET", "*"],
        ["SENTINEL", "CONFIG", "GET", "*"],
        ["ACL", "LIST"],
        ["INFO"],
        ["SHUTDOWN"],
        ["PUBLISH", "__sentinel__:hello", "forged"],
    ],
    "peer": [["SENTINEL", "FAILOVER", "{name}"], ["SENTINEL", "MASTERS"], ["ACL", "LIST"]],
    "exporter": [["SENTINEL", "FAILOVER", "{name}"], ["SENTINEL", "CONFIG", "GET", "*"], ["ACL", "LIST"]],
}
ALLOWED = {"exporter": [["INFO"], ["CONFIG", "GET", "maxmemory"], ["SLOWLOG", "LEN"]], "sentinel": [["ROLE"], ["INFO"]]}
ALLOWED_BY_SENTINELS = {
    "client": [["SENTINEL", "MASTERS"]],
    "exporter": [["INFO"], ["SENTINEL", "MASTERS"], ["SENTINEL", "CKQUORUM", "{name}"]],
}


def for_set(commands, of):
    return [[word.format(name=of.name) for word in command] for command in commands]


def test_what_the_site_and_its_proof_did_was_allowed(denials_before_the_tests):
    assert denials_before_the_tests == {name: {} for name in SETS}


def test_all_that_celery_does_is_allowed(fleet, of):
    """With an empty script cache, as a primary has it after a restart and after a failover."""
    fleet.forget_denials(of)
    fleet.nodes(of, ["SCRIPT", "FLUSH"])
    outcome = fleet.as_worker(of.workers[0], CASES.read_text(encoding="utf-8"))
    assert outcome == {"cases": 13, "problems": {}}
    assert fleet.denials(of) == {}


@pytest.mark.parametrize("user", REFUSED)
def test_accounts_of_the_servers_can_do_no_more(fleet, of, user):
    for node, replies in fleet.nodes(of, *REFUSED[user], user=user).items():
        for command, reply in zip(REFUSED[user], replies, strict=True):
            assert str(reply).startswith("NoPermissionError"), (node, command, reply)


@pytest.mark.parametrize("user", REFUSED_BY_SENTINELS)
def test_accounts_of_the_sentinels_can_do_no_more(fleet, of, user):
    commands = for_set(REFUSED_BY_SENTINELS[user], of)
    for node, replies in fleet.sentinels(of, *commands, user=user).items():
        for command, reply in zip(commands, replies, strict=True):
            assert str(reply).startswith("NoPermissionError"), (node, command, reply)


def test_accounts_can_do_their_job(fleet, of):
    fleet.forget_denials(of)
    asked = [fleet.nodes(of, *commands, user=user) for user, commands in ALLOWED.items()]
    asked += [fleet.sentinels(of, *for_set(some, of), user=user) for user, some in ALLOWED_BY_SENTINELS.items()]
    for replies in asked:
        for node, answers in replies.items():
            assert not [answer for answer in answers if "Error" in str(answer)[:40]], node
    assert fleet.denials(of) == {}
