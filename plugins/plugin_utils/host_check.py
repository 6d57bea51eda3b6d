# SPDX-License-Identifier: Apache-2.0
"""Every fault of a host's variables: what `validate_inventory` says of one host, and `validate_fleet` of all.

    checked = check_host("reader-01", templar, task_vars, loader, "releases/x/release.lock.yml")
    checked.problems, checked.waivers

Opens no connection.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.edgewright.factory.plugins.plugin_utils.host_inputs import (
    HostVariables,
    host_profile,
    read_lock,
    role_defaults,
    role_specs,
)

from edgewright.device.areas import AREA_NAMES, AREAS, want_all
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


@dataclass(frozen=True)
class Checked:
    """What was found out about one host's variables.

    Attributes:
        host: its name.
        problems: what is wrong, one sentence each; none where all is well.
        waivers: lines on what is set aside on this device, and who answers for it.
        variables: how many are declared and set; 0 where they could not be read.
    """

    host: str
    problems: tuple[str, ...]
    waivers: tuple[str, ...] = ()
    variables: int = 0

    @property
    def message(self) -> str:
        """All of it for a person."""
        if not self.problems:
            return (
                f"host {self.host}: {self.variables} variables are declared, of their types, and possible"
                " together"
            )
        if len(self.problems) == 1:
            return self.problems[0]
        lines = "\n".join(f"- {problem}" for problem in self.problems)
        return (
            f"host {self.host}: {len(self.problems)} faults in its variables; nothing was touched:\n{lines}"
        )

    def as_result(self) -> dict[str, Any]:
        """As a task's result."""
        result = {
            "changed": False,
            "problems": list(self.problems),
            "waivers": list(self.waivers),
            "msg": self.message,
        }
        return {**result, "failed": True} if self.problems else result


def check_host(
    host: str, templar: Templar, task_vars: Mapping[str, Any], loader: DataLoader, lock: str | None
) -> Checked:
    """Check one host's variables.

    Args:
        host: its name.
        templar: of any action of the play.
        task_vars: all variables of the host.
        loader: the play's.
        lock: the option of that name, a path; None where it was not given.
    """
    roles_dir = collection_root() / "roles"
    try:
        specs = role_specs(roles_dir)
    except InputError as error:
        return Checked(host, (str(error),))
    variables = HostVariables(host, templar, task_vars, role_defaults(roles_dir), specs)
    problems = [
        found.explain(host, _set_in(found.name, task_vars)) for found in unknown_variables(task_vars, specs)
    ]
    problems += [found for name in SITE_VARIABLES if name in variables and (found := variables.problem(name))]
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
            for problem in _device_problems(host, variables, task_vars, loader, named=lock, waivers=waivers)
            if not any(name in problem for name in missing)
        ]
    else:
        problems += site_problems(host, _site(variables), None)
    return Checked(host, tuple(dict.fromkeys(problems)), tuple(waivers), len(variables))


def _device_problems(
    host: str,
    variables: HostVariables,
    task_vars: Mapping[str, Any],
    loader: DataLoader,
    *,
    named: str | None,
    waivers: list[str],
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
        if not named:
            raise InputError("the option lock is missing: name the release.lock.yml")
        lock = read_lock(Path(loader.path_dwim(named)))
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
    described = profile.as_dict()
    for area in AREAS:
        try:
            variables.add_controller_facts((area,), loader)
            want_all(variables, described, lock, [area.name])
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
