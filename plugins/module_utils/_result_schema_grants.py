# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may do what with the result tables: compared with what is granted, and the statements for what differs."""

from __future__ import annotations

from typing import Any

from ansible_collections.resultops.celery.plugins.module_utils._result_schema_shape import (
    GROUPS,
    SEQUENCES,
    TASKS,
    VERSIONS,
    Shape,
)
from ansible_collections.resultops.celery.plugins.module_utils._sql_session import Session, SqlError

PURGE = "celery_purge"
STATUS = "celery_purge_status"
USERS = ("application_user", "purge_user", "monitor_user")
# Roles of services that offer every table of a schema as an HTTP interface.
INTERFACE_ROLES = ("anon", "authenticated")
PUBLIC = "PUBLIC"

# What a user may do with a relation: privilege, and the column where it is for one column only.
Right = tuple[str, str, str]
DML = ("SELECT", "INSERT", "UPDATE", "DELETE")
AGES = {TASKS: ("id", "status", "date_done", "created"), GROUPS: ("id", "date_done", "created")}


def grants(session: Session, params: dict[str, Any], shape: Shape, *, has_purge: bool) -> tuple[list[str], list[str]]:
    """Statements, and what cannot be granted."""
    if TASKS not in shape.tables:
        return [], []
    kind = _Postgresql if session.engine == "postgresql" else _Mysql
    return kind(session, params, shape, has_purge).compare()


class _Grants:
    def __init__(self, session: Session, params: dict[str, Any], shape: Shape, has_purge: bool) -> None:
        self.session = session
        self.params = params
        self.shape = shape
        self.has_purge = has_purge

    def wanted(self) -> dict[str, set[Right]]:
        """By user: relation, privilege, column."""
        found: dict[str, set[Right]] = {}
        application, purge, monitor = (self.params[name] for name in USERS)
        if application:
            rights = {(table, word, "") for table in (TASKS, GROUPS) for word in DML}
            rights |= {
                (SEQUENCES[table], word, "") for table in (TASKS, GROUPS) for word in self.sequence_rights(table)
            }
            found[application] = {*rights, (VERSIONS, "SELECT", "")}
        if purge:
            ages = ("id", "date_done", "created")
            found[purge] = {(table, "SELECT", column) for table in (TASKS, GROUPS) for column in ages}
            found[purge] |= {(table, "DELETE", "") for table in (TASKS, GROUPS)}
            if self.session.engine == "postgresql":
                # To lock a row takes the right to update some column of it.
                found[purge] |= {(table, "UPDATE", "created") for table in (TASKS, GROUPS)}
            found[purge] |= {(VERSIONS, "SELECT", "")}
            if self.has_purge:
                found[purge] |= {(STATUS, "SELECT", ""), (STATUS, "UPDATE", "")}
        if monitor:
            found[monitor] = {(table, "SELECT", column) for table, columns in AGES.items() for column in columns}
            found[monitor] |= {(VERSIONS, "SELECT", "")}
            if self.has_purge:
                found[monitor].add((STATUS, "SELECT", ""))
        return {user: {right for right in rights if self.remains(right)} for user, rights in found.items()}

    def remains(self, right: Right) -> bool:
        """What a revision removes takes its grants along."""
        relation, _word, column = right
        if relation == STATUS:
            return self.has_purge
        if relation == VERSIONS or relation in self.shape.sequences:
            return True
        return relation in self.shape.tables and (not column or column in self.shape.tables[relation].columns)

    def sequence_rights(self, table: str) -> tuple[str, ...]:
        raise NotImplementedError

    def compare(self) -> tuple[list[str], list[str]]:
        raise NotImplementedError

    @staticmethod
    def difference(granted: set[Right], wanted: set[Right]) -> tuple[set[Right], set[Right]]:
        """What to revoke and what to grant. A right on a whole relation takes those on its columns along."""
        too_much = granted - wanted
        whole = {(relation, word) for relation, word, column in too_much if not column}
        left = {right for right in granted - too_much if (right[0], right[1]) not in whole}
        return too_much, wanted - left

    @staticmethod
    def together(rights: set[Right]) -> dict[str, str]:
        """The privileges on each relation, as one statement takes them."""
        words: dict[str, list[str]] = {}
        columns: dict[tuple[str, str], list[str]] = {}
        for relation, word, column in sorted(rights):
            if column:
                columns.setdefault((relation, word), []).append(column)
            else:
                words.setdefault(relation, []).append(word)
        for (relation, word), names in columns.items():
            words.setdefault(relation, []).append(f"{word} ({', '.join(names)})")
        return {relation: ", ".join(parts) for relation, parts in words.items()}


