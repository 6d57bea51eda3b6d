# SPDX-License-Identifier: Apache-2.0
"""Why a bundle is refused: one error with a word for programs and a sentence for people."""

from __future__ import annotations

from typing import Final

from edgewright.errors import IntegrityError

__all__ = ["REASONS", "BundleRefused"]

REASONS: Final = {
    "changed": "bytes are not those that were signed",
    "missing": "a file is not there",
    "extra": "something is there that no metadata names",
    "length": "a file is shorter or longer than signed",
    "kind": "a link, directory or special file where a file belongs",
    "name": "a name that must not be in a bundle",
    "metadata": "metadata cannot be read, is too large, or is written another way than Edgewright writes it",
    "key": "signed by a key that does not count here",
    "threshold": "signed by too few of the keys that must",
    "rollback": "older than what was accepted before",
    "mixed": "metadata of two bundles",
    "expired": "past its end",
    "untrusted": "nothing says whom to trust",
    "state": "the trusted state itself is damaged, or has moved on",
    "index": "index and metadata do not agree",
    "unreadable": "the stick cannot be read",
}


class BundleRefused(IntegrityError):  # noqa: N818 - a refusal is the right end of a wrong bundle
    """A bundle is not taken; nothing was changed.

    Args:
        why: One of `REASONS`.
        message: What was being done, to which file, expected and got, what to do next.
    """

    def __init__(self, why: str, message: str) -> None:
        if why not in REASONS:
            raise ValueError(f"{why!r} is no reason; known: {', '.join(REASONS)}")
        super().__init__(message)
        self.why = why
