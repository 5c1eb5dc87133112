#!/usr/bin/python
# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keep the settings of a MariaDB server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mysql_config
short_description: Keep the settings of a MariaDB server
version_added: 0.3.0
author:
  - ResultOps engineers (@resultops)
description:
  - Writes the whole set of settings to one file that the server includes, and brings the running server in line with it
    by one C(SET GLOBAL).
  - What is compared is the running server, so that a setting that somebody changed by hand is found and put back.
  - Runs before the server exists, too. It then manages the file only.
options:
  path:
    description:
      - The managed file. The server must include it, as Debian's includes C(/etc/mysql/mariadb.conf.d).
    type: path
    required: true
  settings:
    description:
      - System variables with their values. They win over those from O(memory).
      - C(time_zone) is written to the file as C(default_time_zone).
    type: dict
    required: true
  memory:
    description:
      - What the server may count on, as a share of the host's memory such as V(50%), or as a size such as V(2gb). The
        limit of the cgroup counts where it is smaller.
      - C(innodb_buffer_pool_size) and C(innodb_log_file_size) are derived from it. Without it they stay as they are.
    type: str
  reload_tls:
    description:
      - Make the server read its TLS files again, because one of them was replaced under the same name.
      - The module does so by itself when the certificate that the server shows is not the one in C(ssl_cert). It cannot
        see that the certificate of an authority was replaced.
    type: bool
    default: false
  mode:
    description:
      - Permissions of the file.
    type: raw
    default: "0640"
extends_documentation_fragment:
  - ansible.builtin.files
  - resultops.celery._mysql
  - resultops.celery._attributes
attributes:
  diff_mode:
    description: Returns the settings that changed, in the file and in the running server.
seealso:
  - module: resultops.celery.mysql_access
  - module: community.mysql.mysql_variables
"""

EXAMPLES = r"""
- name: Keep the settings of the server
  resultops.celery.mysql_config:
    path: /etc/mysql/mariadb.conf.d/90-results.cnf
    group: mysql
    memory: 80%
    settings:
      require_secure_transport: true
      time_zone: "+00:00"
  become: true
  register: results_settings

- name: Restart the server when a setting can only be changed that way
  ansible.builtin.service:
    name: mariadb
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
  sample: [max_connections]
restart_required:
  description: Settings in which the running server differs from the file and that only a restart can change.
  returned: success
  type: list
  elements: str
  sample: [bind_address]
tls_reloaded:
  description: Whether the running server read its TLS files again.
  returned: success
  type: bool
  sample: false
server_version:
  description: Version of the running server. Empty when none is running.
  returned: success
  type: str
  sample: 11.8.9-MariaDB-0+deb13u1
settings:
  description: The settings as written to the file, with those that were derived from O(memory).
  returned: success
  type: dict
  sample:
    innodb_buffer_pool_size: 512M
