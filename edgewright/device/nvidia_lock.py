# SPDX-License-Identifier: Apache-2.0
"""What the lock says of a host's NVIDIA stack, and the waiver that it leans on. Pure.

    answer = nvidia_answer(lock, profile.as_dict())      # the entry of the lock's `nvidia`, or None
    answer["chosen"]["driver"]                           # "535.309.01"
    waiver_line("line-3", answer, today)                 # "WAIVER: line-3: NVIDIA's driver on ..."

`release lock` solves the stack for the profiles that the release names; here a host's own is looked up. A
profile that has another GPU since is refused.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from edgewright.errors import InputError

__all__ = [
    "SUBJECT",
    "answer_of_name",
    "effective_day",
    "nvidia_answer",
    "waiver_line",
    "waiver_of",
    "waiver_problem",
]

SUBJECT = "NVIDIA's driver on PREEMPT_RT"
"""What a waiver of the stack sets aside, for records and messages."""

_HARDWARE = {"gpu": "gpu_model", "jetson": "jetson_module", "arch": "arch"}
"""Items of an answer that the profile decides, by the profile's own word."""


def nvidia_answer(lock: Mapping[str, Any], profile: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The entry of the lock's `nvidia` for a host's profile.

    Args:
        lock: The lock, as `edgewright.device.lock` gives it.
        profile: `Profile.as_dict()`.

    Returns:
        `profile`, `target`, `origin`, `chosen`, `unlocked`, `warnings`, `waiver`, as docs/reference/
        release.md has them; None where the profile has no NVIDIA GPU, or the release was not made for it:
        whether that is wrong is for the area `nvidia` to say.

    Raises:
        InputError: The release was locked for other hardware of this profile's name.
    """
    if profile.get("gpu", "none") == "none":
        return None
    name, answer = profile["name"], answer_of_name(lock, profile["name"])
    if answer is None:
        return None
    for item, key in _HARDWARE.items():
        locked, has = answer["chosen"].get(item), profile.get(key)
        if locked is not None and locked != has:
            raise InputError(
                f"profile {name} has {key} {has or 'none'}, and the lock's NVIDIA stack was chosen for"
                f" {item} {locked}: lock the release anew with `edgewright release lock --profiles DIR`, DIR"
                " being the profiles/ of this inventory"
            )
    return answer


def answer_of_name(lock: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """The entry for a profile's name, for who has no more of the profile; the lock's first target counts."""
    first = f"{lock['os']['suite']}/{lock['os']['arch']}"
    mine = [entry for entry in lock.get("nvidia") or [] if entry["profile"] == name]
    return next((entry for entry in mine if entry["target"] == first), mine[0] if mine else None)


def waiver_of(answer: Mapping[str, Any] | None) -> dict[str, str] | None:
    """The waiver that a host's stack leans on: `who`, `why`, `until`; None where there is none."""
    waiver = answer["waiver"] if answer else None
    return {key: str(waiver[key]) for key in ("who", "why", "until")} if waiver else None


def effective_day(lock: Mapping[str, Any], clock: datetime.date) -> datetime.date:
    """Today, as far as an air-gapped controller can know: never before the lock's own packages were indexed.

    Args:
        lock: The lock; `apt.date` is the date of the newest index that it was made from.
        clock: The day by the controller's clock.
    """
    try:
        made = parsedate_to_datetime(str(lock["apt"].get("date", ""))).date()
    except ValueError:
        return clock
    return max(clock, made)


def waiver_line(host: str, answer: Mapping[str, Any] | None, today: datetime.date) -> str | None:
    """A line for plans and reports; None where the host leans on no waiver."""
    waiver = waiver_of(answer)
    if waiver is None:
        return None
    over = " (ENDED)" if datetime.date.fromisoformat(waiver["until"]) < today else ""
    return (
        f"WAIVER: {host}: {SUBJECT}: {waiver['who']} answers for it until {waiver['until']}{over}:"
        f" {waiver['why']}"
    )


def waiver_problem(answer: Mapping[str, Any] | None, today: datetime.date) -> str | None:
    """Why a host must not be provisioned by its waiver; None where that counts, or none is needed."""
    waiver = waiver_of(answer)
    if waiver is None or datetime.date.fromisoformat(waiver["until"]) >= today:
        return None
    return (
        f"the waiver of {waiver['who']} for {SUBJECT} ended on {waiver['until']}, today is"
        f" {today.isoformat()} ({waiver['why']}): write a new day to nvidia.rt_waiver of release.yml once"
        " somebody answers for it, and lock it anew"
    )
