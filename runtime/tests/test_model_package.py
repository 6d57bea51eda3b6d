# SPDX-License-Identifier: Apache-2.0
"""model.yml and golden files, good and bad; and the comparison with golden outputs."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from runtime_support.models import write_sum

from edgewright_runtime.backend import Engine, load_backend
from edgewright_runtime.errors import ModelError, RequestError
from edgewright_runtime.model_package import find_packages, read_array, read_model, read_package
from edgewright_runtime.repository import Repository, ServedModel, compare, load_models, run_golden


def test_good_package(tmp_path: Path) -> None:
    root = write_sum(tmp_path)
    package = read_package(root)
    assert (package.name, package.version, package.licence) == ("sum", "1", "Apache-2.0")
    assert package.parameters["alphabet"] == ["a", "é", "\u3042", " "]
    assert package.golden[0].atol == 0.0001
    assert package.golden[0].inputs["a"] == root.resolve() / "golden/0.a.npy"
    assert read_model(package) == (root / "model.onnx").read_bytes()


CASE = {
    "name": "c",
    "inputs": {"a": "golden/0.a.npy"},
    "outputs": {"total": "golden/0.total.npz"},
    "atol": 0.1,
}
WRONG: list[tuple[str, dict[str, Any], str]] = [
    (
        "schema",
        {"schema": "edgewright.model/v2"},
        "schema: expected edgewright.model/v1, found 'edgewright.model/v2'",
    ),
    ("no schema", {"schema": None}, "schema: expected edgewright.model/v1, found None"),
    ("missing", {"licence": None, "golden": None}, "missing licence, golden"),
    ("unknown", {"licenses": "x"}, "unknown key 'licenses'"),
    ("version a number", {"version": 1}, "version: expected a string .*quote a number.*found 1"),
    ("name with slash", {"name": "a/b"}, "name: expected a string"),
    ("name empty", {"name": ""}, "name: expected a string"),
    ("licence empty", {"licence": " "}, "licence: expected an SPDX expression"),
    ("sha256 short", {"sha256": "abc"}, "sha256: expected 64"),
    ("sha256 upper", {"sha256": "A" * 64}, "sha256: expected 64"),
    ("file absolute", {"file": "/etc/passwd"}, "file: expected a path inside the package"),
    ("file above", {"file": "../x.onnx"}, "file: expected a path inside the package"),
    ("file link out", {"file": "out.onnx"}, "is a link that leaves the package"),
    ("golden empty", {"golden": []}, "golden: expected a list of at least one case"),
    ("golden no object", {"golden": ["x"]}, r"golden\[0\]: expected a mapping"),
    ("golden missing", {"golden": [{"name": "c"}]}, r"golden\[0\]: missing inputs, outputs, atol"),
    ("golden unknown", {"golden": [{**CASE, "rtol": 1}]}, r"golden\[0\]: unknown key 'rtol'"),
    ("atol negative", {"golden": [{**CASE, "atol": -1}]}, "atol: expected a number that is not negative"),
    ("atol truth", {"golden": [{**CASE, "atol": True}]}, "atol: expected a number"),
    ("atol nan", {"golden": [{**CASE, "atol": float("nan")}]}, "atol: expected a number"),
    ("golden link out", {"golden": [{**CASE, "inputs": {"a": "out.onnx"}}]}, "leaves the package"),
    ("no outputs", {"golden": [{**CASE, "outputs": {}}]}, "outputs: expected a mapping"),
    ("parameters list", {"parameters": ["x"]}, "parameters: expected a mapping"),
    ("parameters key", {"parameters": {1: "x"}}, "parameters: expected string keys"),
    ("parameters inf", {"parameters": {"a": [float("inf")]}}, r"parameters.a\[0\]: expected text"),
    ("alphabet numbers", {"parameters": {"alphabet": [1, 2]}}, "alphabet: expected a list of strings"),
]


@pytest.mark.parametrize(("changes", "words"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_wrong_description(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    root = write_sum(tmp_path, directory="p", **changes)
    (root / "out.onnx").symlink_to("/etc/hostname")
    with pytest.raises(ModelError, match=words) as caught:
        read_package(root)
    assert str(root / "model.yml") in str(caught.value)


TEXTS = [
    ("name: [", "not readable as YAML"),
    ("- a\n- b\n", "expected a mapping"),
    ("name: a\nname: b\n", "key 'name' is given twice"),
    ("name: !!python/object/apply:os.system ['true']\n", "not readable as YAML"),
    ("\xff\x00", "not readable as YAML"),
    ("", "expected a mapping"),
]


@pytest.mark.parametrize(("text", "words"), TEXTS)
def test_wrong_text(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "model.yml").write_text(text, encoding="latin-1")
    with pytest.raises(ModelError, match=words):
        read_package(tmp_path)


def test_missing_files(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "README").write_text("x")
    assert find_packages(tmp_path) == [tmp_path / "empty"]
    with pytest.raises(ModelError, match=r"cannot read .*model\.yml: No such file"):
        read_package(tmp_path / "empty")
    root = write_sum(tmp_path)
    os.unlink(root / "model.onnx")  # noqa: PTH108 # one word shorter than the reason to avoid it
    with pytest.raises(ModelError, match=r"loading sum: cannot read .*model\.onnx"):
        read_model(read_package(root))


def test_golden_arrays_are_never_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ModelError, match="reading golden array"):
        read_array(path)
    path.write_bytes(pickle.dumps(np.zeros(2)))
    with pytest.raises(ModelError, match="reading golden array"):
        read_array(path)
    for content in (b"", b"PK\x03\x04 no zip", b"\x93NUMPY\x01\x00"):
        path.write_bytes(content)
        with pytest.raises(ModelError, match="reading golden array"):
            read_array(path)
    np.savez(tmp_path / "y.npz", other=np.zeros(2))
    with pytest.raises(ModelError, match="expected a member 'value'"):
        read_array(tmp_path / "y.npz")


GOLDEN_MISFITS: list[tuple[str, dict[str, np.ndarray], dict[str, np.ndarray], str]] = [
    (
        "missing input",
        {"a": np.zeros((1, 3), "f4")},
        {"total": np.zeros((1, 3))},
        r"expected the inputs \['a', 'b'\]",
    ),
    (
        "type",
        {"a": np.zeros((1, 3), "f8"), "b": np.zeros((1, 3), "f4")},
        {"total": np.zeros((1, 3))},
        "input 'a': expected FP32, found float64",
    ),
    (
        "shape",
        {"a": np.zeros((1, 4), "f4"), "b": np.zeros((1, 4), "f4")},
        {"total": np.zeros((1, 4))},
        r"expected shape \[-1, 3\], found \[1, 4\]",
    ),
    (
        "unknown output",
        {"a": np.zeros((1, 3), "f4"), "b": np.zeros((1, 3), "f4")},
        {"sum": np.zeros((1, 3))},
        "no output 'sum'; it has difference, total",
    ),
    (
        "output's shape",
        {"a": np.zeros((1, 3), "f4"), "b": np.zeros((1, 3), "f4")},
        {"total": np.zeros((3, 1))},
        r"expected shape \[3, 1\], found \[1, 3\]",
    ),
    (
        "sizes that do not meet",
        {"a": np.zeros((2, 3), "f4"), "b": np.zeros((5, 3), "f4")},
        {"total": np.zeros((2, 3))},
        "the model cannot compute with these inputs",
    ),
]


@pytest.mark.parametrize(
    ("inputs", "outputs", "words"),
    [row[1:] for row in GOLDEN_MISFITS],
    ids=[row[0] for row in GOLDEN_MISFITS],
)
def test_golden_case_that_does_not_fit(
    tmp_path: Path, inputs: dict[str, np.ndarray], outputs: dict[str, np.ndarray], words: str
) -> None:
    root = write_sum(tmp_path)
    for name, array in {**inputs, **outputs}.items():
        np.save(root / f"{name}.npy", array)
    case = {
        "name": "c",
        "inputs": {name: f"{name}.npy" for name in inputs},
        "outputs": {name: f"{name}.npy" for name in outputs},
        "atol": 0,
    }
    data = yaml.safe_load((root / "model.yml").read_text()) | {"golden": [case]}
    (root / "model.yml").write_text(yaml.safe_dump(data))
    package = read_package(root)
    backend = load_backend("sum", ".onnx", read_model(package), Engine(1))
    with pytest.raises(ModelError, match=words):
        run_golden(package, backend, package.golden[0])


NAN, INF = float("nan"), float("inf")
PAIRS = [
    ([1.0, NAN], [1.0, NAN], 0.0, 0.0),
    ([1.0, INF], [1.0, INF], 0.0, 0.0),
    ([1.0, 2.0], [1.0, 2.25], 0.5, 0.25),
    ([], [], 0.0, 0.0),
    ([1.0], [NAN], 9.0, None),
    ([NAN], [1.0], 9.0, None),
    ([INF], [-INF], 9.0, None),
    ([INF], [1.0], 9.0, None),
    ([1.0, 2.0], [1.0, 2.6], 0.5, None),
]


@pytest.mark.parametrize(("found", "expected", "atol", "worst"), PAIRS)
def test_compare(found: list[float], expected: list[float], atol: float, worst: float | None) -> None:
    arrays = np.array(found, np.float32), np.array(expected, np.float64)
    if worst is None:
        with pytest.raises(ModelError, match="values differ by more than"):
            compare("here", *arrays, atol)
    else:
        assert compare("here", *arrays, atol) == pytest.approx(worst)


def test_unknown_kind_of_file() -> None:
    with pytest.raises(ModelError, match=r"no engine for files ending in '\.pt'; known: \.onnx"):
        load_backend("m", ".pt", b"", Engine(1))


def test_versions_in_natural_order(tmp_path: Path) -> None:
    for version in ("2", "10", "9"):
        write_sum(tmp_path, directory=f"v{version}", version=version)
    lines: list[str] = []
    repository = load_models(tmp_path, Engine(1), lines.append)
    assert repository.versions("sum") == ["2", "9", "10"]
    assert repository.get("sum").package.version == "10"
    assert repository.get("sum", "9").package.version == "9"
    with pytest.raises(RequestError, match="no version '1'; served: 2, 9, 10"):
        repository.get("sum", "1")
    assert len(lines) == 6
    twice: list[ServedModel] = [repository.get("sum"), repository.get("sum")]
    with pytest.raises(ModelError, match="is there twice"):
        Repository(twice)
