#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

DOCUMENTATION = r"""
module: device_state
short_description: Read a device's state and tell how it differs from the desired one
version_added: 0.1.0
description:
  - Reads the areas of a device's state in one round trip, computes on the controller what they shall be,
    and returns the differences.
  - Where the device keeps the probe's program (role P(edgewright.factory.drift_watch#role)), that is one
    command and no transfer; where it does not, the program travels on the standard input of a second command,
    and is not kept.
  - It never changes the device, in check mode or out of it.
  - What is desired follows from the variables of the roles, the host's hardware profile
    (C(edgewright_profile)) and the lock; the roles need not be part of the play.
extends_documentation_fragment:
  - edgewright.factory.release
  - edgewright.factory.release.areas
options:
  read_by:
    description:
      - Name of the variable in which M(edgewright.factory.fleet_state) was registered. What it read of this
        host, or why it could not, is then this task's result, and the device is not asked again.
      - A host that it left out is read as always.
    type: str
    default: ""
    version_added: 0.2.0
attributes:
  check_mode:
    description: Reads and compares as always; C(changed) then says whether there is drift.
    support: full
  diff_mode:
    description: Shows the items that differ, as read and as desired.
    support: full
author:
  - The Edgewright developers (@edgewright)
"""

EXAMPLES = r"""
- name: Read all areas
  edgewright.factory.device_state:
    lock: "{{ edgewright_release_dir }}/release.lock.yml"
  register: state

- name: Tell what differs
  ansible.builtin.debug:
    var: state.summary

- name: Read the kernel's area alone
  edgewright.factory.device_state:
    lock: "{{ edgewright_release_dir }}/release.lock.yml"
    areas: [kernel]
  register: state
"""

RETURN = r"""
have:
  description: State as read, by area.
  returned: success
  type: dict
want:
  description: State as desired, by area; the same items.
  returned: success
  type: dict
lock:
  description: Path of the lock on the controller, resolved.
  returned: success
  type: str
profile:
  description: Name of the host's hardware profile.
  returned: success
  type: str
release:
  description: Name and version of the lock's release.
  returned: success
  type: dict
state_dir:
  description: The site's state on the controller (C(edgewright_state_dir)).
  returned: success
  type: str
drift:
  description: Items that differ, in the order of the areas.
  returned: success
  type: list
  elements: dict
  contains:
    area:
      description: The area.
      type: str
    item:
      description: The item in it.
      type: str
    have:
      description: Value as read; null where the device has none.
      type: raw
    want:
      description: Value as desired.
      type: raw
    why:
      description: What differs and what follows from it.
      type: str
    reboot:
      description: Whether only a reboot can mend it.
      type: bool
drifted:
  description: Areas that have drift.
  returned: success
  type: list
  elements: str
reboot_required:
  description: Whether any item can only be mended by a reboot.
  returned: success
  type: bool
summary:
  description: One sentence for each item that differs.
  returned: success
  type: list
  elements: str
"""

AREAS = ["identity", "depot_client", "kernel", "nvidia", "isolation", "runtime", "acceptance", "drift_watch"]
