# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Directives of redis.conf: how they are written, and when two values mean the same."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

MASK = "********"
MEBIBYTE = 1024 * 1024

SECRETS = frozenset({"masterauth", "primaryauth", "requirepass", "tls-client-key-file-pass", "tls-key-file-pass"})

# Refused by CONFIG SET in Redis 7.0 to 8.0 and Valkey 8.1, as immutable or as protected.
FIXED_AT_START = frozenset(
    [
        "aclfile",
        "always-show-logo",
        "aof-rewrite-cpulist",
        "aof_rewrite_cpulist",
        "appenddirname",
        "appendfilename",
        "bgsave-cpulist",
        "bgsave_cpulist",
        "bio-cpulist",
        "bio_cpulist",
        "cluster-config-file",
        "cluster-enabled",
        "cluster-port",
        "daemonize",
        "databases",
        "dbfilename",
        "dir",
        "disable-thp",
        "enable-debug-command",
        "enable-module-command",
        "enable-protected-configs",
        "io-threads",
        "io-threads-do-reads",
        "logfile",
        "pidfile",
        "rdbchecksum",
        "rdma-completion-vector",
        "rdma-rx-size",
        "server-cpulist",
        "server_cpulist",
        "set-proc-title",
        "socket-mark-id",
        "supervised",
        "syslog-enabled",
        "syslog-facility",
        "syslog-ident",
        "tcp-backlog",
        "unixsocket",
        "unixsocketgroup",
        "unixsocketperm",
    ]
)

NOT_MANAGED = {
    "include": "the file has to say by itself what the server runs with",
    "loadmodule": "a running server cannot be compared with it",
    "rename-command": "rights belong into redis_acl, and Sentinel breaks on renamed commands",
    "replicaof": "it is the server's own state, which a failover changes",
    "slaveof": "it is the server's own state, which a failover changes",
    "user": "users belong into redis_acl",
}

# The words of these are arguments of their own; all others take one argument.
WORD_LISTS = frozenset(
    {
        "bind",
        "client-output-buffer-limit",
        "latency-tracking-info-percentiles",
        "oom-score-adj-values",
        "save",
        "shutdown-on-sigint",
        "shutdown-on-sigterm",
    }
)
WORDS_PER_LINE = {"client-output-buffer-limit": 4, "save": 2}

# Free text: "1k" and "1000" are two different file names.
TEXTS = SECRETS | frozenset(
    [
        "aclfile",
        "aof-rewrite-cpulist",
        "aof_rewrite_cpulist",
        "appenddirname",
        "appendfilename",
        "availability-zone",
        "bgsave-cpulist",
        "bgsave_cpulist",
        "bind",
        "bind-source-addr",
        "bio-cpulist",
        "bio_cpulist",
        "cluster-announce-hostname",
        "cluster-announce-human-nodename",
        "cluster-announce-ip",
        "cluster-config-file",
        "dbfilename",
        "ignore-warnings",
        "locale-collate",
        "logfile",
        "masteruser",
        "pidfile",
        "primaryauth",
        "primaryuser",
        "proc-title-template",
        "replica-announce-ip",
        "server-cpulist",
        "server_cpulist",
        "slave-announce-ip",
        "syslog-ident",
        "tls-ca-cert-dir",
        "tls-ca-cert-file",
        "tls-cert-file",
        "tls-ciphers",
        "tls-ciphersuites",
        "tls-client-cert-file",
        "tls-client-key-file",
        "tls-dh-params-file",
        "tls-key-file",
        "unixsocket",
        "unixsocketgroup",
    ]
)

# A trial server has no network, and its certificates and limits are not those of the service.
NOT_TRIED = FIXED_AT_START | {"bind", "bind-source-addr", "maxclients", "oom-score-adj", "oom-score-adj-values", "port"}

TLS_FILES = ("tls-cert-file", "tls-key-file", "tls-ca-cert-file")
ALL_KEYSPACE_CLASSES = frozenset("g$lshzxetd")
MEMORY_UNITS = {
    "": 1,
    "b": 1,
    "k": 1000,
    "kb": 1024,
    "m": 1000**2,
    "mb": 1024**2,
    "g": 1000**3,
    "gb": 1024**3,
}
HEADER = (
    "# Managed by resultops.celery.redis_config: changes made here are lost.\n"
    "# The server reads this file last and never writes it.\n"
)


class SettingError(ValueError):
    """One sentence for the user, without any secret."""


def checked(settings: Mapping[str, Any], option: str) -> dict[str, list[str]]:
    """The settings as directive -> words; raises SettingError for what can never be right."""
    result: dict[str, list[str]] = {}
    for given, value in settings.items():
        name = str(given).lower()
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
            raise SettingError(f"{option} has the directive {given!r}: only letters, digits, '-' and '_' are allowed.")
        if name in NOT_MANAGED:
            raise SettingError(f"{option} must not have the directive {name}: {NOT_MANAGED[name]}.")
        if name in result:
            raise SettingError(f"{option} has the directive {name} twice.")
        result[name] = words_of(name, value, option)
    return result


def with_resolved_memory(settings: Mapping[str, list[str]], limit: Callable[[], int]) -> dict[str, list[str]]:
    """maxmemory as a size where it was given as a share of the host's memory."""
    result = dict(settings)
    share = re.fullmatch(r"([0-9]+)%", " ".join(settings.get("maxmemory", [])))
    if share:
        if not 1 <= int(share[1]) <= 100:
            raise SettingError(
                f"settings.maxmemory is {share[0]}: a share of the host's memory is between 1% and 100%."
            )
        result["maxmemory"] = [f"{limit() * int(share[1]) // 100 // MEBIBYTE}mb"]
    return result


