# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation that the modules for a PostgreSQL server on the same host share."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of the connection to the server."""

    DOCUMENTATION = r"""
options:
  unix_socket:
    description:
      - Directory of the server's Unix socket. Nothing travels over the network, and no password is needed.
    type: path
    default: /run/postgresql
  login_port:
    description:
      - Port of the server, which is part of the socket's name.
    type: int
    default: 5432
  login_user:
    description:
      - Role to log in as. It must be a superuser, and C(pg_hba.conf) must let the user that runs the module be it.
    type: str
    default: postgres
requirements:
  - python3-psycopg2 (or the Python library psycopg >= 3.1) on the host, once the server is running
"""
