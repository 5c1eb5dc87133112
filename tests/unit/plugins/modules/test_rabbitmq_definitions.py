# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The set of definitions against a real server: what is there, what is added, changed, removed, and left alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.resultops.celery.tests.unit.rabbitmq_server import RabbitmqServer

PASSWORD = r"""p@ss:/w%rd#?&'"{{ }}\ of a worker"""
OTHER = "another password altogether"


def application(name: str, password: str = PASSWORD, **more: Any) -> dict[str, Any]:
    users = [
        {"name": f"{name}_worker", "role": "worker", "password": password},
        {"name": f"{name}_client", "role": "client", "password": OTHER},
    ]
    return {"name": name, "users": users, **more}


@pytest.fixture(scope="module")
def server() -> Iterator[RabbitmqServer]:
    with RabbitmqServer() as running:
        yield running


@pytest.fixture
def keep(server: RabbitmqServer, run_on_host: Any) -> Any:
    def run(*applications: dict[str, Any], check_mode: bool = False, **more: Any) -> dict[str, Any]:
        wanted = {"path": str(server.definitions), "rabbitmqctl": str(server.rabbitmqctl), **more}
        found = run_on_host("rabbitmq_definitions", check_mode, applications=list(applications), **wanted)
        assert PASSWORD not in json.dumps({**found, "invocation": ""})
        return found

    return run


def authenticates(server: RabbitmqServer, user: str, password: str) -> bool:
    try:
        server.ctl("authenticate_user", user, password)
    except Exception:  # noqa: BLE001 (whatever the tool says: it did not let the user in)
        return False
    return True


def test_the_running_server_gets_the_whole_set_and_keeps_it(server: RabbitmqServer, keep: Any) -> None:
    before = server.definitions.read_text()
    promised = keep(application("shop"), check_mode=True)
    assert promised["changed"]
    assert server.definitions.read_text() == before
    assert "shop" not in server.ctl("list_vhosts")

    done = keep(application("shop"))
    assert done["live"]
    assert done["added"] == promised["added"]
    assert {"vhost shop", "user shop_worker", "permission shop/shop_client", "queue shop/celery"} <= set(done["added"])
    assert authenticates(server, "shop_worker", PASSWORD)
    assert json.loads(server.ctl("list_user_limits", "--user", "shop_worker", "--formatter", "json"))
    assert "max-queues" in server.ctl("list_vhost_limits", "--vhost", "shop")
    assert "reply-queues" in server.ctl("list_policies", "-p", "shop")

    again = keep(application("shop"))
    assert (again["changed"], again["added"], again["changed_objects"], again["removed"]) == (False, [], [], [])


def test_a_change_by_hand_is_found_and_put_back(server: RabbitmqServer, keep: Any) -> None:
    keep(application("shop"))
    server.ctl("set_permissions", "-p", "shop", "shop_client", ".*", ".*", ".*")
    server.ctl("clear_policy", "-p", "shop", "reply-queues")
    server.ctl("set_user_tags", "shop_worker", "administrator")
    server.ctl("add_user", "guest", "guest")
    done = keep(application("shop"))
    assert set(done["changed_objects"]) == {"permission shop/shop_client", "user shop_worker"}
    assert done["added"] == ["policy shop/reply-queues"]
    assert done["removed"] == ["user guest"]
    assert "administrator" not in server.ctl("list_users")
    assert ".*\t.*" not in server.ctl("list_permissions", "-p", "shop")
    assert not keep(application("shop"))["changed"]


def test_a_password_changes_and_is_never_shown(server: RabbitmqServer, keep: Any) -> None:
    keep(application("shop"))
    done = keep(application("shop", password=OTHER))
    assert done["changed_objects"] == ["user shop_worker"]
    assert authenticates(server, "shop_worker", OTHER)
    assert not authenticates(server, "shop_worker", PASSWORD)
    assert "with another password" in str(done["diff"])
    assert OTHER not in str(done["diff"])
    hashes = json.loads(server.definitions.read_text())["users"]
    assert all(user["password_hash"] not in str(done["diff"]) for user in hashes)


def test_an_application_that_is_not_listed_goes_unless_it_holds_queues(server: RabbitmqServer, keep: Any) -> None:
    keep(application("shop"), application("gone"))
    kept = keep(application("shop"))
    assert "user gone_worker" in kept["removed"]
    assert kept["kept_vhosts"] == ["gone"]
    assert "holds queues" in str(kept["warnings"])
    server.ctl("delete_queue", "-p", "gone", "celery")
    assert keep(application("shop"))["removed"] == ["vhost gone"]
    assert "gone" not in server.ctl("list_vhosts")


def test_a_queue_of_another_type_is_refused_in_one_sentence(keep: Any) -> None:
    keep(application("shop"))
    refused = keep(application("shop", queue_type="quorum"))
    assert refused["failed"]
    assert "celery in the virtual host shop exists as a classic queue" in refused["msg"]


def test_without_a_server_the_file_is_kept(tmp_path: Path, keep: Any) -> None:
    path = tmp_path / "definitions.json"
    nobody = {"path": str(path), "rabbitmqctl": str(tmp_path / "none")}
    assert keep(application("shop"), check_mode=True, **nobody)["changed"]
    assert not path.exists()
    done = keep(application("shop"), **nobody)
    assert (done["changed"], done["live"]) == (True, False)
    assert path.stat().st_mode & 0o777 == 0o640
    assert PASSWORD not in path.read_text()
    assert not keep(application("shop"), **nobody)["changed"]
