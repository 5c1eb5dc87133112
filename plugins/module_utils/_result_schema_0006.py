# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The purge of expired results, and where it notes how it went."""

from __future__ import annotations

from typing import Any

from ansible_collections.resultops.celery.plugins.module_utils import _result_schema_purge

revision = "0006"
down_revision = "0005"


def upgrade(steps: Any) -> None:
    for statement in _result_schema_purge.upgrade(steps.engine, steps.session.prefix):
        steps.emit(statement)


def downgrade(steps: Any) -> None:
    for statement in _result_schema_purge.downgrade(steps.session.prefix):
        steps.emit(statement)
