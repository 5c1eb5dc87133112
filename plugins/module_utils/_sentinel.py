# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a Sentinel monitors and how it runs: its managed file, and its state file that it writes by itself."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.resultops.celery.plugins.module_utils import _redis_settings

PRIMARY_OPTIONS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "host": {"type": "str", "required": True},
    "port": {"type": "int", "default": 6379},
    "quorum": {"type": "int", "required": True},
    "auth_user": {"type": "str", "default": ""},
    "auth_password": {"type": "str", "default": "", "no_log": True},
    "down_after": {"type": "int", "default": 2000},
    "failover_timeout": {"type": "int", "default": 15000},
    "parallel_syncs": {"type": "int", "default": 1},
    "nodes": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"host": {"type": "str", "required": True}, "port": {"type": "int", "default": 6379}},
    },
}
SENTINELS_OPTION: dict[str, Any] = {
    "type": "list",
    "elements": "dict",
    "default": [],
    "options": {"host": {"type": "str", "required": True}, "port": {"type": "int", "default": 26379}},
}

SHORTEST_DOWN_AFTER = 1000

# What Sentinel keeps by the name of a primary in its own file, with the defaults of what is managed here.
OPTION_DEFAULTS = {
    "down-after-milliseconds": "30000",
    "failover-timeout": "180000",
    "parallel-syncs": "1",
    "auth-user": "",
    "auth-pass": "",
}
BY_NAME = frozenset(OPTION_DEFAULTS) | frozenset(
    [
        "client-reconfig-script",
        "config-epoch",
        "known-replica",
        "known-sentinel",
        "known-slave",
        "leader-epoch",
        "master-reboot-down-after-period",
        "monitor",
        "notification-script",
        "primary-reboot-down-after-period",
        "rename-command",
    ]
)
# Directives that begin with the word sentinel and hold for the whole process, with their defaults.
PROCESS_WIDE = {
    "announce-hostnames": "no",
    "announce-ip": "",
    "announce-port": "0",
    "deny-scripts-reconfig": "yes",
    "resolve-hostnames": "no",
    "sentinel-pass": "",
    "sentinel-user": "",
}
SECRETS = _redis_settings.SECRETS | {"sentinel sentinel-pass"}
# Sentinel writes these without quotes into its own file and does not start with what it then reads.
UNQUOTED = {"sentinel sentinel-pass": "password", "sentinel sentinel-user": "name"}
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

HEADER = (
    "# Managed by resultops.celery.redis_sentinel: changes made here are lost.\n"
    "# Sentinel reads this file last and never writes it.\n"
)
WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|\'((?:[^\'\\]|\\.)*)\'|(\S+)', re.DOTALL)
ESCAPED = re.compile(rb"\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)
CONTROL = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"a": b"\a"}


class SentinelError(ValueError):
    """One sentence for the user, without any secret."""


def unquoted_problem(value: str) -> str:
    """Say what keeps Sentinel from reading a value again that it writes without quotes; empty when nothing does."""
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        return "has a control character such as a line break or a tab"
    if any(character.isspace() for character in value):
        return "has a space"
    if '"' in value or "'" in value:
        return "has a quote"
    return ""


@dataclass(frozen=True)
class Primary:
    """One primary as it shall be monitored."""

    name: str
    host: str
    port: int
    quorum: int
    options: Mapping[str, str]
    nodes: tuple[tuple[str, int], ...]

    @property
    def lines(self) -> list[str]:
        """The lines of its options in a state file that has none."""
        return [line(self.name, option, value) for option, value in self.options.items() if _is_needed(option, value)]

    def takes_for_stock(self, present: Monitored) -> bool:
        """Whether what is monitored is only what the package's configuration file has, and cannot be meant here."""
        ours = {self.host, *(node for node, _port in self.nodes)}
        return present.host in LOOPBACK and not LOOPBACK & ours and not present.knows_others


