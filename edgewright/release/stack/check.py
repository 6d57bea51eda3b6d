# SPDX-License-Identifier: Apache-2.0
"""Judge a set of versions that exists: a lock's, a device's, or a stack that was solved on another day.

    found = items_of_lock(lock)                    # or items_of_have(have), items_of_stack(document)
    verdict = check(universe, found)
    verdict.ok, verdict.refused, verdict.unheard

Every related pair that is there is judged by the facts of today. A version that no fact names is told and
counts as no: it is not known whether it fits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgewright.errors import InputError
from edgewright.release.stack.facts import Row
from edgewright.release.stack.model import Candidate, Level, Problem
from edgewright.release.stack.solve import SCHEMA, PairAnswer, pair_answers
from edgewright.release.stack.universe import NUMBERS, WORDS, Universe
from edgewright.release.stack.version import Version
from edgewright.release.stack.waiver import Waiver, parse_waiver

__all__ = [
    "Found",
    "LockedStack",
    "Verdict",
    "check",
    "found_candidate",
    "items_of_have",
    "items_of_lock",
    "items_of_stack",
    "stacks_of_lock",
]

_LEADING = re.compile(r"^(?:[0-9]+:)?([0-9]+(?:\.[0-9]+)*)")
_DEB = re.compile(r"^([a-z0-9][a-z0-9.+-]+)_([^_]+)_([a-z0-9]+)\.deb$")
_WHEEL = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._]*)-([0-9][^-]*)-.+-([^-]+)\.whl$")
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
"""Architectures as wheels name them."""

_PACKAGES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), item)
    for pattern, item in (
        (r"nvidia-driver|nvidia-tesla-\d+-driver|nvidia-driver-cuda|cuda-drivers(-\d+)?|libcuda1", "driver"),
        (r"nvidia(-tesla-\d+)?-kernel-dkms", "module proprietary"),
        (r"nvidia-open-kernel-dkms|nvidia-kernel-open-dkms|nvidia-open(-\d+)?", "module open"),
        (r"cuda-(toolkit|runtime)-\d+-\d+|cuda-cudart-\d+-\d+|nvidia-cuda-runtime(-cu\d+)?", "cuda"),
        (r"libcudnn\d+(-cuda-\d+)?|nvidia-cudnn-cu\d+", "cudnn"),
        (r"libnvinfer\d+|tensorrt(-cu\d+)?(-libs|-bindings)?", "tensorrt"),
        (r"onnxruntime-gpu", "onnxruntime-gpu"),
        (r"nvidia-container-toolkit(-base)?", "container-toolkit"),
        (r"nvidia-l4t-core", "l4t"),
    )
)
"""Packages and wheels by the item whose version they show."""


@dataclass(frozen=True)
class Found:
    """A version that was found.

    Attributes:
        item: The item.
        text: The version or word.
        where: What shows it, for messages.
    """

    item: str
    text: str
    where: str


@dataclass(frozen=True)
class LockedStack:
    """The stack that a lock has for a profile on a target, with what the target's artefacts show.

    Attributes:
        profile: The hardware profile.
        target: `SUITE/ARCH`.
        found: Versions of the target's artefacts, and those that were chosen when it was locked.
        waiver: The waiver that it leans on.
    """

    profile: str
    target: str
    found: list[Found]
    waiver: Waiver | None


@dataclass(frozen=True)
class Verdict:
    """Of a set that exists.

    Attributes:
        judged: Candidate per item.
        answers: Of every related pair.
        unheard: Sentences on versions of which there is no fact, and on those that contradict each other.
    """

    judged: dict[str, Candidate]
    answers: tuple[PairAnswer, ...]
    unheard: tuple[str, ...]

    @property
    def refused(self) -> tuple[PairAnswer, ...]:
        """Pairs that don't go together."""
        return tuple(each for each in self.answers if each.answer.level is Level.REFUSED)

    @property
    def ok(self) -> bool:
        """Whether all is known and nothing refused."""
        return not self.refused and not self.unheard

    def as_json(self) -> dict[str, Any]:
        """For JSON: schema edgewright.stack-check/v1."""
        return {
            "schema": "edgewright.stack-check/v1",
            "result": "fits" if self.ok else "refused",
            "items": {item: each.version for item, each in self.judged.items()},
            "unheard": list(self.unheard),
            "answers": [each.as_json() for each in self.answers],
        }


