# SPDX-License-Identifier: Apache-2.0
"""The onnxruntime backend: one `InferenceSession` on the CPU."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from edgewright_runtime.backend import Engine, TensorSpec
from edgewright_runtime.datatypes import Array
from edgewright_runtime.errors import ModelError, RequestError, one_line

# onnxruntime's own builds for Linux (seen in 1.31.1) write a device number to the home directory and send
# usage data to a server of Microsoft's, from the moment they are imported. A device does neither.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as _state

__all__ = ["OnnxBackend", "load"]

_DATATYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
}

# onnxruntime's own exceptions share no base class; which of them exist depends on its version.
_ORT_ERRORS: tuple[type[Exception], ...] = tuple(
    kind for kind in vars(_state).values() if isinstance(kind, type) and issubclass(kind, Exception)
)
_RUN_ERRORS: tuple[type[Exception], ...] = (*_ORT_ERRORS, ValueError)
_LOAD_ERRORS: tuple[type[Exception], ...] = (*_ORT_ERRORS, RuntimeError, ValueError)
_FATAL_ONLY = 4  # onnxruntime's severity: the reason of a failure is in its exception, not on stderr
_MEMORY_SIGNS = ("bad allocation", "bad_alloc", "failed to allocate memory")


class OnnxBackend:
    """A model in an onnxruntime session; see `backend.Backend`."""

    platform = "onnxruntime_onnx"

    def __init__(self, name: str, session: Any) -> None:
        self._session = session
        self.inputs = tuple(_spec(name, node) for node in session.get_inputs())
        self.outputs = tuple(_spec(name, node) for node in session.get_outputs())

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """See `backend.Backend.run`."""
        try:
            return list(self._session.run(list(outputs), dict(inputs)))
        except _RUN_ERRORS as error:
            reason = one_line(error)
            if any(sign in reason.lower() for sign in _MEMORY_SIGNS):
                message = "the device has not enough memory for a request of this size"
                raise RequestError(message, status=503, reason="memory") from None
            # Types and shapes were checked against the model's declaration: what is left are sizes that the
            # model's own operators refuse (a picture narrower than a kernel, an index out of range).
            raise RequestError(
                f"the model cannot compute with these inputs: {reason}", reason="refused"
            ) from None


def _spec(model: str, node: Any) -> TensorSpec:
    datatype = _DATATYPES.get(node.type)
    if datatype is None:
        raise ModelError(
            f"loading {model}: tensor {node.name!r} is {node.type}; served are {', '.join(_DATATYPES)}"
        )
    shape = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in node.shape)
    return TensorSpec(node.name, datatype, shape)


def load(name: str, content: bytes, engine: Engine) -> OnnxBackend:
    """A session of the model's bytes.

    Bytes, not a path: what runs is what was verified, and a model that keeps weights in other files, which
    no digest covers, is refused by onnxruntime.

    Raises:
        ModelError: onnxruntime refuses the model, or a tensor's type is not served.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    options.intra_op_num_threads = engine.threads
    options.inter_op_num_threads = 1
    # Threads that spin after an inference would take time from real-time tasks on the same CPUs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if engine.cpus and engine.threads > 1:
        # onnxruntime counts CPUs from 1, and leaves the caller's thread to the caller.
        affinities = ";".join(str(cpu + 1) for cpu in engine.cpus[1:])
        options.add_session_config_entry("session.intra_op_thread_affinities", affinities)
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except _LOAD_ERRORS as error:
        raise ModelError(f"loading {name}: onnxruntime refuses the model: {one_line(error)}") from None
    return OnnxBackend(name, session)
