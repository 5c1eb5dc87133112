# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation that modules share: check mode, diff mode and where they run. What is named first counts."""

from __future__ import annotations


class ModuleDocFragment:
    """A module that changes something on a Debian host."""

    DOCUMENTATION = r"""
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Returns details on what has changed (or possibly needs changing in check_mode), when in diff mode.
    support: full
  platform:
    description: Target OS families the module runs on.
    platforms: debian
    support: full
"""

    INFO = r"""
attributes:
  check_mode:
    details: The module never changes anything.
  diff_mode:
    support: none
    details: Nothing is changed.
"""

    POSIX = r"""
attributes:
  platform:
    platforms: posix
"""
