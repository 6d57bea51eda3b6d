# SPDX-License-Identifier: Apache-2.0
"""Versions as NVIDIA, Debian's kernels and Python write them, and what a person may want of them.

    Version.parse("550.54.14") < Version.parse("550.163.01")
    Want.parse("tensorrt>=10,<11").fits("10.14.1")

`==12.4` means 12.4 and every release below it (12.4.0, 12.4.1); `!=` is its opposite. The other
comparisons are numeric, missing places count as 0. Items that are words (`suite`, `kernel-flavour`)
know `==` and `!=` only.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import total_ordering
from itertools import zip_longest

from edgewright.errors import InputError

__all__ = ["Clause", "Version", "Want"]

_VERSION = re.compile(r"^[0-9]{1,9}(\.[0-9]{1,9}){0,7}$")
_WANT = re.compile(r"^\s*([a-z][a-z0-9-]*)\s*(.*?)\s*$", re.DOTALL)
_CLAUSE = re.compile(r"^(==|!=|>=|<=|>|<|=)\s*([A-Za-z0-9][A-Za-z0-9._+~-]*?)(\.\*)?$")
_EXAMPLE = "write it as `tensorrt>=10,<11`, `cuda==12.4`, `suite==bookworm` or `onnxruntime-gpu` for any"


@total_ordering
@dataclass(frozen=True)
class Version:
    """Numbers between dots. `535.54.03` and `535.54.3` are equal, as are `12.4` and `12.4.0`."""

    numbers: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> Version:
        """Read a version.

        Raises:
            InputError: It is not numbers between dots.
        """
        if not _VERSION.match(text):
            raise InputError(f"reading version {text!r}: expected numbers between dots, such as 550.54.14")
        return cls(tuple(int(part) for part in text.split(".")))

    @staticmethod
    def is_version(text: str) -> bool:
        """Whether a text can be parsed."""
        return bool(_VERSION.match(text))

    @property
    def major(self) -> int:
        """The first number; of a driver, its branch."""
        return self.numbers[0]

    @property
    def minor(self) -> str:
        """The first two numbers with a dot, such as `12.4`."""
        return ".".join(str(number) for number in (*self.numbers, 0)[:2])

    def below(self, prefix: Version) -> bool:
        """Whether this is `prefix` or a release below it: 12.4.1 is below 12.4."""
        pairs = zip_longest(self.numbers[: len(prefix.numbers)], prefix.numbers, fillvalue=0)
        return all(mine == other for mine, other in pairs)

    def _stripped(self) -> tuple[int, ...]:
        numbers = self.numbers
        while len(numbers) > 1 and numbers[-1] == 0:
            numbers = numbers[:-1]
        return numbers

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self._stripped() == other._stripped()

    def __lt__(self, other: Version) -> bool:
        return self._stripped() < other._stripped()

    def __hash__(self) -> int:
        return hash(self._stripped())

    def __str__(self) -> str:
        return ".".join(str(number) for number in self.numbers)


@dataclass(frozen=True)
class Clause:
    """One comparison of a want: `operator` is ==, !=, >=, <=, > or <; `operand` a version or word."""

    operator: str
    operand: str

    def fits(self, text: str) -> bool:
        """Whether a version or word passes. A version never equals a word."""
        if not (Version.is_version(text) and Version.is_version(self.operand)):
            return (
                (text == self.operand) == (self.operator == "==") if self.operator in ("==", "!=") else False
            )
        found, limit = Version.parse(text), Version.parse(self.operand)
        return {
            "==": found.below(limit),
            "!=": not found.below(limit),
            ">=": found >= limit,
            "<=": found <= limit,
            ">": found > limit,
            "<": found < limit,
        }[self.operator]


@dataclass(frozen=True)
class Want:
    """What is wanted of one item; no clauses: any version of it.

    Attributes:
        item: The item's name.
        clauses: Comparisons that must all pass.
        origin: Who wants it, for messages: `--want`, the profile, the release.
    """

    item: str
    clauses: tuple[Clause, ...] = ()
    origin: str = "--want"

    @classmethod
    def parse(cls, text: str, words: Sequence[str], numbers: Sequence[str], origin: str = "--want") -> Want:
        """Read a want.

        Args:
            text: Such as `tensorrt>=10,<11`.
            words: Names of the items that are words.
            numbers: Names of the items that are versions.
            origin: For messages.

        Raises:
            InputError: An unknown item, a comparison that is none, a word where a version belongs.
        """
        where = f"reading {origin} {text!r}"
        match = _WANT.match(text)
        if match is None:
            raise InputError(f"{where}: expected an item and comparisons; {_EXAMPLE}")
        item, rest = match.groups()
        known = sorted({*words, *numbers})
        if item not in known:
            near = difflib.get_close_matches(item, known, n=1)
            hint = f", did you mean {near[0]}?" if near else ""
            raise InputError(f"{where}: there is no item {item!r}{hint} Items are {', '.join(known)}")
        clauses = []
        for part in [part.strip() for part in rest.split(",")] if rest else []:
            found = _CLAUSE.match(part)
            if found is None:
                raise InputError(f"{where}: {part!r} is no comparison; {_EXAMPLE}")
            operator = "==" if found[1] == "=" else found[1]
            if found[3] and operator not in ("==", "!="):
                raise InputError(f"{where}: {part!r}: `.*` goes with == and != only; {_EXAMPLE}")
            if item in words and operator not in ("==", "!="):
                raise InputError(f"{where}: {item} is a word, so only == and != compare it, got {operator}")
            if item in numbers and not Version.is_version(found[2]):
                raise InputError(
                    f"{where}: {found[2]!r} is not a version of {item}: expected numbers between dots;"
                    f" {_EXAMPLE}"
                )
            clauses.append(Clause(operator, found[2]))
        return cls(item, tuple(clauses), origin)

    def fits(self, text: str) -> bool:
        """Whether a version or word passes every clause."""
        return all(clause.fits(text) for clause in self.clauses)

    def __str__(self) -> str:
        return self.item + ",".join(f"{clause.operator}{clause.operand}" for clause in self.clauses)
