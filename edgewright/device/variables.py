# SPDX-License-Identifier: Apache-2.0
"""Which variables an inventory may set, and what to say about one that nothing reads.

A misspelt variable is the quietest of faults: nothing reads it, the default holds, and the device
is not what its owner wrote. So every name that begins like a role's variable must be one that the
role declares in its `meta/argument_specs.yml`, and every `edgewright_*` must be a site variable.
Names that begin like nobody's here are other people's and are left alone.

Example:
    specs = load_specs(collection_root() / "roles")
    for unknown in unknown_variables({"kernel_sysctls": {}}, specs):
        print(unknown.explain("reader-01"))
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgewright.device import _yaml
from edgewright.device.places import DEBIAN, UBUNTU_CORE, chosen_os
from edgewright.errors import InputError

__all__ = [
    "CONTROLLER_ROLES",
    "PLAYBOOK_VARIABLES",
    "SITE_PREFIX",
    "SITE_VARIABLES",
    "RoleSpec",
    "UnknownVariable",
    "load_specs",
    "owner",
    "parse_spec",
    "site_problems",
    "unknown_variables",
]

SITE_PREFIX = "edgewright_"
SITE_VARIABLES: Mapping[str, str] = {
    "edgewright_state_dir": "state of the site on the controller",
    "edgewright_release_dir": "directory with release.yml and release.lock.yml",
    "edgewright_profile": "name of the device's hardware profile",
    "edgewright_os": "debian (default) or ubuntu_core: the device's operating system",
    "edgewright_snap_grade": "signed, or dangerous where devices may hold snaps without assertions",
    "edgewright_twin": "the machine that stands in for the device; only for twins",
}
# What the playbooks take (which hosts) and keep for themselves (what a probe returned).
PLAYBOOK_VARIABLES: Mapping[str, str] = {
    "edgewright_devices": "hosts that the playbooks converge; the group devices when not set",
    "edgewright_controller": "hosts that the playbooks prepare; the group controller when not set",
    "edgewright_fleet": "which devices are as wanted, and what was read of the others; set by the playbooks",
    "edgewright_fleet_after": "the same at a run's end; set by the playbooks",
    "edgewright_state": "what the playbooks' first probe returned; set by them",
    "edgewright_state_after": "what the playbooks' last probe returned; set by them",
}
# Roles that act on the controller; a device's roles are its areas.
CONTROLLER_ROLES = ("authority", "depot")
TWIN_KINDS = ("vm", "container", "snapd")
_TWINS_OF = {DEBIAN: ("vm", "container"), UBUNTU_CORE: ("snapd",)}

_CONTRACTS = "docs/reference/contracts.md"


@dataclass(frozen=True)
class RoleSpec:
    """What one role declares of itself.

    Attributes:
        role: its name, and the prefix of its variables.
        options: the variables of all its entry points, each with Ansible's description of an argument.
        main: names of those that the entry point `main` takes.
        source: file that declares them, for messages.
    """

    role: str
    options: Mapping[str, Mapping[str, Any]]
    main: frozenset[str] = field(default_factory=frozenset)
    source: str = ""


@dataclass(frozen=True)
class UnknownVariable:
    """A variable that begins like a known one and is none.

    Attributes:
        name: as the inventory has it.
        owner: role whose prefix it bears; `edgewright` for a site variable.
        nearest: the declared name most like it, or None when nothing is near.
        look: the file that lists what there is.
    """

    name: str
    owner: str
    nearest: str | None
    look: str

    def explain(self, host: str, set_in: str | None = None) -> str:
        """Sentences: which variable, which host, what was meant, where to look, where it is set."""
        whose = "no site variable" if self.owner == "edgewright" else f"no variable of the role {self.owner}"
        hint = f"; did you mean {self.nearest}?" if self.nearest else ";"
        place = f" It is set in {set_in}." if set_in else ""
        return f"host {host}: {self.name} is {whose}{hint} See {self.look} for all of them.{place}"


def parse_spec(role: str, text: str, source: str) -> RoleSpec:
    """Read a role's `meta/argument_specs.yml`.

    Args:
        role: the role's name.
        text: the file's content.
        source: the file, for messages.

    Raises:
        InputError: it is not YAML or not of Ansible's form.
    """
    entries = _yaml.load_mapping(text, source).get("argument_specs")
    if not isinstance(entries, Mapping) or "main" not in entries:
        raise InputError(f"{source}: expected argument_specs with an entry point main")
    options: dict[str, Mapping[str, Any]] = {}
    for entry, body in entries.items():
        declared = (body or {}).get("options") or {}
        for name, option in declared.items():
            if not isinstance(option, Mapping):
                raise InputError(f"{source}: {entry}.options.{name}: expected a mapping, got {option!r}")
            options.setdefault(str(name), option)
    main = frozenset(str(name) for name in (entries["main"] or {}).get("options") or {})
    return RoleSpec(role, options, main, source)


def load_specs(roles_dir: Path) -> dict[str, RoleSpec]:
    """Specs of every role below a directory, by role, in the order of their names.

    Raises:
        InputError: a role declares nothing, or in a form that Ansible would not take.
    """
    specs = {}
    for path in sorted(roles_dir.glob("*/meta/argument_specs.yml")):
        role = path.parent.parent.name
        specs[role] = parse_spec(role, path.read_text(encoding="utf-8"), str(path))
    if not specs:
        raise InputError(
            f"no role with meta/argument_specs.yml below {roles_dir}: is the collection complete?"
        )
    return specs


def owner(name: str, roles: Iterable[str]) -> str | None:
    """Role whose variable this is by its prefix, the longest first: `depot_client_url` is not `depot`'s."""
    fitting = [role for role in roles if name.startswith(f"{role}_")]
    return max(fitting, key=len) if fitting else None


