# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which certificate a running server shows on its TLS port."""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """Whether another certificate is served than stands in the file, or why that is not known."""

    differs: bool
    warning: str = ""


def serves_other_certificate(live: Mapping[str, str], host: str | None, timeout: float, key_password: str) -> Answer:
    """Compare the served certificate with the first one in the server's tls-cert-file."""
    certificate_file, key_file = live["tls-cert-file"], live["tls-key-file"]
    try:
        expected = _first_certificate(certificate_file)
    except (OSError, ValueError) as error:
        return Answer(False, f"tls-cert-file {certificate_file} has no certificate that could be compared: {error}.")
    # Nothing is sent and nothing received is trusted, so there is nothing to verify.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    address = (host or _local_address(live["bind"]), int(live["tls-port"]))
    try:
        context.load_cert_chain(certificate_file, key_file, key_password)
        with socket.create_connection(address, timeout) as plain, context.wrap_socket(plain) as secured:
            served = secured.getpeercert(binary_form=True)
    except OSError as error:
        return Answer(
            False,
            f"The certificate on {address[0]}:{address[1]} could not be compared with {certificate_file}: {error}.",
        )
    return Answer(served != expected)


def _first_certificate(path: str) -> bytes:
    with open(path, encoding="ascii", errors="replace") as stream:
        found = re.search(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", stream.read(), re.DOTALL)
    if found is None:
        raise ValueError("it is no PEM file")
    return ssl.PEM_cert_to_DER_cert(found[0])


def _local_address(bind: str) -> str:
    addresses = [address.lstrip("-") for address in bind.split()]
    local = ["::1" if ":" in address and _is_wildcard(address) else address for address in addresses]
    local = ["127.0.0.1" if _is_wildcard(address) else address for address in local] or ["127.0.0.1"]
    return "127.0.0.1" if "127.0.0.1" in local else local[0]


def _is_wildcard(address: str) -> bool:
    try:
        return address in ("*", "::*") or ipaddress.ip_address(address).is_unspecified
    except ValueError:
        return False
