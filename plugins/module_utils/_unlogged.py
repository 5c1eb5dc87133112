# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""For modules whose arguments are lists of accounts with their passwords."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule


class UnloggedModule(AnsibleModule):
    """Ansible writes each call to the host's journal, and there cannot mask a secret in a list of dictionaries.

    It escapes quotes and backslashes first, and then no longer recognises a password that has them.
    """

    def _log_invocation(self) -> None:
        self.log("Invoked; its arguments hold passwords and are not written here")
