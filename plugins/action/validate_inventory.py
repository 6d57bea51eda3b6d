# SPDX-License-Identifier: Apache-2.0
"""`edgewright.factory.validate_inventory`: every fault of a host's variables, before a device is touched."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.edgewright.factory.plugins.plugin_utils.host_check import check_host


class ActionModule(ActionBase):
    """Check one host's variables on the controller; nothing runs on the host."""

    _VALID_ARGS = frozenset(("lock",))
    _requires_connection = False
    _supports_check_mode = True
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the task.

        Returns:
            problems, and msg with all of them; failed when there is any.
        """
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        task_vars = task_vars or {}
        host = str(task_vars.get("inventory_hostname"))
        lock = self._task.args.get("lock")
        checked = check_host(host, self._templar, task_vars, self._loader, str(lock) if lock else None)
        return {**result, **checked.as_result()}
