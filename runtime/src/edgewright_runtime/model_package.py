# SPDX-License-Identifier: Apache-2.0
"""A model package: a directory with `model.yml`, the model's file, golden cases and the licence.

    schema: edgewright.model/v1
    name: label-reader
    version: "1"
    licence: Apache-2.0
    file: model.onnx
    sha256: <of that file>
    parameters: {alphabet: [...]}          # optional; given out in the model's metadata
    golden:
      - name: serial
        inputs: {x: golden/serial.x.npy}
        outputs: {y: golden/serial.y.npz}  # array "value"
        atol: 0.005                        # largest |difference| allowed, in the output's own unit

Guarantees: every key is known and of its type; every path stays inside the package, links followed;
the bytes that are handed on to a backend are the bytes whose sha256 was compared.
"""

from __future__ import annotations

import hashlib
import math
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import yaml

from edgewright_runtime.datatypes import Array
from edgewright_runtime.errors import ModelError, one_line, shown

__all__ = [
    "SCHEMA",
    "GoldenCase",
    "ModelPackage",
    "find_packages",
    "read_array",
    "read_model",
    "read_package",
]

SCHEMA = "edgewright.model/v1"
_DESCRIPTION = "model.yml"
_DESCRIPTION_BYTES = 16 * 1024 * 1024  # an alphabet of all of Unicode's characters fits twice
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_REQUIRED = ("schema", "name", "version", "licence", "file", "sha256", "golden")
_OPTIONAL = ("parameters",)
_GOLDEN = ("name", "inputs", "outputs", "atol")

