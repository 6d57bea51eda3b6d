# SPDX-License-Identifier: Apache-2.0
"""The site of a rehearsal: the inventory of docs/how-to/carry-a-bundle.md, and the device's twin."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from edgewright.bundle.controller import Places
from edgewright.bundle.rehearsal.controller import SITE
from edgewright.errors import InputError
from edgewright.twin.recipe import SUITES
from edgewright.twin.spec import VM_DEPOT_HOST, VM_DEPOT_PORT, TwinSpec

__all__ = ["DEVICE", "INVENTORY", "PROFILES", "device_twin", "target_of", "write_site"]

DEVICE = "rehearsal-01"
INVENTORY = "inventory"
PROFILES = {"amd64": "x86_vm"}
"""The profile of the VM twin that stands in for a device, by architecture."""

_SUITE = SUITES[0]
"""Of both twins, controller and device; the installer of a bundle for another suite is for its Python."""

_STATE = "state"
_TWINS = "twins.yml"
_SSH_PORT = 2201  # of the rehearsal's own loopback: it clashes with nobody's
_CPUS = 4
_MEMORY_MIB = 2048


def target_of(lock: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[str]]:
    """The lock's part that a twin can stand in for, and the others by name.

    Args:
        lock: the release's.

    Raises:
        InputError: no twin can stand in for any of it.
    """
    parts = [lock, *lock.get("targets", [])]
    names = [f"{part['os']['family']} {part['os']['suite']} {part['os']['arch']}" for part in parts]
    for number, part in enumerate(parts):
        if (part["os"]["family"], part["os"]["suite"]) == ("debian", _SUITE) and part["os"][
            "arch"
        ] in PROFILES:
            return part, names[:number] + names[number + 1 :]
    raise InputError(
        f"choosing a twin for {lock['release']['name']}: it is for {', '.join(names)}; a twin can stand in "
        f"for debian {_SUITE} on {', '.join(PROFILES)}; rehearse on hardware, as "
        "docs/how-to/carry-a-bundle.md tells"
    )


def device_twin(work: Path) -> TwinSpec:
    """The device's twin: what it sends is written down."""
    return TwinSpec(
        DEVICE,
        "vm",
        work / _STATE,
        _SSH_PORT,
        cpus=_CPUS,
        memory_mib=_MEMORY_MIB,
        depot_port=VM_DEPOT_PORT,
        capture=True,
    )


def write_site(work: Path, places: Places, suite: str, arch: str) -> Path:
    """Write the inventory for the controller, and the one that starts the twin.

    Args:
        work: the rehearsal's directory, seen by the controller as `SITE`.
        places: the controller's.
        suite: of the part of the release that is rehearsed.
        arch: likewise.

    Returns:
        The twin's inventory, for this host.
    """
    keys = f"{SITE}/{_STATE}"
    depot = str(places.depot)
    files: dict[str, Any] = {
        "hosts.yml": {"controller": {"hosts": {"localhost": None}}, "devices": {"hosts": {DEVICE: None}}},
        "group_vars/all/edgewright.yml": {
            "edgewright_state_dir": str(places.state),
            "edgewright_release_dir": str(places.release),
            "depot_dir": depot,
            "depot_client_depot_dir": depot,
            "identity_depot_dir": depot,
        },
        "group_vars/controller/depot.yml": {
            "ansible_connection": "local",
            "ansible_python_interpreter": "{{ ansible_playbook_python }}",
            "depot_from_bundle": True,
            "depot_supervisor": "systemd",
            "depot_listen": [f"127.0.0.1:{VM_DEPOT_PORT}"],
        },
        "group_vars/devices/edgewright.yml": {
            "ansible_user": "root",
            "ansible_pipelining": True,
            "ansible_ssh_private_key_file": f"{keys}/ssh/id_ed25519",
            "ansible_ssh_common_args": (
                f"-o UserKnownHostsFile={keys}/known_hosts -o StrictHostKeyChecking=yes "
                "-o IdentitiesOnly=yes -o ServerAliveInterval=15 -o ServerAliveCountMax=8"
            ),
            "depot_client_url": f"https://{VM_DEPOT_HOST}:{VM_DEPOT_PORT}",
            "depot_client_suite": suite,
            "isolation_cpus": f"2-{_CPUS - 1}",
            "acceptance_intent": {"latency_p99_ms": 50, "wakeup_worst_us": 100},
            "acceptance_accept_inconclusive": True,  # an emulated CPU proves nothing about time, and says so
            "acceptance_rate_hz": 0.5,
            "acceptance_duration_s": 20.0,
        },
        f"host_vars/{DEVICE}.yml": {
            "ansible_host": "127.0.0.1",
            "ansible_port": _SSH_PORT,
            "edgewright_profile": PROFILES[arch],
        },
    }
    for name, content in files.items():
        _write(work / INVENTORY / name, content)
    twin = {
        "kind": "vm",
        "cpus": _CPUS,
        "memory_mib": _MEMORY_MIB,
        "depot_port": VM_DEPOT_PORT,
        "capture": True,
    }
    own = {"edgewright_state_dir": str(work / _STATE), "ansible_port": _SSH_PORT, "edgewright_twin": twin}
    return _write(work / _TWINS, {"all": {"hosts": {DEVICE: own}}})


def _write(path: Path, content: Mapping[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("---\n" + yaml.safe_dump(dict(content), sort_keys=False, width=200), "utf-8")
    return path