"""

import os
import time
from typing import Any, Optional

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.resultops.celery.plugins.module_utils import _mysql, _mysql_settings, _sql_sizes
from ansible_collections.resultops.celery.plugins.module_utils._redis import ManagedFile, RedisError
from ansible_collections.resultops.celery.plugins.module_utils._redis_settings import memory_limit
from ansible_collections.resultops.celery.plugins.module_utils._sql_session import Session, SqlError


class Reconciliation:
    """One run: compare everything, then change the server, then the file."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.params: dict[str, Any] = module.params
        self.settings = self._wanted()
        self.live: dict[str, _mysql_settings.Running] = {}
        self.different: list[str] = []
        self.restart_required: list[str] = []
        self.tls_reloaded = False

    def run(self) -> dict[str, Any]:
        file = ManagedFile(self.module, self.params["path"], _mysql_settings.rendered(self.settings))
        server = _mysql.connect(self.params)
        if server:
            self._compare(server)
        if self.module.check_mode:
            attributes_differ = file.keep_attributes()
        else:
            if file.differs:
                file.stage()
            if server:
                self._apply(server)
            if file.differs:
                file.commit()
            attributes_differ = file.keep_attributes()
        result = self._result(file, server, bool(attributes_differ))
        if server:
            server.close()
        return result

    def _result(self, file: ManagedFile, server: Optional[Session], attributes_differ: bool) -> dict[str, Any]:
        return {
            "changed": bool(file.differs or attributes_differ or self.different or self.tls_reloaded),
            "live": server is not None,
            "changed_settings": self.different,
            "restart_required": self.restart_required,
            "tls_reloaded": self.tls_reloaded,
            "server_version": str(server.row("SELECT VERSION()")[0]) if server else "",
            "settings": dict(sorted(self.settings.items())),
            "diff": self._diff(file, server),
        }

    def _wanted(self) -> dict[str, str]:
        given = _mysql_settings.checked(self.params["settings"])
        if self.params["memory"] is None:
            return given
        return {**_sql_sizes.mariadb_sizes(_sql_sizes.memory_share(self.params["memory"], memory_limit())), **given}

    def _compare(self, server: Session) -> None:
        rows = server.rows(
            "SELECT LOWER(VARIABLE_NAME), COALESCE(GLOBAL_VALUE, ''), READ_ONLY, VARIABLE_TYPE "
            "FROM information_schema.SYSTEM_VARIABLES"
        )
        self.live = {row[0]: _mysql_settings.Running(str(row[1]), row[2] == "YES", row[3]) for row in rows}
        for name in sorted(self.settings):
            if name not in self.live:
                raise _mysql_settings.SettingError(f"The server does not know the setting {name}.")
        differing = [name for name, value in self.settings.items() if not _mysql_settings.same(value, self.live[name])]
        self.restart_required = sorted(name for name in differing if self.live[name].read_only)
        self.different = sorted(name for name in differing if not self.live[name].read_only)
        self.tls_reloaded = self._must_reload_tls(server)

    def _must_reload_tls(self, server: Session) -> bool:
        path = self.settings.get("ssl_cert")
        if not path or path != self.live["ssl_cert"].value:
            return False
        if self.params["reload_tls"]:
            return True
        # The server logs each time that somebody only looks at its certificate.
        started = time.time() - int(server.row("SHOW GLOBAL STATUS LIKE 'Uptime'")[1])
        if not os.path.exists(path) or os.stat(path).st_ctime < started - 1:
            return False
        served = _mysql.served_certificate(self.params["unix_socket"])
        return served is not None and served != _mysql.first_certificate(path)

    def _apply(self, server: Session) -> None:
        if self.different:
            parts = [f"GLOBAL {name} = {self._told(name)}" for name in self.different]
            try:
                server.run(f"SET {', '.join(parts)}")
            except SqlError as problem:
                raise _mysql_settings.SettingError(
                    f"A setting is refused, and none was changed: {problem}"
                ) from problem
            self._refuse_what_was_rounded(server)
        if self.tls_reloaded:
            server.run("FLUSH SSL")

    def _told(self, name: str) -> str:
        """A value in a statement, where sizes have no suffix."""
        number = _mysql_settings.number(self.settings[name], self.live[name].kind)
        if number is not None:
            return str(int(number)) if number == int(number) else repr(number)
        return _mysql.literal(self.settings[name])

    def _refuse_what_was_rounded(self, server: Session) -> None:
        before = self.live
        different, waiting, reload = self.different, self.restart_required, self.tls_reloaded
        self._compare(server)
        for name in set(different) & set(self.different):
            self.module.warn(
                f"The server took {self.live[name].value} for the setting {name} instead of {self.settings[name]}: "
                "give a value that it takes as it is, or each run will tell it again."
            )
        self.live, self.different, self.restart_required, self.tls_reloaded = before, different, waiting, reload

    def _diff(self, file: ManagedFile, server: Optional[Session]) -> list[dict[str, str]]:
        result = []
        if file.differs:
            result.append(
                {
                    "before_header": file.path,
                    "after_header": file.path,
                    "before": file.text_before,
                    "after": _mysql_settings.rendered(self.settings),
                }
            )
        names = sorted({*self.different, *self.restart_required})
        if server and names:
            result.append(
                {
                    "before_header": f"server at {server.where}",
                    "after_header": f"server at {server.where}",
                    "before": "".join(f"{name} = {self.live[name].value}\n" for name in names),
                    "after": "".join(
                        f"{name} = {self.settings[name]}"
                        f"{' (after a restart)' if name in self.restart_required else ''}\n"
                        for name in names
                    ),
                }
            )
        return result


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "settings": {"type": "dict", "required": True},
            "memory": {"type": "str"},
            "reload_tls": {"type": "bool", "default": False},
            "mode": {"type": "raw", "default": "0640"},
            **_mysql.CONNECTION_ARGUMENTS,
        },
        add_file_common_args=True,
        supports_check_mode=True,
    )
    try:
        result = Reconciliation(module).run()
    except (SqlError, _mysql_settings.SettingError, _sql_sizes.SizeError, RedisError) as problem:
        module.fail_json(msg=str(problem))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