class _Postgresql(_Grants):
    def sequence_rights(self, table: str) -> tuple[str, ...]:  # noqa: ARG002 - of either engine
        return ("USAGE",)

    def compare(self) -> tuple[list[str], list[str]]:
        schema = self.params["schema"]
        users = self.wanted()
        known = {
            row[0]
            for row in self.session.rows(
                "SELECT rolname FROM pg_roles WHERE rolname = ANY (%s)", ([*users, *INTERFACE_ROLES],)
            )
        }
        problems = [
            f"There is no role {users_name}, so nothing was granted to it."
            for users_name in users
            if users_name not in known
        ]
        actual = self._actual(schema)
        statements = []
        for user in (*users, PUBLIC, *INTERFACE_ROLES):
            if user != PUBLIC and user not in known:
                continue
            who = user if user == PUBLIC else self.session.name(user)
            wanted = users.get(user, set())
            granted = {right for right in actual.get(user, set()) if self.remains(right)}
            too_much, missing = self.difference(granted, wanted)
            for relation, words in self.together(too_much).items():
                statements.append(f"REVOKE {words} ON {self._relation(relation)} FROM {who}")
            for relation, words in self.together(missing).items():
                statements.append(f"GRANT {words} ON {self._relation(relation)} TO {who}")
        statements += self._schema_and_purge(schema, {user for user in users if user in known}, known)
        return statements, problems

    def _relation(self, name: str) -> str:
        kind = "SEQUENCE" if name in SEQUENCES.values() else "TABLE"
        return f"{kind} {self.session.of_schema(name)}"

    def _actual(self, schema: str) -> dict[str, set[Right]]:
        found: dict[str, set[Right]] = {}
        values = (schema, [TASKS, GROUPS, VERSIONS, STATUS, *SEQUENCES.values()])
        relation = (
            " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " {attributes} CROSS JOIN LATERAL aclexplode({acl}) x"
            " WHERE n.nspname = %s AND c.relname = ANY (%s) AND x.grantee <> c.relowner"
        )
        who = "CASE WHEN x.grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(x.grantee)::text END"
        for user, name, word in self.session.rows(
            f"SELECT {who}, c.relname, x.privilege_type" + relation.format(attributes="", acl="c.relacl"),
            values,
        ):
            found.setdefault(user, set()).add((name, word, ""))
        columns = "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
        for user, name, word, column in self.session.rows(
            f"SELECT {who}, c.relname, x.privilege_type, a.attname"
            + relation.format(attributes=columns, acl="a.attacl"),
            values,
        ):
            found.setdefault(user, set()).add((name, word, column))
        return found

    def _schema_and_purge(self, schema: str, users: set[str], known: set[str]) -> list[str]:
        statements = []
        name = self.session.name(schema)
        owns, rights = self.session.row(
            "SELECT pg_has_role(nspowner, 'USAGE'), ARRAY(SELECT CASE WHEN x.grantee = 0 THEN 'PUBLIC' ELSE"
            " pg_get_userbyid(x.grantee)::text END || ' ' || x.privilege_type FROM aclexplode(nspacl) x"
            " WHERE x.grantee <> nspowner) FROM pg_namespace WHERE nspname = %s",
            (schema,),
        )
        if owns:
            for user in sorted(users):
                if f"{user} USAGE" not in rights:
                    statements.append(f"GRANT USAGE ON SCHEMA {name} TO {self.session.name(user)}")
                if f"{user} CREATE" in rights:
                    statements.append(f"REVOKE CREATE ON SCHEMA {name} FROM {self.session.name(user)}")
            # The schema public belongs to everybody, whatever is in it.
            if schema != "public":
                for user in (PUBLIC, *INTERFACE_ROLES):
                    words = [word for word in ("CREATE", "USAGE") if f"{user} {word}" in rights]
                    if words and (user == PUBLIC or user in known):
                        who = user if user == PUBLIC else self.session.name(user)
                        statements.append(f"REVOKE {', '.join(words)} ON SCHEMA {name} FROM {who}")
        return statements + (self._calls(users) if self.has_purge else [])

    def _calls(self, users: set[str]) -> list[str]:
        """Who may call the purge."""
        purge = self.params["purge_user"]
        callers = self._callers()
        procedure = self.session.of_schema(PURGE)
        statements = []
        for user in (PUBLIC, *INTERFACE_ROLES):
            if user in callers:
                who = user if user == PUBLIC else self.session.name(user)
                statements.append(f"REVOKE EXECUTE ON PROCEDURE {procedure} FROM {who}")
        if purge in users and purge not in callers:
            statements.append(f"GRANT EXECUTE ON PROCEDURE {procedure} TO {self.session.name(purge)}")
        return statements

    def _callers(self) -> set[str]:
        rows = self.session.rows(
            "SELECT CASE WHEN x.grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(x.grantee)::text END"
            " FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) x WHERE p.proname = %s"
            " AND p.pronamespace = (SELECT oid FROM pg_namespace WHERE nspname = %s)",
            (PURGE, self.params["schema"]),
        )
        return {row[0] for row in rows}


