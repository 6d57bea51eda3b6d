# SPDX-License-Identifier: Apache-2.0
"""The errors of Edgewright: one base, and one family per party who must act.

A message says what was being done, to which object, what was expected and found, and what to do
next. Exit codes are given out in `edgewright.cli.main` only.
"""

from __future__ import annotations

__all__ = ["EdgewrightError", "InputError", "IntegrityError", "MissingToolError", "UnreachableError"]


class EdgewrightError(Exception):
    """Base of every error that Edgewright raises on purpose."""

    exit_code = 1


class InputError(EdgewrightError):
    """Something a person wrote (inventory, release file, option) is wrong: that person must act."""

    exit_code = 2


class IntegrityError(EdgewrightError):
    """Bytes are not what a lock or a digest says: get them again, or find out who changed them."""

    exit_code = 3


class UnreachableError(EdgewrightError):
    """A machine or a source did not answer: look at the network, the power or the service."""

    exit_code = 4


class MissingToolError(EdgewrightError):
    """A program that this host needs is not installed; the message names its Debian package."""

    exit_code = 5
