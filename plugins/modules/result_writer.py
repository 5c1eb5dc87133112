#!/usr/bin/python
# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: result_writer
short_description: Store numbered results as a worker does, and count what became of them
version_added: 0.2.0
author: ResultOps engineers (@resultops)
description:
  - Loads the environment file and the configuration module of a worker and stores numbered results through its result
    backend, with the worker's own retries, until a file named C(stop) appears in O(directory) or a bound is reached.
  - A store that returns is acknowledged, one that raises is failed. Each outcome is written to O(directory) at once, so
    that a controller or a writer that dies leaves the evidence behind.
  - Afterwards O(state=examined) reads every acknowledged result back over new connections, counts those that are gone
    or changed as lost, and deletes all of them.
  - Run it with the Python interpreter of the worker's virtual environment, as the user of the worker. Run
    O(state=written) with C(async), because it takes as long as it is told to.
requirements:
  - celery with the client library of the backend, in the interpreter that runs the module
extends_documentation_fragment:
  - resultops.celery._attributes.posix
  - resultops.celery._attributes
attributes:
  check_mode:
    details: In check mode the module loads the configuration and stores, reads and deletes nothing.
  diff_mode:
    support: none
    details: Results are counted, not compared.
options:
  state:
    description:
      - V(written) stores results and returns when it is told to stop.
      - V(examined) reads back what a writer that used the same O(directory) had stored, and deletes it.
    type: str
    choices: [written, examined]
    default: written
  env_file:
    description: The environment file of the worker, in the syntax of a systemd C(EnvironmentFile).
    type: path
    required: true
  config_directory:
    description: The directory of the configuration module.
    type: path
    required: true
  config_module:
    description: The name of the configuration module.
    type: str
    default: celeryconfig
  directory:
    description:
      - An existing directory of this user that nobody else may enter. It holds the records of one run.
      - The file C(ready) in it says that a first result was acknowledged; creating the file C(stop) ends the writer.
    type: path
    required: true
  run:
    description:
      - The name of the run, which becomes a part of the ids of the results. Required for O(state=written).
      - Letters, digits, dots and hyphens are allowed. It has to differ from that of every other writer.
    type: str
  threads:
    description: How many threads store at the same time. Each has connections of its own, as a worker's processes have.
    type: int
    default: 4
  seconds:
    description: After how many seconds the writer stops even if nobody tells it to.
    type: float
    default: 60
  patience:
    description: How many seconds a store may still take once the writer is to stop. Then it counts as failed.
    type: float
    default: 15
  rate:
    description: How many results all threads together store in a second. V(0) means as many as they can.
    type: float
    default: 0
  results:
    description: How many results are stored at most.
    type: int
    default: 500000
  expires:
    description: After how many seconds the results expire if nobody deletes them.
    type: int
    default: 3600
  stock:
    description:
      - Store as somebody does who configured only what Celery cannot do without, which is addresses, passwords, TLS,
        the name of the primary, the key prefix and the serializer. All else is the default of Celery and its client.
      - Shows what the settings and classes of this collection are good for.
    type: bool
    default: false
seealso:
  - module: resultops.celery.failover_watch
  - module: resultops.celery.failover_fault
  - module: resultops.celery.result_backend_check
"""

EXAMPLES = r"""
- name: Store results for a minute, at most
  resultops.celery.result_writer:
    env_file: /etc/celery/app/.env
    config_directory: /etc/celery/app
    directory: /run/resultops-drill/kill
    run: kill-worker1
    seconds: 60
  async: 90
  poll: 0
  become: true
  become_user: celery
  vars:
    ansible_python_interpreter: /opt/celery/app/venv/bin/python
    ansible_async_dir: /run/resultops-drill/kill

- name: Count what became of them
  resultops.celery.result_writer:
    state: examined
    env_file: /etc/celery/app/.env
    config_directory: /etc/celery/app
    directory: /run/resultops-drill/kill
  become: true
  become_user: celery
  vars:
    ansible_python_interpreter: /opt/celery/app/venv/bin/python
"""

RETURN = r"""
acknowledged:
  description: How many stores returned.
  returned: success and O(state=examined)
  type: int
  sample: 31250
lost:
  description: How many acknowledged results are gone or changed.
  returned: success and O(state=examined)
  type: int
  sample: 0
lost_examples:
  description: The ids of the first lost results.
  returned: success and O(state=examined)
  type: list
  elements: str
  sample: []
