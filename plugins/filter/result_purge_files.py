# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

DOCUMENTATION = r"""
name: result_purge_files
short_description: The systemd units that remove expired results
version_added: 0.3.0
author: ResultOps engineers (@resultops)
description:
  - Gives a service, a timer and, where an account needs a password, a file with the login for each application. The
    service calls the procedure C(celery_purge) of the application's tables with the database's own client.
  - A service fails when the purge did, so that C(systemctl is-failed) knows.
  - The file with the login may be read by root only. The service gets it as a credential, and nothing of it stands in
    a unit or on a command line.
options:
  _input:
    description: Applications with C(name), and with C(schema), C(purge_user), C(purge_password), C(retention) and
      C(retention_unfinished) where those are set.
    type: list
    elements: dict
    required: true
  settings:
    description: What is the same for all of them - C(engine), C(database), C(login_host), C(login_unix_socket),
      C(login_port), C(ca_file), C(ssl_mode), C(account), C(directory), C(schedule), C(retention),
      C(retention_unfinished), C(batch) and C(pause).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the units of an application
  ansible.builtin.debug:
    msg: "{{ [{'name': 'shop'}] | resultops.celery.result_purge_files(settings) }}"
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
"""

RETURN = r"""
_value:
  description: Files with C(path), C(content) and C(mode).
  type: list
  elements: dict
"""

UNITS = "/etc/systemd/system"
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


def result_purge_files(applications: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> list[dict[str, str]]:
    files = []
    for application in applications:
        name = str(application["name"])
        login_file = f"{settings['directory']}/{name}.login"
        make = _postgresql if settings["engine"] == "postgresql" else _mysql
        environment, login, command = make(application, settings)
        lines = [f"Environment={_quoted(f'{key}={value}')}\n" for key, value in environment.items()]
        if login:
            lines.insert(0, f"LoadCredential=login:{login_file}\n")
            files.append({"path": login_file, "content": login, "mode": "0600"})
        service = SERVICE.format(
            name=name,
            account=settings["account"],
            login="".join(lines),
            # A dollar sign begins a variable there, and in an environment it does not.
            command=" ".join(_quoted(word).replace("$", "$$") for word in command),
            network=REMOTE if settings["login_host"] else LOCAL,
        )
        timer = TIMER.format(name=name, schedule=settings["schedule"])
        for suffix, content in (("service", service), ("timer", timer)):
            files.append({"path": f"{UNITS}/celery-purge-{name}.{suffix}", "content": content, "mode": "0644"})
    return files


def _call(application: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    values = [
        int(application.get("retention") or settings["retention"]),
        int(application.get("retention_unfinished") or settings["retention_unfinished"]),
        int(settings["batch"]),
        float(settings["pause"]),
    ]
    schema = str(application.get("schema") or application["name"]).replace('"', '""')
    where = f'"{schema}".' if settings["engine"] == "postgresql" else ""
    return f"CALL {where}celery_purge({', '.join(str(value) for value in values)})"


def _user(application: Mapping[str, Any]) -> str:
    return str(application.get("purge_user") or f"{application['name']}_purge")


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
        environment["PGSSLROOTCERT"] = str(settings["ca_file"] or "/etc/ssl/certs/ca-certificates.crt")
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
    options = {"user": _user(application), "password": str(application.get("purge_password") or "")}
    if settings["login_host"]:
        options |= {"host": str(settings["login_host"]), "port": str(settings["login_port"]), "protocol": "tcp"}
        if settings["ssl_mode"] != "disable":
            options["ssl-ca"] = str(settings["ca_file"] or "/etc/ssl/certs/ca-certificates.crt")
        if settings["ssl_mode"] == "verify-full":
            options["ssl-verify-server-cert"] = ""
    else:
        options["socket"] = str(settings["login_unix_socket"])
    lines = [
        f"{key}={_option(value)}\n" if value else f"{key}\n"
        for key, value in options.items()
        if value or key != "password"
    ]
    # The first statement is one for MariaDB only.
    statements = f"/*M! SET SESSION max_statement_time = 0 */; {_call(application, settings)}"
    command = ["/usr/bin/mariadb", "--defaults-file=%d/login", "--batch", "--skip-column-names"]
    # Of a schema in MySQL's sense each application has one: its database.
    database = str(application.get("schema") or application["name"])
    return {}, "[client]\n" + "".join(lines), [*command, f"--execute={statements}", database]


def _option(value: str) -> str:
    """As the client reads it in its file, where # begins a comment and \\ is an escape."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _quoted(word: str) -> str:
    """As systemd reads a word; %d is the only specifier that is meant."""
    marked = word.replace("%", "%%").replace("%%d/login", "%d/login")
    marked = marked.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{marked}"'


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"result_purge_files": result_purge_files}
