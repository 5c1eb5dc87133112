#!/usr/bin/python
# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keep the ACL users of a Redis or Valkey server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_acl
short_description: Keep the ACL users of a Redis or Valkey server
version_added: 0.1.0
author:
  - ResultOps engineers (@resultops)
description:
  - Writes the whole set of users to the server's C(aclfile), with hashes instead of passwords, and brings the running
    server in line with it. A user that is not listed is removed.
  - Users are compared by hashes and by what their rules allow, not by how the rules are written.
  - The changes are applied in one transaction by C(ACL SETUSER) and never by C(ACL LOAD), which makes Redis 7.0 drop
    every connection. Connections of a user stay open while only passwords are added or rights change.
  - The user V(default) is always switched off, and keeps its rights on purpose. The server replays its append-only
    file as this user. Without rights it would drop each transaction, and with them results that it had acknowledged,
    at the next start.
  - Runs before the server exists, too. It then manages the file only.
options:
  path:
    description:
      - The server's C(aclfile).
    type: path
    required: true
  users:
    description:
      - The whole set of users beside V(default).
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description:
          - Name of the user. Letters, digits, underscores, dots, at signs, colons and hyphens.
        type: str
        required: true
      password:
        description:
          - Password of the user, of any printable characters.
        type: str
      previous_password:
        description:
          - Password before a change. Both are valid until this one is taken out again.
        type: str
      password_hashes:
        description:
          - SHA-256 hashes of further valid passwords, as 64 lower-case hex digits.
        type: list
        elements: str
        default: []
      profile:
        description:
          - V(admin) may do everything.
          - V(results) may do what Celery's Redis result backend does, on the keys and channels of its prefix.
          - V(broker) may do what Kombu's Redis transport does, on the keys and channels of its prefix.
            A passive declaration of a queue is refused, because Kombu 5.7 leaves the prefix out there.
          - V(replica) may do what a replica asks of its primary, and sees the data that way.
          - V(sentinel) may do what Sentinel does on the servers that it watches. It reads no key.
          - V(exporter) may read what the Prometheus exporter of Redis reports, except the names of keys.
          - V(sentinel_client), V(sentinel_peer) and V(sentinel_exporter) are accounts of Sentinel itself, for clients
            that ask for the primary, for the other sentinels and for the Prometheus exporter.
          - V(custom) may do what O(users[].rules) say.
        type: str
        choices:
          - admin
          - results
          - broker
          - replica
          - sentinel
          - exporter
          - sentinel_client
          - sentinel_peer
          - sentinel_exporter
          - custom
        default: custom
      key_prefix:
        description:
          - The application's C(global_keyprefix). Letters, digits, underscores, dots, colons and hyphens. Two users
            whose keys overlap are refused.
          - For V(results) an underscore is added unless it ends in a colon, underscore, hyphen or dot, as Celery does.
          - For V(broker) it is used as it stands, as Kombu does, and it is required, because a queue is a key with
            any name.
        type: str
        default: ""
      database:
        description:
          - Number of the database that the broker's URL names, which is part of the names of its channels. Only for
            V(broker).
        type: int
        default: 0
      fanout_channels:
        description:
          - Further channels as Kombu names them, which is a fanout exchange, a slash and a routing key. A
            C(Broadcast) queue V(news) needs V(news/celery), where C(celery) is C(task_default_routing_key). Remote
            control and events need none. Only for V(broker).
        type: list
        elements: str
        default: []
      rules:
        description:
          - ACL rules such as V(~cache:*), V(&events), V(+get) and V(-@dangerous), starting from no rights. Only for
            V(custom).
        type: list
        elements: str
        default: []
      enabled:
        description:
          - Whether the user may log in.
        type: bool
        default: true
  kill_revoked:
    description:
      - Close the connections of a user from whom a password was taken or who was disabled. The server does not ask
        for the password again on an open connection, so that whoever knows the old one would otherwise stay
        connected. Clients that know a valid password reconnect.
      - Connections of a removed user are always closed, by the server itself.
    type: bool
    default: true
  server_version:
    description:
      - Version of the server, when it is neither running nor installed yet. C(client|setinfo) is only written for 7.2
        and later, because older servers refuse to start with it.
    type: str
  mode:
    description:
      - Permissions of the file.
    type: raw
    default: "0640"
