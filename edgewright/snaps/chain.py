# SPDX-License-Identifier: Apache-2.0
"""Whether a snap's file is the one that its assertions speak of, and whether those may be believed.

    assertions = believe(read_assertions(data, "pc-kernel_2011.assert"), canonical_roots(), now)
    asserted = match(Claim("pc-kernel", "pc-kernel_2011.snap", sha3_384, size, 2011, "canonical"), assertions)

`believe` checks every assertion of a file, as `snap ack` does on a device: signed by a key that is known,
held by the account on whose authority it speaks, within the key's time; accounts, keys, declarations and
revisions by a trusted account only; and each with what it rests on (a key with its account, a declaration
with its publisher, a revision with its declaration and developer). `match` finds the snap-revision of the
file's digest and holds revision, size, name, publisher and developer against what the release says. Each
fault is a `SnapRefused` with a `why` and words of its own. Pure: no files, no clock.

Source: snapd 2.57.6, asserts/database.go (`Check` and its checkers), asserts/account.go,
asserts/account_key.go, asserts/snap_asserts.go (`checkConsistency`), asserts/snapasserts/snapasserts.go
(`CrossCheck`). Stricter than snapd in three points: the developer of a revision is the publisher unless the
release names another, snap-revisions that a store delegates (`provenance`) are refused, and a signing key
needs a time that is not over even where its assertion has no timestamp.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from edgewright.snaps.assertion import Assertion
from edgewright.snaps.openpgp import PublicKey, read_public_key, verify
from edgewright.snaps.refusal import SnapRefused
from edgewright.snaps.trusted import Roots

__all__ = [
    "SERIES",
    "Asserted",
    "Believed",
    "Claim",
    "FileClaim",
    "believe",
    "describe",
    "match",
    "moment",
    "of_file",
]

SERIES = "16"
"""The series of all snaps (release/release.go: Series)."""

_OF_REVISIONS = ("snap-revision", "snap-resource-revision", "snap-resource-pair")
_BY_TRUSTED_ONLY = ("account", "account-key", "snap-declaration", "base-declaration", *_OF_REVISIONS)
_FETCH = "fetch it with `snap download`, whose .assert file has the whole chain"
_TIME = re.compile(r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(?:\.(\d{1,9}))?(Z|[+-]\d{2}:\d{2})\Z", re.ASCII)


class FileClaim(Protocol):
    """A file as it is now, and the revision that a release says it is."""

    @property
    def sha3_384(self) -> str:
        """Its digest, as assertions write it."""

    @property
    def size(self) -> int:
        """Its bytes."""

    @property
    def revision(self) -> int:
        """The release's."""


@dataclass(frozen=True)
class Claim:
    """A file, and what a release says of it.

    Attributes:
        name: The snap's name.
        file: The file, for messages.
        sha3_384: Digest of the file as it is now, as assertions write it.
        size: Its bytes.
        revision: The revision that the release names.
        publisher: The publisher that it names: account-id or username.
        developer: Who uploaded this revision, the same way; the publisher where not given.
    """

    name: str
    file: str
    sha3_384: str
    size: int
    revision: int
    publisher: str
    developer: str | None = None


@dataclass(frozen=True)
class Asserted:
    """What believed assertions say of a snap: its id, and the account-ids of publisher and developer."""

    snap_id: str
    publisher_id: str
    developer_id: str


@dataclass(frozen=True)
class Believed:
    """Assertions that were checked, by type and primary key; made by `believe` only."""

    found: Mapping[tuple[str, ...], Assertion]

    def of_type(self, kind: str) -> list[Assertion]:
        """All of a type."""
        return [each for each in self.found.values() if each.type == kind]


def believe(assertions: Iterable[Assertion], roots: Roots, now: datetime) -> Believed:
    """Check assertions up to the roots.

    Args:
        assertions: Of one or more files.
        roots: What is believed already.
        now: The time it is taken to be.

    Raises:
        SnapRefused: One of them may not be believed.
    """
    listed = list(assertions)
    found = _by_key([*roots.assertions, *listed])
    keys = _Keys(found, roots, now)
    for each in listed:
        _signed(each, keys, roots, now)
    believed = Believed(found)
    for each in listed:
        _rests(each, found, roots)
    return believed


def match(claim: Claim, believed: Believed) -> Asserted:
    """Hold a file against believed assertions.

    Raises:
        SnapRefused: They speak of another file, or say something else than the release.
    """
    about = f"checking snap {claim.name} ({claim.file})"
    revisions = believed.of_type("snap-revision")
    if not revisions:
        raise SnapRefused("missing", f"{about}: its assertions hold no snap-revision; {_FETCH}")
    revision = of_file(claim, revisions, "snap", about)
    declaration = believed.found[("snap-declaration", SERIES, revision.text("snap-id"))]
    if declaration.text("snap-name") != claim.name:
        raise SnapRefused(
            "name",
            f"{about}: its snap-declaration is of {declaration.text('snap-name')}; correct the name in the "
            "release, or supply the right file",
        )
    publisher = declaration.text("publisher-id")
    developer = revision.text("developer-id")
    _is(claim.publisher, publisher, believed, "publisher", about)
    if claim.developer is not None:
        _is(claim.developer, developer, believed, "developer", about)
    elif developer != publisher:
        raise SnapRefused(
            "developer",
            f"{about}: revision {claim.revision} was uploaded by {_called(developer, believed)}, not by its "
            f"publisher {_called(publisher, believed)}; if that is meant, name the developer in the release",
        )
    return Asserted(revision.text("snap-id"), publisher, developer)


