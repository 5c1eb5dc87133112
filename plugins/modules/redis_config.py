#!/usr/bin/python
# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keep the settings of a Redis or Valkey server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_config
short_description: Keep the settings of a Redis or Valkey server
version_added: 0.1.0
author:
  - ResultOps engineers (@resultops)
description:
  - Writes the whole set of settings to a file that the server reads last at every start and never rewrites, and
    brings the running server in line with it by one C(CONFIG SET), which the server carries out completely or not at
    all.
  - What is compared is the running server, so that a setting that somebody changed by hand is found and put back.
  - Runs before the server exists, too. It then manages the file only.
options:
  path:
    description:
      - The managed file. Start the server with C(--include) and this path as its last arguments.
    type: path
    required: true
  settings:
    description:
      - Directives of C(redis.conf) with their values.
      - A list holds the words of a directive, such as V(bind), or its entries, such as V(save) and
        V(client-output-buffer-limit). An empty list, or an empty text, for V(save) switches snapshots off.
      - Truth values are written as V(yes) and V(no). Give C(unixsocketperm) without a leading zero.
      - V(maxmemory) may be a share of the host's memory, such as V(50%). The limit of the cgroup counts where it is
        smaller.
      - The directives C(include), C(loadmodule), C(rename-command), C(replicaof) and C(user) are refused.
    type: dict
    required: true
  secret_settings:
    description:
      - Directives whose values are secret, such as C(masterauth). They are refused in O(settings), which Ansible may
        print.
    type: dict
    default: {}
  reload_tls:
    description:
      - Make the server read its TLS files again, because one of them was replaced under the same name.
      - The module does so by itself when the certificate on the server's TLS port is not the one in C(tls-cert-file).
        It cannot see that the certificate of an authority was replaced.
    type: bool
    default: false
  mode:
    description:
      - Permissions of the file. It may hold secrets.
    type: raw
    default: "0640"
extends_documentation_fragment:
  - ansible.builtin.files
  - resultops.celery._redis
  - resultops.celery._attributes
attributes:
  diff_mode:
    description: Returns the settings that changed, in the file and in the running server. Secret values are masked.
seealso:
  - module: resultops.celery.redis_acl
"""

EXAMPLES = r"""
- name: Keep the settings of the server
  resultops.celery.redis_config:
    path: /etc/redis/managed.conf
    group: redis
    unix_socket: /run/redis/redis-server.sock
    login_user: admin
    login_password: "{{ vault_redis_admin_password }}"
    settings:
      port: 0
      tls-port: 6379
      maxmemory: 50%
      maxmemory-policy: volatile-ttl
      appendonly: true
      save:
        - 3600 1
        - 300 100
      client-output-buffer-limit:
        - pubsub 256mb 64mb 60
  register: redis_settings

- name: Restart the server when a setting can only be changed that way
  ansible.builtin.service:
    name: redis-server
    state: restarted
  when: redis_settings.restart_required | length > 0
"""

RETURN = r"""
live:
  description: Whether a server was running and was compared.
  returned: success
  type: bool
  sample: true
changed_settings:
  description: Directives that were changed in the running server.
  returned: success
  type: list
  elements: str
  sample: [maxmemory]
restart_required:
  description: Directives in which the running server differs from the file and that only a restart can change.
  returned: success
  type: list
  elements: str
  sample: [tcp-backlog]
tls_reloaded:
  description: Whether the running server read its TLS files again.
  returned: success
  type: bool
  sample: false
server_version:
  description: Version of the server, or of the installed program while none is running. Empty when neither is there.
  returned: success
  type: str
  sample: 7.0.15
settings:
  description: The settings as written to the file, with shares of memory resolved. Secret settings are left out.
  returned: success
  type: dict
  sample:
    maxmemory: 1024mb
