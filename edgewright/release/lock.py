# SPDX-License-Identifier: Apache-2.0
"""Locking: from a release, written by a person, to every artefact by version, size and sha256.

    result = lock_release(Path("releases/label-reader"))
    print(result.changes)

The same release against the same sources gives the same lock, byte for byte. `images_only` keeps the
locked packages and builds the images anew: seconds, for when only the model server's source changed.
"""

from __future__ import annotations

import copy
import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewright.archives import address
from edgewright.depot.blobs import BlobStore, Wanted
from edgewright.depot.progress import Progress, say
from edgewright.device.profile import carried_profiles
from edgewright.errors import InputError, IntegrityError
from edgewright.modules.parts import lock_parts
from edgewright.modules.ship import lock_modules
from edgewright.release.changes import LockDiff, diff_locks
from edgewright.release.deblicence import with_licences
from edgewright.release.documents import (
    LOCK_FILE,
    RELEASE_FILE,
    dump_lock,
    load_lock,
    read_release,
    relock_hint,
)
from edgewright.release.files import restore_files, wanted_files
from edgewright.release.imports import restore_image
from edgewright.release.licences import refuse_expired
from edgewright.release.model_image import (
    build_model_image,
    describe_model,
    model_directory,
    read_description,
)
from edgewright.release.ocitar import Image, image_blobs
from edgewright.release.resolve import find_only, resolve
from edgewright.release.runtime_image import build_runtime_image, runtime_sources, tree_digest
from edgewright.release.stack.facts import load_facts
from edgewright.release.stack.locked import lock_stack
from edgewright.release.supplied import is_supplied
from edgewright.release.targets import Target, release_targets
from edgewright.release.wheels import fetch_wheels
from edgewright.snaps.built import restore_built, with_built
from edgewright.snaps.inputs import restore_snaps
from edgewright.snaps.release import image_debs
from edgewright.snaps.setfiles import restore_sets

__all__ = ["LockResult", "build_images", "ensure_images", "fetch_sources", "lock_release", "stale_images"]


@dataclass(frozen=True)
class LockResult:
    """What locking did: `changes` in sentences (none: the lock still stands), and the lock itself.

    `diff` has the same entry by entry; `described` names files beside the release that were made anew.
    """

    changes: list[str]
    lock: dict[str, Any]
    diff: LockDiff
    described: list[str]

    def summary(self) -> str:
        """What moved, in one line."""
        more = [f"{len(self.described)} files of models"] if self.described else []
        return ", ".join([*([self.diff.summary()] if self.diff else []), *more]) or "nothing"


