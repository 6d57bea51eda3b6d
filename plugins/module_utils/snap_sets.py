# SPDX-License-Identifier: Apache-2.0
"""Have snapd know the validation sets that a release names.

A set is acknowledged, never enforced: for that snapd 2.57.6 asks a store
(overlord/assertstate/assertstate.go, `validationSetAssertionForEnforce`). Whether what is installed keeps to
it is read by the probe. Standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import hashlib
from typing import Any, Dict, List

from ansible_collections.edgewright.factory.plugins.module_utils.snap_fetch import Depot, FetchError
from ansible_collections.edgewright.factory.plugins.module_utils.snapd import Snapd, SnapdError
from ansible_collections.edgewright.factory.plugins.module_utils.validation_sets import address


def key_of(wanted: Dict[str, Any]) -> str:
    """A set as snapd writes it: `ACCOUNT/NAME=SEQUENCE`."""
    return "{account}/{name}={sequence}".format(**wanted)


def unknown(snapd: Snapd, sets: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
    """The sets that snapd does not know yet, or only in an older revision of their assertion.

    Args:
        snapd: The device's.
        sets: `account`, `name`, `sequence` and `revision` of each.

    Raises:
        SnapdError: snapd does not answer.
    """
    found = []
    for wanted in sets:
        known = snapd.call("GET", address(key_of(wanted)))["result"] or []
        revisions = [int((each.get("headers") or {}).get("revision") or 0) for each in known]
        if max(revisions, default=-1) < wanted["revision"]:
            found.append(wanted)
    return found


def acknowledge(snapd: Snapd, depot: Depot, sets: List[Dict[str, Any]]) -> None:
    """Fetch the sets' assertions from the depot and have snapd acknowledge them.

    Args:
        snapd: The device's.
        depot: Gives the files.
        sets: As above, with `filename` and `sha256`.

    Raises:
        FetchError: The depot does not give a file, or gives another.
        SnapdError: snapd does not trust it; the message names the set.
    """
    for wanted in sets:
        key = key_of(wanted)
        data = depot.assertions(f"validation set {key}", wanted["filename"])
        digest = hashlib.sha256(data).hexdigest()
        if digest != wanted["sha256"]:
            raise FetchError(
                f"fetching validation set {key} ({wanted['filename']}): expected sha256 {wanted['sha256']}, "
                f"got {digest}; nothing was acknowledged. Check the depot with `edgewright depot verify`"
            )
        try:
            snapd.ack(data)
        except SnapdError as error:
            raise SnapdError(
                f"acknowledging validation set {key} ({wanted['filename']}): expected an assertion whose key "
                f"snapd trusts, snapd says: {error}; nothing was installed. Check it with "
                "`edgewright snaps set`",
                error.kind,
            ) from error
