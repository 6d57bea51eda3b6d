# SPDX-License-Identifier: Apache-2.0
"""The order of Debian package versions, as dpkg has it (deb-version(7)).

Pure, and here because a controller need not be a Debian machine: no call to dpkg.

    >>> compare("1.0~rc1-1", "1.0-1")
    -1
"""

from __future__ import annotations

import re
from itertools import zip_longest

__all__ = ["compare"]

_PARTS = re.compile(r"(\D*)(\d*)")


def compare(left: str, right: str) -> int:
    """Compare two versions.

    Args:
        left: a version, such as `1:2.3-4+deb12u1`.
        right: another.

    Returns:
        -1 when left is older, 0 when they are the same to dpkg, 1 when left is newer.
    """
    left_epoch, left_upstream, left_revision = _split(left)
    right_epoch, right_upstream, right_revision = _split(right)
    if left_epoch != right_epoch:
        return -1 if left_epoch < right_epoch else 1
    return _compare_part(left_upstream, right_upstream) or _compare_part(left_revision, right_revision)


def _split(version: str) -> tuple[int, str, str]:
    epoch, colon, rest = version.partition(":")
    if not colon or not epoch.isdigit():
        epoch, rest = "0", version
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "")
    return int(epoch), upstream, revision


def _compare_part(left: str, right: str) -> int:
    """Digit runs by number, all else character by character: `~` first, then the end, letters, the rest."""
    pairs = zip_longest(_PARTS.findall(left), _PARTS.findall(right), fillvalue=("", ""))
    for (left_text, left_digits), (right_text, right_digits) in pairs:
        for left_char, right_char in zip_longest(left_text, right_text, fillvalue=""):
            if _weight(left_char) != _weight(right_char):
                return -1 if _weight(left_char) < _weight(right_char) else 1
        left_number, right_number = int(left_digits or 0), int(right_digits or 0)
        if left_number != right_number:
            return -1 if left_number < right_number else 1
    return 0


def _weight(char: str) -> int:
    if char == "~":
        return -1
    if not char:
        return 0
    return ord(char) if char.isalpha() else ord(char) + 256
