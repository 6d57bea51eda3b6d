# SPDX-License-Identifier: Apache-2.0
"""Where snapd keeps the files of snaps and components. Standard library only, Python 3.9 and later."""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping

SNAPS = "/var/lib/snapd/snaps"
_REVISION = re.compile(r"x?[1-9][0-9]*\Z")


def components_of(snap: Mapping[str, Any]) -> Dict[str, str]:
    """Name to revision of a snap's installed components; snapd lists those that it could have as well.

    Source: client/packages.go and client/components.go of canonical/snapd (2.67 and later); an earlier snapd
    lists none.

    Args:
        snap: as snapd's API describes it.
    """
    return {
        str(part["name"]): str(part["revision"])
        for part in snap.get("components") or []
        if _REVISION.match(str(part.get("revision")))
    }


def parts_of(snap: Mapping[str, Any]) -> List[Dict[str, Any]]:
    """A snap's installed components as snaps of their own: name (SNAP+COMPONENT), revision, status."""
    return [
        {"name": "{}+{}".format(snap["name"], name), "revision": revision, "status": snap.get("status")}
        for name, revision in components_of(snap).items()
    ]


def file_of(snap: Mapping[str, Any]) -> str:
    """The file below `SNAPS` from which a snap, or a component, is mounted.

    Args:
        snap: `name` (of a component SNAP+COMPONENT) and `revision`.
    """
    kind = "comp" if "+" in str(snap["name"]) else "snap"
    return "{}_{}.{}".format(snap["name"], snap["revision"], kind)