def lock_release(
    release_dir: Path,
    images_only: bool = False,
    check: bool = False,
    only: str | None = None,
    profiles: Sequence[Path] = (),
) -> LockResult:
    """Resolve a release and write its lock.

    Args:
        release_dir: Directory with `release.yml`.
        images_only: Keep the locked packages, build the images anew.
        check: Only tell what would change.
        only: Name of the one package, requirement, image or file that may move.
        profiles: Where hardware profiles of `nvidia.profiles` are looked for, before `profiles/` beside the
            release and those that are carried.

    Returns:
        What changed.

    Raises:
        InputError: The release is wrong or does not resolve.
        UnreachableError: A source does not answer.
    """
    marked, digest = read_release(release_dir)
    release: dict[str, Any] = marked.content
    today = datetime.datetime.now(datetime.UTC).date()
    refuse_expired(release, str(release_dir / RELEASE_FILE), today)
    store = BlobStore()
    old = _old_lock(release_dir, required=images_only or only is not None, fitting=images_only)
    moving = find_only(only, old, release) if only else None
    lock = old if images_only else resolve(marked, digest, release_dir, store, old=old, only=moving)
    lock = copy.deepcopy(lock)  # parts of the old lock stay as they are
    hardware = [*profiles, release_dir / "profiles", carried_profiles()]
    stack = lock_stack(marked, lock, hardware, load_facts(), today)
    lock |= {"nvidia": stack} if stack else {}
    _read_licences(lock, old, store, fetch=not check)
    kept = _untouched(lock, old) if moving else {}
    kept = {key: entry for key, entry in kept.items() if moving is None or key[0] != moving.name}
    building = [e for e in lock["images"] if e["role"] != "extra" and _key(e) not in kept]
    restore_files([file for file in lock.get("files", []) if "kind" in file], release_dir, store)
    fetch_sources({**lock, "images": building}, release, store)
    described_now: dict[str, dict[str, bytes]] = {}
    for entry in building:
        if entry["role"] == "model" and entry["model"] not in described_now:
            have = read_description(release_dir, entry["model"])
            wanted = _model(release, entry["model"])
            described_now[entry["model"]] = describe_model(wanted, entry["wheel"], have, store)
    images: list[dict[str, Any]] = []
    for entry in lock["images"]:
        if entry not in building:
            images.append(kept.get(_key(entry), entry))
            continue
        say(f"building image {_told(entry, lock)}")
        image = build_images(lock, release, described_now, store, [entry])[_key(entry)]
        files = described_now[entry["model"]] if entry["role"] == "model" else runtime_sources()
        images.append({**entry, "digest": image.digest, "size": image.size, "sources": tree_digest(files)})
    made = {
        model_directory(release_dir, model) / path: data
        for model, files in described_now.items()
        for path, data in files.items()
    }
    lock["images"] = images
    for part in [lock, *lock.get("targets", [])]:
        if part.get("modules"):
            part["modules"] = lock_modules(part["modules"], _same_target(part, old), store)
    snaps = with_built(lock, release, old, store)
    if snaps:
        lock["snaps"] = snaps
    if old and {**old, "apt": {**old["apt"], "date": ""}} == {**lock, "apt": {**lock["apt"], "date": ""}}:
        lock["apt"] = old["apt"]  # a newer index that changed nothing: the lock stands for the same moment
    diff = diff_locks(old, lock)
    described = [str(path) for path, data in made.items() if _differs(path, data)]
    if not check:
        for path, data in {**made, release_dir / LOCK_FILE: dump_lock(lock)}.items():
            _write(path, data)
    changes = diff.sentences() + [f"file {path} differs" for path in described]
    return LockResult(changes, lock, diff, described)


def fetch_sources(
    lock: Mapping[str, Any], release: Mapping[str, Any], store: BlobStore, everything: bool = False
) -> None:
    """Fetch what images are made of; with `everything` also the packages and files that the depot serves.

    Files that the site supplies are taken by `ensure_images`, which knows the release's directory.
    """
    debs = [deb for image in lock["images"] for deb in image.get("debs", [])]
    targets = [(lock, release_targets(release)[0]), *_further(lock, release)]
    debs += [deb for part, _ in targets for deb in part["apt"]["packages"] if everything]
    wheels = [*lock["python"]["wheels"], *(image["wheel"] for image in lock["images"] if "wheel" in image)]
    built = {image["platform"] for image in lock["images"] if image["role"] == "runtime"}
    files = {deb["sha256"]: deb for deb in debs if not store.has(deb["sha256"], deb["size"])}
    missing = [_wanted(deb) for deb in files.values() if not is_supplied(deb)]
    listed = lock.get("files", [])
    missing += wanted_files([file for file in listed if everything or "kind" in file], store)
    absent = _absent(wheels, store)
    more = [
        (target, _absent(part["python"]["wheels"], store))
        for part, target in targets[1:]
        if everything or (target.images and target.platform in built)
    ]
    every = [*absent, *(wheel for _, wheels in more for wheel in wheels)]
    total = sum(item.size for item in missing) + sum(wheel["size"] for wheel in every)
    progress = Progress(f"fetching {len(missing) + len(every)} files", total)
    store.fetch(missing, progress)
    fetch_wheels(absent, release["python"]["version"], release["python"]["platforms"], store, progress)
    for target, wheels in more:
        fetch_wheels(wheels, target.python, target.platforms, store, progress)
    progress.close()


def _absent(wheels: Sequence[Mapping[str, Any]], store: BlobStore) -> list[Mapping[str, Any]]:
    """Wheels to fetch from the index."""
    return [
        wheel for wheel in wheels if not is_supplied(wheel) and not store.has(wheel["sha256"], wheel["size"])
    ]


def _further(lock: Mapping[str, Any], release: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], Target]]:
    """A lock's further targets, each with what the release says of it."""
    known = {(target.suite, target.arch): target for target in release_targets(release)}
    return [(part, known[part["os"]["suite"], part["os"]["arch"]]) for part in lock.get("targets", [])]


