# SPDX-License-Identifier: Apache-2.0
"""What the probe's program takes from `typing` and `hashlib`, without importing either on a device.

A probe starts Python anew, and both cost more than reading an area: `typing` is only for those who read the
sources, and `hashlib` loads OpenSSL. In the program (`edgewright/device/probe_program.py`) the sources' lines
`from typing import` name this module instead; type checkers and tests see the sources with the real one.
Standard library only, Python 3.9 and later.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence  # noqa: F401 - names given out

# Beyond this OpenSSL is faster, its loading (some 5 ms) included.
_LARGE_BYTES = 4 * 1024 * 1024


class _Generic:
    """Stands for a type in an annotation, or in an alias of one; does nothing."""

    def __getitem__(self, parameters):  # type: ignore[no-untyped-def]
        return self


Any = Optional = Union = _Generic()
Dict, List, Set, Tuple = dict, list, set, tuple


class _Named(type):
    """Makes a named tuple of a class body, as `typing.NamedTuple` does."""

    def __new__(cls, name, bases, space):  # type: ignore[no-untyped-def]
        if not bases:
            return super().__new__(cls, name, bases, space)
        fields = list(space["__annotations__"])
        defaults = [space[field] for field in fields if field in space]
        made = namedtuple(name, fields, defaults=defaults, module=space["__module__"])  # type: ignore[misc]
        for key, value in space.items():
            if key not in fields and key not in ("__annotations__", "__module__", "__qualname__"):
                setattr(made, key, value)
        return made


class NamedTuple(metaclass=_Named):
    """See `typing.NamedTuple`."""


def sha256(data: bytes) -> str:
    """SHA-256 in small hex digits, by Python's own code where that is quicker."""
    if len(data) < _LARGE_BYTES:
        for name in ("_sha256", "_sha2"):  # up to Python 3.11, from 3.12 on
            try:
                digest: str = __import__(name).sha256(data).hexdigest()
            except ImportError:
                continue
            return digest
    import hashlib

    return hashlib.sha256(data).hexdigest()
