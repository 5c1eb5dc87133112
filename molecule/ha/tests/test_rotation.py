# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All passwords of a set are changed while results are stored, and back again: nobody notices, nothing restarts."""

from __future__ import annotations

import json
import pathlib
import subprocess

from fleet import AS_WORKER, recap
from scenario import ACCOUNTS, REDIS_PORT, SENTINEL_ACCOUNTS, SENTINEL_PORT, SETS, Sets

HA13 = SETS["ha13"]
# Where the present password goes while a new one comes, by the variable of the vault.
PREVIOUS = {
    "vault_redis_admin_password": "redis_admin_previous_password",
    "vault_redis_replication_password": "redis_replication_previous_password",
    "vault_redis_sentinel_password": "redis_sentinel_previous_password",
    "vault_sentinel_admin_password": "sentinel_admin_previous_password",
    "vault_sentinel_peer_password": "sentinel_peer_previous_password",
    "vault_sentinel_client_password": "sentinel_client_previous_password",
}
LOGINS = {secret: (REDIS_PORT, user) for user, secret in ACCOUNTS.items() if secret in PREVIOUS} | {
    secret: (SENTINEL_PORT, user) for user, secret in SENTINEL_ACCOUNTS.items() if secret in PREVIOUS
}
STORE_UNTIL_TOLD = """
import celery, pathlib, sys, threading, time
app = celery.Celery(set_as_current=False)
app.config_from_object("celeryconfig")
app.conf.timezone  # Celery reads the settings only now
app.conf.result_expires = 1800
end = time.monotonic() + 1500
stored, failed, longest = [], [], 0.0
while time.monotonic() < end and not pathlib.Path("/run/rotation-is-over").exists():
    task_id, begun = f"rotation-{len(stored)}", time.monotonic()
    try:
        app.backend.store_result(task_id, task_id, "SUCCESS")
    # Any failure counts, and the test shows them all.
    except Exception as problem:
        failed.append(repr(problem))
    else:
        stored.append(task_id)
    longest = max(longest, time.monotonic() - begun)
    time.sleep(0.01)
kept = sum(app.backend.get_result(task_id) == task_id for task_id in stored)
print(json.dumps({"stored": len(stored), "failed": failed, "lost": len(stored) - kept, "longest": longest}))
"""


def accepted(fleet: Sets, passwords: dict[str, str]) -> set[str]:
    """Those of the passwords with which one can log in on every node; it must not depend on the node."""
    names = list(passwords)
    targets = [
        {"host": node, "port": port, "user": user, "password": passwords[name], "commands": [["PING"]]}
        for name in names
        for port, user in [LOGINS[name]]
        for node in HA13.nodes
    ]
    replies = [str(reply[0]) for reply in fleet.ask(targets)]
    by_name = {name: replies[number * 3 : number * 3 + 3] for number, name in enumerate(names)}
    refused = {name: {reply.startswith("AuthenticationError") for reply in of} for name, of in by_name.items()}
    assert all(len(each) == 1 for each in refused.values()), by_name
    logged_in = {name: of for name, of in by_name.items() if refused[name] == {False}}
    assert {reply.partition(":")[0] for of in logged_in.values() for reply in of} <= {"True", "NoPermissionError"}, (
        by_name
    )
    return set(logged_in)


def test_passwords_change_and_nobody_notices(fleet, tmp_path: pathlib.Path):
    present = {name: fleet.secret(name) for name in PREVIOUS}
    other = {name: f"{value}-changed" for name, value in present.items()}

    def change(passwords: dict[str, str], previous: dict[str, str] | None = None) -> None:
        values = passwords | {PREVIOUS[name]: value for name, value in (previous or {}).items()}
        path = tmp_path / "passwords.yml"
        path.touch(mode=0o600)
        path.write_text("".join(f"{name}: !unsafe {json.dumps(value)}\n" for name, value in values.items()))
        # The part of resultops.celery.site that has to do with passwords.
        playbooks = [f"resultops.celery.{name}" for name in ("redis", "sentinel", "workers")]
        run = fleet.playbook(*playbooks, "--limit", "ha13,ha13_workers", "--extra-vars", f"@{path}")
        assert run.returncode == 0, (run.stdout + run.stderr)[-6000:]

    worker = fleet.host(HA13.workers[0])
    worker.check_output("rm -f /run/rotation-is-over")
    pids, primary = fleet.pids(HA13), fleet.settled(HA13)
    with subprocess.Popen(
        ["docker", "exec", "-i", fleet.container(HA13.workers[0]), "sh", "-c", AS_WORKER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        writer.stdin.write("import json\n" + STORE_UNTIL_TOLD)
        writer.stdin.close()
        try:
            change(other, previous=present)
            assert accepted(fleet, other) == accepted(fleet, present) == set(PREVIOUS)
            change(present, previous=other)
            change(present)
            assert writer.poll() is None, "the writer was there to the end"
        finally:
            worker.check_output("touch /run/rotation-is-over")
        outcome = json.loads(writer.stdout.read())

    assert accepted(fleet, present) == set(PREVIOUS)
    assert accepted(fleet, other) == set()
    fleet.forget_denials(HA13)
    assert outcome["stored"] > 1000
    assert (outcome["failed"], outcome["lost"]) == ([], 0)
    assert outcome["longest"] < 5, "a planned hand-over takes less"
    assert (fleet.pids(HA13), fleet.settled(HA13)) == (pids, primary)
    said = fleet.configure("ha13")
    assert {node: recap(said, node)["changed"] for node in HA13.nodes} == dict.fromkeys(HA13.nodes, 0)
