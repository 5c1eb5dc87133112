# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

DOCUMENTATION = r"""
name: result_purge_plan
short_description: What lets expired results be removed from time to time
version_added: 0.3.0
author: ResultOps engineers (@resultops)
description:
  - Gives a service, a timer and, where an account needs a password, a file with the login for each application. The
    service calls the procedure C(celery_purge) of the application's tables with the database's own client.
  - The same call as a job of the extension C(pg_cron) is in C(jobs).
  - A service fails when the purge did, so that C(systemctl is-failed) knows.
  - The file with the login may be read by root only. The service gets it as a credential, and nothing of it stands in
    a unit or on a command line.
options:
  _input:
    description: Applications with C(name), and with C(schema) or C(database), C(purge_username) and C(purge_password)
      where those are set.
    type: list
    elements: dict
    required: true
  settings:
    description: What is the same for all of them - C(engine), C(database), C(login_host), C(login_unix_socket),
      C(login_port), C(ca_file), C(ssl_mode), C(account), C(directory), C(schedule), C(retention),
      C(retention_unfinished), C(batch), C(pause), and in C(by_application) the C(retention) and C(retention_unfinished)
      of single applications by their names.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the units of an application
  ansible.builtin.debug:
    msg: "{{ [{'name': 'shop'}] | resultops.celery.result_purge_plan(settings) }}"
  vars:
    settings:
      engine: postgresql
      database: results
      login_host: ""
      login_unix_socket: /run/postgresql
      login_port: 5432
      ca_file: ""
      ssl_mode: verify-full
      account: celery-purge
      directory: /etc/celery-purge
      schedule: hourly
      retention: 86400
      retention_unfinished: 604800
      batch: 5000
      pause: 0.05
      by_application: {}
"""

RETURN = r"""
_value:
  description:
    - C(files) are the files with C(path), C(mode) and the SHA-256 C(checksum) of their content, which stands in
      C(contents) by the path. C(timers) are the paths of the timers.
    - C(jobs) have C(name), C(schedule), C(command) and C(account).
  type: dict
"""

UNITS = "/etc/systemd/system"
# Seconds that a purge on MariaDB or MySQL waits for a table that somebody else has locked.
LOCK_WAIT = 10
SERVICE = """\
# Ansible manages this file: role resultops.celery.result_schema
[Unit]
Description=Remove expired results of the application {name}
Wants=network-online.target
After=network-online.target postgresql.service mariadb.service

[Service]
Type=oneshot
User={account}
Group={account}
{login}ExecStart={command}
TimeoutStartSec=infinity

UMask=0077
NoNewPrivileges=true
CapabilityBoundingSet=
AmbientCapabilities=
LockPersonality=true
MemoryDenyWriteExecute=true
PrivateDevices=true
{network}PrivateTmp=true
PrivateUsers=true
ProcSubset=pid
ProtectClock=true
ProtectControlGroups=true
ProtectHome=true
ProtectHostname=true
ProtectKernelLogs=true
ProtectKernelModules=true
ProtectKernelTunables=true
ProtectProc=invisible
ProtectSystem=strict
RemoveIPC=true
RestrictNamespaces=true
RestrictRealtime=true
RestrictSUIDSGID=true
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
"""
TIMER = """\
# Ansible manages this file: role resultops.celery.result_schema
# Engine: {engine}
[Unit]
Description=Remove expired results of the application {name} from time to time

[Timer]
OnCalendar={schedule}
# Several applications do not begin at the same moment, and a host that was off makes up for it.
RandomizedDelaySec=60
Persistent=true

[Install]
WantedBy=timers.target
"""
LOCAL = "PrivateNetwork=true\nRestrictAddressFamilies=AF_UNIX\n"
REMOTE = "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX\n"


