# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room for large values, lz4 where the server has it, and a vacuum that keeps up with many results."""

from __future__ import annotations

from typing import Any

revision = "0004"
down_revision = "0003"


def upgrade(steps: Any) -> None:
    steps.store_well()


def downgrade(steps: Any) -> None:
    steps.store_as_before()
