#!/usr/bin/python
# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keep what a Redis or Valkey Sentinel monitors, and how it runs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_sentinel
short_description: Keep what a Redis or Valkey Sentinel monitors, and how it runs
version_added: 0.2.0
author:
  - ResultOps engineers (@resultops)
description:
  - Brings the whole set of monitored primaries with their options in line, and the settings of the process.
  - A running Sentinel is compared and changed live, by C(SENTINEL MONITOR), C(SENTINEL SET), C(SENTINEL REMOVE) and
    C(SENTINEL CONFIG SET). It goes on running, and what it found out by itself stays. That is who is primary now,
    which replicas and sentinels there are and the epochs. It is never reset.
  - While it is stopped, its state file is changed instead. Only where the file does not have a primary yet, its
    place is written, and the other sentinels and the nodes are asked for the current one before.
  - Whatever else the package's own file monitors, as V(mymaster), is removed.
  - Settings of the process are written to a file of their own, which Sentinel reads last and never writes. Those
    that it cannot change while it runs are named in RV(restart_required) as long as the running process differs.
options:
  path:
    description:
      - The file with the settings that Ansible owns. Sentinel must be started with C(--include) of it after all others.
    type: path
    required: true
  state_file:
    description:
      - Sentinel's own file, with which it is started and which it writes.
      - Where there is none, it is created with the owner and group of its directory.
    type: path
    required: true
  settings:
    description:
      - Settings of the process as directives with their values. A list is one directive with several words or lines.
      - Among those that begin with the word C(sentinel), V(sentinel resolve-hostnames),
        V(sentinel announce-hostnames), V(sentinel announce-ip), V(sentinel announce-port), V(sentinel sentinel-user)
        and V(sentinel deny-scripts-reconfig) can stand here. Options of primaries belong into O(primaries).
    type: dict
    required: true
  secret_settings:
    description:
      - Settings whose values are secret, such as V(sentinel sentinel-pass).
      - Sentinel writes V(sentinel sentinel-pass) without quotes into its own file. A password with a space or a quote
        is refused, because Sentinel would not start with it again.
    type: dict
    default: {}
  primaries:
    description:
      - The whole set of monitored primaries.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description:
          - Name by which clients ask for the primary. Letters, digits, dots, underscores and hyphens.
        type: str
        required: true
      host:
        description:
          - Name or address of the server that is the primary at first, while nobody says who it is now.
        type: str
        required: true
      port:
        description:
          - Port of O(primaries[].host).
        type: int
        default: 6379
      quorum:
        description:
          - How many sentinels must take the primary for dead before one of them replaces it.
        type: int
        required: true
      auth_user:
        description:
          - User that Sentinel logs in as on the nodes, see the profile V(sentinel) of M(resultops.celery.redis_acl).
        type: str
        default: ""
      auth_password:
        description:
          - Password of O(primaries[].auth_user).
          - Sentinel writes it without quotes into its own file. A password with a space or a quote is refused, because
            Sentinel would not start with it again.
        type: str
        default: ""
      down_after:
        description:
          - Milliseconds without an answer after which this Sentinel takes a server for dead. At least V(1000).
        type: int
        default: 2000
      failover_timeout:
        description:
          - Milliseconds in which a failover must come to an end. After twice as many the next one may begin.
        type: int
        default: 15000
      parallel_syncs:
        description:
          - How many replicas may copy everything from a new primary at the same time.
        type: int
        default: 1
      nodes:
        description:
          - All servers of this primary's replication set, itself included. They are asked for the current primary
            while no sentinel knows it, with O(primaries[].auth_user) and the certificate files.
          - Only O(primaries[].host) is asked without it.
        type: list
        elements: dict
        default: []
        suboptions:
          host:
            description:
              - Name or address of the server, by which the sentinels know it.
            type: str
            required: true
          port:
            description:
              - Its TLS port.
            type: int
            default: 6379
  sentinels:
    description:
      - All sentinels, this one included. They are asked for the current primary before a new one is monitored.
    type: list
    elements: dict
    default: []
    suboptions:
      host:
        description:
          - Name or address of the sentinel.
        type: str
        required: true
      port:
        description:
          - Its TLS port.
        type: int
        default: 26379
  sentinel_user:
    description:
      - User to log in as on O(sentinels). O(login_user) without it.
    type: str
  sentinel_password:
    description:
      - Password of O(sentinel_user). Without it O(login_password) and O(login_previous_password) are used.
    type: str
  sentinel_previous_password:
    description:
      - Tried when a sentinel refuses O(sentinel_password).
    type: str
  login_port:
    description:
      - The TLS port of the local Sentinel. Only used with O(login_host).
    type: int
    default: 26379
  ca_file:
    description:
      - Certificates of the authorities that may have signed the certificates of the sentinels and of the nodes.
      - The system's own are used without it.
    type: path
  certificate_file:
    description:
      - Certificate to show to sentinels and nodes that ask for one.
    type: path
  server_binary:
    description:
      - Sentinel's program. Settings are tried with it, on a private one that monitors nothing, before they are written.
      - Without it C(redis-sentinel) and then C(valkey-sentinel) are searched on the C(PATH).
    type: path
  mode:
    description:
      - Permissions of O(path).
    type: raw
    default: "0640"
