# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: longest_down_after
short_description: Say how long sentinels wait before they take a primary for down
version_added: 0.5.0
author: ResultOps engineers (@resultops)
description:
  - Reads for each host the variables of the role P(resultops.celery.sentinel#role), and returns the longest time that
    one of the sentinels waits.
  - A C(down_after) of the primary's entry in C(sentinel_primaries) comes before C(sentinel_down_after) of the host, and
    that before the default of the role.
positional: variables, primary
options:
  _input:
    description: Inventory names of the sentinels' hosts.
    type: list
    elements: str
    required: true
  variables:
    description: The variables of all hosts, usually C(hostvars).
    type: dict
    required: true
  primary:
    description: The name of the primary, as the sentinels know it.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Say how long it takes until the sentinels act
  ansible.builtin.debug:
    msg: "{{ groups['sentinel'] | resultops.celery.longest_down_after(hostvars, 'results') }} ms"
"""

RETURN = r"""
_value:
  description: Milliseconds; the default of the role where there is no host.
  type: int
  sample: 2000
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

# The default of sentinel_down_after, which the variables of a host do not show.
USUAL = 2000


def longest_down_after(names: Sequence[str], variables: Mapping[str, Mapping[str, Any]], primary: str) -> int:
    return max((_down_after(variables[name], primary) for name in names), default=USUAL)


def _down_after(known: Mapping[str, Any], primary: str) -> int:
    own = [entry.get("down_after") for entry in known.get("sentinel_primaries", []) if entry.get("name") == primary]
    return int(next(filter(None, own), known.get("sentinel_down_after", USUAL)))


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"longest_down_after": longest_down_after}
