#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

DOCUMENTATION = r"""
module: validate_inventory
short_description: Refuse an inventory that names unknown variables or asks for the impossible
version_added: 0.1.0
description:
  - Checks the variables of each host of the play before anything is touched. It opens no connection.
  - Every variable that begins like a role's must be declared in that role's argument specification, and
    every C(edgewright_*) must be a site variable; the message names the nearest.
  - Hosts of the group C(devices) must have a valid C(edgewright_profile), and what they ask for must be
    possible on it, such as CPU lists that name CPUs the device has and leave one for the system.
  - A waiver that the device's NVIDIA stack leans on must still count on this day.
  - Values must be of their declared types. All faults of a host are told at once.
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
- name: Validate the inventory
  edgewright.factory.validate_inventory:
    lock: "{{ edgewright_release_dir }}/release.lock.yml"
"""

RETURN = r"""
problems:
  description: What is wrong, one sentence each; empty when nothing is.
  returned: always
  type: list
  elements: str
waivers:
  description: A line for what is set aside on this device, with who answers for it; empty where nothing is.
  returned: when the variables were read
  type: list
  elements: str
"""