extends_documentation_fragment:
  - ansible.builtin.files
  - resultops.celery._redis
  - resultops.celery._attributes
attributes:
  diff_mode:
    description: Returns the users that changed, with their rules and the first eight characters of each hash.
seealso:
  - module: resultops.celery.redis_config
"""

EXAMPLES = r"""
- name: Keep the users of the server
  resultops.celery.redis_acl:
    path: /etc/redis/users.acl
    group: redis
    unix_socket: /run/redis/redis-server.sock
    login_user: admin
    login_password: "{{ vault_redis_admin_password }}"
    users:
      - name: admin
        password: "{{ vault_redis_admin_password }}"
        profile: admin
      - name: celery
        password: "{{ vault_redis_celery_password }}"
        profile: results
      - name: celery_broker
        password: "{{ vault_redis_broker_password }}"
        profile: broker
        key_prefix: "broker:"

- name: Change a password while the old one stays valid
  resultops.celery.redis_acl:
    path: /etc/redis/users.acl
    group: redis
    unix_socket: /run/redis/redis-server.sock
    login_user: admin
    login_password: "{{ vault_redis_admin_password }}"
    login_previous_password: "{{ vault_redis_admin_previous_password }}"
    users:
      - name: admin
        password: "{{ vault_redis_admin_password }}"
        previous_password: "{{ vault_redis_admin_previous_password }}"
        profile: admin
"""

RETURN = r"""
live:
  description: Whether a server was running and was compared.
  returned: success
  type: bool
  sample: true
added:
  description: Users that were added to the running server.
  returned: success
  type: list
  elements: str
  sample: [celery]
changed_users:
  description: Users of the running server whose passwords or rights were changed.
  returned: success
  type: list
  elements: str
  sample: [default]
removed:
  description: Users that were removed from the running server.
  returned: success
  type: list
  elements: str
  sample: [old_application]
disconnected:
  description: Users whose open connections were closed, because a password was taken from them or they were disabled.
  returned: success
  type: list
  elements: str
  sample: [celery]
server_version:
  description: Version of the server, or of the installed program while none is running. Empty when neither is there.
  returned: success
  type: str
  sample: 7.0.15