def build_images(
    lock: Mapping[str, Any],
    release: Mapping[str, Any],
    described: Mapping[str, Mapping[str, bytes]],
    store: BlobStore,
    chosen: Sequence[Mapping[str, Any]] | None = None,
) -> dict[tuple[str, str], Image]:
    """Build a lock's images from files in the store.

    Args:
        lock: The lock.
        release: Its release.
        described: Files of `read_description`, by model; models that are missing here are not built.
        store: Where sources are and images go.
        chosen: Entries of the lock's images to build; all of them when not given.

    Returns:
        Images by name and platform.
    """
    runtimes = {_arch(entry): image_debs(entry) for entry in lock["images"] if entry["role"] == "runtime"}
    present = {arch: debs for arch, debs in runtimes.items() if all(store.has(deb["sha256"]) for deb in debs)}
    built: dict[tuple[str, str], Image] = {}
    for entry in lock["images"] if chosen is None else chosen:
        arch = _arch(entry)
        if entry["role"] == "runtime":
            drop = release["images"]["runtime"].get("drop", [])
            others = {other: debs for other, debs in present.items() if other != arch}
            built[_key(entry)] = build_runtime_image(
                image_debs(entry), _wheels_for(lock, arch), drop, arch, store, others=others
            )
        elif entry["role"] == "model" and entry["model"] in described:
            wanted = _model(release, entry["model"])
            files = described[entry["model"]]
            built[_key(entry)] = build_model_image(wanted, entry["wheel"], files, arch, store)
    return built


def stale_images(lock: Mapping[str, Any], release_dir: Path) -> list[str]:
    """Sentences on images whose sources are no longer those that were locked; empty when all fit."""
    hint = relock_hint(release_dir, images_only=True)
    told = []
    for entry in lock["images"]:
        if entry["role"] == "extra":
            continue
        if entry["role"] == "runtime":
            found, where = tree_digest(runtime_sources()), "runtime/src"
        else:
            found = tree_digest(read_description(release_dir, entry["model"]))
            where = str(model_directory(release_dir, entry["model"]))
        if found != entry.get("sources"):
            told.append(f"image {entry['name']}: {where} changed since the release was locked; run {hint}")
    return list(dict.fromkeys(told))


def ensure_images(
    lock: Mapping[str, Any], release: Mapping[str, Any], release_dir: Path, store: BlobStore
) -> None:
    """Have every locked image in the store, and every supplied file and snap, and the snaps that are built.

    Raises:
        InputError: A supplied file or archive is not there.
        IntegrityError: What the sources give has another digest than the lock.
    """
    _ensure_images(lock, release, release_dir, store)
    restore_built(lock, store)


def _ensure_images(
    lock: Mapping[str, Any], release: Mapping[str, Any], release_dir: Path, store: BlobStore
) -> None:
    restore_files(lock.get("files", []), release_dir, store)
    now, snaps = datetime.datetime.now(datetime.UTC), lock.get("snaps", [])
    restore_snaps(snaps, release_dir, store, now)
    restore_sets(lock.get("validation_sets", []), snaps, release_dir, store, now)
    missing = [entry for entry in lock["images"] if image_blobs(entry["digest"], store) is None]
    for entry in missing:
        if entry["role"] == "extra":
            restore_image(entry, release_dir, store)
    missing = [entry for entry in missing if entry["role"] != "extra"]
    if not missing:
        return
    say(f"building {len(missing)} images")
    described = {
        entry["model"]: read_description(release_dir, entry["model"])
        for entry in missing
        if entry["role"] == "model"
    }
    built = build_images(lock, release, described, store, missing)
    for entry in missing:
        if built[_key(entry)].digest != entry["digest"]:
            stale = [line for line in stale_images(lock, release_dir) if entry["name"] in line]
            raise IntegrityError(
                f"building image {_told(entry, lock)}: expected {entry['digest']}, "
                f"got {built[_key(entry)].digest}; "
                + (stale[0] if stale else f"lock anew with {relock_hint(release_dir, images_only=True)}")
            )


def _key(image: Mapping[str, Any]) -> tuple[str, str]:
    """What tells an image from the others: name and platform."""
    return image["name"], image["platform"]


