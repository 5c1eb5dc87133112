# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tables and sequences that Celery 5.4 makes; a new database gets wide types at once."""

from __future__ import annotations

from typing import Any

revision = "0001"
down_revision = None


def upgrade(steps: Any) -> None:
    steps.create_tables()


def downgrade(steps: Any) -> None:
    steps.drop_tables()
