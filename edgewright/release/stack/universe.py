# SPDX-License-Identifier: Apache-2.0
"""What there is to choose from for one hardware profile: items, candidates in order of preference, judges.

The order of preference, most preferred first:
    suite                 newest
    kernel-flavour        generic, then rt
    kernel                the suite's own before backports and extra kernels, then newest
    driver                branches with long-term support, then production, new feature, not known, ended;
                          then newest
    module-flavour        open, then proprietary
    all else              newest
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edgewright.errors import InputError
from edgewright.release.stack.facts import Facts, Row
from edgewright.release.stack.jetson import JetsonRelations
from edgewright.release.stack.model import Candidate, Judge
from edgewright.release.stack.relations import Relations
from edgewright.release.stack.version import Version
from edgewright.release.stack.waiver import Waiver

__all__ = ["NUMBERS", "WORDS", "Universe", "make_universe"]

WORDS = ("arch", "gpu", "jetson", "suite", "kernel-flavour", "module-flavour")
"""Items that are words."""

NUMBERS = (
    *("jetpack", "l4t", "firmware", "kernel", "driver", "module", "cuda", "tensorrt", "onnxruntime-gpu"),
    *("cudnn", "container-toolkit", "python"),
)
"""Items that are versions."""

_SUITES = ("trixie", "bookworm")
"""Debian suites, newest first."""

_DISCRETE = (
    *("arch", "gpu", "suite", "kernel-flavour", "kernel", "driver", "module-flavour", "module", "cuda"),
    *("tensorrt", "onnxruntime-gpu", "cudnn", "container-toolkit", "python"),
)
_TEGRA = (
    *("arch", "gpu", "jetson", "jetpack", "l4t", "firmware", "suite", "kernel-flavour", "kernel", "cuda"),
    *("tensorrt", "onnxruntime-gpu", "cudnn", "container-toolkit", "python"),
)
_PLAIN = ("arch", "suite", "kernel-flavour", "kernel", "python")

_BASE = {
    "nvidia": ("arch", "gpu", "suite", "kernel-flavour", "kernel", "driver", "module-flavour", "module"),
    "tegra": ("arch", "gpu", "jetson", "jetpack", "l4t", "suite", "kernel-flavour", "kernel"),
    "none": ("arch", "suite", "kernel-flavour", "kernel"),
}
"""Items that are always chosen, by the profile's `gpu`."""

_NEEDS = {"onnxruntime-gpu": ("cuda", "cudnn", "python"), "tensorrt": ("cuda",), "cudnn": ("cuda",)}
"""Items that come along with others."""

_TYPES = {"LTSB": 0, "PB": 1, "NFB": 2}


@dataclass(frozen=True)
class Universe:
    """All that can be chosen for a profile.

    Attributes:
        profile: The profile's name.
        gpu: Its `gpu`: nvidia, tegra or none.
        domains: Candidates of every item, most preferred first; the items' order is the order of choosing.
        judges: By pair of items.
        facts, waiver, on: What it was made from.
    """

    profile: str
    gpu: str
    domains: Mapping[str, tuple[Candidate, ...]]
    judges: Mapping[tuple[str, str], Judge]
    facts: Facts
    waiver: Waiver | None
    on: datetime.date

    def active(self, wanted: Iterable[str]) -> list[str]:
        """Items to choose when these are wanted: the base ones, the wanted ones, and what they need."""
        pending, found = [*_BASE[self.gpu], *wanted], set()
        while pending:
            item = pending.pop()
            if item not in found:
                found.add(item)
                pending += _NEEDS.get(item, ())
        return [item for item in self.domains if item in found]


def make_universe(
    profile: Mapping[str, Any], facts: Facts, waiver: Waiver | None, on: datetime.date
) -> Universe:
    """Put together what there is for a profile.

    Args:
        profile: `Profile.as_dict()`.
        facts: What is known.
        waiver: The release's waiver for PREEMPT_RT, if any.
        on: The day: waivers count until theirs, driver branches end in a month.

    Raises:
        InputError: The profile names no GPU model, or one of which there is no fact.
    """
    kind = profile["gpu"]
    makers = {"nvidia": _discrete, "tegra": _tegra, "none": _plain}
    found = makers[kind](profile, facts, on)
    domains = {"arch": (Candidate("arch", profile["arch"]),), **found}
    relations = (JetsonRelations if kind == "tegra" else Relations)(facts, waiver, on)
    judges = {pair: judge for pair, judge in relations.judges().items() if set(pair) <= set(domains)}
    order = {"nvidia": _DISCRETE, "tegra": _TEGRA, "none": _PLAIN}[kind]
    return Universe(
        profile["name"],
        kind,
        {item: domains[item] for item in order},
        judges,
        facts,
        waiver,
        on,
    )


def _discrete(
    profile: Mapping[str, Any], facts: Facts, on: datetime.date
) -> dict[str, tuple[Candidate, ...]]:
    return {
        **_system(facts),
        "gpu": (_gpu(profile, facts, "discrete"),),
        "driver": _drivers(facts, on),
        "module-flavour": tuple(Candidate("module-flavour", word) for word in ("open", "proprietary")),
        "module": _newest(
            _candidate("module", row, "version", f"{row.written['flavour']}, {_origin(row)}")
            for row in facts.all("modules")
        ),
        **{
            item: _newest(_candidate(item, row, "release") for row in facts.all(item))
            for item in ("cuda", "tensorrt", "onnxruntime-gpu", "cudnn", "container-toolkit")
        },
    }


