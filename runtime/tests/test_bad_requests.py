# SPDX-License-Identifier: Apache-2.0
"""Whatever a client sends, it gets a 4xx with a reason, and the server goes on serving."""

from __future__ import annotations

import copy
import gzip
import json
import random
import socket
import zlib
from typing import Any

import numpy as np
import pytest
from runtime_support.serving import BODY_LIMIT, Served

INFER = "/v2/models/sum/infer"
LENGTH = "Inference-Header-Content-Length"
ROW = {"shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}
GOOD: dict[str, Any] = {"inputs": [{"name": "a", **ROW}, {"name": "b", **ROW}]}


def changed(**changes: Any) -> dict[str, Any]:
    """The good request with input `a` changed; None removes a key."""
    request = copy.deepcopy(GOOD)
    entry = {**request["inputs"][0], **changes}
    request["inputs"][0] = {key: value for key, value in entry.items() if value is not None}
    return request


def test_the_good_request_is_good(served: Served) -> None:
    status, answer, _ = served.ask("POST", INFER, GOOD)
    assert status == 200
    assert answer["outputs"][0] == {
        "name": "total",
        "datatype": "FP32",
        "shape": [1, 3],
        "data": [2.0, 4.0, 6.0],
    }


BODIES: list[tuple[str, Any, str]] = [
    ("empty", b"", "malformed"),
    ("no JSON", b"{", "malformed"),
    ("no UTF-8", b"\xff\xfe{", "not UTF-8"),
    ("deep", b"[" * 100_000, "nested too deeply"),
    ("long number", b'{"id": ' + b"9" * 5000 + b"}", "too long"),
    ("a list", [], "expected a JSON object"),
    ("unknown key", {**GOOD, "ouputs": []}, "unknown key 'ouputs'"),
    ("id no string", {**GOOD, "id": 7}, "id: expected a string"),
    ("no inputs", {}, "inputs: expected a list"),
    ("inputs null", {"inputs": None}, "inputs: expected a list"),
    ("inputs empty", {"inputs": []}, "missing input 'a', 'b'"),
    ("input no object", {"inputs": [3]}, "inputs[0]: expected an object with a 'name'"),
    ("input no name", {"inputs": [ROW]}, "inputs[0]: expected an object with a 'name'"),
    ("one missing", {"inputs": GOOD["inputs"][:1]}, "missing input 'b'"),
    ("doubled", {"inputs": GOOD["inputs"] + GOOD["inputs"][:1]}, "input 'a' is given twice"),
    (
        "extra",
        {"inputs": [*GOOD["inputs"], {"name": "c", **ROW}]},
        "the model has no such input; it has 'a', 'b'",
    ),
    ("surrogate name", b'{"inputs": [{"name": "\\ud800"}]}', "the model has no such input"),
    ("input's unknown key", changed(dtype="FP32"), "input 'a': unknown key 'dtype'"),
    ("no datatype", changed(datatype=None), "expected datatype FP32, found None"),
    ("unknown datatype", changed(datatype="float"), "expected datatype FP32, found 'float'"),
    ("BYTES", changed(datatype="BYTES", data=["x"]), "BYTES tensors are not served"),
    ("no shape", changed(shape=None), "shape: expected a list of whole numbers"),
    ("negative", changed(shape=[-1, 3]), "shape: expected a list of whole numbers"),
    ("truth as size", changed(shape=[True, 3]), "shape: expected a list of whole numbers"),
    ("float size", changed(shape=[1.0, 3]), "shape: expected a list of whole numbers"),
    ("huge size", changed(shape=[2**40, 3]), "shape: expected a list of whole numbers"),
    ("large size", changed(shape=[2**31 - 1, 3]), "takes 6442450941 values, found 3"),
    ("rank", changed(shape=[3]), "expected shape [-1, 3]"),
    ("fixed size", changed(shape=[1, 4], data=[1, 2, 3, 4]), "expected shape [-1, 3]"),
    ("no data", changed(data=None), "'data': expected a list, found None"),
    ("data no list", changed(data="123"), "'data': expected a list, found '123'"),
    ("short", changed(data=[1, 2]), "takes 3 values, found 2"),
    ("long", changed(data=[1, 2, 3, 4]), "takes 3 values, found 4"),
    ("strings", changed(data=["1", "2", "3"]), "takes numbers, found str"),
    ("truths", changed(data=[True, 2, 3]), "takes numbers, found bool"),
    ("null", changed(data=[None, 2, 3]), "takes numbers, found NoneType"),
    ("too large", changed(data=[1e39, 2, 3]), "too large for datatype FP32"),
    ("far too large", changed(data=[10**400, 2, 3]), "too large for datatype FP32"),
    ("ragged", changed(shape=[2, 3], data=[[1, 2, 3], [4, 5]]), "not nested as shape"),
    ("half nested", changed(shape=[2, 3], data=[[1, 2, 3], 4, 5, 6]), "not nested as shape"),
    ("transposed", changed(shape=[2, 3], data=[[1, 2], [3, 4], [5, 6]]), "not nested as shape"),
    ("too nested", changed(data=[[[1], [2], [3]]]), "takes numbers, found list"),
    ("parameters no object", {**GOOD, "parameters": []}, "parameters: expected an object"),
    ("input's parameters no object", changed(parameters=3), "input 'a': expected an object"),
    ("shared memory", changed(parameters={"shared_memory_region": "r"}), "does not offer shared memory"),
    ("sequence", {**GOOD, "parameters": {"sequence_id": 1}}, "does not offer sequences"),
    (
        "binary without header",
        changed(data=None, parameters={"binary_data_size": 12}),
        f"needs the header {LENGTH}",
    ),
    ("outputs no list", {**GOOD, "outputs": {}}, "outputs: expected a list"),
    ("unknown output", {**GOOD, "outputs": [{"name": "z"}]}, "output 'z': the model has no such output"),
    ("doubled output", {**GOOD, "outputs": [{"name": "total"}] * 2}, "output 'total' is given twice"),
    ("flag", {**GOOD, "parameters": {"binary_data_output": 1}}, "binary_data_output: expected true or false"),
    (
        "output's flag",
        {**GOOD, "outputs": [{"name": "total", "parameters": {"binary_data": "yes"}}]},
        "binary_data: expected true or false",
    ),
    (
        "classification",
        {**GOOD, "outputs": [{"name": "total", "parameters": {"classification": 3}}]},
        "does not offer classification",
    ),
]


@pytest.mark.parametrize(("body", "words"), [row[1:] for row in BODIES], ids=[row[0] for row in BODIES])
def test_bad_body(served: Served, body: Any, words: str) -> None:
    status, answer, headers = served.ask("POST", INFER, body)
    assert status == 400
    assert list(answer) == ["error"]
    assert words in answer["error"]
    assert "Traceback" not in answer["error"]
    assert len(answer["error"]) < 1000
    assert headers["content-type"].startswith("application/json")


def binary(sizes: list[Any], tail: bytes, **more: Any) -> tuple[bytes, int]:
    """A request with both inputs as raw tensors of the sizes said, and what follows the header."""
    request = {
        "inputs": [
            {
                "name": name,
                "shape": [1, 3],
                "datatype": "FP32",
                "parameters": {"binary_data_size": size},
                **more,
            }
            for name, size in zip("ab", sizes, strict=True)
        ]
    }
    header = json.dumps(request).encode()
    return header + tail, len(header)


RAW = np.arange(6, dtype="<f4").tobytes()
BINARY: list[tuple[str, tuple[bytes, Any], str]] = [
    ("too few bytes", binary([12, 12], RAW[:20]), "expected 0 to the 8 bytes that are left"),
    ("too many bytes", binary([12, 12], RAW + b"x"), "has 1 bytes after its tensors"),
    ("size too small", binary([8, 16], RAW), "takes 12 bytes, found 8"),
    ("size negative", binary([-12, 12], RAW), "binary_data_size: expected 0 to"),
    ("size a truth", binary([True, 12], RAW), "binary_data_size: expected 0 to"),
    ("size a string", binary(["12", 12], RAW), "binary_data_size: expected 0 to"),
    ("data too", binary([12, 12], RAW, data=[1, 2, 3]), "has both 'data' and binary_data_size"),
    ("length too large", (binary([12, 12], RAW)[0], 10**6), "expected 1 to"),
    ("length zero", (binary([12, 12], RAW)[0], 0), "expected 1 to"),
    ("length too small", (binary([12, 12], RAW)[0], 20), "malformed"),
    ("length into the data", (binary([12, 12], b"\xff" * 24)[0], binary([12, 12], b"")[1] + 4), "not UTF-8"),
    ("length negative", (binary([12, 12], RAW)[0], -5), "expected one whole number"),
    ("length no number", (binary([12, 12], RAW)[0], "abc"), "expected one whole number"),
    ("length endless", (binary([12, 12], RAW)[0], "9" * 400), "expected one whole number"),
    ("length other digits", (binary([12, 12], RAW)[0], "\u00b2"), "expected one whole number"),
    (
        "length without binary",
        (json.dumps(GOOD).encode() + b"zz", len(json.dumps(GOOD))),
        "has 2 bytes after",
    ),
]


@pytest.mark.parametrize(("made", "words"), [row[1:] for row in BINARY], ids=[row[0] for row in BINARY])
def test_bad_binary_body(served: Served, made: tuple[bytes, Any], words: str) -> None:
    status, answer, _ = served.ask("POST", INFER, made[0], {LENGTH: str(made[1])})
    assert status == 400
    assert words in answer["error"]


def test_binary_request_and_answer_by_hand(served: Served) -> None:
    body, length = binary([12, 12], RAW)
    status, answer, headers = served.ask("POST", INFER, body, {LENGTH: str(length)})
    assert status == 200, "the outputs are JSON when nothing asks for binary"
    assert answer["outputs"][0]["data"] == [3.0, 5.0, 7.0]
    assert LENGTH.lower() not in headers


TYPED: list[tuple[str, list[Any], str]] = [
    ("BOOL", [0, 1], "takes true or false, found int"),
    ("UINT8", [1, 256], "takes 0 to 255"),
    ("UINT8", [-1, 0], "takes 0 to 255"),
    ("INT8", [-129, 0], "takes -128 to 127"),
    ("INT32", [1.0, 2.0], "takes whole numbers, found float"),
    ("INT64", [2**63, 0], "takes -9223372036854775808"),
    ("UINT64", [-1, 0], "takes 0 to 18446744073709551615"),
    ("FP16", [1e6, 0], "too large for datatype FP16"),
]


@pytest.mark.parametrize(("datatype", "data", "words"), TYPED, ids=[f"{row[0]} {row[1]}" for row in TYPED])
def test_values_of_the_wrong_kind(served: Served, datatype: str, data: list[Any], words: str) -> None:
    entry = {"name": f"x_{datatype}", "datatype": datatype, "shape": [1, 2], "data": data}
    status, answer, _ = served.ask("POST", "/v2/models/types/infer", {"inputs": [entry]})
    assert (status, words in answer["error"]) == (400, True), answer


def test_bool_bytes_are_0_or_1(served: Served) -> None:
    entry = {"name": "x_BOOL", "datatype": "BOOL", "shape": [1, 2], "parameters": {"binary_data_size": 2}}
    header = json.dumps({"inputs": [entry]}).encode()
    status, answer, _ = served.ask(
        "POST", "/v2/models/types/infer", header + b"\x01\x02", {LENGTH: str(len(header))}
    )
    assert (status, "one byte, 0 or 1; found 2" in answer["error"]) == (400, True), answer


def test_what_the_model_itself_refuses(served: Served) -> None:
    request = {
        "inputs": [
            {"name": "x", "shape": [3], "datatype": "FP32", "data": [1, 2, 3]},
            {"name": "at", "shape": [1], "datatype": "INT64", "data": [99]},
        ]
    }
    status, answer, _ = served.ask("POST", "/v2/models/gather/infer", request)
    assert status == 400
    assert "the model cannot compute with these inputs" in answer["error"]
    assert "99" in answer["error"]
    request["inputs"][1]["data"] = [2]
    assert served.ask("POST", "/v2/models/gather/infer", request)[0] == 200


PATHS = [
    ("GET", "/", 404, "GET '/'"),
    ("GET", "/v2/", 404, "GET '/v2/'"),
    ("GET", "/v2/models/nobody", 404, "model 'nobody' is not served here; served: gather, sum, types"),
    ("GET", "/v2/models/sum/versions/9", 404, "model 'sum' has no version '9'; served: 1, 2"),
    ("GET", "/v2/models/sum/versions/9/ready", 404, "no version '9'"),
    ("POST", "/v2/models/nobody/infer", 404, "model 'nobody'"),
    ("POST", "/v2/models/sum/versions/9/infer", 404, "no version '9'"),
    ("GET", INFER, 405, "Method Not Allowed"),
    ("POST", "/v2", 405, "Method Not Allowed"),
    ("GET", "/v2/models/sum/config", 404, "/config"),
    ("GET", "/v2/models/%ff%fe%00", 404, "is not served here"),
    ("GET", "/v2/models/" + "x" * 5000, 404, "is not served here"),
]


@pytest.mark.parametrize(
    ("method", "path", "status", "words"), PATHS, ids=[f"{r[0]} {r[1][:40]}" for r in PATHS]
)
def test_wrong_path(served: Served, method: str, path: str, status: int, words: str) -> None:
    found, answer, _ = served.ask(method, path, b"{}" if method == "POST" else None)
    assert found == status
    assert words in answer["error"]
    assert len(answer["error"]) < 400


class TestSize:
    """A body over the limit is refused however it comes, and the next request is served."""

    def check(self, served: Served, status: int, answer: Any) -> None:
        assert status == 413
        assert f"at most {BODY_LIMIT} bytes are taken" in answer["error"]
        assert served.ask("POST", INFER, GOOD)[0] == 200

    def test_declared(self, served: Served) -> None:
        self.check(served, *served.ask("POST", INFER, b" " * (BODY_LIMIT + 1))[:2])

    def test_much_too_large(self, served: Served) -> None:
        self.check(served, *served.ask("POST", INFER, b" " * (BODY_LIMIT * 100))[:2])

    def test_chunked(self, served: Served) -> None:
        connection = served.connection()
        connection.request("POST", INFER, iter([b" " * 50_000] * 5), encode_chunked=True)
        answer = connection.getresponse()
        content = json.loads(answer.read())
        connection.close()
        self.check(served, answer.status, content)

    @pytest.mark.parametrize("encoding", ["gzip", "deflate"])
    def test_bomb(self, served: Served, encoding: str) -> None:
        body = (gzip if encoding == "gzip" else zlib).compress(b" " * 50_000_000)
        assert len(body) < BODY_LIMIT
        self.check(served, *served.ask("POST", INFER, body, {"Content-Encoding": encoding})[:2])

    def test_just_within(self, served: Served) -> None:
        body = json.dumps(GOOD).encode()
        assert served.ask("POST", INFER, body + b" " * (BODY_LIMIT - len(body)))[0] == 200

    def test_the_connection_can_be_used_again(self, served: Served) -> None:
        connection = served.connection()
        connection.request("POST", INFER, b" " * (BODY_LIMIT + 1))
        answer = connection.getresponse()
        assert answer.status == 413
        answer.read()
        connection.request("POST", INFER, json.dumps(GOOD).encode())
        assert connection.getresponse().status == 200
        connection.close()


def test_chunked_within_the_limit(served: Served) -> None:
    connection = served.connection()
    connection.request("POST", INFER, iter([json.dumps(GOOD).encode()]), encode_chunked=True)
    assert connection.getresponse().status == 200
    connection.close()


# No time in what is compressed: it would be in the tests' names, which two workers must find equal.
ENCODINGS = [
    ("br", b"x", 415, "Content-Encoding: expected gzip, deflate or identity, found 'br'"),
    ("gzip", b"not gzip", 400, "not what Content-Encoding gzip says"),
    ("gzip", gzip.compress(b"{}", mtime=0)[:-4], 400, "not one complete gzip stream"),
    ("gzip", gzip.compress(b"{}", mtime=0) + b"more", 400, "not one complete gzip stream"),
    ("deflate", b"", 400, "not one complete deflate stream"),
]


@pytest.mark.parametrize(("encoding", "body", "status", "words"), ENCODINGS)
def test_bad_encoding(served: Served, encoding: str, body: bytes, status: int, words: str) -> None:
    found, answer, _ = served.ask("POST", INFER, body, {"Content-Encoding": encoding})
    assert (found, words in answer["error"]) == (status, True), answer


def test_client_that_goes_away_does_no_harm(served: Served) -> None:
    assert isinstance(served.address, tuple)
    with socket.create_connection(served.address) as raw:
        raw.sendall(b"POST /v2/models/sum/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
    assert served.ask("GET", "/v2/health/ready")[0] == 200


def test_random_damage_never_breaks_the_server(served: Served) -> None:
    """Bytes of a good binary request are changed, cut and doubled, 400 times, from a fixed seed."""
    body, length = binary([12, 12], RAW)
    chance = random.Random(4711)  # noqa: S311 # repeatable on purpose
    connection = served.connection()
    seen = set()
    for _ in range(400):
        damaged = bytearray(body)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(damaged))
            kind = chance.randrange(3)
            if kind == 0:
                damaged[at] = chance.randrange(256)
            elif kind == 1:
                del damaged[at : at + chance.randint(1, 8)]
            else:
                damaged[at:at] = damaged[at : at + chance.randint(1, 8)]
        connection.request(
            "POST", INFER, bytes(damaged), {LENGTH: str(length + chance.choice([0, 0, 0, 1, -1, 40]))}
        )
        answer = connection.getresponse()
        content = answer.read()
        seen.add(answer.status)
        assert answer.status in (200, 400), content
    connection.close()
    assert 400 in seen
    assert served.ask("POST", INFER, GOOD)[0] == 200