def items_of_lock(lock: Mapping[str, Any]) -> list[Found]:
    """What a lock says of the stack: its system, packages, wheels and files.

    Args:
        lock: Content of `release.lock.yml`, or one of its `targets` with the lock's `files`. Files whose name
            says another architecture don't count.
    """
    system, kernel = lock["os"], lock["kernel"]
    found = [
        Found("arch", system["arch"], "os.arch"),
        Found("suite", system["suite"], "os.suite"),
        Found("kernel-flavour", kernel["flavour"], "kernel.flavour"),
        Found("kernel", kernel["version"], "kernel.version"),
    ]
    named = [(deb["name"], deb["version"], f"package {deb['name']}") for deb in lock["apt"]["packages"]]
    named += [
        (wheel["name"], wheel["version"], f"wheel {wheel['name']}") for wheel in lock["python"]["wheels"]
    ]
    for file in lock.get("files", []):
        match = _DEB.match(file["name"]) or _WHEEL.match(file["name"])
        if system["suite"] not in file.get("suites", [system["suite"]]):
            continue  # supplied for another suite
        if match is not None and _is_for(match[3], system["arch"]):
            named.append((match[1], match[2], f"file {file['name']}"))
    for name, version, where in named:
        found += _of_package(name.lower().replace("_", "-"), version, where)
    for built in lock.get("modules", []):  # kernel modules that the bundle is built with
        where = f"modules {built.get('package', built['name'])}"
        found += [Found("module-flavour", built["flavour"], where), Found("module", built["driver"], where)]
    return found


def stacks_of_lock(lock: Mapping[str, Any]) -> list[LockedStack]:
    """The stacks of a lock's `nvidia`; none where its release names no profiles.

    Raises:
        InputError: An entry names a target that the lock has not, or its waiver is none.
    """
    parts = {f"{part['os']['suite']}/{part['os']['arch']}": part for part in (lock, *lock.get("targets", []))}
    found = []
    for number, entry in enumerate(lock.get("nvidia", [])):
        where = f"reading a lock: nvidia[{number}]"
        part = parts.get(entry["target"])
        if part is None:
            raise InputError(
                f"{where}: target {entry['target']!r} is none of {', '.join(parts)}; lock the release anew"
            )
        waiver = entry["waiver"]
        items = items_of_lock({**part, "files": lock.get("files", [])})
        items += [
            Found(item, text, f"nvidia.chosen of {entry['profile']}")
            for item, text in entry["chosen"].items()
        ]
        found.append(
            LockedStack(
                entry["profile"],
                entry["target"],
                items,
                None if waiver is None else parse_waiver(waiver, f"{where}: waiver"),
            )
        )
    return found


def items_of_have(have: Mapping[str, Any]) -> list[Found]:
    """What a device's state says: areas `kernel` and `nvidia`, or plain items by name.

    Args:
        have: The `have` of `device_state`, or a mapping of items to versions.
    """
    areas = have["have"] if isinstance(have.get("have"), Mapping) else have
    found: list[Found] = []
    kernel = areas.get("kernel")
    if isinstance(kernel, Mapping):
        release = kernel.get("release")
        if isinstance(release, str):
            found.append(Found("kernel", release, "kernel.release"))
        if isinstance(kernel.get("realtime"), bool):
            found.append(
                Found("kernel-flavour", "rt" if kernel["realtime"] else "generic", "kernel.realtime")
            )
    for area, values in (("", areas), ("nvidia.", areas.get("nvidia"))):
        for name, value in values.items() if isinstance(values, Mapping) else ():
            item = str(name).replace("_", "-")
            if item in (*WORDS, *NUMBERS) and isinstance(value, str) and value:
                found.append(Found(item, value, f"{area}{name}"))
    return found


def items_of_stack(document: Mapping[str, Any]) -> list[Found]:
    """What `edgewright stack solve --json` wrote.

    Raises:
        InputError: It holds no items.
    """
    items = document.get("items")
    if document.get("schema") != SCHEMA or not isinstance(items, Mapping) or not items:
        raise InputError(
            f"reading a stack: expected schema {SCHEMA} with items, got {document.get('schema')!r}"
        )
    found = []
    for item, value in items.items():
        version = value.get("version") if isinstance(value, Mapping) else value
        name = value.get("name", "") if isinstance(value, Mapping) else ""
        if item not in (*WORDS, *NUMBERS) or not isinstance(version, str):
            raise InputError(f"reading a stack: items.{item}: expected an item with a version, got {value!r}")
        found.append(Found(item, version, f"items.{item}" + (f" {name}" if name else "")))
    return found


