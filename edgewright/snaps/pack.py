# SPDX-License-Identifier: Apache-2.0
"""The runtime and the models as strict snaps: one recipe, two packings.

    packed = pack_snaps(lock, store, Path("snaps"))

A snap is made of the layers of the locked OCI image, so that both hold the same files of the same locked debs
and wheels: what is served in a container and what is served from a snap can't differ. Added are
`meta/snap.yaml`, a start script, and a health hook. The runtime brings its own C library and Python and
starts them by its own loader; of its base it uses the shell only. Each model is a snap of its own, shared
through the content interface, so that runtime and model revert apart.

The same lock gives the same bytes: files sorted, owned by root, of one time, and not squeezed (squashfs
without compression: no compressor's version counts, and a device has nothing to unpack). What is packed has
no assertion: publish it in a store and bring it back with one, or mark it `grade: dangerous` for a trial.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from edgewright.depot.blobs import BlobStore
from edgewright.depot.progress import say
from edgewright.errors import EdgewrightError, InputError, IntegrityError, MissingToolError
from edgewright.release.ocitar import Entry, image_blobs
from edgewright.snaps.inputs import Hashed, hash_snap
from edgewright.snaps.release import RUNTIME_SNAP, snap_name

__all__ = [
    "BASE",
    "Packed",
    "image_entries",
    "model_snap",
    "pack_snaps",
    "runtime_snap",
    "squash",
]

BASE = "core24"
_SITE = "opt/edgewright/site-packages"
_KEPT = ("usr/", "opt/")
_MERGED = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")
_VERSION = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9:.+~-]{0,30}[a-zA-Z0-9+~])?\Z")
"""snap/validate.go: validateVersion."""

_NAME_CHARS = 40  # snap/naming/validate.go: ValidateSnap


@dataclass(frozen=True)
class Packed:
    """A packed snap: its `name`, its file's `path`, and its digests."""

    name: str
    path: Path
    hashed: Hashed


def pack_snaps(lock: Mapping[str, Any], store: BlobStore, directory: Path) -> list[Packed]:
    """Pack the lock's runtime and models.

    Args:
        lock: The lock; its images are in the store.
        store: Where their layers are.
        directory: Gets `NAME_VERSION_ARCH.snap`, each there whole or not at all.

    Returns:
        The snaps, the runtime first.

    Raises:
        IntegrityError: The store lacks an image.
        InputError: An image can't be a snap.
        MissingToolError: mksquashfs is not installed.
    """
    models = [image["model"] for image in lock["images"] if image["role"] == "model"]
    directory.mkdir(parents=True, exist_ok=True)
    return [pack_one(lock, built, store, directory) for built in ["runtime", *models]]


def pack_one(lock: Mapping[str, Any], built: str, store: BlobStore, directory: Path) -> Packed:
    """Pack the runtime (`runtime`) or a model (its name); otherwise as `pack_snaps`."""
    arch = lock["os"]["arch"]
    models = {image["model"]: image for image in lock["images"] if image["role"] == "model"}
    if built == "runtime":
        image = next(image for image in lock["images"] if image["role"] == "runtime")
        entries = runtime_snap(image_entries(image, store), image["version"], arch, list(models))
    else:
        image = models[built]
        entries = model_snap(image_entries(image, store), image, arch)
    name = snap_name(built)
    path = directory / f"{name}_{image['version']}_{arch}.snap"
    say(f"packing snap {name}")
    squash(entries, path)
    return Packed(name, path, hash_snap(path))


def image_entries(image: Mapping[str, Any], store: BlobStore) -> dict[str, Entry]:
    """The files of a locked image: those of its layers, the upper ones over the lower.

    Raises:
        IntegrityError: The store lacks it.
        InputError: A layer holds what these images never have, such as a device or a whiteout.
    """
    blobs = image_blobs(image["digest"], store)
    if blobs is None:
        raise IntegrityError(
            f"packing image {image['name']}@{image['digest']}: the cache does not hold it; build it with "
            "`edgewright depot build` or `edgewright bundle build` first"
        )
    manifest = json.loads(store.path(blobs[0]).read_bytes())
    entries: dict[str, Entry] = {}
    for layer in manifest["layers"]:
        with tarfile.open(store.path(layer["digest"].removeprefix("sha256:"))) as tar:
            for member in tar:
                entries[str(PurePosixPath(member.name))] = _entry(tar, member, image["name"])
    return entries


