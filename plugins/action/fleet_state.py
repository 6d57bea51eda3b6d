# SPDX-License-Identifier: Apache-2.0
"""`edgewright.factory.fleet_state`: every device of the play read side by side, by one worker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase

# Loaded before the worker is forked, as are the inputs that are the same for all hosts.
from ansible_collections.edgewright.factory.plugins.action import device_state
from ansible_collections.edgewright.factory.plugins.plugin_utils.host_inputs import plain
from ansible_collections.edgewright.factory.plugins.plugin_utils.side_by_side import Together, as_wanted

_PROBE_ONLY = [("drift_watch", "program")]


class ActionModule(ActionBase):
    """Have `device_state` run for each host, and sort what it says."""

    _VALID_ARGS = frozenset(("lock", "areas"))
    _requires_connection = False
    _supports_check_mode = True
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the task.

        Returns:
            as_wanted (names), rows (a line for each of them), devices (host to its result, of the others that
            were read or asked in vain), lack_probe_only (names), msg, changed.
        """
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        task_vars = task_vars or {}
        names = [str(name) for name in task_vars["ansible_play_batch"]]
        read = Together(self, task_vars).run(device_state.MODULE, self._task.args, names)
        rows = as_wanted(read)
        devices = {name: plain(told) for name, told in read.items() if name not in rows}
        result.update(
            changed=False,
            as_wanted=list(rows),
            rows=rows,
            devices=devices,
            lack_probe_only=[name for name, told in devices.items() if _items(told) == _PROBE_ONLY],
            msg=f"{len(rows)} of {len(names)} devices are as wanted",
        )
        return result


def _items(told: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(item["area"], item["item"]) for item in told.get("drift") or ()]
