# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation that the modules for a Redis or Valkey server share."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of the connection to the server."""

    DOCUMENTATION = r"""
options:
  unix_socket:
    description:
      - Path of the server's Unix socket. Nothing travels over the network this way.
      - Either this or O(login_host) is required.
    type: path
  login_host:
    description:
      - Name or address of the server, which is always spoken to over TLS. Certificate and name are verified.
    type: str
  login_port:
    description:
      - The server's TLS port. Only used with O(login_host).
    type: int
    default: 6379
  ca_file:
    description:
      - Certificates of the authorities that may have signed the server's certificate.
      - The system's own are used without it. Only used with O(login_host).
    type: path
  certificate_file:
    description:
      - Certificate to show to a server that asks for one. Only used with O(login_host).
    type: path
  private_key_file:
    description:
      - Private key of O(certificate_file). Only used with O(login_host).
    type: path
  login_user:
    description:
      - User to log in as. It needs the right to run C(INFO), C(CONFIG), C(ACL) and C(CLIENT KILL).
    type: str
    default: default
  login_password:
    description:
      - Password of O(login_user). Without it the module does not log in at all.
    type: str
  login_previous_password:
    description:
      - Tried when the server refuses O(login_password), so that the module can change the password that it logs in
        with.
    type: str
  login_timeout:
    description:
      - Seconds to wait for a connection and for each answer.
    type: float
    default: 10
  loading_timeout:
    description:
      - Seconds to wait for a server that is still reading its data from disk.
    type: int
    default: 120
  server_binary:
    description:
      - The server's program. While no server is running, it is asked for its version and run for a moment, empty and in
        a private directory, so that a mistake is found before the first start.
      - Without it C(redis-server) and then C(valkey-server) are searched on the C(PATH).
    type: path
requirements:
  - python3-redis (the Python library redis >= 4.3) on the host, once the server is running
"""
