# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""ACL users: what each profile may do, and when two sets of rules mean the same."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

DEFAULT_USER = "default"

# "default off" alone would also take its rights away, and the server replays the append-only file as this user: each
# MULTI/EXEC in it would be dropped at the next start (redis#14541, valkey#3983).
DEFAULT_USER_TOKENS = ("off", "~*", "&*", "+@all")

# What a user is declared with, for the module and for the filter that judges users on the controller.
USER_OPTIONS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "password": {"type": "str", "no_log": True},
    "previous_password": {"type": "str", "no_log": True},
    "password_hashes": {"type": "list", "elements": "str", "default": [], "no_log": True},
    "profile": {
        "type": "str",
        "choices": [
            "admin",
            "results",
            "broker",
            "replica",
            "sentinel",
            "exporter",
            "sentinel_client",
            "sentinel_peer",
            "sentinel_exporter",
            "custom",
        ],
        "default": "custom",
    },
    "key_prefix": {"type": "str", "default": "", "no_log": False},
    "database": {"type": "int", "default": 0},
    "fanout_channels": {"type": "list", "elements": "str", "default": []},
    "rules": {"type": "list", "elements": "str", "default": []},
    "enabled": {"type": "bool", "default": True},
}

RESULT_KEYS = ("celery-task-meta-*", "celery-taskset-meta-*")
RESULT_COMMANDS = [
    "del",
    "evalsha",
    "exec",
    "exists",
    "expire",
    "get",
    "incrby",
    "llen",
    "lrange",
    "mget",
    "multi",
    "ping",
    "publish",
    "rpush",
    "sadd",
    "script|load",
    "select",
    "set",
    "setex",
    "sismember",
    "subscribe",
    "unsubscribe",
    "wait",
    "zadd",
    "zcount",
    "zrange",
    "client|setname",
]

BROKER_COMMANDS = [
    "brpop",
    "del",
    "evalsha",
    "exec",
    "exists",
    "get",
    "hdel",
    "hget",
    "hset",
    "llen",
    "lpush",
    "multi",
    "pexpire",
    "ping",
    "psubscribe",
    "publish",
    "punsubscribe",
    "rpop",
    "rpush",
    "sadd",
    "script|exists",
    "script|load",
    "select",
    "set",
    "smembers",
    "srem",
    "subscribe",
    "time",
    "unsubscribe",
    "unwatch",
    "watch",
    "zadd",
    "zrange",
    "zrangebyscore",
    "zrem",
    "client|setname",
]

# Kombu only ever subscribes by pattern, and the server wants such a pattern listed letter by letter.
BROKER_CHANNELS = ("celery.pidbox", "celeryev/*", "celeryev/worker.*")

# Accounts of the machinery. They see no keys, and each list is what was asked for in about thirty failovers.
FIXED_RULES: dict[str, tuple[str, ...]] = {
    "admin": ("~*", "&*", "+@all"),
    "replica": ("resetchannels", "-@all", "+psync", "+replconf", "+ping"),
    "sentinel": (
        "allchannels",
        "-@all",
        "+multi",
        "+slaveof",
        "+ping",
        "+exec",
        "+subscribe",
        "+config|rewrite",
        "+role",
        "+publish",
        "+info",
        "+client|setname",
        "+client|kill",
        "+script|kill",
    ),
    "exporter": (
        "resetchannels",
        "-@all",
        "+ping",
        "+info",
        "+config|get",
        "+client|setname",
        "+slowlog|len",
        "+slowlog|get",
        "+latency|latest",
        "+latency|histogram",
    ),
    "sentinel_client": ("resetchannels", "-@all", "+sentinel|masters"),
    "sentinel_peer": (
        "resetchannels",
        "&__sentinel__:hello",
        "-@all",
        "+ping",
        "+publish",
        "+sentinel|is-master-down-by-addr",
        "+client|setname",
    ),
    "sentinel_exporter": (
        "resetchannels",
        "-@all",
        "+ping",
        "+info",
        "+sentinel|masters",
        "+sentinel|sentinels",
        "+sentinel|slaves",
        "+sentinel|replicas",
        "+sentinel|ckquorum",
        "+client|setname",
    ),
}

