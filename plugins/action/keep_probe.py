# SPDX-License-Identifier: Apache-2.0
"""Controller's side of `edgewright.factory.keep_probe`: the device keeps the program, and is read with it."""

from __future__ import annotations

import json
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.edgewright.factory.plugins.action import device_state

from edgewright.device.drift_watch import AREA
from edgewright.device.probe_keeping import keeping_command
from edgewright.device.probe_program import parse_answer, probe_program, shipped_input


class ActionModule(device_state.ActionModule):
    """Read as `device_state` does, and have the device keep the program where it does not."""

    _VALID_ARGS = frozenset(("lock", "absent"))

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the task.

        Returns:
            What `device_state` returns for all areas, as the device is afterwards; changed: whether it did
            not keep the program before.
        """
        self._lacked = False
        result = super().run(tmp, task_vars)
        if not result.get("failed"):
            result["changed"] = self._lacked
        return result

    def _have(self, want: dict[str, dict[str, Any]], task_vars: dict[str, Any]) -> dict[str, Any]:
        """State as read after the program was put in place, where it was not."""
        if not boolean(self._task.args.get("absent") or False):
            have = super()._have(want, task_vars)
            if have[AREA]["program"] == want[AREA]["program"]:
                return have
        self._lacked = True
        if self._task.check_mode:
            return super()._have(want, task_vars)
        host, python, program = (
            str(task_vars.get("inventory_hostname")),
            self._python(task_vars),
            probe_program(),
        )
        command = keeping_command(python, program, str(want[AREA]["at"]["program"]))
        sent = shipped_input(program, json.dumps(want).encode())
        answer = parse_answer(self._command(command, sent, host, python), host)
        # None: it did not arrive whole, and was not kept; the one who reads says what is wrong.
        return super()._have(want, task_vars) if answer is None else answer
