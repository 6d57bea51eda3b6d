# SPDX-License-Identifier: Apache-2.0
"""What may be asked of the module `edgewright.factory.snaps`. Pure; standard library only, Python 3.9 on."""

from __future__ import annotations

import re
from typing import Any, Mapping

_END = re.compile(r"[a-z0-9-]+:[a-z0-9-]+\Z")
_DIGEST = re.compile(r"[A-Za-z0-9_-]{64}\Z")
_ACCOUNT = re.compile(r"[A-Za-z0-9-]{2,32}\Z")
_SET = re.compile(r"[a-z0-9](?:-?[a-z0-9])*\Z")


class RefusedError(Exception):
    """A snap can't be as it is wanted; the message names it, expected and got, and what to do."""


def check(wanted: Mapping[str, Any]) -> None:
    """Refuse what can't be meant, before anything is asked.

    Args:
        wanted: The module's parameters.

    Raises:
        RefusedError: A digest, grade, pair or validation set is none.
    """
    for snap in wanted["snaps"]:
        name = snap["name"]
        if not _DIGEST.match(snap["sha3_384"]):
            raise RefusedError(f"snaps: {name}: sha3_384 is {snap['sha3_384']!r}, expected 64 characters")
        if snap["grade"] == "signed" and not snap["assertions"]:
            raise RefusedError(
                f"snaps: {name}: no assertions, and its grade is signed; name their file, or say grade: "
                "dangerous in release and inventory"
            )
    for pair in wanted["connect"]:
        if len(pair) != 2 or not all(_END.match(str(end)) for end in pair):
            raise RefusedError(f"connect: expected [SNAP:PLUG, SNAP:SLOT], got {pair!r}")
    for each in wanted["validation_sets"]:
        if not _ACCOUNT.match(each["account"]) or not _SET.match(each["name"]) or each["sequence"] < 1:
            raise RefusedError(
                "validation_sets: expected an account-id, a name of letters, digits and dashes, and a "
                f"sequence from 1 on, got {each['account']!r}, {each['name']!r}, {each['sequence']}"
            )
