#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

DOCUMENTATION = r"""
module: fleet_state
short_description: Read the state of all devices of a play, in one task
version_added: 0.2.0
description:
  - Does for all hosts of the play what M(edgewright.factory.device_state) does for one, side by side in one
    process. A device that is as wanted then costs one command over its connection, and no process of the
    controller's own.
  - It tells which devices are as wanted. What it read of the others, M(edgewright.factory.device_state) takes
    up with its option C(read_by), so that each fault is told by the task of its device.
  - Devices that are reached by other means than ssh are left to M(edgewright.factory.device_state), and so
    are all where the task has a time limit.
  - The task needs C(run_once), so that all hosts get to know what it returned.
  - It never changes a device.
extends_documentation_fragment:
  - edgewright.factory.release
  - edgewright.factory.release.areas
options:
  readings:
    description:
      - Whether to return C(readings), what is to be told of each device, in place of C(devices).
    type: bool
    default: false
  answer_within_s:
    description:
      - Seconds after which a device that is waited for is given up, and counts as failed; 0 for no limit.
    type: int
    default: 0
attributes:
  check_mode:
    description: Only reads; does the same in check mode.
    support: full
  diff_mode:
    description: Changes nothing; what differs is shown by the task of each device.
    support: none
author:
  - The Edgewright developers (@edgewright)
"""

EXAMPLES = r"""
- name: Read all devices
  edgewright.factory.fleet_state:
    lock: "{{ edgewright_release_dir }}/release.lock.yml"
  register: fleet
  run_once: true

- name: Leave devices alone that are as wanted
  ansible.builtin.meta: end_host
  when: inventory_hostname in fleet.as_wanted

- name: Tell what differs, device by device
  edgewright.factory.device_state:
    lock: "{{ edgewright_release_dir }}/release.lock.yml"
    read_by: fleet
"""

RETURN = r"""
as_wanted:
  description: Devices that were read and have no drift.
  returned: always
  type: list
  elements: str
rows:
  description: What there is to say of each of them.
  returned: always
  type: dict
lack_probe_only:
  description: Devices that are as wanted but for the probe's program, for M(edgewright.factory.keep_probes).
  returned: always
  type: list
  elements: str
devices:
  description: What M(edgewright.factory.device_state) returned, by device, of those that are not as wanted.
  returned: without I(readings)
  type: dict
readings:
  description:
    - What there is to tell of each device that was asked, by name. C(failed) or C(unreachable) and C(msg)
      where it could not be read; C(drift), C(lock), C(profile), C(state_dir) and C(stored) where it was.
  returned: with I(readings)
  type: dict
asked:
  description: All devices of the play; those without a reading are reached by other means than ssh.
  returned: with I(readings)
  type: list
  elements: str
"""
