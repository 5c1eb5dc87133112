# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Record what anybody on this host could see: listening TCP sockets, and the command lines of all processes.

Looks every 100 ms until it is stopped: a server that is open for the second between its installation and its
configuration does not escape, nor does a command with a secret.
"""

from __future__ import annotations

import ipaddress
import json
import os
import pathlib
import signal
import socket
import struct
import sys

# linux/sock_diag.h, linux/inet_diag.h, linux/netlink.h and the state of a socket that listens.
NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST_DUMP, NLMSG_DONE = 4, 20, 0x301, 3
HEADER, REQUEST, ANSWER = struct.Struct("=IHHII"), struct.Struct("=BBBBI48s"), struct.Struct("=4xH2x16s")
FAMILIES = {socket.AF_INET: (4, 4), socket.AF_INET6: (6, 16)}
LISTEN = 10
LOOPBACK = {4: "127.0.0.1", 6: "::1"}
INTERVAL_SECONDS = 0.1


def listening() -> set[tuple[int, str, int]]:
    """Family, address and port of each listening socket.

    Asked of the kernel by netlink: /proc/net/tcp walks through a table of the size of the machine's memory each time.
    """
    found = set()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_SOCK_DIAG) as kernel:
        for family, (name, size) in FAMILIES.items():
            request = REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, 1 << LISTEN, b"")
            kernel.send(
                HEADER.pack(HEADER.size + len(request), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST_DUMP, 0, 0) + request
            )
            done = False
            while not done:
                answer = kernel.recv(65536)
                while answer:
                    length, kind, *_rest = HEADER.unpack_from(answer)
                    done = done or kind == NLMSG_DONE
                    if kind == SOCK_DIAG_BY_FAMILY:
                        port, address = ANSWER.unpack_from(answer, HEADER.size)
                        found.add((name, socket.inet_ntop(family, address[:size]), socket.ntohs(port)))
                    answer = answer[length + 3 & ~3 :]
    return found


def answers_in_plaintext(family: int, address: str, port: int) -> bool:
    """Whether a Redis answers there without a password."""
    anywhere = family == 6 or ipaddress.ip_address(address).is_unspecified
    target = LOOPBACK[family] if anywhere else address
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
