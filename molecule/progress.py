# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pass on of a talkative Ansible run what tells progress and problems: plays, tasks, recaps, warnings and failures."""

from __future__ import annotations

import re
import sys

TOLD = re.compile(
    r"PLAY |TASK |RUNNING HANDLER |fatal: |failed: |\[?(ERROR|WARNING|DEPRECATION)|(INFO|CRITICAL) |Traceback "
)
DETAIL = re.compile(r"(ok|changed|skipping|included): |task path: |<|ansible-playbook \[|Using |FAILED - RETRYING")
SHOWN_WITH_RESULT = re.compile(r"TASK \[(.* : )?(.* \| )?Show ")


def main() -> None:
    told, with_result = True, False
    for line in sys.stdin:
        if TOLD.match(line):
            told = True
            if line.startswith(("TASK ", "PLAY ")):
                with_result = bool(SHOWN_WITH_RESULT.match(line))
        elif DETAIL.match(line):
            told = with_result and line.startswith("ok: ")
        if told:
            sys.stdout.write(line)
            sys.stdout.flush()


if __name__ == "__main__":
    main()
