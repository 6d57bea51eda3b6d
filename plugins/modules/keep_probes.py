#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

DOCUMENTATION = r"""
module: keep_probes
short_description: Have all devices keep the probe's program that lack nothing else, in one task
version_added: 0.2.0
description:
  - Does M(edgewright.factory.keep_probe) side by side, in one process, for the devices of which
    M(edgewright.factory.fleet_state) has found that they are as wanted but for the probe's program, as after
    a new version of Edgewright.
  - A device on which it fails is left out of what it returns, and is told by the tasks of its own.
  - The task needs C(run_once). In check mode it does nothing.
extends_documentation_fragment:
  - edgewright.factory.release
options:
  read_by:
    description: Name of the variable in which M(edgewright.factory.fleet_state) was registered.
    type: str
    required: true
attributes:
  check_mode:
    description: Does nothing then.
    support: full
  diff_mode:
    description: Shows nothing; the program is shown by nobody.
    support: none
author:
  - The Edgewright developers (@edgewright)
"""

EXAMPLES = r"""
- name: Keep the probe on devices that lack nothing else
  edgewright.factory.keep_probes:
    lock: "{{ edgewright_release_dir }}/release.lock.yml"
    read_by: fleet
  register: kept
  run_once: true
"""

RETURN = r"""
as_wanted:
  description: Devices that keep the program now and have no drift any more.
  returned: always
  type: list
  elements: str
rows:
  description: What there is to say of each of them.
  returned: always
  type: dict
changed_rows:
  description: Whether there are any, and so were changed; C(changed) speaks of the task's own host.
  returned: always
  type: bool
"""