def check(universe: Universe, found: list[Found]) -> Verdict:
    """Judge what was found, by the facts of a profile's universe.

    Args:
        universe: What there is for the profile; its GPU and module count as found.
        found: Versions with what showed them. Several of one item must be the same.
    """
    unheard: list[str] = []
    judged: dict[str, Candidate] = {
        item: universe.domains[item][0] for item in ("arch", "gpu", "jetson") if item in universe.domains
    }
    seen: dict[str, Found] = {}
    for each in found:
        if each.item not in universe.domains:
            unheard.append(
                f"{each.item} {each.text} ({each.where}): profile {universe.profile} has no {each.item}"
            )
            continue
        candidate = found_candidate(universe, each, found)
        if candidate is None:
            unheard.append(
                f"no fact names {each.item} {each.text} ({each.where}), so whether it fits is not known"
            )
            continue
        before = judged.get(each.item)
        if before is not None and before.version != candidate.version:
            first = seen[each.item].where if each.item in seen else f"profile {universe.profile}"
            unheard.append(
                f"{each.item} is {before.version} by {first}, and {candidate.version} by {each.where}"
            )
            continue
        judged[each.item] = candidate
        seen.setdefault(each.item, each)
    ordered = {item: judged[item] for item in universe.domains if item in judged}
    problem = Problem({item: (candidate,) for item, candidate in ordered.items()}, universe.judges)
    return Verdict(ordered, tuple(pair_answers(problem, ordered)), tuple(dict.fromkeys(unheard)))


def _is_for(tag: str, arch: str) -> bool:
    """Whether a file with this architecture or platform in its name is for an architecture."""
    return tag in (arch, "all", "any") or tag.endswith(_MACHINES.get(arch, arch))


def _of_package(name: str, version: str, where: str) -> list[Found]:
    match = _LEADING.match(version)
    for pattern, item in _PACKAGES:
        if pattern.fullmatch(name) and match is not None:
            if item.startswith("module "):
                return [Found("module-flavour", item[7:], where), Found("module", match[1], where)]
            if item == "cuda" and (named := re.search(r"-(\d+)-(\d+)$", name)):
                return [Found("cuda", f"{named[1]}.{named[2]}", where)]
            if item == "cuda":  # the runtime's own third number is no release of the toolkit
                return [Found("cuda", Version.parse(match[1]).minor, where)]
            return [Found(item, match[1], where)]
    return []


def found_candidate(universe: Universe, each: Found, found: Sequence[Found]) -> Candidate | None:
    """The candidate that a found version is.

    A kernel is what the lock or device says it is: archives move on faster than facts. A version with more
    places than the facts' (10.14.1.48) is the fact's release; one with fewer (CUDA 12.9) the newest below it.
    """
    known = universe.domains[each.item]
    if each.item in WORDS:
        return next((one for one in known if one.version == each.text), None)
    match = _LEADING.match(each.text)
    if match is None:
        return None
    text = match[1]
    if each.item == "kernel" and universe.gpu != "tegra":
        return _kernel(each, text, found, universe.domains["arch"][0].version)
    version = Version.parse(text)
    flavour = next((other.text for other in found if other.item == "module-flavour"), None)
    known = tuple(one for one in known if one.item != "module" or flavour in (None, one.data["flavour"]))
    named = [(Version.parse(one.version), one) for one in known]
    places = len(version.numbers)
    same = [each for each in named if each[0].numbers == version.numbers]
    wider = [each for each in named if version.below(each[0]) and len(each[0].numbers) < places]
    within = [each for each in named if each[0].below(version)]
    return max(same or wider or within, key=lambda each: each[0], default=(version, None))[1]


def _kernel(each: Found, text: str, found: Sequence[Found], arch: str) -> Candidate:
    """A kernel as found: of the suite, architecture and flavour that were found beside it."""
    beside = {other.item: other.text for other in found}
    written = {
        "version": text,
        "package_version": each.text,
        "package": "kernel",
        "flavour": beside.get("kernel-flavour", "generic"),
        "suite": beside.get("suite"),
        "archive": beside.get("suite", ""),
        "arches": [beside.get("arch", arch)],
    }
    row = Row("kernels", written, f"found as {each.where}", "", True, each.where)
    return Candidate("kernel", text, each.text, row, ())
