# SPDX-License-Identifier: Apache-2.0
"""Which roles a run has to include, and in which order, of what its devices were found to need.

Pure. All devices of a play share one list: Ansible runs what is included in the order in which it was first
asked for, so that devices with lists of their own could run their roles in another's order.

    steps(["runtime"], ["kernel"])    # kernel, reboot, runtime's measurement not: it has not drifted
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgewright.device.areas import AREA_NAMES
from edgewright.device.places import DEBIAN
from edgewright.errors import InputError

__all__ = ["Step", "os_of", "steps"]


@dataclass(frozen=True)
class Step:
    """One role, or a part of it, that some device needs.

    Attributes:
        role: its name in the collection.
        areas: areas whose drift makes the step due on a device; empty where each device that drifted has it.
        tasks_from: file of the role's tasks.
    """

    role: str
    areas: tuple[str, ...]
    tasks_from: str = "main"

    def as_dict(self) -> dict[str, Any]:
        """For Ansible."""
        return {"role": self.role, "tasks_from": self.tasks_from, "areas": list(self.areas)}


# The reboot: one for all that came before it. What is measured is measured after it. The device keeps the
# probe at the very end, because what it compares itself with is what all others have made of it.
_REBOOT = Step("kernel", ("kernel", "nvidia"), "reboot")
_AT_THE_END = ("acceptance", "drift_watch")
_STEPS: tuple[Step, ...] = (
    *(Step(name, (name,)) for name in AREA_NAMES if name not in _AT_THE_END),
    _REBOOT,
    Step("acceptance", ("acceptance",)),
    Step("drift_watch", AREA_NAMES),
)


def steps(drifted: Iterable[Sequence[str]]) -> tuple[Step, ...]:
    """The steps that some device needs, in their one order.

    Args:
        drifted: names of the areas that drifted, of each device.

    Raises:
        InputError: there is no such area.
    """
    needed = {name for names in drifted for name in names}
    strange = sorted(needed - set(AREA_NAMES))
    if strange:
        raise InputError(
            f"choosing the roles of a run: there is no area {', '.join(strange)}; areas are"
            f" {', '.join(AREA_NAMES)}"
        )
    return tuple(step for step in _STEPS if needed & set(step.areas))


def os_of(want: Mapping[str, Mapping[str, Any]]) -> str:
    """The OS that a want is for: areas of another OS than Debian say so; an empty area says nothing.

    Args:
        want: area to want, as `edgewright.device.areas.want_all` gives it.
    """
    return next((str(area["os"]) for area in want.values() if "os" in area), DEBIAN)