def result_purge_plan(applications: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> dict[str, Any]:
    contents: dict[str, str] = {}
    for application in applications:
        contents |= _files(application, settings)
    files = [
        {
            "path": path,
            "mode": "0600" if path.endswith(".login") else "0644",
            "checksum": hashlib.sha256(content.encode()).hexdigest(),
        }
        for path, content in contents.items()
    ]
    jobs = [
        {
            "name": f"celery_purge_{application['name']}",
            "schedule": settings["schedule"],
            "command": _call(application, settings),
            "account": _user(application),
        }
        for application in applications
    ]
    timers = [path for path in contents if path.endswith(".timer")]
    return {"files": files, "contents": contents, "timers": timers, "jobs": jobs}


def _files(application: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, str]:
    name = str(application["name"])
    login_file = f"{settings['directory']}/{name}.login"
    make = _postgresql if settings["engine"] == "postgresql" else _mysql
    environment, login, command = make(application, settings)
    lines = [f"LoadCredential=login:{login_file}\n"] if login else []
    if _verifies(settings) and settings["ca_file"]:
        lines.append(f"LoadCredential=ca:{settings['ca_file']}\n")
    lines += [f"Environment={_quoted(f'{key}={value}')}\n" for key, value in environment.items()]
    service = SERVICE.format(
        name=name,
        account=settings["account"],
        login="".join(lines),
        # A dollar sign begins a variable there, and in an environment it does not.
        command=" ".join(_quoted(word).replace("$", "$$") for word in command),
        network=REMOTE if settings["login_host"] else LOCAL,
    )
    timer = TIMER.format(name=name, engine=settings["engine"], schedule=settings["schedule"])
    unit = f"{UNITS}/celery-purge-{name}"
    return {**({login_file: login} if login else {}), f"{unit}.service": service, f"{unit}.timer": timer}


def _call(application: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    own = settings["by_application"].get(application["name"], {})
    values = [
        int(own.get("retention", settings["retention"])),
        int(own.get("retention_unfinished", settings["retention_unfinished"])),
        int(settings["batch"]),
        float(settings["pause"]),
    ]
    schema = str(application.get("schema") or application["name"]).replace('"', '""')
    where = f'"{schema}".' if settings["engine"] == "postgresql" else ""
    return f"CALL {where}celery_purge({', '.join(str(value) for value in values)})"


def _user(application: Mapping[str, Any]) -> str:
    return str(application.get("purge_username") or f"{application['name']}_purge")


def _verifies(settings: Mapping[str, Any]) -> bool:
    return bool(settings["login_host"]) and str(settings["ssl_mode"]).startswith("verify")


def _authorities(settings: Mapping[str, Any]) -> str:
    """The account need not be able to read the file, which may lie in the server's own directory."""
    return "%d/ca" if settings["ca_file"] else "/etc/ssl/certs/ca-certificates.crt"


def _postgresql(application: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[dict[str, str], str, list[str]]:
    environment = {
        "PGHOST": str(settings["login_host"] or settings["login_unix_socket"]),
        "PGPORT": str(settings["login_port"]),
        "PGUSER": _user(application),
        "PGDATABASE": str(settings["database"]),
        "PGAPPNAME": "celery-purge",
        "PGCONNECT_TIMEOUT": "30",
    }
    if settings["login_host"]:
        environment["PGSSLMODE"] = str(settings["ssl_mode"])
    if _verifies(settings):
        environment["PGSSLROOTCERT"] = _authorities(settings)
    login = ""
    if application.get("purge_password") and settings["login_host"]:
        escaped = str(application["purge_password"]).replace("\\", "\\\\").replace(":", "\\:")
        login = f"*:*:*:*:{escaped}\n"
        environment["PGPASSFILE"] = "%d/login"
    command = ["/usr/bin/psql", "--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1"]
    # The account may have a time limit, which would end the purge half way.
    command += ["--command=SET statement_timeout = 0", f"--command={_call(application, settings)}"]
    return environment, login, command


def _mysql(application: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[dict[str, str], str, list[str]]:
    command = ["/usr/bin/mariadb", "--defaults-file=%d/login", "--batch", "--skip-column-names"]
    options = {"user": _user(application), "password": str(application.get("purge_password") or "")}
    if settings["login_host"]:
        options |= {"host": str(settings["login_host"]), "port": str(settings["login_port"]), "protocol": "tcp"}
    else:
        options["socket"] = str(settings["login_unix_socket"])
    if _verifies(settings):
        command.append(f"--ssl-ca={_authorities(settings)}")
    if settings["login_host"] and settings["ssl_mode"] == "verify-full":
        command.append("--ssl-verify-server-cert")
    login = "[client]\n" + "".join(f"{key}={_option(value)}\n" for key, value in options.items() if value)
    # The first statement is one for MariaDB only. By default a session waits a day for a table that somebody locks.
    limits = f"/*M! SET SESSION max_statement_time = 0 */; SET SESSION lock_wait_timeout = {LOCK_WAIT}"
    statements = f"{limits}; {_call(application, settings)}"
    database = str(application.get("database") or application["name"])
    return {}, login, [*command, f"--execute={statements}", database]


def _option(value: str) -> str:
    """As the client reads it in its file, where # begins a comment and \\ is an escape."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _quoted(word: str) -> str:
    """As systemd reads a word; the directory of the credentials is the only specifier that is meant."""
    marked = word.replace("%", "%%")
    for name in ("login", "ca"):
        marked = marked.replace(f"=%%d/{name}", f"=%d/{name}")
    marked = marked.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{marked}"'


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"result_purge_plan": result_purge_plan}
