# SPDX-License-Identifier: Apache-2.0
"""Reads the nvidia area on Ubuntu Core: components of the kernel snap, and what the kernel says of the card.

Asks snapd for what it knows without a store; the rest are files. Items are described in
`edgewright/device/nvidia_core.py`. Standard library only, Python 3.9 and later.
"""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional

from ansible_collections.edgewright.factory.plugins.module_utils import nvidia, snap_digest, snap_files
from ansible_collections.edgewright.factory.plugins.module_utils.system import System


def read(system: System, scope: Mapping[str, Any]) -> Dict[str, Any]:
    """Read the area.

    Args:
        system: the device.
        scope: the area's want: only its items are read, and of `components`, `provider` and `files` those
            that it names.
    """
    snaps = {str(snap.get("name")): snap for snap in system.snapd("/v2/snaps") or []}
    told = system.snapd("/v2/system-info")
    driver, _ = nvidia.loaded_driver(system)
    have: Dict[str, Any] = {
        "snapd": told.get("version") if isinstance(told, dict) else None,
        "components": {
            name: item
            for name in scope.get("components") or ()
            for item in [component(system, snaps, name)]
            if item
        },
        "provider": provider(system, snaps, (scope.get("provider") or {}).get("name")),
        "files": {path: system.read(path) for path in scope.get("files") or ()},
        "nouveau": bool(system.listdir("/sys/module/nouveau")),
        "driver": driver,
        **nvidia.gpus(system, driver),
    }
    return {item: value for item, value in have.items() if item in scope}


def component(system: System, snaps: Mapping[str, Any], full: str) -> Optional[Dict[str, Any]]:
    """Revision and digest of an installed component, by its full name SNAP+COMPONENT."""
    owner, _, name = full.partition("+")
    snap = snaps.get(owner) or {}
    revision = snap_files.components_of(snap).get(name) if snap.get("status") == "active" else None
    return _item(system, {"name": full, "revision": revision}) if revision else None


def provider(system: System, snaps: Mapping[str, Any], name: Optional[str]) -> Optional[Dict[str, Any]]:
    """Name, revision and digest of the snap with the libraries' interface."""
    snap = snaps.get(str(name)) or {}
    if snap.get("status") != "active":
        return None
    return {"name": name, **_item(system, {"name": name, "revision": str(snap.get("revision"))})}


def _item(system: System, snap: Mapping[str, Any]) -> Dict[str, Any]:
    revision = str(snap["revision"])
    path = "%s/%s" % (snap_files.SNAPS, snap_files.file_of(snap))
    return {
        "revision": int(revision) if revision.isdigit() else revision,
        "sha3_384": snap_digest.sha3_384(system, path),
    }
