# SPDX-License-Identifier: Apache-2.0
"""What `want` is computed from for one host, taken out of Ansible: variables, profile, files.

Role variables come as Ansible gives them to a task; where the play has not loaded a role, the
role's own defaults are put below them here, so that a play of one task computes the same as a play
of all roles. Values are templated and brought to their declared type when first asked for.
Runs on the controller, inside action plugins only.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, is_trusted_as_template

from edgewright.device.areas import AREAS, Area
from edgewright.device.controller_facts import fact_path, read_fact
from edgewright.device.lock import load_lock
from edgewright.device.places import chosen_os
from edgewright.device.profile import Profile, carried_profiles, load_profile, missing_profile
from edgewright.device.variables import SITE_VARIABLES, RoleSpec, load_specs
from edgewright.errors import InputError

# Types whose text form (`-e acceptance_rate_hz=5` gives text) is brought to the declared type.
_SCALARS = ("bool", "float", "int", "str", "path")

# A text on one line in which names of variables stand and nothing else of Jinja; and such a name.
_SIMPLE = re.compile(r"(?:[^{}\n#%]|\{\{ *[a-z_][a-z0-9_]* *\}\})*\Z")
_NAME = re.compile(r"\{\{ *([a-z_][a-z0-9_]*) *\}\}")
# As many steps from name to name are followed here; what goes on for longer is Ansible's.
_DEEPEST = 4


def plain(value: Any) -> Any:
    """The same value of JSON's own types, without Ansible's tags; a date becomes its text."""
    return json.loads(json.dumps(value, default=str))


@functools.cache
def role_specs(roles_dir: Path) -> dict[str, RoleSpec]:
    """See `edgewright.device.variables.load_specs`; read once a process."""
    return load_specs(roles_dir)


@functools.cache
def role_defaults(roles_dir: Path) -> dict[str, Any]:
    """`defaults/main.yml` of every role, in one mapping; their templates are trusted as the role's own.

    Read once a process: an action plugin that asks for it when it is loaded, before Ansible forks a worker
    for each host, spares each of them the reading.
    """
    loader = DataLoader()
    defaults: dict[str, Any] = {}
    for path in sorted(roles_dir.glob("*/defaults/main.yml")):
        defaults.update(loader.load_from_file(str(path), unsafe=True, trusted_as_template=True) or {})
    return defaults


def read_lock(path: Path) -> Mapping[str, Any]:
    """The lock, read once a process as long as the file stays the same; it is not to be changed.

    Raises:
        InputError: see `edgewright.device.lock.load_lock`.
    """
    try:
        status = path.stat()
    except OSError:
        return load_lock(path)  # which words it
    return _read_lock(path, (status.st_mtime_ns, status.st_size, status.st_ino))


@functools.lru_cache(maxsize=4)
def _read_lock(path: Path, _state: tuple[int, ...]) -> Mapping[str, Any]:
    return load_lock(path)


class HostVariables(Mapping[str, Any]):
    """Declared role variables and site variables of one host, each templated when first asked for."""

    def __init__(
        self,
        host: str,
        templar: Templar,
        task_vars: Mapping[str, Any],
        defaults: Mapping[str, Any],
        specs: Mapping[str, RoleSpec],
    ) -> None:
        """Take over a task's variables.

        Args:
            host: name for messages.
            templar: the action's own.
            task_vars: all variables of the task.
            defaults: see `role_defaults`.
            specs: declared variables by role.
        """
        self._host = host
        raw = {**defaults, **task_vars}
        self._all = raw
        self._templar = templar.copy_with_new_env(available_variables=raw)
        self._options = {name: option for spec in specs.values() for name, option in spec.options.items()}
        self._raw = {name: raw[name] for name in (*self._options, *SITE_VARIABLES) if name in raw}
        self._values: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        """Value of a variable.

        Raises:
            KeyError: it is set nowhere and has no default.
            InputError: it can't be computed, or is not of its declared type.
        """
        if name not in self._values:
            self._values[name] = self._typed(name, self._templated(name))
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._raw, *self._values)))

    def __len__(self) -> int:
        return len({*self._raw, *self._values})

    def __contains__(self, name: object) -> bool:
        return name in self._raw or name in self._values

    def add_controller_facts(self, areas: tuple[Area, ...], loader: DataLoader) -> None:
        """Read the digests of the controller's files that these areas declare, as further variables."""
        system = chosen_os(self)
        for area in AREAS if any(area.of_all for area in areas) else areas:
            for name, (kind, expression) in area.way(system).controller_facts.items():
                path = Path(loader.path_dwim(fact_path(name, expression, self)))
                self._values[name] = read_fact(name, kind, path)

    def problem(self, name: str) -> str | None:
        """What is wrong with a variable, as a sentence, or None."""
        try:
            self[name]
        except InputError as error:
            return str(error)
        return None

    def _templated(self, name: str) -> Any:
        constant = _constant(self._raw[name])
        if constant is not None:
            return json.loads(constant)
        simple = self._simple(self._raw[name])
        if simple is not None:
            return simple
        try:
            return plain(self._templar.template(self._raw[name]))
        except AnsibleError as error:
            raise InputError(
                f"host {self._host}: the value of {name} cannot be computed: {error}; set what it refers to"
                " in the inventory, or give it a value without it"
            ) from error

    def _simple(self, value: Any, depth: int = 0) -> str | None:
        """A text of words and names of variables that are such texts, put together; None for other values.

        Most of the defaults are such (`{{ edgewright_state_dir }}/depot`), and compiling a template takes
        longer than anything else that is done for a host.
        """
        if not isinstance(value, str) or depth > _DEEPEST or not _SIMPLE.match(value):
            return None
        if "{{" not in value:
            return str(plain(value))
        if not is_trusted_as_template(value):
            return None
        known = {
            name: self._simple(self._all[name], depth + 1)
            for name in _NAME.findall(value)
            if name in self._all
        }
        if None in known.values():
            return None
        try:
            return _NAME.sub(lambda found: str(known[found[1]]), str(plain(value)))
        except KeyError:
            return None  # Ansible says which one is missing

    def _typed(self, name: str, value: Any) -> Any:
        option = self._options.get(name)
        if option is None or value is None:
            return value
        text, words = _checked(name, json.dumps(option, default=str), json.dumps(value))
        if words:
            raise InputError(
                f"host {self._host}: {name} is {json.dumps(value, ensure_ascii=False)}: {words}. Set it as"
                " its role's README says"
            )
        return json.loads(text)


