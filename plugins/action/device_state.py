# SPDX-License-Identifier: Apache-2.0
"""Controller's side of `edgewright.factory.device_state`: want before, drift after the one round trip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.edgewright.factory.plugins.plugin_utils.host_inputs import (
    HostVariables,
    host_profile,
    plain,
    role_defaults,
)

from edgewright.device.areas import Area, before_after, choose, drift_all, sentence, want_all
from edgewright.device.lock import load_lock
from edgewright.device.variables import load_specs
from edgewright.errors import EdgewrightError, InputError
from edgewright.paths import collection_root

MODULE = "edgewright.factory.device_state"


class ActionModule(ActionBase):
    """Compute want, have the module read the device, compare."""

    _VALID_ARGS = frozenset(("lock", "areas"))
    _supports_check_mode = True
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the task.

        Returns:
            have, want, drift, drifted, reboot_required, summary, msg, changed, and diff when asked for.
        """
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        task_vars = task_vars or {}
        try:
            areas = choose(self._areas())
            names = [area.name for area in areas]
            want = self._want(areas, task_vars)
            arguments = {"lock": str(self._task.args["lock"]), "areas": names, "want": want}
            read = self._execute_module(module_name=MODULE, module_args=arguments, task_vars=task_vars)
            if read.get("failed") or "have" not in read:
                return {**result, **read}
            have = plain(read["have"])
            drifts = drift_all(have, want, names)
        except EdgewrightError as error:
            return {**result, "failed": True, "changed": False, "msg": str(error)}
        drifted = list(dict.fromkeys(drift.area for drift in drifts))
        result.update(read)
        result.pop("invocation", None)  # it repeats want
        result.update(
            changed=bool(drifts) and bool(self._task.check_mode),
            have=have,
            want=want,
            drift=[drift.as_dict() for drift in drifts],
            drifted=drifted,
            reboot_required=any(drift.reboot for drift in drifts),
            summary=[sentence(drift) for drift in drifts],
            msg=_message(names, drifted, len(drifts)),
        )
        if self._task.diff and drifts:
            before, after = before_after(drifts)
            result["diff"] = [
                {"before_header": "as read", "before": before, "after_header": "as desired", "after": after}
            ]
        return result

    def _areas(self) -> list[str]:
        """The option `areas`: a list, or names parted by commas."""
        areas = self._task.args.get("areas") or []
        if isinstance(areas, str):
            areas = [name.strip() for name in areas.split(",") if name.strip()]
        if not isinstance(areas, list) or not all(isinstance(name, str) for name in areas):
            raise InputError(f"areas: expected a list of names, got {areas!r}")
        return [str(name) for name in areas]

    def _want(self, areas: tuple[Area, ...], task_vars: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Desired state of the task's host; faults of the inputs come out before the device is asked."""
        host = str(task_vars.get("inventory_hostname"))
        if not self._task.args.get("lock"):
            raise InputError(f"{MODULE}: the option lock is missing: name the release.lock.yml")
        lock = load_lock(Path(self._loader.path_dwim(str(self._task.args["lock"]))))
        roles = collection_root() / "roles"
        variables = HostVariables(
            host, self._templar, task_vars, role_defaults(roles, self._loader), load_specs(roles)
        )
        profile = host_profile(host, variables, task_vars)
        try:
            variables.add_controller_facts(areas, self._loader)
            want = want_all(variables, profile.as_dict(), lock, [area.name for area in areas])
        except InputError as error:
            message = str(error)
            raise InputError(message if host in message else f"host {host}: {message}") from error
        return plain(want)


def _message(names: list[str], drifted: list[str], items: int) -> str:
    """One line for a person, also when there is nothing to do."""
    if not items:
        return f"no drift in {', '.join(names)}"
    return f"{items} item{'s' if items > 1 else ''} differ in {', '.join(drifted)}"