def declared_primaries(declarations: Sequence[Mapping[str, Any]], sentinels: int) -> dict[str, Primary]:
    """All primaries that shall be monitored, by their names; raises SentinelError for what can never be right."""
    primaries: dict[str, Primary] = {}
    places: dict[tuple[str, int], str] = {}
    for declaration in declarations:
        primary = _declared(declaration, sentinels)
        if primary.name in primaries:
            raise SentinelError(f"primaries has the name {primary.name} twice.")
        place = primary.host.lower(), primary.port
        if place in places:
            raise SentinelError(
                f"primaries has {primary.host}:{primary.port} both as {places[place]} and as {primary.name}: "
                "two names for one server would fail over against each other."
            )
        places[place] = primary.name
        primaries[primary.name] = primary
    return primaries


def _declared(declaration: Mapping[str, Any], sentinels: int) -> Primary:
    name = declaration["name"]
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
        raise SentinelError(f"primaries has the name {name!r}: only letters, digits and '. _ -' are allowed.")
    for problem in (*_place_problems(declaration), *_option_problems(declaration, sentinels)):
        raise SentinelError(f"The primary {name} in primaries has {problem}.")
    options = {
        "down-after-milliseconds": str(declaration["down_after"]),
        "failover-timeout": str(declaration["failover_timeout"]),
        "parallel-syncs": str(declaration["parallel_syncs"]),
        "auth-user": declaration["auth_user"],
        "auth-pass": declaration["auth_password"],
    }
    nodes = tuple(_nodes(declaration)) or ((declaration["host"], declaration["port"]),)
    return Primary(name, declaration["host"], declaration["port"], declaration["quorum"], options, nodes)


def _place_problems(declaration: Mapping[str, Any]) -> Iterator[str]:
    for host, port in [(declaration["host"], declaration["port"]), *_nodes(declaration)]:
        if not re.fullmatch(r"[A-Za-z0-9._:-]+", host):
            yield f"the host {host!r}: it must be a name or an address"
        if not 1 <= port <= 65535:
            yield f"the port {port}: it must be between 1 and 65535"


def _option_problems(declaration: Mapping[str, Any], sentinels: int) -> Iterator[str]:
    if declaration["quorum"] < 1:
        yield f"the quorum {declaration['quorum']}: at least one sentinel must agree"
    if sentinels and declaration["quorum"] > sentinels:
        yield f"the quorum {declaration['quorum']}, which the {sentinels} in sentinels can never reach"
    if declaration["down_after"] < SHORTEST_DOWN_AFTER:
        yield (
            f"down_after {declaration['down_after']}: below {SHORTEST_DOWN_AFTER} milliseconds sentinels take a new "
            "primary for dead before they are connected with it, and every such failover loses results"
        )
    for option in ("failover_timeout", "parallel_syncs"):
        if declaration[option] < 1:
            yield f"{option} {declaration[option]}: it must be at least 1"
    user, password = declaration["auth_user"], declaration["auth_password"]
    if not re.fullmatch(r"[A-Za-z0-9_.@:-]*", user):
        yield f"the auth_user {user!r}: only letters, digits and '_ . @ : -' are allowed"
    if user and not password:
        yield "an auth_user and no auth_password"
    if unquoted_problem(password):
        yield (
            f"an auth_password that {unquoted_problem(password)}: Sentinel writes this password into its own file "
            "without quotes and could not read it again"
        )


def _nodes(declaration: Mapping[str, Any]) -> list[tuple[str, int]]:
    return [(node["host"], node["port"]) for node in declaration["nodes"]]


# --- The managed file ------------------------------------------------------------------------------------------------


def checked(settings: Mapping[str, Any], option: str) -> dict[str, list[str]]:
    """The settings as directive -> words; raises SentinelError or SettingError for what can never be right."""
    names = {name: " ".join(str(name).lower().split()) for name in settings}
    plain = {name: settings[name] for name, words in names.items() if not words.startswith("sentinel")}
    result = _redis_settings.checked(plain, option)
    for given, name in names.items():
        if given in plain:
            continue
        directive = name.removeprefix("sentinel").strip()
        if directive in BY_NAME:
            raise SentinelError(f"{option} must not have the directive {name}: it belongs into primaries.")
        if directive not in PROCESS_WIDE:
            raise SentinelError(
                f"{option} has the directive {name}: of those that begin with sentinel only "
                f"{', '.join(sorted(PROCESS_WIDE))} can stand there."
            )
        if name in result:
            raise SentinelError(f"{option} has the directive {name} twice.")
        result[name] = _redis_settings.words_of(name, settings[given], option)
        problem = unquoted_problem(" ".join(result[name])) if name in UNQUOTED else ""
        if problem:
            raise SentinelError(
                f"{option}.{name} {problem}: Sentinel writes this {UNQUOTED[name]} into its own file without quotes "
                "and could not read it again."
            )
    return result


