# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation that the modules for a MariaDB server on the same host share."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of the connection to the server."""

    DOCUMENTATION = r"""
options:
  unix_socket:
    description:
      - Path of the server's Unix socket. Nothing travels over the network, and no password is needed.
    type: path
    default: /run/mysqld/mysqld.sock
  login_user:
    description:
      - Account to log in as, which the server knows by the user that runs the module.
    type: str
    default: root
requirements:
  - python3-pymysql on the host, once the server is running
"""
