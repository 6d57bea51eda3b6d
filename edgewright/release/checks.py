# SPDX-License-Identifier: Apache-2.0
"""What a schema cannot say about a release: names that must fit each other, files, licences, waivers.

Pure: takes the content of `release.yml`, gives complaints with the steps to the place that is wrong.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from edgewright.errors import InputError
from edgewright.modules.parts import check_wishes
from edgewright.release.licences import date_fault, expression_fault, forbidden, waivers, words_forbid
from edgewright.release.stack.universe import NUMBERS, WORDS
from edgewright.release.stack.version import Want
from edgewright.snaps.release import check_release_sets, check_release_snaps

__all__ = ["Complaint", "check_release"]

Steps = tuple[str | int, ...]
Complaint = tuple[Steps, str]
"""Steps to the wrong place, and a sentence about it."""


def check_release(release: Mapping[str, Any]) -> list[Complaint]:
    """Check a release that fits its schema.

    Returns:
        Complaints, in the order of the checks; none when it is right.
    """
    return [
        *_bootstrap(release["apt"]),
        *_snapshots(("apt",), release["apt"]["sources"]),
        *_targets(release),
        *_nvidia(release.get("nvidia", {})),
        *check_wishes(release),
        *_files(release),
        *_images(release),
        *check_release_snaps(
            release.get("snaps", []), [entry["model"] for entry in release["images"]["models"]]
        ),
        *_assertion_paths("snaps", release.get("snaps", [])),
        *check_release_sets(release.get("validation_sets", []), release.get("snaps", [])),
        *_assertion_paths("validation_sets", release.get("validation_sets", [])),
        *_names(release),
        *_licences(release),
        *_dates(release),
    ]


def _bootstrap(apt: Mapping[str, Any]) -> Iterator[Complaint]:
    for number, name in enumerate(apt["bootstrap"]):
        if name not in apt["packages"]:
            yield (
                ("apt", "bootstrap", number),
                f"{name} not in apt.packages; what is copied first must be part of the release: add it there",
            )


def _targets(release: Mapping[str, Any]) -> Iterator[Complaint]:
    main = release["os"]
    seen = {(main["suite"], main["arch"])}
    for number, target in enumerate(release.get("targets", [])):
        here: Steps = ("targets", number)
        key = (target["suite"], target["arch"])
        if key in seen:
            yield here, f"{key[0]} on {key[1]} is a target already"
        seen.add(key)
        if target["suite"] != main["suite"] and "sources" not in target:
            yield here, f"missing 'sources': apt.sources are those of {main['suite']}"
        if target["arch"] != main["arch"] and "platforms" not in target.get("python", {}):
            yield here, f"missing 'python.platforms': python.platforms are those of {main['arch']}"
        yield from _snapshots(here, target.get("sources", []))


def _nvidia(nvidia: Mapping[str, Any]) -> Iterator[Complaint]:
    if "want" in nvidia and "profiles" not in nvidia:
        yield (
            ("nvidia", "want"),
            "missing 'nvidia.profiles': name the hardware that it is wanted for",
        )
    for number, text in enumerate(nvidia.get("want", [])):
        try:
            Want.parse(text, WORDS, NUMBERS, "nvidia.want")
        except InputError as error:
            yield ("nvidia", "want", number), str(error).removeprefix("reading ")


def _snapshots(here: Steps, sources: list[Mapping[str, Any]]) -> Iterator[Complaint]:
    for number, source in enumerate(sources):
        if "key" in source:
            yield from _path((*here, "sources", number, "key"), source["key"])
        if "snapshot" in source:
            try:
                datetime.datetime.strptime(source["snapshot"], "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
            except ValueError:
                steps = (*here, "sources", number, "snapshot")
                yield steps, f"{source['snapshot']!r} is no moment; write it as 20261119T021254Z, in UTC"


def _files(release: Mapping[str, Any]) -> Iterator[Complaint]:
    suites = {release["os"]["suite"], *(target["suite"] for target in release.get("targets", []))}
    for number, entry in enumerate(release.get("files", [])):
        if "suites" in entry and entry.get("kind") != "deb":
            yield ("files", number, "suites"), f"{entry['name']}: only a file of kind deb is for suites"
        for place, suite in enumerate(entry.get("suites", [])):
            if suite not in suites:
                told = f"no target of the release is {suite} (they are: {', '.join(sorted(suites))})"
                yield ("files", number, "suites", place), told
        if ("path" in entry) == ("url" in entry):
            got = "both" if "path" in entry else "neither"
            yield (
                ("files", number),
                f"{entry['name']}: expected path (supplied) or url (fetched), got {got}",
            )
        if "url" in entry and "size" not in entry:
            yield (
                ("files", number),
                f"{entry['name']}: missing 'size' (bytes): a fetched file's must be known",
            )
        if "path" in entry:
            yield from _path(("files", number, "path"), entry["path"])


def _images(release: Mapping[str, Any]) -> Iterator[Complaint]:
    images = release["images"]
    arches = _arches(release)
    for number, entry in enumerate(images.get("extra", [])):
        for place, arch in enumerate(entry.get("arches", [])):
            if arch not in arches:
                steps: Steps = ("images", "extra", number, "arches", place)
                yield steps, f"no target of the release is {arch} (they are: {', '.join(arches)})"
        source, here = entry["from"], ("images", "extra", number, "from")
        kind = source["kind"]
        needs = {"path", "sha256"} if kind.endswith("-archive") else {"reference"}
        allowed = needs | {"kind"} | ({"reference"} if kind.endswith("-archive") else set())
        allowed |= {"socket"} if kind == "engine" else set()
        for key in sorted(needs - set(source)):
            why = " (sha256 of the archive file: what is supplied must be known)" if key == "sha256" else ""
            yield here, f"kind {kind}: missing {key!r}{why}"
        for key in sorted(set(source) - allowed):
            yield (*here, key), f"kind {kind} has no key {key!r} (known: {', '.join(sorted(allowed))})"
        if "path" in source:
            yield from _path((*here, "path"), source["path"])


def _assertion_paths(where: str, entries: list[Mapping[str, Any]]) -> Iterator[Complaint]:
    for number, entry in enumerate(entries):
        for key in ("path", "assertions"):
            if key in entry:
                yield from _path((where, number, key), entry[key])
        for place, component in enumerate(entry.get("components", [])):
            yield from _path((where, number, "components", place, "path"), component["path"])


def _path(steps: Steps, path: str) -> Iterator[Complaint]:
    if path.startswith("/") or ".." in PurePosixPath(path).parts:
        yield steps, f"expected a path below the release's directory, got {path!r}; put the file there"


def _arches(release: Mapping[str, Any]) -> list[str]:
    """Architectures of the targets, the first one's first."""
    return list(
        dict.fromkeys([release["os"]["arch"], *(each["arch"] for each in release.get("targets", []))])
    )


