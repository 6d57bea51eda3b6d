# SPDX-License-Identifier: Apache-2.0
"""Validation sets: an account's signed statement about which snaps, in which revisions, belong together.

    wanted = Named("Pb2...", "edge-set", 3)
    found = find_set(wanted, believe(read_assertions(data, path), canonical_roots(), now), path)
    for fault in contradictions(found, lock["snaps"]):
        ...                                     # `reader: the set pins revision 7, the release has 8`

A release may name one; then its snaps are held against it wherever the release passes (lock, build, verify,
take in), and on the device the installed revisions are. Pure: no files, no clock. The same rules as snapd's:
source: snapd 2.57.6, asserts/validation_set.go (`assembleValidationSet`, `checkValidationSetSnap`) and
asserts/snapasserts/validation_sets.go (`CheckInstalledSnaps`). Stricter in two points: a set that requires a
snap which the release does not have is refused although a device's image could have it, and so is one whose
snap the release has without assertions, since nothing says which revision that is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgewright.snaps.assertion import Assertion
from edgewright.snaps.chain import SERIES, Believed, moment
from edgewright.snaps.refusal import SnapRefused

__all__ = [
    "KIND",
    "Named",
    "Pin",
    "ValidationSet",
    "contradictions",
    "find_set",
    "known_sets",
    "read_set",
    "refuse_contradictions",
]

KIND = "validation-set"

REQUIRED, OPTIONAL, INVALID = "required", "optional", "invalid"
PRESENCES = (REQUIRED, OPTIONAL, INVALID)
"""What a set may say of a snap (asserts/validation_set.go: validValidationSetSnapPresences)."""

_SET = re.compile(r"[a-z0-9](?:-?[a-z0-9])*\Z")  # validValidationSetName
_SNAP = re.compile(r"(?=[a-z0-9-]*[a-z])[a-z0-9]+(?:-[a-z0-9]+)*\Z")  # snap/naming/validate.go: isValidName
_SNAP_ID = re.compile(r"[a-z0-9A-Z]{32}\Z")  # snap/naming/validate.go: ValidSnapID
_REVISION = re.compile(r"[1-9][0-9]{0,8}\Z")
_MAX_NAME = 40
_FETCH = (
    "fetch it with `snap known --remote validation-set`, with the account and account-key of who signed it"
)


@dataclass(frozen=True)
class Named:
    """What a release names: `account` (an account-id), `name`, `sequence` from 1 on."""

    account: str
    name: str
    sequence: int

    @property
    def key(self) -> str:
        """As snapd writes it: `ACCOUNT/NAME=SEQUENCE`."""
        return f"{self.account}/{self.name}={self.sequence}"


@dataclass(frozen=True)
class Pin:
    """What a set says of one snap.

    Attributes:
        name: The snap.
        snap_id: Its id.
        presence: One of `PRESENCES`.
        revision: The one revision that is valid; None where any is.
    """

    name: str
    snap_id: str
    presence: str
    revision: int | None

    def as_dict(self) -> dict[str, Any]:
        """As a lock has it."""
        told: dict[str, Any] = {"name": self.name, "snap_id": self.snap_id, "presence": self.presence}
        return told | ({"revision": self.revision} if self.revision is not None else {})


@dataclass(frozen=True)
class ValidationSet:
    """A set that was read.

    Attributes:
        named: Which it is.
        revision: Of the assertion itself: the store may have signed a sequence again.
        pins: What it says of each snap, in its order.
    """

    named: Named
    revision: int
    pins: tuple[Pin, ...]


def read_set(each: Assertion) -> ValidationSet:
    """Read a validation-set assertion, as strictly as snapd does.

    Raises:
        SnapRefused: It is not written as one is.
    """
    if each.text("account-id") != each.text("authority-id"):
        raise SnapRefused(
            "authority",
            f"checking {each.told}: it is of account {each.text('account-id')}, but "
            f"{each.text('authority-id')} signed it; {_FETCH}",
        )
    if each.text("series") != SERIES:
        raise _wrong(each, f"series: expected {SERIES}, got {each.text('series')[:20]!r}")
    if not _SET.match(each.text("name")):
        raise _wrong(
            each, f"name: expected letters, digits and single dashes, got {each.text('name')[:60]!r}"
        )
    sequence = each.number("sequence")
    if sequence < 1:
        raise _wrong(each, "sequence: expected a number from 1 on, got 0")
    moment(each, "timestamp")
    snaps = each.headers.get("snaps")
    if not isinstance(snaps, list) or not snaps:
        raise _wrong(each, "snaps: expected a list of maps")
    pins = tuple(_pin(each, snap) for snap in snaps)
    for what, values in (("name", [pin.name for pin in pins]), ("id", [pin.snap_id for pin in pins])):
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise _wrong(each, f"snaps: {what} {twice[0]} is listed twice")
    revision = each.number("revision") if "revision" in each.headers else 0
    return ValidationSet(Named(each.text("account-id"), each.text("name"), sequence), revision, pins)


def _pin(each: Assertion, snap: object) -> Pin:
    if not isinstance(snap, dict):
        raise _wrong(each, "snaps: expected a list of maps")
    name, snap_id = snap.get("name"), snap.get("id")
    presence, revision = snap.get("presence", REQUIRED), snap.get("revision")
    if not isinstance(name, str) or len(name) > _MAX_NAME or not _SNAP.match(name):
        raise _wrong(each, f"snaps: name: expected a snap's name, got {str(name)[:60]!r}")
    if not isinstance(snap_id, str) or not _SNAP_ID.match(snap_id):
        raise _wrong(each, f"snaps: {name}: id: expected 32 letters and digits, got {str(snap_id)[:60]!r}")
    if presence not in PRESENCES:
        raise _wrong(
            each,
            f"snaps: {name}: presence: expected {', '.join(PRESENCES)}, got {str(presence)[:60]!r}",
        )
    if revision is not None and not (isinstance(revision, str) and _REVISION.match(revision)):
        raise _wrong(
            each, f"snaps: {name}: revision: expected a number from 1 on, got {str(revision)[:40]!r}"
        )
    if revision is not None and presence == INVALID:
        raise _wrong(each, f"snaps: {name}: it pins revision {revision} of a snap that it calls invalid")
    return Pin(name, snap_id, str(presence), int(str(revision)) if revision is not None else None)


def find_set(wanted: Named, believed: Believed, where: str) -> ValidationSet:
    """The set that a release names, among believed assertions.

    Args:
        wanted: What the release names.
        believed: The assertions of its file.
        where: The file, for messages.

    Raises:
        SnapRefused: It is not there, or is misshapen; another sequence is told as such.
    """
    about = f"checking validation set {wanted.key} ({where})"
    sets = [read_set(each) for each in believed.of_type(KIND)]
    for each in sets:
        if each.named == wanted:
            return each
    same = [each for each in sets if (each.named.account, each.named.name) == (wanted.account, wanted.name)]
    if same:
        raise SnapRefused(
            "sequence",
            f"{about}: the release says sequence {wanted.sequence}, its assertion is of sequence "
            f"{', '.join(str(each.named.sequence) for each in same)}; correct the release, or supply the "
            "assertion of that sequence",
        )
    if sets:
        raise SnapRefused(
            "name",
            f"{about}: its assertions are of {', '.join(each.named.key for each in sets)}; name that one in "
            "the release, or supply the right file",
        )
    raise SnapRefused("missing", f"{about}: its assertions hold no validation-set; {_FETCH}")


def contradictions(found: ValidationSet, snaps: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What a set says otherwise than the release that names it.

    Args:
        found: The set.
        snaps: The release's snaps as a lock has them: `name`, and `snap_id` and `revision` where asserted.

    Returns:
        One sentence for each snap that contradicts; none when all fits.
    """
    have = {str(snap["name"]): snap for snap in snaps}
    for pin in found.pins:
        snap = have.get(pin.name)
        if snap is None:
            renamed = [name for name, each in have.items() if each.get("snap_id") == pin.snap_id]
            if renamed:
                yield f"{renamed[0]}: the set calls the snap of id {pin.snap_id} {pin.name}"
            elif pin.presence == REQUIRED:
                revision = f" in revision {pin.revision}" if pin.revision is not None else ""
                yield f"{pin.name}: the set requires it{revision}, the release does not name it"
        elif pin.presence == INVALID:
            yield f"{pin.name}: the set calls it invalid, the release has it"
        elif "revision" not in snap:
            yield f"{pin.name}: the set speaks of it, the release has it without assertions (grade dangerous)"
        elif snap.get("snap_id") != pin.snap_id:
            yield f"{pin.name}: the set means the snap of id {pin.snap_id}, the release has {snap['snap_id']}"
        elif pin.revision is not None and pin.revision != snap["revision"]:
            yield f"{pin.name}: the set pins revision {pin.revision}, the release has {snap['revision']}"


def refuse_contradictions(found: ValidationSet, snaps: Sequence[Mapping[str, Any]], where: str) -> None:
    """Hold a release's snaps against a set.

    Args:
        found: The set.
        snaps: As in `contradictions`.
        where: What names it, for messages.

    Raises:
        SnapRefused: One of them contradicts; every one is named.
    """
    told = list(contradictions(found, snaps))
    if told:
        raise SnapRefused(
            "set",
            f"checking validation set {found.named.key} ({where}): {'; '.join(told)}; supply the snaps that "
            "the set speaks of, or name another sequence of it",
        )


def known_sets(believed: Believed) -> list[ValidationSet]:
    """Every set among believed assertions.

    Raises:
        SnapRefused: One is misshapen.
    """
    return [read_set(each) for each in believed.of_type(KIND)]


def _wrong(each: Assertion, what: str) -> SnapRefused:
    return SnapRefused("format", f"checking {each.told}: {what}; {_FETCH}")
