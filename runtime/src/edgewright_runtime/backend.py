# SPDX-License-Identifier: Apache-2.0
"""What the server needs of an engine that computes: the `Backend` protocol, and choosing one by file name.

A new engine is one module with a function like `onnx_backend.load` and one line in `_LOADERS`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from edgewright_runtime.datatypes import Array
from edgewright_runtime.errors import ModelError

__all__ = ["Backend", "Engine", "TensorSpec", "load_backend"]


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a model.

    Args:
        name: as the model names it.
        datatype: the protocol's type name, a key of `datatypes.NUMPY_TYPES`.
        shape: sizes; -1 where any size is taken.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Engine:
    """How an engine shall compute.

    Args:
        threads: threads that work on one inference, the caller's included.
        cpus: one CPU number per thread, first the caller's; empty to leave it to the scheduler.
    """

    threads: int
    cpus: tuple[int, ...] = ()


class Backend(Protocol):
    """A loaded model. `run` may be called from several threads at once."""

    @property
    def platform(self) -> str:
        """The protocol's name of engine and format, such as `onnxruntime_onnx`."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The model's inputs, in its own order."""

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The model's outputs, in its own order."""

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Compute.

        Args:
            inputs: every input by name; types and shapes already fit `inputs`.
            outputs: names of the outputs wanted.

        Returns:
            The outputs in the order of `outputs`.

        Raises:
            RequestError: the model cannot compute with these inputs.
        """


_LOADERS = {".onnx": "edgewright_runtime.onnx_backend"}


def load_backend(name: str, suffix: str, content: bytes, engine: Engine) -> Backend:
    """Load a model with the engine for its kind of file; imports only that engine.

    Args:
        name: the model's name, for messages.
        suffix: end of the model's file name, such as `.onnx`.
        content: the model's bytes.
        engine: threads and CPUs.

    Raises:
        ModelError: there is no engine for it, or the engine refuses it.
    """
    module = _LOADERS.get(suffix)
    if module is None:
        raise ModelError(
            f"loading {name}: no engine for files ending in {suffix!r}; known: {', '.join(_LOADERS)}"
        )
    load = cast(Callable[[str, bytes, Engine], Backend], importlib.import_module(module).load)
    return load(name, content, engine)
