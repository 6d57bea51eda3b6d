# SPDX-License-Identifier: Apache-2.0
"""The packages and wheels of one target: a suite on an architecture, resolved on whatever host this is.

What may move is a `Mover`'s to say. With `--only` all other entries keep their locked versions: packages are
pinned for apt, wheels are constraints for pip. What a source no longer has, or what the one entry needs
newer, moves as well, and that is said.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewright.depot.blobs import BlobStore
from edgewright.depot.progress import say
from edgewright.errors import InputError
from edgewright.release.aptresolve import AptConflictError, AptRoom, Deb
from edgewright.release.licences import words_forbid
from edgewright.release.supplied import Supplied, SuppliedDeb, is_supplied
from edgewright.release.wheels import normal_name, resolve_wheels
from edgewright.release.yamlmarks import Marked

__all__ = ["Mover", "Only", "Target", "check_waivers", "release_targets", "resolve_target"]


@dataclass(frozen=True)
class Target:
    """What one kind of device runs.

    Attributes:
        steps: Where the release names it.
        images: Whether its platform's images are made from it: it is the first of its architecture.
        suite: Debian's name of the release.
        arch: Debian's name of the architecture.
        kernel: The kernel's meta package.
        sources: As the release's `apt.sources`.
        python: Version of Python, such as "3.11".
        platforms: Wheel platform tags, best first.
        runtime_debs: Packages of the runtime image.
        snap_debs: Packages that only the runtime's snap has.
    """

    steps: tuple[str | int, ...]
    images: bool
    suite: str
    arch: str
    kernel: str
    sources: Sequence[Mapping[str, Any]]
    python: str
    platforms: Sequence[str]
    runtime_debs: Sequence[str]
    snap_debs: Sequence[str]

    @property
    def platform(self) -> str:
        """In OCI's words, such as `linux/arm64`."""
        return f"linux/{self.arch}"


def release_targets(release: Mapping[str, Any]) -> list[Target]:
    """A release's targets, the first one of its `os` first."""
    main, apt, python = release["os"], release["apt"], release["python"]
    debs = release["images"]["runtime"]["debs"]
    snap_debs = release["images"]["runtime"].get("snap_debs", [])
    seen = {main["arch"]}
    found = [
        Target(
            *(("os",), True, main["suite"], main["arch"], main["kernel"]),
            *(apt["sources"], python["version"], python["platforms"], debs, snap_debs),
        )
    ]
    for number, target in enumerate(release.get("targets", [])):
        own = target.get("python", {})
        found.append(
            Target(
                *(("targets", number), target["arch"] not in seen),
                *(target["suite"], target["arch"], target["kernel"]),
                target.get("sources", apt["sources"]),
                own.get("version", python["version"]),
                own.get("platforms", python["platforms"]),
                target.get("runtime_debs", debs),
                snap_debs,
            )
        )
        seen.add(target["arch"])
    return found


@dataclass(frozen=True)
class Only:
    """The one entry that may move: `kind` is `deb`, `wheel`, `image` or `file`."""

    kind: str
    name: str