def of_file(claim: FileClaim, assertions: Sequence[Assertion], word: str, about: str) -> Assertion:
    """The assertion that speaks of a file, and of the revision that a release says.

    Args:
        claim: The file as it is, and the revision.
        assertions: At least one, all of one type.
        word: What their headers begin with: `snap`, or `resource` of a component.
        about: A message's first words.

    Raises:
        SnapRefused: They speak of another file, revision or size.
    """
    kind = assertions[0].type
    found = next((each for each in assertions if each.text(f"{word}-sha3-384") == claim.sha3_384), None)
    if found is None:
        spoken = ", ".join(sorted(each.text(f"{word}-sha3-384") for each in assertions))
        raise SnapRefused(
            "changed",
            f"{about}: expected the file whose sha3-384 is {spoken}, as its {kind} says, got "
            f"{claim.sha3_384}; the file was changed, or file and assertions are of different revisions: "
            "download both again",
        )
    asserted, size = found.number(f"{word}-revision"), found.number(f"{word}-size")
    if asserted != claim.revision:
        raise SnapRefused(
            "revision",
            f"{about}: the release says revision {claim.revision}, its {kind} says {asserted}; correct the "
            "release, or supply the file of that revision",
        )
    if size != claim.size:
        raise SnapRefused(
            "size",
            f"{about}: its {kind} says {size} bytes, the file has {claim.size}; download both again",
        )
    return found


def describe(believed: Believed, file: str, sha3_384: str, size: int) -> Claim:
    """The claim that a release could make of a file: what believed assertions say of it.

    Args:
        believed: The assertions.
        file: The file, for messages.
        sha3_384: Its digest.
        size: Its bytes.

    Raises:
        SnapRefused: They speak of another file.
    """
    found = {each.text("snap-sha3-384"): each for each in believed.of_type("snap-revision")}
    revision = found.get(sha3_384)
    if revision is None:
        match(Claim("of unknown name", file, sha3_384, size, 0, ""), believed)
        raise AssertionError("a file that no snap-revision speaks of was matched")
    declaration = believed.found[("snap-declaration", SERIES, revision.text("snap-id"))]
    publisher, developer = declaration.text("publisher-id"), revision.text("developer-id")
    claim = Claim(
        declaration.text("snap-name"),
        file,
        sha3_384,
        size,
        revision.number("snap-revision"),
        publisher,
        developer if developer != publisher else None,
    )
    match(claim, believed)
    return claim


def _by_key(assertions: Iterable[Assertion]) -> dict[tuple[str, ...], Assertion]:
    """Assertions by what they are about; of two revisions of one the newer stands."""
    found: dict[tuple[str, ...], Assertion] = {}
    for each in assertions:
        other = found.get(each.key)
        if other is not None and other.content != each.content:
            mine, theirs = (_revision(side) for side in (each, other))
            if mine == theirs:
                raise SnapRefused(
                    "format",
                    f"checking {each.told}: {other.told} is about the same and says something else; {_FETCH}",
                )
            if mine < theirs:
                continue
        found[each.key] = each
    return found


def _revision(each: Assertion) -> int:
    return each.number("revision") if "revision" in each.headers else 0


class _Keys:
    """Keys by id: those of the roots, and those of account-keys that are believed themselves."""

    def __init__(self, found: Mapping[tuple[str, ...], Assertion], roots: Roots, now: datetime) -> None:
        self._found = found
        self._roots = roots
        self._now = now
        self._open: list[str] = []
        self._read: dict[str, tuple[str, PublicKey, Assertion | None]] = {
            name: (account, key, None) for name, (account, key) in roots.keys.items()
        }

    def get(self, name: str, wanted_by: Assertion) -> tuple[str, PublicKey, Assertion | None]:
        """Account, key and account-key of a key's id.

        Raises:
            SnapRefused: It is not there, or not to be believed.
        """
        if name in self._read:
            return self._read[name]
        holder = self._found.get(("account-key", name))
        if holder is None or name in self._open:
            raise SnapRefused(
                "cut",
                f"checking {wanted_by.told}: no account-key of the key {name} that signed it is there; "
                f"{_FETCH}",
            )
        key = read_public_key(holder.body, holder.told)
        if key.id != name:
            raise SnapRefused(
                "key",
                f"checking {holder.told}: its body is the key {key.id}, but it speaks of {name}; {_FETCH}",
            )
        self._open.append(name)
        _signed(holder, self, self._roots, self._now)
        self._open.pop()
        self._read[name] = (holder.text("account-id"), key, holder)
        return self._read[name]


