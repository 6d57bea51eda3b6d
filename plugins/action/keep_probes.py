# SPDX-License-Identifier: Apache-2.0
"""`edgewright.factory.keep_probes`: devices that lack nothing but the probe's program get it side by side."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.edgewright.factory.plugins.plugin_utils.side_by_side import Together, as_wanted

MODULE = "edgewright.factory.keep_probe"


class ActionModule(ActionBase):
    """Have `keep_probe` run for each device whose only drift is that it does not keep the program."""

    _VALID_ARGS = frozenset(("lock", "read_by"))
    _requires_connection = False
    _supports_check_mode = True
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the task.

        Returns:
            as_wanted (names of the devices that are, now), rows (a line for each of them), changed_rows
            (whether all of these were changed), changed (whether the task's own host was).
        """
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        task_vars = task_vars or {}
        lacking = [str(name) for name in task_vars[str(self._task.args["read_by"])]["lack_probe_only"]]
        done: dict[str, dict[str, Any]] = {}
        if not self._task.check_mode:
            together = Together(self, task_vars)
            done = together.run(MODULE, {**together.given("lock"), "absent": True}, lacking)
        rows = as_wanted(done)
        result.update(
            changed=task_vars.get("inventory_hostname") in rows,
            changed_rows=bool(rows),
            as_wanted=list(rows),
            rows=rows,
            msg=f"{len(rows)} of {len(lacking)} devices keep the probe's program now, and are as wanted",
        )
        return result
