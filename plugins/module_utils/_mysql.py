# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The MariaDB server on this host: the session, how it spells things, and the certificate that it shows."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import socket
import ssl
import struct
from typing import Any, Optional

from ansible_collections.resultops.celery.plugins.module_utils._sql_session import Session, SqlError

CONNECTION_ARGUMENTS: dict[str, dict[str, Any]] = {
    "unix_socket": {"type": "path", "default": "/run/mysqld/mysqld.sock"},
    "login_user": {"type": "str", "default": "root"},
}
TIMEOUT = 10
# CLIENT_LONG_PASSWORD, CLIENT_PROTOCOL_41, CLIENT_SSL and CLIENT_SECURE_CONNECTION.
CAPABILITIES = 0x1 | 0x200 | 0x800 | 0x8000


def connect(params: dict[str, Any]) -> Optional[Session]:
    """A session, or None where no server runs."""
    if not os.path.exists(params["unix_socket"]):
        return None
    try:
        return _session(params)
    except SqlError as problem:
        if "refused" in str(problem).lower():
            return None
        raise


def _session(params: dict[str, Any]) -> Session:
    return Session(
        {
            "engine": "mysql",
            "login_unix_socket": params["unix_socket"],
            "login_host": None,
            "login_port": None,
            "login_user": params["login_user"],
            "login_password": None,
            "database": "mysql",
            "ssl_mode": "disable",
            "ca_file": None,
            "login_timeout": TIMEOUT,
        }
    )


def literal(text: str) -> str:
    """A text as it stands in a statement, in every SQL mode."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def password_hash(password: str) -> str:
    """What the server stores in the place of a password, so that it never travels to it."""
    once = hashlib.sha1(password.encode()).digest()  # noqa: S324 - the server's own format
    return "*" + hashlib.sha1(once).hexdigest().upper()  # noqa: S324


def host_pattern(network: str) -> str:
    """A network in the way in which the server writes the host of an account."""
    parsed = ipaddress.ip_network(network)
    if parsed.prefixlen == 0:
        return "%"
    if parsed.prefixlen == parsed.max_prefixlen:
        return str(parsed.network_address)
    return f"{parsed.network_address}/{parsed.netmask}"


def served_certificate(path: str) -> Optional[bytes]:
    """The certificate that the server shows to new sessions, asked at its Unix socket; None where it shows none."""
    try:
        with socket.socket(socket.AF_UNIX) as raw:
            raw.settimeout(TIMEOUT)
            raw.connect(path)
            (size,) = struct.unpack("<I", _read(raw, 4)[:3] + b"\0")
            _read(raw, size)
            raw.sendall(struct.pack("<I", 32)[:3] + b"\x01" + struct.pack("<IIB23x", CAPABILITIES, 1 << 24, 45))
            context = ssl.create_default_context()
            # It is compared with the file that the server was given; whether clients trust that is their business.
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            with context.wrap_socket(raw) as encrypted:
                return encrypted.getpeercert(binary_form=True)
    except (OSError, struct.error):
        return None


def first_certificate(path: str) -> Optional[bytes]:
    """The first certificate of a file of PEM texts."""
    end = "-----END CERTIFICATE-----"
    try:
        with open(path, encoding="ascii") as stream:
            return ssl.PEM_cert_to_DER_cert(stream.read().split(end, maxsplit=1)[0].strip() + "\n" + end + "\n")
    except (OSError, ValueError):
        return None


def _read(raw: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = raw.recv(size - len(data))
        if not part:
            raise ConnectionResetError("The server ended the session.")
        data += part
    return data
