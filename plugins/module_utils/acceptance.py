# SPDX-License-Identifier: Apache-2.0
"""Reads for what a device was accepted: its receipt. One file; standard library, Python 3.9 and later.

Items are described in `edgewright/device/acceptance.py`.
"""

from __future__ import annotations

import json
from typing import Any, Dict, Mapping

from ansible_collections.edgewright.factory.plugins.module_utils.system import System

SCHEMA = "edgewright.receipt/v1"


def read(system: System, scope: Mapping[str, Any]) -> Dict[str, Any]:
    """Read the area.

    Args:
        system: the device.
        scope: the area's want: `at.receipt` is the file.

    Returns:
        `accepted_for`, `verdict` and `record`; None for each where there is no readable receipt.
    """
    if not scope:
        return {}
    try:
        receipt = json.loads(system.read(scope["at"]["receipt"]) or "null")
    except ValueError:
        receipt = None
    if not isinstance(receipt, dict) or receipt.get("schema") != SCHEMA:
        receipt = {}
    return {item: receipt.get(item) for item in ("accepted_for", "verdict", "record")}
