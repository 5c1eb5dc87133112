# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command line tool of a RabbitMQ server, which no secret is ever given to."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from typing import Any

from ansible_collections.resultops.celery.plugins.module_utils._rabbitmq import RabbitmqError

# What the tool returns when no server answers (EX_UNAVAILABLE).
NOBODY_ANSWERS = 69
# What it says of a node that is up but has not started the server yet, as one that waits for its cluster.
STILL_STARTING = "requires the 'rabbit' app to be running"

Run = Callable[..., tuple[int, Any, Any]]


class Tool:
    """Runs commands; what they say comes back as text or, if it is a table, as data."""

    def __init__(self, run: Run, program: str, timeout: int) -> None:
        self._run = run
        self._program = program
        self._timeout = str(timeout)

    def ask(self, *words: str) -> str | None:
        """The answer of the running server; nothing if none runs."""
        if not os.path.exists(self._program):
            return None
        status, said, problem = self._call(words)
        if status == NOBODY_ANSWERS or (status and STILL_STARTING in problem):
            return None
        if status:
            raise RabbitmqError(f"rabbitmqctl {words[0]} failed: {_reason(problem or said)}.")
        return str(said)

    def ask_json(self, *words: str) -> Any:
        answer = self.ask(*words, "--formatter", "json")
        return None if answer is None else json.loads(answer)

    def run(self, *words: str) -> None:
        status, said, problem = self._call(words)
        if status:
            raise RabbitmqError(f"rabbitmqctl {words[0]} failed: {_reason(problem or said)}.")

    def _call(self, words: tuple[str, ...]) -> tuple[int, Any, Any]:
        command = [self._program, "--silent", "--timeout", self._timeout, *words]
        return self._run(command, expand_user_and_vars=False, environ_update={"LC_ALL": "C.UTF-8"})


def _reason(text: str) -> str:
    """The first line that says something; a page of general advice follows it."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and line.strip() != "Error:"]
    return re.sub(r"^Error[^:]*: ", "", lines[0]).rstrip(".") if lines else "it says nothing"
