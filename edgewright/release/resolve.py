# SPDX-License-Identifier: Apache-2.0
"""From a release to the entries of its lock: packages, wheels, files, and images before they are built.

`only` names the one entry that may move. All others keep their locked versions: packages are pinned for apt,
wheels are constraints for pip, files and images keep their entries. What a source no longer has, or what
the one entry needs newer, moves as well, and that is said.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewright.depot.blobs import BlobStore
from edgewright.depot.progress import say
from edgewright.errors import InputError
from edgewright.release.aptresolve import AptConflictError, AptRoom, Deb
from edgewright.release.files import lock_files
from edgewright.release.imports import import_image
from edgewright.release.licences import words_forbid
from edgewright.release.wheels import normal_name, resolve_wheels
from edgewright.release.yamlmarks import Marked

__all__ = ["Only", "find_only", "resolve"]


@dataclass(frozen=True)
class Only:
    """The one entry that may move: `kind` is `deb`, `wheel`, `image` or `file`."""

    kind: str
    name: str


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
        | {*release["apt"]["packages"], *images["runtime"]["debs"], release["os"]["kernel"]},
        "wheel": {wheel["name"] for wheel in lock["python"]["wheels"]}
        | {normal_name(re.split(r"[^A-Za-z0-9._-]", each)[0]) for each in release["python"]["requirements"]},
        "image": {images["runtime"]["name"]}
        | {entry["name"] for entry in [*images["models"], *images.get("extra", [])]},
        "file": {entry["name"] for entry in release.get("files", [])},
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
    target, python, runtime = release["os"], release["python"], release["images"]["runtime"]
    same = bool(old) and old["release"]["sha256"] == digest
    mover = _Mover(old if only else {}, only, keep_others=same)
    files = lock_files(marked, release_dir, store)
    if mover.moves("deb") or mover.is_image(runtime["name"]):
        kernel, apt, runtime_debs = _packages(marked, release_dir, mover)
    else:
        kernel, apt = old["kernel"], old["apt"]
        runtime_debs = mover.image(runtime["name"])["debs"]
    if mover.moves("wheel"):
        say(f"resolving {len(python['requirements'])} Python packages for Python {python['version']}")
        held = {w["name"]: w["version"] for w in mover.wheels() if only and w["name"] != only.name}
        wheels = resolve_wheels(
            python["requirements"],
            python["version"],
            python["platforms"],
            store,
            constraints=held,
            place=marked.place("python", "requirements"),
        )
        kept = {(w["name"], w["version"]): dict(w) for w in mover.wheels() if w["name"] in held}
        wheels = [kept.get((w["name"], w["version"]), w) for w in wheels]
    else:
        wheels = list(old["python"]["wheels"])
    wheels = _waived(wheels, marked)
    lock: dict[str, Any] = {
        "schema": "edgewright.lock/v1",
        "release": {"name": release["name"], "version": release["version"], "sha256": digest},
        "os": {key: target[key] for key in ("family", "suite", "arch")},
        "kernel": kernel,
        "apt": apt,
        "python": {"wheels": wheels},
        "images": [
            _runtime(release, runtime_debs),
            *sorted(_models(marked, store, mover), key=lambda entry: str(entry["name"])),
            *sorted(_extra(marked, release_dir, store, mover, old), key=lambda entry: str(entry["name"])),
        ],
    }
    if files:
        lock["files"] = files
    return lock


class _Mover:
    """What may move: everything without `only`; else that entry, and what `release.yml` changed."""

    def __init__(self, old: Mapping[str, Any], only: Only | None, keep_others: bool) -> None:
        self._old = old
        self._only = only
        self._keep = keep_others

    def moves(self, kind: str) -> bool:
        """Whether a kind must be resolved: it holds the entry, or the release changed since the lock."""
        return self._only is None or self._only.kind == kind or not self._keep

    def is_image(self, name: str) -> bool:
        return self._only is not None and self._only == Only("image", name)

    def frees(self, kind: str, name: str) -> bool:
        """Whether this entry may move."""
        return self._only is None or self._only == Only(kind, name)

    def image(self, name: str) -> Mapping[str, Any]:
        """The locked image; empty where nothing is held."""
        for entry in self._old.get("images", []):
            if entry["name"] == name:
                found: Mapping[str, Any] = entry
                return found
        return {}

    def packages(self) -> Sequence[Mapping[str, Any]]:
        """Locked packages; none where nothing is held."""
        found: Sequence[Mapping[str, Any]] = self._old.get("apt", {}).get("packages", [])
        return found

    def wheels(self) -> Sequence[Mapping[str, Any]]:
        """Locked wheels; none where nothing is held."""
        found: Sequence[Mapping[str, Any]] = self._old.get("python", {}).get("wheels", [])
        return found


def _packages(
    marked: Marked, release_dir: Path, mover: _Mover
) -> tuple[dict[str, str], dict[str, Any], list[dict[str, Any]]]:
    """The lock's kernel, `apt`, and packages of the runtime image."""
    release = marked.content
    target, apt, runtime = release["os"], release["apt"], release["images"]["runtime"]
    say(f"resolving {len(apt['packages']) + 1} packages against {target['suite']} for {target['arch']}")
    pins = {deb["name"]: deb["version"] for deb in mover.packages() if not mover.frees("deb", deb["name"])}
    with AptRoom(target["arch"], apt["sources"], release_dir, _package_place(marked)) as room:
        date = room.update()
        debs = _runtime_debs(room, runtime, mover)
        base = room.resolve(room.essential())
        for name in room.pin(pins):
            say(f"NOTICE: {name} {pins.pop(name)}: the archive no longer has it, so it moves as well")
        closure = _pinned(room, [*apt["packages"], target["kernel"]], base, pins)
        device = [*base, *room.resolve(apt.get("device_base", []), base)]
        first = {deb.name for deb in room.resolve(apt["bootstrap"], device)}
    found: dict[str, Any] = {"date": date}
    snapshots = [
        {"uri": source["uri"], "suites": source["suites"], "at": source["snapshot"]}
        for source in apt["sources"]
        if "snapshot" in source
    ]
    if snapshots:
        found["snapshots"] = sorted(snapshots, key=lambda each: str(each["uri"]))
    found["packages"] = [deb.entry(deb.name in first) for deb in closure]
    return _kernel(closure, target["kernel"], marked), found, debs


