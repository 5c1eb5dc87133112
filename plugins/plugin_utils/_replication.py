# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge on the controller, before anything changes, whether a replication set and its sentinels can survive at all."""

from __future__ import annotations

import collections
import ipaddress
import re
import typing as t

from ..module_utils._secrets import secret_problems

# A replica reports once a second: a shorter lag than this would stop writes whenever one report is late.
LEAST_LAG_SECONDS = 2
# A primary that is cut off goes on accepting writes for about this long and a half more; those are lost.
USUAL_LAG_SECONDS = 5
LEAST_SENTINELS = 3
# Sentinel pings once a second: with less, the fresh link to a new primary counts as down, which is failed over again.
LEAST_DOWN_AFTER = 1000
# A promotion is seen in INFO, which Sentinel asks for every second; and it must outlive the detection itself.
LEAST_FAILOVER_TIMEOUT = 5000
FAILOVER_TIMEOUT_IN_DOWN_AFTERS = 3
# The next attempt after one that failed comes after twice this time.
USUAL_FAILOVER_TIMEOUT = 60_000

PRIMARY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# Sentinel writes names and passwords into its own file without quotes, and would not start from it again.
UNQUOTABLE = re.compile(r"[\s\"']")
# Valkey 8.1 puts quotes around the password of a replica, but does not mark those that are in it.
UNREADABLE_FOR_VALKEY = re.compile(r"[\"\\]")

Mapping = t.Mapping[str, t.Any]


def problems_of_set(given: Mapping) -> list[str]:
    """Why this replication set cannot work; one sentence for each problem."""
    members: t.Sequence[Mapping] = given.get("members") or []
    group = given.get("group") or ""
    if not members:
        return [f"redis_replication_group is '{group}', a group without a host: name the group of the set's members."]
    names = [member["name"] for member in members]
    problems = []
    host = given.get("host") or names[0]
    if host not in names:
        problems.append(
            f"redis_replication_group is '{group}' on {host}, which is not in that group: its members are "
            f"{_listed(names)}."
        )
    primary = given.get("primary") or names[0]
    if primary not in names:
        problems.append(
            f"redis_replication_primary is '{primary}', which is not a member of the group '{group}': "
            f"use one of {_listed(names)}."
        )
    problems += _address_problems(members, "redis", bool(given.get("hosts_file", True)))
    problems += _mixed(members, "provider", "redis_provider", f"the group '{group}'")
    problems += _mixed_versions(members, group)
    problems += _write_problems(given, len(members))
    passwords = dict(given.get("passwords") or {})
    name = "redis_replication_password"
    if any(member.get("provider") == "valkey" for member in members) and UNREADABLE_FOR_VALKEY.search(
        str(passwords.get(name, ""))
    ):
        problems.append(
            f'{name} contains a " or a \\, with which Valkey would not start again from the file that it writes itself '
            "after a failover: use other characters."
        )
    return problems + secret_problems(passwords)


def warnings_of_set(given: Mapping) -> list[str]:
    """What works but costs more than the user may know."""
    warnings = []
    lag = _integer(given.get("min_replicas_max_lag", LEAST_LAG_SECONDS))
    if lag is not None and lag > USUAL_LAG_SECONDS:
        warnings.append(
            f"redis_min_replicas_max_lag is {lag}: a primary that is cut off from its replicas acknowledges results "
            f"for that many seconds, and they are lost. At most {USUAL_LAG_SECONDS} is usual."
        )
    if given.get("persistence") == "rdb" and given.get("profile") != "durable":
        warnings.append(
            "redis_persistence is rdb: a primary that crashes and is started again by systemd has lost all results "
            "since its last snapshot, and its replicas follow it. aof keeps them."
        )
    return warnings


def problems_of_sentinels(given: Mapping) -> list[str]:
    """Why these sentinels cannot agree on a failover; one sentence for each problem."""
    sentinels: t.Sequence[Mapping] = given.get("sentinels") or []
    primaries: t.Sequence[Mapping] = given.get("primaries") or []
    problems = _count_problems(len(sentinels), given.get("group") or "sentinel")
    problems += _address_problems(sentinels, "sentinel", bool(given.get("hosts_file", True)))
    problems += _mixed(sentinels, "provider", "sentinel_provider", "the sentinels")
    if not primaries:
        problems.append("sentinel_primaries is empty: name at least one primary and the group of its replication set.")
    for name, times in collections.Counter(str(primary.get("name", "")) for primary in primaries).items():
        if times > 1:
            problems.append(f"sentinel_primaries has {times} primaries with the name '{name}': each needs its own.")
    for group, times in collections.Counter(primary.get("group") for primary in primaries).items():
        if group and times > 1:
            problems.append(f"sentinel_primaries watches the group '{group}' {times} times: one name for each set.")
    for primary in primaries:
        problems += _primary_problems(primary, len(sentinels), bool(given.get("hosts_file", True)))
    passwords = dict(given.get("passwords") or {})
    problems += secret_problems(passwords)
    problems += [
        _unquotable(name) for name in given.get("unquoted") or () if UNQUOTABLE.search(str(passwords.get(name, "")))
    ]
    return list(dict.fromkeys(problems))


