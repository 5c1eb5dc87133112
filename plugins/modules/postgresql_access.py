#!/usr/bin/python
# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keep who may do what in a database of results."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_access
short_description: Keep who may do what in a database of Celery results
version_added: 0.3.0
author:
  - ResultOps engineers (@resultops)
description:
  - Keeps the roles, schemas and privileges of all applications that keep their results in one database, as one set and
    in one transaction.
  - Each application has a schema that belongs to a role without login, C(<name>_owner); a role that its workers log in
    with, which may use the schema and create nothing; and a role that may remove expired results, C(<name>_purge).
  - What is compared is the server. A right that somebody granted one of these roles by hand is taken back. Rights of
    other roles are left alone, except those that everybody has.
  - Passwords are compared with the stored SCRAM verifiers, and only a verifier is sent to the server.
  - The privileges on the tables are kept by the migrations, which know the tables.
  - On a managed server, which O(login_host) names, no superuser is needed. O(login_user) creates the roles and becomes
    a member of those that own a schema or purge it. Verifiers cannot be read there, so that a password is compared by a
    login with it. The rights that everybody has on the database and on the schema C(public) belong to the provider and
    are left alone, and the database must exist.
options:
  database:
    description: The database, which is created with UTF-8 where it does not exist.
    type: str
    required: true
  applications:
    description: The whole set of applications. Roles and schemas of others are left alone.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the application, which begins the names of its roles.
        type: str
        required: true
      schema:
        description: Schema of its tables. By default the name of the application.
        type: str
      username:
        description: Role that its workers log in with. By default the name of the application.
        type: str
      password:
        description: Password of the workers.
        type: str
        required: true
      purge_password:
        description: Password of the role that removes expired results. Without one it can only log in by peer
          authentication.
        type: str
      connection_limit:
        description: Connections of the workers at the same time.
        type: int
        default: 20
      statement_timeout:
        description: Time after which a statement of the workers is cancelled.
        type: str
        default: 5s
      lock_timeout:
        description: Time after which a statement of the workers stops waiting for a lock.
        type: str
        default: 2s
      idle_in_transaction_session_timeout:
        description: Time after which a session ends that has begun a transaction and does nothing.
        type: str
        default: 30s
  purge_connection_limit:
    description: Connections of each role that removes expired results.
    type: int
    default: 2
  monitor_user:
    description:
      - Role that may see states and sizes, and no result. An empty one is none.
      - On a managed server it is no member of C(pg_monitor), which not every administrator may grant there.
    type: str
    default: results_monitor
  monitor_password:
    description: Password of O(monitor_user). Without one it can only log in by peer authentication.
    type: str
  monitor_connection_limit:
    description: Connections of O(monitor_user).
    type: int
    default: 3
  login_host:
    description:
      - Name of a managed server. Without one the module logs in at O(unix_socket).
    type: str
  login_password:
    description:
      - Password of O(login_user) on a managed server.
    type: str
  ssl_mode:
    description:
      - How a managed server proves who it is. V(verify-full) compares its name with its certificate, V(verify-ca) only
        wants a certificate of a known authority, V(require) wants nothing but encryption.
    type: str
    choices: [verify-full, verify-ca, require, disable]
    default: verify-full
  ca_file:
    description:
      - Certificates of the authorities that may have signed a managed server's certificate. The system's own are used
        without it.
    type: path
extends_documentation_fragment:
  - resultops.celery._postgresql
  - resultops.celery._attributes
attributes:
  diff_mode:
    description: Returns the roles, settings and privileges that differ. Of passwords it says whether they differ.
seealso:
  - module: resultops.celery.postgresql_config
  - module: community.postgresql.postgresql_user
  - module: community.postgresql.postgresql_privs
"""

EXAMPLES = r"""
- name: Keep the roles of two applications
  resultops.celery.postgresql_access:
    database: results
    applications:
      - name: shop
        password: "{{ vault_postgresql_shop_password }}"
      - name: billing
        password: "{{ vault_postgresql_billing_password }}"
        connection_limit: 40
    monitor_password: "{{ vault_postgresql_monitor_password }}"
  become: true