# Whoever logs in with redis-py introduces the library, and each refusal would stand in the server's log of refusals.
LIBRARY_PROFILES = ("results", "broker", "sentinel_client")

HASH = re.compile(r"[0-9a-f]{64}")
CUSTOM_RULE = re.compile(
    r"~\S+|%(?:R|W|RW|WR)~\S+|&\S+|[+-](?:@[a-z0-9_-]+|[a-z0-9._|-]+)|\([^()]+\)|"
    r"allkeys|resetkeys|allchannels|resetchannels|allcommands|nocommands|sanitize-payload|skip-sanitize-payload",
    re.IGNORECASE,
)


class AclError(ValueError):
    """One sentence for the user, without any secret."""


@dataclass(frozen=True)
class Catalogue:
    """The commands and categories that one server knows."""

    categories: Mapping[str, frozenset[str]]
    commands: frozenset[str]

    def family(self, command: str) -> frozenset[str]:
        """A command together with its subcommands."""
        return frozenset(name for name in self.commands if name == command or name.startswith(f"{command}|"))


@dataclass
class Selector:
    """What one rule set allows."""

    keys: dict[str, frozenset[str]] = field(default_factory=dict)
    channels: frozenset[str] = frozenset()
    commands: list[str] = field(default_factory=lambda: ["-@all"])

    def apply(self, token: str) -> None:
        lowered = token.lower()
        key = re.fullmatch(r"%([RW]+)~(.*)", token, re.IGNORECASE)
        if lowered in ("resetkeys", "allkeys"):
            self.keys = {"*": frozenset("RW")} if lowered == "allkeys" else {}
        elif lowered in ("resetchannels", "allchannels"):
            self.channels = frozenset("*") if lowered == "allchannels" else frozenset()
        elif token.startswith("~"):
            self.keys = {**self.keys, token[1:]: frozenset("RW")}
        elif key:
            self.keys = {**self.keys, key[2]: self.keys.get(key[2], frozenset()) | frozenset(key[1].upper())}
        elif token.startswith("&"):
            self.channels |= {token[1:]}
        elif lowered in ("allcommands", "+@all"):
            self.commands = ["+@all"]
        elif lowered in ("nocommands", "-@all"):
            self.commands = ["-@all"]
        else:
            self.commands.append(lowered)

    def allowed(self, catalogue: Catalogue) -> tuple[str, frozenset[str]]:
        """Whether unknown commands are allowed, and which known ones are."""
        base, *rules = self.commands
        allowed = set(catalogue.commands) if base == "+@all" else set()
        for rule in rules:
            sign, name = rule[0], rule[1:]
            names = catalogue.categories.get(name[1:], frozenset()) if name[0] == "@" else catalogue.family(name)
            if not names and sign == "+" and name.split("|")[0] not in allowed:
                # "select|0" allows one first argument of a command that has no subcommands.
                allowed.add(name)
            allowed -= {entry for entry in allowed - catalogue.commands if entry.split("|")[0] in names}
            allowed = allowed | names if sign == "+" else allowed - names
        return base, frozenset(allowed)

    def unknown(self, catalogue: Catalogue) -> Iterator[str]:
        for rule in self.commands[1:]:
            name = rule[1:]
            if name.startswith("@"):
                known = name[1:] in catalogue.categories
            else:
                command = name.split("|")[0]
                has_subcommands = len(catalogue.family(command)) > 1
                known = name in catalogue.commands or (
                    not has_subcommands and command in catalogue.commands and rule[0] == "+"
                )
            if not known:
                yield rule

    def meaning(self, catalogue: Catalogue) -> tuple[Any, ...]:
        return (frozenset(self.keys.items()), self.channels, self.allowed(catalogue))


