# SPDX-License-Identifier: Apache-2.0
"""What the snaps of the runtime and of the models hold. Pure: entries in, entries out.

The runtime's snap has the files of the runtime image, and of packages that only the snap needs (`snap_debs`
of the release): nginx, which is the `frontend` app, and cyclictest for the acceptance. All of them are
started by the snap's own C library and loader: of the base only its shell and small programs are used.

`bin/serve` and `bin/frontend` wait for what they need (a connected model; a configuration) rather than fail:
a strict snap's services start while it is being installed, before a role could have written anything.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Any

import yaml

from edgewright.errors import InputError
from edgewright.release.ocitar import Entry
from edgewright.snaps.release import RUNTIME_SNAP, snap_name

__all__ = ["BASE", "model_snap", "runtime_snap", "snap_only"]

BASE = "core24"
_SITE = "opt/edgewright/site-packages"
_KEPT = ("usr/", "opt/")
_MERGED = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")
_VERSION = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9:.+~-]{0,30}[a-zA-Z0-9+~])?\Z")
"""snap/validate.go: validateVersion."""

_NAME_CHARS = 40  # snap/naming/validate.go: ValidateSnap

_NGINX, _CYCLICTEST = "usr/sbin/nginx", "usr/bin/cyclictest"
_SNAP_ONLY = re.compile(
    rf"{_NGINX}\Z|{_CYCLICTEST}\Z|usr/lib/[^/]+-linux-gnu/[^/]+[.]so[^/]*\Z|usr/share/doc/[^/]+/copyright\Z"
)


def snap_only(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """Of a package's files those that the runtime's snap takes: two programs, libraries, licences."""
    return {path: entry for path, entry in entries.items() if _SNAP_ONLY.match(path)}


def runtime_snap(
    entries: Mapping[str, Entry], version: str, arch: str, models: list[str]
) -> dict[str, Entry]:
    """The runtime's files as a snap's.

    Args:
        entries: Of the image, and of the packages that only the snap has.
        version: Of the release.
        arch: Debian's and snapd's name of the architecture.
        models: Names of the models that it serves, each a content plug.

    Returns:
        The snap's files. There is an app `frontend` where nginx is among the entries, and `bin/cyclictest`
        where that is.

    Raises:
        InputError: The image holds no Python or loader, or the version is none that snapd takes.
    """
    kept = {path: entry for path, entry in entries.items() if path.startswith(_KEPT)}
    kept = {path: _relative(path, entry) for path, entry in kept.items()}
    libraries = sorted(
        {str(PurePosixPath(path).parent) for path in kept if re.match(r"usr/lib/[^/]+-linux-gnu/", path)}
    )
    filled = {
        "@LOADER@": _only(kept, r"usr/lib(64)?/(.*/)?ld-linux[^/]*\.so\.\d+", "a loader (libc6)"),
        "@PYTHON@": _only(kept, r"usr/bin/python3\.\d+", "a Python"),
        "@LIBRARIES@": ":".join(f"$SNAP/{path}" for path in libraries if path.count("/") == 2),
        "@SITE@": _SITE,
        "@MODELS@": " ".join(models),
    }
    plugs = {
        f"model-{model}": {
            "interface": "content",
            "content": snap_name(model),
            "target": f"$SNAP/models/{model}",
            "default-provider": snap_name(model),
        }
        for model in models
    }
    daemon = {
        "daemon": "simple",
        "restart-condition": "always",
        "restart-delay": "5s",
        "refresh-mode": "restart",
        "stop-timeout": "30s",
    }
    apps: dict[str, Any] = {
        "server": {
            "command": "bin/serve",
            **daemon,
            "plugs": ["network-bind", *plugs],
        },
    }
    scripts = ["python", "serve"]
    if _NGINX in kept:
        apps["frontend"] = {"command": "bin/frontend", **daemon, "plugs": ["network", "network-bind"]}
        scripts.append("frontend")
    if _CYCLICTEST in kept:
        scripts.append("cyclictest")
    told = _described(RUNTIME_SNAP, version, arch, "The model server of Edgewright")
    told |= {"plugs": plugs} if plugs else {}
    told |= {"apps": apps, "hooks": {"check-health": {"plugs": ["network-bind"]}}}
    return {
        **kept,
        **{f"models/{model}": Entry.directory() for model in models},
        **{f"bin/{name}": Entry.file(_script(name, filled), 0o755) for name in scripts},
        "bin/ready.py": Entry.file(_script("ready.py", {})),
        "meta/hooks/check-health": Entry.file(_script("check-health", filled), 0o755),
        "meta/snap.yaml": Entry.file(_dump(told)),
    }


def model_snap(entries: Mapping[str, Entry], image: Mapping[str, Any], arch: str) -> dict[str, Entry]:
    """A model's files as a snap's: files only, given out through one content slot.

    Args:
        entries: Of the model's image.
        image: Its entry in the lock.
        arch: Debian's and snapd's name of the architecture.

    Raises:
        InputError: Its name or version is none that snapd takes.
    """
    name = snap_name(image["model"])
    told = _described(
        name, image["version"], arch, f"The model {image['model']} for Edgewright's model server"
    )
    told["slots"] = {"model": {"interface": "content", "content": name, "read": ["$SNAP/model"]}}
    return {
        **{f"model/{path}": entry for path, entry in entries.items()},
        "meta/snap.yaml": Entry.file(_dump(told)),
    }


def _described(name: str, version: str, arch: str, summary: str) -> dict[str, Any]:
    if len(name) > _NAME_CHARS:
        raise InputError(
            f"packing snap {name}: a snap's name has at most {_NAME_CHARS} characters; choose a shorter "
            "model name"
        )
    if not _VERSION.match(version):
        raise InputError(
            f"packing snap {name}: {version!r} is no version that snapd takes; expected up to 32 "
            "letters, digits "
            "and :.+~-"
        )
    return {
        "name": name,
        "version": version,
        "summary": summary,
        "description": f"{summary}, packed from the same locked files as its container image.",
        "base": BASE,
        "confinement": "strict",
        "grade": "stable",
        "architectures": [arch],
    }


def _relative(path: str, entry: Entry) -> Entry:
    """A link that leads to the root of the image leads to the same file below the snap's."""
    if entry.kind != "symlink" or not entry.link.startswith("/"):
        return entry
    target = entry.link.lstrip("/")
    target = f"usr/{target}" if target.split("/", 1)[0] in _MERGED else target
    return Entry.symlink(os.path.relpath(target, PurePosixPath(path).parent))


def _only(entries: Mapping[str, Entry], pattern: str, what: str) -> str:
    found = sorted(
        path for path, entry in entries.items() if entry.kind == "file" and re.fullmatch(pattern, path)
    )
    if not found:
        raise InputError(
            f"packing snap {RUNTIME_SNAP}: the runtime image holds no {what.removeprefix('a ')}; add it"
        )
    return found[0]


def _script(name: str, filled: Mapping[str, str]) -> bytes:
    text = files("edgewright").joinpath("data", "snaps", "runtime", name).read_text("utf-8")
    for mark, value in filled.items():
        text = text.replace(mark, value)
    return text.encode()


def _dump(told: Mapping[str, Any]) -> bytes:
    buffer = io.StringIO()
    yaml.safe_dump(dict(told), buffer, sort_keys=False, default_flow_style=False, width=110)
    return buffer.getvalue().encode()