- name: Keep the roles of an application on a managed server
  resultops.celery.postgresql_access:
    login_host: db.example.com
    login_user: postgres
    login_password: "{{ vault_postgresql_admin_password }}"
    ca_file: /etc/ssl/certs/provider.pem
    database: postgres
    applications:
      - name: shop
        password: "{{ vault_postgresql_shop_password }}"
"""

RETURN = r"""
live:
  description: Whether a server was running and was compared.
  returned: success
  type: bool
  sample: true
statements:
  description: What was, or in check mode would be, told to the server. Verifiers of passwords are left out.
  returned: success
  type: list
  elements: str
  sample: ['ALTER ROLE "shop" PASSWORD ''...''']
"""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional, Protocol

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.resultops.celery.plugins.module_utils import _postgresql, _sql_session
from ansible_collections.resultops.celery.plugins.module_utils._postgresql import literal, name
from ansible_collections.resultops.celery.plugins.module_utils._unlogged import UnloggedModule

NETWORK = ("login_host", "login_password", "ssl_mode", "ca_file")
FLAGS = ("SUPERUSER", "CREATEDB", "CREATEROLE", "REPLICATION", "BYPASSRLS")
PUBLIC = "PUBLIC"
# The order of bytes makes indexes the smallest and fastest, and does not change with the system's libraries.
CREATE_DATABASE = "CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'"

ROLES = """
SELECT r.rolname, r.rolcanlogin, r.rolconnlimit, r.rolpassword, r.rolvaliduntil IS NOT NULL
           AND r.rolvaliduntil <> 'infinity',
       array_remove(ARRAY[CASE WHEN r.rolsuper THEN 'SUPERUSER' END, CASE WHEN r.rolcreatedb THEN 'CREATEDB' END,
                          CASE WHEN r.rolcreaterole THEN 'CREATEROLE' END,
                          CASE WHEN r.rolreplication THEN 'REPLICATION' END,
                          CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' END], NULL),
       ARRAY(SELECT g.rolname::text FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
             WHERE m.member = r.oid ORDER BY 1),
       coalesce((SELECT s.setconfig FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
                 WHERE s.setrole = r.oid AND d.datname = %s), '{}')
FROM pg_authid r WHERE r.rolname = ANY(%s)
"""
# What an administrator may read who is no superuser.
ROLES_WITHOUT_PASSWORDS = ROLES.replace("r.rolpassword", "NULL").replace("pg_authid", "pg_roles")
OWN_ROLES = "SELECT rolname::text FROM pg_roles WHERE rolname = ANY(%s) AND pg_has_role(oid, 'USAGE')"
DATABASE_RIGHTS = """
SELECT coalesce(r.rolname::text, 'PUBLIC'), a.privilege_type
FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
LEFT JOIN pg_roles r ON r.oid = a.grantee
WHERE d.datname = %s AND a.grantee <> d.datdba
"""
SCHEMA_RIGHTS = """
SELECT n.nspname::text, coalesce(r.rolname::text, 'PUBLIC'), a.privilege_type
FROM pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
LEFT JOIN pg_roles r ON r.oid = a.grantee
WHERE n.nspname = ANY(%s) AND a.grantee <> n.nspowner
"""
SCHEMA_OWNERS = """
SELECT n.nspname::text, r.rolname::text FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner
WHERE n.nspname = ANY(%s)
"""


@dataclass
class Role:
    """A role as it shall be."""

    name: str
    login: bool = True
    password: Optional[str] = None
    connection_limit: int = -1
    member_of: list[str] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)


@dataclass
class Found:
    """A role as it is."""

    login: bool
    connection_limit: int
    verifier: Optional[str]
    expires: bool
    flags: list[str]
    member_of: list[str]
    settings: dict[str, str]


Rights = dict[str, dict[str, set[str]]]


class Server(Protocol):
    """A session with the server on this host, or with one elsewhere."""

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]: ...

    def run(self, statement: str) -> None: ...


class Access:
    """The whole set, wanted and found, and the statements that lead from one to the other."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self.database: str = params["database"]
        self.roles: dict[str, Role] = {}
        self.owners: dict[str, str] = {}
        # Roles that the administrator of a managed server must be able to act as.
        self.acts_as: list[str] = []
        self.rights: Rights = {f"DATABASE {name(self.database)}": {PUBLIC: set()}, f"SCHEMA {name('public')}": {}}
        self.statements: list[str] = []
        self.secrets: list[str] = []
        self.before: dict[str, Any] = {}
        self.after: dict[str, Any] = {}
        for application in params["applications"]:
            self._want(application, params)
        if params["monitor_user"]:
            self._want_monitor(params)
        # Nobody of these has anything to do with the schema of others.
        for rights in self.rights.values():
            for role in [PUBLIC, *self.roles]:
                rights.setdefault(role, set())

    def _want_monitor(self, params: Mapping[str, Any]) -> None:
        monitor = Role(
            params["monitor_user"],
            password=params["monitor_password"],
            connection_limit=params["monitor_connection_limit"],
            member_of=self._groups_of_monitor(),
            settings={"TimeZone": "UTC", "statement_timeout": "5s", "default_transaction_read_only": "on"},
        )
        self._add(monitor)
        self._grant(f"DATABASE {name(self.database)}", monitor.name, "CONNECT")
        for schema in self.owners:
            self._grant(f"SCHEMA {name(schema)}", monitor.name, "USAGE")

    def _groups_of_monitor(self) -> list[str]:
        return ["pg_monitor"]

    def _want(self, application: Mapping[str, Any], params: Mapping[str, Any]) -> None:
        schema = application["schema"] or application["name"]
        owner = Role(f"{application['name']}_owner", login=False)
        common = {"search_path": schema, "TimeZone": "UTC"}
        timeouts = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
        user = Role(
            application["username"] or application["name"],
            password=application["password"],
            connection_limit=application["connection_limit"],
            settings={**common, **{setting: application[setting] for setting in timeouts}},
        )
        purge = Role(
            f"{application['name']}_purge",
            password=application["purge_password"],
            connection_limit=params["purge_connection_limit"],
            settings={
                **common,
                "statement_timeout": "0",
                **{setting: application[setting] for setting in timeouts[1:]},
            },
        )
        for role in (owner, user, purge):
            self._add(role)
        self.acts_as += [owner.name, purge.name]
        self.owners[schema] = owner.name
        for role in (user, purge):
            self._grant(f"DATABASE {name(self.database)}", role.name, "CONNECT")
            self._grant(f"SCHEMA {name(schema)}", role.name, "USAGE")

    def _add(self, role: Role) -> None:
        if role.name in self.roles:
            raise _postgresql.PostgresqlError(
                f"The role {role.name} is wanted twice: give the applications other names."
            )
        self.roles[role.name] = role

    def _grant(self, what: str, role: str, right: str) -> None:
        self.rights.setdefault(what, {}).setdefault(role, set()).add(right)

    def compare(self, server: Server, exists: bool) -> None:
        """Find what differs, and say what to tell the server."""
        for role, found in self._found_roles(server):
            self._compare_role(role, found)
        schemas = [*self.owners, "public"]
        owners = dict(server.rows(SCHEMA_OWNERS, [schemas])) if exists else {}
        for schema, owner in self.owners.items():
            self._compare_schema(schema, owner, owners.get(schema))
        self._compare_rights(
            self._found_rights(server, exists, schemas), [*owners, *self.owners, *([] if exists else ["public"])]
        )

    def _found_roles(self, server: Server) -> list[tuple[Role, Optional[Found]]]:
        rows = server.rows(self._question_of_roles(), [self.database, list(self.roles)])
        found = {row[0]: _found(row) for row in rows}
        return [(role, found.get(role.name)) for role in self.roles.values()]

    def _question_of_roles(self) -> str:
        return ROLES

    def _has_its_password(self, role: Role, found: Found) -> bool:
        return role.password is not None and _postgresql.verifies(role.password, found.verifier)

    def _found_rights(self, server: Server, exists: bool, schemas: list[str]) -> Rights:
        found: Rights = {}
        if not exists:
            found[f"DATABASE {name(self.database)}"] = {PUBLIC: {"CONNECT", "TEMPORARY"}}
            found[f"SCHEMA {name('public')}"] = {PUBLIC: {"USAGE"}}
        for role, right in server.rows(DATABASE_RIGHTS, [self.database]):
            found.setdefault(f"DATABASE {name(self.database)}", {}).setdefault(role, set()).add(right)
        for schema, role, right in server.rows(SCHEMA_RIGHTS, [schemas]) if exists else []:
            found.setdefault(f"SCHEMA {name(schema)}", {}).setdefault(role, set()).add(right)
        return found

    def _compare_role(self, role: Role, found: Optional[Found]) -> None:
        quoted = name(role.name)
        is_new = found is None
        if found is None:
            self.statements.append(f"CREATE ROLE {quoted} NOLOGIN")
            found = Found(False, -1, None, False, [], [], {})
            self.before[f"role {role.name}"] = "absent"
        options = self._options(role, found)
        if options:
            self.statements.append(f"ALTER ROLE {quoted} {' '.join(options)}")
        for group in sorted({*role.member_of} - {*found.member_of}):
            self.statements.append(f"GRANT {name(group)} TO {quoted}")
        for group in sorted({*found.member_of} - {*role.member_of}):
            self.statements.append(f"REVOKE {name(group)} FROM {quoted}")
        place = f"ALTER ROLE {quoted} IN DATABASE {name(self.database)}"
        for setting, value in role.settings.items():
            if found.settings.get(setting) != value:
                self.statements.append(f"{place} SET {setting} = {literal(value)}")
        for setting in sorted(found.settings.keys() - role.settings.keys()):
            self.statements.append(f"{place} RESET {setting}")
        wanted, is_now = _described(role), _described_found(found, self._state_of_password(role, found))
        if is_new or wanted != is_now:
            self.before.setdefault(f"role {role.name}", is_now)
            self.after[f"role {role.name}"] = wanted

    def _state_of_password(self, role: Role, found: Found) -> str:
        if self._has_its_password(role, found):
            return "as wanted"
        return "another one" if found.verifier else "none"

    def _options(self, role: Role, found: Found) -> list[str]:
        options = [f"NO{flag}" for flag in FLAGS if flag in found.flags]
        if found.login != role.login:
            options.append("LOGIN" if role.login else "NOLOGIN")
        if found.connection_limit != role.connection_limit:
            options.append(f"CONNECTION LIMIT {role.connection_limit}")
        if found.expires:
            options.append("VALID UNTIL 'infinity'")
        if role.password is None:
            options += ["PASSWORD NULL"] if found.verifier else []
        elif not self._has_its_password(role, found):
            self.secrets.append(_postgresql.verifier(role.password))
            options.append(f"PASSWORD {literal(self.secrets[-1])}")
        return options

    def _compare_schema(self, schema: str, owner: str, found: Optional[str]) -> None:
        if found is None:
            self.statements.append(f"CREATE SCHEMA {name(schema)} AUTHORIZATION {name(owner)}")
        elif found != owner:
            self.statements.append(f"ALTER SCHEMA {name(schema)} OWNER TO {name(owner)}")
        if found != owner:
            self.before[f"schema {schema}"] = {"owner": found} if found else "absent"
            self.after[f"schema {schema}"] = {"owner": owner}

    def _compare_rights(self, found: Rights, schemas: list[str]) -> None:
        there = {f"SCHEMA {name(schema)}" for schema in schemas} | {f"DATABASE {name(self.database)}"}
        owners = {f"SCHEMA {name(schema)}": owner for schema, owner in self.owners.items()}
        for what, wanted in self.rights.items():
            for role in wanted if what in there else []:
                if role == owners.get(what):
                    continue
                has = found.get(what, {}).get(role, set())
                self._compare_rights_of(what, role, wanted[role], has)

    def _compare_rights_of(self, what: str, role: str, wanted: set[str], has: set[str]) -> None:
        quoted = PUBLIC if role == PUBLIC else name(role)
        if has - wanted:
            self.statements.append(f"REVOKE {', '.join(sorted(has - wanted))} ON {what} FROM {quoted}")
        if wanted - has:
            self.statements.append(f"GRANT {', '.join(sorted(wanted - has))} ON {what} TO {quoted}")
        if has != wanted:
            self.before.setdefault(what, {})[role] = sorted(has)
            self.after.setdefault(what, {})[role] = sorted(wanted)

    def masked(self) -> list[str]:
        return [_masked(statement, self.secrets) for statement in self.statements]


class ManagedAccess(Access):
    """The same on a server of somebody else, by an administrator who is no superuser."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        super().__init__(params)
        self.params = params
        self.logs_in: dict[str, bool] = {}
        # What belongs to the provider, and whom it serves besides.
        del self.rights[f"SCHEMA {name('public')}"]

    def _groups_of_monitor(self) -> list[str]:
        return []

    def _question_of_roles(self) -> str:
        return ROLES_WITHOUT_PASSWORDS

    def compare(self, server: Server, exists: bool) -> None:
        if server.rows("SELECT has_database_privilege('public', %s, 'CONNECT')", [self.database])[0][0]:
            del self.rights[f"DATABASE {name(self.database)}"]
        else:
            del self.rights[f"DATABASE {name(self.database)}"][PUBLIC]
        self.administrator = server.rows("SELECT current_user::text")[0][0]
        self.own = {row[0] for row in server.rows(OWN_ROLES, [self.acts_as])}
        super().compare(server, exists)

    def _compare_role(self, role: Role, found: Optional[Found]) -> None:
        if found is not None and role.password is not None:
            self.logs_in[role.name] = self._logs_in(role)
        super()._compare_role(role, found)
        if role.name in self.acts_as and role.name not in self.own:
            self.statements.append(f"GRANT {name(role.name)} TO CURRENT_USER")
            self.before.setdefault(f"role {self.administrator}", {"member_of": []})
            self.after.setdefault(f"role {self.administrator}", {"member_of": []})["member_of"].append(role.name)

    def _has_its_password(self, role: Role, found: Found) -> bool:  # noqa: ARG002 - nobody may read the verifier
        return self.logs_in.get(role.name, False)

    def _state_of_password(self, role: Role, found: Found) -> str:
        if role.password is None:
            return "none"
        return "as wanted" if self._has_its_password(role, found) else "another one"

    def _logs_in(self, role: Role) -> bool:
        # Some poolers want the name of a project behind that of a role.
        project = str(self.params["login_user"]).removeprefix(self.administrator)
        user = f"{role.name}{project}" if project.startswith(".") else role.name
        try:
            _over_network({**self.params, "login_user": user, "login_password": role.password}).close()
        except _sql_session.SqlError as problem:
            # That is said after the password was found right.
            return "too many connections" in str(problem)
        return True


def _found(row: tuple[Any, ...]) -> Found:
    _name, login, limit, stored, expires, flags, groups, settings = row
    pairs = dict(setting.split("=", 1) for setting in settings)
    return Found(login, limit, stored, bool(expires), list(flags), list(groups), pairs)


def _described(role: Role) -> dict[str, Any]:
    return {
        "login": role.login,
        "password": "none" if role.password is None else "as wanted",
        "connection_limit": role.connection_limit,
        "attributes": [],
        "member_of": sorted(role.member_of),
        "settings": dict(sorted(role.settings.items())),
    }


def _described_found(found: Found, password: str) -> dict[str, Any]:
    return {
        "login": found.login,
        "password": password,
        "connection_limit": found.connection_limit,
        "attributes": found.flags + (["VALID UNTIL"] if found.expires else []),
        "member_of": sorted(found.member_of),
        "settings": dict(sorted(found.settings.items())),
    }


def _masked(statement: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        statement = statement.replace(secret, "...")
    return statement


def _over_network(params: Mapping[str, Any]) -> _sql_session.Session:
    return _sql_session.Session(
        {**params, "engine": "postgresql", "login_unix_socket": None, "schema": "public", "login_timeout": 10}
    )


def run_managed(module: AnsibleModule) -> dict[str, Any]:
    access = ManagedAccess(module.params)
    with contextlib.closing(_over_network(module.params)) as server:
        with contextlib.closing(_over_network(module.params)) as other:
            if _sql_session.shares_sessions(server, other):
                raise _postgresql.PostgresqlError(_sql_session.SHARED.format(server.where))
        access.compare(server, exists=True)
        if access.statements and not module.check_mode:
            _tell(server, access.statements)
    return _result(access, [])


def _tell(server: Server, statements: Iterable[str]) -> None:
    server.run("BEGIN")
    for statement in statements:
        server.run(statement)
    server.run("COMMIT")


def _result(access: Access, creation: list[str]) -> dict[str, Any]:
    return {
        "changed": bool(creation or access.statements),
        "live": True,
        "statements": creation + access.masked(),
        "diff": {"before": access.before, "after": access.after},
    }


def run(module: AnsibleModule) -> dict[str, Any]:
    if module.params["login_host"]:
        return run_managed(module)
    access = Access(module.params)
    server = _postgresql.connect(module.params)
    if server is None:
        if not module.check_mode:
            raise _postgresql.PostgresqlError(f"No server runs at {module.params['unix_socket']}.")
        return {"changed": True, "live": False, "statements": []}
    missing = not server.rows("SELECT 1 FROM pg_database WHERE datname = %s", [access.database])
    exists = not missing
    creation = CREATE_DATABASE.format(name(access.database))
    if missing and not module.check_mode:
        server.run(creation)
        exists = True
    if exists:
        server.close()
        server = _postgresql.connect(module.params, access.database)
        if server is None:
            raise _postgresql.PostgresqlError(f"The server at {module.params['unix_socket']} went away.")
    access.compare(server, exists)
    if access.statements and not module.check_mode:
        _tell(server, access.statements)
    return _result(access, [creation] * missing)


def main() -> None:
    module = UnloggedModule(
        argument_spec={
            "database": {"type": "str", "required": True},
            "applications": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "schema": {"type": "str"},
                    "username": {"type": "str"},
                    "password": {"type": "str", "required": True, "no_log": True},
                    "purge_password": {"type": "str", "no_log": True},
                    "connection_limit": {"type": "int", "default": 20},
                    "statement_timeout": {"type": "str", "default": "5s"},
                    "lock_timeout": {"type": "str", "default": "2s"},
                    "idle_in_transaction_session_timeout": {"type": "str", "default": "30s"},
                },
            },
            "purge_connection_limit": {"type": "int", "default": 2},
            "monitor_user": {"type": "str", "default": "results_monitor"},
            "monitor_password": {"type": "str", "no_log": True},
            "monitor_connection_limit": {"type": "int", "default": 3},
            **{option: _sql_session.ARGUMENTS[option] for option in NETWORK},
            **_postgresql.CONNECTION_ARGUMENTS,
        },
        supports_check_mode=True,
    )
    try:
        result = run(module)
    except (_postgresql.PostgresqlError, _sql_session.SqlError) as problem:
        module.fail_json(msg=str(problem))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