@dataclass
class User:
    """One ACL user, as declared or as the server lists it."""

    name: str
    tokens: tuple[str, ...]
    enabled: bool = False
    needs_no_password: bool = False
    skips_payload_checks: bool = False
    hashes: frozenset[str] = frozenset()
    selectors: list[Selector] = field(default_factory=lambda: [Selector()])

    @classmethod
    def from_tokens(cls, name: str, tokens: Sequence[str]) -> User:
        user = cls(name, tuple(tokens))
        for token in tokens:
            user._apply(token)
        return user

    @property
    def line(self) -> str:
        return " ".join(("user", self.name, *self.tokens))

    @property
    def shown(self) -> str:
        return masked(self.line)

    def unknown_rules(self, catalogue: Catalogue) -> list[str]:
        return [rule for selector in self.selectors for rule in selector.unknown(catalogue)]

    def meaning(self, catalogue: Catalogue) -> tuple[Any, ...]:
        root, *others = (selector.meaning(catalogue) for selector in self.selectors)
        return (self.enabled, self.needs_no_password, self.skips_payload_checks, self.hashes, root, frozenset(others))

    def takes_access_from(self, before: User) -> bool:
        """Whether someone who could log in before could not do so the same way now."""
        if not before.enabled:
            return False
        return (
            not self.enabled
            or (before.needs_no_password and not self.needs_no_password)
            or bool(before.hashes - self.hashes)
        )

    def _apply(self, token: str) -> None:
        lowered = token.lower()
        if lowered in ("on", "off"):
            self.enabled = lowered == "on"
        elif lowered == "nopass":
            self.needs_no_password, self.hashes = True, frozenset()
        elif lowered == "resetpass":
            self.needs_no_password, self.hashes = False, frozenset()
        elif token.startswith("#"):
            self.hashes |= {token[1:]}
        elif lowered in ("sanitize-payload", "skip-sanitize-payload"):
            self.skips_payload_checks = lowered.startswith("skip")
        elif token.startswith("("):
            selector = Selector()
            for inner in token.strip("()").split():
                selector.apply(inner)
            self.selectors.append(selector)
        else:
            self.selectors[0].apply(token)


def result_prefix(key_prefix: str) -> str:
    """The prefix as Celery writes it before the keys of results."""
    return f"{key_prefix}_" if key_prefix and key_prefix[-1] not in ":_-." else key_prefix


def declared_users(declarations: Sequence[Mapping[str, Any]], knows_client_setinfo: bool) -> dict[str, User]:
    """All users that the server shall have, the default user included."""
    users = {DEFAULT_USER: User.from_tokens(DEFAULT_USER, DEFAULT_USER_TOKENS)}
    for declaration in declarations:
        name = declaration["name"]
        if not re.fullmatch(r"[A-Za-z0-9_.@:-]+", name):
            raise AclError(f"users has the name {name!r}: only letters, digits and '_ . @ : -' are allowed.")
        if name == DEFAULT_USER:
            raise AclError(
                "users must not have the user default: the module always switches it off, "
                "in the one way that loses no data."
            )
        if name in users:
            raise AclError(f"users has the user {name} twice.")
        users[name] = _declared_user(declaration, knows_client_setinfo)
    _refuse_shared_keys(declarations, users)
    return users


def rendered(users: Mapping[str, User]) -> str:
    """The file that the server reads its users from; it allows no comments."""
    order = sorted(users, key=lambda name: (name != DEFAULT_USER, name))
    return "".join(f"{users[name].line}\n" for name in order)


def parsed_line(line: str) -> User:
    """One line of ACL LIST."""
    _keyword, name, *tokens = re.findall(r"\([^)]*\)|\S+", line)
    return User.from_tokens(name, tokens)


def masked(text: str) -> str:
    """Rules as they may be printed: passwords not at all, hashes by their first characters."""
    text = re.sub(r"(?m)(^|\s)([><])\S+", r"\1\2********", text)
    return re.sub(r"#([0-9a-fA-F]{8})[0-9a-fA-F]*", r"#\1…", text)


def _declared_user(declaration: Mapping[str, Any], knows_client_setinfo: bool) -> User:
    name, profile = declaration["name"], declaration["profile"]
    enabled = declaration["enabled"]
    hashes = _hashes(declaration)
    if enabled and not hashes:
        raise AclError(
            f"The user {name} in users has neither password nor password_hashes, and one of them is required."
        )
    rules = _profile_rules(declaration, knows_client_setinfo)
    if profile != "custom" and declaration["rules"]:
        raise AclError(f"The user {name} in users has rules, which only the profile custom may have.")
    return User.from_tokens(name, ["on" if enabled else "off", *(f"#{digest}" for digest in hashes), *rules])


