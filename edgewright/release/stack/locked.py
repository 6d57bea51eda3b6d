# SPDX-License-Identifier: Apache-2.0
"""The NVIDIA stack of a release: solved when it is locked, for each of its profiles on each target.

    lock["nvidia"] = lock_stack(marked, lock, [carried_profiles()], load_facts(), today)

What the lock has already is given: suite, kernel with its flavour, Python, and the version of every package,
wheel and file of the stack. What is wanted beyond that is chosen by the facts. Where nothing fits the release
is refused with the reasons and their sources, so that no lock is written.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgewright.depot.progress import say
from edgewright.device.profile import Profile, load_profile
from edgewright.errors import InputError
from edgewright.release.stack.answers import row_of
from edgewright.release.stack.check import Found, found_candidate, items_of_lock
from edgewright.release.stack.facts import Facts
from edgewright.release.stack.solve import Outcome, solve
from edgewright.release.stack.told import told_outcome
from edgewright.release.stack.universe import NUMBERS, WORDS, Universe, make_universe
from edgewright.release.stack.version import Clause, Want
from edgewright.release.stack.waiver import Waiver, parse_waiver
from edgewright.release.targets import Target, release_targets
from edgewright.release.yamlmarks import Marked

__all__ = ["SUPPLIED", "lock_stack", "release_waiver", "release_wants"]

SUPPLIED = (
    *("driver", "module", "cuda", "tensorrt", "onnxruntime-gpu", "cudnn", "container-toolkit"),
    *("jetpack", "l4t"),
)
"""Items that come as packages, wheels or files: those of them that the lock does not hold are named."""

_SYSTEM = ("arch", "suite", "kernel-flavour", "kernel")
"""Items that a target decides."""

_WITH_PYTHON = frozenset({"tensorrt", "onnxruntime-gpu"})
"""Items for which the target's Python counts."""


Steps = tuple[str | int, ...]


def release_waiver(marked: Marked) -> Waiver | None:
    """The waiver of `nvidia.rt_waiver`; None where there is none.

    Raises:
        InputError: It is none; with file and line.
    """
    content = marked.content.get("nvidia", {}).get("rt_waiver")
    if content is None:
        return None
    return parse_waiver(content, f"reading {marked.place('nvidia', 'rt_waiver')}: nvidia.rt_waiver")


def release_wants(marked: Marked) -> list[Want]:
    """The wants of `nvidia.want`, each with its file and line as origin.

    Raises:
        InputError: One is no want.
    """
    return [
        Want.parse(text, WORDS, NUMBERS, marked.place("nvidia", "want", number))
        for number, text in enumerate(marked.content.get("nvidia", {}).get("want", []))
    ]


def lock_stack(
    marked: Marked,
    lock: Mapping[str, Any],
    profiles: Sequence[Path],
    facts: Facts,
    on: datetime.date,
) -> list[dict[str, Any]]:
    """Solve the stack of a release.

    Args:
        marked: The release.
        lock: Its lock so far: `os`, `kernel`, `apt`, `python`; `files` and `targets` where there are any.
        profiles: Directories of hardware profiles, the first that has a name counts.
        facts: What is known.
        on: The day by which waivers and ends of support are judged.

    Returns:
        The lock's `nvidia`, sorted by profile and target; empty where the release names no profiles.

    Raises:
        InputError: A profile is not known or has no target; a locked version is not known; nothing fits.
    """
    found = []
    waiver = release_waiver(marked)
    for number, name in enumerate(marked.content.get("nvidia", {}).get("profiles", [])):
        place = marked.place("nvidia", "profiles", number)
        profile = _profile(name, profiles, place)
        targets = [each for each in release_targets(marked.content) if each.arch == profile.arch]
        if not targets:
            raise InputError(
                f"locking {place}: profile {name} is of {profile.arch}, and no target of the release is; take"
                " it out of nvidia.profiles, or add a target"
            )
        try:
            universe = make_universe(profile.as_dict(), facts, waiver, on)
        except InputError as error:
            raise InputError(f"locking {place}: {error}") from error
        for target in targets:
            found.append(_entry(marked, target, _part(lock, target), universe, place))
    if waiver is not None and found and not any(entry["waiver"] for entry in found):
        say(f"NOTICE: {marked.place('nvidia', 'rt_waiver')}: nothing leans on this waiver; it is not locked")
    return sorted(found, key=lambda entry: (entry["profile"], entry["target"]))


def _profile(name: str, profiles: Sequence[Path], place: str) -> Profile:
    try:
        found = load_profile(name, profiles)
    except InputError as error:
        raise InputError(f"locking {place}: nvidia.profiles: {error}") from error
    if found.gpu == "none":
        raise InputError(
            f"locking {place}: nvidia.profiles: profile {name} has no NVIDIA GPU, so that there is no stack"
            " to choose for it; take it out: the release is for such devices all the same"
        )
    return found


def _part(lock: Mapping[str, Any], target: Target) -> Mapping[str, Any]:
    """What a lock says of a target, with the files that all targets share."""
    for part in (lock, *lock.get("targets", [])):
        if (part["os"]["suite"], part["os"]["arch"]) == (target.suite, target.arch):
            return {**part, "files": lock.get("files", [])}
    raise InputError(f"locking the NVIDIA stack: the lock has no target {target.suite}/{target.arch}")


