# SPDX-License-Identifier: Apache-2.0
"""Weighs what a device needs against what is known of both systems. Pure.

    advice = advise(Needs(wakeup_worst_us=100, gpu="nvidia"), load_os_facts())
    print(advice.text())            # side by side, then the recommendation with its reasons

Two kinds of needs. What the hardware and the intent demand (a bound on wake-up, a GPU) must be answered with
yes by a verified fact, or with a waiver that the release carries: else that system is refused. What a policy
wishes (updates, rollback, attack surface, who may change the kernel) is counted: of the systems that are left
the one that grants more is recommended. Equal counts are told as equal, with the system that needs no
account at a store named first.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgewright.errors import InputError
from edgewright.osadvice.facts import SYSTEMS, TOPICS, OsFacts, OsRow

__all__ = ["CHOICES", "Advice", "Judged", "Needs", "advise"]

CHOICES: Mapping[str, tuple[str, ...]] = {
    "gpu": ("none", "nvidia", "tegra"),
    "updates": ("any", "transactional"),
    "rollback": ("model", "system"),
    "surface": ("any", "minimal"),
    "kernel": ("any", "site", "brand"),
    "account": ("any", "none"),
}
"""What each need may be; the first means that nothing is asked for."""

_WISHES: Sequence[tuple[str, str, str]] = (
    ("updates", "transactional", "transactional_update"),
    ("rollback", "model", "model_rollback"),
    ("rollback", "system", "system_rollback"),
    ("surface", "minimal", "minimal_surface"),
    ("kernel", "site", "kernel_by_site"),
    ("kernel", "brand", "kernel_by_brand"),
    ("account", "none", "free_image"),
)

_TOLD: Sequence[str] = ("drift", "power_cut", "site_updates")
"""Questions that nobody asks for and everybody should read: they are shown, and weigh nothing."""

_COLUMN = 46


@dataclass(frozen=True)
class Needs:
    """What a device needs.

    Attributes:
        wakeup_worst_us: The worst wake-up that the intent allows, in microseconds; None for any.
        gpu: The profile's: `none`, `nvidia` (a card) or `tegra` (a Jetson).
        updates: `transactional` where the system must change whole or not at all.
        rollback: `model` for runtime and model, `system` for kernel and base too, by itself.
        surface: `minimal` where no package manager may be on the device.
        kernel: Who may change it: `site` or `brand`.
        account: `none` where no account at a store may be needed.
        rt_waiver: Whether the release carries the waiver for NVIDIA on PREEMPT_RT.
    """

    wakeup_worst_us: float | None = None
    gpu: str = "none"
    updates: str = "any"
    rollback: str = "model"
    surface: str = "any"
    kernel: str = "any"
    account: str = "any"
    rt_waiver: bool = False

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise InputError(
                    f"weighing the systems: {name}: expected {' or '.join(choices)}, got "
                    f"{getattr(self, name)!r}"
                )
        if self.wakeup_worst_us is not None and not 0 < self.wakeup_worst_us < 1e9:
            raise InputError(
                "weighing the systems: the worst wake-up: expected microseconds above 0 and below 1e9, got "
                f"{self.wakeup_worst_us!r}"
            )

    @property
    def real_time(self) -> bool:
        """Whether any bound on wake-up is asked for: a generic kernel has none."""
        return self.wakeup_worst_us is not None

    def demands(self) -> list[str]:
        """Topics that a system must answer with yes."""
        found = ["offline", "journey"]
        if self.real_time:
            found += ["isolation", "wakeup"]
        if self.gpu == "none":
            return [*found, *(["rt_kernel"] if self.real_time else [])]
        if self.gpu == "tegra":
            return [*found, "jetson_rt" if self.real_time else "jetson"]
        return [*found, *(["rt_kernel", "nvidia_rt"] if self.real_time else ["nvidia"])]

    def wishes(self) -> list[str]:
        """Topics that a system should answer with yes."""
        found = [topic for name, value, topic in _WISHES if getattr(self, name) == value]
        return [*found, *(["rt_image"] if self.real_time and self.gpu != "tegra" else [])]


@dataclass(frozen=True)
class Judged:
    """One system.

    Attributes:
        os: Of `SYSTEMS`.
        refused: Why it can't be, one sentence each; empty where it can.
        granted: Wishes that it grants, as topics.
        denied: Wishes that it does not.
        waivers: What it takes a waiver for.
    """

    os: str
    refused: tuple[str, ...]
    granted: tuple[str, ...]
    denied: tuple[str, ...]
    waivers: tuple[str, ...]


@dataclass(frozen=True)
class Advice:
    """What follows.

    Attributes:
        needs: What was asked.
        topics: The questions that counted, and those that everybody should read, in the table's order.
        rows: Their facts, by topic and system.
        judged: Each system.
        recommended: The system; None where none can be.
        reasons: Sentences.
    """

    needs: Needs
    topics: tuple[str, ...]
    rows: Mapping[tuple[str, str], OsRow]
    judged: tuple[Judged, ...]
    recommended: str | None
    reasons: tuple[str, ...]

    def text(self) -> str:
        """For people: the two side by side, then the recommendation."""
        lines = []
        for topic in self.topics:
            lines += [TOPICS[topic], *_beside([_cell(self.rows[topic, os]) for os in SYSTEMS]), ""]
        head = _beside([SYSTEMS[os] for os in SYSTEMS])
        lines = [*head, *_beside(["-" * len(name) for name in SYSTEMS.values()]), *lines]
        for judged in self.judged:
            lines += [f"{SYSTEMS[judged.os]}: refused: {reason}" for reason in judged.refused]
            lines += [f"{SYSTEMS[judged.os]}: only with a waiver: {reason}" for reason in judged.waivers]
        named = SYSTEMS[self.recommended] if self.recommended else "none of the two"
        lines += [f"recommended: {named}", *(f"  {reason}" for reason in self.reasons)]
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """Schema `edgewright.os-advice/v1`."""
        return {
            "schema": "edgewright.os-advice/v1",
            "needs": asdict(self.needs),
            "facts": [
                {**asdict(self.rows[topic, os]), "answer": self.rows[topic, os].answer}
                for topic in self.topics
                for os in SYSTEMS
            ],
            "systems": [asdict(judged) for judged in self.judged],
            "recommended": self.recommended,
            "reasons": list(self.reasons),
        }


def advise(needs: Needs, facts: OsFacts) -> Advice:
    """Weigh needs against facts.

    Returns:
        The advice; `recommended` is None where no verified fact supports either system.
    """
    demands, wishes = needs.demands(), needs.wishes()
    judged = tuple(_judge(os, demands, wishes, needs, facts) for os in SYSTEMS)
    topics = tuple(topic for topic in TOPICS if topic in demands or topic in wishes or topic in _TOLD)
    recommended, reasons = _recommend(judged, needs)
    return Advice(needs, topics, facts.rows, judged, recommended, tuple(reasons))


def _judge(os: str, demands: Sequence[str], wishes: Sequence[str], needs: Needs, facts: OsFacts) -> Judged:
    refused, waivers = [], []
    for topic in demands:
        row = facts.row(topic, os)
        if row.answer == "waiver" and needs.rt_waiver:
            waivers.append(f"{TOPICS[topic]}: {row.says} ({row.told})")
        elif row.answer == "waiver":
            refused.append(
                f"{TOPICS[topic]}: {row.says}; it takes nvidia.rt_waiver in the release: who answers, "
                "why, until "
                f"when ({row.told})"
            )
        elif row.answer != "yes":
            what = "no verified fact supports it" if row.answer == "unknown" else "it can't"
            refused.append(f"{TOPICS[topic]}: {what}: {row.says} ({row.told})")
    granted = tuple(topic for topic in wishes if facts.row(topic, os).answer == "yes")
    denied = tuple(topic for topic in wishes if topic not in granted)
    return Judged(os, tuple(refused), granted, denied, tuple(waivers))


def _recommend(judged: Sequence[Judged], needs: Needs) -> tuple[str | None, list[str]]:
    left = [each for each in judged if not each.refused]
    if not left:
        return None, [
            "because each is refused for the reasons above; change the intent, the hardware or the release"
        ]
    reasons = []
    if needs.real_time:
        reasons.append(
            f"because the intent bounds wake-up at {needs.wakeup_worst_us:g} us, and only a PREEMPT_RT "
            "kernel is "
            "made for that; no number is promised: acceptance measures it on the device"
        )
    if len(left) == 1:
        other = next(each for each in judged if each.refused)
        reasons.append(f"because {SYSTEMS[other.os]} is refused")
        reasons += [f"although it does not give: {TOPICS[topic]}" for topic in left[0].denied]
        return left[0].os, reasons
    best = max(left, key=lambda each: len(each.granted))
    rest = next(each for each in left if each is not best)
    mine = [topic for topic in best.granted if topic not in rest.granted]
    theirs = [topic for topic in rest.granted if topic not in best.granted]
    reasons += [f"because it gives, and {SYSTEMS[rest.os]} does not: {TOPICS[topic]}" for topic in mine]
    reasons += [f"although {SYSTEMS[rest.os]} gives, and it does not: {TOPICS[topic]}" for topic in theirs]
    if len(best.granted) == len(rest.granted):
        reasons.append(
            f"both grant the same number of wishes ({len(best.granted)}): {SYSTEMS[best.os]} is named "
            "since an image "
            "of it takes no account at a store; say more about updates, rollback, surface or kernel to "
            "part them"
        )
    return best.os, reasons


def _cell(row: OsRow) -> str:
    return f"{row.answer} ({row.how}): {row.says}"


def _beside(texts: Sequence[str]) -> list[str]:
    columns = [textwrap.wrap(text, _COLUMN) for text in texts]
    height = max(len(column) for column in columns)
    filled = [column + [""] * (height - len(column)) for column in columns]
    return [
        "  " + "  ".join(cell.ljust(_COLUMN) for cell in cells).rstrip()
        for cells in zip(*filled, strict=True)
    ]