def _names(release: Mapping[str, Any]) -> Iterator[Complaint]:
    images = release["images"]
    arches = _arches(release)
    listed: list[tuple[Steps, str, str]] = [
        *((("files", n), "file", entry["name"]) for n, entry in enumerate(release.get("files", []))),
        *((("snaps", n), "snap", entry["name"]) for n, entry in enumerate(release.get("snaps", []))),
        *(
            (("validation_sets", n), "validation set", entry["name"])
            for n, entry in enumerate(release.get("validation_sets", []))
        ),
        (("images", "runtime"), "image", images["runtime"]["name"]),
        *((("images", "models", n), "image", entry["name"]) for n, entry in enumerate(images["models"])),
        *(
            (("images", "extra", n), "image", f"{entry['name']}{_on(arch, arches)}")
            for n, entry in enumerate(images.get("extra", []))
            for arch in entry.get("arches", arches)
        ),
        *((("images", "models", n), "model", entry["model"]) for n, entry in enumerate(images["models"])),
    ]
    seen: set[tuple[str, str]] = set()
    for steps, kind, name in listed:
        if (kind, name) in seen:
            yield (*steps, "model" if kind == "model" else "name"), f"two {kind}s are called {name!r}"
        seen.add((kind, name))


def _on(arch: str, arches: list[str]) -> str:
    """What an image of a further platform is told apart by: others may have its name on another one."""
    return "" if arch == arches[0] else f" on {arch}"


def _licences(release: Mapping[str, Any]) -> Iterator[Complaint]:
    images = release["images"]
    runtime = images["runtime"]
    why = words_forbid(runtime["licence"])  # words for people: an image of many packages
    yield from _judged(("images", "runtime"), runtime["name"], runtime, why)
    listed: list[tuple[Steps, Mapping[str, Any]]] = [
        *((("files", n), entry) for n, entry in enumerate(release.get("files", []))),
        *((("snaps", n), entry) for n, entry in enumerate(release.get("snaps", []))),
        *(
            (("snaps", n, "components", m), entry)
            for n, snap in enumerate(release.get("snaps", []))
            for m, entry in enumerate(snap.get("components", []))
        ),
        *((("images", "models", n), entry) for n, entry in enumerate(images["models"])),
        *((("images", "extra", n), entry) for n, entry in enumerate(images.get("extra", []))),
    ]
    for steps, entry in listed:
        fault = expression_fault(entry["licence"])
        if fault:
            yield (*steps, "licence"), fault
        else:
            yield from _judged(steps, entry["name"], entry, forbidden(entry["licence"]))


def _judged(steps: Steps, name: str, entry: Mapping[str, Any], why: str | None) -> Iterator[Complaint]:
    if why and "waiver" not in entry:
        yield (
            (*steps, "licence"),
            f"{name}: the licence {entry['licence']!r} does not let it be handed on: {why}; take it out, or "
            "add waiver: {who: NAME, why: REASON, until: DATE} once somebody answers for it",
        )
    elif "waiver" in entry and not why:
        yield (
            (*steps, "waiver"),
            f"{name}: nothing in the licence {entry['licence']!r} needs a waiver; remove it",
        )


def _dates(release: Mapping[str, Any]) -> Iterator[Complaint]:
    for steps, waiver in waivers(release):
        fault = date_fault(waiver["until"])
        if fault:
            below = () if {"waivers", "rt_waiver"} & set(steps) else ("waiver",)
            yield (*steps, *below, "until"), fault
