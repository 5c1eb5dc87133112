# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The index on date_done, which Celery before 5.6.3 does not make."""

from __future__ import annotations

from typing import Any

revision = "0005"
down_revision = "0004"


def upgrade(steps: Any) -> None:
    steps.index_dates()


def downgrade(steps: Any) -> None:
    steps.index_dates_as_celery()