def warnings_of_sentinels(given: Mapping) -> list[str]:
    """What works but costs more than the user may know."""
    return [
        f"failover_timeout of the primary '{primary.get('name')}' is {timeout} ms (sentinel_failover_timeout): after "
        f"an attempt that failed, the next one comes after {2 * timeout // 1000} s. 10000 to 30000 is usual."
        for primary in given.get("primaries") or []
        if (timeout := _integer(primary.get("failover_timeout", 0))) and timeout > USUAL_FAILOVER_TIMEOUT
    ]


def _write_problems(given: Mapping, members: int) -> list[str]:
    """Whether the primary accepts writes when all is well, and when one member is lost."""
    problems = []
    replicas = members - 1
    most = max(replicas - 1, 0)
    least = 1 if given.get("profile") == "durable" else 0
    wanted = _integer(given.get("min_replicas_to_write", 0))
    if wanted is None or wanted < 0:
        problems.append("redis_min_replicas_to_write must be a whole number, 0 or more.")
    elif least > most:
        problems.append(
            f"redis_profile is durable in a set of {_counted(members, 'member')}: it needs at least 3, so that one "
            "replica confirms each result while another member is lost."
        )
    elif wanted > replicas:
        problems.append(
            f"redis_min_replicas_to_write is {wanted}, but a set of {_counted(members, 'member')} has "
            f"{_counted(replicas, 'replica')}: the primary would refuse every result. {_allowed(least, most)}"
        )
    elif wanted > most:
        problems.append(
            f"redis_min_replicas_to_write is {wanted}, as many as the set of {_counted(members, 'member')} has "
            f"replicas: the loss of any member would stop all writes. {_allowed(least, most)}"
        )
    elif wanted < least:
        problems.append(
            "redis_min_replicas_to_write is 0 with redis_profile durable: no replica would have to hold a result. "
            + _allowed(least, most)
        )
    lag = _integer(given.get("min_replicas_max_lag", LEAST_LAG_SECONDS))
    if lag is None or (wanted and lag < LEAST_LAG_SECONDS):
        problems.append(
            f"redis_min_replicas_max_lag is {given.get('min_replicas_max_lag')}: it must be at least "
            f"{LEAST_LAG_SECONDS} seconds, because replicas report once a second and 0 switches the limit off."
        )
    persistence = given.get("persistence", "aof")
    if given.get("profile") == "durable" and persistence not in ("aof", "aof_and_rdb"):
        problems.append(
            f"redis_persistence is {persistence} with redis_profile durable: a server that crashes would come back "
            "without acknowledged results. Use aof or aof_and_rdb."
        )
    elif persistence == "none":
        problems.append(
            "redis_persistence is none in a replication set: a primary that crashes would come back empty, and its "
            "replicas would drop all results to follow it. Use aof or aof_and_rdb."
        )
    return problems


def _count_problems(sentinels: int, group: str) -> list[str]:
    if sentinels == 0:
        return [f"sentinel_group is '{group}', a group without a host: name the group of the sentinels."]
    if sentinels < LEAST_SENTINELS or sentinels % 2 == 0:
        return [
            f"The group '{group}' (sentinel_group) has {_counted(sentinels, 'sentinel')}: use an odd number, "
            f"{LEAST_SENTINELS} or more. A majority must remain when one is lost, and one more to an even number "
            "adds nothing to it."
        ]
    return []


def _primary_problems(primary: Mapping, sentinels: int, hosts_file: bool) -> list[str]:
    problems = []
    name = str(primary.get("name", ""))
    where = f"sentinel_primaries[{name}]"
    if not PRIMARY_NAME.fullmatch(name):
        problems.append(
            f"sentinel_primaries has the name '{name}': allowed are letters, digits, '.', '_' and '-', beginning with "
            "a letter or a digit."
        )
    members = primary.get("members") or []
    if not members:
        problems.append(f"{where}.group is '{primary.get('group', '')}', a group without a host: name that of the set.")
    problems += _address_problems(members, "redis", hosts_file, certificates=False)
    majority = sentinels // 2 + 1
    quorum = _integer(primary.get("quorum", majority))
    if sentinels and quorum != majority:
        problems.append(
            f"{where}.quorum is {primary.get('quorum')}: with {_counted(sentinels, 'sentinel')} it must be their "
            f"majority, {majority}. Fewer would act on what a minority sees, more would not survive losing one."
        )
    down_after = _integer(primary.get("down_after", LEAST_DOWN_AFTER))
    if down_after is None or down_after < LEAST_DOWN_AFTER:
        problems.append(
            f"down_after of the primary '{name}' is {primary.get('down_after')} ms (sentinel_down_after, or down_after "
            f"in sentinel_primaries): it must be at least {LEAST_DOWN_AFTER}. With less, a new primary counts as down "
            "before its sentinels have reached it, and each of the failovers that follow loses results."
        )
        down_after = LEAST_DOWN_AFTER
    least = max(LEAST_FAILOVER_TIMEOUT, FAILOVER_TIMEOUT_IN_DOWN_AFTERS * down_after)
    failover_timeout = _integer(primary.get("failover_timeout", least))
    if failover_timeout is None or failover_timeout < least:
        problems.append(
            f"failover_timeout of the primary '{name}' is {primary.get('failover_timeout')} ms "
            f"(sentinel_failover_timeout, or failover_timeout in sentinel_primaries): it must be at least {least}, "
            f"{FAILOVER_TIMEOUT_IN_DOWN_AFTERS} times down_after and not below {LEAST_FAILOVER_TIMEOUT}, or a failover "
            "is given up before it is done."
        )
    parallel_syncs = _integer(primary.get("parallel_syncs", 1))
    if parallel_syncs is None or parallel_syncs < 1:
        problems.append(
            f"parallel_syncs of the primary '{name}' is {primary.get('parallel_syncs')} (sentinel_parallel_syncs, or "
            "parallel_syncs in sentinel_primaries): it must be 1 or more."
        )
    if UNQUOTABLE.search(str(primary.get("auth_user") or "")):
        problems.append(_unquotable(f"{where}.auth_user"))
    problems += secret_problems({f"{where}.auth_password": primary.get("auth_password", "")})
    if UNQUOTABLE.search(str(primary.get("auth_password") or "")):
        problems.append(_unquotable(f"{where}.auth_password"))
    return problems


