# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make one report of several and print it as a table: drill_report.py <report> <part>..."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ansible_collections.resultops.celery.plugins.module_utils import _drill


def gathered(parts: Iterable[Path]) -> list[dict[str, Any]]:
    """Return the rows of all parts; the rows of a part that was never written are missing."""
    return [row for part in parts if part.exists() for row in json.loads(part.read_text(encoding="utf-8"))]


def main() -> None:
    report, *parts = map(Path, sys.argv[1:])
    rows = gathered(parts)
    report.write_text(json.dumps(rows, indent=4) + "\n", encoding="utf-8")
    print("\n".join(_drill.drill_summary(rows)["table"]))


if __name__ == "__main__":
    main()
