# SPDX-License-Identifier: Apache-2.0
"""Which components of a kernel snap hold NVIDIA's driver, by verified facts.

    row = driver_of(["nvidia-580-erd-ko", "nvidia-580-erd-user"], "pc-kernel", "24/stable")
    row.branch, row.provider            # 580, "mesa-2404"

The facts are `edgewright/data/os/nvidia-components.yml`; what no verified row names is refused by name. Pure
but for that file, read once.
"""

from __future__ import annotations

import functools
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from edgewright.device import _yaml
from edgewright.errors import InputError
from edgewright.osadvice.facts import UBUNTU_CORE, load_os_facts, rules_of

__all__ = ["PREFIX", "ComponentRow", "component_rows", "driver_of", "of_nvidia", "refusal"]

SCHEMA = "edgewright.nvidia-components/v1"
DATA = Path(__file__).resolve().parents[1] / "data" / "os" / "nvidia-components.yml"

PREFIX = "nvidia-"
"""What the names of NVIDIA's components begin with."""

_TEXT = {"type": "string", "minLength": 1}
_RULES = rules_of(
    SCHEMA,
    {
        "branch": {"type": "integer", "minimum": 1},
        **dict.fromkeys(("kernel_snap", "track", "modules", "libraries", "provider"), _TEXT),
        "snapd": {"type": "string", "pattern": r"^\d+\.\d+$"},
    },
)


@dataclass(frozen=True)
class ComponentRow:
    """One driver branch on one track of one kernel snap.

    Attributes:
        branch: NVIDIA's, such as 580.
        kernel_snap: Whose components these are.
        track: Of its channel, such as `24`.
        modules: The component with the kernel's modules.
        libraries: The one with the libraries.
        provider: The snap that hands the libraries to others.
        snapd: The first snapd that knows components.
        told: Source and day, for messages.
    """

    branch: int
    kernel_snap: str
    track: str
    modules: str
    libraries: str
    provider: str
    snapd: str
    told: str

    @property
    def names(self) -> tuple[str, str]:
        """Both components."""
        return self.modules, self.libraries


@functools.cache
def component_rows(path: Path = DATA) -> tuple[ComponentRow, ...]:
    """The verified rows.

    Raises:
        InputError: The file is damaged.
    """
    import jsonschema  # noqa: PLC0415 - see `facts`

    content = _yaml.load_mapping(path.read_text(encoding="utf-8"), f"facts {path}", SCHEMA)
    fault = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(_RULES).iter_errors(content))
    if fault is not None:
        place = ".".join(map(str, fault.absolute_path)) or "the top level"
        raise InputError(f"reading the facts {path}: {place}: {fault.message[:200]}; correct that row")
    rows = []
    for number, row in enumerate(content["rows"]):
        source = content["sources"].get(row["source"])
        if source is None:
            raise InputError(
                f"reading the facts {path}: rows.{number}: source {row['source']!r} is not among sources"
            )
        if row["verified"]:
            given = {key: value for key, value in row.items() if key not in ("source", "date", "verified")}
            rows.append(ComponentRow(**given, told=f"{row['date']}: {' '.join(source.split())}"))
    return tuple(rows)


def of_nvidia(names: Collection[str]) -> list[str]:
    """Those of a snap's components that are NVIDIA's, by their names."""
    return sorted(name for name in names if name.startswith(PREFIX))


def refusal(names: Collection[str], kernel_snap: str, channel: str | None) -> str:
    """Why these components can't be a driver on a kernel snap; empty where they can.

    Args:
        names: The snap's components; those of others than NVIDIA are passed over.
        kernel_snap: The snap.
        channel: As a release names it, such as `24/stable`; None where it names none.

    Returns:
        A sentence, or nothing. Without components of NVIDIA's there is nothing to say.
    """
    wanted = of_nvidia(names)
    if not wanted:
        return ""
    listed = ", ".join(wanted)
    if channel is None:
        return (
            f"{kernel_snap}: missing 'channel': which track it is decides whether {listed} may be on it; "
            "name it, such as 24/stable"
        )
    track = channel.partition("/")[0]
    rows = [row for row in component_rows() if (row.kernel_snap, row.track) == (kernel_snap, track)]
    if not rows:
        facts = load_os_facts()
        topic = "nvidia_rt" if "rt" in track.split("-") else "nvidia"
        row = facts.row(topic, UBUNTU_CORE)
        known = sorted({f"{each.kernel_snap} {each.track}" for each in component_rows()})
        return (
            f"{kernel_snap} of track {track}: no verified fact supports {listed} on it (known: "
            f"{', '.join(known)}): {row.says} ({row.told}); leave them out, or take another kernel snap"
        )
    known_names = {name for row in rows for name in row.names}
    strange = [name for name in wanted if name not in known_names]
    if strange:
        return (
            f"{kernel_snap}: no verified fact names the component {', '.join(strange)} (known: "
            f"{', '.join(sorted(known_names))}); name one of those, or add the fact with its source to "
            "edgewright/data/os/nvidia-components.yml"
        )
    if not any(set(wanted) == set(row.names) for row in rows):
        return (
            f"{kernel_snap}: expected one branch's pair of components, such as {' and '.join(rows[-1].names)}"
            f", got {listed}; name both of one branch and no other"
        )
    return ""


def driver_of(names: Collection[str], kernel_snap: str, channel: str | None) -> ComponentRow:
    """The driver that a kernel snap's components are.

    Args:
        names: As in `refusal`.
        kernel_snap: The same.
        channel: The same.

    Raises:
        InputError: No verified fact knows it.
    """
    said = refusal(names, kernel_snap, channel)
    wanted = set(of_nvidia(names))
    if said or not wanted:
        raise InputError(said or f"{kernel_snap}: it has no component of NVIDIA's")
    track = str(channel).partition("/")[0]
    return next(
        row
        for row in component_rows()
        if (row.kernel_snap, row.track) == (kernel_snap, track) and set(row.names) == wanted
    )
