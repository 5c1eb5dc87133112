# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Let Celery itself judge a configuration before it is written: connects to nothing, changes nothing.

Reads a JSON object on standard input and prints {"problem": sentence or ""}; no sentence contains a secret.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import json
import os
import pwd
import shlex
import ssl
import sys
import types
import warnings
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

REQUIRED_VARIABLES = ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND")

# Celery reads these, but does not list them among its settings.
UNLISTED_SETTINGS = frozenset(
    {
        "redis_backend_credential_provider",
        "redis_backend_health_check_interval",
        "redis_client_name",
        "result_backend_thread_safe",
    }
)


class InvalidConfigurationError(Exception):
    """The configuration cannot work; the message is one sentence."""


def parse_environment(text: str, path: str) -> dict[str, str]:
    """Read an environment file the way both systemd and a shell would."""
    variables: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, separator, value = line.partition("=")
        try:
            words = shlex.split(value)
        except ValueError as error:
            raise InvalidConfigurationError(f"Line {number} of {path} has an open quotation mark.") from error
        if not separator or not name.isidentifier() or len(words) > 1:
            raise InvalidConfigurationError(f"Line {number} of {path} is not of the form NAME='value'.")
        variables[name] = words[0] if words else ""
    for name in REQUIRED_VARIABLES:
        if not variables.get(name):
            raise InvalidConfigurationError(f"{name} is missing in {path}.")
    return variables


def check_certificates(authority: str, certificate_file: str, private_key_file: str) -> None:
    """Refuse an unreadable CA and a client certificate that does not match its key."""
    context = ssl.create_default_context()
    if authority:
        try:
            context.load_verify_locations(cadata=authority)
        except ssl.SSLError as error:
            raise InvalidConfigurationError(
                "worker_ca_certificate is not a certificate in PEM form; give the text of the CA certificate."
            ) from error
    if certificate_file:
        try:
            context.load_cert_chain(certificate_file, private_key_file)
        except (OSError, ssl.SSLError) as error:
            raise InvalidConfigurationError(
                f"worker_client_certificate_file ({certificate_file}) and worker_client_private_key_file "
                f"({private_key_file}) must be readable by the worker's user and belong together: {error}."
            ) from error


def load_settings(text: str, path: str) -> types.ModuleType:
    """Run the configuration module and make it importable as Celery will find it."""
    module = types.ModuleType("celeryconfig")
    module.__file__ = path
    exec(compile(text, path, "exec"), module.__dict__)  # noqa: S102 (a configuration module is code)
    sys.modules["celeryconfig"] = module
    return module


def check_names(module: types.ModuleType) -> None:
    """Refuse settings that Celery does not know and texts where it wants a number or a truth value."""
    from celery.app.defaults import NAMESPACES, flatten

    options = dict(flatten(NAMESPACES))
    known = set(options) | UNLISTED_SETTINGS
    for name, value in vars(module).items():
        if name.startswith("_") or isinstance(value, types.ModuleType):
            continue
        if name not in known:
            similar = difflib.get_close_matches(name.lower(), known, n=1)
            hint = f"; the most similar one is {similar[0]}" if similar else ""
            raise InvalidConfigurationError(f"{name} (see worker_settings) is not a setting of Celery{hint}.")
        wanted = options[name].type if name in options else "any"
        if wanted in ("bool", "int", "float") and isinstance(value, str):
            raise InvalidConfigurationError(
                f"{name} (see worker_settings) is a text, but Celery wants a value of type {wanted}."
            )


def check_objects(module: types.ModuleType) -> None:
    """Build what the worker will build, up to but without the first connection."""
    from celery import Celery
    from kombu.compression import get_encoder
    from kombu.serialization import registry

    app = Celery("validation", set_as_current=False)
    app.config_from_object(module, force=True)
    for setting in ("task_serializer", "result_serializer", "event_serializer"):
        with told(f"{setting} (see worker_result_serializer and worker_settings) cannot be used"):
            registry.dumps("", serializer=app.conf[setting])
    for setting in ("task_compression", "result_compression"):
        if app.conf[setting]:
            with told(f"{setting} (see worker_settings) cannot be used"):
                get_encoder(app.conf[setting])
    with told("The result backend (CELERY_RESULT_BACKEND, see worker_backend) cannot be built"):
        _ = app.backend
    with told("The broker connection (CELERY_BROKER_URL, see worker_broker_url) cannot be built"):
        _ = app.connection_for_write().transport


def check_application(name: str) -> None:
    """Import the application as the worker will."""
    from celery.bin.celery import find_app

    with told(f"worker_celery_app ({name}) cannot be imported on the host"):
        find_app(name)


@contextlib.contextmanager
def told(what: str) -> Iterator[None]:
    """Turn any error of the code under test into a sentence."""
    try:
        yield
    except InvalidConfigurationError:
        raise
    except BaseException as error:
        raise InvalidConfigurationError(f"{what}: {type(error).__name__}: {error}") from error


def mask(text: str, variables: Mapping[str, str]) -> str:
    """Take every value of the environment file, and the passwords in its URLs, out of a text."""
    secrets = set(variables.values())
    for value in variables.values():
        for part in value.split(";"):
            credentials = part.partition("://")[2].rpartition("@")[0]
            password = credentials.partition(":")[2]
            secrets |= {part, credentials, password, unquote(credentials), unquote(password)}
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) > 3:
            text = text.replace(secret, "****")
    return text


def drop_privileges(user: str) -> None:
    """Become the worker's user: its application must not run as root."""
    if os.geteuid() == 0:
        account = pwd.getpwnam(user)
        os.initgroups(user, account.pw_gid)
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)


def find_problem(wanted: Mapping[str, Any]) -> str:
    """Return the first problem as one sentence, or an empty text."""
    variables: dict[str, str] = {}
    try:
        variables = parse_environment(wanted["environment"], wanted["environment_file"])
        os.environ.update(variables)
        sys.path[:0] = wanted["python_path"]
        importlib.invalidate_caches()
        check_certificates(wanted["certificate_authority"], wanted["certificate_file"], wanted["private_key_file"])
        with told(f"{wanted['configuration_file']} cannot be loaded"):
            module = load_settings(wanted["configuration"], wanted["configuration_file"])
        with told("Celery cannot be imported by the interpreter of the worker (see worker_python)"):
            importlib.import_module("celery")
        check_names(module)
        check_objects(module)
        if wanted["application"]:
            check_application(wanted["application"])
    except InvalidConfigurationError as error:
        return f"{' '.join(mask(str(error), variables).split()).rstrip('.')}."
    return ""


def main() -> None:
    wanted = json.load(sys.stdin)
    if wanted["user"]:
        drop_privileges(wanted["user"])
    warnings.simplefilter("ignore")
    # The application may print what it likes while it is imported; the answer must stay readable.
    with contextlib.redirect_stdout(sys.stderr):
        problem = find_problem(wanted)
    print(json.dumps({"problem": problem}))


if __name__ == "__main__":
    main()
