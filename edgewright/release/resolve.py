# SPDX-License-Identifier: Apache-2.0
"""From a release to the entries of its lock: packages, wheels, files, and images before they are built.

`only` names the one entry that may move; see `edgewright.release.targets` for how the others are held.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgewright.depot.blobs import BlobStore
from edgewright.errors import InputError
from edgewright.release.files import lock_files
from edgewright.release.imports import import_image
from edgewright.release.supplied import check_fit, read_supplied
from edgewright.release.targets import (
    Mover,
    Only,
    Target,
    check_waivers,
    release_targets,
    resolve_target,
)
from edgewright.release.wheels import normal_name, resolve_wheels
from edgewright.release.yamlmarks import Marked
from edgewright.snaps.inputs import lock_snaps
from edgewright.snaps.setfiles import lock_sets

__all__ = ["Only", "find_only", "resolve"]


def find_only(word: str, lock: Mapping[str, Any], release: Mapping[str, Any]) -> Only:
    """Which entry a person means.

    Args:
        word: A name, or `KIND:NAME` where two kinds share it.
        lock: The lock.
        release: Its release: what was just added there may be meant.

    Returns:
        The entry.

    Raises:
        InputError: There is none, or it could be several.
    """
    images = release["images"]
    names = {
        "deb": {deb["name"] for deb in lock["apt"]["packages"]}
        | {deb["name"] for image in lock["images"] for deb in image.get("debs", [])}
        | {
            name
            for target in release_targets(release)
            for name in (target.kernel, *target.runtime_debs, *target.snap_debs)
        }
        | {*release["apt"]["packages"]},
        "wheel": {wheel["name"] for wheel in lock["python"]["wheels"]}
        | {normal_name(re.split(r"[^A-Za-z0-9._-]", each)[0]) for each in release["python"]["requirements"]},
        "image": {images["runtime"]["name"]}
        | {entry["name"] for entry in [*images["models"], *images.get("extra", [])]},
        "file": {entry["name"] for entry in release.get("files", [])},
        "snap": {entry["name"] for entry in release.get("snaps", [])},
        "validation-set": {entry["name"] for entry in release.get("validation_sets", [])},
    }
    kind, _, name = word.rpartition(":")
    found = [
        each
        for each, known in names.items()
        if kind in {"", each} and (name in known or (each == "wheel" and normal_name(name) in known))
    ]
    if len(found) == 1:
        return Only(found[0], normal_name(name) if found[0] == "wheel" else name)
    if found:
        choice = " or ".join(f"{each}:{name}" for each in found)
        raise InputError(f"locking only {word}: it could be several entries; say {choice}")
    near = difflib.get_close_matches(name, sorted(set().union(*names.values())), n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise InputError(f"locking only {word}: neither the release nor its lock names it{hint}")


def resolve(
    marked: Marked,
    digest: str,
    release_dir: Path,
    store: BlobStore,
    *,
    old: Mapping[str, Any],
    only: Only | None,
) -> dict[str, Any]:
    """Resolve a release.

    Args:
        marked: The release.
        digest: sha256 of its file.
        release_dir: Where its paths begin.
        store: Where wheels, files and images from elsewhere go.
        old: The lock so far; empty where there is none.
        only: The one entry that may move; None for all. With it, `old` is not empty.

    Returns:
        The lock; images to build have digest "" and size 0.

    Raises:
        InputError: The release does not resolve.
        UnreachableError: A source does not answer.
    """
    release = marked.content
    same = bool(old) and old["release"]["sha256"] == digest
    files = lock_files(marked, release_dir, store)
    targets = release_targets(release)
    supplied = read_supplied(marked, files, store)
    check_fit(supplied, targets)
    images = old.get("images", []) if only else []
    parts, made = [], []
    for target in targets:
        was = _part(old, target)
        mover = Mover(was if only else {}, only if was else None, same, images)
        part, debs = resolve_target(marked, target, mover, supplied, release_dir, store)
        parts.append(part)
        if target.images:
            made.append((target, debs))
    mover = Mover(old if only else {}, only, same, images)
    models = _models(marked, store, mover)
    check_waivers([wheel for part in parts for wheel in part["python"]["wheels"]], marked)
    lock: dict[str, Any] = {
        "schema": "edgewright.lock/v1",
        "release": {"name": release["name"], "version": release["version"], "sha256": digest},
        **parts[0],
        "images": [
            image
            for target, debs in made
            for image in (
                _runtime(release, debs, target),
                *sorted(_of_platform(models, target), key=lambda entry: str(entry["name"])),
                *sorted(
                    _extra(marked, release_dir, store, mover, old, target),
                    key=lambda entry: str(entry["name"]),
                ),
            )
        ],
    }
    if files:
        lock["files"] = files
    now = datetime.now(UTC)
    snaps = lock_snaps(marked, release_dir, store, now)
    if snaps:
        lock["snaps"] = snaps
    sets = lock_sets(marked, snaps, release_dir, store, now)
    if sets:
        lock["validation_sets"] = sets
    if parts[1:]:
        lock["targets"] = sorted(parts[1:], key=lambda part: (part["os"]["suite"], part["os"]["arch"]))
    return lock


def _part(old: Mapping[str, Any], target: Target) -> Mapping[str, Any]:
    """What a lock says of a target; the release's first one lies in the lock itself."""
    for part in [old, *old.get("targets", [])] if old else []:
        if (part["os"]["suite"], part["os"]["arch"]) == (target.suite, target.arch):
            found: Mapping[str, Any] = part
            return found
    return {}


