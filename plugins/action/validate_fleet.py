# SPDX-License-Identifier: Apache-2.0
"""`edgewright.factory.validate_fleet`: the variables of all hosts of the play, checked by one worker."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.edgewright.factory.plugins.plugin_utils.host_check import Checked, check_host
from ansible_collections.edgewright.factory.plugins.plugin_utils.side_by_side import Together


class ActionModule(ActionBase):
    """Check all hosts; faults are told by `validate_inventory`, on the host that has them."""

    _VALID_ARGS = frozenset(("lock",))
    _requires_connection = False
    _supports_check_mode = True
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the task.

        Returns:
            as_wanted, faulty (names of hosts), waivers (lines), msg.
        """
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        task_vars = task_vars or {}
        names = [str(name) for name in task_vars["ansible_play_batch"]]
        together = Together(self, task_vars)
        checked = [self._checked(name, together) for name in names]
        faulty = [found.host for found in checked if found.problems]
        result.update(
            changed=False,
            rows={found.host: found.message for found in checked if not found.problems},
            faulty=faulty,
            waivers=[line for found in checked for line in found.waivers],
            msg=f"the variables of {len(names) - len(faulty)} of {len(names)} hosts are as they may be",
        )
        return result

    def _checked(self, name: str, together: Together) -> Checked:
        variables = together.variables(name)
        try:
            lock = together.computed("lock", variables)
        except AnsibleError as error:
            # Told by the host's own task, which cannot compute it either.
            return Checked(name, (f"host {name}: the option lock cannot be computed: {error}",))
        return check_host(name, self._templar, variables, self._loader, str(lock) if lock else None)
