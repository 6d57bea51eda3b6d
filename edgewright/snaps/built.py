# SPDX-License-Identifier: Apache-2.0
"""Snaps that a release has built: its runtime and models, packed when it is locked, again when missing.

    lock["snaps"] = with_built(lock, release, old, store)      # after the images are built
    restore_built(lock, store)                                  # at bundle build, after the images are there

An entry of `release.yml` says `built: runtime` or `built: MODEL`. Its lock names the image it was packed from
and the recipe (this program's own packing code), so that it is packed anew just when one of them changed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from edgewright.depot.blobs import BlobStore, sha256_bytes
from edgewright.depot.progress import say
from edgewright.errors import IntegrityError
from edgewright.release.ocitar import canonical_json
from edgewright.snaps.grade import DANGEROUS, notice
from edgewright.snaps.inputs import Hashed
from edgewright.snaps.pack import pack_one
from edgewright.snaps.release import snap_debs

__all__ = ["recipe", "restore_built", "with_built"]


def recipe(debs: Sequence[Mapping[str, Any]] = ()) -> str:
    """One sha256 that stands for how a snap is packed: code, scripts, packages beside the image."""
    scripts = files("edgewright").joinpath("data", "snaps", "runtime")
    parts = {each.name: sha256_bytes(each.read_bytes()) for each in scripts.iterdir() if each.is_file()}
    for name in ("content.py", "pack.py"):
        parts[name] = sha256_bytes(files("edgewright.snaps").joinpath(name).read_bytes())
    parts |= {deb["filename"]: deb["sha256"] for deb in debs}
    return sha256_bytes(canonical_json(parts))


def with_built(
    lock: Mapping[str, Any], release: Mapping[str, Any], old: Mapping[str, Any], store: BlobStore
) -> list[dict[str, Any]]:
    """The lock's snaps with those that are built.

    Args:
        lock: The lock, its images built; its `snaps` are those that were supplied.
        release: Its release.
        old: The lock so far: an entry of the same image and recipe stays.
        store: Where images are and snaps go.

    Returns:
        All entries, sorted by name; none where the release has no snaps.
    """
    wanted = [snap for snap in release.get("snaps", []) if "built" in snap]
    kept = {snap["name"]: snap for snap in old.get("snaps", []) if "built" in snap}
    found = [dict(snap) for snap in lock.get("snaps", []) if "built" not in snap]
    for snap in wanted:
        image = _image(lock, snap["built"])
        entry = {"name": snap["name"], "grade": DANGEROUS, "built": snap["built"], "image": image["digest"]}
        entry |= {"recipe": recipe(snap_debs(image)), "filename": f"{snap['name']}_{DANGEROUS}.snap"}
        before = kept.get(snap["name"], {})
        if entry.items() <= before.items() and store.has(before["sha256"], before["size"]):
            hashed = Hashed(before["size"], before["sha256"], before["sha3_384"])
        else:
            hashed = _pack(lock, snap["built"], store)
        entry |= {"size": hashed.size, "sha256": hashed.sha256, "sha3_384": hashed.sha3_384}
        found.append(entry | {key: snap[key] for key in ("licence", "waiver") if key in snap})
    if wanted:
        say(notice([snap["name"] for snap in wanted], f"release {release['name']} {release['version']}"))
    return sorted(found, key=lambda entry: str(entry["name"]))


def restore_built(lock: Mapping[str, Any], store: BlobStore) -> None:
    """Have every built snap in the store, packing what is missing.

    Raises:
        IntegrityError: Packing gives another file than was locked.
    """
    for snap in lock.get("snaps", []):
        if "built" not in snap or store.has(snap["sha256"], snap["size"]):
            continue
        found = _pack(lock, snap["built"], store)
        if found.sha256 != snap["sha256"]:
            why = (
                "the way of packing changed since"
                if snap["recipe"] != recipe(snap_debs(_image(lock, snap["built"])))
                else "mksquashfs is another one"
            )
            raise IntegrityError(
                f"packing snap {snap['name']}: expected sha256 {snap['sha256']}, got {found.sha256}: "
                f"{why}; lock "
                "the release anew with `edgewright release lock RELEASE_DIR --images-only`"
            )


def _image(lock: Mapping[str, Any], built: str) -> Mapping[str, Any]:
    for image in lock["images"]:
        if (image["role"], image.get("model")) in {("runtime", None), ("model", built)} and (
            image["role"] == "model" or built == "runtime"
        ):
            found: Mapping[str, Any] = image
            return found
    raise IntegrityError(f"packing a snap of {built}: the lock has no image of it; lock the release anew")


def _pack(lock: Mapping[str, Any], built: str, store: BlobStore) -> Hashed:
    store.root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="edgewright-snap-", dir=store.root) as name:
        packed = pack_one(lock, built, store, Path(name))
        store.put_file(packed.path, packed.hashed.sha256, packed.path.name)
    return packed.hashed
