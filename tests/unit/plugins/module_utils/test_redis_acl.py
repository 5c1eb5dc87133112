# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is declared, what is refused, and that rules are compared by what the server makes of them."""

from __future__ import annotations

import random
from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _redis, _redis_acl
from ansible_collections.resultops.celery.plugins.modules.redis_acl import _catalogue

EMPTY: dict[str, Any] = {
    "password": "long enough",
    "previous_password": None,
    "password_hashes": [],
    "profile": "results",
    "key_prefix": "",
    "database": 0,
    "fanout_channels": [],
    "rules": [],
    "enabled": True,
}


def declare(*changes: dict[str, Any], modern: bool = False) -> dict[str, _redis_acl.User]:
    return _redis_acl.declared_users([{**EMPTY, **change} for change in changes], modern)


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [("", ""), ("app", "app_"), ("app_", "app_"), ("app:", "app:"), ("app-", "app-"), ("app.", "app."), ("a1", "a1_")],
)
def test_the_prefix_is_the_one_that_celery_writes(prefix: str, expected: str) -> None:
    from celery import Celery

    app = Celery(backend="redis://", set_as_current=False)
    app.conf.result_backend_transport_options = {"global_keyprefix": prefix} if prefix else {}
    assert _redis_acl.result_prefix(prefix) == expected
    assert app.backend.get_key_for_task("x") == f"{expected}celery-task-meta-x".encode()


@pytest.mark.parametrize(
    ("users", "sentence"),
    [
        ([{"name": "default"}], "users must not have the user default"),
        ([{"name": "a"}, {"name": "a"}], "users has the user a twice."),
        ([{"name": "a b"}], "users has the name 'a b'"),
        ([{"name": "a", "password": None}], "The user a in users has neither password nor password_hashes"),
        ([{"name": "a", "password": ""}], "The user a in users has neither password nor password_hashes"),
        ([{"name": "a", "password_hashes": ["12"]}], "an entry in password_hashes that is not 64 lower-case hex"),
        ([{"name": "a", "key_prefix": "x*"}], "The user a in users has the key_prefix 'x*'"),
        ([{"name": "a", "key_prefix": "x y"}], "The user a in users has the key_prefix 'x y'"),
        ([{"name": "a", "profile": "admin", "key_prefix": "x"}], "which only the profiles results and broker use"),
        ([{"name": "a", "profile": "sentinel", "key_prefix": "x"}], "which only the profiles results and broker use"),
        (
            [{"name": "a", "profile": "exporter", "rules": ["+get"]}],
            "has rules, which only the profile custom may have",
        ),
        ([{"name": "a", "profile": "broker"}], "has the profile broker without a key_prefix"),
        ([{"name": "a", "profile": "broker", "key_prefix": "x", "fanout_channels": ["a b"]}], "the entry 'a b' in"),
        ([{"name": "a", "profile": "custom"}], "has the profile custom and therefore needs rules"),
        ([{"name": "a", "rules": ["+get"]}], "has rules, which only the profile custom may have"),
        ([{"name": "a", "profile": "custom", "rules": ["+get", ">pw"]}], "Rule 2 of the user a in users is none of"),
        ([{"name": "a", "profile": "custom", "rules": ["nopass"]}], "Rule 1 of the user a in users is none of"),
        ([{"name": "a", "profile": "custom", "rules": ["#" + 64 * "0"]}], "passwords belong into password"),
        ([{"name": "a", "profile": "custom", "rules": ["~x\nuser b on nopass"]}], "Rule 1 of the user a"),
        ([{"name": "a"}, {"name": "b"}], "The users a and b in users could read each other's keys"),
        ([{"name": "a", "key_prefix": "x"}, {"name": "b", "key_prefix": "x_"}], "could read each other's keys"),
        (
            [{"name": "a", "profile": "broker", "key_prefix": "x"}, {"name": "b", "key_prefix": "xyz"}],
            "could read each other's keys (x* and xyz_celery-task-meta-*)",
        ),
    ],
)
def test_what_is_refused(users: list[dict[str, Any]], sentence: str) -> None:
    with pytest.raises(_redis_acl.AclError) as refused:
        declare(*users)
    assert sentence in str(refused.value)
    assert ">pw" not in str(refused.value)


def test_users_with_keys_of_their_own_live_side_by_side() -> None:
    users = declare(
        {"name": "a"},
        {"name": "b", "key_prefix": "app"},
        {"name": "c", "key_prefix": "app2"},
        {"name": "d", "profile": "broker", "key_prefix": "broker:"},
        {"name": "e", "profile": "broker", "key_prefix": "queue:"},
    )
    assert sorted(users) == ["a", "b", "c", "d", "default", "e"]