failed_stores:
  description: How many stores raised an error or did not end in time.
  returned: success and O(state=examined)
  type: int
  sample: 0
unfinished:
  description: How many stores did not end in time.
  returned: success
  type: int
  sample: 0
blocked_ms:
  description:
    - The longest single store, or the longest time in which none of the threads succeeded, whichever is longer, in
      milliseconds.
  returned: success and O(state=examined)
  type: int
  sample: 2480
blocked_at:
  description: When that began, in seconds since 1970 by the clock of this host.
  returned: success and O(state=examined)
  type: float
  sample: 1764000000.123
stalled_ms:
  description:
    - How much longer than it wanted the module slept once, in milliseconds. Where that is much, the machine is too busy
      for RV(blocked_ms) to say something about the servers.
  returned: success and O(state=examined)
  type: int
  sample: 3
exhausted:
  description: Whether O(results) ended the writer.
  returned: success
  type: bool
  sample: false
backend:
  description: The class of Celery's backend that stored.
  returned: success and O(state=examined)
  type: str
  sample: RedisBackend
deleted:
  description: Whether the results were deleted. Otherwise they expire.
  returned: success and O(state=examined)
  type: bool
  sample: true
not_deleted:
  description: Why the results were not deleted.
  returned: when they were not deleted
  type: str
  sample: "TimeoutError: Timeout reading from redis1:6379"
"""

import os
import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.resultops.celery.plugins.module_utils import _celery_client as client
from ansible_collections.resultops.celery.plugins.module_utils import _writer

AT_LEAST = {"threads": 1, "seconds": 1, "patience": 0, "rate": 0, "results": 1, "expires": 60}


def problem(wanted: dict[str, Any]) -> str:
    """Say what is wrong with the options, if anything is."""
    for name, least in AT_LEAST.items():
        if wanted[name] < least:
            return f"The option {name} is {wanted[name]:g}, but it must be at least {least}."
    if wanted["run"] is not None and not re.fullmatch(r"[A-Za-z0-9.-]+", wanted["run"]):
        return f"The option run is {wanted['run']!r}, but it may only have letters, digits, dots and hyphens."
    directory = wanted["directory"]
    if not os.path.isdir(directory) or not os.access(directory, os.W_OK | os.X_OK):
        return f"The directory {directory} does not exist or is not writable for this user."
    if os.stat(directory).st_mode & 0o077:
        return f"The directory {directory} lets other users in; set its mode to 0700."
    if wanted["state"] == "written" and os.path.exists(os.path.join(directory, _writer.ABOUT_FILE)):
        return f"The directory {directory} holds the records of another run; give each run a directory of its own."
    return ""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["written", "examined"], "default": "written"},
            "env_file": {"type": "path", "required": True},
            "config_directory": {"type": "path", "required": True},
            "config_module": {"type": "str", "default": "celeryconfig"},
            "directory": {"type": "path", "required": True},
            "run": {"type": "str"},
            "threads": {"type": "int", "default": 4},
            "seconds": {"type": "float", "default": 60},
            "patience": {"type": "float", "default": 15},
            "rate": {"type": "float", "default": 0},
            "results": {"type": "int", "default": 500000},
            "expires": {"type": "int", "default": 3600},
            "stock": {"type": "bool", "default": False},
        },
        required_if=[("state", "written", ["run"])],
        supports_check_mode=True,
    )
    wanted = module.params
    wrong = problem(wanted)
    if wrong:
        module.fail_json(msg=wrong)
    redact = client.Redactor()
    try:
        settings = client.load_settings(wanted["env_file"], wanted["config_directory"], wanted["config_module"], redact)
        app = _writer.application(settings, wanted["expires"], wanted["stock"])
        redact.learn_url(str(app.conf.result_backend))
        if module.check_mode:
            module.exit_json(changed=wanted["state"] == "written", unfinished=0, exhausted=False)
        if wanted["state"] == "examined":
            module.exit_json(changed=True, **_writer.examine(app, wanted["directory"], redact))
        writer = _writer.Writer(
            app,
            wanted["directory"],
            wanted["run"],
            threads=wanted["threads"],
            rate=wanted["rate"],
            most=wanted["results"],
        )
        about = writer.write(wanted["seconds"], wanted["patience"])
    except Exception as error:  # noqa: BLE001 - every error becomes a sentence without secrets
        module.fail_json(msg=redact(client.explain(error)[1]))
    module.exit_json(changed=True, unfinished=about["unfinished"], exhausted=about["exhausted"])


if __name__ == "__main__":
    main()