def rendered(settings: Mapping[str, list[str]]) -> str:
    """The managed file."""
    return _redis_settings.rendered(settings, HEADER)


def same(name: str, wanted: list[str], live: str) -> bool:
    """Whether the running Sentinel already does what is wanted."""
    text = _redis_settings.argument(wanted, name)
    if name.startswith("sentinel ") and text.lower() not in ("yes", "no"):
        return text == live
    return _redis_settings.same(name, wanted, live)


def shown(name: str, value: str) -> str:
    """A value as it may be printed."""
    return _redis_settings.MASK if name in SECRETS and value else value


def masked_file(text: str) -> str:
    """A configuration file as it may be printed, whoever wrote it, with what Sentinel could not read in comments."""
    text = _redis_settings.masked_file(text)
    return re.sub(
        r"(?im)^((?:#[ ?]*)?sentinel\s+(?:auth-pass\s+\S+|sentinel-pass)\s+)\S.*$",
        rf"\g<1>{_redis_settings.MASK}",
        text,
    )


# --- The state file --------------------------------------------------------------------------------------------------


def line(name: str, option: str, value: str) -> str:
    """One line of an option as Sentinel writes it."""
    return f"sentinel {option} {name} {value}"


def monitor_line(primary: Primary, host: str, port: int | str) -> str:
    return line(primary.name, "monitor", f"{host} {port} {primary.quorum}")


@dataclass
class Monitored:
    """One primary as a state file has it."""

    host: str = ""
    port: str = ""
    quorum: str = ""
    options: dict[str, str] = field(default_factory=dict)
    knows_others: bool = False

    def is_at(self, host: str, port: int) -> bool:
        """Whether it is this place, by name or by address."""
        if self.port != str(port):
            return False
        if self.host.lower() == host.lower():
            return True
        try:
            found = socket.getaddrinfo(host, port)
        except OSError:
            return False
        return self.host in {entry[4][0] for entry in found}

    def differing(self, primary: Primary) -> list[str]:
        """The options in which it is not as wanted."""
        options = {"quorum": self.quorum, **OPTION_DEFAULTS, **self.options}
        wanted = {"quorum": str(primary.quorum), **primary.options}
        return [option for option, value in wanted.items() if options[option] != value]


