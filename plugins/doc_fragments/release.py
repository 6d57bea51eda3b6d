# SPDX-License-Identifier: Apache-2.0
"""Options of several modules, documented once."""

from __future__ import annotations


class ModuleDocFragment:
    """`edgewright.factory.release`, and `edgewright.factory.release.areas`."""

    DOCUMENTATION = r"""
options:
  lock:
    description:
      - Lock of the release, a file on the controller (schema C(edgewright.lock/v1)).
    type: path
    required: true
"""

    AREAS = r"""
options:
  areas:
    description:
      - Areas to read; all of them when empty.
    type: list
    elements: str
    default: []
    choices: [identity, depot_client, kernel, nvidia, isolation, runtime, acceptance, drift_watch]
"""
