# SPDX-License-Identifier: Apache-2.0
"""Which licences let an artefact travel: a bundle is a copy handed on, and some licences forbid that.

What a person writes about a supplied artefact must be an SPDX expression (https://spdx.org/licenses/), with
`LicenseRef-...` for a licence that SPDX does not list. What a package says of itself may be any words; those
are only searched for the known markers. This is a guard against an oversight, not legal advice: a lawyer's
answer goes into a waiver, with the name of who gave it.

    reason = forbidden("LicenseRef-NVIDIA-SLA")     # why it may not be handed on; None when it may
"""

from __future__ import annotations

import datetime
import difflib
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgewright.errors import InputError

__all__ = [
    "OWN_WORK",
    "date_fault",
    "expression_fault",
    "forbidden",
    "refuse_expired",
    "waivers",
    "words_forbid",
]

OWN_WORK = "LicenseRef-own-work"
"""What the site made itself and may hand on as it likes."""

_PLAIN = frozenset(
    {
        *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC-BY-4.0", "CC0-1.0"),
        *("EPL-2.0", "GPL-2.0-only", "GPL-2.0-or-later", "GPL-3.0-only", "GPL-3.0-or-later", "ISC"),
        *("LGPL-2.1-only", "LGPL-2.1-or-later", "LGPL-3.0-only", "LGPL-3.0-or-later", "MIT", "MPL-2.0"),
        *("PSF-2.0", "Python-2.0", "Unlicense", "Zlib", OWN_WORK),
    }
)
"""Identifiers that need no second look: most artefacts carry one of them."""

_MARKERS: Sequence[tuple[re.Pattern[str], str]] = (
    (
        re.compile(r"nvidia", re.I),
        "NVIDIA's licences allow use, and handing on only of the parts that they list",
    ),
    (re.compile(r"(^|[^a-z])(cc-by-)?nc(-|$)|non-?commercial", re.I), "it allows non-commercial use only"),
    (
        re.compile(r"proprietary|commercial|confidential|\beula\b|all rights reserved", re.I),
        "it is a proprietary licence",
    ),
    (re.compile(r"unlicensed|\bnoassertion\b|^none$", re.I), "nobody has given leave to hand it on"),
    (re.compile(r"evaluation|\btrial\b", re.I), "it is for evaluation only"),
)
"""Words in a licence's name, and why such a licence does not let the artefact travel; first match tells."""

_DATE = re.compile(r"^\d{4}-\d{2}-\d{2}$")


def words_forbid(text: str) -> str | None:
    """Why a licence, in whatever words a package names it, forbids handing on; None when nothing says so."""
    for pattern, why in _MARKERS:
        if pattern.search(text):
            return why
    return None


def forbidden(expression: str) -> str | None:
    """Why an SPDX expression forbids handing on.

    Args:
        expression: An expression that `expression_fault` has nothing against.

    Returns:
        The reason; None when it may be handed on. Of licences joined by OR one that allows it is enough.
    """
    if expression in _PLAIN:
        return None
    return _judge(_licensing().parse(expression))


def expression_fault(expression: str) -> str | None:
    """What is wrong with an SPDX expression, and the nearest identifier; None when it is right."""
    if expression in _PLAIN:
        return None
    import license_expression  # noqa: PLC0415 - its list is large, and plain identifiers need none of it

    licensing = _licensing()
    try:
        parsed = licensing.parse(expression)
        unknown = [key for key in licensing.unknown_license_keys(parsed) if not _is_reference(key)]
    except (license_expression.ExpressionError, license_expression.ParseError) as error:
        return f"{expression!r} is no SPDX expression ({str(error).splitlines()[0]})"
    if parsed is None:
        return "it is empty"
    if not unknown:
        return None
    known = {key.lower(): key for key in licensing.known_symbols}
    near = difflib.get_close_matches(unknown[0].lower(), known, n=1)
    hint = f"did you mean {known[near[0]]!r}?" if near else "https://spdx.org/licenses/ lists them"
    return f"SPDX lists no licence {unknown[0]!r}, {hint} One that it does not list is LicenseRef-NAME"


def waivers(content: Any, steps: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every waiver of a release or lock: steps to the artefact that has one, and the waiver.

    Steps to NVIDIA's waiver for PREEMPT_RT are those to itself: it is the release's, no artefact's.
    """
    if isinstance(content, Mapping):
        for key, value in content.items():
            if key == "waiver":
                if value is not None:  # a stack that leans on none
                    yield steps, value
            elif key == "rt_waiver":
                yield (*steps, key), value
            elif key == "waivers":
                yield from (((*steps, key, name), each) for name, each in value.items())
            else:
                yield from waivers(value, (*steps, key))
    elif isinstance(content, list):
        for number, item in enumerate(content):
            yield from waivers(item, (*steps, number))


def refuse_expired(content: Mapping[str, Any], where: str, today: datetime.date) -> None:
    """Refuse a release or a lock that leans on a waiver whose time is over.

    Args:
        content: The release or the lock.
        where: Its file, for the message.
        today: The day to judge by.

    Raises:
        InputError: Naming the waiver, who gave it and when it ended.
    """
    for steps, waiver in waivers(content):
        if datetime.date.fromisoformat(waiver["until"]) < today:
            place = ".".join(str(step) for step in steps)
            raise InputError(
                f"checking {where}: {place}: the waiver of {waiver['who']} ended on {waiver['until']}, "
                f"today is {today}; ask again and write the new date, or take out what leans on it"
            )


def date_fault(text: str) -> str | None:
    """What is wrong with a waiver's `until`; None when it is a date."""
    try:
        if not _DATE.match(text):
            raise ValueError(text)
        datetime.date.fromisoformat(text)
    except ValueError:
        return f"expected a date such as 2027-06-30, got {text!r}"
    return None


@functools.cache
def _licensing() -> Any:
    import license_expression  # noqa: PLC0415 - see expression_fault

    return license_expression.get_spdx_licensing()


def _is_reference(key: str) -> bool:
    return bool(re.fullmatch(r"LicenseRef-[A-Za-z0-9.-]+", key))


def _judge(node: Any) -> str | None:
    name = type(node).__name__
    if name in {"AND", "OR"}:
        reasons = [_judge(part) for part in node.args]
        against = [reason for reason in reasons if reason]
        allowed = not against if name == "AND" else len(against) < len(reasons)
        return None if allowed else against[0]
    key = str(getattr(node, "key", node))
    if key in _PLAIN:
        return None
    why = words_forbid(key)
    if why is None and _is_reference(key):
        return "nothing is known of this licence"
    return why
