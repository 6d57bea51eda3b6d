# SPDX-License-Identifier: Apache-2.0
"""What a schema cannot say about the snaps of a release. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgewright.snaps.grade import DANGEROUS

__all__ = ["check_release_snaps"]


def check_release_snaps(
    snaps: Sequence[Mapping[str, Any]],
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """What a schema cannot say about `snaps` of a release. Pure.

    Returns:
        Complaints: steps to the place, and a sentence.
    """
    for number, snap in enumerate(snaps):
        here = ("snaps", number)
        if snap.get("grade") == DANGEROUS:
            for key in ("assertions", "revision", "publisher", "developer"):
                if key in snap:
                    yield (
                        (*here, key),
                        f"{snap['name']}: a snap of grade {DANGEROUS} has no {key}: nobody asserted it; "
                        f"remove {key}, or remove grade",
                    )
            continue
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
