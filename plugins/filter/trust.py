# SPDX-License-Identifier: Apache-2.0
"""Filters of the roles authority, identity and depot_client: thin shells over the areas' pure rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

from edgewright.device import depot_client, identity
from edgewright.errors import EdgewrightError


def subject_alt_names(names: list[str]) -> list[str]:
    """See `edgewright.device.identity.subject_alt_names`."""
    try:
        return identity.subject_alt_names(names)
    except EdgewrightError as error:
        raise AnsibleFilterError(str(error)) from error


def depot_failure(output: str, url: str) -> str:
    """See `edgewright.device.depot_client.explain`."""
    return depot_client.explain(output, url)


class FilterModule:
    """The table that Ansible asks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name to function."""
        return {"subject_alt_names": subject_alt_names, "depot_failure": depot_failure}
