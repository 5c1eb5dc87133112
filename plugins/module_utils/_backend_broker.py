# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way to an AMQP broker: its URL, and the settings by which py-amqp verifies who answers."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from ansible_collections.resultops.celery.plugins.module_utils._backend_description import (
    BackendError,
    Description,
    Options,
    bracketed,
    flag,
    hosts_of,
    no_unknown,
    text,
    tls_files,
    whole_number,
)

AMQP_SCHEMES = ("amqp", "amqps", "pyamqp", "librabbitmq")
URL_FIELDS = ("hosts", "port", "username", "virtual_host", "tls")
SETTINGS_OPTIONS = ("ca_file", "certificate_file", "private_key_file", "server_name")


def addresses(url: str) -> list[str]:
    """The parts of a broker URL, which Celery tries one after the other."""
    return [part.strip() for part in url.split(";") if part.strip()]


def scheme(url: str) -> str:
    return url.strip().partition("://")[0]


def is_amqp(url: str) -> bool:
    return scheme(url) in AMQP_SCHEMES


def uses_amqps(url: str) -> bool:
    return any(scheme(part) == "amqps" for part in addresses(url))


def hosts_in(url: str) -> set[str]:
    """The names of the brokers; a URL that nobody can read has none."""
    found = set()
    for part in addresses(url):
        try:
            found.add(urlsplit(part).hostname or "")
        except ValueError:
            continue
    return found - {""}


def amqp_url(description: Description, password: object) -> str:
    """Return the URL of one broker, or of all nodes of a cluster, with the password."""
    no_unknown("The description of the broker", description, URL_FIELDS)
    secret = "" if password is None else str(password)
    hosts = hosts_of(description)
    if not secret:
        raise BackendError("The password of the broker is empty; set the variable that holds it, usually in a vault.")
    if not hosts:
        raise BackendError("The description of the broker names no host; name the broker, or all nodes of a cluster.")
    username, virtual_host = text(description, "username"), text(description, "virtual_host")
    if not username or not virtual_host:
        raise BackendError("The description of the broker needs the username of an account and its virtual_host.")
    tls = flag("The tls entry of the description of the broker", description.get("tls", True))
    port = whole_number(
        "The port of the description of the broker", description.get("port", 5671 if tls else 5672), 1, 65535
    )
    credentials = f"{quote(username, safe='')}:{quote(secret, safe='')}"
    place = quote(virtual_host, safe="")
    return ";".join(f"{'amqps' if tls else 'amqp'}://{credentials}@{bracketed(host)}:{port}/{place}" for host in hosts)


def broker_settings(url: object, options: Options | None = None) -> dict[str, Any]:
    """Return the setting without which py-amqp compares no host name; nothing for other brokers."""
    given = dict(options or {})
    no_unknown("The options of the broker settings", given, SETTINGS_OPTIONS)
    if not uses_amqps(str(url or "")):
        return {}
    files = tls_files({name: given.get(name) for name in SETTINGS_OPTIONS}, tls=True)
    settings: dict[str, Any] = {
        "ca_certs": files["ca_file"],
        "cert_reqs": int(ssl.CERT_REQUIRED),
        # None stands for the host in the URL.
        "server_hostname": text(given, "server_name") or None,
    }
    if files["certificate_file"]:
        settings |= {"certfile": files["certificate_file"], "keyfile": files["private_key_file"]}
    return {"broker_use_ssl": settings}


def lacks_of(settings: object) -> list[str]:
    """What a broker_use_ssl lacks, so that py-amqp would take the certificate of somebody else."""
    if not isinstance(settings, Mapping):
        return ["cert_reqs: 2", "server_hostname"]
    context = settings.get("context")
    if isinstance(context, Mapping) and context:
        # py-amqp then verifies the chain by itself, but no name unless it is told so.
        verified = "check_hostname: true in context", context.get("check_hostname") is True
    else:
        verified = "cert_reqs: 2", re.fullmatch("2", str(settings.get("cert_reqs"))) is not None
    named = "server_hostname", "server_hostname" in settings
    return [what for what, there in (verified, named) if not there]
