# SPDX-License-Identifier: Apache-2.0
"""The difference between what a device has and what it shall be, as a list of named items.

Pure: no IO. Each area of a device's state (`edgewright/device/<area>.py`) builds its list with
these values; the plan, the converge, the drift report and the record all read the same list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Drift", "Have", "Want", "compare", "file_drift"]

Have = Mapping[str, Any]
Want = Mapping[str, Any]


@dataclass(frozen=True)
class Drift:
    """One item of an area that is not as wanted.

    Attributes:
        area: concern of the device's state, such as `kernel`.
        item: what in it, in the field's own word, such as `cmdline`.
        have: value as read on the device; None where the device has none.
        want: value as desired.
        why: one sentence for a person: what differs and what follows from it.
        reboot: whether only a reboot can mend it.
    """

    area: str
    item: str
    have: Any
    want: Any
    why: str
    reboot: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The same as a plain dictionary, for JSON and Ansible."""
        return asdict(self)


def compare(
    area: str, have: Have, want: Want, why: Mapping[str, str], reboot: frozenset[str] = frozenset()
) -> list[Drift]:
    """Compare item by item, in the order of `why`, by plain equality.

    Args:
        area: name of the area.
        have: items as read; a missing item counts as None.
        want: items as desired.
        why: for each item to compare, the sentence to give when it differs.
        reboot: items that only a reboot can mend.

    Returns:
        One drift for each item that differs; empty when there is none.
    """
    return [
        Drift(area, item, have.get(item), want.get(item), sentence, item in reboot)
        for item, sentence in why.items()
        if have.get(item) != want.get(item)
    ]


def file_drift(area: str, have: Have, want: Want) -> list[Drift]:
    """Compare the texts of `files`.

    Args:
        area: name of the area.
        have: `files` as read, path to text; a missing file counts as None.
        want: `files` as desired.

    Returns:
        One drift, called `files.PATH`, for each that is missing or holds another text.
    """
    found = []
    files = have.get("files") or {}
    for path, text in want.get("files", {}).items():
        if files.get(path) != text:
            state = "is missing" if files.get(path) is None else "was changed, or is of another release"
            found.append(Drift(area, f"files.{path}", files.get(path), text, f"{path} {state}"))
    return found
