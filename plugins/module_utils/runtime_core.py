# SPDX-License-Identifier: Apache-2.0
"""Reads how an Ubuntu Core device serves its model: snaps, connections, services, the server's process,
front end.

One `systemctl show`; all else is asked of snapd over its socket, of the kernel, and of the two servers
themselves.
Standard library only, Python 3.9 and later. Items are described in `edgewright/device/runtime_core.py`.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional

from ansible_collections.edgewright.factory.plugins.module_utils import (
    runtime,
    snap_digest,
    snap_files,
    validation_sets,
)
from ansible_collections.edgewright.factory.plugins.module_utils.system import System


def read(system: System, scope: Mapping[str, Any], ask: Optional[runtime.Ask] = None) -> Dict[str, Any]:
    """Read the area.

    Args:
        system: the device.
        scope: the area's want: `at`, and the names in `snaps`, `files`, `services` and `settings`, are used.
        ask: how to ask a server whether it is ready; the real way when None.
    """
    at = scope["at"]
    ask = ask or runtime.ask_ready
    found = {str(snap.get("name")): snap for snap in system.snapd("/v2/snaps") or []}
    units = runtime.units_of(system, list(scope["services"]), "MainPID")
    pid = int(units.get(at["server"], {}).get("MainPID") or 0)
    active = {name: unit.get("ActiveState") == "active" for name, unit in units.items()}
    serves = active.get(at["frontend_unit"], False)
    answer = ask(tuple(at["frontend"]), at["identity"]) if serves else runtime.NOTHING
    return {
        "snaps": {
            name: item for name in scope["snaps"] for item in [snap_item(system, found.get(name))] if item
        },
        "connections": connections(system, at["snap"]),
        "files": {path: system.read(path) for path in scope["files"]},
        "services": {
            name: {
                "enabled": units.get(name, {}).get("UnitFileState") == "enabled",
                "active": active.get(name, False),
            }
            for name in scope["services"]
        },
        "settings": settings(system, processes(system, pid), list(scope["settings"])),
        "grouped": grouped(system, at["group"], at["snap"]),
        "slice": runtime.slice_of(system, pid),
        "cpus": runtime.cpus_of(system, pid),
        "ready": active.get(at["server"], False) and ask(at["socket"], None).status == 200,
        "health": ((found.get(at["snap"]) or {}).get("health") or {}).get("status"),
        "frontend": {
            "config": answer.headers.get("edgewright-config"),
            "certificate_current": runtime.same_certificate(system, at["identity"], answer.certificate),
            "status": answer.status,
        },
        **validation_sets.read(system, scope, found),
    }


def snap_item(system: System, snap: Optional[Mapping[str, Any]]) -> Optional[Dict[str, Any]]:
    """Revision and digest of an installed snap; a revision of the device's own counting is its text,"
    " such as x1."""
    if not snap or snap.get("status") != "active":
        return None
    revision = str(snap.get("revision"))
    path = "%s/%s" % (snap_files.SNAPS, snap_files.file_of(snap))
    return {
        "revision": int(revision) if revision.isdigit() else revision,
        "sha3_384": snap_digest.sha3_384(system, path),
    }


def connections(system: System, name: str) -> List[str]:
    """Plugs of a snap that lead to content of another, as `PLUG SLOT`, sorted."""
    answer = system.snapd("/v2/connections?snap=" + name)
    established = answer.get("established") if isinstance(answer, dict) else None
    found = []
    for each in established or []:
        plug, slot = each.get("plug") or {}, each.get("slot") or {}
        if each.get("interface") == "content" and plug.get("snap") == name:
            ends = (plug["snap"], plug.get("plug"), slot.get("snap"), slot.get("slot"))
            found.append("%s:%s %s:%s" % ends)
    return sorted(found)


def grouped(system: System, group: str, name: str) -> bool:
    """Whether a snap is in a quota group."""
    answer = system.snapd("/v2/quotas/" + group) if group else None
    return isinstance(answer, dict) and name in (answer.get("snaps") or [])


def processes(system: System, pid: int) -> List[int]:
    """The processes of a service, by its main one: that may be a script which started the server."""
    for line in (system.read("/proc/%d/cgroup" % pid) or "").splitlines() if pid else []:
        if line.startswith("0::/"):
            pids = (system.read("/sys/fs/cgroup%s/cgroup.procs" % line[3:].strip()) or "").split()
            return [int(each) for each in pids] or [pid]
    return [pid] if pid else []


def settings(system: System, pids: List[int], names: List[str]) -> Dict[str, Optional[str]]:
    """What the service's processes were started with, of these names; the first that has one counts."""
    found: Dict[str, Optional[str]] = dict.fromkeys(names)
    for pid in pids:
        values = dict(
            entry.split("=", 1)
            for entry in (system.read("/proc/%d/environ" % pid) or "").split("\0")
            if "=" in entry
        )
        for name in names:
            found[name] = values.get(name) if found[name] is None else found[name]
    return found
