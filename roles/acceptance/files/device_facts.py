# SPDX-License-Identifier: Apache-2.0
"""What the device is while it is measured: kernel, CPUs, memory, images or snaps, certificate, clock.

Part of the measuring program (`measure.py`), which carries it in its zip application. Reads files, asks
commands, and asks snapd for what it knows without a store; changes nothing.

Standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import http.client
import json
import os
import re
import socket
import subprocess
from pathlib import Path
from typing import Any

CGROUPS = "/sys/fs/cgroup"
SNAPD_TIMEOUT_S = 60.0


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _out(argv: list[str]) -> str | None:
    """What a command printed, whatever its status; None when it is not there or does not end."""
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace").strip() or None


def facts(plan: dict[str, Any]) -> dict[str, Any]:
    """What the device is while it is measured, as read on it."""
    group = "{}/{}".format(CGROUPS, plan["slice"])
    snapd = "server" in plan
    container = {"pid": _main_pid(plan["server"])} if snapd else _container(plan["container"])
    pid = container.pop("pid", None)
    uname = os.uname()
    versions = ""
    if plan["packages"]:
        versions = _out(["dpkg-query", "-W", "-f", "${Package}\t${Version}\n"] + plan["packages"]) or ""
    of_snapd = (
        {"snaps": snaps(plan["snaps"]), "snapd": _snapd("/v2/system-info").get("version")} if snapd else {}
    )
    return {
        **of_snapd,
        "os": _os(),
        "uname": " ".join([uname.sysname, uname.nodename, uname.release, uname.version, uname.machine]),
        "kernel": uname.release,
        "realtime": _text("/sys/kernel/realtime") == "1",
        "cmdline": _text("/proc/cmdline"),
        "cpus": os.cpu_count(),
        "memory_kib": _memory_kib(),
        "partition": _text(group + "/cpuset.cpus.partition"),
        "slice_cpus": _text(group + "/cpuset.cpus.effective"),
        "packages": dict(line.split("\t", 1) for line in versions.splitlines() if "\t" in line),
        "images": container,
        "container_memory": _container_memory(pid),
        "certificate_sha256": _certificate(plan["identity"] + "/device.crt"),
        "virtualisation": _out(["systemd-detect-virt"]),
        "clocksource": _text("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "clock_synchronised": _out(["timedatectl", "show", "--property=NTPSynchronized", "--value"]),
    }


class SnapdConnection(http.client.HTTPConnection):
    """A connection to snapd's own socket."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(SNAPD_TIMEOUT_S)
        self.sock.connect("/run/snapd.socket")


def _snapd(path: str) -> Any:
    """What snapd answers, nothing where it does not; it is asked for what it knows itself, so no store is."""
    connection = SnapdConnection("localhost")
    try:
        connection.request("GET", path)
        answer = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError):
        return {}
    finally:
        connection.close()
    return answer.get("result") or {}


def snaps(wanted: dict[str, str], directory: str = "/var/lib/snapd/snaps") -> dict[str, Any]:
    """The active snaps of the device: those of the plan with the digest of their bytes as they are now."""
    found: dict[str, Any] = {}
    for snap in _snapd("/v2/snaps") or []:
        if snap.get("status") != "active":
            continue
        name, revision = snap["name"], str(snap["revision"])
        entry: dict[str, Any] = {"revision": revision, "version": str(snap.get("version"))}
        entry["type"] = snap.get("type")
        # What only stands in for a snap that can't be had says so itself, in its summary.
        entry["stand_in"] = str(snap.get("summary", "")).startswith("A stand-in")
        entry["sha3_384"] = _sha3_384(f"{directory}/{name}_{revision}.snap") if name in wanted else None
        found[name] = entry
    return found


def _sha3_384(path: str) -> str | None:
    """Of a file, as a snap-revision assertion writes it."""
    digest = hashlib.sha3_384()
    try:
        with Path(path).open("rb") as stream:
            for piece in iter(lambda: stream.read(1024 * 1024), b""):
                digest.update(piece)
    except OSError:
        return None
    return base64.urlsafe_b64encode(digest.digest()).decode()


def _os() -> dict[str, str]:
    """Which OS it is, by its own file."""
    text = _text("/etc/os-release") or ""
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {key: values.get(key.upper(), "").strip('"') for key in ("id", "version_id")}


def _main_pid(unit: str) -> int | None:
    text = _out(["systemctl", "show", "--property=MainPID", "--value", unit])
    return int(text) if text and text.isdigit() and text != "0" else None


def _container(name: str) -> dict[str, Any]:
    try:
        entry = json.loads(_out(["podman", "container", "inspect", name]) or "[]")[0]
    except (ValueError, IndexError):
        return {}
    found: dict[str, Any] = {"runtime": entry["ImageDigest"], "pid": entry["State"]["Pid"]}
    for mount in entry.get("Mounts") or []:
        if mount["Type"] == "image" and mount["Destination"].startswith("/models/"):
            found[mount["Destination"][len("/models/") :]] = mount["Source"].rpartition("@")[2]
    return found


def _container_memory(pid: int | None) -> dict[str, int | None]:
    """Bytes that the container's cgroup holds now, and held at most (Linux 5.19 and later say so)."""
    match = re.search(r"^0::(/.*)$", _text(f"/proc/{pid}/cgroup") or "", re.MULTILINE) if pid else None
    values: dict[str, int | None] = {}
    for name in ("current", "peak"):
        text = _text(f"{CGROUPS}{match.group(1)}/memory.{name}") if match else None
        values[name + "_bytes"] = int(text) if text and text.isdigit() else None
    return values


def _memory_kib() -> int | None:
    match = re.search(r"^MemTotal:\s+(\d+) kB", _text("/proc/meminfo") or "", re.MULTILINE)
    return int(match.group(1)) if match else None


def _certificate(path: str) -> str | None:
    match = re.search(r"-----BEGIN CERTIFICATE-----(.*?)-----END", _text(path) or "", re.DOTALL)
    return hashlib.sha256(binascii.a2b_base64(match.group(1))).hexdigest() if match else None
