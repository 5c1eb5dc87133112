# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The backend description: the URL and the Celery settings that follow from it, for every kind of backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.resultops.celery.plugins.module_utils import _backend_redis, _backend_rpc, _backend_sql
from ansible_collections.resultops.celery.plugins.module_utils._backend_description import (
    BackendError,
    Description,
    Kind,
    Options,
)

__all__ = ["KINDS", "BackendError", "backend_url", "celery_settings"]

KINDS: dict[str, Kind] = {**_backend_redis.KINDS, **_backend_sql.KINDS, **_backend_rpc.KINDS}


def _kind(description: object) -> Kind:
    if not isinstance(description, Mapping):
        raise BackendError("The backend description must be a dictionary with the entries kind, hosts and more.")
    name = description.get("kind")
    if name not in KINDS:
        raise BackendError(f"The backend kind {name!r} is not supported; allowed are {', '.join(KINDS)}.")
    return KINDS[name]


def backend_url(description: Description, password: object = None) -> str:
    """Return the URL with its password; the only place of the collection that builds one."""
    kind = _kind(description)
    secret = "" if password is None else str(password)
    if secret and not kind.password:
        raise BackendError(
            f"A backend of kind {description['kind']} has no password of its own; leave it empty, because the URL of "
            "the broker has it."
        )
    if kind.password and not secret:
        raise BackendError("The password of the backend is empty; set the variable that holds it, usually in a vault.")
    return kind.url(description, secret)


def celery_settings(description: Description, options: Options | None = None) -> dict[str, Any]:
    """Return the non-secret Celery settings that differ from Celery's defaults."""
    kind = _kind(description)
    if options is not None and not isinstance(options, Mapping):
        raise BackendError("The options of the Celery settings must be a dictionary.")
    return kind.settings(description, options or {})