def _signed(each: Assertion, keys: _Keys, roots: Roots, now: datetime) -> None:
    """Check who signed an assertion, on whose authority, and when."""
    authority = each.text("authority-id")
    if each.type in _BY_TRUSTED_ONLY and authority not in roots.accounts:
        raise SnapRefused(
            "authority",
            f"checking {each.told}: {authority} signed it, but only {', '.join(sorted(roots.accounts))} may "
            f"sign an assertion of this type; {_FETCH}",
        )
    account, key, holder = keys.get(each.text("sign-key-sha3-384"), each)
    if account != authority:
        raise SnapRefused(
            "authority",
            f"checking {each.told}: it speaks for {authority}, but {key.id} is a key of {account}; {_FETCH}",
        )
    verify(each, key)
    if each.type == "account-key":
        named = read_public_key(each.body, each.told).id
        if named != each.text("public-key-sha3-384"):
            raise SnapRefused(
                "key",
                f"checking {each.told}: its body is the key {named}, but it speaks of "
                f"{each.text('public-key-sha3-384')}; {_FETCH}",
            )
    if holder is None:
        return
    since, until = moment(holder, "since"), moment(holder, "until") if "until" in holder.headers else None
    if until is not None and now >= until:
        raise SnapRefused(
            "expired",
            f"checking {each.told}: the key {key.id} that signed it counted until {until:%F %T} UTC, now is "
            f"{now.astimezone(UTC):%F %T} UTC; {_FETCH}",
        )
    if "timestamp" in each.headers:
        signed = moment(each, "timestamp")
        if signed < since or (until is not None and signed >= until):
            raise SnapRefused(
                "expired",
                f"checking {each.told}: it is of {signed:%F %T} UTC, outside the time of the key {key.id} "
                f"that signed it, from {since:%F %T} UTC"
                + (f" to {until:%F %T} UTC" if until else "")
                + f"; {_FETCH}",
            )


def _rests(each: Assertion, found: Mapping[tuple[str, ...], Assertion], roots: Roots) -> None:
    """Check that what an assertion rests on is there."""
    needed: Sequence[tuple[str, ...]] = ()
    if each.type == "account-key":
        needed = [("account", each.text("account-id"))]
    elif each.type == "snap-declaration":
        if each.text("series") != SERIES:
            raise SnapRefused(
                "format",
                f"checking {each.told}: expected series {SERIES}, got {each.text('series')}; {_FETCH}",
            )
        needed = [("account", each.text("publisher-id"))]
    elif each.type in _OF_REVISIONS:
        if each.text("provenance") != "global-upload":
            raise SnapRefused(
                "authority",
                f"checking {each.told}: a revision of provenance {each.text('provenance')[:60]} that a store "
                "delegates is not supported; publish the revision in the store itself",
            )
        needed = [("snap-declaration", SERIES, each.text("snap-id")), ("account", each.text("developer-id"))]
    for key in needed:
        if key not in found and not (key[0] == "account" and key[1] in roots.accounts):
            what = f"{key[0]} of {key[-1]}"
            raise SnapRefused(
                "cut", f"checking {each.told}: the {what} that it rests on is not there; {_FETCH}"
            )


def _is(wanted: str, account: str, believed: Believed, what: str, about: str) -> None:
    holder = believed.found.get(("account", account))
    names = {account, str(holder.headers.get("username", account)) if holder else account}
    if wanted not in names:
        raise SnapRefused(
            what,
            f"{about}: the release says its {what} is {wanted}, its assertions say "
            f"{_called(account, believed)}; find out whose snap this is, then correct the release",
        )


def _called(account: str, believed: Believed) -> str:
    holder = believed.found.get(("account", account))
    name = str(holder.headers.get("username", "")) if holder else ""
    return f"{name} ({account})" if name and name != account else account


def moment(each: Assertion, name: str) -> datetime:
    """A time of an assertion as RFC 3339 writes it; parts of a second that Python can't hold are cut.

    Args:
        each: The assertion.
        name: Its header, such as `timestamp`.

    Raises:
        SnapRefused: It is none.
    """
    text = each.text(name)
    parts = _TIME.match(text)
    try:
        if parts is None:
            raise ValueError(text)
        zone = "+00:00" if parts[3] == "Z" else parts[3]
        return datetime.fromisoformat(f"{parts[1]}.{(parts[2] or '0')[:6]:0<6}{zone}").astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise SnapRefused(
            "format",
            f"checking {each.told}: {name}: expected a time such as 2016-04-01T00:00:00Z, got {text[:40]!r}; "
            f"{_FETCH}",
        ) from error
