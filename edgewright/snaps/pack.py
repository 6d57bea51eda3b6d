# SPDX-License-Identifier: Apache-2.0
"""The runtime and the models as strict snaps: one recipe, two packings.

    packed = pack_snaps(lock, store, Path("snaps"))

A snap is made of the layers of the locked OCI image, so that both hold the same files of the same locked debs
and wheels: what is served in a container and what is served from a snap can't differ. Added are
`meta/snap.yaml`, start scripts, a health hook, and what only the snap needs (`content`). Each model is a snap
of its own, shared through the content interface, so that runtime and model revert apart.

The same lock gives the same bytes: files sorted, owned by root, of one time, and not squeezed (squashfs
without compression: no compressor's version counts, and a device has nothing to unpack). What is packed has
no assertion: publish it in a store and bring it back with one, or mark it `grade: dangerous` for a trial.
"""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from edgewright.depot.blobs import BlobStore
from edgewright.depot.progress import say
from edgewright.errors import EdgewrightError, InputError, IntegrityError, MissingToolError
from edgewright.release.ocitar import Entry, image_blobs
from edgewright.release.runtime_image import deb_entries
from edgewright.snaps.content import BASE, model_snap, runtime_snap, snap_only
from edgewright.snaps.inputs import Hashed, hash_snap
from edgewright.snaps.release import snap_debs, snap_name

__all__ = [
    "BASE",
    "Packed",
    "image_entries",
    "model_snap",
    "pack_snaps",
    "runtime_snap",
    "squash",
]


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
        found = image_entries(image, store)
        for deb in snap_debs(image):
            # What the image has already is the same file: one recipe.
            found = snap_only(deb_entries(store.path(deb["sha256"]), deb)) | found
        entries = runtime_snap(found, image["version"], arch, list(models))
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
