# SPDX-License-Identifier: Apache-2.0
"""Area `depot_client` on Ubuntu Core: snaps come from the depot alone, by the site's hand alone.

Pure: no IO. There is no apt and no registry; snapd itself is kept from looking elsewhere. Items:

    refresh_hold    `held` where snapd refreshes nothing by itself, for more than a month from now; `ends
                    soon`, or None where it may refresh
    store_access    `offline` where snapd may not ask a store (snapd 2.61 and later knows that)
    proxies         {http, https}: a port of the device itself on which nobody listens, so that snapd reaches
                    for
                    nothing, whatever its version knows of stores
    proxy_store     a store of its own that snapd was told to ask; None
    foreign_snaps   apps that are installed and that the release does not name
    snapd_version   in `have` only

`want` has `depot` (host, port, identity) and `names` (the release's snaps) more.

Sources: `refresh.hold=forever` from snapd 2.58 (https://snapcraft.io/docs/managing-updates); before it takes
a time, and
heeds it for 95 days after the last refresh (overlord/snapstate/autorefresh.go, 2.57.6). `store.access` from
2.61
(https://github.com/canonical/snapd/pull/13198, release notes in pull 13299).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from edgewright.device import depot_client
from edgewright.device.drift import Drift, Have, Want, compare
from edgewright.device.places import UBUNTU_CORE, places

__all__ = ["AREA", "drift", "want"]

AREA = depot_client.AREA

# The first snapd that knows `store.access`.
KNOWS_STORE_ACCESS = (2, 61)

# Port discard (RFC 863) of the device itself; the module `snaps` sets the same.
CLOSED = "http://127.0.0.1:9"

_WHY = {
    "refresh_hold": "snapd may refresh snaps by itself, or soon will: only the site updates a device",
    "store_access": "snapd may ask a store: snaps come from the site's depot only",
    "proxies": "snapd may reach for the network beyond the site: its proxy is no closed port",
    "proxy_store": "snapd was told to ask a store of its own: snaps come from the site's depot only",
    "foreign_snaps": "snaps are installed that the release does not name: remove them (`snap remove"
    " NAME`), or name"
    " them in release.yml",
}


def want(variables: Mapping[str, Any], profile: Mapping[str, Any], lock: Mapping[str, Any]) -> dict[str, Any]:
    """The depot as the device shall know it, and snapd kept from everything else.

    Raises:
        InputError: the depot's URL is not one.
    """
    del profile
    host, port = depot_client.depot_address(variables)
    return {
        "os": UBUNTU_CORE,
        "refresh_hold": "held",
        "store_access": "offline",
        "proxies": {"http": CLOSED, "https": CLOSED},
        "proxy_store": None,
        "foreign_snaps": [],
        "depot": {"host": host, "port": port, "identity": places(UBUNTU_CORE).identity},
        "names": sorted(str(snap["name"]) for snap in lock.get("snaps", [])),
    }


def drift(have: Have, want: Want) -> list[Drift]:
    """What differs; a snapd that does not know a setting is not asked for it."""
    version = tuple(int(part) for part in re.findall(r"\d+", str(have.get("snapd_version") or ""))[:2])
    why = dict(_WHY)
    if version and version < KNOWS_STORE_ACCESS:
        del why["store_access"]
    found = []
    for item in compare(AREA, have, want, why):
        told = item.why
        if item.item == "foreign_snaps":
            told = f"{', '.join(item.have or ['?'])}: {told}"
        found.append(Drift(AREA, item.item, item.have, item.want, told))
    return found