def test_the_file_is_the_same_whatever_the_order() -> None:
    one, two = {"name": "a", "key_prefix": "a", "previous_password": "old"}, {"name": "b", "profile": "admin"}
    assert _redis_acl.rendered(declare(one, two)) == _redis_acl.rendered(declare(two, one))
    swapped = {**one, "password": one["previous_password"], "previous_password": EMPTY["password"]}
    assert _redis_acl.rendered(declare(swapped, two)) == _redis_acl.rendered(declare(one, two))


MACHINERY = {
    "admin": "~* &* +@all",
    "replica": "resetchannels -@all +psync +replconf +ping",
    "sentinel": (
        "allchannels -@all +multi +slaveof +ping +exec +subscribe +config|rewrite +role +publish +info "
        "+client|setname +client|kill +script|kill"
    ),
    "exporter": (
        "resetchannels -@all +ping +info +config|get +client|setname +slowlog|len +slowlog|get +latency|latest "
        "+latency|histogram"
    ),
    "sentinel_client": "resetchannels -@all +sentinel|masters",
    "sentinel_peer": (
        "resetchannels &__sentinel__:hello -@all +ping +publish +sentinel|is-master-down-by-addr +client|setname"
    ),
    "sentinel_exporter": (
        "resetchannels -@all +ping +info +sentinel|masters +sentinel|sentinels +sentinel|slaves +sentinel|replicas "
        "+sentinel|ckquorum +client|setname"
    ),
}


def test_accounts_of_the_machinery_have_just_these_rights() -> None:
    assert _redis_acl.FIXED_RULES.keys() == MACHINERY.keys()
    for profile, rules in MACHINERY.items():
        user = declare({"name": "a", "profile": profile})["a"]
        assert user.line.split(" ", 4)[4] == rules
        assert user.selectors[0].keys == ({"*": frozenset("RW")} if profile == "admin" else {})
    modern = declare({"name": "a", "profile": "sentinel_client"}, modern=True)["a"]
    assert modern.line.endswith(" resetchannels -@all +sentinel|masters +client|setinfo")
    for profile in MACHINERY.keys() - {"sentinel_client"}:
        assert "setinfo" not in declare({"name": "a", "profile": profile}, modern=True)["a"].line


def test_client_setinfo_only_for_servers_that_know_it() -> None:
    for profile in ("results", "broker"):
        user = {"name": "a", "profile": profile, "key_prefix": "a:"}
        assert "client|setinfo" not in declare(user)["a"].line
        assert "+client|setinfo" in declare(user, modern=True)["a"].line


@pytest.mark.parametrize(
    ("before", "after", "taken"),
    [
        ("on #a", "on #a #b", False),
        ("on #a #b", "on #b", True),
        ("on nopass", "on #a", True),
        ("on #a", "off #a", True),
        ("off #a", "on #b", False),
        ("on #a +@all", "on #a -@all", False),
    ],
)
def test_when_access_is_taken(before: str, after: str, taken: bool) -> None:
    was, now = (_redis_acl.User.from_tokens("x", tokens.split()) for tokens in (before, after))
    assert now.takes_access_from(was) is taken


COMMANDS = (
    "get mget config config|get config|set client client|kill select @read @write @dangerous @admin @connection @all"
)
OTHERS = "+GET +select|0 +select|1 allcommands nocommands ~a ~b* %R~a %W~a %RW~c %WR~a resetkeys &x &y* resetchannels"
SELECTORS = ["(~q -@all +get)", "(&z +@read -get)", "(allkeys +config|get)"]
POOL = [
    *(sign + command for command in COMMANDS.split() for sign in "+-"),
    *OTHERS.split(),
    *SELECTORS,
    "skip-sanitize-payload",
    "sanitize-payload",
]


def test_the_server_and_the_comparison_agree_on_random_rules(redis_server: Any) -> None:
    """What the server lists after ACL SETUSER must mean what was asked for, however it words it."""
    choices = random.Random(20261123)
    server = _redis.connect(
        {
            "unix_socket": str(redis_server.socket),
            "login_timeout": 10,
            "login_password": None,
            "login_previous_password": None,
            "loading_timeout": 10,
        }
    )
    assert server
    catalogue = _catalogue(server)
    meanings = set()
    for _round in range(1500):
        tokens = ["on", "resetchannels", "-@all", *choices.choices(POOL, k=choices.randint(1, 12))]
        server.call("ACL", "SETUSER", "x", "reset", *tokens)
        listed = next(line for line in server.call("ACL", "LIST") if line.startswith("user x "))
        wanted = _redis_acl.User.from_tokens("x", tokens).meaning(catalogue)
        assert _redis_acl.parsed_line(listed).meaning(catalogue) == wanted, (tokens, listed)
        meanings.add(wanted)
    assert len(meanings) > 500