def memory_limit(root: str = "/") -> int:
    """Bytes that this host, or the cgroup that it is, may use."""
    with open(os.path.join(root, "proc/meminfo"), encoding="ascii") as stream:
        total = int(re.search(r"^MemTotal:\s+([0-9]+) kB", stream.read(), re.MULTILINE)[1]) * 1024  # type: ignore[index]
    return min([total, *_cgroup_limits(root)])


def rendered(settings: Mapping[str, list[str]], header: str = HEADER) -> str:
    """The managed file."""
    lines = [header]
    for name in sorted(settings):
        lines.extend(f"{name} {arguments}\n" for arguments in _lines(name, settings[name]))
    return "".join(lines)


def argument(words: list[str], name: str) -> str:
    """The value as the one argument that CONFIG SET takes."""
    if name in WORD_LISTS:
        return " ".join(_quoted(word) if word else "" for word in words)
    return " ".join(words)


def same(name: str, wanted: list[str], live: str) -> bool:
    """Whether the server already does what is wanted."""
    text = argument(wanted, name)
    if text == live:
        return True
    if name == "bind":
        return text.split() == live.split()
    if name == "dir":
        return os.path.realpath(text) == os.path.realpath(live)
    if name == "tls-protocols":
        return set(text.lower().split()) == set(live.lower().split())
    if name == "notify-keyspace-events":
        return _keyspace_classes(text) == _keyspace_classes(live)
    if name == "client-output-buffer-limit":
        ours, theirs = _buffer_limits(text), _buffer_limits(live)
        return all(theirs.get(client) == limits for client, limits in ours.items())
    if name in TEXTS:
        return False
    return [_number_or_word(word) for word in text.split()] == [_number_or_word(word) for word in live.split()]


def shown(name: str, value: str) -> str:
    """A value as it may be printed."""
    return MASK if name in SECRETS and value else value


def masked_file(text: str) -> str:
    """A configuration file as it may be printed, whoever wrote it."""
    secret_directive = "|".join(sorted(SECRETS))
    text = re.sub(rf"(?im)^(\s*(?:{secret_directive})\s+)\S.*$", rf"\g<1>{MASK}", text)
    return re.sub(r"(?im)^(\s*user\s).*$", rf"\g<1>{MASK}", text)


def words_of(name: str, value: Any, option: str) -> list[str]:
    """A value as the words of a directive; raises SettingError for what can never be right."""
    values = value if isinstance(value, list) else [value]
    words: list[str] = []
    for item in values:
        if isinstance(item, bool):
            text = "yes" if item else "no"
        elif isinstance(item, (str, int, float)):
            text = str(item)
        else:
            raise SettingError(f"{option}.{name} must be a text, a number, a boolean or a list of these.")
        if any(ord(character) < 32 or ord(character) == 127 for character in text):
            raise SettingError(f"{option}.{name} has a control character, such as a line break, which is not allowed.")
        words.extend(text.split() if name in WORD_LISTS else [text])
    if name in WORDS_PER_LINE and len(words) % WORDS_PER_LINE[name]:
        raise SettingError(
            f"{option}.{name} needs {WORDS_PER_LINE[name]} words for each entry and has {len(words)} in all."
        )
    if name not in WORD_LISTS:
        return [word for word in words if word] or [""]
    return words


def _lines(name: str, words: list[str]) -> Iterator[str]:
    if name == "save":
        # Lines of the server's own file add up with these; the empty one starts afresh.
        yield '""'
    if name in WORDS_PER_LINE:
        step = WORDS_PER_LINE[name]
        for start in range(0, len(words), step):
            yield " ".join(_quoted(word) for word in words[start : start + step])
    elif name in WORD_LISTS:
        yield " ".join(_quoted(word) for word in words) or '""'
    else:
        yield _quoted(" ".join(words))


def _quoted(text: str) -> str:
    if re.fullmatch(r"[\w./:*@%+,=-]+", text, re.ASCII):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _number_or_word(word: str) -> str | Decimal:
    found = re.fullmatch(r"(-?[0-9]+(?:\.[0-9]+)?)([kmg]?b?)", word.lower())
    if found is None:
        return {"relative": "yes"}.get(word.lower(), word.lower())
    return Decimal(found[1]) * MEMORY_UNITS[found[2]]


def _keyspace_classes(text: str) -> frozenset[str]:
    classes = frozenset(text)
    return (classes - {"A"}) | ALL_KEYSPACE_CLASSES if "A" in classes else classes


def _buffer_limits(text: str) -> dict[str, list[str | Decimal]]:
    words = text.split()
    result = {}
    for start in range(0, len(words), 4):
        client, *limits = words[start : start + 4]
        result[client.lower().replace("slave", "replica")] = [_number_or_word(limit) for limit in limits]
    return result


def _cgroup_limits(root: str) -> Iterator[int]:
    for controller_files in _cgroup_files(root):
        try:
            with open(controller_files, encoding="ascii") as stream:
                text = stream.read().strip()
        except OSError:
            continue
        if text.isdigit():
            yield int(text)


def _cgroup_files(root: str) -> Iterable[str]:
    with open(os.path.join(root, "proc/self/cgroup"), encoding="utf-8") as stream:
        lines = stream.read().splitlines()
    for line in lines:
        _number, controllers, path = line.split(":", 2)
        if not controllers:
            mount, name = "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            mount, name = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts) + 1):
            yield os.path.join(root, mount, *parts[:depth], name)
