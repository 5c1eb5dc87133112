# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which values of a directive are the same, and how they are written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _redis_settings as settings


def words(name: str, value: Any) -> list[str]:
    return settings.checked({name: value}, "settings")[name]


@pytest.mark.parametrize(
    ("name", "wanted", "live"),
    [
        ("maxmemory", "1gb", "1073741824"),
        ("maxmemory", "1G", "1000000000"),
        ("maxmemory", 0, "0"),
        ("appendonly", True, "yes"),
        ("appendonly", "YES", "yes"),
        ("maxmemory-policy", "Volatile-TTL", "volatile-ttl"),
        ("oom-score-adj", "relative", "yes"),
        ("bind", ["127.0.0.1", "-::1"], "127.0.0.1 -::1"),
        ("bind", "127.0.0.1  -::1", "127.0.0.1 -::1"),
        ("bind", [], ""),
        ("save", ["3600 1", "60 10"], "3600 1 60 10"),
        ("save", [""], ""),
        ("save", "", ""),
        ("client-output-buffer-limit", "slave 1mb 1k 6", "normal 0 0 0 slave 1048576 1000 6 pubsub 0 0 0"),
        ("client-output-buffer-limit", ["pubsub 0 0 0", "replica 1 1 1"], "normal 9 9 9 slave 1 1 1 pubsub 0 0 0"),
        ("notify-keyspace-events", "xKE$glshzetd", "AKE"),
        ("notify-keyspace-events", "", ""),
        ("latency-tracking-info-percentiles", [50, 99.0, 99.9], "50 99 99.9"),
        ("unixsocketperm", "0700", "700"),
        ("tls-protocols", ["TLSv1.3", "TLSv1.2"], "TLSv1.2 TLSv1.3"),
        ("dir", "/usr/bin/", str(Path("/usr/bin").resolve())),
        ("maxmemory-clients", "5%", "5%"),
        ("logfile", "", ""),
    ],
)
def test_values_that_mean_the_same(name: str, wanted: Any, live: str) -> None:
    assert settings.same(name, words(name, wanted), live)


@pytest.mark.parametrize(
    ("name", "wanted", "live"),
    [
        ("maxmemory", "1gb", "1000000000"),
        ("dbfilename", "1k", "1000"),
        ("masterauth", "Secret", "secret"),
        ("requirepass", "yes", "YES"),
        ("bind", ["-::1", "127.0.0.1"], "127.0.0.1 -::1"),
        ("save", ["60 10"], "3600 1 60 10"),
        ("save", [""], "3600 1"),
        ("client-output-buffer-limit", "pubsub 0 0 0", "normal 0 0 0 pubsub 0 0 1"),
        ("notify-keyspace-events", "AK", "AKE"),
        ("tls-protocols", "TLSv1.3", "TLSv1.2 TLSv1.3"),
        ("appendonly", False, "yes"),
    ],
)
def test_values_that_differ(name: str, wanted: Any, live: str) -> None:
    assert not settings.same(name, words(name, wanted), live)


def test_the_file_is_sorted_and_quoted() -> None:
    wanted = {
        "save": ["3600 1", "60 10"],
        "bind": [],
        "masterauth": 'a "b" \\ #c',
        "logfile": "",
        "hz": 10,
        "client-output-buffer-limit": ["pubsub 0 0 0", "replica 1 1 1"],
        "tls-protocols": ["TLSv1.2", "TLSv1.3"],
    }
    assert settings.rendered(settings.checked(wanted, "settings")).removeprefix(settings.HEADER) == (
        'bind ""\n'
        "client-output-buffer-limit pubsub 0 0 0\n"
        "client-output-buffer-limit replica 1 1 1\n"
        "hz 10\n"
        'logfile ""\n'
        'masterauth "a \\"b\\" \\\\ #c"\n'
        'save ""\n'
        "save 3600 1\n"
        "save 60 10\n"
        'tls-protocols "TLSv1.2 TLSv1.3"\n'
    )


def test_a_file_is_masked_whoever_wrote_it() -> None:
    text = 'masterauth one\n  RequirePass "two three"\nuser x on >four ~*\ntls-key-file-pass five\nhz 10\n'
    masked = settings.masked_file(text)
    assert [word for word in ("one", "two", "three", "four", "five") if word in masked] == []
    assert masked.splitlines()[-1] == "hz 10"


def test_a_secret_value_is_masked_and_an_empty_one_is_not() -> None:
    assert settings.shown("masterauth", "x") == settings.MASK
    assert (settings.shown("masterauth", ""), settings.shown("hz", "10")) == ("", "10")


def host(root: Path, cgroup: str, **limits: str) -> str:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text("MemTotal:        2097152 kB\nMemFree:  5 kB\n")
    (root / "proc/self/cgroup").write_text(cgroup)
    for path, text in limits.items():
        target = root / "sys/fs/cgroup" / path.replace("__", "/").replace("_dot_", ".")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return str(root)


MEBIBYTE = 1024 * 1024


@pytest.mark.parametrize(
    ("cgroup", "limits", "megabytes"),
    [
        ("0::/\n", {}, 2048),
        ("0::/\n", {"memory_dot_max": "max\n"}, 2048),
        ("0::/\n", {"memory_dot_max": str(512 * MEBIBYTE)}, 512),
        ("0::/a/b\n", {"a__memory_dot_max": str(300 * MEBIBYTE), "a__b__memory_dot_max": str(900 * MEBIBYTE)}, 300),
        ("0::/../../x\n", {"memory_dot_max": str(700 * MEBIBYTE)}, 700),
        ("4:cpu:/\n3:memory:/c\n", {"memory__c__memory_dot_limit_in_bytes": str(256 * MEBIBYTE)}, 256),
        ("3:memory:/c\n0::/\n", {"memory__memory_dot_limit_in_bytes": "9223372036854771712"}, 2048),
    ],
)
def test_the_limit_is_the_smallest_of_host_and_cgroups(
    tmp_path: Path, cgroup: str, limits: dict[str, str], megabytes: int
) -> None:
    assert settings.memory_limit(host(tmp_path, cgroup, **limits)) == megabytes * MEBIBYTE


def test_a_share_of_memory_is_resolved() -> None:
    wanted = settings.checked({"maxmemory": "30%", "maxmemory-clients": "5%"}, "settings")
    resolved = settings.with_resolved_memory(wanted, lambda: 1000 * MEBIBYTE + 12345)
    assert resolved == {"maxmemory": ["300mb"], "maxmemory-clients": ["5%"]}
    with pytest.raises(settings.SettingError, match="between 1% and 100%"):
        settings.with_resolved_memory({"maxmemory": ["101%"]}, lambda: MEBIBYTE)