class Mover:
    """What may move: everything without `only`; else that entry, and what `release.yml` changed.

    Args:
        old: What the lock so far says of the target; empty where nothing is held.
        only: The one entry that may move.
        keep_others: Whether the release is the one that was locked.
        images: The lock's images so far, of all platforms.
    """

    def __init__(
        self,
        old: Mapping[str, Any],
        only: Only | None,
        keep_others: bool,
        images: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self.old = old
        self._images = images
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

    def image(self, name: str, platform: str) -> Mapping[str, Any]:
        """The locked image of a platform; empty where nothing is held."""
        for entry in self._images:
            if (entry["name"], entry["platform"]) == (name, platform):
                found: Mapping[str, Any] = entry
                return found
        return {}

    def packages(self) -> Sequence[Mapping[str, Any]]:
        """Locked packages; none where nothing is held."""
        found: Sequence[Mapping[str, Any]] = self.old.get("apt", {}).get("packages", [])
        return found

    def wheels(self) -> Sequence[Mapping[str, Any]]:
        """Locked wheels; none where nothing is held."""
        found: Sequence[Mapping[str, Any]] = self.old.get("python", {}).get("wheels", [])
        return found


def resolve_target(  # noqa: PLR0917 - what resolving has at hand, in its order
    marked: Marked, target: Target, mover: Mover, supplied: Supplied, release_dir: Path, store: BlobStore
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Resolve one target.

    Args:
        marked: The release.
        target: One of its `release_targets`.
        mover: What may move.
        supplied: Packages and wheels that the site supplies.
        release_dir: Where the paths of sources' keys begin.
        store: Where wheels go.

    Returns:
        The lock's `os`, `kernel`, `apt` and `python`; and the runtime image's packages, where images are made
        from this target.

    Raises:
        InputError: The packages do not resolve.
        UnreachableError: A source does not answer.
    """
    runtime = marked.content["images"]["runtime"]
    held = mover.image(runtime["name"], target.platform)
    if mover.moves("deb") or (target.images and (mover.is_image(runtime["name"]) or not held)):
        kernel, apt, debs, modules = _packages(marked, target, mover, supplied, release_dir)
    else:
        kernel, apt, modules = mover.old["kernel"], mover.old["apt"], mover.old.get("modules", [])
        debs = [dict(deb) for deb in held["debs"]] if target.images else []
    wheels = _wheels(marked, target, mover, supplied, store) if mover.moves("wheel") else mover.wheels()
    part: dict[str, Any] = {
        "os": {"family": marked.content["os"]["family"], "suite": target.suite, "arch": target.arch},
        "kernel": kernel,
        "apt": apt,
        "python": {"wheels": _waived(wheels, marked)},
    }
    if modules:
        part["modules"] = modules
    return part, debs


def _packages(
    marked: Marked, target: Target, mover: Mover, supplied: Supplied, release_dir: Path
) -> tuple[dict[str, str], dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    """The lock's kernel, `apt`, packages of the runtime image, and kernel modules that are not built yet."""
    from edgewright.modules.order import draft_modules, needed, order_modules  # noqa: PLC0415 - it needs ours

    apt, runtime = marked.content["apt"], marked.content["images"]["runtime"]
    own = supplied.debs(target.suite, target.arch)
    names = [*apt["packages"], target.kernel, *(deb.name for deb in own)]
    say(f"resolving {len(names)} packages against {target.suite} for {target.arch}")
    pins = {
        deb["name"]: deb["version"]
        for deb in mover.packages()
        if not mover.frees("deb", deb["name"]) and deb["name"] not in {each.name for each in own}
        if not is_supplied(deb)  # it was, and is no longer
    }
    place = _package_place(marked, target, own)
    with AptRoom(target.arch, target.sources, release_dir, place, own) as room:
        date = room.update()
        debs = _runtime_debs(room, runtime["name"], target, mover) if target.images else []
        base = room.resolve(room.essential())
        for name in room.pin(pins):
            say(f"NOTICE: {name} {pins.pop(name)}: the archive no longer has it, so it moves as well")
        drafts = draft_modules(room, marked, target)
        there = [*base, *(draft.stand_in for draft in drafts)]
        closure = _pinned(room, [*names, *needed(drafts)], there, pins)
        _refuse_others(own, closure)
        device = [*base, *room.resolve(apt.get("device_base", []), base)]
        first = {deb.name for deb in room.resolve(apt["bootstrap"], device)}
        kernel = _kernel(closure, target, marked)
        held = {entry["name"]: entry for entry in mover.old.get("modules", [])}
        modules = order_modules(room, drafts, marked, kernel, closure, held)
    found: dict[str, Any] = {"date": date}
    snapshots = [
        {"uri": source["uri"], "suites": source["suites"], "at": source["snapshot"]}
        for source in target.sources
        if "snapshot" in source
    ]
    if snapshots:
        found["snapshots"] = sorted(snapshots, key=lambda each: str(each["uri"]))
    found["packages"] = [deb.entry(deb.name in first) for deb in closure]
    return kernel, found, debs, modules


def _refuse_others(own: Sequence[SuppliedDeb], closure: Sequence[Deb]) -> None:
    """Refuse a supplied package in whose place another file was chosen."""
    found = {deb.name: deb for deb in closure}
    for deb in own:
        chosen = found.get(deb.name)
        if chosen is None or chosen.sha256 != deb.file["sha256"]:
            got = f"{chosen.name} {chosen.version} of {chosen.source}" if chosen else "none: devices hold it"
            raise InputError(
                f"resolving {deb.place}: {deb.file['name']}: expected this very file, apt chose {got}; take "
                "it out of files[], or supply another version"
            )


def _wheels(
    marked: Marked, target: Target, mover: Mover, supplied: Supplied, store: BlobStore
) -> list[dict[str, Any]]:
    wanted = marked.content["python"]["requirements"]
    own = supplied.wheels_for(target.python, target.platforms)
    say(f"resolving {len(wanted) + len(own)} Python packages for Python {target.python}")
    mine = {wheel.name for wheel in own}
    held = {
        wheel["name"]: wheel
        for wheel in mover.wheels()
        if not mover.frees("wheel", wheel["name"]) and wheel["name"] not in mine and not is_supplied(wheel)
    }
    found = resolve_wheels(
        wanted,
        target.python,
        target.platforms,
        store,
        constraints={name: wheel["version"] for name, wheel in held.items()},
        place=marked.place("python", "requirements"),
        supplied=own,
    )
    return [dict(held.get(wheel["name"], wheel)) for wheel in found]


def _runtime_debs(room: AptRoom, image: str, target: Target, mover: Mover) -> list[dict[str, Any]]:
    held = {deb["name"]: dict(deb) for deb in mover.image(image, target.platform).get("debs", [])}
    if mover.is_image(image):
        held = {}
    names = {name: {"only": "snap"} for name in target.snap_debs} | {name: {} for name in target.runtime_debs}
    held = {name: {key: value for key, value in deb.items() if key != "only"} for name, deb in held.items()}
    return [
        (held[name] if name in held and not mover.frees("deb", name) else room.newest(name).entry()) | only
        for name, only in sorted(names.items())
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


def _package_place(marked: Marked, target: Target, own: Sequence[SuppliedDeb]) -> Any:
    """Where the release names a package: a function that `AptRoom` asks for its messages."""
    release = marked.content
    places = {target.kernel: marked.place(*target.steps, "kernel")}
    for *steps, names in (
        ("images", "runtime", "snap_debs", target.snap_debs),
        ("images", "runtime", "debs", release["images"]["runtime"]["debs"]),
        ("apt", "device_base", release["apt"].get("device_base", [])),
        ("apt", "packages", release["apt"]["packages"]),
    ):
        places |= {name: marked.place(*steps, number) for number, name in enumerate(names)}
    if target.runtime_debs is not release["images"]["runtime"]["debs"]:
        for number, name in enumerate(target.runtime_debs):
            places.setdefault(name, marked.place(*target.steps, "runtime_debs", number))
    for deb in own:
        places.setdefault(deb.name, deb.place)
    return places.get


def _kernel(closure: Sequence[Deb], target: Target, marked: Marked) -> dict[str, str]:
    """The kernel that a meta package stands for, found among what it brings."""
    kernels = [deb for deb in closure if re.match(r"linux-image-\d", deb.name)]
    # A meta package may look like a kernel itself: linux-image-6.12-rt-amd64 of bookworm-security.
    found = [deb for deb in kernels if deb.name != target.kernel] or kernels
    if len(found) != 1:
        names = ", ".join(deb.name for deb in found) or "none"
        raise InputError(
            f"locking {marked.place(*target.steps, 'kernel')}: kernel {target.kernel}: expected it to bring "
            "one kernel "
            "image, "
            f"found {names}; name the meta package of one flavour"
        )
    release = found[0].name.removeprefix("linux-image-")
    flavour = "rt" if "-rt-" in f"{release}-" else "generic"
    return {"package": found[0].name, "version": found[0].version, "release": release, "flavour": flavour}


def _waived(wheels: Sequence[Mapping[str, Any]], marked: Marked) -> list[dict[str, Any]]:
    """Wheels with their waivers; one whose licence forbids handing on and that has none is refused."""
    waivers = {
        normal_name(name): waiver for name, waiver in marked.content["python"].get("waivers", {}).items()
    }
    found = []
    for wheel in wheels:
        if is_supplied(wheel):  # its file's licence and waiver were judged with the release
            found.append(dict(wheel))
            continue
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
            entry["waiver"] = waivers[wheel["name"]]
        found.append(entry)
    return found


def check_waivers(wheels: Sequence[Mapping[str, Any]], marked: Marked) -> None:
    """Refuse waivers that no wheel needs.

    Raises:
        InputError: Naming one, with its line.
    """
    waived = {wheel["name"] for wheel in wheels if "waiver" in wheel}
    for written in marked.content["python"].get("waivers", {}):
        if normal_name(written) not in waived:
            raise InputError(
                f"locking {marked.place('python', 'waivers', written)}: no wheel {written} of this release "
                "needs a waiver; remove it"
            )
