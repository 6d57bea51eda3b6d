# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

from edgewright.device.probe_program import probe_program
from edgewright.errors import EdgewrightError

DOCUMENTATION = r"""
name: probe_program
short_description: The probe as one program, for a device to keep
version_added: 0.2.0
description:
  - Gives the text of the program that M(edgewright.factory.device_state) runs on a device, the same on every
    controller with the same version of Edgewright.
author: The Edgewright developers (@edgewright)
options:
  _terms:
    description: None.
"""

EXAMPLES = r"""
- name: Look at its size
  ansible.builtin.debug:
    msg: "{{ lookup('edgewright.factory.probe_program') | length }}"
"""

RETURN = r"""
_raw:
  description: The program's text.
  type: list
  elements: str
"""


class LookupModule(LookupBase):
    """Gives the program."""

    def run(self, terms: list[Any], variables: Any = None, **kwargs: Any) -> list[str]:  # noqa: ARG002 - Ansible's
        """See the documentation above."""
        try:
            return [probe_program().data.decode()]
        except EdgewrightError as error:
            raise AnsibleLookupError(str(error)) from error
