# SPDX-License-Identifier: Apache-2.0
"""The one error of this room: a snap or an assertion that may not be used, and why in one word."""

from __future__ import annotations

from edgewright.errors import IntegrityError

__all__ = ["REASONS", "SnapRefused"]

REASONS = (
    "format",
    "signature",
    "key",
    "authority",
    "expired",
    "cut",
    "missing",
    "changed",
    "size",
    "revision",
    "name",
    "publisher",
    "developer",
    "file",
    "sequence",
    "set",
    "pair",
)
"""Every `why`: how an assertion is written; its signature; an unknown or wrong key; who signed; a key's time
is over; a link of the chain is missing; no assertion about this snap; another file than the one that was
asserted; what the assertions say against what the release says; and a validation set of another sequence, or
one that the release's snaps contradict; and a component that does not go with its snap."""


class SnapRefused(IntegrityError):  # noqa: N818 - a refusal, as BundleRefused
    """A snap or an assertion is refused.

    Attributes:
        why: One of `REASONS`.
    """

    def __init__(self, why: str, message: str) -> None:
        super().__init__(message)
        self.why = why
