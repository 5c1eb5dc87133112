#!/usr/bin/python
# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keep who may log in to a MariaDB server of results."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mysql_access
short_description: Keep who may log in to a MariaDB server of Celery results
version_added: 0.3.0
author:
  - ResultOps engineers (@resultops)
description:
  - Keeps the databases and accounts of all applications that keep their results in one server, as one set.
  - Each application has a database of its own, accounts for its workers, accounts that may remove expired results,
    C(<name>_purge), and, where a password is given, accounts that may change the tables, C(<name>_owner). Each of them
    must speak TLS and comes from its own addresses only.
  - What is compared is the server. A right that somebody granted one of these accounts by hand beyond its own tables is
    taken back, and so are its accounts for other addresses. Accounts of others are left alone, except those that
    everybody could use, and C(root) from other hosts or with a password.
  - Passwords are compared with the stored hashes, and only a hash is sent to the server.
  - The privileges on the tables are kept by the migrations, which know the tables.
options:
  applications:
    description: The whole set of applications. Accounts and databases of others are left alone.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the application, which begins the names of its accounts.
        type: str
        required: true
      database:
        description: Database of its tables. By default the name of the application.
        type: str
      username:
        description: Account that its workers log in with. By default the name of the application.
        type: str
      password:
        description: Password of the workers.
        type: str
        required: true
      clients:
        description: Networks of the workers, such as V(192.0.2.0/24). By default O(clients).
        type: list
        elements: str
        default: []
      connection_limit:
        description: Connections of the workers at the same time, from each of O(applications[].clients).
        type: int
        default: 20
      purge_password:
        description: Password of the account that removes expired results. Without one there is no such account.
        type: str
      purge_clients:
        description: Networks from which that account may log in, beside the host itself.
        type: list
        elements: str
        default: []
      owner_password:
        description: Password of the account that changes the tables. Without one there is no such account.
        type: str
      owner_clients:
        description: Networks from which that account may log in, beside the host itself.
        type: list
        elements: str
        default: []
  clients:
    description: Networks of the workers of applications that have no O(applications[].clients).
    type: list
    elements: str
    default: []
  monitor_user:
    description: Account that may see states and sizes, and no result.
    type: str
    default: results_monitor
  monitor_password:
    description: Password of O(monitor_user). Without one there is no such account.
    type: str
  monitor_clients:
    description: Networks from which O(monitor_user) may log in, beside the host itself.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - resultops.celery._mysql
  - resultops.celery._attributes
attributes:
  diff_mode:
    description: Returns the databases, accounts and privileges that differ. Of passwords it says whether they differ.
seealso:
  - module: resultops.celery.mysql_config
  - module: community.mysql.mysql_user
"""

EXAMPLES = r"""
- name: Keep the accounts of two applications
  resultops.celery.mysql_access:
    applications:
      - name: shop
        password: "{{ vault_mysql_shop_password }}"
      - name: billing
        password: "{{ vault_mysql_billing_password }}"
        connection_limit: 40
    clients: [192.0.2.0/24]
    monitor_password: "{{ vault_mysql_monitor_password }}"
  become: true
"""

RETURN = r"""
live:
  description: Whether a server was running and was compared.
  returned: success
  type: bool
  sample: true
statements:
  description: What was, or in check mode would be, told to the server. Hashes of passwords are left out.
  returned: success
  type: list
  elements: str
  sample: ["CREATE DATABASE `shop` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"]
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.resultops.celery.plugins.module_utils import _mysql
from ansible_collections.resultops.celery.plugins.module_utils._mysql import literal
from ansible_collections.resultops.celery.plugins.module_utils._sql_session import Session, SqlError
from ansible_collections.resultops.celery.plugins.module_utils._unlogged import UnloggedModule

