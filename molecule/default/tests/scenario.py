# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of this scenario."""

from __future__ import annotations

from fleet import CHECKOUT

INVENTORY = CHECKOUT / "molecule" / "inventory"
REDIS_HOSTS = ("redis12", "redis13", "valkey13")
WORKER_HOSTS = {"worker12": "redis12", "worker13": "redis13"}
