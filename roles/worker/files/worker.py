# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the celery command and tell systemd when the worker consumes tasks and when it stops."""

from __future__ import annotations

import os
import socket
from typing import Any

from celery import maybe_patch_concurrency


def notify(message: str) -> None:
    """Send one message to systemd; outside systemd do nothing."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.connect(f"\0{address[1:]}" if address.startswith("@") else address)
        channel.sendall(message.encode())


def announce_ready(**_details: Any) -> None:
    notify("READY=1\nSTATUS=Consuming tasks")


def announce_stop(**_details: Any) -> None:
    notify("STOPPING=1\nSTATUS=Finishing the running tasks")


def main() -> None:
    # Must come before anything that imports threading or socket users, as the celery command itself does it.
    maybe_patch_concurrency()
    from celery.__main__ import main as celery_command
    from celery.signals import worker_ready, worker_shutting_down

    worker_ready.connect(announce_ready, weak=False)
    worker_shutting_down.connect(announce_stop, weak=False)
    celery_command()


if __name__ == "__main__":
    main()