extends_documentation_fragment:
  - ansible.builtin.files
  - resultops.celery._redis
  - resultops.celery._attributes
attributes:
  diff_mode:
    description: Returns what changed in both files and in the running Sentinel. Secret values are masked.
seealso:
  - module: resultops.celery.redis_acl
  - module: resultops.celery.redis_config
  - module: resultops.celery.redis_topology_info
"""

EXAMPLES = r"""
- name: Keep what Sentinel monitors
  resultops.celery.redis_sentinel:
    path: /etc/redis/managed-sentinel/settings.conf
    state_file: /etc/redis/sentinel.conf
    group: redis
    unix_socket: /run/sentinel/redis-sentinel.sock
    login_user: admin
    login_password: "{{ vault_sentinel_admin_password }}"
    ca_file: /etc/redis/managed-sentinel/tls/ca.crt
    certificate_file: /etc/redis/managed-sentinel/tls/server.crt
    private_key_file: /etc/redis/managed-sentinel/tls/server.key
    settings:
      port: 0
      tls-port: 26379
      sentinel resolve-hostnames: true
      sentinel announce-hostnames: true
      sentinel announce-ip: "{{ inventory_hostname }}"
      sentinel sentinel-user: peer
    secret_settings:
      sentinel sentinel-pass: "{{ vault_sentinel_peer_password }}"
    sentinels:
      - host: redis1.example.com
      - host: redis2.example.com
      - host: redis3.example.com
    primaries:
      - name: results
        host: redis1.example.com
        quorum: 2
        auth_user: sentinel
        auth_password: "{{ vault_redis_sentinel_password }}"
        nodes:
          - host: redis1.example.com
          - host: redis2.example.com
          - host: redis3.example.com
  register: sentinel_state

- name: Restart Sentinel when a setting can only be changed that way
  ansible.builtin.service:
    name: redis-sentinel
    state: restarted
  when: sentinel_state.restart_required | length > 0
"""

RETURN = r"""
live:
  description: Whether a Sentinel was running and was compared.
  returned: success
  type: bool
  sample: true
added:
  description: Names of the primaries that are monitored anew.
  returned: success
  type: list
  elements: str
  sample: [results]
removed:
  description: Names of the primaries that are monitored no longer.
  returned: success
  type: list
  elements: str
  sample: [mymaster]
changed_options:
  description: Options of primaries that were changed, each with the name of the primary before it.
  returned: success
  type: list
  elements: str
  sample: [results quorum]
changed_settings:
  description: Directives that were changed in the running Sentinel.
  returned: success
  type: list
  elements: str
  sample: [sentinel announce-ip]
restart_required:
  description: Directives in which the running Sentinel differs from the files and that only a restart can change.
  returned: success
  type: list
  elements: str
  sample: [tls-protocols]
seeded:
  description: Where the primaries in RV(added) are, and who said so. That is V(sentinels), V(nodes) or V(initial).
  returned: success
  type: dict
  sample:
    results:
      host: redis1.example.com
      port: 6379
      source: nodes
server_version:
  description: Version of Sentinel, or of the installed program while none is running. Empty when neither is there.
  returned: success
  type: str
  sample: 7.0.15
