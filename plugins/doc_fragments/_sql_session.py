# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation that the modules share which look at a result store in a database."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of the connection to a database."""

    DOCUMENTATION = r"""
options:
  engine:
    description:
      - What the server is. V(mysql) stands for MariaDB and MySQL.
    type: str
    choices: [postgresql, mysql]
    required: true
  login_unix_socket:
    description:
      - Socket of the server on this host, or the directory that holds it. Nothing travels over the network this way.
      - Either this or O(login_host) is required.
    type: path
  login_host:
    description:
      - Name or address of the server.
    type: str
  login_port:
    description:
      - Port of the server. Without it 5432 or 3306.
    type: int
  login_user:
    description:
      - Account to log in as.
    type: str
    required: true
  login_password:
    description:
      - Password of O(login_user). Without it the server has to know the account by the user of the operating system.
    type: str
  database:
    description:
      - Name of the database. With V(mysql) it is that of the application.
    type: str
    required: true
  schema:
    description:
      - Name of the application's schema. Required with O(engine=postgresql), and only used there.
    type: str
  ssl_mode:
    description:
      - How the server proves who it is. V(verify-full) compares its name with its certificate, V(verify-ca) only wants
        a certificate of a known authority, V(require) wants nothing but encryption.
      - Only used with O(login_host).
    type: str
    choices: [verify-full, verify-ca, require, disable]
    default: verify-full
  ca_file:
    description:
      - Certificates of the authorities that may have signed the server's certificate.
      - The system's own are used without it. Only used with O(login_host).
    type: path
  login_timeout:
    description:
      - Seconds to wait for a connection.
    type: int
    default: 10
requirements:
  - python3-psycopg2 or python3-psycopg on the host that the module runs on, with O(engine=postgresql)
  - python3-pymysql there, with O(engine=mysql)
"""
