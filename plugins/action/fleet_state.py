# SPDX-License-Identifier: Apache-2.0
"""`edgewright.factory.fleet_state`: every device of the play read side by side, by one worker."""

from __future__ import annotations

from typing import Any

from ansible import context
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

# Loaded before the worker is forked, as are the inputs that are the same for all hosts.
from ansible_collections.edgewright.factory.plugins.action import device_state
from ansible_collections.edgewright.factory.plugins.plugin_utils.host_inputs import plain
from ansible_collections.edgewright.factory.plugins.plugin_utils.side_by_side import Together


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
            were read or asked in vain), msg, changed.
        """
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        task_vars = task_vars or {}
        names = [str(name) for name in task_vars["ansible_play_batch"]]
        at_once = int(context.CLIARGS.get("forks") or 5)
        try:
            read = Together(self, task_vars).run(device_state.MODULE, self._task.args, names, at_once)
        except (AttributeError, ImportError, LookupError, TypeError) as error:
            # Nothing is lost: each device has a task of its own, which asks it then.
            Display().warning(
                "fleet_state: this ansible-core does not let one worker read many devices"
                f" ({type(error).__name__}: {error}); each is read by a worker of its own, which takes longer"
            )
            read = {}
        rows = {
            name: str(told["msg"])
            for name, told in read.items()
            if not told.get("failed") and not told.get("unreachable") and told.get("drifted") == []
        }
        result.update(
            changed=False,
            as_wanted=list(rows),
            rows=rows,
            devices={name: plain(told) for name, told in read.items() if name not in rows},
            msg=f"{len(rows)} of {len(names)} devices are as wanted",
        )
        return result
