# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation that the modules for a whole replication set share."""

from __future__ import annotations


class ModuleDocFragment:
    """The members of the set, and the account on the sentinels."""

    DOCUMENTATION = r"""
options:
  nodes:
    description:
      - All servers of the replication set, by the names that they announce to each other.
    type: list
    elements: dict
    required: true
    suboptions:
      host:
        description: Name of the server. Its certificate has to have it.
        type: str
        required: true
      port:
        description: The server's TLS port.
        type: int
        default: 6379
  sentinels:
    description:
      - All sentinels that watch the set.
    type: list
    elements: dict
    default: []
    suboptions:
      host:
        description: Name of the sentinel. Its certificate has to have it.
        type: str
        required: true
      port:
        description: The sentinel's TLS port.
        type: int
        default: 26379
  primary_name:
    description:
      - Name under which the sentinels know the set.
    type: str
    default: results
  sentinel_user:
    description:
      - User to log in to the sentinels as.
    type: str
    default: default
  sentinel_password:
    description:
      - Password of O(sentinel_user). Without it the module does not log in to sentinels at all.
    type: str
  sentinel_previous_password:
    description:
      - Tried when a sentinel refuses O(sentinel_password), as in the middle of a change of passwords.
    type: str
"""

    LOGIN = r"""
options:
  login_user:
    description:
      - User to log in to the servers as.
    type: str
    default: default
  login_password:
    description:
      - Password of O(login_user). Without it the module does not log in to servers at all.
    type: str
  login_previous_password:
    description:
      - Tried when a server refuses O(login_password), as in the middle of a change of passwords.
    type: str
  ca_file:
    description:
      - Certificates of the authorities that may have signed those of servers and sentinels.
      - The system's own are used without it.
    type: path
  certificate_file:
    description:
      - Certificate to show to servers and sentinels that ask for one.
    type: path
  private_key_file:
    description:
      - Private key of O(certificate_file).
    type: path
  login_timeout:
    description:
      - Seconds to wait for a connection and for each answer. Servers and sentinels are asked at the same time.
    type: float
    default: 5
requirements:
  - python3-redis (the Python library redis >= 4.3) on the host that runs the module
"""
