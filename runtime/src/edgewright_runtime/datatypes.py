# SPDX-License-Identifier: Apache-2.0
"""Tensor datatypes of the Open Inference Protocol v2, and turning JSON numbers into arrays of them.

BYTES (strings) and BF16 (no numpy type) are not in the table: no backend here has such tensors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright_runtime.errors import RequestError

__all__ = ["NUMPY_TYPES", "Array", "array_from_json", "datatype_of"]

Array = npt.NDArray[Any]

# Protocol name -> numpy type in the byte order that the binary extension prescribes (little endian).
NUMPY_TYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}

_NAMES = {numpy_type: name for name, numpy_type in NUMPY_TYPES.items()}
_EXPECTED = {"b": "true or false", "u": "whole numbers", "i": "whole numbers", "f": "numbers"}
_ALLOWED: dict[str, set[type]] = {"b": {bool}, "u": {int}, "i": {int}, "f": {int, float}}


def datatype_of(array: Array) -> str:
    """The protocol's name of an array's type.

    Raises:
        KeyError: the protocol has no such type, or this server does not offer it.
    """
    return _NAMES[array.dtype.newbyteorder("<")]


def array_from_json(values: list[Any], datatype: str, what: str) -> Array:
    """A flat list of JSON values as an array, with no silent change of a value's kind or size.

    Args:
        values: the tensor's elements in row-major order, as `json.loads` gives them.
        datatype: name of the protocol's type, a key of `NUMPY_TYPES`.
        what: what the list is, for the message: "input 'x'".

    Returns:
        An array of one dimension.

    Raises:
        RequestError: an element is no number (no truth value, for BOOL), or out of the type's range.
    """
    target = NUMPY_TYPES[datatype]
    found = set(map(type, values)) - _ALLOWED[target.kind]
    if found:
        names = ", ".join(sorted(kind.__name__ for kind in found))
        raise RequestError(
            f"{what}: datatype {datatype} takes {_EXPECTED[target.kind]}, found {names} in 'data'"
        )
    if target.kind in "ui" and values:
        least, most = int(np.iinfo(target).min), int(np.iinfo(target).max)
        if min(values) < least or max(values) > most:
            raise RequestError(
                f"{what}: datatype {datatype} takes {least} to {most}, found a value beyond that"
            )
    try:
        if target.kind != "f":
            return np.array(values, dtype=target)
        with np.errstate(over="raise"):
            return np.array(values, dtype=np.float64).astype(target)
    except (OverflowError, FloatingPointError):
        raise RequestError(f"{what}: a value in 'data' is too large for datatype {datatype}") from None
