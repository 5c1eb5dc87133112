# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of the answers of the command line tool; the tests of the modules ask a real one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.module_utils._rabbitmq import RabbitmqError
from ansible_collections.resultops.celery.plugins.module_utils._rabbitmq_cli import Tool


def tool(path: Path, answer: tuple[int, str, str]) -> Tool:
    path.touch()

    def run(command: list[str], **options: Any) -> tuple[int, str, str]:
        assert command[:4] == [str(path), "--silent", "--timeout", "7"]
        assert options["expand_user_and_vars"] is False
        return answer

    return Tool(run, str(path), 7)


def test_answers_come_back_as_text_or_data(tmp_path: Path) -> None:
    asked = tool(tmp_path / "ctl", (0, '{"a": 1}', ""))
    assert asked.ask("x") == '{"a": 1}'
    assert asked.ask_json("x") == {"a": 1}


def test_nobody_there_is_nothing(tmp_path: Path) -> None:
    assert tool(tmp_path / "ctl", (69, "", "Error: unable to perform")).ask_json("x") is None
    starting = "Error: this command requires the 'rabbit' app to be running on the target node."
    assert tool(tmp_path / "ctl", (70, "", starting)).ask("x") is None
    assert Tool(lambda *_words: (0, "", ""), str(tmp_path / "none"), 7).ask("x") is None


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("Error:\nUser guest does not exist\n", "rabbitmqctl x failed: User guest does not exist."),
        ("Error (argument validation): not enough arguments.\nUsage", "rabbitmqctl x failed: not enough arguments."),
        ("", "rabbitmqctl x failed: it says nothing."),
    ],
)
def test_an_error_is_one_sentence(tmp_path: Path, said: str, reason: str) -> None:
    asked = tool(tmp_path / "ctl", (67, "", said))
    for call in (asked.ask, asked.run):
        with pytest.raises(RabbitmqError) as problem:
            call("x")
        assert str(problem.value) == reason
