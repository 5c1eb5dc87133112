#!/usr/bin/python
# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keep the data of a Redis or Valkey server that is about to start with other settings."""

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_adopt
short_description: Keep the data of a Redis or Valkey server that is about to start with other settings
version_added: 0.2.0
author:
  - ResultOps engineers (@resultops)
description:
  - A server that starts with an append-only file loads nothing else. One that kept snapshots so far, as Debian's does,
    would start empty with such settings, and its clients would find nothing. This module makes such a server, or its
    data directory, ready for the new settings without losing a key.
  - A server that runs is told to keep an append-only file from now on, and the module waits until it is complete. What
    clients write from then until the restart is in it, too.
  - If none runs, its dump becomes the beginning of an append-only file, verified by the server's own program.
  - Without O(appendonly), a server that would keep nothing when it stops is told to write a dump then.
options:
  host:
    description:
      - Address at which the server of this host listens without TLS.
    type: str
    default: 127.0.0.1
  port:
    description:
      - Port at which it listens without TLS.
    type: int
    default: 6379
  username:
    description:
      - User to log in as.
    type: str
    default: default
  password:
    description:
      - Password of O(username). Without it the module does not log in.
    type: str
  data_directory:
    description:
      - Directory in which the server will look for its data with the new settings.
    type: path
    required: true
  state_file:
    description:
      - The configuration file that the server starts with, also with the new settings.
      - Accounts in it (lines that begin with C(user)) are taken out. A server does not start with them and the file of
        accounts that the new settings name.
    type: path
  appendonly:
    description:
      - Whether the new settings have C(appendonly yes).
    type: bool
    required: true
  timeout:
    description:
      - Seconds to wait until a running server has loaded its data, and until its append-only file is complete.
    type: int
    default: 600
  server_binary:
    description:
      - The server's program, which verifies the data while no server is running.
      - Without it C(redis-server) and then C(valkey-server) are searched on the C(PATH).
    type: path
extends_documentation_fragment:
  - resultops.celery._attributes
attributes:
  diff_mode:
    description: Says what would be done in RV(action), and has no other difference to show.
    support: none
requirements:
  - python3-redis (the Python library redis >= 4.3) on the host, if a server is running
seealso:
  - module: resultops.celery.redis_config
"""

EXAMPLES = r"""
- name: Keep the data of the server that Debian's package started
  resultops.celery.redis_adopt:
    data_directory: /var/lib/redis
    appendonly: true
"""

RETURN = r"""
keys:
  description: Number of keys in the running server or in the dump that was found.
  returned: success
  type: int
  sample: 10240
action:
  description:
    - What was done. V(none), V(append_only_enabled) in a running server, V(dump_converted) while none was running, or
      V(snapshots_enabled) in a running server that would have kept nothing.
  returned: success
  type: str
  sample: append_only_enabled
