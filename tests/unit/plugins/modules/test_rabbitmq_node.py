# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a real node says of itself, and which of it is changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.module_utils._rabbitmq import RabbitmqError
from ansible_collections.resultops.celery.plugins.modules import rabbitmq_node
from ansible_collections.resultops.celery.tests.unit.rabbitmq_server import RabbitmqServer


@pytest.fixture(scope="module")
def server() -> Iterator[RabbitmqServer]:
    with RabbitmqServer() as running:
        yield running


@pytest.fixture
def look(server: RabbitmqServer, run_on_host: Any) -> Any:
    def run(check_mode: bool = False, **wanted: Any) -> dict[str, Any]:
        return run_on_host("rabbitmq_node", check_mode, **{"rabbitmqctl": str(server.rabbitmqctl), **wanted})

    return run


def status(server: RabbitmqServer) -> dict[str, Any]:
    return json.loads(server.ctl("status", "--formatter", "json"))


def test_thresholds_change_live_and_only_where_they_differ(server: RabbitmqServer, look: Any) -> None:
    assert not look(memory_high_watermark="40%", disk_free_limit="1MB")["changed"]
    wanted = {"memory_high_watermark": "512MiB", "disk_free_limit": "2MiB"}
    promised = look(check_mode=True, **wanted)
    assert promised["changed_settings"] == ["disk_free_limit", "memory_high_watermark"]
    assert status(server)["disk_free_limit"] == 1000_000
    assert look(**wanted)["changed_settings"] == promised["changed_settings"]
    live = status(server)
    assert (live["disk_free_limit"], live["vm_memory_high_watermark_setting"]) == (
        2 * 1024**2,
        {"absolute": 512 * 1024**2},
    )
    assert not look(**wanted)["changed"]
    assert look(memory_high_watermark="40%")["changed_settings"] == ["memory_high_watermark"]
    assert not look(memory_high_watermark="40%")["changed"]


def test_open_ports_and_members_are_judged(server: RabbitmqServer, look: Any) -> None:
    ports = [f"amqp:{server.port}", f"clustering:{server.distribution_port}"]
    node = f"unit{server.port}@localhost"
    assert look(listeners=ports, members=[node])["problems"] == []
    found = look(listeners=[ports[1], "amqp/ssl:5671"], members=["rabbit@elsewhere"])["problems"]
    assert found == [
        f"The node listens on {ports[0]} (127.0.0.1), which is not in listeners.",
        "The node does not listen on amqp/ssl:5671.",
        "rabbit@elsewhere does not belong to the cluster of this node.",
        f"{node} belongs to the cluster, but is not in members.",
    ]


def test_certificates_are_read_again(look: Any) -> None:
    assert look(check_mode=True, reload_tls=True)["changed"]
    assert look(reload_tls=True)["changed"]


def test_a_node_that_does_not_run_is_no_failure(tmp_path: Path, look: Any) -> None:
    found = look(memory_high_watermark="40%", rabbitmqctl=str(tmp_path / "none"))
    assert (found["changed"], found["live"], found["problems"]) == (False, False, [])


@pytest.mark.parametrize("text", ["0", "512Q", "-1GB", "5%"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(RabbitmqError, match="disk_free_limit"):
        rabbitmq_node.size(text, "disk_free_limit")


def test_a_partition_is_a_problem() -> None:
    cluster = {"disk_nodes": ["a"], "ram_nodes": [], "running_nodes": [], "partitions": {"a": ["b"]}}
    assert rabbitmq_node.cluster_problems(cluster, ["a"]) == [
        "a belongs to the cluster, but does not run.",
        "The cluster is partitioned.",
    ]