def _runtime_debs(room: AptRoom, runtime: Mapping[str, Any], mover: _Mover) -> list[dict[str, Any]]:
    held = {deb["name"]: dict(deb) for deb in mover.image(runtime["name"]).get("debs", [])}
    if mover.is_image(runtime["name"]):
        held = {}
    return [
        held[name] if name in held and not mover.frees("deb", name) else room.newest(name).entry()
        for name in sorted(runtime["debs"])
    ]


def _pinned(room: AptRoom, names: Sequence[str], base: Sequence[Deb], pins: dict[str, str]) -> list[Deb]:
    """Resolve with pins; those that stand in the way of the entry that moves are let go, and that is said."""
    while True:
        try:
            return room.resolve(names, base)
        except AptConflictError as conflict:
            held = sorted(conflict.held & set(pins))
            if not held:
                raise
            for name in held:
                say(f"NOTICE: {name} {pins.pop(name)} does not fit with what moves, so it moves as well")
            room.pin(pins)


def _package_place(marked: Marked) -> Any:
    """Where the release names a package: a function that `AptRoom` asks for its messages."""
    release = marked.content
    places = {release["os"]["kernel"]: marked.place("os", "kernel")}
    for *steps, names in (
        ("images", "runtime", "debs", release["images"]["runtime"]["debs"]),
        ("apt", "device_base", release["apt"].get("device_base", [])),
        ("apt", "packages", release["apt"]["packages"]),
    ):
        places |= {name: marked.place(*steps, number) for number, name in enumerate(names)}
    return places.get