"""

import os
import re
import tempfile
import time
from contextlib import closing, suppress
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.resultops.celery.plugins.module_utils import (
    _aof,
    _rdb,
    _redis,
    _redis_data,
    _stored_data,
    _topology,
)

# As the new settings leave them to their defaults: under other names, the data would not be found.
NAMES = {
    "dbfilename": _stored_data.DUMP,
    "appenddirname": _stored_data.APPEND_DIRECTORY,
    "appendfilename": _aof.FILE,
}
SNAPSHOTS = "3600 1"
POLL_SECONDS = 0.1
ACCOUNT = re.compile(r"\s*user\s", re.IGNORECASE)
PROGRAMS = re.compile(r"(redis|valkey)-server")
# The options of the common connection have other names in this module.
OPTION_OF_CONNECTION = re.compile(r"\blogin_(user|password|host)\b")
OWN_OPTION = {"user": "username", "password": "password", "host": "host"}


class Adoption:
    """One run: look at the server or at what it left, and make it ready."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.params: dict[str, Any] = module.params
        self.directory: str = self.params["data_directory"]

    def run(self) -> dict[str, Any]:
        server = _redis.connect(self._connection())
        if server is None:
            result = self._stopped()
        else:
            with closing(server):
                result = self._running(server)
        # Last, because the server has just written its accounts into that file, too.
        return {**result, "changed": self._take_out_accounts() or result["changed"]}

    def _take_out_accounts(self) -> bool:
        path = self.params["state_file"]
        if not path or not os.path.exists(path):
            return False
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            lines = stream.readlines()
        kept = [line for line in lines if not ACCOUNT.match(line)]
        if kept == lines:
            return False
        if not self.module.check_mode:
            descriptor, staged = tempfile.mkstemp(prefix=".ansible-", dir=os.path.dirname(path))
            self.module.add_cleanup_file(staged)
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as stream:
                stream.writelines(kept)
            self.module.atomic_move(staged, path)
        return True

    def _connection(self) -> dict[str, Any]:
        return {
            "unix_socket": None,
            "login_host": self.params["host"],
            "login_port": self.params["port"],
            "plaintext": True,
            "login_user": self.params["username"],
            "login_password": self.params["password"],
            "login_previous_password": None,
            "login_timeout": 10,
            "loading_timeout": self.params["timeout"],
        }

    # --- a server is running ---

    def _running(self, server: _redis.Server) -> dict[str, Any]:
        keys = _topology.keys_of(server.information())
        wanted = "append_only_enabled" if self.params["appendonly"] else "snapshots_enabled"
        setting = "appendonly" if self.params["appendonly"] else "save"
        keeps = self._setting(server, setting) not in ("no", "")
        try:
            self._refuse_other_place(server)
        except _redis.RedisError:
            if keys:
                raise
            return self._result("none", 0)
        if keeps:
            return self._result("none", keys)
        if not self.module.check_mode:
            if self.params["appendonly"]:
                self._enable_append_only(server)
            else:
                server.call("CONFIG", "SET", "save", SNAPSHOTS)
        return self._result(wanted, keys)

    def _setting(self, server: _redis.Server, name: str) -> str:
        return str(_topology.pairs(server.call("CONFIG", "GET", name)).get(name, ""))

    def _refuse_other_place(self, server: _redis.Server) -> None:
        directory = self._setting(server, "dir")
        if os.path.realpath(directory) != os.path.realpath(self.directory):
            raise _redis.RedisError(
                f"The server at {server.where} keeps its data in {directory} instead of {self.directory} "
                "(data_directory), where they will be looked for: stop it and move them."
            )
        for name, usual in NAMES.items():
            value = self._setting(server, name)
            if value not in ("", usual):
                raise _redis.RedisError(
                    f"The server at {server.where} has {name} {value}, and the data will be looked for in {usual}: "
                    "stop it and rename them."
                )

    def _enable_append_only(self, server: _redis.Server) -> None:
        server.call("CONFIG", "SET", "appendonly", "yes")
        deadline = time.monotonic() + self.params["timeout"]
        while True:
            facts = server.information()
            busy = facts["aof_rewrite_in_progress"] == "1" or facts["aof_rewrite_scheduled"] == "1"
            if not busy and facts["aof_enabled"] == "1" and facts["aof_last_bgrewrite_status"] == "ok":
                break
            if not busy or time.monotonic() >= deadline:
                late = f" within {self.params['timeout']} seconds (timeout)" if busy else ""
                raise _redis.RedisError(
                    f"The server at {server.where} did not complete its append-only file{late}: look into its log, and "
                    f"for free memory and space in {self.directory}."
                )
            time.sleep(POLL_SECONDS)
        # Should it crash before it is restarted: with its own settings it would go on without the file.
        with suppress(_redis.RefusedError):
            server.call("CONFIG", "REWRITE")

    # --- none is running ---

    def _stopped(self) -> dict[str, Any]:
        if not os.path.isdir(self.directory):
            return self._result("none", 0)
        self._refuse_hidden_server()
        dump = os.path.join(self.directory, _stored_data.DUMP)
        has_dump = _stored_data.file_has_data(dump)
        if not self.params["appendonly"]:
            self._refuse_newer_append_only(dump)
            return self._result("none", 0)
        if not has_dump or self._append_only_files():
            return self._result("none", 0)
        program = _redis_data.program(self.params["server_binary"])
        if self.module.check_mode:
            keys = _rdb.check(program, dump).keys
        else:
            keys = _aof.make_from_rdb(program, dump, self.directory).keys
        return self._result("dump_converted", keys)

    def _append_only_files(self) -> list[str]:
        """The files that a server with an append-only file loads, also that of a release before 7."""
        found = []
        folder = os.path.join(self.directory, _stored_data.APPEND_DIRECTORY)
        if os.path.isdir(folder):
            found = [entry.path for entry in os.scandir(folder) if entry.is_file()]
        single = os.path.join(self.directory, _aof.FILE)
        return [*found, single] if os.path.exists(single) else found

    def _refuse_newer_append_only(self, dump: str) -> None:
        written = os.stat(dump).st_mtime if os.path.exists(dump) else 0.0
        for path in self._append_only_files():
            if _stored_data.file_has_data(path) and os.stat(path).st_mtime > written:
                raise _redis.RedisError(
                    f"{path} is newer than {dump}, and a server without an append-only file (appendonly) would not "
                    "load it: keep appendonly, or start the old server and let it save."
                )

    def _refuse_hidden_server(self) -> None:
        wanted = os.path.realpath(self.directory)
        for process in (name for name in os.listdir("/proc") if name.isdigit()):
            with suppress(OSError):
                if os.readlink(f"/proc/{process}/cwd") != wanted:
                    continue
                with open(f"/proc/{process}/cmdline", "rb") as stream:
                    command = stream.read().decode(errors="replace")
                if PROGRAMS.search(command):
                    raise _redis.RedisError(
                        f"A server works in {self.directory} (data_directory), process {process}, but nothing listens "
                        f"without TLS at {self.params['host']}:{self.params['port']} (host, port)."
                    )

    def _result(self, action: str, keys: int) -> dict[str, Any]:
        return {"changed": action != "none", "action": action, "keys": keys}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "host": {"type": "str", "default": "127.0.0.1"},
            "port": {"type": "int", "default": 6379},
            "username": {"type": "str", "default": "default"},
            "password": {"type": "str", "no_log": True},
            "data_directory": {"type": "path", "required": True},
            "state_file": {"type": "path"},
            "appendonly": {"type": "bool", "required": True},
            "timeout": {"type": "int", "default": 600},
            "server_binary": {"type": "path"},
        },
        supports_check_mode=True,
    )
    try:
        result = Adoption(module).run()
    except _redis.RedisError as problem:
        module.fail_json(
            msg=OPTION_OF_CONNECTION.sub(lambda found: OWN_OPTION[found[1]], str(problem)),
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
