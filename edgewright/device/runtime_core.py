# SPDX-License-Identifier: Apache-2.0
"""Area `runtime` on Ubuntu Core: the model is served by a strict snap inside the quota group's slice.

Pure: no IO. The snaps are the release's own (`edgewright.snaps`): the runtime with server and front end, and
one for
each model, shared through the content interface. Items of `have` and `want`:

    snaps        {name: {revision, sha3_384}}; a revision of a snap without assertions is the device's own
                 count, and
                 only its digest is compared
    connections  the plugs of the runtime that are connected, as `PLUG SLOT`
    files        {path: text} of the settings and of the front end's configuration
    services     {unit: {enabled, active}} of server and front end
    settings     what the running server was started with, of the names in `want`
    grouped      whether the runtime's snap is in the quota group
    slice, cpus  as the kernel says of the server's process
    ready        whether the server says so on its socket
    health       what the snap's own check told snapd last
    frontend     {config, certificate_current, status}: the front end as a client of it sees it
    validation_sets  where the release names some: `edgewright.device.validation_sets`

`want` has `at` more: where the probe looks, and what the role installs and from where.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgewright.device import depot_client, isolation_core, runtime, validation_sets
from edgewright.device.cpulist import format_cpus
from edgewright.device.drift import Drift, Have, Want, compare, file_drift
from edgewright.device.places import UBUNTU_CORE, places
from edgewright.device.runtime_files import FrontendText, snap_environment, snap_frontend_text
from edgewright.device.topology import chosen_cpus
from edgewright.errors import InputError
from edgewright.snaps.release import RUNTIME_SNAP, snap_name

__all__ = ["AREA", "SERVER", "drift", "locked_snaps", "want"]

AREA = runtime.AREA

COMMON = f"/var/snap/{RUNTIME_SNAP}/common"
SOCKET = f"/var/snap/{RUNTIME_SNAP}/current/run/server.sock"
SERVER = f"snap.{RUNTIME_SNAP}.server.service"
FRONTEND = f"snap.{RUNTIME_SNAP}.frontend.service"

_WHY = {
    "connections": "the runtime is not connected to its models, and to them only",
    "services": "the server or the front end does not run, or does not start at boot",
    "grouped": "the runtime's snap is not in the quota group, so snapd starts its services elsewhere",
    "settings": "the server was started with other settings than its file now has",
    "slice": "the server's process is not inside the slice that is set apart",
    "cpus": "the server's process may run on other CPUs than those set apart",
    "ready": "the server does not say that it is ready to answer",
    "health": "the snap's own check did not tell snapd that the server is well",
    "frontend": "the front end does not serve the model over mTLS with this configuration and certificate",
}


def want(variables: Mapping[str, Any], profile: Mapping[str, Any], lock: Mapping[str, Any]) -> dict[str, Any]:
    """The runtime as it shall be.

    Raises:
        InputError: a variable or the lock does not allow a runtime; says which and what to do.
    """
    snaps, models = locked_snaps(lock)
    depot_host, depot_port = depot_client.depot_address(variables)
    isolated = chosen_cpus(variables, profile)
    serving = runtime.serving(variables, profile)
    where = places(UBUNTU_CORE)
    settings = {
        "EDGEWRIGHT_MAX_REQUEST_BYTES": str(serving.max_request_bytes),
        "EDGEWRIGHT_THREADS": str(serving.threads),
    }
    config, name = snap_frontend_text(
        FrontendText(
            listen=serving.listen,
            socket=SOCKET,
            identity=where.identity,
            max_request_bytes=serving.max_request_bytes,
        )
    )
    connect = [[f"{RUNTIME_SNAP}:model-{model}", f"{snap_name(model)}:model"] for model in models]
    return {
        "os": UBUNTU_CORE,
        "snaps": {
            snap["name"]: {"revision": _revision(snap), "sha3_384": str(snap["sha3_384"])} for snap in snaps
        },
        "connections": sorted(" ".join(pair) for pair in connect),
        "files": {
            f"{COMMON}/environment": snap_environment(settings),
            f"{COMMON}/frontend.conf": config,
        },
        "services": {unit: {"enabled": True, "active": True} for unit in (SERVER, FRONTEND)},
        "settings": settings,
        "grouped": bool(isolated),
        # Where no CPUs are set apart there is no quota group, and snapd's services run where all do.
        "slice": isolation_core.slice_of(variables) if isolated else "system.slice",
        "cpus": format_cpus(isolated) if isolated else None,
        "ready": True,
        "health": "okay",
        "frontend": {"config": name, "certificate_current": True, "status": 200},
        **validation_sets.want(lock),
        "at": {
            "snap": RUNTIME_SNAP,
            "server": SERVER,
            "frontend_unit": FRONTEND,
            "socket": SOCKET,
            "identity": where.identity,
            "frontend": serving.asked,
            "group": isolation_core.group_of(variables) if isolated else "",
            "depot": {"host": depot_host, "port": depot_port},
            "staging": f"{where.own}/staging",
            "install": [_installed(snap) for snap in snaps],
            "connect": connect,
            "validation_sets": validation_sets.files(lock),
        },
    }


def locked_snaps(lock: Mapping[str, Any]) -> tuple[list[Mapping[str, Any]], list[str]]:
    """The lock's snaps of models and runtime, the models first, and the names of the models.

    Raises:
        InputError: the lock has no snap of one of them.
    """
    _, models = runtime.locked_images(lock)
    by_name = {str(snap["name"]): snap for snap in lock.get("snaps", [])}
    names = [*(snap_name(model) for model in models), RUNTIME_SNAP]
    missing = [name for name in names if name not in by_name]
    if missing:
        raise InputError(
            f"lock of release {lock['release']['name']} {lock['release']['version']} has no snap"
            f" {', '.join(missing)}, which a device with edgewright_os: ubuntu_core takes in place of"
            " images: add it to"
            " snaps in release.yml (docs/reference/snaps.md) and run `edgewright release lock`"
        )
    return [by_name[name] for name in names], list(models)


def _revision(snap: Mapping[str, Any]) -> int | None:
    return int(snap["revision"]) if snap.get("revision") is not None else None


def _installed(snap: Mapping[str, Any]) -> dict[str, Any]:
    """What the module `edgewright.factory.snaps` takes of a snap."""
    revision = _revision(snap)
    filename = snap.get("filename") or f"{snap['name']}_{revision}.snap"
    return {
        "name": snap["name"],
        "filename": filename,
        "size": int(snap["size"]),
        "sha3_384": str(snap["sha3_384"]),
        "revision": revision,
        "assertions": None if revision is None else f"{snap['name']}_{revision}.assert",
        "grade": str(snap["grade"]),
    }


def drift(have: Have, want: Want) -> list[Drift]:
    """What differs, in the order in which the role mends it; a snap is named with what it is and shall be."""
    if not want:
        return []
    found = []
    got = have.get("snaps") or {}
    for name, wanted in want["snaps"].items():
        item = got.get(name) or {}
        keys = [key for key in ("revision", "sha3_384") if wanted[key] is not None]
        if any(item.get(key) != wanted[key] for key in keys):
            state = "is not installed" if not item else "is another than the lock's"
            found.append(Drift(AREA, f"snaps.{name}", item or None, wanted, f"snap {name} {state}"))
    why = dict(_WHY)
    if want["cpus"] is None:
        del why["cpus"], why["grouped"]
    found += validation_sets.drift(AREA, have, want)
    return [*found, *file_drift(AREA, have, want), *compare(AREA, have, want, why)]
