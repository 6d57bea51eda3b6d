# SPDX-License-Identifier: Apache-2.0
"""Which OS a device has, and where Edgewright's own files lie on it. Pure data, in one table.

On Debian a role may write anywhere. On Ubuntu Core the root is read-only, and a path that core24 does not
bind from
its writable partition is lost, or refused, at the first write; so each place there lies below one of
`CORE24_WRITABLE`,
and a test holds every path of every want against that table.

Example:
    places(chosen_os(variables)).identity      # "/etc/edgewright/identity" on Debian
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgewright.errors import InputError

__all__ = [
    "CORE24_WRITABLE",
    "DEBIAN",
    "SYSTEMS",
    "UBUNTU_CORE",
    "VARIABLE",
    "Places",
    "chosen_os",
    "places",
    "writable_on_core24",
]

VARIABLE = "edgewright_os"
DEBIAN = "debian"
UBUNTU_CORE = "ubuntu_core"
SYSTEMS = (DEBIAN, UBUNTU_CORE)

# The paths that core24 makes writable and keeps, which Edgewright writes below. Source:
# static/etc/system-image/
# writable-paths of canonical/core-base, branch core24 at 97ec528 (2026-07-01; the same rows stand at 60c52ba
# and in
# snapcore/core-base at 240e33d); /run is a tmpfs on every systemd machine and is kept for one boot.
CORE24_WRITABLE = (
    "/etc/modprobe.d",
    "/etc/modules-load.d",
    "/etc/sysctl.d",
    "/etc/systemd",
    "/etc/udev/rules.d",
    "/run",
    "/snap",
    "/var/lib/snapd",
    "/var/log",
    "/var/snap",
)

# $SNAP_COMMON of the snap that serves: kept over its refreshes and reverts.
_COMMON = "/var/snap/edgewright-runtime/common"


@dataclass(frozen=True)
class Places:
    """Where things lie on a device.

    Attributes:
        identity: directory with device.key, device.crt and site-root.crt.
        own: Edgewright's own state, kept over boots.
        run: the same for one boot.
        programs: what runs from systemd's units.
        quiet_config: what the quiet-cpus service is told.
        textfiles: the node exporter's directory, where the inventory names none.
    """

    identity: str
    own: str
    run: str
    programs: str
    quiet_config: str
    textfiles: str

    @property
    def probe(self) -> str:
        """Directory of the kept probe."""
        return f"{self.own}/probe"

    @property
    def receipt(self) -> str:
        """The receipt of the acceptance."""
        return f"{self.own}/acceptance/receipt.json"

    @property
    def drift_watch(self) -> str:
        """Directory of what the device compares itself with."""
        return f"{self.own}/drift_watch"


_PLACES = {
    DEBIAN: Places(
        identity="/etc/edgewright/identity",
        own="/var/lib/edgewright",
        run="/run/edgewright",
        programs="/usr/local/lib/edgewright",
        quiet_config="/etc/edgewright/quiet-cpus.json",
        textfiles="/var/lib/prometheus/node-exporter",
    ),
    UBUNTU_CORE: Places(
        identity=f"{_COMMON}/identity",
        own=f"{_COMMON}/edgewright",
        run="/run/edgewright",
        programs=f"{_COMMON}/edgewright/programs",
        quiet_config=f"{_COMMON}/edgewright/quiet-cpus.json",
        textfiles=f"{_COMMON}/edgewright/textfiles",
    ),
}


def chosen_os(variables: Mapping[str, Any]) -> str:
    """The device's OS as its inventory says; Debian where it says nothing.

    Raises:
        InputError: it is none that Edgewright knows.
    """
    value = variables.get(VARIABLE, DEBIAN)
    if value not in SYSTEMS:
        raise InputError(
            f"{VARIABLE}: expected {' or '.join(SYSTEMS)}, got {value!r}; `edgewright os advise` weighs"
            " the two"
        )
    return str(value)


def places(system: str) -> Places:
    """Where things lie on a device of an OS."""
    return _PLACES[system]


def writable_on_core24(path: str) -> bool:
    """Whether core24 lets a path be written and keeps it (below /run: for one boot)."""
    return ".." not in path.split("/") and any(
        path == place or path.startswith(f"{place}/") for place in CORE24_WRITABLE
    )
