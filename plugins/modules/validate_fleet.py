#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

DOCUMENTATION = r"""
module: validate_fleet
short_description: Check the variables of all hosts of a play, in one task
version_added: 0.2.0
description:
  - Does for all hosts of the play what M(edgewright.factory.validate_inventory) does for one, in one process.
  - It does not fail where a host has faults; it names the host, for
    M(edgewright.factory.validate_inventory) to tell the faults there.
  - The task needs C(run_once).
extends_documentation_fragment:
  - edgewright.factory.release
attributes:
  check_mode:
    description: Only reads; does the same in check mode.
    support: full
  diff_mode:
    description: Changes nothing, so there is nothing to show.
    support: none
  platform:
    description: Runs on the controller.
    support: full
    platforms: all
author:
  - The Edgewright developers (@edgewright)
"""

EXAMPLES = r"""
- name: Check all hosts
  edgewright.factory.validate_fleet:
    lock: "{{ edgewright_release_dir }}/release.lock.yml"
  register: fleet
  run_once: true

- name: Go on where no host has a fault
  ansible.builtin.meta: end_batch
  when: fleet.faulty | length == 0

- name: Tell each host's faults
  edgewright.factory.validate_inventory:
    lock: "{{ edgewright_release_dir }}/release.lock.yml"
"""

RETURN = r"""
faulty:
  description: Hosts that have faults.
  returned: always
  type: list
  elements: str
waivers:
  description: Lines for what is set aside, with the device and who answers for it.
  returned: always
  type: list
  elements: str
rows:
  description: What there is to say of each host without a fault.
  returned: always
  type: dict
"""