def unknown_variables(names: Iterable[str], specs: Mapping[str, RoleSpec]) -> list[UnknownVariable]:
    """Names that begin like a role's or a site's variable, and that nothing declares.

    Args:
        names: all variables of a host; private ones (`_` in front) and Ansible's own are passed over.
        specs: declared variables by role.

    Returns:
        In the order of the names.
    """
    unknown = []
    everything = sorted(
        {*SITE_VARIABLES, *PLAYBOOK_VARIABLES, *(name for spec in specs.values() for name in spec.options)}
    )
    for name in sorted(names):
        role = owner(name, specs)
        if name.startswith(SITE_PREFIX):
            if name not in SITE_VARIABLES and name not in PLAYBOOK_VARIABLES:
                unknown.append(UnknownVariable(name, "edgewright", _nearest(name, everything), _CONTRACTS))
        elif role is not None and name not in specs[role].options:
            unknown.append(UnknownVariable(name, role, _nearest(name, everything), f"roles/{role}/README.md"))
    return unknown


def _nearest(name: str, known: list[str]) -> str | None:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    return near[0] if near else None


def site_problems(host: str, variables: Mapping[str, Any], cpus: int | None) -> list[str]:
    """What is wrong with the values of the site variables of a host, as sentences.

    Args:
        host: its name, for the sentences.
        variables: the site variables that the host has, with their values.
        cpus: CPUs that its profile says it has; None where it has no profile.
    """
    problems = []
    for name in ("edgewright_state_dir", "edgewright_release_dir"):
        value = variables.get(name)
        if value is not None and (not isinstance(value, str) or not value):
            problems.append(f"host {host}: {name}: expected a directory, got {value!r}")
    try:
        system = chosen_os(variables)
    except InputError as error:
        problems.append(f"host {host}: {error}")
        system = ""
    twin = variables.get("edgewright_twin")
    if twin is None:
        return problems
    if not isinstance(twin, Mapping) or twin.get("kind") not in TWIN_KINDS:
        problems.append(
            f"host {host}: edgewright_twin: expected a mapping with kind: {' or '.join(TWIN_KINDS)},"
            f" got {twin!r}"
        )
        return problems
    kinds = _TWINS_OF.get(system)
    if kinds and twin["kind"] not in kinds:
        problems.append(
            f"host {host}: edgewright_twin.kind is {twin['kind']}, and edgewright_os is {system}: a twin"
            " of that OS is"
            f" of kind {' or '.join(kinds)}; correct one of the two"
        )
    twin_cpus = twin.get("cpus")
    if twin["kind"] in ("vm", "snapd") and cpus is not None and twin_cpus is not None and twin_cpus != cpus:
        problems.append(
            f"host {host}: edgewright_twin.cpus is {twin_cpus!r}, and its profile says {cpus} CPUs:"
            " give the twin as many, or the host another edgewright_profile"
        )
    return problems
