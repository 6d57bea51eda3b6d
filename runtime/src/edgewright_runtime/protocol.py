# SPDX-License-Identifier: Apache-2.0
"""The inference request and response of the Open Inference Protocol v2: bytes to arrays and back. No IO.

With the binary tensor data extension a body is a JSON header, `Inference-Header-Content-Length` bytes
long, followed by the raw tensors in the order of the header's list, row-major, little endian.

    request = parse_request(body, header_length, backend.inputs, backend.outputs)
    arrays = backend.run(request.inputs, [output.name for output in request.outputs])
    body, header_length = encode_response("label-reader", "1", request, arrays)
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from edgewright_runtime.backend import TensorSpec
from edgewright_runtime.datatypes import NUMPY_TYPES, Array, array_from_json, datatype_of
from edgewright_runtime.errors import RequestError, shown

__all__ = ["HEADER_LENGTH", "InferRequest", "RequestedOutput", "encode_response", "parse_request"]

HEADER_LENGTH = "Inference-Header-Content-Length"

_REQUEST_KEYS = {"id", "parameters", "inputs", "outputs"}
_INPUT_KEYS = {"name", "shape", "datatype", "parameters", "data"}
_OUTPUT_KEYS = {"name", "parameters"}
_LARGEST_DIMENSION = 2**31 - 1
# Parameters that change what an answer means, and that this server does not carry out: silence would mislead.
_REFUSED = {
    "shared_memory_region": "shared memory",
    "shared_memory_byte_size": "shared memory",
    "shared_memory_offset": "shared memory",
    "classification": "classification of outputs",
    "sequence_id": "sequences; every request stands alone",
}


@dataclass(frozen=True)
class RequestedOutput:
    """An output that the client wants, and whether as raw bytes."""

    name: str
    binary: bool


@dataclass(frozen=True)
class InferRequest:
    """A request whose inputs fit the model."""

    id: str | None
    inputs: Mapping[str, Array]
    outputs: tuple[RequestedOutput, ...]


def parse_request(
    body: bytes, header_length: int | None, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> InferRequest:
    """Read an inference request and check it against the model's declaration.

    Args:
        body: the HTTP body, uncompressed.
        header_length: bytes of JSON at the body's start; None when the body is all JSON.
        inputs: what the model takes.
        outputs: what the model gives.

    Raises:
        RequestError: the request is malformed or does not fit the model.
    """
    if header_length is None:
        header, rest = body, memoryview(b"")
    else:
        if not 0 < header_length <= len(body):
            raise RequestError(
                f"{HEADER_LENGTH}: expected 1 to {len(body)} (the body's size), found {header_length}"
            )
        header, rest = body[:header_length], memoryview(body)[header_length:]
    data = _json_object(header)
    _known_keys("the request", data, _REQUEST_KEYS)
    request_id = data.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise RequestError(f"id: expected a string, found {shown(request_id)}")
    parameters = _parameters("parameters", data)
    arrays = _inputs(data, rest, header_length is not None, inputs)
    wanted = _outputs(data, outputs, _flag("parameters", parameters, "binary_data_output", False))
    return InferRequest(request_id, arrays, wanted)


def _json_object(header: bytes) -> dict[str, Any]:
    try:
        data = json.loads(header)
    except RecursionError:
        raise RequestError("the request's JSON is nested too deeply") from None
    except UnicodeDecodeError:
        raise RequestError(
            f"the request's JSON is not UTF-8; a body with raw tensors needs the header {HEADER_LENGTH}"
        ) from None
    except json.JSONDecodeError as error:
        raise RequestError(f"the request's JSON is malformed: {error}") from None
    except ValueError:  # a number with more digits than Python converts
        raise RequestError("the request's JSON holds a number that is too long") from None
    if not isinstance(data, dict):
        raise RequestError(f"the request: expected a JSON object, found {shown(data)}")
    return data


def _known_keys(where: str, data: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(set(data) - known)
    if unknown:
        raise RequestError(f"{where}: unknown key {shown(unknown[0])}; known are {', '.join(sorted(known))}")


def _parameters(where: str, data: Mapping[str, Any]) -> dict[str, Any]:
    parameters = data.get("parameters", {})
    if not isinstance(parameters, dict):
        raise RequestError(f"{where}: expected an object, found {shown(parameters)}")
    for key in parameters.keys() & _REFUSED.keys():
        raise RequestError(f"{where}: {key}: this server does not offer {_REFUSED[key]}")
    return parameters


def _flag(where: str, parameters: Mapping[str, Any], key: str, default: bool) -> bool:
    value = parameters.get(key, default)
    if not isinstance(value, bool):
        raise RequestError(f"{where}: {key}: expected true or false, found {shown(value)}")
    return value


def _entries(data: Mapping[str, Any], key: str, known: set[str]) -> list[tuple[str, dict[str, Any]]]:
    """The objects of the list `inputs` or `outputs`, each with its name; names are unique."""
    entries = data.get(key)
    if not isinstance(entries, list):
        raise RequestError(f"{key}: expected a list of objects, found {shown(entries)}")
    named: list[tuple[str, dict[str, Any]]] = []
    seen: set[str] = set()
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise RequestError(f"{key}[{index}]: expected an object with a 'name', found {shown(entry)}")
        name = entry["name"]
        _known_keys(f"{key[:-1]} {shown(name)}", entry, known)
        if name in seen:
            raise RequestError(f"{key[:-1]} {shown(name)} is given twice")
        seen.add(name)
        named.append((name, entry))
    return named


def _names(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(repr(spec.name) for spec in specs)


def _inputs(
    data: Mapping[str, Any], rest: memoryview, has_rest: bool, specs: Sequence[TensorSpec]
) -> dict[str, Array]:
    expected = {spec.name: spec for spec in specs}
    arrays: dict[str, Array] = {}
    offset = 0
    for name, entry in _entries(data, "inputs", _INPUT_KEYS):
        what = f"input {shown(name)}"
        if name not in expected:
            raise RequestError(f"{what}: the model has no such input; it has {_names(specs)}")
        shape = _shape(what, entry, expected[name])
        parameters = _parameters(what, entry)
        if "binary_data_size" in parameters:
            if "data" in entry:
                raise RequestError(f"{what}: has both 'data' and binary_data_size; give one")
            if not has_rest:
                raise RequestError(f"{what}: binary_data_size needs the header {HEADER_LENGTH}")
            size = parameters["binary_data_size"]
            if type(size) is not int or not 0 <= size <= len(rest) - offset:
                raise RequestError(
                    f"{what}: binary_data_size: expected 0 to the {len(rest) - offset} bytes that are left "
                    f"in the body, found {shown(size)}"
                )
            arrays[name] = _from_bytes(what, rest[offset : offset + size], expected[name].datatype, shape)
            offset += size
        else:
            arrays[name] = _from_list(what, entry, expected[name].datatype, shape)
    missing = [spec for spec in specs if spec.name not in arrays]
    if missing:
        raise RequestError(f"missing input {_names(missing)}; the model takes {_names(specs)}")
    if offset != len(rest):
        raise RequestError(
            f"the body has {len(rest) - offset} bytes after its tensors that no input describes"
        )
    return arrays


def _shape(what: str, entry: Mapping[str, Any], spec: TensorSpec) -> list[int]:
    """The tensor's shape, after it and the datatype were compared with the model's."""
    datatype = entry.get("datatype")
    if datatype != spec.datatype:
        note = "; BYTES tensors are not served" if datatype == "BYTES" else ""
        raise RequestError(f"{what}: expected datatype {spec.datatype}, found {shown(datatype)}{note}")
    shape = entry.get("shape")
    if not isinstance(shape, list) or not all(type(n) is int and 0 <= n <= _LARGEST_DIMENSION for n in shape):
        raise RequestError(f"{what}: shape: expected a list of whole numbers, found {shown(shape)}")
    fits = len(shape) == len(spec.shape) and all(
        want in (-1, have) for want, have in zip(spec.shape, shape, strict=True)
    )
    if not fits:
        raise RequestError(f"{what}: expected shape {list(spec.shape)} (-1: any size), found {shown(shape)}")
    return shape


def _from_bytes(what: str, raw: memoryview, datatype: str, shape: list[int]) -> Array:
    numpy_type = NUMPY_TYPES[datatype]
    needed = math.prod(shape) * numpy_type.itemsize
    if len(raw) != needed:
        raise RequestError(f"{what}: shape {shape} of {datatype} takes {needed} bytes, found {len(raw)}")
    if datatype == "BOOL" and raw and max(raw) > 1:
        raise RequestError(f"{what}: a BOOL is one byte, 0 or 1; found {max(raw)}")
    return _reshaped(what, np.require(np.frombuffer(raw, dtype=numpy_type), requirements="A"), shape)


def _from_list(what: str, entry: Mapping[str, Any], datatype: str, shape: list[int]) -> Array:
    values = entry.get("data")
    if not isinstance(values, list):
        raise RequestError(f"{what}: 'data': expected a list, found {shown(values)}")
    # Either flat, or nested exactly as the shape says: one level is opened per dimension but the last.
    if values and isinstance(values[0], list):
        for depth in range(len(shape) - 1):
            inner = shape[depth + 1]
            if len(values) != math.prod(shape[: depth + 1]) or not all(
                isinstance(value, list) and len(value) == inner for value in values
            ):
                raise RequestError(f"{what}: 'data' is not nested as shape {shape} says (dimension {depth})")
            values = list(chain.from_iterable(values))
    if len(values) != math.prod(shape):
        raise RequestError(
            f"{what}: shape {shape} takes {math.prod(shape)} values, found {len(values)} in 'data'"
        )
    return _reshaped(what, array_from_json(values, datatype, what), shape)


def _reshaped(what: str, array: Array, shape: list[int]) -> Array:
    try:
        return array.reshape(shape)
    except (ValueError, OverflowError):  # no elements, but dimensions whose product numpy cannot hold
        raise RequestError(f"{what}: shape {shown(shape)} is too large") from None


def _outputs(
    data: Mapping[str, Any], specs: Sequence[TensorSpec], binary: bool
) -> tuple[RequestedOutput, ...]:
    known = {spec.name for spec in specs}
    if not data.get("outputs") and data.get("outputs", []) == []:
        return tuple(RequestedOutput(spec.name, binary) for spec in specs)
    wanted = []
    for name, entry in _entries(data, "outputs", _OUTPUT_KEYS):
        what = f"output {shown(name)}"
        if name not in known:
            raise RequestError(f"{what}: the model has no such output; it has {_names(specs)}")
        wanted.append(RequestedOutput(name, _flag(what, _parameters(what, entry), "binary_data", binary)))
    return tuple(wanted)


def encode_response(
    model: str, version: str, request: InferRequest, arrays: Sequence[Array]
) -> tuple[bytes, int | None]:
    """The response's body, and the size of its JSON header in bytes if raw tensors follow it.

    Args:
        model: the model's name.
        version: its version.
        request: the request that is answered.
        arrays: the outputs in the order of `request.outputs`.

    Returns:
        Body, and header length or None. Numbers that are not finite are written as NaN, Infinity and
        -Infinity, as Python's and the Triton client's JSON readers take them.
    """
    outputs: list[dict[str, Any]] = []
    raw: list[bytes] = []
    for wanted, array in zip(request.outputs, arrays, strict=True):
        datatype = datatype_of(array)
        output: dict[str, Any] = {"name": wanted.name, "datatype": datatype, "shape": list(array.shape)}
        if wanted.binary:
            content = np.ascontiguousarray(array, dtype=NUMPY_TYPES[datatype]).tobytes()
            output["parameters"] = {"binary_data_size": len(content)}
            raw.append(content)
        else:
            output["data"] = array.ravel().tolist()
        outputs.append(output)
    response: dict[str, Any] = {"model_name": model, "model_version": version}
    if request.id is not None:
        response["id"] = request.id
    response["outputs"] = outputs
    header = json.dumps(response, separators=(",", ":")).encode()
    if not raw:
        return header, None
    return b"".join([header, *raw]), len(header)