"""

import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.resultops.celery.plugins.module_utils import _redis, _redis_acl
from ansible_collections.resultops.celery.plugins.module_utils._unlogged import UnloggedModule


class Reconciliation:
    """One run: compare everything, then change the server, then the file."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.params: dict[str, Any] = module.params
        self.server: _redis.Server | None = None
        self.own_name = ""
        self.wanted: dict[str, _redis_acl.User] = {}
        self.live: dict[str, _redis_acl.User] = {}
        self.added: list[str] = []
        self.changed: list[str] = []
        self.removed: list[str] = []
        self.revoked: list[str] = []

    def run(self) -> dict[str, Any]:
        self.server = _redis.connect(self.params)
        version = self._version()
        self.wanted = _redis_acl.declared_users(self.params["users"], version is not None and version.at_least(7, 2))
        file = _redis.ManagedFile(self.module, self.params["path"], _redis_acl.rendered(self.wanted))
        if self.server:
            self._compare(self.server)
        elif file.differs:
            self._try()
        if not self.module.check_mode:
            if file.differs:
                file.stage()
            if self.server:
                self._apply(self.server)
            if file.differs:
                self._commit(file)
            if self.server and self.own_name in self.removed:
                self.server.send_last("ACL", "DELUSER", self.own_name)
        attributes_differ = file.keep_attributes()
        return {
            "changed": bool(file.differs or attributes_differ or self.added or self.changed or self.removed),
            "live": self.server is not None,
            "added": self.added,
            "changed_users": self.changed,
            "removed": self.removed,
            "disconnected": self.revoked,
            "server_version": version.number if version else "",
            "diff": self._diff(file),
        }

    def _version(self) -> _redis.Version | None:
        if self.server:
            return self.server.version
        if self.params["server_version"]:
            if not re.fullmatch(r"[0-9]+\.[0-9]+(\.[0-9]+)*", self.params["server_version"]):
                raise _redis.RedisError("server_version must be a version number such as 7.0.15.")
            return _redis.Version("server_version", self.params["server_version"])
        version = _redis.installed_version(self.params["server_binary"])
        if version is None and not self.module.check_mode:
            raise _redis.RedisError(
                "No server is running or installed (server_binary): set server_version, on which the rules depend."
            )
        return version

    def _compare(self, server: _redis.Server) -> None:
        catalogue = _catalogue(server)
        self._refuse_unknown(server, catalogue)
        self.own_name = server.call("ACL", "WHOAMI")
        self.live = {user.name: user for user in map(_redis_acl.parsed_line, server.call("ACL", "LIST"))}
        for name in sorted(self.wanted):
            if name not in self.live:
                self.added.append(name)
            elif self.wanted[name].meaning(catalogue) != self.live[name].meaning(catalogue):
                self.changed.append(name)
                if self.params["kill_revoked"] and self.wanted[name].takes_access_from(self.live[name]):
                    self.revoked.append(name)
        self.removed = sorted(self.live.keys() - self.wanted.keys())

    def _refuse_unknown(self, server: _redis.Server, catalogue: _redis_acl.Catalogue) -> None:
        for name, user in sorted(self.wanted.items()):
            for rule in user.unknown_rules(catalogue):
                raise _redis.RedisError(
                    f"{server.version.text} does not know the rule {rule}, which the user {name} in users has."
                )

    def _try(self) -> None:
        with _redis.trial_server(self.params) as trial:
            if trial is None:
                return
            self._refuse_unknown(trial, _catalogue(trial))
            for user in self.wanted.values():
                trial.call(*self._declaration(user))

    def _apply(self, server: _redis.Server) -> None:
        changes = [self._declaration(self.wanted[name]) for name in (*self.added, *self.changed)]
        changes += [("ACL", "DELUSER", name) for name in self.removed if name != self.own_name]
        changes += [("CLIENT", "KILL", "USER", name) for name in self.revoked]
        if not changes:
            return
        for reply in server.transaction(changes):
            if isinstance(reply, Exception):
                self._restore(server)
                raise reply

    def _restore(self, server: _redis.Server) -> None:
        before = [self._declaration(self.live[name]) for name in (*self.changed, *self.removed)]
        server.transaction([*before, *(("ACL", "DELUSER", name) for name in self.added)])

    def _declaration(self, user: _redis_acl.User) -> tuple[str, ...]:
        return ("ACL", "SETUSER", user.name, "reset", *user.tokens)

    def _commit(self, file: _redis.ManagedFile) -> None:
        try:
            file.commit()
        except (SystemExit, OSError):
            if self.server:
                self._restore(self.server)
            raise

    def _diff(self, file: _redis.ManagedFile) -> list[dict[str, str]]:
        result = []
        if file.differs:
            result.append(
                {
                    "before_header": file.path,
                    "after_header": file.path,
                    "before": _redis_acl.masked(file.text_before),
                    "after": _redis_acl.masked(_redis_acl.rendered(self.wanted)),
                }
            )
        names = sorted({*self.added, *self.changed, *self.removed})
        if names and self.server:
            result.append(
                {
                    "before_header": f"server at {self.server.where}",
                    "after_header": f"server at {self.server.where}",
                    "before": "".join(f"{self.live[name].shown}\n" for name in names if name in self.live),
                    "after": "".join(f"{self.wanted[name].shown}\n" for name in names if name in self.wanted),
                }
            )
        return result


def _catalogue(server: _redis.Server) -> _redis_acl.Catalogue:
    categories = {name: frozenset(server.call("ACL", "CAT", name)) for name in server.call("ACL", "CAT")}
    return _redis_acl.Catalogue(categories, frozenset().union(*categories.values()))


def main() -> None:
    module = UnloggedModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "users": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": _redis_acl.USER_OPTIONS,
            },
            "kill_revoked": {"type": "bool", "default": True},
            "server_version": {"type": "str"},
            "mode": {"type": "raw", "default": "0640"},
            **_redis.CONNECTION_ARGUMENTS,
        },
        add_file_common_args=True,
        supports_check_mode=True,
        **_redis.CONNECTION_RULES,
    )
    try:
        result = Reconciliation(module).run()
    except (_redis.RedisError, _redis_acl.AclError) as problem:
        module.fail_json(msg=str(problem))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
