# SPDX-License-Identifier: Apache-2.0
"""Reads how a device serves its model: packages, unit, container, its process, server and nginx.

Few commands, because each costs seconds on a slow device: one `dpkg-query`, one `systemctl show`, one
`podman inspect`, and one `podman images` only where the running container is not the wanted one.
Standard library only, Python 3.9 and later. Items are described in `edgewright/device/runtime.py`.
"""

from __future__ import annotations

import binascii
import json
import re
import socket
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

from ansible_collections.edgewright.factory.plugins.module_utils.lean import sha256
from ansible_collections.edgewright.factory.plugins.module_utils.system import NoAnswerError, System

# How long one question to the server or to nginx may take; an idle server answers in milliseconds.
_TIMEOUT_S = 10.0
# As often as this systemd has started a service again that still does not answer: it will not by waiting.
_RESTARTS = 3
# Exit status of a command that is not there, as a shell gives it.
_NO_PROGRAM = 127
_READY = b"GET /v2/health/ready HTTP/1.1\r\nHost: device\r\nConnection: close\r\n\r\n"


class Answer(NamedTuple):
    """What an HTTP server answered: status (0: it did not), headers in small letters, and the
    certificate that it showed (DER), when it spoke TLS."""

    status: int
    headers: Dict[str, str]
    certificate: Optional[bytes]


# Asks for readiness: over a unix socket (path, None), or over TLS ((host, port), identity directory).
Ask = Callable[[Any, Optional[str]], Answer]
NOTHING = Answer(0, {}, None)


def read(system: System, scope: Mapping[str, Any], ask: Optional[Ask] = None) -> Dict[str, Any]:
    """Read the area.

    Args:
        system: the device.
        scope: the area's want: `at`, and the names in `packages` and `files`, are used.
        ask: how to ask a server whether it is ready; the real way when None.

    Returns:
        `packages`, `files`, `default_site`, `unit`, `image`, `models`, `generation`, `slice`, `cpus`,
        `ready`, `trouble` (see `trouble`), `frontend` and `stored` (None where the images were not listed).
    """
    if not scope:
        return {}
    at = scope["at"]
    ask = ask or ask_ready
    packages = _packages(system, list(scope["packages"]))
    units = units_of(system, [at["unit"], "nginx.service"], "NeedDaemonReload")
    unit, nginx = units.get(at["unit"], {}), units.get("nginx.service", {})
    container = _container(system, at["container"]) if packages.get("podman") else {}
    stored: Optional[List[str]] = None
    if packages.get("podman") and not _runs(container, at["references"]):
        stored = _stored(system)
    active = unit.get("ActiveState") == "active"
    answer = NOTHING
    ready = active and ask(at["socket"], None).status == 200
    frontend_up = nginx.get("ActiveState") == "active"
    if frontend_up:
        answer = ask(tuple(at["frontend"]), at["identity"])
    return {
        "packages": packages,
        "files": {path: system.read(path) for path in scope["files"]},
        "default_site": at["default_site"].rsplit("/", 1)[1]
        in system.listdir(at["default_site"].rsplit("/", 1)[0]),
        "unit": {
            "enabled": unit.get("UnitFileState") == "enabled",
            "active": active,
            "stale": unit.get("NeedDaemonReload") == "yes",
        },
        "image": container.get("image"),
        "models": container.get("models"),
        "generation": container.get("generation"),
        "slice": slice_of(system, container.get("pid")),
        "cpus": cpus_of(system, container.get("pid")),
        "ready": ready,
        "trouble": trouble(system, at["unit"], unit, ready),
        "frontend": {
            "active": frontend_up,
            "enabled": nginx.get("UnitFileState") == "enabled",
            "config": answer.headers.get("edgewright-config"),
            "certificate_current": same_certificate(system, at["identity"], answer.certificate),
            "status": answer.status,
        },
        "stored": stored,
    }


def _packages(system: System, names: List[str]) -> Dict[str, Optional[str]]:
    found: Dict[str, Optional[str]] = dict.fromkeys(names)
    listed = system.run(["dpkg-query", "-W", "-f", "${Package}\t${db:Status-Status}\t${Version}\n", *names])
    for line in listed.out.splitlines():
        parts = line.split("\t")
        if len(parts) == 3 and parts[1] == "installed" and parts[0] in found:
            found[parts[0]] = parts[2]
    return found


def units_of(system: System, names: List[str], prop: str) -> Dict[str, Dict[str, str]]:
    """State of each unit by its name: whether it runs, whether it starts at boot, and one property more."""
    properties = "Id,ActiveState,UnitFileState," + prop
    shown = system.run(["systemctl", "show", "--property", properties, *names])
    units = {}
    for block in shown.out.split("\n\n"):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if "Id" in values:
            units[values["Id"]] = values
    return units


def trouble(system: System, name: str, unit: Mapping[str, str], ready: bool) -> Optional[str]:
    """Why a service will not answer by waiting: systemd has given up, or starts it again and again.

    Args:
        system: the device.
        name: the service's unit.
        unit: its state, of `units_of`.
        ready: whether it answers; then there is none, and nothing is asked.

    Returns:
        A sentence for a person; None where it answers, is about to, or was never to start.
    """
    if ready or unit.get("UnitFileState") != "enabled":
        return None
    shown = system.run(["systemctl", "show", "--property", "NRestarts,Result,ExecMainStatus", name])
    values = dict(line.split("=", 1) for line in shown.out.splitlines() if "=" in line)
    result, status = values.get("Result", "unknown"), values.get("ExecMainStatus", "unknown")
    last = "its last result is %s, with exit status %s" % (result, status)
    if unit.get("ActiveState") == "failed":
        return "systemd has given up on %s: %s" % (name, last)
    times = values.get("NRestarts", "")
    if times.isdigit() and int(times) >= _RESTARTS:
        return "%s does not stay up: systemd has started it again %s times; %s" % (name, times, last)
    return None


