# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Record what anybody on this host could see: listening TCP sockets, and the command lines of all processes.

Looks every 100 ms until it is stopped: a server that is open for the second between its installation and its
configuration does not escape, nor does a command with a secret.
"""

from __future__ import annotations

import json
import os
import pathlib
import signal
import socket
import sys

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


def command_lines() -> set[bytes]:
    found = set()
    for process in os.listdir("/proc"):
        if process.isdigit():
            try:
                with open(f"/proc/{process}/cmdline", "rb", buffering=0) as command:
                    found.add(command.read())
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


def watch(directory: pathlib.Path) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    sockets: set[tuple[int, str, int]] = set()
    commands: set[bytes] = set()
    with (
        open(directory / "sockets.jsonl", "w", encoding="utf-8", buffering=1) as socket_report,
        open(directory / "commands.txt", "w", encoding="utf-8", buffering=1) as command_report,
    ):
        while not signal.sigtimedwait({signal.SIGTERM}, INTERVAL_SECONDS):
            for family, address, port in listening() - sockets:
                plaintext = answers_in_plaintext(family, address, port)
                row = {"family": family, "address": address, "port": port, "open": plaintext}
                socket_report.write(json.dumps(row) + "\n")
                sockets.add((family, address, port))
            for command in command_lines() - commands:
                command_report.write(command.replace(b"\0", b" ").decode(errors="replace") + "\n")
                commands.add(command)
    (directory / "stopped").touch()


if __name__ == "__main__":
    watch(pathlib.Path(sys.argv[1]))
