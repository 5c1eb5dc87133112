# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Record every listening TCP socket of this host, and whether it answers an unauthenticated PING in plaintext.

Looks every 100 ms until it is stopped: a server that is open for the second between its installation and its
configuration does not escape.
"""

from __future__ import annotations

import json
import socket
import sys
import time

# Columns of /proc/net/tcp, and the state of a socket that listens.
LOCAL_ADDRESS, STATE = 1, 3
LISTEN = "0A"
LOOPBACK = {4: "127.0.0.1", 6: "::1"}
INTERVAL_SECONDS = 0.1


def listening() -> set[tuple[int, str, int]]:
    """Family, address (hexadecimal, as the kernel prints it) and port of each listening socket."""
    found = set()
    for family, path in ((4, "/proc/net/tcp"), (6, "/proc/net/tcp6")):
        with open(path, encoding="ascii") as table:
            for line in table.readlines()[1:]:
                fields = line.split()
                if fields[STATE] == LISTEN:
                    address, port = fields[LOCAL_ADDRESS].split(":")
                    found.add((family, address, int(port, 16)))
    return found


def answers_in_plaintext(family: int, address: str, port: int) -> bool:
    """Whether a Redis answers there without a password."""
    if set(address) == {"0"} or family == 6:
        target = LOOPBACK[family]
    else:
        target = ".".join(str(byte) for byte in reversed(bytes.fromhex(address)))
    try:
        with socket.create_connection((target, port), timeout=0.5) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def watch(path: str) -> None:
    seen: set[tuple[int, str, int]] = set()
    with open(path, "w", encoding="utf-8", buffering=1) as report:
        report.write(json.dumps({"started": time.time()}) + "\n")
        while True:
            for entry in listening() - seen:
                family, address, port = entry
                row = {"family": family, "address": address, "port": port, "open": answers_in_plaintext(*entry)}
                report.write(json.dumps(row) + "\n")
                seen.add(entry)
            time.sleep(INTERVAL_SECONDS)


if __name__ == "__main__":
    watch(sys.argv[1])
