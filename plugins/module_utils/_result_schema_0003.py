# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ids of 64 bits: with Celery's own 32, every store fails after 2147483647 results."""

from __future__ import annotations

from typing import Any

revision = "0003"
down_revision = "0002"


def upgrade(steps: Any) -> None:
    steps.widen_ids()


def downgrade(steps: Any) -> None:
    steps.narrow_ids()
