#!/usr/bin/python
# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: celery_config_check
short_description: Let Celery judge a configuration before it is written
version_added: 0.1.0
author: ResultOps engineers (@resultops)
description:
  - Loads the text of an environment file and of a configuration module as a worker would, and fails with one sentence
    that names the first problem and the variable of the role P(resultops.celery.worker#role) where it is set.
  - Refuses settings that Celery does not know, values of the wrong type, serializers, backends and brokers that cannot
    be used, certificates that do not fit, and an application that cannot be imported.
  - Refuses settings with which Celery would talk to sentinels or to Redis nodes in plaintext without a word.
  - For a backend in PostgreSQL or MySQL, SQLAlchemy and the driver judge the URL and C(database_engine_options), too.
  - Connects to nothing and writes nothing. No sentence contains a value of the environment file.
  - Run it with the Python interpreter of the worker's virtual environment.
requirements:
  - celery with the client library of the backend, in the interpreter that runs the module
extends_documentation_fragment:
  - resultops.celery._attributes.posix
  - resultops.celery._attributes.info
  - resultops.celery._attributes
options:
  configuration:
    description: The text of the configuration module.
    type: str
    required: true
  config_directory:
    description: The directory where it is to stand as C(celeryconfig.py). It becomes part of the Python path.
    type: path
    required: true
  environment:
    description:
      - The text of the environment file, in the syntax of a systemd C(EnvironmentFile).
      - It has to hold C(CELERY_BROKER_URL) and C(CELERY_RESULT_BACKEND).
    type: str
    required: true
  env_file:
    description: The path where it is to stand.
    type: path
    required: true
  certificate_authority:
    description: The certificate of the CA as PEM text, if it is to be written too.
    type: str
    default: ""
  certificate_file:
    description: The client certificate, if the backend asks for one.
    type: path
  private_key_file:
    description: The private key of O(certificate_file).
    type: path
  backend_module:
    description:
      - The text of the module of the role P(resultops.celery.worker#role) with the result backends of the profiles
        V(fast) and V(durable), if it is to be written too.
      - With it, the settings of a backend behind sentinels are also judged if Celery's own class is to use them.
    type: str
    default: ""
    version_added: 0.2.0
  backend_module_name:
    description:
      - The name of O(backend_module). V(celerysqlresults) has the class for PostgreSQL and MySQL.
    type: str
    choices: [celeryresults, celerysqlresults]
    default: celeryresults
    version_added: 0.3.0
  application:
    description: The application as C(celery --app) takes it. Without one, none is imported.
    type: str
    default: ""
  python_path:
    description: More directories of the Python path, where the application is found.
    type: list
    elements: path
    default: []
  user:
    description:
      - The account of the worker. Configuration and application are loaded as this user if the module runs as root.
      - Without it, they are loaded as the user that runs the module.
    type: str
  failure_note:
    description: A sentence that follows that of the problem, for example what was left undone because of it.
    type: str
    default: ""
seealso:
  - module: resultops.celery.result_backend_check
  - module: resultops.celery.host_info
"""

EXAMPLES = r"""
- name: Let Celery judge the configuration before it is written
  resultops.celery.celery_config_check:
    configuration: "{{ lookup('ansible.builtin.template', 'celeryconfig.py.j2') }}"
    config_directory: /etc/celery/app
    environment: "{{ lookup('ansible.builtin.template', 'environment.j2') }}"
    env_file: /etc/celery/app/.env
    application: shop.celery:app
    python_path: [/opt/celery/app/src]
    user: celery
    failure_note: The settings were not written.
  become: true
  vars:
    ansible_python_interpreter: /opt/celery/app/venv/bin/python
"""

RETURN = r"""#"""

import contextlib
import difflib
import importlib
import json
import os
import pwd
import ssl
import sys
import types
import warnings
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.resultops.celery.plugins.module_utils import _celery_client as client

REQUIRED_VARIABLES = ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND")

# Celery reads these, but does not list them among its settings.
UNLISTED_SETTINGS = frozenset(
    {
        "override_backends",
        "redis_backend_credential_provider",
        "redis_backend_health_check_interval",
        "redis_client_name",
        "result_backend_thread_safe",
    }
)


class InvalidConfigurationError(Exception):
    """The configuration cannot work; the message is one sentence."""


def read_environment(text: str, path: str) -> dict[str, str]:
    """Return the variables that systemd would read, all of the required ones among them."""
    try:
        variables = client.parse_environment(text)
    except client.CheckFailedError as error:
        raise InvalidConfigurationError(f"{path} cannot be read: {error}") from error
    for name in REQUIRED_VARIABLES:
        if not variables.get(name):
            raise InvalidConfigurationError(f"{name} is missing in {path}.")
    return variables


def check_certificates(authority: str, certificate_file: str | None, private_key_file: str | None) -> None:
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


def load_module(name: str, text: str, path: str) -> types.ModuleType:
    """Run a module of which only the text is there, and make it importable as Celery will find it."""
    module = types.ModuleType(name)
    module.__file__ = path
    exec(compile(text, path, "exec"), module.__dict__)  # noqa: S102 (a configuration module is code)
    sys.modules[name] = module
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
        backend = app.backend
        if hasattr(backend, "session_manager"):
            # Celery would miss a driver and refuse an option only when it stores the first result.
            backend.session_manager.get_engine(backend.url, **backend.engine_options)
    backends = sys.modules.get("celeryresults")
    if backends and (app.conf.result_backend or "").rpartition("+")[2].startswith("sentinel://"):
        problem = backends.plaintext_problem(
            app.conf.result_backend, app.conf.redis_backend_use_ssl, app.conf.result_backend_transport_options
        )
        if problem:
            raise InvalidConfigurationError(problem)
    with told("The broker connection (CELERY_BROKER_URL, see worker_broker_url) cannot be built"):
        _transport = app.connection_for_write().transport


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
    # Many errors quote a value as Python writes it.
    secrets |= {repr(secret)[1:-1] for secret in secrets}
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) > 3:
            text = text.replace(secret, "****")
    return text


def judge(wanted: Mapping[str, Any], variables: Mapping[str, str]) -> None:
    """Load everything in the order in which the worker does."""
    os.environ.update(variables)
    # Without the working directory, which the worker does not search either.
    sys.path[:] = [wanted["config_directory"], *wanted["python_path"], *filter(None, sys.path)]
    importlib.invalidate_caches()
    check_certificates(wanted["certificate_authority"], wanted["certificate_file"], wanted["private_key_file"])
    configuration_file = os.path.join(wanted["config_directory"], "celeryconfig.py")
    with told(f"{configuration_file} cannot be loaded"):
        module = load_module("celeryconfig", wanted["configuration"], configuration_file)
    with told("Celery cannot be imported by the interpreter of the worker (see worker_python)"):
        importlib.import_module("celery")
    if wanted["backend_module"]:
        name = wanted["backend_module_name"]
        backend_file = os.path.join(wanted["config_directory"], f"{name}.py")
        with told(f"{backend_file} cannot be loaded by the interpreter of the worker (see worker_profile)"):
            load_module(name, wanted["backend_module"], backend_file)
    check_names(module)
    check_objects(module)
    if wanted["application"]:
        check_application(wanted["application"])


def find_problem(wanted: Mapping[str, Any]) -> str:
    """Return the first problem as one sentence, or an empty text."""
    variables: dict[str, str] = {}
    try:
        with told("The configuration cannot be judged"):
            variables = read_environment(wanted["environment"], wanted["env_file"])
            judge(wanted, variables)
    except InvalidConfigurationError as error:
        return f"{' '.join(mask(str(error), variables).split()).rstrip('.')}."
    return ""


def become(account: pwd.struct_passwd) -> None:
    os.initgroups(account.pw_name, account.pw_gid)
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)