def _same_target(part: Mapping[str, Any], old: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the lock so far says of a target; empty where it has none of its suite and architecture."""
    known = {(each["os"]["suite"], each["os"]["arch"]): each for each in (lock_parts(old) if old else [])}
    return known.get((part["os"]["suite"], part["os"]["arch"]), {})


def _arch(image: Mapping[str, Any]) -> str:
    return str(image["platform"]).rpartition("/")[2]


def _told(image: Mapping[str, Any], lock: Mapping[str, Any]) -> str:
    """An image's name for people; with its platform where it is not that of the first target."""
    here = _arch(image) == lock["os"]["arch"]
    return str(image["name"]) if here else f"{image['name']} for {image['platform']}"


def _wheels_for(lock: Mapping[str, Any], arch: str) -> Sequence[Mapping[str, Any]]:
    """Wheels of the first target of an architecture: those that its runtime image holds."""
    for part in [lock, *lock.get("targets", [])]:
        if part["os"]["arch"] == arch:
            found: Sequence[Mapping[str, Any]] = part["python"]["wheels"]
            return found
    raise InputError(
        f"building images for {arch}: the lock has no target of that architecture; lock the release anew"
    )


def _model(release: Mapping[str, Any], model: str) -> Mapping[str, Any]:
    for wanted in release["images"]["models"]:
        if wanted["model"] == model:
            found: Mapping[str, Any] = wanted
            return found
    raise InputError(
        f"locking model {model}: {RELEASE_FILE} no longer names it; run `edgewright release lock`"
    )


def _debs(lock: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Every package of a lock: those of devices, of further targets, of images."""
    parts = [lock, *lock.get("targets", [])] if lock else []
    found = [deb for part in parts for deb in part["apt"]["packages"]]
    return found + [deb for image in lock.get("images", []) for deb in image.get("debs", [])]


def _read_licences(lock: dict[str, Any], old: Mapping[str, Any], store: BlobStore, fetch: bool) -> None:
    """Put licences into a lock's packages; what the old lock does not know is fetched and read.

    Args:
        lock: Changed: its lists of packages are replaced.
        old: The lock so far.
        store: Where packages are.
        fetch: Whether to fetch those whose licence is not known; without, they get none.
    """
    before = _debs(old)
    read = any("licence" in deb for deb in before)  # an older lock never looked
    known = {deb["sha256"]: deb.get("licence") for deb in before} if read or not fetch else {}
    if fetch:
        unread = {deb["sha256"]: deb for deb in _debs(lock) if deb["sha256"] not in known}
        wanted = [
            _wanted(deb)
            for deb in unread.values()
            if not is_supplied(deb) and not store.has(deb["sha256"], deb["size"])
        ]
        progress = Progress(
            f"fetching {len(wanted)} packages, to read their licences", sum(item.size for item in wanted)
        )
        store.fetch(wanted, progress)
        progress.close()
    for part in [lock, *lock.get("targets", [])]:
        part["apt"] = {**part["apt"], "packages": with_licences(part["apt"]["packages"], known, store)}
    lock["images"] = [
        {**image, "debs": with_licences(image["debs"], known, store)} if "debs" in image else image
        for image in lock["images"]
    ]


def _wanted(deb: Mapping[str, Any]) -> Wanted:
    return Wanted(deb["filename"], address(deb["url"]), deb["size"], deb["sha256"])


def _untouched(lock: Mapping[str, Any], old: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Locked images, by name and platform, that are made of the same parts in both locks."""
    found = {}
    before = {_key(entry): entry for entry in old["images"]}
    for entry in lock["images"]:
        was = before.get(_key(entry))
        built = {key: entry.get(key, "") for key in ("digest", "size", "sources")}
        if was is None or {**was, **built} != {**entry, **built}:
            continue
        arch = _arch(entry)
        if entry["role"] != "runtime" or _wheels_for(lock, arch) == _wheels_for(old, arch):
            found[_key(entry)] = dict(was)
    return found


def _old_lock(release_dir: Path, required: bool, fitting: bool) -> dict[str, Any]:
    try:
        return load_lock(release_dir, fitting=fitting)[0]
    except InputError:
        if required:
            raise
        return {}


def _differs(path: Path, data: bytes) -> bool:
    return not path.is_file() or path.read_bytes() != data


def _write(path: Path, data: bytes) -> None:
    if _differs(path, data):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.new")
        part.write_bytes(data)
        part.replace(path)
