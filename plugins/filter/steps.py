# SPDX-License-Identifier: Apache-2.0
"""Filters of the playbook converge_devices: a thin shell over `edgewright.device.steps`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from edgewright.device.steps import os_of, steps
from edgewright.errors import InputError


def converge_steps(states: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """See `edgewright.device.steps.steps`."""
    try:
        drifted = [[str(name) for name in state["drifted"]] for state in states]
        return [step.as_dict() for step in steps(drifted)]
    except (KeyError, TypeError) as error:
        raise AnsibleFilterError(
            f"converge_steps: expected what edgewright.factory.device_state returned, got none of {error}"
        ) from error
    except InputError as error:
        raise AnsibleFilterError(str(error)) from error


def device_os(state: Mapping[str, Any]) -> str:
    """See `edgewright.device.steps.os_of`."""
    try:
        return os_of(state["want"])
    except (KeyError, TypeError, AttributeError) as error:
        raise AnsibleFilterError(
            f"device_os: expected what edgewright.factory.device_state returned, got none of {error}"
        ) from error


class FilterModule:
    """The table that Ansible asks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name to function."""
        return {"converge_steps": converge_steps, "device_os": device_os}
