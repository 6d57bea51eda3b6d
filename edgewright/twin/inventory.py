# SPDX-License-Identifier: Apache-2.0
"""Find the twins of an Ansible inventory: its hosts that have `edgewright_twin`.

The inventory is read by Ansible's own programs, never by a parser of our own: `ansible-inventory` for
hosts and variables and, where a variable that a twin needs holds a template, `ansible-playbook` to
resolve it.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgewright.errors import InputError, MissingToolError
from edgewright.paths import programs
from edgewright.twin.spec import TwinSpec

__all__ = ["DEFAULT_INVENTORY", "choose", "read_twins"]

DEFAULT_INVENTORY = "inventories/factory"
_ANSWER = "edgewright-twins:"
_NEEDED = ("edgewright_twin", "edgewright_state_dir", "ansible_host", "ansible_port")


def _program(name: str) -> str:
    """Ansible's program beside this Python, else on PATH."""
    beside = programs() / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    if not found:
        raise MissingToolError(
            f"looking for {name}: neither beside {sys.executable} nor on PATH; install edgewright with its "
            f"dependencies into one environment, or activate it"
        )
    return found


def _run(argv: Sequence[str], inventory: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_INVENTORY_UNPARSED_FAILED": "1"}
    environment["ANSIBLE_STDOUT_CALLBACK"] = "ansible.builtin.minimal"
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        lines = [line for text in (done.stdout, done.stderr) for line in text.splitlines() if line.strip()]
        errors = [line for line in lines if "ERROR" in line or "fatal" in line or "Error" in line]
        said = "\n".join((errors or lines)[-12:])
        raise InputError(f"reading the inventory {inventory}: {Path(argv[0]).name} refused it: {said}")
    return done


def _has_template(value: object) -> bool:
    return any(mark in json.dumps(value) for mark in ("{{", "{%"))


def _resolve(inventory: Path, twins: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The variables of hosts with their templates resolved, by Ansible itself in one task.

    Args:
        inventory: its file or directory.
        twins: host to the variables that it has, as `ansible-inventory` shows them.
    """
    rows = []
    for host, values in twins.items():
        name = json.dumps(host)
        fields = ", ".join(f"{json.dumps(key)}: hostvars[{name}][{json.dumps(key)}]" for key in values)
        rows.append(f"{name}: {{{fields}}}")
    # Shown by a task that runs no module, in letters that no way of showing folds or quotes.
    answer = f"{_ANSWER}{{{{ {{{', '.join(rows)}}} | to_json | b64encode }}}}"
    play = {
        "name": "Resolve the twins' variables",
        "hosts": "localhost",
        "gather_facts": False,
        "vars": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable},
        "tasks": [{"name": "Show them", "ansible.builtin.debug": {"msg": answer}}],
    }
    with tempfile.TemporaryDirectory() as work:
        playbook = Path(work) / "resolve.yml"
        playbook.write_text(json.dumps([play]), encoding="utf-8")
        done = _run([_program("ansible-playbook"), "-i", str(inventory), str(playbook)], inventory)
    shown = re.search(rf"{_ANSWER}([A-Za-z0-9+/=]+)", done.stdout)
    if shown is None:
        raise InputError(
            f"reading the inventory {inventory}: ansible-playbook ended well and did not show the twins' "
            f"variables; it said: {done.stdout[-300:].strip()}"
        )
    resolved: dict[str, dict[str, Any]] = json.loads(base64.b64decode(shown[1]))
    return resolved


def read_twins(inventory: Path) -> dict[str, TwinSpec]:
    """Read the twins of an inventory.

    Args:
        inventory: its file or directory.

    Returns:
        Name to spec, sorted by name; hosts without `edgewright_twin` are left out.

    Raises:
        InputError: no such inventory, Ansible refuses it, or a twin's variables are wrong or clash.
        MissingToolError: Ansible is not installed.
    """
    if not inventory.exists():
        raise InputError(
            f"reading the inventory {inventory}: no such file or directory; name one with -i, or go to the "
            f"directory that holds {DEFAULT_INVENTORY}"
        )
    listing = json.loads(
        _run([_program("ansible-inventory"), "-i", str(inventory), "--list"], inventory).stdout
    )
    hostvars: Mapping[str, Mapping[str, Any]] = listing.get("_meta", {}).get("hostvars", {})
    twins = {
        name: {key: values[key] for key in _NEEDED if key in values}
        for name, values in sorted(hostvars.items())
        if "edgewright_twin" in values
    }
    templated = {name: values for name, values in twins.items() if _has_template(values)}
    if templated:
        twins.update(_resolve(inventory, templated))
    specs = {name: TwinSpec.from_hostvars(name, values) for name, values in twins.items()}
    _check_places(specs)
    return specs


def _check_places(specs: Mapping[str, TwinSpec]) -> None:
    """Refuse two twins at one address."""
    holders: dict[tuple[str, int], str] = {}
    for name, spec in specs.items():
        place = (spec.address, spec.port)
        if place in holders:
            raise InputError(
                f"reading twin {name}: {spec.address} port {spec.port} is twin {holders[place]}'s already; "
                f"give each twin its own ansible_port (VM) or ansible_host (container)"
            )
        holders[place] = name


def choose(specs: Mapping[str, TwinSpec], names: Sequence[str], inventory: Path) -> list[TwinSpec]:
    """The named twins, or all when none is named.

    Raises:
        InputError: a name is no twin of the inventory, or there is none to choose from.
    """
    unknown = [name for name in names if name not in specs]
    known = ", ".join(specs) or "none"
    if unknown:
        raise InputError(
            f"choosing twins of {inventory}: no twin is named {', '.join(unknown)}; its twins are: {known} "
            f"(a twin is a host with the variable edgewright_twin)"
        )
    if not specs:
        raise InputError(f"choosing twins of {inventory}: it has none; a twin is a host with edgewright_twin")
    return [specs[name] for name in names] if names else list(specs.values())