def _address_problems(
    hosts: t.Sequence[Mapping], role: str, hosts_file: bool, *, certificates: bool = True
) -> list[str]:
    """Whether every host can be found by the others under the name it announces, and proves that name."""
    problems = []
    names: dict[str, str] = {}
    addresses: dict[str, str] = {}
    for host in hosts:
        name = host["name"]
        hostname = str(host.get("hostname") or "")
        address = str(host.get("address") or "")
        if not hostname:
            problems.append(f"{role}_hostname is empty on {name}: it is the name that the others connect to.")
            continue
        if names.setdefault(hostname, name) != name:
            problems.append(
                f"{role}_hostname is '{hostname}' on both {names[hostname]} and {name}: each needs its own name."
            )
        if _is_local(hostname) or _is_local(address):
            problems.append(
                f"{role}_hostname of {name} is '{hostname}' with the address '{address}', which on every other host "
                "means that host itself: use a name and an address that others can reach."
            )
        elif address and addresses.setdefault(address, name) != name:
            problems.append(
                f"{addresses[address]} and {name} have the same address {address}: the names would lead to one host. "
                "Set the address that the others reach."
            )
        if not address:
            remedy = (
                f"{role}_hosts_file is true, but there is no address to write"
                if hosts_file
                else f"{role}_hosts_file is false and no address is known"
            )
            problems.append(
                f"The name '{hostname}' of {name} would not resolve on the other hosts: {remedy}. Let Ansible reach "
                f"{name} and gather its default IPv4 address."
            )
        if host.get("unresolved") and not hosts_file:
            problems.append(
                f"{name} does not resolve {_listed(host['unresolved'])}: set {role}_hosts_file to true, or give these "
                "names to its DNS."
            )
        if certificates and not _covers(host.get("dns_names") or [], hostname):
            covered = _listed(host.get("dns_names") or [])
            problems.append(
                f"{role}_hostname of {name} is '{hostname}', which its certificate does not cover: add it to "
                f"{role}_tls_dns_names (now {covered}), or bring a certificate that has it."
            )
    return problems


def _mixed(hosts: t.Sequence[Mapping], key: str, variable: str, where: str) -> list[str]:
    kinds = {host["name"]: str(host[key]) for host in hosts if host.get(key)}
    if len(set(kinds.values())) < 2:
        return []
    return [f"{variable} differs within {where}: {_by_value(kinds)}. All must be the same."]


def _mixed_versions(members: t.Sequence[Mapping], group: str) -> list[str]:
    versions = {
        member["name"]: ".".join(str(member["version"]).split(".")[:2]) for member in members if member.get("version")
    }
    if len(set(versions.values())) < 2:
        return []
    return [
        f"The members of the group '{group}' run different versions: {_by_value(versions)}. An older server cannot "
        "load what a newer primary sends; bring all to one version, hosts of one Debian release do."
    ]


def _by_value(values: dict[str, str]) -> str:
    return ", ".join(
        f"{value} on {_listed(name for name in values if values[name] == value)}"
        for value in sorted(set(values.values()))
    )


def _covers(certificate_names: t.Iterable[str], hostname: str) -> bool:
    wanted = {hostname.lower(), "*." + hostname.lower().partition(".")[2]}
    return any(str(name).lower() in wanted for name in certificate_names)


def _is_local(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name.lower() in ("localhost", "localhost.localdomain")


def _integer(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return None
    try:
        return int(value)
    except ValueError:
        return None


def _unquotable(variable: str) -> str:
    return (
        f"{variable} contains a space or a quote, which Sentinel writes into its own file as it is and then cannot "
        "read: use any other printable characters."
    )


def _allowed(least: int, most: int) -> str:
    return f"Allowed is {least}." if least == most else f"Allowed are {least} to {most}."


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _listed(names: t.Iterable[str]) -> str:
    return ", ".join(names) or "none"
