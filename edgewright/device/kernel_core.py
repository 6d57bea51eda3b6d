# SPDX-License-Identifier: Apache-2.0
"""Area `kernel` on Ubuntu Core: snapd installs and boots the kernel; parameters are a setting of the system.

Pure: no IO. Items, besides `configured_sysctl` and `sysctl`, which are as on Debian:

    boot            `snapd`
    kernel_snap     {name, revision} of the kernel snap, where the release has one
    cmdline_append  what snapd appends to the command line (`system.kernel.cmdline-append`)
    cmdline         the wanted parameters that the running kernel has
    tickless        CPUs on which the running kernel can stop its tick
    realtime        whether it is a PREEMPT_RT one, which the release's `kernel.flavour` asks for
    skipped         item to the reason why this machine cannot show it

A twin's kernel is given (`boot: given` in its profile): a kernel snap cannot boot there, so all that
concerns it is
skipped, by name. **Designed, not proven** on a machine that snapd boots.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgewright.device import kernel
from edgewright.device.cpulist import format_cpus
from edgewright.device.drift import Drift, Have, Want, compare
from edgewright.device.places import UBUNTU_CORE
from edgewright.device.topology import chosen_cpus
from edgewright.errors import InputError

__all__ = ["AREA", "drift", "want"]

AREA = kernel.AREA

SNAPD = "snapd"
GIVEN = "given"

_SKIPPED = "a kernel snap can't boot in a twin, whose kernel is its own and given"

_WHY = {
    "boot": "this device boots by something else than its profile says",
    "kernel_snap": "another kernel snap, or another revision of it, is installed than the release names",
    "cmdline_append": "snapd appends other kernel parameters than wanted",
    "configured_sysctl": "the values that sysctl.d would set at the next boot are other than wanted",
    "sysctl": "the running kernel has other sysctl values than wanted",
    "realtime": "the running kernel is not a PREEMPT_RT one; the model's kernel snap decides that",
    "cmdline": "the running kernel was started with other parameters than wanted; a reboot is due",
    "tickless": "the running kernel cannot stop its tick on the CPUs set apart; a reboot is due",
}
_REBOOT = frozenset({"cmdline", "tickless"})


def want(variables: Mapping[str, Any], profile: Mapping[str, Any], lock: Mapping[str, Any]) -> dict[str, Any]:
    """What the area shall be.

    Raises:
        InputError: a variable is wrong, or the profile boots by something that is not Ubuntu Core's.
    """
    boot = profile["boot"]
    if boot not in (SNAPD, GIVEN):
        raise InputError(
            f"profile {profile['name']} boots by {boot!r}, and Ubuntu Core boots by snapd: correct boot"
            " in the profile"
            f" ({SNAPD}; {GIVEN} for a twin, whose kernel is its own), or set edgewright_os: debian for"
            " this host"
        )
    cmdline = kernel.parameters(variables, profile)
    sysctl = kernel.sysctl_values(variables)
    isolated = chosen_cpus(variables, profile)
    derived = variables.get("kernel_isolation_parameters", True) and isolated
    items: dict[str, Any] = {
        "boot": boot,
        "kernel_snap": _kernel_snap(lock),
        "cmdline_append": list(cmdline),
        "configured_sysctl": dict(sysctl),
        "sysctl": sysctl,
        "realtime": lock["kernel"].get("flavour") == "rt",
        "cmdline": cmdline,
        "tickless": format_cpus(isolated) if derived else None,
    }
    skipped: dict[str, str] = {}
    if boot == GIVEN:
        given = ("kernel_snap", "cmdline_append", "realtime", "cmdline", "tickless")
        skipped = {item: _SKIPPED for item in given if items[item] not in (None, [])}
        items = {item: value for item, value in items.items() if item not in given}
    elif items["kernel_snap"] is None:
        skipped["kernel_snap"] = "the release names no kernel snap: the image's is kept"
        del items["kernel_snap"]
    return {
        "os": UBUNTU_CORE,
        **items,
        "skipped": skipped,
        "at": {"isolated": format_cpus(isolated), "tries": 0, "proven": False},
    }


def _kernel_snap(lock: Mapping[str, Any]) -> dict[str, Any] | None:
    """The lock's kernel snap: Ubuntu's are called NAME-kernel (pc-kernel, pi-kernel)."""
    for snap in lock.get("snaps", []):
        if str(snap["name"]).endswith("-kernel") and "revision" in snap:
            return {"name": snap["name"], "revision": int(snap["revision"])}
    return None


def drift(have: Have, want: Want) -> list[Drift]:
    """What differs, in the order in which the role mends it."""
    why = {item: sentence for item, sentence in _WHY.items() if item in want}
    if want.get("tickless") is None:
        why.pop("tickless", None)
    return compare(AREA, have, want, why, _REBOOT)