def _kernel(closure: Sequence[Deb], meta: str, marked: Marked) -> dict[str, str]:
    """The kernel that a meta package stands for, found among what it brings."""
    found = [deb for deb in closure if re.match(r"linux-image-\d", deb.name)]
    if len(found) != 1:
        names = ", ".join(deb.name for deb in found) or "none"
        raise InputError(
            f"locking {marked.place('os', 'kernel')}: os.kernel {meta}: expected it to bring one kernel "
            "image, "
            f"found {names}; name the meta package of one flavour"
        )
    release = found[0].name.removeprefix("linux-image-")
    flavour = "rt" if "-rt-" in f"{release}-" else "generic"
    return {"package": found[0].name, "version": found[0].version, "release": release, "flavour": flavour}


def _waived(wheels: Sequence[Mapping[str, Any]], marked: Marked) -> list[dict[str, Any]]:
    """Wheels with their waivers; one whose licence forbids handing on and that has none is refused."""
    waivers = {
        normal_name(name): (name, waiver)
        for name, waiver in marked.content["python"].get("waivers", {}).items()
    }
    found = []
    for wheel in wheels:
        entry = {key: value for key, value in wheel.items() if key != "waiver"}
        why = words_forbid(wheel["licence"])
        if why and wheel["name"] not in waivers:
            raise InputError(
                f"locking {marked.place('python', 'requirements')}: {wheel['name']} {wheel['version']}: its "
                "licence "
                f"{wheel['licence']!r} does not let it be handed on: {why}; take it out, or add it to "
                "python.waivers: {NAME: {who: NAME, why: REASON, until: DATE}} once somebody answers for it"
            )
        if why:
            entry["waiver"] = waivers[wheel["name"]][1]
        found.append(entry)
    waived = {entry["name"] for entry in found if "waiver" in entry}
    for name, (written, _) in waivers.items():
        if name not in waived:
            raise InputError(
                f"locking {marked.place('python', 'waivers', written)}: no wheel {name} of this release "
                "needs a "
                "waiver; remove it"
            )
    return found


def _runtime(release: Mapping[str, Any], debs: list[dict[str, Any]]) -> dict[str, Any]:
    runtime = release["images"]["runtime"]
    entry = {"role": "runtime", "name": runtime["name"], "version": release["version"]}
    entry |= {"digest": "", "size": 0, "platform": f"linux/{release['os']['arch']}"}
    entry |= {"licence": runtime["licence"], "sources": "", "debs": debs}
    return entry | {key: runtime[key] for key in ("waiver",) if key in runtime}


def _models(marked: Marked, store: BlobStore, mover: _Mover) -> list[dict[str, Any]]:
    release, found = marked.content, []
    python = release["python"]
    for number, model in enumerate(release["images"]["models"]):
        held = mover.image(model["name"])
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
        entry |= {"digest": "", "size": 0, "platform": f"linux/{release['os']['arch']}"}
        entry |= {"licence": model["licence"], "sources": "", "wheel": wheel}
        found.append(entry | {key: model[key] for key in ("waiver",) if key in model})
    return found


def _extra(
    marked: Marked, release_dir: Path, store: BlobStore, mover: _Mover, old: Mapping[str, Any]
) -> list[dict[str, Any]]:
    arch, found = marked.content["os"]["arch"], []
    for number, wanted in enumerate(marked.content["images"].get("extra", [])):
        entry = {"role": "extra", "name": wanted["name"], "version": wanted["version"]}
        held = next((each for each in old.get("images", []) if _is_same(each, wanted)), None)
        if held is not None and not mover.frees("image", wanted["name"]):
            image = (held["digest"], held["size"], held["from"])
        else:
            place = marked.place("images", "extra", number)
            imported = import_image(wanted, arch, release_dir, store, place=place, held=held)
            image = (imported.digest, imported.size, imported.origin)
        entry |= {"digest": image[0], "size": image[1], "platform": f"linux/{arch}"}
        entry |= {"licence": wanted["licence"], "from": image[2]}
        found.append(entry | {key: wanted[key] for key in ("waiver",) if key in wanted})
    return found


def _is_same(held: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a locked image was taken from the source that the release names."""
    origin: Mapping[str, Any] = held.get("from", {})
    return bool(held["name"] == wanted["name"] and wanted["from"].items() <= origin.items())
