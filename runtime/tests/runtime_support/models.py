# SPDX-License-Identifier: Apache-2.0
"""Model packages for the tests: each function writes one below a directory and gives its root."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from runtime_support.onnx_bytes import Node, Value, model_bytes

# One model with an input and an output of every datatype that is served.
TYPES = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}


def write_package(
    models: Path,
    name: str,
    content: bytes,
    cases: list[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]],
    *,
    directory: str | None = None,
    **changes: Any,
) -> Path:
    """Write a package.

    Args:
        models: directory of packages.
        name: the model's name.
        content: the model's bytes.
        cases: golden inputs and outputs.
        directory: the package's directory, when it is not the model's name.
        changes: keys of `model.yml` to set; None leaves a key out.
    """
    root = models / (directory or name)
    (root / "golden").mkdir(parents=True)
    (root / "model.onnx").write_bytes(content)
    (root / "LICENSE").write_text("Apache-2.0\n")
    golden = []
    for index, (inputs, outputs) in enumerate(cases):
        case: dict[str, Any] = {"name": f"case{index}", "inputs": {}, "outputs": {}, "atol": 0.0001}
        for key, array in inputs.items():
            case["inputs"][key] = f"golden/{index}.{key}.npy"
            np.save(root / case["inputs"][key], array)
        for key, array in outputs.items():
            case["outputs"][key] = f"golden/{index}.{key}.npz"
            np.savez_compressed(root / case["outputs"][key], value=array)
        golden.append(case)
    description: dict[str, Any] = {
        "schema": "edgewright.model/v1",
        "name": name,
        "version": "1",
        "licence": "Apache-2.0",
        "file": "model.onnx",
        "sha256": hashlib.sha256(content).hexdigest(),
        "golden": golden,
    }
    description = {key: value for key, value in (description | changes).items() if value is not None}
    (root / "model.yml").write_text(yaml.safe_dump(description, allow_unicode=True))
    return root


def write_sum(models: Path, **changes: Any) -> Path:
    """`total` = a + b and `difference` = a - b, each FP32 [n, 3]."""
    pair = [Value("a", "FP32", ("n", 3)), Value("b", "FP32", ("n", 3))]
    content = model_bytes(
        [Node("Add", ("a", "b"), ("total",)), Node("Sub", ("a", "b"), ("difference",))],
        pair,
        [Value("total", "FP32", ("n", 3)), Value("difference", "FP32", ("n", 3))],
    )
    a = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    b = np.array([[10, 20, 30], [0.5, 0.25, 0]], np.float32)
    case = ({"a": a, "b": b}, {"total": a + b, "difference": a - b})
    changes.setdefault("parameters", {"alphabet": ["a", "é", "\u3042", " "], "scale": 0.5})
    return write_package(models, changes.pop("name", "sum"), content, [case], **changes)


def write_types(models: Path) -> Path:
    """Input `x_T` given back as `y_T`, shape [-1, -1], for every datatype T."""
    content = model_bytes(
        [Node("Identity", (f"x_{t}",), (f"y_{t}",)) for t in TYPES],
        [Value(f"x_{t}", t, ("n", "m")) for t in TYPES],
        [Value(f"y_{t}", t, ("n", "m")) for t in TYPES],
    )
    inputs = {f"x_{t}": np.array([[0, 1]], kind) for t, kind in TYPES.items()}
    outputs = {f"y_{t}": np.array([[0, 1]], kind) for t, kind in TYPES.items()}
    return write_package(models, "types", content, [(inputs, outputs)])


def write_gather(models: Path) -> Path:
    """`y` = x[at]: an index that is out of range fails only while the model computes."""
    content = model_bytes(
        [Node("Gather", ("x", "at"), ("y",))],
        [Value("x", "FP32", ("n",)), Value("at", "INT64", ("m",))],
        [Value("y", "FP32", ("m",))],
    )
    x = np.array([1, 2, 3], np.float32)
    return write_package(models, "gather", content, [({"x": x, "at": np.array([2])}, {"y": x[2:]})])


def write_power(models: Path, steps: int = 60) -> Path:
    """`y` = x multiplied with itself again and again: takes as long as the matrix is large."""
    names = ["x", *(f"t{step}" for step in range(steps - 1)), "y"]
    content = model_bytes(
        [Node("MatMul", (names[i], "x"), (names[i + 1],)) for i in range(steps)],
        [Value("x", "FP32", ("n", "n"))],
        [Value("y", "FP32", ("n", "n"))],
    )
    one = np.eye(2, dtype=np.float32)
    return write_package(models, "power", content, [({"x": one}, {"y": one})])
