# SPDX-License-Identifier: Apache-2.0
"""Area `runtime`: the model is served from a container inside the isolated slice, behind nginx.

Pure: no IO. `want` holds the very text of each file (made by `edgewright.device.runtime_files`), so
that the role writes what the probe compares.

Items of `have` and `want`:

    packages     {name: version} of the packages that the role asks for; None for one not installed
    files        {path: text} of the unit and of nginx's configuration; None for a file not there
    default_site whether nginx still has Debian's default site
    unit         {enabled, active, stale}: the unit at boot, now, and whether systemd has an older text
    image        digest of the image that the running container was made from
    models       {model: digest} as mounted in the running container
    generation   what the running container was started with: sha256 over the whole podman command
    slice        slice that the container's first process is in, as the kernel says
    cpus         CPUs that this process may run on, as the kernel says
    ready        whether the server says so on its socket
    frontend     {active, enabled, config, certificate_current, status}: nginx as a client of it sees it

`want` has `at` more: where the probe looks. `have` has `stored` more: the digests of images on disk.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgewright.device import depot_client, identity
from edgewright.device.cpulist import format_cpus
from edgewright.device.drift import Drift, Have, Want, compare, file_drift
from edgewright.device.runtime_files import (
    FrontendText,
    UnitText,
    frontend_text,
    generation,
    podman_run,
    unit_text,
)
from edgewright.device.topology import chosen_cpus
from edgewright.errors import InputError

__all__ = [
    "AREA",
    "PACKAGES",
    "Serving",
    "drift",
    "locked_images",
    "package_versions",
    "serving",
    "want",
]

AREA = "runtime"

# crun, because it is the one container runtime in Debian 12 that handles a delegated cgroup v2 well.
PACKAGES = ("podman", "crun", "nginx")

UNIT = "edgewright-runtime-a.service"
CONTAINER = "edgewright-runtime-a"
DIRECTORY = "/run/edgewright/runtime/a"
SOCKET = f"{DIRECTORY}/server.sock"
UNIT_FILE = f"/etc/systemd/system/{UNIT}"
FRONTEND_FILE = "/etc/nginx/conf.d/edgewright-runtime.conf"
DEFAULT_SITE = "/etc/nginx/sites-enabled/default"

_DIGEST = re.compile(r"^sha256:[0-9a-f]{64}\Z")
_IMAGE_NAME = re.compile(r"^[a-z0-9]+(?:[._-][a-z0-9]+)*(?:/[a-z0-9]+(?:[._-][a-z0-9]+)*)*\Z")
_MODEL_NAME = re.compile(r"^[a-z0-9][a-z0-9._-]{0,62}\Z")
# nginx binds every local address with 0.0.0.0 and [::]; the probe then asks the loopback.
_LISTEN = re.compile(r"^(?P<host>\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-f:]+\]):(?P<port>\d{1,5})\Z")

MAX_THREADS = 1024
MIN_REQUEST_BYTES = 1024
# The server holds a request in memory; 2 GiB is also where a tensor's size stops to fit 32 bits.
MAX_REQUEST_BYTES = 2**31


@dataclass(frozen=True)
class Serving:
    """How the model is served, whatever serves it.

    Attributes:
        listen: address and port of the front end.
        asked: host and port at which the device asks itself.
        max_request_bytes: largest request.
        threads: that one inference uses.
        start_timeout_s: seconds until a start counts as failed.
    """

    listen: str
    asked: list[Any]
    max_request_bytes: int
    threads: int
    start_timeout_s: int


def serving(variables: Mapping[str, Any], profile: Mapping[str, Any]) -> Serving:
    """The role's variables, checked.

    Raises:
        InputError: one cannot be.
    """
    host, port = _listen(variables.get("runtime_listen"))
    max_bytes = _whole(variables, "runtime_max_request_bytes", MIN_REQUEST_BYTES, MAX_REQUEST_BYTES, "bytes")
    threads = _whole(
        variables, "runtime_threads", 0, MAX_THREADS, "threads, or 0 for one on each CPU set apart"
    )
    return Serving(
        listen=f"{host}:{port}",
        asked=[{"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host.strip("[]")), port],  # noqa: S104 - compared, not bound
        max_request_bytes=max_bytes,
        threads=threads or len(chosen_cpus(variables, profile)) or int(profile["cpus"]),
        start_timeout_s=_whole(variables, "runtime_start_timeout_s", 5, 3600, "seconds"),
    )


def want(variables: Mapping[str, Any], profile: Mapping[str, Any], lock: Mapping[str, Any]) -> dict[str, Any]:
    """The runtime as it shall be.

    Args:
        variables: `runtime_*` of the role, `isolation_cpus`, `isolation_slice`, `depot_client_*`.
        profile: the device's hardware profile: `name`, `cpus` and `boot`.
        lock: the release's lock: `release`, `apt.packages`, `images`.

    Returns:
        The items of the area; empty where the profile has no kernel of its own (a container).

    Raises:
        InputError: a variable or the lock does not allow a runtime; says which and what to do.
    """
    if profile["boot"] == "none":
        return {}
    registry = "{host}:{port}".format_map(depot_client.want(variables, profile, lock)["depot"])
    isolated = chosen_cpus(variables, profile)
    image, models = locked_images(lock)
    served = serving(variables, profile)
    slice_name = str(variables.get("isolation_slice"))
    references = {
        "runtime": f"{registry}/{image['name']}@{image['digest']}",
        **{name: f"{registry}/{model['name']}@{model['digest']}" for name, model in models.items()},
    }
    command = podman_run(
        CONTAINER,
        DIRECTORY,
        references["runtime"],
        {name: references[name] for name in models},
        {
            "EDGEWRIGHT_MODELS": "/models",
            "EDGEWRIGHT_SOCKET": "/run/edgewright/server.sock",
            "EDGEWRIGHT_MAX_REQUEST_BYTES": str(served.max_request_bytes),
            "EDGEWRIGHT_THREADS": str(served.threads),
        },
    )
    unit = UnitText(
        release=f"{lock['release']['name']} {lock['release']['version']}",
        slice=slice_name,
        partitioned=bool(isolated),
        directory=DIRECTORY,
        container=CONTAINER,
        command=command,
        start_timeout_s=served.start_timeout_s,
    )
    frontend = FrontendText(
        listen=served.listen,
        socket=SOCKET,
        identity=identity.DIRECTORY,
        max_request_bytes=served.max_request_bytes,
    )
    config, config_generation = frontend_text(frontend)
    return {
        "packages": package_versions(lock, PACKAGES),
        "files": {UNIT_FILE: unit_text(unit), FRONTEND_FILE: config},
        "default_site": False,
        "unit": {"enabled": True, "active": True, "stale": False},
        "image": image["digest"],
        "models": {name: model["digest"] for name, model in models.items()},
        "generation": generation(command),
        "slice": slice_name,
        "cpus": format_cpus(isolated) if isolated else None,
        "ready": True,
        "frontend": {
            "active": True,
            "enabled": True,
            "config": config_generation,
            "certificate_current": True,
            "status": 200,
        },
        "at": {
            "unit": UNIT,
            "container": CONTAINER,
            "socket": SOCKET,
            "default_site": DEFAULT_SITE,
            "identity": identity.DIRECTORY,
            "frontend": served.asked,
            "references": references,
        },
    }


_WHY = {
    "packages": "a package that serves the model is missing or has another version than the lock's",
    "default_site": "nginx still serves Debian's default site to anybody",
    "unit": f"{UNIT} does not run, does not start at boot, or systemd has not read its new text",
    "image": "the container runs another runtime image than the lock's, or none runs",
    "models": "the container serves other models than the lock's, or none runs",
    "generation": "the container was started with other settings than its unit now has",
    "slice": "the container's process is not inside the slice that is set apart",
    "cpus": "the container's process may run on other CPUs than those set apart",
    "ready": "the server does not say that it is ready to answer",
    "frontend": "nginx does not serve the model over mTLS with this configuration and certificate",
}


def drift(have: Have, want: Want) -> list[Drift]:
    """What differs, in the order in which the role mends it."""
    if not want:
        return []
    why = dict(_WHY)
    if want["cpus"] is None:
        del why["cpus"]
    return file_drift(AREA, have, want) + compare(AREA, have, want, why)


def locked_images(lock: Mapping[str, Any]) -> tuple[Mapping[str, Any], dict[str, Mapping[str, Any]]]:
    """The runtime image and the models of a lock, by model name.

    Raises:
        InputError: not exactly one runtime image, no model, or an entry without a usable digest or name.
    """
    runtimes = [entry for entry in lock["images"] if entry["role"] == "runtime"]
    models = [entry for entry in lock["images"] if entry["role"] == "model"]
    where = f"lock of release {lock['release']['name']} {lock['release']['version']}"
    again = "write the lock again with `edgewright release lock`"
    if len(runtimes) != 1:
        raise InputError(f"{where}: expected one image of role runtime, got {len(runtimes)}; {again}")
    if not models:
        raise InputError(f"{where}: expected at least one image of role model, got none; {again}")
    by_name: dict[str, Mapping[str, Any]] = {}
    for entry in [*runtimes, *models]:
        if not _IMAGE_NAME.match(str(entry["name"])):
            raise InputError(f"{where}: image name {entry['name']!r} is no OCI repository name; {again}")
        if not _DIGEST.match(str(entry["digest"])):
            raise InputError(
                f"{where}: image {entry['name']}: expected digest sha256:<64 hexadecimal digits>,"
                f" got {entry['digest']!r}; {again}"
            )
    for entry in models:
        name = entry.get("model")
        if not isinstance(name, str) or not _MODEL_NAME.match(name) or name == "runtime":
            raise InputError(
                f"{where}: image {entry['name']}: expected the model's name, such as label-reader,"
                f" got {name!r}; {again}"
            )
        if name in by_name:
            raise InputError(f"{where}: two images are the model {name}; {again}")
        by_name[name] = entry
    return runtimes[0], by_name


def package_versions(lock: Mapping[str, Any], names: Sequence[str]) -> dict[str, str]:
    """Locked versions of the packages of these names.

    Raises:
        InputError: the lock lacks one.
    """
    locked = {str(entry["name"]): str(entry["version"]) for entry in lock["apt"]["packages"]}
    missing = [name for name in names if name not in locked]
    if missing:
        raise InputError(
            f"lock of release {lock['release']['name']} {lock['release']['version']} lacks the package"
            f" {', '.join(missing)}: add it to apt packages in release.yml and run `edgewright release lock`"
        )
    return {name: locked[name] for name in names}


def _listen(value: object) -> tuple[str, int]:
    match = _LISTEN.match(value) if isinstance(value, str) else None
    good = match and 0 < int(match["port"]) < 65536
    if match and good and not match["host"].startswith("["):
        good = all(int(part) < 256 for part in match["host"].split("."))
    if not match or not good:
        raise InputError(
            f"runtime_listen: expected ADDRESS:PORT such as 0.0.0.0:8443 or [::]:8443, got {value!r}"
        )
    return match["host"], int(match["port"])


def _whole(variables: Mapping[str, Any], name: str, least: int, most: int, unit: str) -> int:
    value = variables.get(name)
    if isinstance(value, str) and re.fullmatch(r"\d{1,12}", value):
        value = int(value)  # as Ansible gives a number that came through a template
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InputError(f"{name}: expected a whole number from {least} to {most} ({unit}), got {value!r}")
    return value
