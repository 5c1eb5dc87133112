# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all probes share, with a backend in memory; those of real servers have tests of their own."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _celery_client as client
from ansible_collections.resultops.celery.plugins.module_utils import _probe

SETTINGS = SimpleNamespace(result_backend="cache+memory://", broker_url="memory://")


class MemoryProbe(_probe.Probe):
    address = ("localhost", 1)

    def _task(self) -> str:
        return "task"


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> MemoryProbe:
    monkeypatch.delenv("CELERY_RESULT_BACKEND", raising=False)
    return MemoryProbe(SETTINGS, 1.0)  # type: ignore[arg-type]


def test_a_serializer_that_nobody_knows(probe: MemoryProbe) -> None:
    with pytest.raises(client.CheckFailedError, match="serializer morse is not known") as failure:
        probe._application("morse")
    assert failure.value.failure_class == "serializer"


def test_another_serializer_is_also_accepted(probe: MemoryProbe) -> None:
    app = probe._application("msgpack")
    assert (app.conf.result_serializer, app.conf.result_accept_content) == ("msgpack", ["msgpack"])
    assert probe.serializer == "json"


@pytest.mark.parametrize(
    ("found", "failure_class"),
    [
        ({"status": "PENDING", "result": None}, "unknown"),
        ({"status": "SUCCESS", "result": {"text": "other"}}, "serializer"),
    ],
)
def test_what_came_back_is_compared(probe: MemoryProbe, found: dict[str, object], failure_class: str) -> None:
    with pytest.raises(client.CheckFailedError) as failure:
        probe._expect(found, "SUCCESS", _probe.PAYLOAD, "serializer")
    assert failure.value.failure_class == failure_class


def test_the_connection_is_always_checked(probe: MemoryProbe) -> None:
    assert probe.connection_checks == ["dns", "tcp", "tls", "auth"]
    assert "localhost resolves to" in probe.dns()