class _Mysql(_Grants):
    def sequence_rights(self, table: str) -> tuple[str, ...]:
        return ("SELECT", "INSERT") if SEQUENCES[table] in self.shape.sequences else ()

    def compare(self) -> tuple[list[str], list[str]]:
        statements: list[str] = []
        problems: list[str] = []
        database = self.params["database"]
        for user, wanted in self.wanted().items():
            try:
                accounts = self._accounts(user)
                granted = {account: self._actual(database, *account) for account in accounts}
            except SqlError:
                problems.append(
                    f"{self.params['login_user']} may not read what {user} is granted, so that was left as it is."
                )
                continue
            if not accounts:
                problems.append(f"There is no account {user}, so nothing was granted to it.")
            for (name, host), rights in granted.items():
                who = f"{self._literal(name)}@{self._literal(host)}"
                too_much, missing = self.difference(rights, wanted)
                for relation, words in self.together(too_much).items():
                    statements.append(f"REVOKE {words} ON {self._relation(relation)} FROM {who}")
                for relation, words in self.together(missing).items():
                    statements.append(f"GRANT {words} ON {self._relation(relation)} TO {who}")
                if user == self.params["purge_user"] and self.has_purge and not self._may_call(database, name, host):
                    statements.append(f"GRANT EXECUTE ON PROCEDURE {self._relation(PURGE)} TO {who}")
        return statements, problems

    def _relation(self, name: str) -> str:
        return f"{self.session.name(self.params['database'])}.{self.session.name(name)}"

    def _accounts(self, user: str) -> list[tuple[str, str]]:
        name, _at, host = user.rpartition("@") if "@" in user else (user, "", "")
        condition, values = ("user = %s", (name,)) if not host else ("user = %s AND host = %s", (name, host))
        rows = self.session.rows(f"SELECT user, host FROM mysql.user WHERE {condition}", values)  # noqa: S608
        return [(str(row[0]), str(row[1])) for row in rows]

    def _actual(self, database: str, name: str, host: str) -> set[Right]:
        found: set[Right] = set()
        values = (database.lower(), name, host)
        for relation, words in self.session.rows(
            "SELECT table_name, table_priv FROM mysql.tables_priv WHERE LOWER(db) = %s AND user = %s AND host = %s",
            values,
        ):
            found |= {(_text(relation), word.upper(), "") for word in _set(words)}
        for relation, column, words in self.session.rows(
            "SELECT table_name, column_name, column_priv FROM mysql.columns_priv"
            " WHERE LOWER(db) = %s AND user = %s AND host = %s",
            values,
        ):
            found |= {(_text(relation), word.upper(), _text(column)) for word in _set(words)}
        return {right for right in found if self.remains(right)}

    def _may_call(self, database: str, name: str, host: str) -> bool:
        rows = self.session.rows(
            "SELECT 1 FROM mysql.procs_priv"
            " WHERE LOWER(db) = %s AND user = %s AND host = %s AND LOWER(routine_name) = %s",
            (database.lower(), name, host, PURGE),
        )
        return bool(rows)

    @staticmethod
    def _literal(text: str) -> str:
        return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _set(value: Any) -> list[str]:
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return [word for word in _text(value).split(",") if word]
