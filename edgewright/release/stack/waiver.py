# SPDX-License-Identifier: Apache-2.0
"""The waiver for NVIDIA's discrete driver on a PREEMPT_RT kernel: who answers for it, why, until when.

A release carries it as `nvidia.rt_waiver`. It counts up to and including its last day. It makes nothing
work and nothing supported; it says that a named person knows.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgewright.errors import InputError

__all__ = ["Waiver", "parse_waiver"]

_FORM = 'write {who: "a name", why: "the reason", until: "2027-06-30"}'


@dataclass(frozen=True)
class Waiver:
    """A waiver.

    Attributes:
        who: Name of the person who answers for it.
        why: The reason.
        until: The last day on which it counts.
    """

    who: str
    why: str
    until: datetime.date

    def counts(self, on: datetime.date) -> bool:
        """Whether it counts on a day."""
        return on <= self.until

    def as_json(self) -> dict[str, str]:
        """For JSON."""
        return {"who": self.who, "why": self.why, "until": self.until.isoformat()}

    def __str__(self) -> str:
        return f"waiver of {self.who} until {self.until.isoformat()}: {self.why}"


def parse_waiver(content: Any, where: str) -> Waiver:
    """Check and build a waiver.

    Args:
        content: A mapping with `who`, `why`, `until`.
        where: What it is and where it stands, the message's first words.

    Raises:
        InputError: A key is missing, unknown, empty, or the day is none.
    """
    if not isinstance(content, Mapping):
        raise InputError(f"{where}: expected a mapping, got {content!r}; {_FORM}")
    keys = {"who", "why", "until"}
    if set(content) != keys:
        missing = sorted(keys - set(content))
        unknown = sorted(str(key) for key in set(content) - keys)
        told = [f"missing {', '.join(missing)}"] if missing else []
        told += [f"unknown {', '.join(unknown)}"] if unknown else []
        raise InputError(f"{where}: {'; '.join(told)}; {_FORM}")
    for key in ("who", "why"):
        if not isinstance(content[key], str) or not content[key].strip():
            raise InputError(f"{where}: {key}: expected words, got {content[key]!r}; {_FORM}")
    until = content["until"]
    try:
        day = until if type(until) is datetime.date else datetime.date.fromisoformat(str(until))
    except ValueError as error:
        raise InputError(
            f"{where}: until: expected a day such as 2027-06-30, got {until!r}; {_FORM}"
        ) from error
    return Waiver(content["who"].strip(), content["why"].strip(), day)
