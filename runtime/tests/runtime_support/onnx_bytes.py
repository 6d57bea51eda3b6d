# SPDX-License-Identifier: Apache-2.0
"""Writes tiny ONNX models without the onnx package: the few protobuf fields that a graph needs.

Protobuf's wire format: a field is a varint `number << 3 | kind`, kind 0 followed by a varint, kind 2 by a
length and that many bytes. Field numbers are those of `onnx.proto` (ModelProto, GraphProto, NodeProto ...).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ELEMENT_TYPES", "Node", "Value", "model_bytes"]

# TensorProto.DataType by the inference protocol's names; BYTES is ONNX's string.
ELEMENT_TYPES = {
    "FP32": 1,
    "UINT8": 2,
    "INT8": 3,
    "UINT16": 4,
    "INT16": 5,
    "INT32": 6,
    "INT64": 7,
    "BYTES": 8,
    "BOOL": 9,
    "FP16": 10,
    "FP64": 11,
    "UINT32": 12,
    "UINT64": 13,
}


@dataclass(frozen=True)
class Value:
    """An input or output; a dimension that is a string is dynamic, with that name."""

    name: str
    datatype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Node:
    """One operator without attributes."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes | str) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(raw)) + raw


def _value(value: Value) -> bytes:
    dims = b"".join(
        _bytes(1, _number(1, size) if isinstance(size, int) else _bytes(2, size)) for size in value.shape
    )
    tensor = _number(1, ELEMENT_TYPES[value.datatype]) + _bytes(2, dims)
    return _bytes(1, value.name) + _bytes(2, _bytes(1, tensor))


def model_bytes(nodes: list[Node], inputs: list[Value], outputs: list[Value]) -> bytes:
    """A ModelProto of operator set 17."""
    graph = b"".join(
        _bytes(
            1,
            b"".join(_bytes(1, name) for name in node.inputs)
            + b"".join(_bytes(2, name) for name in node.outputs)
            + _bytes(4, node.operator),
        )
        for node in nodes
    )
    graph += _bytes(2, "tiny")
    graph += b"".join(_bytes(11, _value(value)) for value in inputs)
    graph += b"".join(_bytes(12, _value(value)) for value in outputs)
    return _number(1, 8) + _bytes(7, graph) + _bytes(8, _bytes(1, "") + _number(2, 17))
