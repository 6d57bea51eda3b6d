# SPDX-License-Identifier: Apache-2.0
"""`edgewright.factory.validate_inventory`: every fault of a host's variables, before a device is touched."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.edgewright.factory.plugins.plugin_utils.host_inputs import (
    HostVariables,
    host_profile,
    role_defaults,
    role_specs,
)

from edgewright.device.areas import AREA_NAMES, AREAS, want_all
from edgewright.device.lock import load_lock
from edgewright.device.nvidia_lock import effective_day, nvidia_answer, waiver_line, waiver_problem
from edgewright.device.profile import Profile
from edgewright.device.variables import (
    CONTROLLER_ROLES,
    SITE_VARIABLES,
    RoleSpec,
    site_problems,
    unknown_variables,
)
from edgewright.errors import InputError
from edgewright.paths import collection_root

try:  # ansible-core 2.19 knows where a value was written, but tells only its own error messages
    from ansible._internal._datatag._tags import Origin
except ImportError:
    Origin = None


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
        roles_dir = collection_root() / "roles"
        try:
            specs = role_specs(roles_dir)
        except InputError as error:
            return {**result, "failed": True, "changed": False, "msg": str(error), "problems": [str(error)]}
        variables = HostVariables(host, self._templar, task_vars, role_defaults(roles_dir), specs)

        problems = [
            found.explain(host, _set_in(found.name, task_vars))
            for found in unknown_variables(task_vars, specs)
        ]
        problems += [
            found for name in SITE_VARIABLES if name in variables and (found := variables.problem(name))
        ]
        groups = task_vars.get("group_names") or []
        waivers: list[str] = []
        if "controller" in groups:
            problems += _role_problems(host, variables, specs, CONTROLLER_ROLES)
        if "devices" in groups:
            problems += _role_problems(host, variables, specs, AREA_NAMES)
            missing = [name for name in _required(specs, AREA_NAMES) if name not in variables]
            # An area says of a missing variable what is said above already.
            problems += [
                problem
                for problem in self._device_problems(host, variables, task_vars, waivers)
                if not any(name in problem for name in missing)
            ]
        else:
            problems += site_problems(host, _site(variables), None)
        problems = list(dict.fromkeys(problems))
        result.update(changed=False, problems=problems, waivers=waivers)
        if problems:
            return {**result, "failed": True, "msg": _message(host, problems)}
        result["msg"] = (
            f"host {host}: {len(variables)} variables are declared, of their types, and possible together"
        )
        return result

    def _device_problems(
        self, host: str, variables: HostVariables, task_vars: Mapping[str, Any], waivers: list[str]
    ) -> list[str]:
        """Faults that only the device's profile, the lock and the areas' own rules bring out.

        Lines on waivers that the device leans on go to `waivers`.
        """
        problems: list[str] = []
        profile: Profile | None = None
        try:
            profile = host_profile(host, variables, task_vars)
        except InputError as error:
            problems.append(str(error))
        problems += site_problems(host, _site(variables), profile.cpus if profile else None)
        lock = None
        try:
            if not self._task.args.get("lock"):
                raise InputError("the option lock is missing: name the release.lock.yml")
            lock = load_lock(Path(self._loader.path_dwim(str(self._task.args["lock"]))))
        except InputError as error:
            problems.append(str(error))
        if profile is None or lock is None:
            return problems
        try:
            managed = variables.get("nvidia_managed") is not False
            answer = nvidia_answer(lock, profile.as_dict()) if managed else None
            today = effective_day(lock, datetime.datetime.now(datetime.UTC).date())
            waivers += [line for line in (waiver_line(host, answer, today),) if line]
            problems += [f"host {host}: {ended}" for ended in (waiver_problem(answer, today),) if ended]
        except InputError as error:
            problems.append(f"host {host}: {error}")
        for area in AREAS:
            try:
                variables.add_controller_facts((area,), self._loader)
                want_all(variables, profile.as_dict(), lock, [area.name])
            except InputError as error:
                message = str(error)
                problems.append(message if host in message else f"host {host}: {message}")
        return problems


def _set_in(name: str, task_vars: Mapping[str, Any]) -> str | None:
    """File and line of the inventory that sets a variable, where Ansible remembers them."""
    key = next((key for key in task_vars if key == name), None)
    origin = (Origin.get_tag(key) or Origin.get_tag(task_vars.get(name))) if Origin else None
    if origin is None:
        return None
    if not origin.path:
        return str(origin.description)
    return f"{origin.path}:{origin.line_num}" if origin.line_num else str(origin.path)


def _site(variables: HostVariables) -> dict[str, Any]:
    """Site variables that the host has and that can be computed."""
    return {
        name: variables[name] for name in SITE_VARIABLES if name in variables and not variables.problem(name)
    }


def _role_problems(
    host: str, variables: HostVariables, specs: Mapping[str, RoleSpec], roles: tuple[str, ...]
) -> list[str]:
    """Variables of these roles that are missing, can't be computed or are not of their type."""
    problems = []
    for role in roles:
        spec = specs.get(role)
        for name in spec.options if spec else ():
            if name in variables:
                problem = variables.problem(name)
                problems += [problem] if problem else []
            elif name in _required(specs, (role,)):
                problems.append(
                    f"host {host}: {name} is not set, and the role {role} cannot do without it:"
                    f" set it in the inventory as roles/{role}/README.md says"
                )
    return problems


def _required(specs: Mapping[str, RoleSpec], roles: tuple[str, ...]) -> list[str]:
    """Variables that these roles cannot do without."""
    found = [specs[role] for role in roles if role in specs]
    return [name for spec in found for name in sorted(spec.main) if spec.options[name].get("required")]


def _message(host: str, problems: list[str]) -> str:
    if len(problems) == 1:
        return problems[0]
    lines = "\n".join(f"- {problem}" for problem in problems)
    return f"host {host}: {len(problems)} faults in its variables; nothing was touched:\n{lines}"