def _entry(tar: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> Entry:
    parts = PurePosixPath(member.name).parts
    if member.name.startswith("/") or ".." in parts or any(part.startswith(".wh.") for part in parts):
        raise InputError(
            f"packing image {name}: {member.name!r} is no plain file of it; build the image anew"
        )
    if member.isdir():
        return Entry.directory(member.mode)
    if member.issym():
        return Entry.symlink(member.linkname)
    if member.isreg():
        stream = tar.extractfile(member)
        return Entry.file(stream.read() if stream else b"", member.mode)
    raise InputError(
        f"packing image {name}: {member.name!r} is neither file, link nor directory; build it anew"
    )


def runtime_snap(
    entries: Mapping[str, Entry], version: str, arch: str, models: list[str]
) -> dict[str, Entry]:
    """The runtime's files as a snap's. Pure.

    Args:
        entries: Of the image.
        version: Of the release.
        arch: Debian's and snapd's name of the architecture.
        models: Names of the models that it serves, each a content plug.

    Raises:
        InputError: The image holds no Python or loader, or the version is none that snapd takes.
    """
    kept = {path: entry for path, entry in entries.items() if path.startswith(_KEPT)}
    kept = {path: _relative(path, entry) for path, entry in kept.items()}
    loader = _only(kept, r"usr/lib(64)?/(.*/)?ld-linux[^/]*\.so\.\d+", "a loader (libc6)")
    python = _only(kept, r"usr/bin/python3\.\d+", "a Python")
    libraries = sorted(
        {str(PurePosixPath(path).parent) for path in kept if re.match(r"usr/lib/[^/]+-linux-gnu/", path)}
    )
    flat = [path for path in libraries if path.count("/") == 2]
    script = (
        _script("python")
        .replace("@LOADER@", loader)
        .replace("@LIBRARIES@", ":".join(f"$SNAP/{path}" for path in flat))
        .replace("@PYTHON@", python)
        .replace("@SITE@", _SITE)
    )
    plugs = {
        f"model-{model}": {
            "interface": "content",
            "content": snap_name(model),
            "target": f"$SNAP/models/{model}",
            "default-provider": snap_name(model),
        }
        for model in models
    }
    told = _described(RUNTIME_SNAP, version, arch, "The model server of Edgewright")
    told |= {"plugs": plugs} if plugs else {}
    told["apps"] = {
        "server": {
            "command": "bin/serve",
            "daemon": "simple",
            "restart-condition": "always",
            "restart-delay": "5s",
            "refresh-mode": "restart",
            "stop-timeout": "30s",
            "plugs": ["network-bind", *plugs],
        }
    }
    return {
        **kept,
        **{f"models/{model}": Entry.directory() for model in models},
        "bin/python": Entry.file(script.encode(), 0o755),
        "bin/serve": Entry.file(_script("serve").encode(), 0o755),
        "bin/ready.py": Entry.file(_script("ready.py").encode()),
        "meta/hooks/check-health": Entry.file(_script("check-health").encode(), 0o755),
        "meta/snap.yaml": Entry.file(_dump(told)),
    }


def model_snap(entries: Mapping[str, Entry], image: Mapping[str, Any], arch: str) -> dict[str, Entry]:
    """A model's files as a snap's: files only, given out through one content slot. Pure."""
    name = snap_name(image["model"])
    told = _described(
        name, image["version"], arch, f"The model {image['model']} for Edgewright's model server"
    )
    told["slots"] = {"model": {"interface": "content", "content": name, "read": ["$SNAP/model"]}}
    return {
        **{f"model/{path}": entry for path, entry in entries.items()},
        "meta/snap.yaml": Entry.file(_dump(told)),
    }


def squash(entries: Mapping[str, Entry], path: Path) -> None:
    """Write a squashfs file; the same entries give the same bytes.

    Args:
        entries: By path; missing directories are added.
        path: The file; replaced when the new one is whole.

    Raises:
        MissingToolError: mksquashfs is not installed.
        EdgewrightError: It failed, such as for want of space.
    """
    with tempfile.TemporaryDirectory(prefix=".edgewright-snap-", dir=path.parent) as name:
        root, part = Path(name) / "root", Path(name) / "new.snap"
        root.mkdir(mode=0o755)
        _lay_out(root, entries)
        command = ["mksquashfs", str(root), str(part), "-noappend", "-no-progress", "-quiet", "-no-xattrs"]
        command += ["-all-root", "-mkfs-time", "0", "-all-time", "0", "-reproducible", "-no-fragments"]
        command += ["-no-exports", "-noI", "-noId", "-noD", "-noF", "-noX", "-processors", "1"]
        environment = {key: value for key, value in os.environ.items() if key != "SOURCE_DATE_EPOCH"}
        try:
            done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        except FileNotFoundError as error:
            raise MissingToolError(
                f"packing {path.name}: mksquashfs is not installed; apt install squashfs-tools"
            ) from error
        if done.returncode:
            raise EdgewrightError(
                f"packing {path.name}: mksquashfs failed: {done.stderr.strip()[-400:]}; is there space in "
                f"{path.parent}?"
            )
        part.chmod(0o644)
        part.replace(path)


def _lay_out(root: Path, entries: Mapping[str, Entry]) -> None:
    modes: dict[Path, int] = {root: 0o755}
    for name in sorted(entries):
        entry, target = entries[name], root / name
        for parent in reversed(PurePosixPath(name).parents):
            if str(parent) != ".":
                (root / parent).mkdir(exist_ok=True)
                modes.setdefault(root / parent, 0o755)
        if entry.kind == "directory":
            target.mkdir(exist_ok=True)
            modes[target] = entry.mode & 0o755
        elif entry.kind == "symlink":
            target.symlink_to(entry.link)
        else:
            target.write_bytes(entry.data)
            target.chmod(entry.mode & 0o755)
    for directory, mode in modes.items():
        directory.chmod(mode | 0o555)  # snapd refuses directories that not everybody can read


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


def _script(name: str) -> str:
    return files("edgewright").joinpath("data", "snaps", "runtime", name).read_text("utf-8")


def _dump(told: Mapping[str, Any]) -> bytes:
    buffer = io.StringIO()
    yaml.safe_dump(dict(told), buffer, sort_keys=False, default_flow_style=False, width=110)
    return buffer.getvalue().encode()
