# SPDX-License-Identifier: Apache-2.0
"""Area `identity` on Ubuntu Core: the same key, certificate and root in another place, and no packages.

Pure: no IO. The key is root's own: no apt has to read it, and the snap's front end reads it as root. One
item more
than on Debian:

    snapd    whether snapd runs the device: without it this is no Ubuntu Core, and nothing else is begun
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from edgewright.device import identity
from edgewright.device.drift import Drift, Have, Want, compare
from edgewright.device.places import UBUNTU_CORE, places

__all__ = ["AREA", "CONTROLLER_FACTS", "drift", "want"]

AREA = identity.AREA
CONTROLLER_FACTS = identity.CONTROLLER_FACTS

_WHY = {
    "snapd": "no snapd answers on this device, so it is no Ubuntu Core: give it its OS, or correct"
    " edgewright_os",
    "key": "the device's key is another, or may be read by others than root",
    "certificate": "the device's certificate is another, or does not fit its key, its name or the site",
    "site_root": "the device trusts another site's root, or none",
}
_ACCESS = "the key may be read by others than root, or not by root"


def want(variables: Mapping[str, Any], profile: Mapping[str, Any], lock: Mapping[str, Any]) -> dict[str, Any]:
    """The identity that a device shall have; see `edgewright.device.identity.want`.

    Raises:
        InputError: a variable is not usable in a certificate.
    """
    del profile, lock
    wanted = identity.identity(variables)
    return {
        "os": UBUNTU_CORE,
        "snapd": True,
        **wanted,
        "directory": places(UBUNTU_CORE).identity,
        "key": {**wanted["key"], "owner": "root"},
    }


def drift(have: Have, want: Want) -> list[Drift]:
    """What differs, as on Debian; a device without snapd first."""
    found = compare(AREA, have, want, {"snapd": _WHY["snapd"]})
    for item in identity.drift(have, {**want, "packages": {}}):
        # Debian's sentence names apt, which reads the key there.
        found.append(replace(item, why=_ACCESS) if item.item == "key.access" else item)
    return found
