# SPDX-License-Identifier: Apache-2.0
"""What a run would do to a device, from its drift alone: packages, bytes, reboots, minutes, no way back.

Pure. Names and sizes come from the lock, times from past runs. Bytes are told as bounds: the drift names the
packages that a role asks for; what they draw along depends on what the device has, which no probe lists, and
is at most the lock's whole closure.

    plan = make_plan(reading, lock, runs, today)
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgewright.device.areas import sentence
from edgewright.device.drift import Drift
from edgewright.device.nvidia_lock import answer_of_name, effective_day, waiver_line
from edgewright.fleet.reading import Reading
from edgewright.fleet.runs import Expectation, Past, expect
from edgewright.fleet.ways import by_hand, grade_line

__all__ = ["Payload", "Plan", "make_plan", "no_way_back"]

_PACKAGE_ITEMS = frozenset({"package", "packages"})
_VERSIONED = re.compile(r"^(?P<name>[a-z0-9][a-z0-9+.-]+)=(?P<version>\S+)$", re.ASCII)

# Area, beginning of the item -> what cannot be undone once it was mended. The order is the areas'.
_NO_WAY_BACK = (
    (
        "identity",
        "key",
        "the device's private key is replaced; the old one is gone, and what only it opens with it",
    ),
    (
        "identity",
        "site_root",
        "the device leaves the site that it trusts now, and gets this site's certificate",
    ),
    (
        "identity",
        "certificate",
        "a certificate is issued; it stays valid until its end, and the one before it too",
    ),
    ("kernel", "packages_settled", "an installation that was cut short is finished; it cannot be taken back"),
    ("acceptance", "", "the receipt is replaced; the records on the controller stay"),
)
_REBOOT = "the device restarts once: what it serves is interrupted, and what it kept in memory is lost"


@dataclass(frozen=True)
class Payload:
    """Artefacts of one kind that a run would bring.

    Attributes:
        names: each with its version or digest.
        least_bytes: sum of their sizes.
        most_bytes: with all that they may draw along.
    """

    names: tuple[str, ...]
    least_bytes: int
    most_bytes: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"names": list(self.names), "least_bytes": self.least_bytes, "most_bytes": self.most_bytes}


@dataclass(frozen=True)
class Plan:
    """What a run would do to one device.

    Attributes:
        host: its name.
        release: name and version of the lock's release.
        changes: one sentence an item: what, have, want, why.
        areas: areas that would be acted on, in order.
        packages: Debian packages.
        images: container images.
        snaps: an Ubuntu Core device's.
        reboots: 0 or 1.
        reboot_for: items that only a reboot mends.
        expected: how long, by the past.
        irreversible: what cannot be undone, one sentence each.
        by_hand: items that no run mends: it stops there, and says what a person has to do.
        waiver: the line of the waiver that its NVIDIA stack leans on; empty where there is none.
        grade: the line that names its snaps without assertions; empty where it has none.
    """

    host: str
    release: str
    changes: tuple[str, ...]
    areas: tuple[str, ...]
    packages: Payload
    images: Payload
    snaps: Payload
    reboots: int
    reboot_for: tuple[str, ...]
    expected: Expectation
    irreversible: tuple[str, ...]
    by_hand: tuple[str, ...]
    waiver: str
    grade: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "release": self.release,
            "changes": list(self.changes),
            "areas": list(self.areas),
            "packages": self.packages.as_dict(),
            "images": self.images.as_dict(),
            "snaps": self.snaps.as_dict(),
            "reboots": self.reboots,
            "reboot_for": list(self.reboot_for),
            "expected": self.expected.as_dict(),
            "irreversible": list(self.irreversible),
            "by_hand": list(self.by_hand),
            "waiver": self.waiver,
            "grade": self.grade,
        }


def make_plan(reading: Reading, lock: Mapping[str, Any], runs: Sequence[Past], today: datetime.date) -> Plan:
    """Make the plan of a device that was read.

    Args:
        reading: with its drift.
        lock: the lock that it was compared with.
        runs: past runs of the site.
        today: by the controller's clock.
    """
    drift = reading.drift
    areas = tuple(dict.fromkeys(item.area for item in drift))
    reboot_for = tuple(f"{item.area}.{item.item}" for item in drift if item.reboot)
    return Plan(
        host=reading.host,
        release=f"{lock['release']['name']} {lock['release']['version']}",
        changes=tuple(sentence(item) for item in drift),
        areas=areas,
        packages=_packages(drift, lock),
        images=_images(drift, lock, reading.stored),
        snaps=_snaps(drift, lock),
        reboots=1 if reboot_for else 0,
        reboot_for=reboot_for,
        expected=expect(runs, areas, bool(reboot_for), reading.profile),
        irreversible=no_way_back(drift),
        by_hand=by_hand(drift),
        waiver=waiver_line(reading.host, answer_of_name(lock, reading.profile), effective_day(lock, today))
        or "",
        grade=grade_line(reading.host, reading.os, lock),
    )


def no_way_back(drift: Iterable[Drift]) -> tuple[str, ...]:
    """What cannot be undone once this drift was mended."""
    items = list(drift)
    found = [
        words
        for area, start, words in _NO_WAY_BACK
        if any(item.area == area and item.item.startswith(start) and _loses(item) for item in items)
    ]
    return (*found, *([_REBOOT] if any(item.reboot for item in items) else []))


def _loses(item: Drift) -> bool:
    """Whether mending an item takes something away: where there is nothing yet, only a new certificate
    stays."""
    return item.have is not None or item.item.startswith("certificate")


def _wanted_packages(drift: Iterable[Drift]) -> dict[str, str]:
    """Name to version of the packages that drifted items ask for and the device lacks."""
    found: dict[str, str] = {}
    for item in drift:
        if item.item.split(".")[0] not in _PACKAGE_ITEMS:
            continue
        have = item.have if isinstance(item.have, Mapping) else {}
        if isinstance(item.want, Mapping):
            found |= {
                str(name): version
                for name, version in item.want.items()
                if isinstance(version, str) and have.get(name) != version
            }
        elif isinstance(item.want, str) and (match := _VERSIONED.match(item.want)):
            found[match["name"]] = match["version"]
    return found


def _packages(drift: Sequence[Drift], lock: Mapping[str, Any]) -> Payload:
    wanted = _wanted_packages(drift)
    entries = lock["apt"]["packages"]
    named = [entry for entry in entries if wanted.get(entry["name"]) == entry["version"]]
    least = sum(int(entry.get("size") or 0) for entry in named)
    most = sum(int(entry.get("size") or 0) for entry in entries) if wanted else 0
    return Payload(tuple(f"{name}={wanted[name]}" for name in sorted(wanted)), least, max(least, most))


def _images(drift: Sequence[Drift], lock: Mapping[str, Any], stored: Sequence[str]) -> Payload:
    """Images of the lock that the device neither runs nor holds."""
    items = {item.item: item for item in drift if item.area == "runtime"}
    digests: set[str] = set()
    if (image := items.get("image")) and isinstance(image.want, str):
        digests.add(image.want)
    if (models := items.get("models")) and isinstance(models.want, Mapping):
        have = models.have if isinstance(models.have, Mapping) else {}
        digests |= {str(value) for name, value in models.want.items() if have.get(name) != value}
    named = [entry for entry in lock["images"] if entry["digest"] in digests - set(stored)]
    size = sum(int(entry.get("size") or 0) for entry in named)
    return Payload(tuple(f"{entry['name']}@{entry['digest'][:19]}" for entry in named), size, size)


def _snaps(drift: Sequence[Drift], lock: Mapping[str, Any]) -> Payload:
    """Snaps of the lock that the device has not, or has as others: each is fetched whole."""
    wanted = {
        item.item.partition(".")[2]
        for item in drift
        if item.area == "runtime" and item.item.startswith("snaps.")
    }
    named = [entry for entry in lock.get("snaps", []) if entry["name"] in wanted]
    size = sum(int(entry.get("size") or 0) for entry in named)
    return Payload(tuple(f"{entry['name']}@{entry['sha3_384'][:12]}" for entry in named), size, size)
