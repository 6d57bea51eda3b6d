# SPDX-License-Identifier: Apache-2.0
"""Triton's own HTTP client from PyPI, unchanged, against the served process."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from runtime_support.models import TYPES
from runtime_support.serving import Served
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

A = np.array([[1, 2, 3]], np.float32)
B = np.array([[0.5, -1, float("nan")]], np.float32)


@pytest.fixture
def client(served: Served) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(served.url) as client:
        yield client


def tensor(name: str, array: np.ndarray, *, binary: bool = True) -> InferInput:
    made = InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def test_health_and_metadata(client: InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("sum")
    assert client.is_model_ready("sum", "1")
    assert not client.is_model_ready("sum", "9")
    assert not client.is_model_ready("nobody")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    shape = [-1, 3]
    assert client.get_model_metadata("sum") == {
        "name": "sum",
        "versions": ["1", "2"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": n, "datatype": "FP32", "shape": shape} for n in ("a", "b")],
        "outputs": [{"name": n, "datatype": "FP32", "shape": shape} for n in ("total", "difference")],
        "parameters": {"alphabet": ["a", "é", "\u3042", " "], "scale": 0.5},
    }


@pytest.mark.parametrize("binary_in", [True, False], ids=["binary input", "JSON input"])
@pytest.mark.parametrize("binary_out", [True, False], ids=["binary output", "JSON output"])
def test_infer(client: InferenceServerClient, binary_in: bool, binary_out: bool) -> None:
    clean = np.nan_to_num(B)  # the client itself cannot write NaN as JSON
    outputs = [InferRequestedOutput(n, binary_data=binary_out) for n in ("difference", "total")]
    result = client.infer(
        "sum",
        [tensor("a", A, binary=binary_in), tensor("b", clean, binary=binary_in)],
        outputs=outputs,
        request_id="r-1",
    )
    assert np.array_equal(result.as_numpy("total"), A + clean)
    assert np.array_equal(result.as_numpy("difference"), A - clean)
    response = result.get_response()
    assert (response["model_name"], response["model_version"], response["id"]) == ("sum", "2", "r-1")
    assert [output["name"] for output in response["outputs"]] == ["difference", "total"]


def test_mixed_binary_and_json(client: InferenceServerClient) -> None:
    outputs = [InferRequestedOutput("total", binary_data=False), InferRequestedOutput("difference")]
    result = client.infer("sum", [tensor("a", A, binary=False), tensor("b", A)], outputs=outputs)
    assert np.array_equal(result.as_numpy("total"), A + A)
    assert np.array_equal(result.as_numpy("difference"), A - A)


def test_nan_passes_in_both_forms(client: InferenceServerClient) -> None:
    for outputs in (None, [InferRequestedOutput("total", binary_data=False)]):
        result = client.infer("sum", [tensor("a", A), tensor("b", B)], outputs=outputs)
        assert np.array_equal(result.as_numpy("total"), A + B, equal_nan=True)


def test_no_outputs_named_means_all_binary_and_one_version(client: InferenceServerClient) -> None:
    result = client.infer("sum", [tensor("a", A), tensor("b", A)], model_version="1")
    assert result.get_response()["model_version"] == "1"
    assert np.array_equal(result.as_numpy("total"), 2 * A)
    assert np.array_equal(result.as_numpy("difference"), 0 * A)


def edge_values(kind: type) -> np.ndarray:
    if kind is np.bool_:
        return np.array([[True, False, True]])
    info = np.finfo(kind) if issubclass(kind, np.floating) else np.iinfo(kind)
    return np.array([[info.min, 1, info.max]], dtype=kind)


@pytest.mark.parametrize("json_input", [False, True], ids=["binary", "JSON"])
def test_every_datatype_keeps_its_edge_values(client: InferenceServerClient, json_input: bool) -> None:
    values = {name: edge_values(kind) for name, kind in TYPES.items()}
    # The client writes FP16 as binary only.
    inputs = [tensor(f"x_{n}", v, binary=not json_input or n == "FP16") for n, v in values.items()]
    outputs = [InferRequestedOutput(f"y_{n}", binary_data=not json_input or n == "FP16") for n in values]
    result = client.infer("types", inputs, outputs=outputs)
    for name, value in values.items():
        found = result.as_numpy(f"y_{name}")
        assert found.dtype == value.dtype, name
        assert np.array_equal(found, value), name


def test_empty_batch(client: InferenceServerClient) -> None:
    none = np.empty((0, 3), np.float32)
    assert client.infer("sum", [tensor("a", none), tensor("b", none)]).as_numpy("total").shape == (0, 3)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_request(client: InferenceServerClient, algorithm: str) -> None:
    big = np.zeros((2000, 3), np.float32) + np.arange(3, dtype=np.float32)
    result = client.infer(
        "sum", [tensor("a", big), tensor("b", big)], request_compression_algorithm=algorithm
    )
    assert np.array_equal(result.as_numpy("total"), 2 * big)


def test_async_infer(client: InferenceServerClient) -> None:
    pending = [client.async_infer("sum", [tensor("a", A * n), tensor("b", A)]) for n in range(5)]
    for n, one in enumerate(pending):
        assert np.array_equal(one.get_result().as_numpy("total"), A * n + A)


@pytest.mark.parametrize(
    ("model", "inputs", "status", "words"),
    [
        ("nobody", [("a", A), ("b", A)], "404", "model 'nobody' is not served here; served: "),
        ("sum", [("a", A)], "400", "missing input 'b'"),
        ("sum", [("a", A), ("b", A), ("c", A)], "400", "input 'c': the model has no such input"),
        ("sum", [("a", A), ("b", A.astype(np.float64))], "400", "expected datatype FP32, found 'FP64'"),
        ("sum", [("a", A), ("b", A[:, :2])], "400", "expected shape [-1, 3] (-1: any size), found [1, 2]"),
        ("sum", [("a", A), ("b", np.array([[b"x"]], object))], "400", "BYTES tensors are not served"),
        ("sum", [("a", np.zeros((20_000, 3), np.float32)), ("b", A)], "413", "at most 200000 bytes"),
    ],
)
def test_errors_reach_the_client(
    client: InferenceServerClient, model: str, inputs: list[tuple[str, np.ndarray]], status: str, words: str
) -> None:
    with pytest.raises(InferenceServerException) as caught:
        client.infer(model, [tensor(name, array) for name, array in inputs])
    assert caught.value.status() == status
    assert words in caught.value.message()
    assert client.is_server_ready()