def _constant(value: Any) -> str | None:
    """A value as JSON where nothing in it is a template, or else for Ansible to resolve; None otherwise."""
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        return None
    return None if "{{" in text or "{%" in text or "{#" in text or "#jinja2" in text else text


@functools.lru_cache(maxsize=4096)
def _checked(name: str, described: str, value: str) -> tuple[str, str]:
    """A value brought to its option's type, as JSON, and what is wrong with it; devices share most."""
    option, given = json.loads(described), json.loads(value)
    bare = {key: part for key, part in option.items() if key not in ("default", "required")}
    checked = ArgumentSpecValidator({name: bare}).validate({name: given})
    if checked.error_messages:
        return value, "; ".join(checked.error_messages)
    kind = option.get("type", "str")
    if kind in _SCALARS or (kind == "list" and option.get("elements") in _SCALARS):
        return json.dumps(plain(checked.validated_parameters[name])), ""
    return value, ""


def profile_directories(task_vars: Mapping[str, Any]) -> list[Path]:
    """Where a host's profile may lie: `profiles/` beside its inventory, then what Edgewright carries."""
    inventory = task_vars.get("inventory_dir")
    own = [Path(str(inventory)) / "profiles"] if inventory else []
    return [*own, carried_profiles()]


def host_profile(host: str, variables: HostVariables, task_vars: Mapping[str, Any]) -> Profile:
    """Profile of a host.

    Raises:
        InputError: it names none, an unknown or a bad one.
    """
    directories = profile_directories(task_vars)
    name = variables.get("edgewright_profile")
    if name is None or name == "":
        raise missing_profile(host, directories)
    try:
        return load_profile(name, directories)
    except InputError as error:
        raise InputError(f"host {host}: {error}") from error