def _hashes(declaration: Mapping[str, Any]) -> list[str]:
    hashes = {
        hashlib.sha256(declaration[key].encode()).hexdigest()
        for key in ("password", "previous_password")
        if declaration[key]
    }
    for digest in declaration["password_hashes"]:
        if not HASH.fullmatch(digest):
            raise AclError(
                f"The user {declaration['name']} in users has an entry in password_hashes "
                "that is not 64 lower-case hex digits."
            )
        hashes.add(digest)
    return sorted(hashes)


def _profile_rules(declaration: Mapping[str, Any], knows_client_setinfo: bool) -> list[str]:
    name, profile, prefix = declaration["name"], declaration["profile"], declaration["key_prefix"]
    if not re.fullmatch(r"[A-Za-z0-9_.:-]*", prefix):
        raise AclError(
            f"The user {name} in users has the key_prefix {prefix!r}: only letters, digits and '_ . : -' are allowed."
        )
    if prefix and profile not in ("results", "broker"):
        raise AclError(f"The user {name} in users has a key_prefix, which only the profiles results and broker use.")
    library = ["client|setinfo"] if knows_client_setinfo and profile in LIBRARY_PROFILES else []
    if profile in FIXED_RULES:
        return [*FIXED_RULES[profile], *(f"+{command}" for command in library)]
    if profile == "custom":
        return ["resetchannels", "-@all", *_custom_rules(name, declaration["rules"])]
    if profile == "results":
        patterns, commands = [result_prefix(prefix) + key for key in RESULT_KEYS], RESULT_COMMANDS
        channels = patterns
    else:
        if not prefix:
            raise AclError(
                f"The user {name} in users has the profile broker without a key_prefix: queues are keys with names of "
                "your own, so that only a prefix keeps this user away from all other keys; use the same text as "
                "global_keyprefix in broker_transport_options."
            )
        patterns, commands = [f"{prefix}*"], BROKER_COMMANDS
        channels = [f"{prefix}/{declaration['database']}.{channel}" for channel in _fanout_channels(declaration)]
    return [
        *(f"~{pattern}" for pattern in patterns),
        "resetchannels",
        *(f"&{channel}" for channel in channels),
        "-@all",
        *(f"+{command}" for command in sorted([*commands, *library])),
    ]


def _fanout_channels(declaration: Mapping[str, Any]) -> Iterator[str]:
    yield from BROKER_CHANNELS
    for channel in declaration["fanout_channels"]:
        if not re.fullmatch(r"[A-Za-z0-9_.@:/*-]+", channel):
            raise AclError(
                f"The user {declaration['name']} in users has the entry {channel!r} in fanout_channels: "
                "only letters, digits and '_ . @ : / * -' are allowed."
            )
        yield channel


def _custom_rules(name: str, rules: Sequence[str]) -> list[str]:
    if not rules:
        raise AclError(f"The user {name} in users has the profile custom and therefore needs rules.")
    for number, rule in enumerate(rules, start=1):
        if not CUSTOM_RULE.fullmatch(rule):
            raise AclError(
                f"Rule {number} of the user {name} in users is none of ~key, %R~key, %W~key, &channel, +command, "
                "-command, +@category, -@category and (selector); passwords belong into password."
            )
    return list(rules)


def _refuse_shared_keys(declarations: Sequence[Mapping[str, Any]], users: Mapping[str, User]) -> None:
    seen: list[tuple[str, str]] = []
    for declaration in declarations:
        if declaration["profile"] not in ("results", "broker"):
            continue
        name = declaration["name"]
        for pattern in users[name].selectors[0].keys:
            literal = pattern.rstrip("*")
            for other, theirs in seen:
                if other != name and (literal.startswith(theirs) or theirs.startswith(literal)):
                    raise AclError(
                        f"The users {other} and {name} in users could read each other's keys "
                        f"({theirs}* and {literal}*): give each a key_prefix that the other's does not begin with."
                    )
            seen.append((name, literal))