HERE = ("localhost", "127.0.0.1")
OWNER_RIGHTS = frozenset(
    (
        "ALTER",
        "ALTER ROUTINE",
        "CREATE",
        "CREATE ROUTINE",
        "CREATE VIEW",
        "DELETE",
        "DROP",
        "EXECUTE",
        "INDEX",
        "INSERT",
        "LOCK TABLES",
        "REFERENCES",
        "SELECT",
        "TRIGGER",
        "UPDATE",
    )
)
# The comparison of bytes finds a task by its id faster than one that knows languages, and never takes two for one.
CHARACTERS = ("utf8mb4", "utf8mb4_bin")
ANY_TLS = 1

Key = tuple[str, str]


@dataclass
class Account:
    """An account as it shall be."""

    user: str
    host: str
    hash: str
    connections: int
    # The only database in which it may have rights on tables; those are given by the migrations.
    databases: frozenset[str]
    rights: dict[str, frozenset[str]] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        return self.user, self.host


class Access:
    """The whole set, wanted and found, and the statements that lead from one to the other."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self.databases: list[str] = []
        self.accounts: dict[Key, Account] = {}
        # Known by name, so that an account that is no longer wanted is found.
        self.users: dict[str, str] = {}
        self.statements: list[str] = []
        self.before: dict[str, Any] = {}
        self.after: dict[str, Any] = {}
        for application in params["applications"]:
            self._want(application, params)
        here = [*HERE, *_patterns(params["monitor_clients"])]
        self._add(params["monitor_user"], "the monitoring", params["monitor_password"], here, 3, self.databases)

    def _want(self, application: Mapping[str, Any], params: Mapping[str, Any]) -> None:
        name = application["name"]
        database = application["database"] or name
        if database in self.databases:
            raise SqlError(f"The database {database} is wanted twice: give each application one of its own.")
        self.databases.append(database)
        user = application["username"] or name
        limit = application["connection_limit"]
        self._add(
            user,
            name,
            application["password"],
            _patterns(application["clients"] or params["clients"]),
            limit,
            [database],
        )
        purge = [*HERE, *_patterns(application["purge_clients"])]
        self._add(f"{name}_purge", name, application["purge_password"], purge, 2, [database])
        owner = [*HERE, *_patterns(application["owner_clients"])]
        rights = {_escaped(database): OWNER_RIGHTS}
        self._add(f"{name}_owner", name, application["owner_password"], owner, 2, [database], rights)

    def _add(
        self,
        user: str,
        whose: str,
        password: Any,
        hosts: Sequence[str],
        connections: int,
        databases: Sequence[str],
        rights: Any = None,
    ) -> None:
        if user in self.users:
            raise SqlError(f"The account {user} is wanted by {self.users[user]} and {whose}: give one another name.")
        self.users[user] = whose
        for host in dict.fromkeys(hosts) if password else ():
            hashed = _mysql.password_hash(password)
            account = Account(user, host, hashed, connections, frozenset(databases), rights or {})
            self.accounts[account.key] = account

    def compare(self, server: Session) -> None:
        """Find what differs, and say what to tell the server."""
        self._compare_databases(server)
        found = {
            (user, host): json.loads(description)
            for user, host, description in server.rows("SELECT User, Host, Priv FROM global_priv")
        }
        self._close_doors(server, found)
        for user, host in sorted(key for key in found if key[0] in self.users and key not in self.accounts):
            self._tell(f"DROP USER {_account(user, host)}", _account(user, host), "there", "absent")
        for account in self.accounts.values():
            self._compare_account(account, found.get(account.key))
        self._compare_rights(server, found.keys())

    def _tell(self, statement: str, what: str, before: Any, after: Any) -> None:
        self.statements.append(statement)
        self.before[what], self.after[what] = before, after

    def _compare_databases(self, server: Session) -> None:
        rows = server.rows(
            "SELECT SCHEMA_NAME, DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA"
        )
        there = {row[0]: row[1:] for row in rows}
        for database in self.databases:
            if there.get(database) != CHARACTERS:
                verb = "ALTER" if database in there else "CREATE"
                characters = f"CHARACTER SET {CHARACTERS[0]} COLLATE {CHARACTERS[1]}"
                before = " ".join(there.get(database, ["absent"]))
                self._tell(
                    f"{verb} DATABASE `{database}` {characters}", f"database {database}", before, " ".join(CHARACTERS)
                )

    def _close_doors(self, server: Session, found: dict[Key, Any]) -> None:
        """What everybody could use: accounts without a name, their rights, and root from elsewhere."""
        for user, host in sorted(found):
            if (user == "root" and host != "localhost") or (not user and not found[user, host].get("is_role")):
                self._tell(f"DROP USER {_account(user, host)}", _account(user, host), "there", "absent")
        root = found.get(("root", "localhost"))
        if root and not _only_by_socket(root):
            account = _account("root", "localhost")
            self._tell(f"ALTER USER {account} IDENTIFIED VIA unix_socket", account, "a password", "the Unix socket")
        everybody = server.rows("SELECT DISTINCT Db, Host FROM db WHERE User = ''")
        if everybody and not any(not user for user, _host in found):
            self._tell("DELETE FROM mysql.db WHERE User = ''", "rights of everybody", sorted(map(str, everybody)), [])
            self.statements.append("FLUSH PRIVILEGES")

    def _compare_account(self, account: Account, found: Any) -> None:
        wanted = {"password": "as wanted", "tls": True, "connections": account.connections, "locked": False}
        is_now = _described(found, account.hash) if found else "absent"
        if is_now == wanted:
            return
        verb = "ALTER" if found else "CREATE"
        self._tell(
            f"{verb} USER {_account(*account.key)} IDENTIFIED VIA mysql_native_password USING {literal(account.hash)} "
            f"REQUIRE SSL WITH MAX_USER_CONNECTIONS {account.connections} ACCOUNT UNLOCK",
            _account(*account.key),
            is_now,
            wanted,
        )

    def _compare_rights(self, server: Session, there: Any) -> None:
        everywhere = _by_grantee(
            server.rows("SELECT GRANTEE, '*.*', PRIVILEGE_TYPE FROM information_schema.USER_PRIVILEGES")
        )
        in_databases = _by_grantee(
            server.rows("SELECT GRANTEE, TABLE_SCHEMA, PRIVILEGE_TYPE FROM information_schema.SCHEMA_PRIVILEGES")
        )
        roles = server.rows("SELECT User, Host, Role FROM roles_mapping")
        objects = [
            *server.rows("SELECT User, Host, Db, CONCAT('`', Table_name, '`') FROM tables_priv"),
            *server.rows("SELECT User, Host, Db, CONCAT('`', Table_name, '`') FROM columns_priv"),
        ]
        routines = server.rows("SELECT User, Host, Db, Routine_type, Routine_name FROM procs_priv")
        for account in self.accounts.values():
            who = _account(*account.key)
            if account.key in there:
                for right in sorted(everywhere.get(who, {}).get("*.*", set()) - {"USAGE"}):
                    self._tell(f"REVOKE {right} ON *.* FROM {who}", f"{who} everywhere", right, "nothing")
                for user, host, role in roles:
                    if (user, host) == account.key:
                        self._tell(f"REVOKE `{role}` FROM {who}", f"{who} as {role}", "granted", "not granted")
                for database, table in sorted({row[2:] for row in objects if row[:2] == account.key}):
                    if database not in account.databases:
                        place = f"`{database}`.{table}"
                        self._tell(f"REVOKE ALL ON {place} FROM {who}", f"{who} on {place}", "granted", "nothing")
                for database, kind, routine in sorted(row[2:] for row in routines if row[:2] == account.key):
                    if database not in account.databases:
                        place = f"{kind} `{database}`.`{routine}`"
                        self._tell(f"REVOKE ALL ON {place} FROM {who}", f"{who} on {place}", "granted", "nothing")
            self._compare_database_rights(account, in_databases.get(who, {}))

    def _compare_database_rights(self, account: Account, has: dict[str, set[str]]) -> None:
        who = _account(*account.key)
        for database in sorted({*has, *account.rights}):
            wanted, granted = account.rights.get(database, frozenset()), has.get(database, set())
            place = f"`{database}`.*"
            if granted - wanted:
                self.statements.append(f"REVOKE {', '.join(sorted(granted - wanted))} ON {place} FROM {who}")
            if wanted - granted:
                self.statements.append(f"GRANT {', '.join(sorted(wanted - granted))} ON {place} TO {who}")
            if granted != wanted:
                self.before[f"{who} on {place}"] = sorted(granted)
                self.after[f"{who} on {place}"] = sorted(wanted)

    def masked(self) -> list[str]:
        hashes = {account.hash for account in self.accounts.values()}
        return [re.sub("|".join(map(re.escape, hashes)), "...", statement) for statement in self.statements]


def _patterns(networks: Sequence[str]) -> list[str]:
    try:
        return [_mysql.host_pattern(network) for network in networks]
    except ValueError as problem:
        raise SqlError(f"One of the networks is none: {problem}.") from problem


def _account(user: str, host: str) -> str:
    return f"{literal(user)}@{literal(host)}"


def _escaped(database: str) -> str:
    """In what is granted on a whole database, an underscore would stand for any character."""
    return database.replace("_", "\\_")


def _by_grantee(rows: Sequence[tuple[Any, ...]]) -> dict[str, dict[str, set[str]]]:
    found: dict[str, dict[str, set[str]]] = {}
    for grantee, place, right in rows:
        found.setdefault(grantee, {}).setdefault(place, set()).add(right)
    return found


def _only_by_socket(description: Mapping[str, Any]) -> bool:
    """Whether no password opens an account; Debian's has one beside the socket that no password can match."""
    ways = [description, *description.get("auth_or", [])]
    plugins = {
        way.get("plugin", "") for way in ways if way.get("plugin") and way.get("authentication_string") != "invalid"
    }
    return plugins == {"unix_socket"}


