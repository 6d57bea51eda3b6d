# SPDX-License-Identifier: Apache-2.0
"""Area `acceptance` on Ubuntu Core: the same measurement; what is accepted are snaps, by their digests.

Pure: no IO. cyclictest is the runtime snap's own, run outside of its confinement. The record states each
snap with
revision and digest, snaps without assertions by name, and stand-ins as such.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgewright.device import acceptance, kernel_core, runtime_core, validation_sets
from edgewright.device.places import UBUNTU_CORE, places
from edgewright.snaps.grade import recorded

__all__ = ["AREA", "CYCLICTEST", "drift", "want"]

AREA = acceptance.AREA
CYCLICTEST = "/snap/edgewright-runtime/current/bin/cyclictest"

drift = acceptance.drift


def want(variables: Mapping[str, Any], profile: Mapping[str, Any], lock: Mapping[str, Any]) -> dict[str, Any]:
    """What the device shall be accepted for, and how that is measured.

    Raises:
        InputError: a variable or the lock does not allow an acceptance.
    """
    serving = runtime_core.want(variables, profile, lock)
    _, models = runtime_core.locked_snaps(lock)
    kernel = kernel_core.want(variables, profile, lock).get("kernel_snap")
    snaps = {name: snap["sha3_384"] for name, snap in serving["snaps"].items()}
    wanted = acceptance.assemble(
        variables,
        profile,
        lock,
        acceptance.Subject(
            serving=serving,
            models=models,
            kernel=f"{kernel['name']} {kernel['revision']}" if kernel else "",
            parts={
                "os": UBUNTU_CORE,
                "snaps": snaps,
                "grade": recorded(lock),
                **validation_sets.recorded(lock),
            },
            plan={
                "server": serving["at"]["server"],
                "cyclictest": CYCLICTEST,
                "packages": [],
                "images": {},
                "snaps": snaps,
                "install": {},
            },
            receipt=places(UBUNTU_CORE).receipt,
        ),
    )
    wanted["plan"]["release"] |= recorded(lock) | validation_sets.recorded(lock)
    return {"os": UBUNTU_CORE, **wanted}