def _entry(
    marked: Marked,
    target: Target,
    part: Mapping[str, Any],
    universe: Universe,
    place: str,
) -> dict[str, Any]:
    """One entry of the lock's `nvidia`."""
    named = f"{target.suite}/{target.arch}"
    where = f"locking {place}: profile {universe.profile} on {named}"
    found = items_of_lock(part)
    universe = _on_target(universe, part, found, where)
    locked = [each for each in found if each.item not in _SYSTEM]
    # Where some of them are enough to tell why nothing fits, the last ones are told: what people wrote.
    wants = [
        *_system_wants(marked, target, part, universe),
        *_held(universe, locked, found, where),
        *release_wants(marked),
    ]
    used = set(universe.active(want.item for want in wants if want.item in universe.domains))
    if used & _WITH_PYTHON and "python" in universe.domains:
        wants.insert(0, Want("python", (Clause("==", target.python),), _python_place(marked, target)))
    outcome = solve(universe, wants)
    if not outcome.ok:
        told = "\n".join(f"  {line}" for line in told_outcome(outcome)[1:])
        raise InputError(
            f"{where}: no NVIDIA stack fits, so nothing is locked:\n{told}\n"
            "  Change nvidia.want, or what brings the named packages, wheels and files;"
            f" `edgewright stack solve {_question(universe, wants)}` asks nearly the same, for trying"
        )
    missing = [
        item for item in outcome.chosen if item in SUPPLIED and item not in {each.item for each in locked}
    ]
    _tell(universe.profile, named, outcome, missing)
    driver = outcome.chosen.get("driver")
    waiver = universe.waiver if outcome.waived else None
    return {
        "profile": universe.profile,
        "target": named,
        "origin": driver.data["origin"] if driver is not None else None,
        "chosen": {item: each.version for item, each in outcome.chosen.items()},
        "unlocked": missing,
        "warnings": [
            {
                "items": {each.item: each.version for each in (pair.one, pair.other)},
                "level": pair.answer.level.word,
                "why": pair.answer.why,
                "sources": list(pair.answer.sources),
            }
            for pair in outcome.warnings
        ],
        "waiver": waiver.as_json() if waiver else None,
    }


def _on_target(universe: Universe, part: Mapping[str, Any], found: Sequence[Found], where: str) -> Universe:
    """The universe with the target's own kernel in place of the archives'; a Jetson's is JetPack's."""
    if universe.gpu == "tegra":
        return universe
    kernel = next(each for each in found if each.item == "kernel")
    candidate = found_candidate(universe, kernel, found)
    if candidate is None:
        raise InputError(f"{where}: the kernel's version {part['kernel']['version']!r} is none; lock it anew")
    source = next(
        (deb["source"] for deb in part["apt"]["packages"] if deb["name"] == part["kernel"]["package"]), ""
    )
    row = row_of(candidate)
    written = {**row.written, "archive": source}
    row = dataclasses.replace(row, written=written, source="the kernel that the packages bring")
    label = f"{part['kernel']['package']} {part['kernel']['version']}"
    held = dataclasses.replace(candidate, label=label, data=row)
    return dataclasses.replace(universe, domains={**universe.domains, "kernel": (held,)})


def _system_wants(marked: Marked, target: Target, part: Mapping[str, Any], universe: Universe) -> list[Want]:
    given = {"suite": target.suite, "kernel-flavour": part["kernel"]["flavour"]}
    places = {"suite": "suite", "kernel-flavour": "kernel"}
    return [
        Want(item, (Clause("==", word),), marked.place(*target.steps, places[item]))
        for item, word in given.items()
        if item in universe.domains
    ]


def _held(universe: Universe, locked: Sequence[Found], found: Sequence[Found], where: str) -> list[Want]:
    """A want for each locked version of the stack, named after what shows it.

    Raises:
        InputError: The profile has no such item, or no fact names the version.
    """
    wants: dict[tuple[str, str], Want] = {}
    unheard = []
    for each in locked:
        if each.item not in universe.domains:
            unheard.append(f"the lock has {each.item} {each.text} ({each.where}), which the profile has not")
            continue
        candidate = found_candidate(universe, each, found)
        if candidate is None:
            unheard.append(f"no fact names {each.item} {each.text} ({each.where})")
            continue
        want = Want(each.item, (Clause("==", candidate.version),), f"locked as {each.where}")
        wants.setdefault((each.item, candidate.version), want)
    if unheard:
        raise InputError(
            f"{where}: " + "; ".join(dict.fromkeys(unheard)) + ": whether it fits is not known, so nothing is"
            " locked; docs/how-to/add-a-fact.md tells how a fact is added"
        )
    return list(wants.values())


def _python_place(marked: Marked, target: Target) -> str:
    own = marked.content["targets"][target.steps[1]] if target.steps[0] == "targets" else {}
    steps = (
        (*target.steps, "python", "version") if "version" in own.get("python", {}) else ("python", "version")
    )
    return marked.place(*steps)


def _question(universe: Universe, wants: Sequence[Want]) -> str:
    asked = " ".join(f"--want '{want}'" for want in dict.fromkeys(wants))
    return f"--profile {universe.profile} {asked}"


def _tell(profile: str, target: str, outcome: Outcome, missing: Sequence[str]) -> None:
    """What the lock does not keep: notes of the day, and what must be supplied yet."""
    for note in outcome.notes:
        if not note.startswith("not in Debian"):  # told more exactly below
            say(f"NOTICE: profile {profile} on {target}: {note}")
    if missing:
        named = ", ".join(f"{item} {outcome.chosen[item].version}" for item in missing)
        say(
            f"NOTICE: profile {profile} on {target}: no package, wheel or file of the lock holds {named}: the"
            " site must bring it to the device, or name it in release.yml"
        )
