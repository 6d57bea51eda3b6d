# SPDX-License-Identifier: Apache-2.0
"""The checklist for an Ubuntu Core device's first boot: what to look at, in order. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgewright.osadvice.components import of_nvidia
from edgewright.snaps.spec import ImageSpec

__all__ = ["write_checklist"]


def write_checklist(spec: ImageSpec, snaps: Mapping[str, Mapping[str, Any]], notes: Sequence[str]) -> str:
    """The page, as Markdown.

    Args:
        spec: The image's specification.
        snaps: The depot's entries of its snaps, by name.
        notes: What the making of the image had to say.
    """
    content = spec.content
    defaults = content.get("defaults", {})
    lines = [f"# First boot of {content['model']}", ""]
    lines += [f"- {note}" for note in notes]
    lines += [
        "",
        "## Write the image",
        "",
        "- [ ] `ubuntu-image snap` of the same model turns the prepared tree into a disk image; write it "
        "to the disk.",
    ]
    if "system_user" in content:
        lines.append(
            "- [ ] `auto-import.assert` lies in the root of a FAT stick that is plugged in at the first boot."
        )
    lines += ["", "## After the first boot", ""]
    lines += _step(
        "the model is this one",
        "snap model --assertion",
        f"`model: {content['model']}`, `grade: {content['grade']}`",
    )
    lines += _step(
        "the seed was taken in", "snap wait system seed.loaded && snap changes", "no change in Error"
    )
    for snap in content["snaps"]:
        entry = snaps.get(snap["name"], {})
        expected = f"revision {entry['revision']}" if "revision" in entry else "revision x1, unasserted"
        expected = expected if entry else "not in the depot when this was written"
        lines += _step(f"{snap['name']} ({snap['type']})", f"snap list {snap['name']}", expected)
        lines += _components(snap, entry)
    for each in content.get("validation_sets", []):
        named = f"{each['account']}/{each['name']}={each['sequence']}"
        lines += _step(f"validation set {named}", "snap validate", f"`{each['mode']}`, `valid`")
    parameters = defaults.get("kernel_parameters", [])
    if parameters:
        joined = " ".join(parameters)
        lines += _step("kernel parameters", "cat /proc/cmdline", f"holds `{joined}`")
        lines.append(f'  By hand: `snap set system system.kernel.cmdline-append="{joined}"`, then a reboot.')
    if "refresh_hold" in defaults:
        lines += _step("refreshes are held", "snap get system refresh.hold", f"`{defaults['refresh_hold']}`")
        lines.append(f'  By hand: `snap set system refresh.hold="{defaults["refresh_hold"]}"`.')
    if defaults.get("store_offline"):
        lines += _step("no store is asked", "snap get system store.access", "`offline` (snapd 2.61 or newer)")
    lines += _quota(defaults.get("quota"))
    lines += _step(
        "a real-time kernel, where one was asked for", "uname -v", "`PREEMPT_RT` for a real-time kernel snap"
    )
    if "system_user" in content:
        name = content["system_user"]["username"]
        lines += _step(f"the user {name}", f"ssh {name}@DEVICE true", "status 0, with one of the listed keys")
    lines += [
        "",
        "Every step that fails is a finding: keep the output. Nothing above was proven on this device yet.",
    ]
    return "\n".join(lines) + "\n"


def _quota(quota: Mapping[str, Any] | None) -> list[str]:
    """A quota group can't be a gadget's default: it is made on the device, and read back."""
    if not quota:
        return []
    options = [f"--cpu-set={','.join(map(str, quota['cpus']))}"] if quota.get("cpus") else []
    options += [f"--memory={quota['memory_mib']}MB"] if "memory_mib" in quota else []
    command = " ".join(["snap", "set-quota", quota["name"], *options, *quota["snaps"]])
    slice_ = f"snap.{quota['name']}.slice"
    return [
        f"- [ ] quota group {quota['name']}: `{command}`",
        "  (snapd below 2.59: first `snap set system experimental.quota-groups=true`), then `snap quota "
        f"{quota['name']}`",
        f"  and `cat /sys/fs/cgroup/{slice_}/cpuset.cpus.effective`.",
    ]


def _components(snap: Mapping[str, Any], entry: Mapping[str, Any]) -> list[str]:
    """What a snap's components are read back by; snapd knows them from 2.67 on."""
    have = {each["name"]: each["revision"] for each in entry.get("components", [])}
    lines = []
    for name, presence in snap.get("components", {}).items():
        revision = f", revision {have[name]}" if name in have else ", not in the depot when this was written"
        expected = f"`installed`{revision} ({presence})"
        lines += _step(f"component {snap['name']}+{name}", f"snap components {snap['name']}", expected)
    if of_nvidia(list(snap.get("components", {}))):
        lines += _step("NVIDIA's driver", "cat /proc/driver/nvidia/version", "the branch of the components")
    return lines


def _step(what: str, command: str, expected: str) -> list[str]:
    return [f"- [ ] {what}: `{command}`: {expected}"]
