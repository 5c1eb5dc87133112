#!/usr/bin/python
# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keep the settings of a PostgreSQL server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_config
short_description: Keep the settings of a PostgreSQL server
version_added: 0.3.0
author:
  - ResultOps engineers (@resultops)
description:
  - Writes the whole set of settings to one file that the server includes, and brings the running server in line with it
    by a reload.
  - What is compared is the running server. An C(ALTER SYSTEM) that overrides one of the settings is taken back.
  - The server's own word on the file is asked before it reads it. When it refuses a line, the file is put back.
  - Runs before the server exists, too. It then manages the file only.
options:
  path:
    description:
      - The managed file. The server must include it, as Debian's C(postgresql.conf) includes C(conf.d).
    type: path
    required: true
  settings:
    description:
      - Settings with their values. They win over those from O(memory).
      - C(include), C(data_directory) and the like are refused.
    type: dict
    required: true
  memory:
    description:
      - What the server may count on, as a share of the host's memory such as V(50%), or as a size such as V(2gb). The
        limit of the cgroup counts where it is smaller.
      - C(shared_buffers), C(effective_cache_size), C(work_mem), C(maintenance_work_mem), C(max_wal_size) and
        C(min_wal_size) are derived from it. Without it they stay as they are.
    type: str
  reload_after:
    description:
      - Files beside O(path) that the server reads when it is told to, such as certificates and C(pg_hba.conf). The
        server is told so when one of them changed since it last did.
    type: list
    elements: path
    default: []
  mode:
    description:
      - Permissions of the file.
    type: raw
    default: "0640"
extends_documentation_fragment:
  - ansible.builtin.files
  - resultops.celery._postgresql
  - resultops.celery._attributes
attributes:
  diff_mode:
    description: Returns the settings that changed, in the file and in the running server.
seealso:
  - module: resultops.celery.postgresql_access
  - module: community.postgresql.postgresql_set
"""

EXAMPLES = r"""
- name: Keep the settings of the server
  resultops.celery.postgresql_config:
    path: /etc/postgresql/17/main/conf.d/90-results.conf
    group: postgres
    memory: 80%
    settings:
      max_connections: 60
      password_encryption: scram-sha-256
      timezone: UTC
    reload_after:
      - /etc/postgresql/17/main/pg_hba.conf
  become: true
  register: results_settings

- name: Restart the server when a setting can only be changed that way
  ansible.builtin.service:
    name: postgresql@17-main
    state: restarted
  become: true
  when: results_settings.restart_required | length > 0
"""

RETURN = r"""
live:
  description: Whether a server was running and was compared.
  returned: success
  type: bool
  sample: true
changed_settings:
  description: Settings that were changed in the running server.
  returned: success
  type: list
  elements: str
  sample: [work_mem]
restart_required:
  description: Settings in which the running server differs from the file and that only a restart can change.
  returned: success
  type: list
  elements: str
  sample: [shared_buffers]
overridden:
  description: Settings that stood in the server's own file, where C(ALTER SYSTEM) writes, and were taken out of it.
  returned: success
  type: list
  elements: str
  sample: [log_statement]
reloaded:
  description: Whether the server was told to read its files again.
  returned: success
  type: bool
  sample: true
server_version:
  description: Version of the running server. Empty when none is running.
  returned: success
  type: str
  sample: "17.6"
settings:
  description: The settings as written to the file, with those that were derived from O(memory).
  returned: success
  type: dict
  sample:
    shared_buffers: 512MB
