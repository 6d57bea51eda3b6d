# SPDX-License-Identifier: Apache-2.0
"""The measuring program: its decoder, its pace, its errors, its kernel log; then whole over real TLS.

The server here stands for nginx and the model: it speaks the same protocol and answers what it is
told. The program itself is the real one, loaded from the role's files.
"""

from __future__ import annotations

import contextlib
import http.server
import importlib.util
import json
import ssl
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewright.labels import decode as decode_on_the_controller
from edgewright.paths import collection_root
from edgewright.record.labels import pack

PROGRAM = collection_root() / "roles" / "acceptance" / "files" / "measure.py"
ALPHABET = ["S", "N", " ", "4", "é"]


def _load() -> Any:
    spec = importlib.util.spec_from_file_location("measure", PROGRAM)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


measure = _load()


def scores(classes: list[int]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """An output that says these classes, one for each step."""
    output = np.full((1, len(classes), len(ALPHABET) + 1), 0.01, np.float32)
    for step, best in enumerate(classes):
        output[0, step, best] = 0.9
    return output


DECODED = {
    "text": ([1, 2, 3, 4], "SN 4"),
    "repeats are one": ([1, 1, 2, 2, 2], "SN"),
    "blank parts repeats": ([4, 0, 4, 4], "44"),
    "blanks only": ([0, 0], ""),
    "nothing": ([], ""),
    "beyond ASCII": ([0, 5, 0], "é"),
}


@pytest.mark.parametrize(("classes", "text"), DECODED.values(), ids=DECODED.keys())
def test_decodes_as_the_controller_does(classes: list[int], text: str) -> None:
    output = scores(classes)
    assert measure.decode(output.tobytes(), list(output.shape), ALPHABET) == text
    assert decode_on_the_controller(output, ALPHABET) == text


def test_random_outputs_decode_alike() -> None:
    rng = np.random.default_rng(7)
    for _ in range(20):
        output = rng.random((1, 30, len(ALPHABET) + 1), dtype=np.float32)
        assert measure.decode(output.tobytes(), list(output.shape), ALPHABET) == decode_on_the_controller(
            output, ALPHABET
        )


@pytest.mark.parametrize("shape", [[1, 2, 7], [2, 1, 6], [2, 6], [1, 3, 6]])
def test_output_that_does_not_fit(shape: list[int]) -> None:
    with pytest.raises(ValueError, match="does not fit 6 classes"):
        measure.decode(bytes(4 * 12), shape, ALPHABET)


MESSAGES = {
    "BUG: scheduling while atomic: irq/24-nvidia/812/0x00000002": "bug",
    "WARNING: CPU: 2 PID: 1 at kernel/sched/core.c:1": "warning",
    "watchdog: BUG: soft lockup - CPU#3 stuck for 26s!": "lockup",
    "INFO: task nginx:812 blocked for more than 120 seconds.": "lockup",
    "rcu: INFO: rcu_preempt self-detected stall on CPU": "stall",
    "clocksource: timekeeping watchdog on CPU1: Marking clocksource 'tsc' as unstable": "stall",
    "general protection fault, probably for non-canonical address": "bug",
    "EXT4-fs (vda2): mounted filesystem": None,
    "systemd[1]: Warning: a unit was changed": None,
    "DEBUG: nothing": None,
}


@pytest.mark.parametrize(("text", "kind"), MESSAGES.items())
def test_kind_of_a_kernel_message(text: str, kind: str | None) -> None:
    assert measure.kernel_kind(text) == kind


def test_kernel_log_that_cannot_be_read(tmp_path: Path) -> None:
    log = measure.KernelLog(str(tmp_path / "none"))
    assert "No such file" in log.result()["error"]


@pytest.mark.parametrize(("text", "cpus"), [("3", [3]), ("2-3", [2, 3]), ("1,4-6", [1, 4, 5, 6])])
def test_cpu_numbers(text: str, cpus: list[int]) -> None:
    assert measure.cpu_numbers(text) == cpus


class Clock:
    """Time that passes only when somebody sleeps or a request is answered."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += round(seconds * 1e9)


class Answering:
    """A connection whose answers take a given time and say a given text for each label."""

    def __init__(
        self, clock: Clock, takes_s: float, outputs: list[list[int]], fails: set[int] | None = None
    ) -> None:
        self.clock, self.takes_s, self.outputs, self.fails = clock, takes_s, outputs, fails or set()
        self.asked = self.closed = 0

    def close(self) -> None:
        self.closed += 1

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: Any = None
    ) -> tuple[dict[str, str], bytes]:
        if method == "GET":
            assert path == "/v2/models/m"
            metadata = {
                "inputs": [{"name": "x"}],
                "outputs": [{"name": "y"}],
                "parameters": {"alphabet": ALPHABET},
            }
            return {}, json.dumps(metadata).encode()
        assert path == "/v2/models/m/infer"
        head = json.loads(body[: int(headers["Inference-Header-Content-Length"])])
        assert (
            head["inputs"][0]["parameters"]["binary_data_size"]
            == 4
            == len(body) - int(headers["Inference-Header-Content-Length"])
        )
        self.clock.sleep(self.takes_s)
        self.asked += 1
        if self.asked in self.fails:
            raise OSError("connection lost")
        return answer(self.outputs[int(struct.unpack("<f", body[-4:])[0])])


def answer(classes: list[int]) -> tuple[dict[str, str], bytes]:
    output = scores(classes)
    head = json.dumps({"outputs": [{"name": "y", "shape": list(output.shape), "datatype": "FP32"}]}).encode()
    return {"inference-header-content-length": str(len(head))}, head + output.tobytes()


PLAN = {"model": "m", "rate_hz": 10.0, "duration_s": 2.0, "shapes": [[1], [1]]}
TENSORS = [struct.pack("<f", 0), struct.pack("<f", 1)]


def run(takes_s: float, fails: set[int] | None = None, **plan: Any) -> tuple[dict[str, Any], Answering]:
    clock = Clock()
    device = Answering(clock, takes_s, [[1, 2], [4]], fails)
    told: list[str] = []
    made = measure.measure_requests(
        {**PLAN, **plan}, TENSORS, device, tell=told.append, clock=clock, sleep=clock.sleep
    )
    return made, device


def test_keeps_the_pace() -> None:
    made, _ = run(0.02)
    assert (made["sent"], made["late"], made["errors"]) == (20, 0, 0)
    assert made["latency_us_histogram"] == {"20000": 20}
    assert made["texts"] == [{"SN": 10}, {"4": 10}]
    assert made["seconds"] == pytest.approx(2.0, abs=0.11)


def test_a_slow_model_is_late_and_not_hurried() -> None:
    made, _ = run(0.25)
    assert (made["sent"], made["late"]) == (8, 10)
    assert made["latency_us_histogram"] == {"250000": 8}


def test_each_label_is_asked_however_short_the_time() -> None:
    made, _ = run(7.0, duration_s=0.5)
    assert [sum(read.values()) for read in made["texts"]] == [1, 1]


def test_an_error_is_counted_and_the_connection_made_anew() -> None:
    made, device = run(0.02, fails={3})
    assert (made["sent"], made["errors"], device.closed) == (20, 1, 1)
    assert made["error_examples"] == ["OSError: connection lost"]
    assert sum(made["latency_us_histogram"].values()) == 19


def test_gives_up_after_many_errors() -> None:
    made, _ = run(0.02, fails=set(range(1, 1000)), duration_s=600.0)
    assert made["sent"] == 20
    assert made["error_examples"][-1] == "gave up after 20 errors in a row"


def test_waits_for_a_model_that_is_starting() -> None:
    clock, told = Clock(), []
    device = Answering(clock, 0.0, [])
    answers = iter([OSError("status 503")] * 25)

    def ask(method: str, path: str) -> tuple[dict[str, str], bytes]:
        assert (method, path) == ("GET", "/v2/health/ready")
        for error in answers:
            raise error
        return {}, b""

    device.ask = ask  # type: ignore[method-assign,assignment]
    measure.wait_until_ready(device, 60.0, tell=told.append, clock=clock, sleep=clock.sleep)
    assert (device.closed, clock.now) == (25, 25 * 10**9)
    assert told == [
        "waiting for the model, 10 s of 60 s: status 503",
        "waiting for the model, 20 s of 60 s: status 503",
    ]


class Served(http.server.BaseHTTPRequestHandler):
    """The protocol of the model server, and who asked."""

    protocol_version = "HTTP/1.1"
    subjects: list[Any] = []

    def do_GET(self) -> None:
        metadata = {
            "inputs": [{"name": "x"}],
            "outputs": [{"name": "y"}],
            "parameters": {"alphabet": ALPHABET},
        }
        self._answer({}, json.dumps(metadata).encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert isinstance(self.connection, ssl.SSLSocket)
        self.subjects.append(self.connection.getpeercert())
        if body[-4:] == struct.pack("<f", 1):
            self.send_error(503, "busy")
            return
        headers, data = answer([1, 2, 3, 4])
        self._answer(headers, data)

    def _answer(self, headers: dict[str, str], data: bytes) -> None:
        self.send_response(200)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    """A self-signed certificate that is its own root, as the files of an identity."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += [
        "-subj",
        "/CN=reader-01",
        "-keyout",
        str(tmp_path / "device.key"),
        "-out",
        str(tmp_path / "device.crt"),
    ]
    subprocess.run(command, check=True, capture_output=True)
    (tmp_path / "site-root.crt").write_bytes((tmp_path / "device.crt").read_bytes())
    return tmp_path


