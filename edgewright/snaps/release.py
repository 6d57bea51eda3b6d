# SPDX-License-Identifier: Apache-2.0
"""What a schema cannot say about the snaps of a release. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgewright.osadvice.components import refusal
from edgewright.snaps.grade import DANGEROUS

_WHY = {
    "path": "(the snap's file), or built: runtime or a model's name",
    "sha3_384": "(of the file, as its snap-revision has it; `edgewright snaps show` prints it)",
}

RUNTIME_SNAP = "edgewright-runtime"

__all__ = [
    "RUNTIME_SNAP",
    "check_release_sets",
    "check_release_snaps",
    "image_debs",
    "snap_debs",
    "snap_name",
]


def image_debs(image: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The packages of a locked image, without those that only its snap has."""
    return [deb for deb in image.get("debs", []) if "only" not in deb]


def snap_debs(image: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The packages that a locked image's snap has beside those of the image itself."""
    return [deb for deb in image.get("debs", []) if deb.get("only") == "snap"]


def snap_name(built: str) -> str:
    """What the snap of the runtime (`runtime`) or of a model (its name) is called."""
    return RUNTIME_SNAP if built == "runtime" else f"edgewright-model-{built}"


def check_release_snaps(
    snaps: Sequence[Mapping[str, Any]], models: Sequence[str]
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """What a schema cannot say about `snaps` of a release. Pure.

    Args:
        snaps: The release's entries.
        models: Names of its models.

    Returns:
        Complaints: steps to the place, and a sentence.
    """
    for number, snap in enumerate(snaps):
        here = ("snaps", number)
        if "built" in snap:
            yield from _built(number, snap, models)
        for key in ("path", "sha3_384"):
            if key not in snap and "built" not in snap:
                yield here, f"{snap['name']}: missing {key!r} {_WHY[key]}"
        if snap.get("grade") == DANGEROUS:
            for key in ("assertions", "revision", "publisher", "developer", "components"):
                if key in snap:
                    yield (
                        (*here, key),
                        f"{snap['name']}: a snap of grade {DANGEROUS} has no {key}: nobody asserted it; "
                        f"remove {key}, or remove grade",
                    )
            continue
        names = [each["name"] for each in snap.get("components", [])]
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield (*here, "components"), f"{snap['name']}: two components are called {name!r}"
        said = refusal(names, snap["name"], snap.get("channel"))
        if said:
            yield (*here, "components"), said
        for key, what in (
            ("assertions", "the .assert file that `snap download` wrote beside it"),
            ("revision", "the number in the store"),
            ("publisher", "account-id or username, as `snap info` tells it"),
        ):
            if key not in snap:
                yield (
                    here,
                    f"{snap['name']}: missing {key!r} ({what}); a snap without assertions needs "
                    f"grade: {DANGEROUS}",
                )


def _built(
    number: int, snap: Mapping[str, Any], models: Sequence[str]
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Complaints about an entry that is built: steps to the place, and a sentence. Pure."""
    here = ("snaps", number)
    if snap["built"] not in {"runtime", *models}:
        choices = " or ".join(["runtime", *models])
        yield (*here, "built"), f"{snap['name']}: expected {choices}, got {snap['built']!r}"
    elif snap["name"] != snap_name(snap["built"]):
        yield (
            (*here, "name"),
            f"{snap['name']}: what is built is called {snap_name(snap['built'])}; rename it",
        )
    if snap.get("grade") != DANGEROUS:
        yield (
            here,
            f"{snap['name']}: what is built here has no assertion: it needs grade: {DANGEROUS}. Publish "
            "it in a "
            "store and bring it back with its assertions to do without",
        )
    for key in ("path", "sha3_384"):
        if key in snap:
            yield (*here, key), f"{snap['name']}: it is built, so {key} is not known yet; remove {key}"


def check_release_sets(
    sets: Sequence[Mapping[str, Any]], snaps: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """What a schema cannot say about `validation_sets` of a release. Pure.

    Args:
        sets: The release's entries.
        snaps: Its snaps.

    Returns:
        Complaints: steps to the place, and a sentence.
    """
    for number, entry in enumerate(sets):
        here = ("validation_sets", number)
        if not snaps:
            yield (
                here,
                f"{entry['name']}: the release has no snaps that a validation set could speak of; remove it",
            )
        files = {f"{snap['name']}_{snap.get('revision')}" for snap in snaps}
        if f"validation-set-{entry['name']}_{entry['sequence']}" in files:
            yield (
                here,
                f"{entry['name']}: a snap's assertions have the same file name in the depot; rename the set",
            )