def _runtime(release: Mapping[str, Any], debs: list[dict[str, Any]], target: Target) -> dict[str, Any]:
    runtime = release["images"]["runtime"]
    entry = {"role": "runtime", "name": runtime["name"], "version": release["version"]}
    entry |= {"digest": "", "size": 0, "platform": target.platform}
    entry |= {"licence": runtime["licence"], "sources": "", "debs": debs}
    return entry | {key: runtime[key] for key in ("waiver",) if key in runtime}


def _models(marked: Marked, store: BlobStore, mover: Mover) -> list[dict[str, Any]]:
    """Entries of the models for the first platform; their files are the same on all."""
    release, found = marked.content, []
    python, platform = release["python"], f"linux/{release['os']['arch']}"
    for number, model in enumerate(release["images"]["models"]):
        held = mover.image(model["name"], platform)
        name, _, version = model["wheel"].partition("==")
        wheel = held.get("wheel")
        if wheel is None or (wheel["name"], wheel["version"]) != (normal_name(name), version):
            wheel = resolve_wheels(
                [model["wheel"]],
                python["version"],
                python["platforms"],
                store,
                dependencies=False,
                place=marked.place("images", "models", number, "wheel"),
            )[0]
        entry = {"role": "model", "name": model["name"], "model": model["model"], "version": model["version"]}
        entry |= {"digest": "", "size": 0, "platform": platform}
        entry |= {"licence": model["licence"], "sources": "", "wheel": wheel}
        found.append(entry | {key: model[key] for key in ("waiver",) if key in model})
    return found


def _of_platform(models: Iterable[Mapping[str, Any]], target: Target) -> list[dict[str, Any]]:
    return [{**entry, "platform": target.platform} for entry in models]


def _extra(  # noqa: PLR0917 - what resolving has at hand, in its order
    marked: Marked,
    release_dir: Path,
    store: BlobStore,
    mover: Mover,
    old: Mapping[str, Any],
    target: Target,
) -> list[dict[str, Any]]:
    arch, found = target.arch, []
    for number, wanted in enumerate(marked.content["images"].get("extra", [])):
        if arch not in wanted.get("arches", [arch]):
            continue
        entry = {"role": "extra", "name": wanted["name"], "version": wanted["version"]}
        before = (each for each in old.get("images", []) if each["platform"] == target.platform)
        held = next((each for each in before if _is_same(each, wanted)), None)
        if held is not None and not mover.frees("image", wanted["name"]):
            image = (held["digest"], held["size"], held["from"])
        else:
            place = marked.place("images", "extra", number)
            imported = import_image(wanted, arch, release_dir, store, place=place, held=held)
            image = (imported.digest, imported.size, imported.origin)
        entry |= {"digest": image[0], "size": image[1], "platform": target.platform}
        entry |= {"licence": wanted["licence"], "from": image[2]}
        found.append(entry | {key: wanted[key] for key in ("waiver",) if key in wanted})
    return found


def _is_same(held: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a locked image was taken from the source that the release names."""
    origin: Mapping[str, Any] = held.get("from", {})
    return bool(held["name"] == wanted["name"] and wanted["from"].items() <= origin.items())
