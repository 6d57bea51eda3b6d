#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

DOCUMENTATION = r"""
module: authority_info
short_description: Tell which certificates of the site's authority must be made or renewed
version_added: 0.1.0
description:
  - Reads the authority's directory on the controller and compares it with what the inventory asks for.
  - One task instead of three for each certificate; with nothing due, that is all the role C(authority) does.
  - Runs with a Python that has the package C(edgewright), which is the one that Ansible runs with.
author: The Edgewright developers (@edgewright)
attributes:
  check_mode:
    support: full
    description: Reads only.
options:
  directory:
    description: The authority's directory.
    type: path
    required: true
  organisation:
    description: Organisation in the subjects.
    type: str
    required: true
  controller_names:
    description: DNS names and addresses under which devices and people reach the controller.
    type: list
    elements: str
    required: true
  clients:
    description: Operators and applications that get a certificate.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Common name, and name of the files.
        type: str
        required: true
      role:
        description: What the device's front end lets it do.
        type: str
        choices: [operator, application]
        required: true
  renew_days:
    description: A certificate that ends within as many days is due.
    type: int
    required: true
"""

EXAMPLES = r"""
- name: Tell what is due
  edgewright.factory.authority_info:
    directory: /srv/edgewright/authority
    organisation: Example site
    controller_names: [10.0.2.100]
    renew_days: 90
  register: authority
"""

RETURN = r"""
due:
  description: What must be made, in order - V(root), V(issuing), V(chain), then names of leaves.
  returned: always
  type: list
  elements: dict
  sample: [{name: controller, why: there is none yet}]
leaves:
  description: The leaves that are due, with role and subject alternative names.
  returned: always
  type: list
  elements: dict
  sample: [{name: controller, role: controller, names: ["DNS:controller", "IP:10.0.2.100"]}]
"""

import datetime
import os
import traceback
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    from edgewright import authority
    from edgewright.errors import EdgewrightError
except ImportError:
    MISSING: str | None = traceback.format_exc()
else:
    MISSING = None


def read_text(directory: str, name: str) -> str | None:
    """Text of a file in the directory; None when it is not there. Other faults are the caller's to tell."""
    try:
        with open(os.path.join(directory, name), encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except FileNotFoundError:
        return None


def gather(params: dict[str, Any]) -> dict[str, Any]:
    """Read the directory and decide.

    Raises:
        EdgewrightError: an input is not usable.
        OSError: a file is there and can't be read.
    """
    directory = params["directory"]
    wanted = authority.leaves(params["clients"], params["controller_names"])
    places = {"root": "root", "issuing": "issuing"}
    places.update({leaf.name: "clients/" + leaf.name for leaf in wanted})
    found = {
        name: authority.Found(read_text(directory, place + ".crt"), read_text(directory, place + ".key"))
        for name, place in places.items()
    }
    due = authority.due(
        found,
        read_text(directory, "chain.crt"),
        wanted,
        organisation=params["organisation"],
        renew=datetime.timedelta(days=params["renew_days"]),
        now=datetime.datetime.now(datetime.UTC),
    )
    names = {item.name for item in due}
    return {
        "due": [{"name": item.name, "why": item.why} for item in due],
        "leaves": [
            {"name": leaf.name, "role": leaf.role, "names": list(leaf.names)}
            for leaf in wanted
            if leaf.name in names
        ],
    }


def main() -> NoReturn:
    """Entry point."""
    client = {
        "name": {"type": "str", "required": True},
        "role": {"type": "str", "choices": ["operator", "application"], "required": True},
    }
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "organisation": {"type": "str", "required": True},
            "controller_names": {"type": "list", "elements": "str", "required": True},
            "clients": {"type": "list", "elements": "dict", "default": [], "options": client},
            "renew_days": {"type": "int", "required": True},
        },
        supports_check_mode=True,
    )
    if MISSING is not None:
        module.fail_json(
            msg=missing_required_lib("edgewright")
            + ". On the controller, tasks run with Ansible's own Python: set"
            " ansible_python_interpreter to ansible_playbook_python for the group `controller`.",
            exception=MISSING,
        )
    try:
        result = gather(module.params)
    except EdgewrightError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"cannot read the authority's directory: {error}; run as the user who made it")
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
