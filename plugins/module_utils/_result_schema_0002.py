# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The columns children and stamps of Celery 5.7, and created: how old a row is that is not done."""

from __future__ import annotations

from typing import Any

revision = "0002"
down_revision = "0001"


def upgrade(steps: Any) -> None:
    steps.add_columns()


def downgrade(steps: Any) -> None:
    steps.drop_columns()