_SafeLoader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_SafeLoader):  # type: ignore[misc] # the base is chosen when the module is read
    """The C loader where PyYAML has it (an alphabet takes seconds with the other); refuses doubled keys."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key.value!r} is given twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


@dataclass(frozen=True)
class GoldenCase:
    """Inputs and the outputs that the model must give for them.

    Args:
        name: for messages.
        inputs: input name to the path of its array.
        outputs: output name to the path of its array.
        atol: largest absolute difference allowed, in the output's own unit.
    """

    name: str
    inputs: Mapping[str, Path]
    outputs: Mapping[str, Path]
    atol: float


@dataclass(frozen=True)
class ModelPackage:
    """What `model.yml` says, checked; paths are absolute and inside `root`."""

    root: Path
    name: str
    version: str
    licence: str
    file: Path
    sha256: str
    golden: tuple[GoldenCase, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)


def find_packages(models: Path) -> list[Path]:
    """Directories of model packages below `models`, sorted by name; hidden ones and plain files are left out.

    Raises:
        ModelError: the directory cannot be read, or holds no package.
    """
    try:
        found = sorted(path for path in models.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise ModelError(f"looking for models: cannot read {models}: {error.strerror}") from None
    if not found:
        raise ModelError(
            f"looking for models: {models} holds no directory; expected one per model, with a model.yml"
        )
    return found


def read_package(root: Path) -> ModelPackage:
    """Read and check `model.yml` of one package; reads no other file's content.

    Args:
        root: the package's directory.

    Raises:
        ModelError: the file is missing or wrong; the message names the file and the key.
    """
    path = root / _DESCRIPTION
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ModelError(f"reading model package {root.name}: cannot read {path}: {error.strerror}") from None
    if len(raw) > _DESCRIPTION_BYTES:
        raise ModelError(f"{path}: expected at most {_DESCRIPTION_BYTES} bytes, found {len(raw)}")
    try:
        data = yaml.load(raw, Loader=_Loader)  # noqa: S506 # _Loader is the safe loader
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:
        raise ModelError(f"{path}: not readable as YAML: {one_line(error)}") from None
    return _checked(path, root.resolve(), data)


def _checked(path: Path, root: Path, data: Any) -> ModelPackage:
    if not isinstance(data, dict):
        raise ModelError(f"{path}: expected a mapping with the keys {', '.join(_REQUIRED)}")
    if data.get("schema") != SCHEMA:
        raise ModelError(f"{path}: schema: expected {SCHEMA}, found {shown(data.get('schema'))}")
    _keys(f"{path}", data, _REQUIRED, _OPTIONAL)
    for key in ("name", "version"):
        if not isinstance(data[key], str) or not _NAME.fullmatch(data[key]):
            raise ModelError(
                f"{path}: {key}: expected a string of letters, digits, '.', '_' and '-' (quote a number), "
                f"found {shown(data[key])}"
            )
    if not isinstance(data["licence"], str) or not data["licence"].strip():
        raise ModelError(f"{path}: licence: expected an SPDX expression, found {shown(data['licence'])}")
    if not isinstance(data["sha256"], str) or not _SHA256.fullmatch(data["sha256"]):
        raise ModelError(
            f"{path}: sha256: expected 64 lower-case hexadecimal digits, found {shown(data['sha256'])}"
        )
    golden = data["golden"]
    if not isinstance(golden, list) or not golden:
        raise ModelError(
            f"{path}: golden: expected a list of at least one case; a model is served only after it"
        )
    return ModelPackage(
        root=root,
        name=data["name"],
        version=data["version"],
        licence=data["licence"],
        file=_inside(f"{path}: file", root, data["file"]),
        sha256=data["sha256"],
        golden=tuple(_case(f"{path}: golden[{index}]", root, case) for index, case in enumerate(golden)),
        parameters=_parameters(f"{path}: parameters", data.get("parameters", {})),
    )


def _keys(
    where: str, data: Mapping[Any, Any], required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> None:
    missing = [key for key in required if key not in data]
    if missing:
        raise ModelError(f"{where}: missing {', '.join(missing)}")
    unknown = [shown(key) for key in data if key not in required and key not in optional]
    if unknown:
        raise ModelError(
            f"{where}: unknown key {', '.join(unknown)}; known are {', '.join(required + optional)}"
        )


def _inside(where: str, root: Path, value: Any) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ModelError(f"{where}: expected a path inside the package, found {shown(value)}")
    relative = PurePosixPath(value)
    if relative.is_absolute() or ".." in relative.parts:
        raise ModelError(f"{where}: expected a path inside the package, found {shown(value)}")
    path = root / relative
    try:
        path = path.resolve()
    except (OSError, RuntimeError) as error:  # a loop of links
        raise ModelError(f"{where}: {shown(value)}: {one_line(error)}") from None
    if not path.is_relative_to(root):
        raise ModelError(f"{where}: {shown(value)} is a link that leaves the package")
    return path


def _case(where: str, root: Path, case: Any) -> GoldenCase:
    if not isinstance(case, dict):
        raise ModelError(f"{where}: expected a mapping with the keys {', '.join(_GOLDEN)}")
    _keys(where, case, _GOLDEN)
    if not isinstance(case["name"], str) or not case["name"]:
        raise ModelError(f"{where}: name: expected a string, found {shown(case['name'])}")
    atol = case["atol"]
    if isinstance(atol, bool) or not isinstance(atol, int | float) or not math.isfinite(atol) or atol < 0:
        raise ModelError(f"{where}: atol: expected a number that is not negative, found {shown(atol)}")
    arrays: dict[str, dict[str, Path]] = {}
    for side in ("inputs", "outputs"):
        if not isinstance(case[side], dict) or not case[side]:
            raise ModelError(
                f"{where}: {side}: expected a mapping of tensor name to file, found {shown(case[side])}"
            )
        arrays[side] = {
            str(name): _inside(f"{where}: {side}: {name}", root, p) for name, p in case[side].items()
        }
    return GoldenCase(case["name"], arrays["inputs"], arrays["outputs"], float(atol))


def _parameters(where: str, value: Any) -> dict[str, Any]:
    """Parameters are given out as JSON: scalars, and lists and mappings of them, with finite numbers."""
    if not isinstance(value, dict):
        raise ModelError(f"{where}: expected a mapping, found {shown(value)}")

    def check(at: str, item: Any) -> None:
        if isinstance(item, dict):
            for key, below in item.items():
                if not isinstance(key, str):
                    raise ModelError(f"{at}: expected string keys, found {shown(key)}")
                check(f"{at}.{key}", below)
        elif isinstance(item, list):
            for index, below in enumerate(item):
                check(f"{at}[{index}]", below)
        elif not isinstance(item, str | int | float | bool) or (
            isinstance(item, float) and not math.isfinite(item)
        ):
            raise ModelError(
                f"{at}: expected text, number, truth value, list or mapping, found {shown(item)}"
            )

    check(where, value)
    alphabet = value.get("alphabet")
    if alphabet is not None and not (
        isinstance(alphabet, list) and all(isinstance(char, str) for char in alphabet)
    ):
        raise ModelError(f"{where}.alphabet: expected a list of strings (quote digits, y and n)")
    return value


def read_model(package: ModelPackage) -> bytes:
    """The model's bytes, after their sha256 was compared.

    Raises:
        ModelError: the file cannot be read, or is not the one that `model.yml` names.
    """
    try:
        content = package.file.read_bytes()
    except OSError as error:
        raise ModelError(f"loading {package.name}: cannot read {package.file}: {error.strerror}") from None
    found = hashlib.sha256(content).hexdigest()
    if found != package.sha256:
        raise ModelError(
            f"loading {package.name}: {package.file} is damaged or another file: expected sha256 "
            f"{package.sha256}, found {found}; get the model image again by its digest"
        )
    return content


def read_array(path: Path) -> Array:
    """An array of a golden case: a `.npy` file, or the member `value` of a `.npz` file. Never unpickles.

    Raises:
        ModelError: the file cannot be read as that.
    """
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.lib.npyio.NpzFile):
                with loaded:
                    return np.asarray(loaded["value"])
            return np.asarray(loaded)
    except KeyError:
        raise ModelError(f"reading golden array {path}: expected a member 'value' in it") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, MemoryError) as error:
        raise ModelError(f"reading golden array {path}: {one_line(error)}") from None