class State:
    """A Sentinel's own file."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._lines = text.removesuffix("\n").split("\n") if text else []
        self._words = [words(entry) for entry in self._lines]

    @classmethod
    def read(cls, path: str) -> State:
        try:
            with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as stream:
                return cls(stream.read())
        except FileNotFoundError:
            return cls("")
        except OSError as error:
            raise SentinelError(f"state_file {path} cannot be read: {error.strerror}.") from error

    @property
    def has_run(self) -> bool:
        """Whether a Sentinel ever ran with it: it gives itself an identity then."""
        return any(_directive(entry) == "myid" for entry in self._words)

    @property
    def has_users(self) -> bool:
        return any(entry and entry[0].lower() == "user" for entry in self._words)

    @property
    def monitored(self) -> dict[str, Monitored]:
        """What it monitors, by name."""
        found: dict[str, Monitored] = {}
        for entry in self._words:
            directive = _directive(entry)
            if directive == "monitor" and len(entry) == 6:
                one = found.setdefault(entry[2], Monitored())
                one.host, one.port, one.quorum = entry[3:]
            elif directive in OPTION_DEFAULTS and len(entry) > 3:
                one = found.setdefault(entry[2], Monitored())
                one.options[directive] = " ".join(entry[3:])
            elif directive.startswith("known-") and len(entry) > 3:
                found.setdefault(entry[2], Monitored()).knows_others = True
        return {name: one for name, one in found.items() if one.host}

    @property
    def names(self) -> set[str]:
        """All names that any line is about."""
        return {entry[2] for entry in self._words if _directive(entry) in BY_NAME and len(entry) > 2}

    @property
    def settings(self) -> dict[str, str]:
        """What holds for the whole process, directive -> value as CONFIG GET would word it."""
        found: dict[str, str] = {}
        for entry in self._words:
            if not entry or _directive(entry) in BY_NAME:
                continue
            step = 2 if entry[0].lower() == "sentinel" else 1
            name, value = " ".join(entry[:step]).lower(), " ".join(entry[step:])
            repeated = name in found and name in _redis_settings.WORDS_PER_LINE
            found[name] = f"{found[name]} {value}".strip() if repeated else value
        return found

    def without_users(self) -> str:
        """The file without its users, with which Sentinel does not start when it is given an aclfile."""
        pairs = zip(self._lines, self._words, strict=True)
        return _joined(entry for entry, parts in pairs if not parts or parts[0].lower() != "user")

    def with_primaries(self, wanted: Mapping[str, Primary], seeds: Mapping[str, tuple[str, int]]) -> str:
        """The file of a stopped Sentinel that monitors just what is wanted.

        Those in `seeds` begin anew at the given place. Of the others stays what Sentinel knows.
        """
        present = self.monitored
        result: list[str] = []
        kept: dict[str, set[str]] = {name: set() for name in wanted}
        for entry, parts in zip(self._lines, self._words, strict=True):
            directive = _directive(parts)
            if directive not in BY_NAME:
                result.append(entry)
                continue
            name = parts[2] if len(parts) > 2 else ""
            if name not in wanted or name in seeds or directive in kept[name]:
                continue
            primary, value = wanted[name], " ".join(parts[3:])
            if directive == "monitor":
                kept[name].add(directive)
                same = len(parts) == 6 and parts[5] == str(primary.quorum)
                result.append(entry if same else monitor_line(primary, present[name].host, present[name].port))
            elif directive in OPTION_DEFAULTS:
                kept[name].add(directive)
                if value == primary.options[directive]:
                    result.append(entry)
                elif _is_needed(directive, primary.options[directive]):
                    result.append(line(name, directive, primary.options[directive]))
            else:
                result.append(entry)
        for name, primary in wanted.items():
            if name in seeds:
                result += [monitor_line(primary, *seeds[name]), *primary.lines]
            else:
                result += [
                    line(name, option, value)
                    for option, value in primary.options.items()
                    if option not in kept[name] and _is_needed(option, value)
                ]
        return _joined(result)


def words(entry: str) -> list[str]:
    """The words of a line as the server reads them; none of a comment."""
    text = entry.strip()
    if not text or text.startswith("#"):
        return []
    return [_word(found) for found in WORD.finditer(text)]


def is_younger(path: str, start: float) -> bool:
    """Whether a file was changed after a moment."""
    try:
        return os.stat(path).st_mtime > start
    except FileNotFoundError:
        return False


def _word(found: re.Match[str]) -> str:
    quoted, single, bare = found.groups()
    if bare is not None:
        return bare
    if single is not None:
        return single.replace("\\'", "'")
    raw = quoted.encode(errors="surrogateescape")

    def unescaped(escape: re.Match[bytes]) -> bytes:
        code = escape[1]
        return bytes([int(code[1:], 16)]) if len(code) == 3 else CONTROL.get(code, code)

    return ESCAPED.sub(unescaped, raw).decode(errors="surrogateescape")


def _directive(parts: Sequence[str]) -> str:
    return parts[1].lower() if len(parts) > 1 and parts[0].lower() == "sentinel" else ""


def _is_needed(option: str, value: str) -> bool:
    return value != OPTION_DEFAULTS[option]


def _joined(lines: Iterable[str]) -> str:
    return "".join(f"{entry}\n" for entry in lines)