"""

import re
from collections.abc import Collection
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.resultops.celery.plugins.module_utils import _redis, _redis_settings
from ansible_collections.resultops.celery.plugins.module_utils._redis_tls import serves_other_certificate

REFUSED_ARGUMENT = re.compile(r"possibly related to argument '([^']+)'\) - (.+)")
FIXED_ARGUMENT = re.compile(r"can't set (?:immutable|protected) config")


class Reconciliation:
    """One run: compare everything, then change the server, then the file."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.params: dict[str, Any] = module.params
        self.settings = self._wanted()
        self.server: _redis.Server | None = None
        self.live: dict[str, str] = {}
        self.different: list[str] = []
        self.restart_required: list[str] = []
        self.tls_reloaded = False

    def run(self) -> dict[str, Any]:
        file = _redis.ManagedFile(self.module, self.params["path"], _redis_settings.rendered(self.settings))
        self.server = _redis.connect(self.params)
        if self.server:
            self._compare(self.server)
        elif file.differs:
            self._try()
        if self.module.check_mode:
            self._predict()
            attributes_differ = file.keep_attributes()
        else:
            if file.differs:
                file.stage()
            if self.server:
                self._apply(self.server)
            if file.differs:
                self._commit(file)
            attributes_differ = file.keep_attributes()
        return {
            "changed": bool(file.differs or attributes_differ or self.different or self.tls_reloaded),
            "live": self.server is not None,
            "changed_settings": self.different,
            "restart_required": self.restart_required,
            "tls_reloaded": self.tls_reloaded,
            "server_version": self._version(),
            "settings": {
                name: _redis_settings.argument(words, name)
                for name, words in sorted(self.settings.items())
                if name not in self.secret_names
            },
            "diff": self._diff(file),
        }

    def _wanted(self) -> dict[str, list[str]]:
        plain = _redis_settings.checked(self.params["settings"], "settings")
        secret = _redis_settings.checked(self.params["secret_settings"], "secret_settings")
        self.secret_names = frozenset(secret)
        for name in _redis_settings.SECRETS & plain.keys():
            self.module.no_log_values.update(word for word in plain[name] if word)
            raise _redis_settings.SettingError(
                f"settings must not have the secret {name}: it belongs into secret_settings."
            )
        for name in sorted(plain.keys() & secret.keys()):
            raise _redis_settings.SettingError(f"The directive {name} stands both in settings and in secret_settings.")
        return _redis_settings.with_resolved_memory({**plain, **secret}, _redis_settings.memory_limit)

    def _compare(self, server: _redis.Server) -> None:
        answer = server.call("CONFIG", "GET", *sorted(self.settings), "tls-port", "bind", *_redis_settings.TLS_FILES)
        self.live = dict(zip(answer[::2], answer[1::2], strict=True))
        self.module.no_log_values.update(
            self.live[name] for name in _redis_settings.SECRETS & self.live.keys() if self.live[name]
        )
        self._refuse_unknown(server, self.live)
        self.different = [
            name
            for name, words in sorted(self.settings.items())
            if not _redis_settings.same(name, words, self.live[name])
        ]
        self.tls_reloaded = self._must_reload_tls()

    def _refuse_unknown(self, server: _redis.Server, known: Collection[str]) -> None:
        for name in sorted(self.settings):
            if name not in known:
                raise _redis_settings.SettingError(
                    f"{server.version.text} does not know the directive {name}, which stands in {self._option(name)}."
                )

    def _try(self) -> None:
        with _redis.trial_server(self.params) as trial:
            if trial is None:
                return
            self._refuse_unknown(trial, trial.call("CONFIG", "GET", *sorted(self.settings))[::2])
            for name, words in sorted(self.settings.items()):
                if name not in _redis_settings.NOT_TRIED and not name.startswith("tls-"):
                    try:
                        trial.call("CONFIG", "SET", name, _redis_settings.argument(words, name))
                    except _redis.RefusedError as refusal:
                        raise self._explained(trial, refusal) from refusal

    def _must_reload_tls(self) -> bool:
        if not {*_redis_settings.TLS_FILES} & self.settings.keys() or self.live.get("tls-port", "0") == "0":
            return False
        if {*_redis_settings.TLS_FILES} & {*self.different}:
            return False
        if self.params["reload_tls"]:
            return True
        if "tls-cert-file" not in self.settings:
            return False
        answer = serves_other_certificate(
            self.live,
            self.params["login_host"],
            self.params["login_timeout"],
            " ".join(self.settings.get("tls-key-file-pass", [])),
        )
        if answer.warning:
            self.module.warn(answer.warning)
        return answer.differs

    def _predict(self) -> None:
        self.restart_required = [name for name in self.different if name in _redis_settings.FIXED_AT_START]
        self.different = [name for name in self.different if name not in _redis_settings.FIXED_AT_START]

    def _apply(self, server: _redis.Server) -> None:
        names = list(self.different)
        while names or self.tls_reloaded:
            try:
                server.call("CONFIG", "SET", *self._arguments(names))
                break
            except _redis.RefusedError as refusal:
                refused = REFUSED_ARGUMENT.search(str(refusal))
                if not refused or refused[1] not in names or not FIXED_ARGUMENT.match(refused[2]):
                    raise self._explained(server, refusal) from refusal
                names.remove(refused[1])
                self.restart_required.append(refused[1])
        self.different = names
        self.restart_required.sort()

    def _explained(self, server: _redis.Server, refusal: _redis.RefusedError) -> Exception:
        refused = REFUSED_ARGUMENT.search(str(refusal))
        if refused is None:
            return refusal
        return _redis_settings.SettingError(
            f"{self._option(refused[1])}.{refused[1]} is refused by {server.version.text}: {refused[2]}"
        )

    def _arguments(self, names: list[str]) -> list[str]:
        values = {name: _redis_settings.argument(self.settings[name], name) for name in names}
        if self.tls_reloaded:
            for name in _redis_settings.TLS_FILES:
                values.setdefault(name, self.live[name])
        return [word for pair in sorted(values.items()) for word in pair]

    def _commit(self, file: _redis.ManagedFile) -> None:
        try:
            file.commit()
        except (SystemExit, OSError):
            if self.server and self.different:
                before = [word for name in self.different for word in (name, self.live[name])]
                self.server.call("CONFIG", "SET", *before)
            raise

    def _version(self) -> str:
        version = self.server.version if self.server else _redis.installed_version(self.params["server_binary"])
        return version.number if version else ""

    def _option(self, name: str) -> str:
        return "secret_settings" if name in self.secret_names else "settings"

    def _diff(self, file: _redis.ManagedFile) -> list[dict[str, str]]:
        result = []
        if file.differs:
            result.append(
                {
                    "before_header": file.path,
                    "after_header": file.path,
                    "before": _redis_settings.masked_file(file.text_before),
                    "after": _redis_settings.masked_file(_redis_settings.rendered(self.settings)),
                }
            )
        names = sorted({*self.different, *self.restart_required})
        if names and self.server:
            wanted = {name: _redis_settings.argument(self.settings[name], name) for name in names}
            result.append(
                {
                    "before_header": f"server at {self.server.where}",
                    "after_header": f"server at {self.server.where}",
                    "before": _shown(names, self.live),
                    "after": _shown(names, wanted, self.restart_required),
                }
            )
        return result


def _shown(names: list[str], values: dict[str, str], after_restart: Collection[str] = ()) -> str:
    note = " (after a restart)"
    return "".join(
        f"{name} {_redis_settings.shown(name, values[name])}{note if name in after_restart else ''}\n" for name in names
    )


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "settings": {"type": "dict", "required": True},
            "secret_settings": {"type": "dict", "default": {}, "no_log": True},
            "reload_tls": {"type": "bool", "default": False},
            "mode": {"type": "raw", "default": "0640"},
            **_redis.CONNECTION_ARGUMENTS,
        },
        add_file_common_args=True,
        supports_check_mode=True,
        **_redis.CONNECTION_RULES,
    )
    try:
        result = Reconciliation(module).run()
    except (_redis.RedisError, _redis_settings.SettingError) as problem:
        module.fail_json(msg=str(problem))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
