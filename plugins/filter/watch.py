# SPDX-License-Identifier: Apache-2.0
"""Filter of the role drift_watch: a thin shell over the area's pure rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.edgewright.factory.plugins.plugin_utils.host_inputs import plain

from edgewright.device import drift_watch


def kept_want(state: Mapping[str, Any]) -> str:
    """See `edgewright.device.drift_watch.kept_want`."""
    given = plain(state)
    try:
        return drift_watch.kept_want(given["have"], given["want"], given["drifted"], given["release"])
    except (KeyError, TypeError) as error:
        raise AnsibleFilterError(
            "kept_want: expected what edgewright.factory.device_state returned for all areas, got none of"
            f" {error}"
        ) from error


class FilterModule:
    """The table that Ansible asks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name to function."""
        return {"kept_want": kept_want}