def _tegra(profile: Mapping[str, Any], facts: Facts, on: datetime.date) -> dict[str, tuple[Candidate, ...]]:  # noqa: ARG001 - one signature
    jetpacks = facts.all("jetpack")
    named = profile.get("jetson_module")
    if not named:
        raise InputError(
            f"profile {profile['name']} has gpu: tegra and names no jetson_module: add it, one of "
            + ", ".join(f"{row['module']} ({row['label']})" for row in facts.all("jetson-modules"))
        )
    module = facts.one("jetson-modules", module=named)
    if module is None:
        raise InputError(
            f"profile {profile['name']}: no fact names the Jetson module {named!r}: known are "
            + ", ".join(f"{row['module']} ({row['label']})" for row in facts.all("jetson-modules"))
        )

    def parts(item: str) -> tuple[Candidate, ...]:
        texts = dict.fromkeys(str(row.written[item]) for row in jetpacks if row.written.get(item))
        return _newest(Candidate(item, text) for text in texts)

    l4t = dict.fromkeys(text for row in jetpacks for text in row.written["l4t"])
    firmware = dict.fromkeys(str(row["firmware"]) for row in facts.all("jetson-firmware"))
    suites = dict.fromkeys(row.written["suite"] for row in reversed(jetpacks))
    return {
        "gpu": (_gpu(profile, facts, "tegra"),),
        "jetson": (_candidate("jetson", module, "module", module.written["label"]),),
        "jetpack": _newest(_candidate("jetpack", row, "jetpack") for row in jetpacks),
        "l4t": _newest(Candidate("l4t", text) for text in l4t),
        "firmware": _newest(Candidate("firmware", text) for text in firmware),
        "suite": tuple(Candidate("suite", text) for text in suites),
        "kernel-flavour": _flavours(),
        **{item: parts(item) for item in ("kernel", "cuda", "tensorrt", "cudnn")},
        **{
            item: _newest(_candidate(item, row, "release") for row in facts.all(item))
            for item in ("onnxruntime-gpu", "container-toolkit")
        },
        "python": _pythons(facts),
    }


def _plain(profile: Mapping[str, Any], facts: Facts, on: datetime.date) -> dict[str, tuple[Candidate, ...]]:  # noqa: ARG001 - one signature
    return _system(facts)


def _system(facts: Facts) -> dict[str, tuple[Candidate, ...]]:
    kernels = _newest(
        _candidate("kernel", row, "version", f"{row.written['package']} {row.written['package_version']}")
        for row in facts.all("kernels")
    )
    own = sorted(kernels, key=_extra)
    return {
        "suite": tuple(Candidate("suite", suite) for suite in _SUITES),
        "kernel-flavour": _flavours(),
        "kernel": tuple(own),
        "python": _pythons(facts),
    }


def _extra(kernel: Candidate) -> int:
    """0 for a suite's own kernel, 1 for an extra one in it, 2 for backports."""
    if str(kernel.data["archive"]).endswith("-backports"):
        return 2
    return int(str(kernel.data["package"]).removeprefix("linux-image-")[:1].isdigit())


def _flavours() -> tuple[Candidate, ...]:
    return tuple(Candidate("kernel-flavour", word) for word in ("generic", "rt"))


def _pythons(facts: Facts) -> tuple[Candidate, ...]:
    texts = {row.written["python"] for row in facts.all("pythons")}
    texts |= {text for row in facts.all("onnxruntime-gpu") for text in row.written["pythons"]}
    return _newest(Candidate("python", text) for text in sorted(texts))


def _gpu(profile: Mapping[str, Any], facts: Facts, kind: str) -> Candidate:
    named = profile.get("gpu_model")
    known = [row["name"] for row in facts.all("gpus") if row.written["kind"] == kind]
    if not named:
        raise InputError(
            f"profile {profile['name']} has gpu: {profile['gpu']} and names no gpu_model: add it, one of"
            f" {', '.join(known)}"
        )
    if named not in known:
        raise InputError(
            f"profile {profile['name']}: no fact names the GPU {named!r} ({kind}): known are"
            f" {', '.join(known)}; docs/how-to/add-a-fact.md tells how to add one"
        )
    row = facts.one("gpus", name=named)
    assert row is not None  # noqa: S101 - it is among the known ones
    return _candidate("gpu", row, "name", row.written["label"])


def _drivers(facts: Facts, on: datetime.date) -> tuple[Candidate, ...]:
    month = on.strftime("%Y-%m")

    def rank(driver: Candidate) -> int:
        branch = facts.one("branches", branch=Version.parse(driver.version).major)
        if branch is None or not branch.verified:
            return 3
        if branch["eol"] is not None and branch["eol"] < month:
            return 4
        return _TYPES.get(branch["type"], 3)

    newest = _newest(_candidate("driver", row, "version", _origin(row)) for row in facts.all("drivers"))
    return tuple(sorted(newest, key=rank))


def _origin(row: Row) -> str:
    package = row.written.get("package_version")
    return f"Debian {package}" if row.written["origin"] == "debian" else "from NVIDIA"


def _candidate(item: str, row: Row, key: str, label: str = "") -> Candidate:
    return Candidate(item, row.written[key], label, row, (row.told,))


def _newest(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    return tuple(sorted(candidates, key=lambda each: Version.parse(each.version), reverse=True))
