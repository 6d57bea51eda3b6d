# SPDX-License-Identifier: Apache-2.0
"""What differs between boot loaders and suites, as data: `edgewright/data/boot.yml`.

Example:
    layout = boot_layout("grub", "trixie", "profile box")
    layout.entry_of("rt", "6.12.117+deb13-rt-amd64")     # "6.12.117+deb13-rt-amd64"
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgewright.device import _yaml
from edgewright.errors import InputError

__all__ = ["SCHEMA", "BootLayout", "boot_layout", "boot_layouts"]

SCHEMA = "edgewright.boot/v1"


@dataclass(frozen=True)
class BootLayout:
    """One boot loader on some suites.

    Attributes:
        boot: the boot loader, as a profile's `boot` names it.
        suites: of the lock's operating system.
        entry: kernel flavour to what the boot loader names its kernel by; `{release}` stands for the release.
            Empty where the boot loader does not let the kernel be chosen.
        initramfs: whether the kernel has an initramfs of its own, `/boot/initrd.img-RELEASE`.
        counted: whether boots are counted, and a kernel that does not come up is left for another.
        proven: whether it was tried on a machine.
    """

    boot: str
    suites: tuple[str, ...]
    entry: Mapping[str, str]
    initramfs: bool
    counted: bool
    proven: bool

    def entry_of(self, flavour: str, release: str) -> str | None:
        """What the boot loader names a kernel by; None where it does not choose.

        Raises:
            InputError: it has no kernel of this flavour.
        """
        if not self.entry:
            return None
        if flavour not in self.entry:
            raise InputError(
                f"the lock's kernel is of flavour {flavour!r}, and {self.boot} on"
                f" {', '.join(self.suites)} has {', '.join(self.entry)}: resolve the release again with"
                " one of these"
            )
        return self.entry[flavour].replace("{release}", release)


@functools.cache
def boot_layouts() -> tuple[BootLayout, ...]:
    """All layouts, in the order of the file."""
    path = Path(__file__).resolve().parent.parent / "data" / "boot.yml"
    raw = _yaml.load_mapping(path.read_text(encoding="utf-8"), str(path), SCHEMA)
    return tuple(
        BootLayout(
            boot=each["boot"],
            suites=tuple(each["suites"]),
            entry=dict(each["entry"]),
            initramfs=each["initramfs"],
            counted=each["counted"],
            proven=each["proven"],
        )
        for each in raw["layouts"]
    )


def boot_layout(boot: str, suite: str, profile: str) -> BootLayout:
    """The layout of a boot loader on a suite.

    Args:
        boot: the profile's `boot`.
        suite: the lock's `os.suite`.
        profile: name of the profile, for messages.

    Raises:
        InputError: an unknown boot loader, or a suite that it is not known on.
    """
    known = [layout for layout in boot_layouts() if layout.boot == boot]
    if not known:
        names = sorted({layout.boot for layout in boot_layouts()})
        raise InputError(
            f"profile {profile} boots by {boot!r}: the kernel area knows {', '.join(names)}"
            " (and none, for a container); correct boot in the profile"
        )
    for layout in known:
        if suite in layout.suites:
            return layout
    suites = [name for layout in known for name in layout.suites]
    raise InputError(
        f"profile {profile} boots by {boot!r}, and the lock is for the suite {suite!r}: how {boot} names its"
        f" kernels is known for {', '.join(suites)}; lock the release for one of these, or give the device"
        " another profile"
    )
