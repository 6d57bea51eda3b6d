#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

DOCUMENTATION = r"""
module: keep_probe
short_description: Have a device keep the probe's program, and read its state with it
version_added: 0.2.0
description:
  - Puts the program that M(edgewright.factory.device_state) runs on a device in place there, so that a probe
    is one command without a transfer, and removes those of other versions. Nothing travels where it is there.
  - The program is put in place whole or not at all, by a rename.
  - It returns the device's state as M(edgewright.factory.device_state) does, read afterwards.
extends_documentation_fragment:
  - edgewright.factory.release
options:
  absent:
    description:
      - Whether a probe has just found that the device does not keep the program, so that it is not asked.
    type: bool
    default: false
attributes:
  check_mode:
    description: Reads only; C(changed) says whether the program would be put in place.
    support: full
  diff_mode:
    description: Shows the items that differ afterwards, as M(edgewright.factory.device_state) does.
    support: partial
author:
  - The Edgewright developers (@edgewright)
"""

EXAMPLES = r"""
- name: Keep the probe's program, and read the device's state
  edgewright.factory.keep_probe:
    lock: "{{ edgewright_release_dir }}/release.lock.yml"
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
drift:
  description: Items that differ, as of M(edgewright.factory.device_state).
  returned: success
  type: list
  elements: dict
drifted:
  description: Areas that have drift.
  returned: success
  type: list
  elements: str
"""
