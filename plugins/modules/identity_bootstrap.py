#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
# The work is done on the controller, by the action plugin of this name; this file documents it.

from __future__ import annotations

DOCUMENTATION = r"""
module: identity_bootstrap
short_description: Install the first packages on a device that may not speak to the depot yet
version_added: 0.1.0
description:
  - Copies the lock's packages that are marked C(bootstrap) from the depot's directory on the controller to
    the device over Ansible's own connection, and installs those that are missing or too old.
  - Each file is compared with the lock's sha256 on the controller, before anything is sent.
  - Needs neither Python nor apt's Python binding on the device, only dpkg and tar. M(ansible.builtin.apt)
    can't do this - it needs python3-apt, which is one of these packages.
  - Two commands on the device, one when nothing is missing. One more where the lock has several targets, to
    ask which of them the device is.
author: The Edgewright developers (@edgewright)
attributes:
  check_mode:
    support: full
    description: Tells which packages would be installed.
  diff_mode:
    support: full
    description: Gives the versions before and after.
extends_documentation_fragment:
  - edgewright.factory.release
options:
  depot_dir:
    description: The depot's directory on the controller.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Install | Install the packages that an identity needs
  edgewright.factory.identity_bootstrap:
    lock: "{{ edgewright_release_dir }}/release.lock.yml"
    depot_dir: "{{ edgewright_state_dir }}/depot"
"""

RETURN = r"""
packages:
  description: Names of the packages that were, or would be, installed.
  returned: always
  type: list
  elements: str
  sample: [openssl, python3-apt]
"""