"""

import os
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.resultops.celery.plugins.module_utils import _postgresql, _postgresql_settings, _sql_sizes
from ansible_collections.resultops.celery.plugins.module_utils._redis import ManagedFile, RedisError
from ansible_collections.resultops.celery.plugins.module_utils._redis_settings import memory_limit

RELOAD_SECONDS = 10.0
# What the server says of a line that is right and has to wait.
WAITS_FOR_RESTART = "setting could not be applied"
DEFAULT_CONNECTIONS = 100


class Reconciliation:
    """One run: compare everything, then change the file, then the server."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.params: dict[str, Any] = module.params
        self.settings = self._wanted()
        self.live: dict[str, _postgresql_settings.Running] = {}
        self.different: list[str] = []
        self.overridden: list[str] = []
        self.stale = False

    def run(self) -> dict[str, Any]:
        file = ManagedFile(self.module, self.params["path"], _postgresql_settings.rendered(self.settings))
        server = _postgresql.connect(self.params)
        if server:
            self._compare(server)
        reload = bool(server and (file.differs or self.stale or self.overridden or self._differs_live()))
        if self.module.check_mode:
            attributes_differ = file.keep_attributes()
        else:
            if file.differs:
                file.stage()
                file.commit()
            attributes_differ = file.keep_attributes()
            if server and reload:
                self._apply(server, file)
        return {
            "changed": bool(file.differs or attributes_differ or reload),
            "live": server is not None,
            "changed_settings": self._differs_live(),
            "restart_required": self._waiting(),
            "overridden": self.overridden,
            "reloaded": reload,
            "server_version": server.rows("SHOW server_version")[0][0].split()[0] if server else "",
            "settings": dict(sorted(self.settings.items())),
            "diff": self._diff(file, server),
        }

    def _wanted(self) -> dict[str, str]:
        given = _postgresql_settings.checked(self.params["settings"])
        if self.params["memory"] is None:
            return given
        memory = _sql_sizes.memory_share(self.params["memory"], memory_limit())
        connections = given.get("max_connections", "")
        sizes = _sql_sizes.postgresql_sizes(memory, int(connections) if connections.isdigit() else DEFAULT_CONNECTIONS)
        return {**sizes, **given}

    def _compare(self, server: _postgresql.Server) -> None:
        self.live = self._running(server)
        for name in sorted(self.settings):
            if "." not in name and name not in self.live:
                raise _postgresql_settings.SettingError(f"The server does not know the setting {name}.")
            if name in self.live and self.live[name].context == "internal":
                raise _postgresql_settings.SettingError(f"The setting {name} is fixed in the server's program.")
        self.different = [
            name
            for name, value in sorted(self.settings.items())
            if name not in self.live or not _postgresql_settings.same(value, self.live[name])
        ]
        own = server.rows("SELECT DISTINCT name FROM pg_file_settings WHERE sourcefile LIKE '%%/postgresql.auto.conf'")
        self.overridden = sorted({row[0] for row in own} & self.settings.keys())
        loaded = server.rows("SELECT extract(epoch FROM pg_conf_load_time())")[0][0]
        files = [path for path in self.params["reload_after"] if os.path.exists(path)]
        self.stale = any(os.stat(path).st_ctime > float(loaded) for path in files)

    def _running(self, server: _postgresql.Server) -> dict[str, _postgresql_settings.Running]:
        rows = server.rows(
            "SELECT name, setting, unit, vartype, context, coalesce(reset_val, '') FROM pg_settings "
            "WHERE lower(name) = ANY(%s)",
            [[name.lower() for name in self.settings]],
        )
        # The server spells TimeZone and DateStyle with capitals, and takes them either way.
        running = {row[0].lower(): _postgresql_settings.Running(row[1], *row[2:]) for row in rows}
        for name in self.settings.keys() - running.keys():
            # What belongs to no loaded extension is kept, but not listed.
            value = server.rows("SELECT current_setting(%s, true)", [name])[0][0] if "." in name else None
            if value is not None:
                running[name] = _postgresql_settings.Running(value, None, "string", "user")
        return running

    def _waiting(self) -> list[str]:
        return [name for name in self.different if name in self.live and self.live[name].needs_restart]

    def _differs_live(self) -> list[str]:
        return [name for name in self.different if name not in self._waiting()]

    def _apply(self, server: _postgresql.Server, file: ManagedFile) -> None:
        self._refuse_what_the_server_refuses(server, file)
        for name in self.overridden:
            server.run(f"ALTER SYSTEM RESET {name}")
        before = server.rows("SELECT pg_conf_load_time()")
        server.run("SELECT pg_reload_conf()")
        deadline = time.monotonic() + RELOAD_SECONDS
        while server.rows("SELECT pg_conf_load_time()") == before and time.monotonic() < deadline:
            time.sleep(0.02)
        # Of a setting that waits for a restart the server says only now whether it would take the value.
        waiting = server.rows("SELECT lower(name) FROM pg_settings WHERE pending_restart")
        for name in self._waiting():
            if (name,) not in waiting:
                self._refuse(file, file.path, 0, name, WAITS_FOR_RESTART)
        live = self._running(server)
        for name in self._differs_live():
            if name not in live or not _postgresql_settings.same(self.settings[name], live[name]):
                raise _postgresql_settings.SettingError(self._overruled(server, name))

    def _overruled(self, server: _postgresql.Server, name: str) -> str:
        rows = server.rows(
            "SELECT reset_val, source, sourcefile FROM pg_settings WHERE lower(name) = %s", [name.lower()]
        )
        value, source, path = rows[0] if rows else ("nothing", "nowhere", None)
        return (
            f"The setting {name} is {value} in the running server and shall be {self.settings[name]}: it comes from "
            f"{path or source}, which wins over {self.params['path']}; take it out there."
        )

    def _refuse_what_the_server_refuses(self, server: _postgresql.Server, file: ManagedFile) -> None:
        wrong = server.rows(
            "SELECT f.sourcefile, f.sourceline, coalesce(f.name, ''), f.error FROM pg_file_settings f "
            "LEFT JOIN pg_settings s ON lower(s.name) = lower(f.name) "
            "WHERE f.error IS NOT NULL AND (f.error <> %s OR s.context <> 'postmaster') "
            "ORDER BY f.sourcefile = %s DESC LIMIT 1",
            [WAITS_FOR_RESTART, file.path],
        ) + server.rows(
            "SELECT current_setting('hba_file'), line_number, '', error FROM pg_hba_file_rules "
            "WHERE error IS NOT NULL LIMIT 1"
        )
        if wrong:
            self._refuse(file, *wrong[0])

    def _refuse(self, file: ManagedFile, path: str, line: int, name: str, error: str) -> None:
        if file.differs:
            self._put_back(file)
        setting = f"settings.{name}" if path == file.path and name else f"line {line} of {path}"
        value = f" '{self.settings[name]}'" if path == file.path and name in self.settings else ""
        raise _postgresql_settings.SettingError(f"The server refuses {setting}{value}: {error}.")

    def _put_back(self, file: ManagedFile) -> None:
        if file.before is None:
            os.unlink(file.path)
            return
        earlier = ManagedFile(self.module, file.path, file.before.decode(errors="surrogateescape"))
        earlier.stage()
        earlier.commit()
        earlier.keep_attributes()

    def _diff(self, file: ManagedFile, server: _postgresql.Server | None) -> list[dict[str, str]]:
        result = []
        if file.differs:
            result.append(
                {
                    "before_header": file.path,
                    "after_header": file.path,
                    "before": file.text_before,
                    "after": _postgresql_settings.rendered(self.settings),
                }
            )
        if server and (self.different or self.overridden):
            result.append(
                {
                    "before_header": f"server at {server.where}",
                    "after_header": f"server at {server.where}",
                    "before": "".join(f"{name} = {self._shown(name)}\n" for name in self.different)
                    + "".join(f"ALTER SYSTEM SET {name}\n" for name in self.overridden),
                    "after": "".join(
                        f"{name} = {self.settings[name]}{' (after a restart)' if name in self._waiting() else ''}\n"
                        for name in self.different
                    ),
                }
            )
        return result

    def _shown(self, name: str) -> str:
        return _postgresql_settings.shown(self.live[name]) if name in self.live else "(not set)"


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "settings": {"type": "dict", "required": True},
            "memory": {"type": "str"},
            "reload_after": {"type": "list", "elements": "path", "default": []},
            "mode": {"type": "raw", "default": "0640"},
            **_postgresql.CONNECTION_ARGUMENTS,
        },
        add_file_common_args=True,
        supports_check_mode=True,
    )
    problems = (_postgresql.PostgresqlError, _postgresql_settings.SettingError, _sql_sizes.SizeError, RedisError)
    try:
        result = Reconciliation(module).run()
    except problems as problem:
        module.fail_json(msg=str(problem))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
