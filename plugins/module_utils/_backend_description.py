# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What all backend descriptions have in common: their checks, and the settings that do not depend on the server."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

Description = Mapping[str, Any]
Options = Mapping[str, Any]

SERIALIZERS = ("json", "msgpack")


class BackendError(ValueError):
    """A description or an option that cannot be used; the message is one sentence without secrets."""


@dataclass(frozen=True)
class Kind:
    """What one kind of backend knows: how its URL is written and which settings suit it."""

    url: Callable[[Description, str], str]
    settings: Callable[[Description, Options], dict[str, Any]]
    password: bool = True


def text(description: Description, field: str) -> str:
    value = description.get(field)
    return "" if value is None else str(value)


def whole_number(where: str, value: object, low: int, high: int | None = None) -> int:
    allowed = f"a whole number from {low} to {high}" if high is not None else f"a whole number of at least {low}"
    refusal = BackendError(f"{where} is {value!r}, but it must be {allowed}.")
    if isinstance(value, bool):
        raise refusal
    try:
        number = int(str(value))
    except ValueError as error:
        raise refusal from error
    if str(number) != str(value) or number < low or (high is not None and number > high):
        raise refusal
    return number


def flag(where: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise BackendError(f"{where} is {value!r}, but it must be true or false.")
    return value


def no_unknown(what: str, given: Mapping[str, Any], known: Collection[str]) -> None:
    unknown = sorted(str(name) for name in given if name not in known)
    if unknown:
        raise BackendError(f"{what} has unknown entries {', '.join(unknown)}; allowed are {', '.join(known)}.")


def hosts_of(description: Description) -> list[str]:
    hosts = description.get("hosts")
    if not isinstance(hosts, (list, tuple)) or not all(str(host or "") for host in hosts):
        raise BackendError("The hosts of the backend description must be a list of host names.")
    for host in hosts:
        if any(character in str(host) for character in "/@?#%; \t\r\n"):
            raise BackendError(f"The host {host!r} of the backend description must be a bare host name or IP address.")
    return [str(host) for host in hosts]


def bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def tls_files(description: Description, tls: bool) -> dict[str, str]:
    files = {field: text(description, field) for field in ("ca_file", "certificate_file", "private_key_file")}
    for field, path in files.items():
        # Celery decodes these values twice and its broker library once, so no encoding of a % suits both.
        if "%" in path:
            raise BackendError(f"The {field} {path!r} of the backend description must not contain a percent sign.")
        if path and not path.startswith("/"):
            raise BackendError(f"The {field} {path!r} of the backend description must be an absolute path.")
        if path and not tls:
            raise BackendError(f"The backend description gives a {field} but says tls: false; remove one of them.")
    if tls and not files["ca_file"]:
        raise BackendError(
            "The backend description asks for TLS without a ca_file; give the path of the CA certificate on the worker."
        )
    if bool(files["certificate_file"]) != bool(files["private_key_file"]):
        raise BackendError(
            "The backend description must give certificate_file and private_key_file together or leave out both."
        )
    return files


def serializer_of(options: Options) -> str:
    serializer = str(options["result_serializer"])
    if serializer not in SERIALIZERS:
        reason = " (pickle would let everybody who can write a result run code in every reader)"
        raise BackendError(
            f"The result_serializer {serializer!r} is not supported; allowed are {' and '.join(SERIALIZERS)}"
            f"{reason if serializer == 'pickle' else ''}."
        )
    return serializer
