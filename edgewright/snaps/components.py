# SPDX-License-Identifier: Apache-2.0
"""Components of a snap: files of its own that travel with it, such as NVIDIA's driver with a kernel snap.

    claim = ComponentClaim("pc-kernel", "nvidia-580-erd-ko", file, sha3_384, size, 12)
    match_component(claim, SnapOfComponent(snap_id, 2011, developer_id), believed)

The store asserts a component as it does a snap (`snap-resource-revision`: digest, size, revision), and says
with which revisions of the snap it may be installed (`snap-resource-pair`). Pure: no files, no clock.

Sources: https://documentation.ubuntu.com/core/reference/assertions/snap-resource-revision and
snap-resource-pair; canonical/snapd, asserts/snap_resource_asserts.go and asserts/snapasserts/snapasserts.go
(`CrossCheckResource`), read 2026-11-21. snapd knows components from 2.67 on; Debian's 2.57.6 does not.
Stricter: the developer of a component is that of its snap, and what a store delegates is refused.
**Designed, not proven**: no component of the real store was at hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from edgewright.snaps.chain import SERIES, Believed, of_file
from edgewright.snaps.refusal import SnapRefused

__all__ = [
    "KNOWS_COMPONENTS",
    "ComponentClaim",
    "SnapOfComponent",
    "carried",
    "describe_component",
    "full_name",
    "match_component",
]

KNOWS_COMPONENTS = (2, 67)
"""The first snapd with stable support (https://snapcraft.io/docs/using-components)."""

_PROVENANCE = "global-upload"  # snap/naming/provenance.go: DefaultProvenance
_FETCH = "fetch it with `snap download SNAP+COMPONENT`, whose .assert file has the whole chain"


@dataclass(frozen=True)
class SnapOfComponent:
    """The snap that a component belongs to, as its assertions say: id, revision, developer's account-id."""

    snap_id: str
    revision: int
    developer_id: str


@dataclass(frozen=True)
class ComponentClaim:
    """A component's file, and what a release says of it.

    Attributes:
        snap: Name of its snap.
        name: Its own.
        file: The file, for messages.
        sha3_384: Digest of the file as it is now.
        size: Its bytes.
        revision: The revision that the release names.
    """

    snap: str
    name: str
    file: str
    sha3_384: str
    size: int
    revision: int


def full_name(snap: str, component: str) -> str:
    """As snapd writes a component: `SNAP+COMPONENT`."""
    return f"{snap}+{component}"


def match_component(claim: ComponentClaim, snap: SnapOfComponent, believed: Believed) -> None:
    """Hold a component's file against believed assertions.

    Args:
        claim: The file, and what the release says.
        snap: Its snap, already held against the same assertions.
        believed: The assertions of the snap's file.

    Raises:
        SnapRefused: They speak of another file, say something else than the release, or do not say that this
            component goes with this revision of the snap.
    """
    about = f"checking component {full_name(claim.snap, claim.name)} ({claim.file})"
    mine = [
        each
        for each in believed.of_type("snap-resource-revision")
        if (each.text("snap-id"), each.text("resource-name")) == (snap.snap_id, claim.name)
    ]
    if not mine:
        raise SnapRefused(
            "missing", f"{about}: the snap's assertions hold no snap-resource-revision of it; {_FETCH}"
        )
    found = of_file(claim, mine, "resource", about)
    if found.text("developer-id") != snap.developer_id:
        raise SnapRefused(
            "developer",
            f"{about}: it was uploaded by {found.text('developer-id')}, its snap by {snap.developer_id}; "
            "find out whose component this is",
        )
    pair = (
        *("snap-resource-pair", snap.snap_id, claim.name, str(claim.revision), str(snap.revision)),
        _PROVENANCE,
    )
    if pair not in believed.found:
        raise SnapRefused(
            "pair",
            f"{about}: no snap-resource-pair says that revision {claim.revision} of it goes with revision "
            f"{snap.revision} of {claim.snap}; supply the component's revision that does",
        )


def describe_component(
    believed: Believed, snap_sha3_384: str, file: str, sha3_384: str, size: int
) -> ComponentClaim:
    """The claim that a release could make of a component's file: what believed assertions say of it.

    Args:
        believed: The assertions of its snap's file.
        snap_sha3_384: Digest of the snap.
        file: The component's file, for messages.
        sha3_384: Its digest.
        size: Its bytes.

    Raises:
        SnapRefused: They speak of no such file, or pair it with another revision of the snap.
    """
    snaps = {each.text("snap-sha3-384"): each for each in believed.of_type("snap-revision")}
    mine = {each.text("resource-sha3-384"): each for each in believed.of_type("snap-resource-revision")}
    snap, found = snaps.get(snap_sha3_384), mine.get(sha3_384)
    if snap is None or found is None:
        raise SnapRefused(
            "missing",
            f"checking component {file}: the snap's assertions hold no snap-resource-revision of this file; "
            f"{_FETCH}",
        )
    declaration = believed.found["snap-declaration", SERIES, snap.text("snap-id")]
    name, revision = found.text("resource-name"), found.number("resource-revision")
    claim = ComponentClaim(declaration.text("snap-name"), name, file, sha3_384, size, revision)
    owner = (snap.text("snap-id"), snap.number("snap-revision"), snap.text("developer-id"))
    match_component(claim, SnapOfComponent(*owner), believed)
    return claim


def carried(lock: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every snap of a lock, each followed by its components as entries of the same form.

    A component is called `SNAP+COMPONENT` there, and has its snap's grade, channel and publisher.
    """
    for snap in lock.get("snaps", []):
        yield snap
        shared = {key: snap[key] for key in ("grade", "channel", "publisher", "publisher_id") if key in snap}
        for component in snap.get("components", []):
            yield {**shared, **component, "name": full_name(snap["name"], component["name"])}