"""

import dataclasses
import os
import re
import time
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.resultops.celery.plugins.module_utils import (
    _redis,
    _redis_settings,
    _sentinel,
    _topology,
)
from ansible_collections.resultops.celery.plugins.module_utils._redis_tls import serves_other_certificate
from ansible_collections.resultops.celery.plugins.module_utils._unlogged import UnloggedModule

# What a trial server is started with, where that is not the server's default.
DEFAULTS = {
    "appendonly": "no",
    "daemonize": "no",
    "dir": "",
    "port": "6379",
    "save": "3600 1 300 100 60 10000",
    "unixsocket": "",
}
# The trial has a private directory and no network, and the service's own accounts and log are not for it.
NOT_TRIED = frozenset(
    [
        "aclfile",
        "bind",
        "bind-source-addr",
        "daemonize",
        "dir",
        "logfile",
        "oom-score-adj",
        "oom-score-adj-values",
        "pidfile",
        "port",
        "requirepass",
        "supervised",
        "syslog-enabled",
        "tls-port",
        "unixsocket",
        "unixsocketgroup",
        "unixsocketperm",
    ]
)
# The last words are only that TLS failed; what is wrong stands before them.
TLS_PROBLEM = re.compile(r"^\d+:[A-Z] .+? # (.*(?:tls|certificate|private key).*)$", re.IGNORECASE | re.MULTILINE)
# Nothing runs there, as far as can be known: such a node cannot be the primary of anything.
SILENT = frozenset({"dns", "refused", "timeout", "unreachable"})


class Reconciliation:
    """One run: compare everything, then change what runs, then the files."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.params: dict[str, Any] = module.params
        self.settings = self._wanted_settings()
        self.primaries = _sentinel.declared_primaries(self.params["primaries"], len(self.params["sentinels"]))
        self.params["server_binary"] = _redis.sentinel_program(self.params["server_binary"])
        self.server: _redis.Server | None = None
        self.state = _sentinel.State("")
        self.seeds: dict[str, dict[str, Any]] = {}
        self.added: list[str] = []
        self.removed: list[str] = []
        self.options: dict[str, list[str]] = {}
        self.live: dict[str, str] = {}
        self.different: list[str] = []
        self.restart_required: list[str] = []
        self.before: list[str] = []
        self.after: list[str] = []

    def run(self) -> dict[str, Any]:
        self.server = self._connect()
        managed = _redis.ManagedFile(self.module, self.params["path"], _sentinel.rendered(self.settings))
        if managed.differs:
            self._try()
        if self.server:
            self._compare(self.server, managed)
        else:
            self._compare_state()
        state = self._state_file()
        state_differs = state is not None and state.differs
        diff = self._diff(managed, state)
        if not self.module.check_mode:
            if managed.differs:
                managed.stage()
            if self.server:
                self._apply(self.server)
            if state_differs:
                self._commit_state()
            if managed.differs:
                managed.commit()
        attributes_differ = managed.keep_attributes()
        return {
            "changed": bool(
                managed.differs
                or state_differs
                or attributes_differ
                or self.added
                or self.removed
                or self.options
                or self.different
            ),
            "live": self.server is not None,
            "added": self.added,
            "removed": self.removed,
            "changed_options": [f"{name} {option}" for name, options in self.options.items() for option in options],
            "changed_settings": self.different,
            "restart_required": self.restart_required,
            "seeded": self.seeds,
            "server_version": self._version(),
            "diff": diff,
        }

    # --- What is wanted

    def _wanted_settings(self) -> dict[str, list[str]]:
        plain = _sentinel.checked(self.params["settings"], "settings")
        secret = _sentinel.checked(self.params["secret_settings"], "secret_settings")
        self.secret_names = frozenset(secret)
        for name in _sentinel.SECRETS & plain.keys():
            self.module.no_log_values.update(word for word in plain[name] if word)
            raise _sentinel.SentinelError(f"settings must not have the secret {name}: it belongs into secret_settings.")
        for name in sorted(plain.keys() & secret.keys()):
            raise _sentinel.SentinelError(f"The directive {name} stands both in settings and in secret_settings.")
        return {**plain, **secret}

    def _argument(self, name: str) -> str:
        return _redis_settings.argument(self.settings[name], name)

    def _option(self, name: str) -> str:
        return "secret_settings" if name in self.secret_names else "settings"

    # --- Compare

    def _connect(self) -> _redis.Server | None:
        server = _redis.connect(self.params)
        if server is None:
            return None
        facts = server.information()
        if not server.is_sentinel:
            raise _sentinel.SentinelError(f"The server at {server.where} is no Sentinel.")
        running_with = facts.get("config_file", "")
        if os.path.realpath(running_with) != os.path.realpath(self.params["state_file"]):
            raise _sentinel.SentinelError(
                f"The Sentinel at {server.where} runs with {running_with or 'no file'} and not with state_file "
                f"{self.params['state_file']}."
            )
        # Both are whole seconds: a file that was changed in the second of the start does not count as younger.
        self.started = int(time.time()) - int(facts.get("uptime_in_seconds", "0")) + 1
        return server

    def _compare(self, server: _redis.Server, managed: _redis.ManagedFile) -> None:
        if not self.module.check_mode:
            self._flush(server)
        self.state = _sentinel.State.read(self.params["state_file"])
        settings, monitored = self._answers(server)
        self._compare_settings(settings, managed)
        known = self.state.monitored
        for name, facts in monitored.items():
            # Passwords are in no answer, but each change of one is in the file at once.
            options = known[name].options if name in known else {}
            known[name] = dataclasses.replace(facts, options={**options, **facts.options})
        live = {name: known[name] for name in monitored}
        self._compare_primaries(live)
        self._note(live)

    def _answers(self, server: _redis.Server) -> tuple[dict[str, str], dict[str, _sentinel.Monitored]]:
        """The settings that can be read, and what is monitored."""
        try:
            settings = _topology.pairs(server.call("SENTINEL", "CONFIG", "GET", "*"))
            monitored = {}
            for facts in map(_topology.pairs, server.call("SENTINEL", "MASTERS")):
                options = {option: facts[option] for option in _sentinel.OPTION_DEFAULTS if option in facts}
                knows_others = (facts["num-slaves"], facts["num-other-sentinels"]) != ("0", "0")
                place = (facts["ip"], facts["port"], facts["quorum"])
                monitored[facts["name"]] = _sentinel.Monitored(*place, options, knows_others)
        except _topology.NOT_UNDERSTOOD as error:
            raise _sentinel.SentinelError(
                f"What the server at {server.where} answers is not what Sentinel would."
            ) from error
        return settings, monitored

    def _compare_state(self) -> None:
        self.state = _sentinel.State.read(self.params["state_file"])
        self._compare_primaries(self.state.monitored, self.state.has_run)
        self.removed = sorted(self.state.names - self.primaries.keys())

    def _compare_primaries(self, monitored: Mapping[str, _sentinel.Monitored], has_run: bool = True) -> None:
        """What a Sentinel found out by itself stays; a file with which none ever ran holds nothing of that kind."""
        for name, primary in self.primaries.items():
            present = monitored.get(name)
            if present is None or not has_run or primary.takes_for_stock(present):
                seed = self._current(primary)
                if present is None or not present.is_at(seed["host"], seed["port"]):
                    self.added.append(name)
                    self.seeds[name] = seed
                    continue
            if present.differing(primary):
                self.options[name] = present.differing(primary)
        self.removed = sorted(monitored.keys() - self.primaries.keys())
        self.replaced = [name for name in self.added if name in monitored]

    def _note(self, monitored: Mapping[str, _sentinel.Monitored]) -> None:
        for name in self.removed:
            self.before.append(f"sentinel monitor {name} {monitored[name].host} {monitored[name].port}")
        for name in self.added:
            self.after.append(f"sentinel monitor {name} {self.seeds[name]['host']} {self.seeds[name]['port']}")
        for name, options in self.options.items():
            before = {**_sentinel.OPTION_DEFAULTS, **monitored[name].options, "quorum": monitored[name].quorum}
            wanted = {**self.primaries[name].options, "quorum": str(self.primaries[name].quorum)}
            self.before += [_sentinel.line(name, option, before[option]) for option in options]
            self.after += [_sentinel.line(name, option, wanted[option]) for option in options]

    def _compare_settings(self, settings: Mapping[str, str], managed: _redis.ManagedFile) -> None:
        for name, value in settings.items():
            directive = f"sentinel {name}" if name in _sentinel.PROCESS_WIDE else name
            self.live[directive] = value
        self.module.no_log_values.update(
            self.live[name] for name in _sentinel.SECRETS & self.live.keys() if self.live[name]
        )
        running = self._running(managed)
        for name in sorted(self.settings):
            if name in self.live:
                if not _sentinel.same(name, self.settings[name], self.live[name]):
                    self.different.append(name)
            elif name in running and not _sentinel.same(name, self.settings[name], running[name]):
                self.restart_required.append(name)
        self._compare_tls_files(running)
        self._note_settings(running)

    def _note_settings(self, running: Mapping[str, str]) -> None:
        values = {**running, **self.live}
        for name in sorted({*self.different, *self.restart_required}):
            note = " (after a restart)" if name in self.restart_required else ""
            self.before.append(f"{name} {_sentinel.shown(name, values.get(name, ''))}")
            self.after.append(f"{name} {_sentinel.shown(name, self._argument(name))}{note}")

    def _running(self, managed: _redis.ManagedFile) -> dict[str, str]:
        """What the process runs with, as far as it can be known: it has no command that says it.

        It writes whatever is not the default into its own file when it is told to, which a dry run does not do. Where
        it has not done so since it was started, it runs with what the managed file held, unless that is younger.
        """
        names = [name for name in self.settings if name not in self.live]
        written = self.state.settings
        has_written = not self.module.check_mode or _sentinel.is_younger(self.params["state_file"], self.started)
        if not has_written and not _sentinel.is_younger(self.params["path"], self.started):
            written = {**written, **_sentinel.State(managed.text_before).settings}
        absent = [name for name in names if name not in written]
        defaults = {name: value for name, value in self._defaults(absent).items() if name in absent}
        return {**defaults, **{name: written[name] for name in names if name in written}}

    def _defaults(self, names: list[str]) -> dict[str, str]:
        if not names:
            return {}
        defaults = {f"sentinel {name}": value for name, value in _sentinel.PROCESS_WIDE.items()}
        with _redis.trial_server(self.params, as_sentinel=False) as trial:
            if trial:
                answer = trial.call("CONFIG", "GET", *names)
                defaults.update(_topology.pairs(answer), **DEFAULTS)
        return defaults

    def _compare_tls_files(self, running: Mapping[str, str]) -> None:
        """Sentinel reads its TLS files when it starts and never again."""
        for name in sorted(self.settings):
            if name in self.restart_required or not re.fullmatch(r"tls-.+-file", name):
                continue
            if name == "tls-cert-file":
                renewed = self._serves_other_certificate(running)
            else:
                renewed = name != "tls-key-file" and _sentinel.is_younger(self._argument(name), self.started)
            if renewed:
                self.restart_required.append(name)
        self.restart_required.sort()

    def _serves_other_certificate(self, running: Mapping[str, str]) -> bool:
        live = {"bind": "127.0.0.1", "tls-port": "0", **running}
        if live["tls-port"] == "0" or "tls-key-file" not in live:
            return False
        password = " ".join(self.settings.get("tls-key-file-pass", []))
        answer = serves_other_certificate(live, self.params["login_host"], self.params["login_timeout"], password)
        if answer.warning:
            self.module.warn(answer.warning)
        return answer.differs

    # --- Ask

    def _current(self, primary: _sentinel.Primary) -> dict[str, Any]:
        """Where a primary is now: the sentinels are believed, then the nodes, and then what is declared."""
        nodes, sentinels = _topology.ask(
            {
                **self.params,
                "nodes": [{"host": host, "port": port} for host, port in primary.nodes],
                "primary_name": primary.name,
                "login_user": primary.options["auth-user"] or "default",
                "login_password": primary.options["auth-pass"],
                "login_previous_password": None,
                **self._sentinel_login(),
            }
        )
        decision = _topology.decide(nodes, [one for one in sentinels if not self._is_stock(primary, one)])
        if decision.primary:
            return {"host": decision.primary.host, "port": decision.primary.port, "source": decision.source}
        for node in nodes:
            if node.failure_class and node.failure_class not in SILENT:
                self._refuse_to_guess(primary, node)
        return {"host": primary.host, "port": primary.port, "source": "initial"}

    def _refuse_to_guess(self, primary: _sentinel.Primary, node: _topology.Node) -> None:
        sentence = (
            f"The node {node.address} of the primary {primary.name} runs, but does not say whether it is the primary "
            f"({node.failure_class}): {node.error}"
        )
        if not self.module.check_mode:
            raise _sentinel.SentinelError(sentence)
        # A dry run comes before the certificates and accounts that the real one asks with.
        self.module.warn(f"{sentence} The real run would refuse to guess.")

    def _sentinel_login(self) -> dict[str, Any]:
        names = ("user", "password", "previous_password")
        kind = "sentinel" if self.params["sentinel_password"] else "login"
        login = {f"sentinel_{name}": self.params[f"{kind}_{name}"] for name in names}
        return {**login, "sentinel_user": self.params["sentinel_user"] or self.params["login_user"]}

    def _is_stock(self, primary: _sentinel.Primary, sentinel: _topology.Sentinel) -> bool:
        knows_others = sentinel.known_replicas > 0 or sentinel.known_sentinels > 1
        return primary.takes_for_stock(_sentinel.Monitored(sentinel.primary_host, knows_others=knows_others))

    # --- Change

    def _try(self) -> None:
        """Start a private Sentinel with the settings: a mistake would be found by the next start of the real one."""
        self._refuse_unknown()
        settings = {name: words for name, words in self.settings.items() if name not in NOT_TRIED}
        files = [self._argument(name) for name in settings if re.fullmatch(r"tls-.+-(file|dir)", name)]
        if files and all(os.path.exists(file) for file in files):
            # Without a port, only this makes it read the files.
            settings["tls-replication"] = ["yes"]
        else:
            settings = {name: words for name, words in settings.items() if not name.startswith("tls-")}
        try:
            with _redis.trial_server(self.params, True, _sentinel.rendered(settings)) as trial:
                if trial:
                    self._try_live(trial)
        except _redis.StartError as refusal:
            raise self._explained(refusal) from refusal

    def _refuse_unknown(self) -> None:
        """Ask a server, which is the same program: Sentinel 8.0 takes any word for a directive."""
        names = [name for name in sorted(self.settings) if not name.startswith("sentinel ")]
        with _redis.trial_server(self.params, as_sentinel=False) as trial:
            if trial is None or not names:
                return
            known = _topology.pairs(trial.call("CONFIG", "GET", *names))
        for name in names:
            if name not in known:
                raise _sentinel.SentinelError(
                    f"Sentinel {self._version()} does not know the directive {name}, which stands in "
                    f"{self._option(name)}."
                )

    def _try_live(self, trial: _redis.Server) -> None:
        """A command refuses some of what the file lets pass."""
        for name in _topology.pairs(trial.call("SENTINEL", "CONFIG", "GET", "*")):
            directive = f"sentinel {name}"
            if directive not in self.settings:
                continue
            try:
                trial.call("SENTINEL", "CONFIG", "SET", name, self._argument(directive))
            except _redis.RefusedError as refusal:
                raise _sentinel.SentinelError(
                    f"{self._option(directive)}.{directive} is refused by Sentinel {trial.version.number}."
                ) from refusal

    def _explained(self, refusal: _redis.StartError) -> Exception:
        text = "\n".join(refusal.said)
        found = re.search(r">>> '(.*)'\n(.+)", text)
        if not found:
            problem = TLS_PROBLEM.search(text)
            return _sentinel.SentinelError(f"settings are refused by Sentinel: {problem[1]}") if problem else refusal
        parts = _sentinel.words(found[1])
        name = " ".join(parts[: 2 if parts[0].lower() == "sentinel" else 1]).lower()
        return _sentinel.SentinelError(
            f"{self._option(name)}.{name} is refused by Sentinel {self._version()}: {found[2]}"
        )

    def _flush(self, server: _redis.Server) -> None:
        """Let it write its own file, which then says what it runs with."""
        try:
            server.call("SENTINEL", "FLUSHCONFIG")
        except _redis.RefusedError as refusal:
            raise _sentinel.SentinelError(
                f"The Sentinel at {server.where} cannot write its own file {self.params['state_file']} (state_file), "
                "and would forget with the next restart what it knows: give it the right to write the file and its "
                "directory."
            ) from refusal

    def _apply(self, server: _redis.Server) -> None:
        done: list[str] = []
        try:
            for name in self.different:
                server.call("SENTINEL", "CONFIG", "SET", name.removeprefix("sentinel "), self._argument(name))
            for name in self.added:
                if name in self.replaced:
                    server.call("SENTINEL", "REMOVE", name)
                self._monitor(server, name, done)
        except _redis.RefusedError:
            for name in done:
                server.call("SENTINEL", "REMOVE", name)
            raise
        for name, options in self.options.items():
            wanted = {**self.primaries[name].options, "quorum": str(self.primaries[name].quorum)}
            self._set(server, name, {option: wanted[option] for option in options})
        for name in self.removed:
            server.call("SENTINEL", "REMOVE", name)

    def _monitor(self, server: _redis.Server, name: str, done: list[str]) -> None:
        primary, seed = self.primaries[name], self.seeds[name]
        try:
            server.call("SENTINEL", "MONITOR", name, seed["host"], str(seed["port"]), str(primary.quorum))
        except _redis.RefusedError as refusal:
            if "Invalid IP address or hostname" not in str(refusal):
                raise
            raise _redis.RefusedError(
                f"The Sentinel at {server.where} cannot resolve {seed['host']}, the host of the primary {name} in "
                "primaries: the name must stand in /etc/hosts or in the DNS, and settings needs "
                "'sentinel resolve-hostnames: true'."
            ) from refusal
        done.append(name)
        self._set(server, name, dict(primary.options))

    def _set(self, server: _redis.Server, name: str, options: Mapping[str, str]) -> None:
        server.call("SENTINEL", "SET", name, *(word for pair in options.items() for word in pair))

    @property
    def state_text(self) -> str:
        """The state file as it shall be."""
        text = self.state.text
        if not self.server:
            places = {name: (seed["host"], seed["port"]) for name, seed in self.seeds.items()}
            text = self.state.with_primaries(self.primaries, places)
        return _sentinel.State(text).without_users() if "aclfile" in self.settings else text

    def _state_file(self) -> _redis.ManagedFile | None:
        """The state file where it must be changed: that of a running Sentinel only when it could not start again."""
        if self.server and not (self.state.has_users and "aclfile" in self.settings):
            return None
        return _redis.ManagedFile(self.module, self.params["state_file"], self.state_text, "state_file")

    def _commit_state(self) -> None:
        """Sentinel may have written its file meanwhile, and then knew more than the text that was compared."""
        if self.server:
            self.state = _sentinel.State.read(self.params["state_file"])
        file = _redis.ManagedFile(self.module, self.params["state_file"], self.state_text, "state_file")
        file.stage()
        file.commit()
        if file.before is None:
            directory = os.stat(os.path.dirname(file.path))
            os.chown(file.path, directory.st_uid, directory.st_gid)
            os.chmod(file.path, 0o640)

    # --- Tell

    def _version(self) -> str:
        version = self.server.version if self.server else _redis.installed_version(self.params["server_binary"])
        return version.number if version else ""

    def _diff(self, managed: _redis.ManagedFile, state: _redis.ManagedFile | None) -> list[dict[str, str]]:
        result = []
        if managed.differs:
            result.append(_difference(managed.path, managed.text_before, _sentinel.rendered(self.settings)))
        if state and state.differs:
            result.append(_difference(state.path, state.text_before, self.state_text))
        if self.before or self.after:
            before, after = ("".join(f"{entry}\n" for entry in lines) for lines in (self.before, self.after))
            result.append(
                _difference(f"Sentinel at {self.params['unix_socket'] or self.params['login_host']}", before, after)
            )
        return result


def _difference(where: str, before: str, after: str) -> dict[str, str]:
    return {
        "before_header": where,
        "after_header": where,
        "before": _sentinel.masked_file(before),
        "after": _sentinel.masked_file(after),
    }


def main() -> None:
    connection = {**_redis.CONNECTION_ARGUMENTS, "login_port": {"type": "int", "default": 26379}}
    module = UnloggedModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "state_file": {"type": "path", "required": True},
            "settings": {"type": "dict", "required": True},
            "secret_settings": {"type": "dict", "default": {}, "no_log": True},
            "primaries": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": _sentinel.PRIMARY_OPTIONS,
            },
            "sentinels": _sentinel.SENTINELS_OPTION,
            "sentinel_user": {"type": "str"},
            "sentinel_password": {"type": "str", "no_log": True},
            "sentinel_previous_password": {"type": "str", "no_log": True},
            "mode": {"type": "raw", "default": "0640"},
            **connection,
        },
        add_file_common_args=True,
        supports_check_mode=True,
        **_redis.CONNECTION_RULES,
    )
    try:
        result = Reconciliation(module).run()
    except (_redis.RedisError, _redis_settings.SettingError, _sentinel.SentinelError) as problem:
        module.fail_json(msg=str(problem))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
