# SPDX-License-Identifier: Apache-2.0
"""Locking: from a release, written by a person, to every artefact by version, size and sha256.

    result = lock_release(Path("releases/label-reader"))
    print(result.changes)

The same release against the same sources gives the same lock, byte for byte. `images_only` keeps the
locked packages and builds the images anew: seconds, for when only the model server's source changed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewright.archives import address
from edgewright.depot.blobs import BlobStore, Wanted
from edgewright.depot.progress import Progress, say
from edgewright.errors import InputError, IntegrityError
from edgewright.release.aptresolve import AptRoom, Deb
from edgewright.release.documents import (
    LOCK_FILE,
    RELEASE_FILE,
    dump_lock,
    load_lock,
    load_release,
    relock_hint,
)
from edgewright.release.model_image import (
    build_model_image,
    describe_model,
    model_directory,
    read_description,
)
from edgewright.release.ocitar import Image, image_blobs
from edgewright.release.runtime_image import build_runtime_image, runtime_sources, tree_digest
from edgewright.release.wheels import fetch_wheels, resolve_wheels

__all__ = ["LockResult", "build_images", "ensure_images", "fetch_sources", "lock_release", "stale_images"]


@dataclass(frozen=True)
class LockResult:
    """What locking did: `changes` in sentences (none: the lock still stands), and the lock itself."""

    changes: list[str]
    lock: dict[str, Any]


def lock_release(release_dir: Path, images_only: bool = False, check: bool = False) -> LockResult:
    """Resolve a release and write its lock.

    Args:
        release_dir: Directory with `release.yml`.
        images_only: Keep the locked packages, build the images anew.
        check: Only tell what would change.

    Returns:
        What changed.

    Raises:
        InputError: The release is wrong or does not resolve.
        UnreachableError: A source does not answer.
    """
    release, digest = load_release(release_dir)
    store = BlobStore()
    old = _old_lock(release_dir, required=images_only)
    lock = dict(old) if images_only else _resolve(release, digest, store)
    fetch_sources(lock, release, store)
    made: dict[Path, bytes] = {}
    images = []
    for entry in lock["images"]:
        say(f"building image {entry['name']}")
        if entry["role"] == "runtime":
            image = build_images(lock, release, {}, store)[entry["name"]]
            sources = tree_digest(runtime_sources())
        else:
            wanted = _model(release, entry["model"])
            files = describe_model(
                wanted, entry["wheel"], read_description(release_dir, entry["model"]), store
            )
            image = build_model_image(wanted, entry["wheel"], files, lock["os"]["arch"], store)
            sources = tree_digest(files)
            made |= {
                model_directory(release_dir, entry["model"]) / path: data for path, data in files.items()
            }
        images.append({**entry, "digest": image.digest, "size": image.size, "sources": sources})
    lock["images"] = images
    if old and {**old, "apt": {**old["apt"], "date": ""}} == {**lock, "apt": {**lock["apt"], "date": ""}}:
        lock["apt"] = old["apt"]  # a newer index that changed nothing: the lock stands for the same moment
    changes = _changes(old, lock) + [
        f"file {path} differs" for path, data in made.items() if _differs(path, data)
    ]
    if not check:
        for path, data in {**made, release_dir / LOCK_FILE: dump_lock(lock)}.items():
            _write(path, data)
    return LockResult(changes, lock)


def fetch_sources(
    lock: Mapping[str, Any], release: Mapping[str, Any], store: BlobStore, everything: bool = False
) -> None:
    """Fetch what images are made of; with `everything` also the packages that the depot serves."""
    debs = [deb for image in lock["images"] for deb in image.get("debs", [])]
    debs += lock["apt"]["packages"] if everything else []
    wheels = [*lock["python"]["wheels"], *(image["wheel"] for image in lock["images"] if "wheel" in image)]
    files = {deb["sha256"]: deb for deb in debs if not store.has(deb["sha256"], deb["size"])}
    missing = [
        Wanted(deb["filename"], address(deb["url"]), deb["size"], deb["sha256"]) for deb in files.values()
    ]
    absent = [wheel for wheel in wheels if not store.has(wheel["sha256"], wheel["size"])]
    total = sum(item.size for item in missing) + sum(wheel["size"] for wheel in absent)
    progress = Progress(f"fetching {len(missing) + len(absent)} files", total)
    store.fetch(missing, progress)
    fetch_wheels(absent, release["python"]["version"], release["python"]["platforms"], store, progress)
    progress.close()


def build_images(
    lock: Mapping[str, Any],
    release: Mapping[str, Any],
    described: Mapping[str, Mapping[str, bytes]],
    store: BlobStore,
) -> dict[str, Image]:
    """Build a lock's images from files in the store.

    Args:
        lock: The lock.
        release: Its release.
        described: Files of `read_description`, by model; models that are missing here are not built.
        store: Where sources are and images go.

    Returns:
        Images by name.
    """
    built: dict[str, Image] = {}
    for entry in lock["images"]:
        arch = lock["os"]["arch"]
        if entry["role"] == "runtime":
            drop = release["images"]["runtime"].get("drop", [])
            built[entry["name"]] = build_runtime_image(
                entry["debs"], lock["python"]["wheels"], drop, arch, store
            )
        elif entry["model"] in described:
            wanted = _model(release, entry["model"])
            files = described[entry["model"]]
            built[entry["name"]] = build_model_image(wanted, entry["wheel"], files, arch, store)
    return built


def stale_images(lock: Mapping[str, Any], release_dir: Path) -> list[str]:
    """Sentences on images whose sources are no longer those that were locked; empty when all fit."""
    hint = relock_hint(release_dir, images_only=True)
    told = []
    for entry in lock["images"]:
        if entry["role"] == "runtime":
            found, where = tree_digest(runtime_sources()), "runtime/src"
        else:
            found = tree_digest(read_description(release_dir, entry["model"]))
            where = str(model_directory(release_dir, entry["model"]))
        if found != entry.get("sources"):
            told.append(f"image {entry['name']}: {where} changed since the release was locked; run {hint}")
    return told


def ensure_images(
    lock: Mapping[str, Any], release: Mapping[str, Any], release_dir: Path, store: BlobStore
) -> None:
    """Have every locked image in the store, building what is missing.

    Raises:
        IntegrityError: What the sources give has another digest than the lock.
    """
    missing = [entry for entry in lock["images"] if image_blobs(entry["digest"], store) is None]
    if not missing:
        return
    say(f"building {len(missing)} images")
    described = {
        entry["model"]: read_description(release_dir, entry["model"])
        for entry in missing
        if entry["role"] == "model"
    }
    built = build_images({**lock, "images": missing}, release, described, store)
    for entry in missing:
        if built[entry["name"]].digest != entry["digest"]:
            stale = [line for line in stale_images(lock, release_dir) if entry["name"] in line]
            raise IntegrityError(
                f"building image {entry['name']}: expected {entry['digest']}, "
                f"got {built[entry['name']].digest}; "
                + (stale[0] if stale else f"lock anew with {relock_hint(release_dir, images_only=True)}")
            )


def _resolve(release: Mapping[str, Any], digest: str, store: BlobStore) -> dict[str, Any]:
    target, apt, python = release["os"], release["apt"], release["python"]
    say(f"resolving {len(apt['packages']) + 1} packages against {target['suite']} for {target['arch']}")
    with AptRoom(target["arch"], apt["sources"]) as room:
        date = room.update()
        base = room.resolve(room.essential())
        closure = room.resolve([*apt["packages"], target["kernel"]], base)
        device = [*base, *room.resolve(apt.get("device_base", []), base)]
        first = {deb.name for deb in room.resolve(apt["bootstrap"], device)}
        runtime_debs = [room.newest(name).entry() for name in sorted(release["images"]["runtime"]["debs"])]
    kernel = _kernel(closure, target["kernel"])
    say(f"resolving {len(python['requirements'])} Python packages for Python {python['version']}")
    wheels = resolve_wheels(python["requirements"], python["version"], python["platforms"], store)
    runtime, models = release["images"]["runtime"], release["images"]["models"]
    shared = {"digest": "", "size": 0, "platform": f"linux/{target['arch']}"}
    images: list[dict[str, Any]] = [
        {"role": "runtime", "name": runtime["name"], "version": release["version"], **shared}
        | {"licence": runtime["licence"], "sources": "", "debs": runtime_debs}
    ]
    for model in models:
        wheel = resolve_wheels(
            [model["wheel"]], python["version"], python["platforms"], store, dependencies=False
        )[0]
        images.append(
            {
                "role": "model",
                "name": model["name"],
                "model": model["model"],
                "version": model["version"],
                **shared,
            }
            | {"licence": model["licence"], "sources": "", "wheel": wheel}
        )
    return {
        "schema": "edgewright.lock/v1",
        "release": {"name": release["name"], "version": release["version"], "sha256": digest},
        "os": {key: target[key] for key in ("family", "suite", "arch")},
        "kernel": kernel,
        "apt": {"date": date, "packages": [deb.entry(deb.name in first) for deb in closure]},
        "python": {"wheels": wheels},
        "images": images,
    }


def _kernel(closure: Sequence[Deb], meta: str) -> dict[str, str]:
    """The kernel that a meta package stands for, found among what it brings."""
    found = [deb for deb in closure if re.match(r"linux-image-\d", deb.name)]
    if len(found) != 1:
        names = ", ".join(deb.name for deb in found) or "none"
        raise InputError(f"locking os.kernel {meta}: expected it to bring one kernel image, found {names}")
    release = found[0].name.removeprefix("linux-image-")
    flavour = "rt" if "-rt-" in f"{release}-" else "generic"
    return {"package": found[0].name, "version": found[0].version, "release": release, "flavour": flavour}


def _model(release: Mapping[str, Any], model: str) -> Mapping[str, Any]:
    for wanted in release["images"]["models"]:
        if wanted["model"] == model:
            found: Mapping[str, Any] = wanted
            return found
    raise InputError(
        f"locking model {model}: {RELEASE_FILE} no longer names it; run `edgewright release lock`"
    )


def _old_lock(release_dir: Path, required: bool) -> dict[str, Any]:
    try:
        return load_lock(release_dir, fitting=required)[0]
    except InputError:
        if required:
            raise
        return {}


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between two locks, one sentence each."""
    before, after = _versions(old) if old else {}, _versions(new)
    told = [
        f"{name}: {before[name]} -> {after[name]}"
        for name in after
        if before.get(name, after[name]) != after[name]
    ]
    told += [f"{name}: new, {after[name]}" for name in after if name not in before]
    told += [f"{name}: gone" for name in before if name not in after]
    if not told and dump_lock(old) != dump_lock(new):
        told = ["other fields of the lock differ"]
    return told


def _versions(lock: Mapping[str, Any]) -> dict[str, str]:
    found = {
        f"deb {deb['name']}": f"{deb['version']} {deb['sha256'][:12]}" for deb in lock["apt"]["packages"]
    }
    found |= {
        f"wheel {item['name']}": f"{item['version']} {item['sha256'][:12]}"
        for item in lock["python"]["wheels"]
    }
    return found | {f"image {image['name']}": image["digest"] for image in lock["images"]}


def _differs(path: Path, data: bytes) -> bool:
    return not path.is_file() or path.read_bytes() != data


def _write(path: Path, data: bytes) -> None:
    if _differs(path, data):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.new")
        part.write_bytes(data)
        part.replace(path)