def answer(channel: int, account: pwd.struct_passwd | None, wanted: Mapping[str, Any]) -> None:
    """Write the problem into the channel; what the application prints while it is imported goes nowhere."""
    silence = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(silence, stream)
    os.chdir("/")
    if account:
        become(account)
    warnings.simplefilter("ignore")
    with open(channel, "w", encoding="utf-8") as file:
        json.dump(find_problem(wanted), file)


def ask_child(account: pwd.struct_passwd | None, wanted: Mapping[str, Any]) -> str:
    """Return the problem that a child process finds: the application must neither run as root nor end the module.

    JSON carries the answer, because what the application may have written must not be able to do anything here.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            answer(writer, account, wanted)
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, encoding="utf-8", errors="replace") as file:
        text = file.read()
    os.waitpid(child, 0)
    try:
        return str(json.loads(text))
    except ValueError:
        return f"{sys.executable} (see worker_python) could not run the check of the configuration."


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "configuration": {"type": "str", "required": True, "no_log": True},
            "config_directory": {"type": "path", "required": True},
            "environment": {"type": "str", "required": True, "no_log": True},
            "env_file": {"type": "path", "required": True},
            "certificate_authority": {"type": "str", "default": ""},
            "certificate_file": {"type": "path"},
            "private_key_file": {"type": "path"},
            "backend_module": {"type": "str", "default": ""},
            "backend_module_name": {
                "type": "str",
                "choices": ["celeryresults", "celerysqlresults"],
                "default": "celeryresults",
            },
            "application": {"type": "str", "default": ""},
            "python_path": {"type": "list", "elements": "path", "default": []},
            "user": {"type": "str"},
            "failure_note": {"type": "str", "default": ""},
        },
        required_together=[("certificate_file", "private_key_file")],
        supports_check_mode=True,
    )
    wanted = module.params
    account = None
    if wanted["user"] and os.geteuid() == 0:
        try:
            account = pwd.getpwnam(wanted["user"])
        except KeyError:
            module.fail_json(msg=f"The user {wanted['user']} (see worker_user) does not exist.")
    problem = ask_child(account, wanted)
    if problem:
        module.fail_json(msg=f"{problem} {wanted['failure_note']}".rstrip())
    module.exit_json(changed=False)


if __name__ == "__main__":
    main()
