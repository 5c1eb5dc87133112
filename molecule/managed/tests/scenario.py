# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The provider's server, and sessions that the other host opens with it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from fleet import CHECKOUT, Fleet

INVENTORY = CHECKOUT / "molecule" / "managed" / "inventory"
LOG = CHECKOUT / ".cache" / "molecule" / "managed.log"
SESSION, TRANSACTION = 5432, 6543
SCHEMAS = ("probe", "given")
# Accounts and the names of their passwords in the vault.
PASSWORDS = {"dbadmin": "admin", "probe": "probe", "results_monitor": "monitor", "given_user": "other"}
# Whatever the roles of an interface, or everybody, may do in one of the schemas, or with it.
GIVEN_AWAY = """
SELECT name, grantee::regrole, privilege_type FROM (
    SELECT c.relname AS name, x.* FROM pg_class c, aclexplode(c.relacl) x
    WHERE c.relnamespace = '{schema}'::regnamespace
    UNION ALL
    SELECT p.proname, x.* FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) x
    WHERE p.pronamespace = '{schema}'::regnamespace
    UNION ALL
    SELECT n.nspname, x.* FROM pg_namespace n, aclexplode(n.nspacl) x WHERE n.nspname = '{schema}'
) AS rights WHERE grantee IN (0, 'anon'::regrole, 'authenticated'::regrole)
"""
CLIENT = """
import psycopg2
answers = []
try:
    session = psycopg2.connect(host="managed", port=given["port"], user=given["user"], password=given["password"],
                               dbname="postgres", sslmode="verify-full", sslrootcert="/etc/ssl/certs/provider.pem",
                               connect_timeout=10)
    session.autocommit = True
    for statement in given["statements"]:
        cursor = session.cursor()
        try:
            cursor.execute(statement)
            answers.append([list(row) for row in cursor.fetchall()] if cursor.description else "done")
        except psycopg2.Error as error:
            answers.append(type(error).__name__)
except psycopg2.Error as error:
    answers = str(error)
print(json.dumps(answers, default=str))
"""


class Managed(Fleet):
    """The fleet of this scenario."""

    def ask(self, user: str, *statements: str, port: int = SESSION) -> Any:
        """What each statement of an account gives; what refuses the whole session comes back as one text."""
        password = self.secret(f"vault_postgresql_{PASSWORDS[user]}_password")
        values = {"user": user, "password": password, "port": port, "statements": statements}
        return self._run(self.client, ["python3", "-"], CLIENT, values)

    def provider(self, statement: str) -> list[list[str]]:
        """What the provider sees on its own host."""
        command = "runuser -u postgres -- psql --no-psqlrc -qAtX -F '|' -c %s"
        rows = str(self.host("managed").check_output(command, statement)).splitlines()
        return [row.split("|") for row in rows]

    def until(self, condition: Callable[[], bool], seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds} seconds"
            time.sleep(0.5)
