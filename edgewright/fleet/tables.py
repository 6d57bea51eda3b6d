# SPDX-License-Identifier: Apache-2.0
"""Readings and plans for a person: a table with a row a device, then what each row means. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from edgewright.depot.progress import human_bytes
from edgewright.device.areas import sentence
from edgewright.fleet.plan import Payload, Plan
from edgewright.fleet.reading import Reading
from edgewright.fleet.ways import skipped_lines

__all__ = ["drift_text", "plan_text", "summary", "table"]


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns side by side, parted by two blanks; the first row is the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def summary(readings: Sequence[Reading]) -> str:
    """One line: `4 devices: 2 as wanted, 1 drift, 1 unreachable`."""
    counts = Counter(reading.state for reading in readings)
    parts = ", ".join(
        f"{counts[state]} {state}"
        for state in ("as wanted", "drift", "unreachable", "failed", "unanswered")
        if counts[state]
    )
    return f"{len(readings)} device{'' if len(readings) == 1 else 's'}: {parts}"


def drift_text(readings: Sequence[Reading]) -> str:
    """The report of `edgewright drift`: the table, then each drifted item and each message, by device."""
    rows = [("DEVICE", "OS", "STATE", "ITEMS", "AREAS")]
    for reading in readings:
        areas = ", ".join(dict.fromkeys(item.area for item in reading.drift))
        items = str(len(reading.drift)) if reading.outcome == "read" else "?"
        rows.append((reading.host, reading.os or "?", reading.state, items, areas))
    blocks = [table(rows)]
    for reading in readings:
        lines = [reading.message] if reading.message else [sentence(item) for item in reading.drift]
        if lines:
            blocks.append("\n".join([f"{reading.host}:", *(f"  {line}" for line in lines)]))
    return "\n\n".join([*blocks, *_skipped(readings), summary(readings)])


def plan_text(readings: Sequence[Reading], plans: Mapping[str, Plan]) -> str:
    """The report of `edgewright plan`: the table, then what would change, and why, by device."""
    rows = [("DEVICE", "OS", "STATE", "ITEMS", "PACKAGES", "IMAGES", "SNAPS", "REBOOTS", "MINUTES")]
    for reading in readings:
        plan = plans.get(reading.host)
        if plan is None:
            rows.append((reading.host, reading.os or "?", reading.state, *"??????"))
            continue
        minutes = plan.expected.minutes
        rows.append(
            (
                reading.host,
                reading.os or "?",
                reading.state,
                str(len(plan.changes)),
                _payload(plan.packages),
                _payload(plan.images),
                _payload(plan.snaps),
                str(plan.reboots),
                ("0" if not plan.changes else "?" if minutes is None else f"{minutes:.1f}"),
            )
        )
    blocks = [table(rows)]
    known = [plans[reading.host] for reading in readings if reading.host in plans]
    loud = [line for plan in known for line in (plan.waiver, plan.grade) if line]
    if loud:
        blocks.append("\n".join(loud))
    for reading in readings:
        if reading.host not in plans:
            blocks.append(f"{reading.host}:\n  not planned: {reading.message}")
        elif plans[reading.host].changes:
            blocks.append(_device(plans[reading.host]))
    return "\n\n".join([*blocks, *_skipped(readings), summary(readings)])


def _skipped(readings: Sequence[Reading]) -> list[str]:
    """One block of what devices can't show, or none."""
    lines = skipped_lines({reading.host: reading.skipped for reading in readings})
    return ["\n".join(lines)] if lines else []


def _payload(payload: Payload) -> str:
    if not payload.names:
        return "0"
    if payload.least_bytes == payload.most_bytes:
        return f"{len(payload.names)} ({human_bytes(payload.least_bytes)})"
    least, most = human_bytes(payload.least_bytes), human_bytes(payload.most_bytes)
    return f"{len(payload.names)}+ ({least} to {most})"


def _device(plan: Plan) -> str:
    lines = [f"{plan.host}, to release {plan.release}, would change:"]
    lines += [f"  {change}" for change in plan.changes]
    for name, payload in (("packages", plan.packages), ("images", plan.images), ("snaps", plan.snaps)):
        if payload.names:
            lines.append(f"  {name}: {', '.join(payload.names)}")
    if plan.reboots:
        lines.append(f"  one reboot, for {', '.join(plan.reboot_for)}")
    lines.append(f"  time: {_time(plan)}")
    lines += [f"  cannot be undone: {words}" for words in plan.irreversible]
    if plan.by_hand:
        lines.append(f"  a run stops at {', '.join(plan.by_hand)}, which a person has to mend first")
    return "\n".join(lines)


def _time(plan: Plan) -> str:
    expected = plan.expected
    if expected.minutes is None:
        return "not known: no past run acted on " + ", ".join(expected.unknown)
    of = "this profile" if expected.same_profile else "other profiles too"
    text = f"about {expected.minutes:.1f} minutes, the median of {expected.runs} or more past runs of {of}"
    if expected.unknown:
        text += f", without {', '.join(expected.unknown)}, which no past run acted on"
    return text
