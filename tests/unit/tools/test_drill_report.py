# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from pathlib import Path

import drill_report
import pytest

ROW = {
    "drill": "kill",
    "profile": "fast",
    "engine": "Redis 8.0.2",
    "acknowledged": 10,
    "lost": 0,
    "failed": 0,
    "blocked_ms_max": 20,
    "recovered_ms": 0,
    "healed": True,
}


def test_the_rows_of_all_parts_are_in_one_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fast.json").write_text(json.dumps([ROW]))
    (tmp_path / "durable.json").write_text(json.dumps([{**ROW, "profile": "durable"}]))
    names = ["report.json", "fast.json", "missing.json", "durable.json"]
    monkeypatch.setattr("sys.argv", ["drill_report.py", *(str(tmp_path / name) for name in names)])
    drill_report.main()
    rows = json.loads((tmp_path / "report.json").read_text())
    assert [row["profile"] for row in rows] == ["fast", "durable"]
    assert len(capsys.readouterr().out.splitlines()) == 3
