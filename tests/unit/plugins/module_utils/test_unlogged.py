# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the journal of a host would hold of a call."""

from __future__ import annotations

from unittest import mock

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.resultops.celery.plugins.module_utils._unlogged import UnloggedModule

PASSWORD = 'it\'s \\ a "password" quince'
SPECIFICATION = {
    "accounts": {"type": "list", "elements": "dict", "options": {"password": {"type": "str", "no_log": True}}}
}


@pytest.mark.parametrize(("kind", "told"), [(UnloggedModule, False), (AnsibleModule, True)])
def test_passwords_in_a_list_are_not_logged(kind: type[AnsibleModule], told: bool) -> None:
    """Ansible's own class does log them: should that end, this one is not needed any more."""
    with patch_module_args({"accounts": [{"password": PASSWORD}]}), mock.patch.object(AnsibleModule, "log") as log:
        kind(argument_spec=SPECIFICATION)
    assert log.called
    assert ("quince" in str(log.call_args_list)) is told
