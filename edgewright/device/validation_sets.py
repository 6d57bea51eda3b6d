# SPDX-License-Identifier: Apache-2.0
"""Validation sets on an Ubuntu Core device: known to its snapd, and kept by what is installed. Pure.

A part of the area `runtime`, there only where the release names sets. Items, one for each, called
`validation_sets.ACCOUNT/NAME=SEQUENCE`:

    assertion  the revision of the assertion that snapd acknowledged; None where it knows none
    installed  name to revision of the snaps that the set speaks of, of those that are installed; the wish
               has what the set says of each in its place
    mode       in `have` only: `enforce` or `monitor` where snapd itself tracks the set

snapd is not told to enforce a set: in 2.57.6 each way to that asks the store first, also where the assertion
is known (overlord/assertstate/assertstate.go, `validationSetAssertionForEnforce` and
`validationSetAssertionForMonitor`: both end in `resolvePoolNoFallback`, and monitoring falls back to the
local assertion only when a store answered "not found"); tried on 2026-11-21 with Debian's snapd and no
network: `cannot enforce validation set: Post "https://api.snapcraft.io/v2/snaps/refresh": ... network is
unreachable`. Without a store a set is enforced where the model
names it, from the image's seed on (asserts/model.go of later snapds, `validation-sets`). So it is
acknowledged, and the comparison is made here, by the rules of snapd's own
(asserts/snapasserts/validation_sets.go, `CheckInstalledSnaps`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgewright.device.drift import Drift, Have, Want

__all__ = ["ITEM", "drift", "files", "recorded", "want"]

ITEM = "validation_sets"


def want(lock: Mapping[str, Any]) -> dict[str, Any]:
    """What the area wants of the lock's sets; nothing where it has none."""
    sets = lock.get("validation_sets", [])
    if not sets:
        return {}
    return {
        ITEM: {
            _key(entry): {
                "assertion": entry["revision"],
                "installed": {
                    pin["name"]: {key: pin[key] for key in ("presence", "revision") if key in pin}
                    for pin in entry["snaps"]
                },
            }
            for entry in sets
        }
    }


def files(lock: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the module `edgewright.factory.snaps` takes of each set."""
    return [
        {
            **{key: entry[key] for key in ("account", "name", "sequence", "revision")},
            **{key: entry["assertions"][key] for key in ("filename", "sha256")},
        }
        for entry in lock.get("validation_sets", [])
    ]


def recorded(lock: Mapping[str, Any]) -> dict[str, Any]:
    """What an as-built record states of them, each with its assertion's revision; nothing where none are."""
    sets = {_key(entry): entry["revision"] for entry in lock.get("validation_sets", [])}
    return {ITEM: sets} if sets else {}


def drift(area: str, have: Have, want: Want) -> list[Drift]:
    """What differs: sets that snapd does not know, and snaps that are not as a set says, by name."""
    found = []
    for key, wanted in want.get(ITEM, {}).items():
        got = (have.get(ITEM) or {}).get(key) or {}
        installed = got.get("installed") or {}
        told = []
        if got.get("assertion") != wanted["assertion"]:
            told.append(_unknown(got.get("assertion"), wanted["assertion"]))
        told += [
            sentence
            for name, pin in wanted["installed"].items()
            for sentence in [_otherwise(name, installed.get(name), pin)]
            if sentence
        ]
        if told:
            found.append(Drift(area, f"{ITEM}.{key}", got or None, wanted, f"{'; '.join(told)}"))
    return found


def _unknown(have: Any, want: int) -> str:
    if have is None:
        return "snapd does not know the validation set"
    return f"snapd knows the validation set in revision {have} of its assertion, the release has {want}"


def _otherwise(name: str, revision: Any, pin: Mapping[str, Any]) -> str:
    """How an installed snap contradicts a set; empty where it does not."""
    presence = pin["presence"]
    if revision is None:
        return f"{name} is required and not installed" if presence == "required" else ""
    if presence == "invalid":
        return f"{name} is installed, and the set calls it invalid"
    if "revision" in pin and revision != pin["revision"]:
        return f"{name} is installed in revision {revision}, the set pins {pin['revision']}"
    return ""


def _key(entry: Mapping[str, Any]) -> str:
    """As snapd writes a set: `ACCOUNT/NAME=SEQUENCE` (cmd/snap, `snap validate`)."""
    return f"{entry['account']}/{entry['name']}={entry['sequence']}"