@pytest.fixture
def served(identity: Path) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity / "device.crt", identity / "device.key")
    context.load_verify_locations(identity / "site-root.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Served) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield int(server.server_address[1])
        server.shutdown()


def test_asks_over_mutual_tls(identity: Path, served: int) -> None:
    Served.subjects.clear()
    device = measure.Device("127.0.0.1", served, str(identity))
    plan = {**PLAN, "rate_hz": 100.0, "duration_s": 0.2}
    with contextlib.closing(device):
        made = measure.measure_requests(plan, TENSORS, device, tell=print)
    assert made["texts"][0].keys() == {"SN 4"}
    assert made["texts"][1] == {}
    assert made["errors"] == made["sent"] // 2
    assert "POST /v2/models/m/infer: status 503" in made["error_examples"][0]
    assert Served.subjects[0]["subject"] == ((("commonName", "reader-01"),),)


def test_a_device_without_a_server_says_so_in_one_line(identity: Path, tmp_path: Path) -> None:
    """The whole program as it runs on a device, where nothing listens."""
    plan = {**PLAN, "cpus": "0", "slice": "x.slice", "frontend": ["127.0.0.1", 1], "identity": str(identity)}
    plan |= {"wakeup_priority": 95, "wakeup_interval_us": 1000, "ready_timeout_s": 1.0}
    pack(PROGRAM, plan, ["EW-000042"], tmp_path / "a.pyz")
    done = subprocess.run(
        [sys.executable, str(tmp_path / "a.pyz")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "measuring model m at 127.0.0.1:1: OSError: not ready within 1 s: ConnectionRefused" in done.stderr
    assert "Traceback" not in done.stderr
