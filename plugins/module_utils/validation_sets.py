# SPDX-License-Identifier: Apache-2.0
"""Reads which validation sets a device's snapd knows, and which revisions of their snaps are installed.

Asks snapd for what it knows without a store: `/v2/assertions` looks into its own database only
(daemon/api_asserts.go of 2.57.6, `assertsFindManyInState`), and `/v2/validation-sets` lists what it tracks;
`/v2/validation-sets/ACCOUNT/NAME` is not asked, for it reaches for the store where a set is not tracked
(daemon/api_validate.go, `validateAgainstStore`). Items:
`edgewright/device/validation_sets.py`. Standard library only, Python 3.9 and later.
"""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional

from ansible_collections.edgewright.factory.plugins.module_utils.system import System

ITEM = "validation_sets"
SERIES = "16"


def read(system: System, scope: Mapping[str, Any], snaps: Mapping[str, Any]) -> Dict[str, Any]:
    """The item of the area, or nothing where no set is wanted.

    Args:
        system: the device.
        scope: the area's want: the names of sets and snaps in `validation_sets` are used.
        snaps: installed snaps by name, as snapd describes them.
    """
    if ITEM not in scope:
        return {}
    tracked = system.snapd("/v2/validation-sets")
    modes = {
        "%s/%s" % (each.get("account-id"), each.get("name")): each.get("mode")
        for each in (tracked if isinstance(tracked, list) else [])
    }
    found = {}
    for key, wanted in scope[ITEM].items():
        found[key] = {
            "assertion": assertion(system, key),
            "installed": {
                name: _revision(snaps[name]) for name in wanted["installed"] if _installed(snaps.get(name))
            },
            "mode": modes.get(key.partition("=")[0]),
        }
    return {ITEM: found}


def assertion(system: System, key: str) -> Optional[int]:
    """The revision of a set's assertion in snapd's database; None where it has none.

    Args:
        system: the device.
        key: `ACCOUNT/NAME=SEQUENCE`.
    """
    answer = system.snapd(address(key))
    if not isinstance(answer, list) or not answer:
        return None
    return max(int(dict(each.get("headers") or {}).get("revision") or 0) for each in answer)


def address(key: str) -> str:
    """Where snapd's API has a set's assertion as JSON; of its own database."""
    named, _, sequence = key.partition("=")
    account, _, name = named.partition("/")
    query = {"series": SERIES, "account-id": account, "name": name, "sequence": sequence, "json": "headers"}
    # Letters, digits and dashes: nothing to quote, and the probe starts without a library for that.
    return "/v2/assertions/validation-set?" + "&".join("%s=%s" % pair for pair in query.items())


def _installed(snap: Any) -> bool:
    return isinstance(snap, Mapping) and snap.get("status") == "active"


def _revision(snap: Mapping[str, Any]) -> Any:
    revision = str(snap.get("revision"))
    return int(revision) if revision.isdigit() else revision
