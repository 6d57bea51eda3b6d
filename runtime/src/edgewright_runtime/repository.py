# SPDX-License-Identifier: Apache-2.0
"""The models of one server: read, verified, loaded and compared with their golden outputs, all or none."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgewright_runtime.backend import Backend, Engine, load_backend
from edgewright_runtime.datatypes import NUMPY_TYPES, Array
from edgewright_runtime.errors import ModelError, RequestError, shown
from edgewright_runtime.model_package import (
    GoldenCase,
    ModelPackage,
    find_packages,
    read_array,
    read_model,
    read_package,
)

__all__ = ["Repository", "ServedModel", "compare", "load_models", "run_golden"]


@dataclass(frozen=True)
class ServedModel:
    """A model that passed its golden cases."""

    package: ModelPackage
    backend: Backend


class Repository:
    """Served models by name and version. Without a version, the highest in natural order is meant."""

    def __init__(self, models: list[ServedModel]) -> None:
        self._models: dict[str, dict[str, ServedModel]] = {}
        for model in sorted(models, key=lambda m: _natural(m.package.version)):
            versions = self._models.setdefault(model.package.name, {})
            if model.package.version in versions:
                other = versions[model.package.version].package.root
                raise ModelError(
                    f"model {model.package.name} version {model.package.version} is there twice: "
                    f"{other} and {model.package.root}; remove one"
                )
            versions[model.package.version] = model

    def all(self) -> list[ServedModel]:
        """Every model and version."""
        return [model for versions in self._models.values() for model in versions.values()]

    def versions(self, name: str) -> list[str]:
        """Versions of a model, lowest first."""
        return list(self._models[name])

    def get(self, name: str, version: str | None = None) -> ServedModel:
        """One model.

        Raises:
            RequestError: 404, no such model or version.
        """
        versions = self._models.get(name)
        if versions is None:
            known = ", ".join(sorted(self._models))
            raise RequestError(
                f"model {shown(name)} is not served here; served: {known}", status=404, reason="unknown_model"
            )
        if version is None:
            return next(reversed(versions.values()))
        if version not in versions:
            raise RequestError(
                f"model {shown(name)} has no version {shown(version)}; served: {', '.join(versions)}",
                status=404,
                reason="unknown_model",
            )
        return versions[version]


def _natural(version: str) -> list[tuple[int, int, str]]:
    parts = re.findall(r"\d+|\D+", version)
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts]


def load_models(models: Path, engine: Engine, say: Callable[[str], None]) -> Repository:
    """Read, verify, load and try every model package below a directory.

    Args:
        models: directory with one directory per package.
        engine: threads and CPUs for each model.
        say: takes one line of progress.

    Raises:
        ModelError: any of them is wrong; none is served then.
    """
    packages = [read_package(root) for root in find_packages(models)]
    served = []
    for number, package in enumerate(packages, 1):
        began = time.monotonic()
        say(f"model {number} of {len(packages)}: loading {package.name} version {package.version}")
        backend = load_backend(package.name, package.file.suffix, read_model(package), engine)
        worst = max(run_golden(package, backend, case) for case in package.golden)
        say(
            f"model {number} of {len(packages)}: {package.name} version {package.version} verified and "
            f"loaded, {len(package.golden)} golden cases agree (largest difference {worst:.2g}), "
            f"{time.monotonic() - began:.1f} s"
        )
        served.append(ServedModel(package, backend))
    return Repository(served)


def run_golden(package: ModelPackage, backend: Backend, case: GoldenCase) -> float:
    """Run one golden case and compare; it also warms the model up.

    Returns:
        The largest absolute difference over all outputs.

    Raises:
        ModelError: the case does not fit the model, or an output differs by more than `atol`.
    """
    where = f"golden case {case.name!r} of {package.name} version {package.version}"
    inputs = _golden_inputs(where, backend, case)
    known = {spec.name for spec in backend.outputs}
    unknown = sorted(set(case.outputs) - known)
    if unknown:
        raise ModelError(
            f"{where}: the model has no output {shown(unknown[0])}; it has {', '.join(sorted(known))}"
        )
    names = list(case.outputs)
    try:
        results = backend.run(inputs, names)
    except RequestError as error:
        raise ModelError(f"{where}: {error}") from None
    return max(
        compare(f"{where}: output {n!r}", r, read_array(case.outputs[n]), case.atol)
        for n, r in zip(names, results, strict=True)
    )


def _golden_inputs(where: str, backend: Backend, case: GoldenCase) -> Mapping[str, Array]:
    expected = {spec.name: spec for spec in backend.inputs}
    if set(case.inputs) != set(expected):
        raise ModelError(f"{where}: expected the inputs {sorted(expected)}, found {sorted(case.inputs)}")
    arrays = {}
    for name, path in case.inputs.items():
        array, spec = read_array(path), expected[name]
        if array.dtype != NUMPY_TYPES[spec.datatype]:
            raise ModelError(
                f"{where}: input {name!r}: expected {spec.datatype}, found {array.dtype} in {path}"
            )
        fits = array.ndim == len(spec.shape) and all(
            want in (-1, have) for want, have in zip(spec.shape, array.shape, strict=True)
        )
        if not fits:
            raise ModelError(
                f"{where}: input {name!r}: expected shape {list(spec.shape)}, found "
                f"{list(array.shape)} in {path}"
            )
        arrays[name] = array
    return arrays


def compare(where: str, found: Array, expected: Array, atol: float) -> float:
    """Compare an output with its golden array, element by element; NaN agrees with NaN only.

    Args:
        where: for the message.
        found: what the model gave.
        expected: what it must give.
        atol: largest absolute difference allowed, in the output's own unit.

    Returns:
        The largest absolute difference.

    Raises:
        ModelError: another shape, no numbers, or a larger difference; the message says where it is.
    """
    if expected.dtype.kind not in "buif":
        raise ModelError(f"{where}: the golden array holds {expected.dtype}, no numbers")
    if found.shape != expected.shape:
        raise ModelError(f"{where}: expected shape {list(expected.shape)}, found {list(found.shape)}")
    if found.size == 0:
        return 0.0
    have, want = found.astype(np.float64), expected.astype(np.float64)
    with np.errstate(invalid="ignore"):
        difference = np.where((have == want) | (np.isnan(have) & np.isnan(want)), 0.0, np.abs(have - want))
    difference = np.where(np.isnan(difference), np.inf, difference)
    at = np.unravel_index(int(np.argmax(difference)), difference.shape)
    worst = float(difference[at])
    if worst > atol:
        place = [int(index) for index in at]
        raise ModelError(
            f"{where}: {int((difference > atol).sum())} of {found.size} values differ by more than {atol:g}; "
            f"the worst at {place}: expected {want[at]:g}, found {have[at]:g}"
        )
    return worst