def _container(system: System, name: str) -> Dict[str, Any]:
    """The running container in the words of the area; empty when none runs.

    Raises:
        NoAnswerError: podman is there and did not say which; a container that cannot be seen may well run.
    """
    shown = system.run(["podman", "container", "inspect", name])
    if shown.rc == _NO_PROGRAM or (shown.rc != 0 and "no such container" in shown.err.lower()):
        return {}
    try:
        entry = json.loads(shown.out)[0] if shown.rc == 0 else None
    except (ValueError, LookupError):
        entry = None
    if not isinstance(entry, dict):
        said = " ".join((shown.err or shown.out).split())[:300] or "nothing"
        raise NoAnswerError(
            "`podman container inspect %s` ended with status %d and said %s, so what runs is not known"
            % (name, shown.rc, said)
        )
    if not (entry.get("State") or {}).get("Running"):
        return {}
    models = {}
    for mount in entry.get("Mounts") or []:
        destination = mount.get("Destination") or ""
        if mount.get("Type") == "image" and destination.startswith("/models/"):
            models[destination[len("/models/") :]] = (mount.get("Source") or "").rpartition("@")[2]
    labels = (entry.get("Config") or {}).get("Labels") or {}
    return {
        "image": entry.get("ImageDigest"),
        "models": models,
        "generation": labels.get("edgewright.generation"),
        "pid": (entry.get("State") or {}).get("Pid"),
    }


def _runs(container: Mapping[str, Any], references: Mapping[str, str]) -> bool:
    """Whether the container is made of the images that the references name."""
    digests = {name: reference.rpartition("@")[2] for name, reference in references.items()}
    image = digests.pop("runtime", None)
    return container.get("image") == image and container.get("models") == digests


def _stored(system: System) -> Optional[List[str]]:
    """References by digest of the images on disk; None when podman did not say."""
    listed = system.run(["podman", "images", "--format", "json"], timeout_s=60.0)
    try:
        images = json.loads(listed.out or "[]") if listed.rc == 0 else None
    except ValueError:
        images = None
    if images is None:
        return None
    return sorted({reference for image in images for reference in image.get("RepoDigests") or []})


def slice_of(system: System, pid: Optional[int]) -> Optional[str]:
    """Slice at the top of the process's cgroup, from `/proc/PID/cgroup`, or None."""
    for line in (system.read("/proc/%d/cgroup" % pid) or "").splitlines() if pid else []:
        match = re.match(r"0::/([^/]+)", line)
        if match:
            return match.group(1)
    return None


def cpus_of(system: System, pid: Optional[int]) -> Optional[str]:
    """CPUs that the process may run on, in the kernel's notation, or None."""
    text = (system.read("/proc/%d/status" % pid) or "") if pid else ""
    match = re.search(r"^Cpus_allowed_list:\s*(\S+)", text, re.MULTILINE)
    return match.group(1) if match else None


def same_certificate(system: System, identity: str, shown: Optional[bytes]) -> bool:
    """Whether nginx shows the leaf certificate that lies on disk now (it reads it only when told to)."""
    leaf = leaf_sha256(system.read(identity + "/device.crt"))
    return shown is not None and sha256(shown) == leaf


def leaf_sha256(pem: Optional[str]) -> Optional[str]:
    """SHA-256 of the first certificate of a PEM text (over its DER bytes, as `openssl x509 -fingerprint`)."""
    match = re.search(r"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", pem or "", re.DOTALL)
    if not match:
        return None
    try:
        return sha256(binascii.a2b_base64(match.group(1)))
    except ValueError:
        return None


def ask_ready(where: Any, identity: Optional[str]) -> Answer:
    """Ask for readiness; a server that does not answer gives status 0.

    Args:
        where: path of a unix socket, or host and port.
        identity: directory with the device's certificate, key and root, for TLS; None for plain.
    """
    certificate = None
    try:
        if isinstance(where, str):
            stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            stream.settimeout(_TIMEOUT_S)
            stream.connect(where)
        else:
            stream = socket.create_connection(where, timeout=_TIMEOUT_S)
        if identity is not None:
            stream = _context(identity).wrap_socket(stream)
            certificate = stream.getpeercert(True)
        with stream:
            stream.sendall(_READY)
            data = b""
            while b"\r\n\r\n" not in data and len(data) < 65536:
                more = stream.recv(4096)
                if not more:
                    break
                data += more
    except (OSError, ValueError):  # ssl's own errors are OSErrors; ValueError: a file that is no certificate
        return Answer(0, {}, certificate)
    status, headers = _head(data)
    return Answer(status, headers, certificate)


def _context(identity: str) -> Any:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # The device asks itself over its loopback, which is no name of its certificate; the chain counts.
    context.check_hostname = False
    context.load_verify_locations(identity + "/site-root.crt")
    context.load_cert_chain(identity + "/device.crt", identity + "/device.key")
    return context


def _head(data: bytes) -> Tuple[int, Dict[str, str]]:
    lines = data.split(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    match = re.match(r"HTTP/1\.[01] (\d{3})", lines[0])
    headers = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    return (int(match.group(1)) if match else 0), headers