def _described(found: Mapping[str, Any], hashed: str) -> dict[str, Any]:
    by_password = found.get("plugin") == "mysql_native_password" and not any(
        way.get("plugin") for way in found.get("auth_or", [])
    )
    return {
        "password": "as wanted" if by_password and found.get("authentication_string") == hashed else "another one",
        "tls": found.get("ssl_type") == ANY_TLS,
        "connections": found.get("max_user_connections", 0),
        "locked": bool(found.get("account_locked")),
    }


def run(module: AnsibleModule) -> dict[str, Any]:
    access = Access(module.params)
    server = _mysql.connect(module.params)
    if server is None:
        if not module.check_mode:
            raise SqlError(f"No server runs at {module.params['unix_socket']}.")
        return {"changed": True, "live": False, "statements": []}
    access.compare(server)
    for statement in access.statements if not module.check_mode else ():
        server.run(statement)
    server.close()
    return {
        "changed": bool(access.statements),
        "live": True,
        "statements": access.masked(),
        "diff": {"before": access.before, "after": access.after},
    }


def main() -> None:
    module = UnloggedModule(
        argument_spec={
            "applications": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "database": {"type": "str"},
                    "username": {"type": "str"},
                    "password": {"type": "str", "required": True, "no_log": True},
                    "clients": {"type": "list", "elements": "str", "default": []},
                    "connection_limit": {"type": "int", "default": 20},
                    "purge_password": {"type": "str", "no_log": True},
                    "purge_clients": {"type": "list", "elements": "str", "default": []},
                    "owner_password": {"type": "str", "no_log": True},
                    "owner_clients": {"type": "list", "elements": "str", "default": []},
                },
            },
            "clients": {"type": "list", "elements": "str", "default": []},
            "monitor_user": {"type": "str", "default": "results_monitor"},
            "monitor_password": {"type": "str", "no_log": True},
            "monitor_clients": {"type": "list", "elements": "str", "default": []},
            **_mysql.CONNECTION_ARGUMENTS,
        },
        supports_check_mode=True,
    )
    try:
        result = run(module)
    except SqlError as problem:
        module.fail_json(msg=str(problem))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
