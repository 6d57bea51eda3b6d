# SPDX-License-Identifier: Apache-2.0
"""Start, refusal to start, and the orderly stop, of the real process."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runtime_support.models import write_package, write_sum
from runtime_support.onnx_bytes import Node, Value, model_bytes
from runtime_support.serving import Served, run_once

LENGTH = "Inference-Header-Content-Length"


def refused(models: Path, *options: str) -> str:
    """The one line with which the server refuses to start; it must never have been ready."""
    status, lines = run_once(models, "--host", "127.0.0.1", "--port", "0", *options)
    assert status == 1, lines
    assert not [line for line in lines if "ready on" in line]
    errors = [line for line in lines if "error: " in line]
    assert len(errors) == 1, lines
    assert lines[-1] == errors[0]
    return errors[0]


def test_damaged_model_is_refused(tmp_path: Path) -> None:
    model = write_sum(tmp_path) / "model.onnx"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    assert re.search(
        r"loading sum: .*model.onnx is damaged .*expected sha256 \w{64}, found \w{64}", refused(tmp_path)
    )


def test_golden_mismatch_is_refused(tmp_path: Path) -> None:
    root = write_sum(tmp_path)
    wrong = np.load(root / "golden/0.total.npz")["value"]
    wrong[1, 2] += 0.5
    np.savez(root / "golden/0.total.npz", value=wrong)
    line = refused(tmp_path)
    assert (
        "golden case 'case0' of sum version 1: output 'total': 1 of 6 values differ by more than 0.0001"
        in line
    )
    assert "the worst at [1, 2]: expected 6.5, found 6" in line


def test_one_bad_model_of_two_stops_both(tmp_path: Path) -> None:
    write_sum(tmp_path)
    write_sum(tmp_path, name="other", sha256="0" * 64)
    assert "loading other" in refused(tmp_path)


def test_no_model(tmp_path: Path) -> None:
    assert "holds no directory" in refused(tmp_path)


def test_same_version_twice(tmp_path: Path) -> None:
    write_sum(tmp_path)
    write_sum(tmp_path, directory="again")
    assert "model sum version 1 is there twice" in refused(tmp_path)


def test_file_that_is_no_model(tmp_path: Path) -> None:
    case = ({"x": np.zeros(1, np.float32)}, {"y": np.zeros(1, np.float32)})
    write_package(tmp_path, "noise", b"\x00not a model" * 20, [case])
    assert "loading noise: onnxruntime refuses the model" in refused(tmp_path)


def test_model_of_strings_is_refused(tmp_path: Path) -> None:
    content = model_bytes(
        [Node("Identity", ("x",), ("y",))], [Value("x", "BYTES", ("n",))], [Value("y", "BYTES", ("n",))]
    )
    write_package(tmp_path, "words", content, [({"x": np.zeros(1)}, {"y": np.zeros(1)})])
    assert "tensor 'x' is tensor(string); served are" in refused(tmp_path)


def test_wrong_option_is_told_at_once(tmp_path: Path) -> None:
    write_sum(tmp_path)
    status, lines = run_once(tmp_path, "--threads", "many")
    assert (status, lines) == (
        2,
        ["edgewright-runtime: error: --threads: expected a whole number of threads, found 'many'"],
    )


def test_onnxruntime_leaves_no_trace_and_no_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its telemetry would write to the home directory, or complain on stderr where it cannot."""
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    write_sum(tmp_path / "models")
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    for name in ("XDG_CACHE_HOME", "CI"):
        monkeypatch.delenv(name, raising=False)
    with Served(tmp_path / "models") as server:
        assert list(home.iterdir()) == []
    assert all(line.startswith("edgewright-runtime: ") for line in server.lines), server.lines


def test_check_ends_without_serving(tmp_path: Path) -> None:
    write_sum(tmp_path)
    status, lines = run_once(tmp_path, "--check")
    assert status == 0, lines
    assert lines[-1] == "edgewright-runtime: all 1 models are good"
    assert "1 golden cases agree" in "\n".join(lines)


def test_unix_socket_from_the_environment(tmp_path: Path) -> None:
    """As the container starts it: everything from the environment, a stale socket file in the way."""
    models = tmp_path / "models"
    write_sum(models)
    place = tmp_path / "run"
    place.mkdir()
    path = place / "server.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    env = {
        "EDGEWRIGHT_MODELS": str(models),
        "EDGEWRIGHT_SOCKET": str(path),
        "EDGEWRIGHT_MAX_REQUEST_BYTES": "100",
        "EDGEWRIGHT_THREADS": "1",
        "EDGEWRIGHT_THREDS": "1",
    }
    with Served(models, "--config-from-env", env=env, listen=False) as server:
        assert server.address == str(path)
        mode = path.lstat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o666
        assert server.ask("GET", "/v2/health/ready")[:2] == (200, {"ready": True})
        assert server.ask("POST", "/v2/models/sum/infer", b" " * 101)[0] == 413
        assert "warning: environment variable EDGEWRIGHT_THREDS is unknown" in "\n".join(server.lines)
        status, lines = run_once(models, "--socket", str(path))
        assert status == 1
        assert "another server answers on it" in lines[-1]
        assert server.ask("GET", "/v2/health/ready")[0] == 200
    assert not path.exists()
    assert server.process.returncode == 0


def test_a_file_in_the_sockets_place_is_left_alone(tmp_path: Path) -> None:
    write_sum(tmp_path / "models")
    other = tmp_path / "server.sock"
    other.write_text("mine")
    status, lines = run_once(tmp_path / "models", "--socket", str(other))
    assert status == 1
    assert "another kind of file is there" in lines[-1]
    assert other.read_text() == "mine"


def test_socket_in_a_missing_directory(tmp_path: Path) -> None:
    write_sum(tmp_path / "models")
    status, lines = run_once(tmp_path / "models", "--socket", str(tmp_path / "none" / "server.sock"))
    assert status == 1
    assert "its directory must exist" in lines[-1]


def big_request(size: int) -> tuple[bytes, dict[str, str]]:
    """A request to the slow model: a matrix of that size, zeros."""
    raw = bytes(4 * size * size)
    entry = {
        "name": "x",
        "shape": [size, size],
        "datatype": "FP32",
        "parameters": {"binary_data_size": len(raw)},
    }
    header = json.dumps({"inputs": [entry], "parameters": {"binary_data_output": True}}).encode()
    return header + raw, {LENGTH: str(len(header))}


def metric(server: Served, name: str) -> float:
    """One value out of `/metrics`."""
    text = server.ask("GET", "/metrics")[1].decode()
    return next(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name + " "))


def in_background(server: Served, size: int) -> tuple[threading.Thread, list[Any]]:
    """Send a big request from a thread; what comes back lands in the list."""
    answers: list[Any] = []
    thread = threading.Thread(
        target=lambda: answers.append(server.ask("POST", "/v2/models/power/infer", *big_request(size)))
    )
    thread.start()
    return thread, answers


def wait_for_computing(server: Served, number: int) -> None:
    """Until that many requests are in flight."""
    limit = time.monotonic() + 30
    while metric(server, "edgewright_inference_in_flight") < number:
        assert time.monotonic() < limit
        time.sleep(0.02)


BIG = 1400  # a matrix of this size keeps one core busy for seconds, also a fast one


def test_stop_finishes_the_request_in_flight(served_power: Path) -> None:
    with Served(served_power, "--threads", "1", "--max-request-bytes", "20000000") as server:
        thread, answers = in_background(server, BIG)
        wait_for_computing(server, 1)
        assert server.ask("GET", "/v2/health/ready")[0] == 200
        server.process.send_signal(signal.SIGTERM)
        limit = time.monotonic() + 5
        while (ready := server.ask("GET", "/v2/health/ready"))[0] == 200:
            assert time.monotonic() < limit
        assert ready[:2] == (503, {"ready": False, "error": "the server is stopping"})
        assert server.ask("GET", "/v2/health/live")[0] == 200
        assert server.ask("GET", "/v2/models/power/ready")[0] == 503
        status, answer, headers = server.ask("POST", "/v2/models/power/infer", *big_request(2))
        assert (status, headers["retry-after"]) == (503, "1")
        assert "the server is stopping" in answer["error"]
        assert metric(server, "edgewright_runtime_ready") == 0
        assert not answers, "the request in flight must still be computed for this test to mean anything"
        thread.join(60)
        assert answers[0][0] == 200
        assert len(answers[0][1]) > 4 * BIG * BIG
        assert server.end() == 0
        assert server.lines[-1] == "edgewright-runtime: stopped"


def test_stop_gives_up_after_its_time(served_power: Path) -> None:
    options = ("--threads", "1", "--max-request-bytes", "20000000", "--stop-timeout", "0.2")
    with Served(served_power, *options) as server:
        assert isinstance(server.address, tuple)
        with socket.create_connection(server.address) as raw:
            raw.sendall(b"POST /v2/models/power/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
            wait_for_computing(server, 1)
            server.process.send_signal(signal.SIGTERM)
            assert server.end(20) == 1
        assert "gave up on 1 requests after 0.2 s" in "\n".join(server.lines)
        assert "Traceback" not in "\n".join(server.lines)


def test_stop_while_idle_is_quick(tmp_path: Path) -> None:
    write_sum(tmp_path)
    with Served(tmp_path) as server:
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.end() == 0
        assert time.monotonic() - began < 3


def test_full_queue_is_503_and_the_event_loop_stays_free(served_power: Path) -> None:
    options = ("--threads", "1", "--queue", "1", "--max-request-bytes", "20000000")
    with Served(served_power, *options) as server:
        running = [in_background(server, BIG) for _ in range(2)]
        wait_for_computing(server, 2)
        status, answer, headers = server.ask("POST", "/v2/models/power/infer", *big_request(2))
        assert not all(answers for _, answers in running), "a refusal waits for nothing"
        assert (status, headers["retry-after"]) == (503, "1")
        assert "the queue is full: 2 requests are in flight" in answer["error"]
        for thread, answers in running:
            thread.join(60)
            assert answers[0][0] == 200
        assert server.ask("POST", "/v2/models/power/infer", *big_request(2))[0] == 200


def test_slow_body_is_given_up(served_power: Path) -> None:
    with Served(served_power, "--body-timeout", "0.3") as server:
        assert isinstance(server.address, tuple)
        with socket.create_connection(server.address, timeout=10) as raw:
            raw.sendall(b"POST /v2/models/power/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
            answer = raw.makefile("rb").read()  # to the end: the server closes this connection
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"did not arrive within 0.3 s" in answer


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs to give each thread its own")
def test_pinned_threads_have_a_cpu_each(served_power: Path) -> None:
    cpus = sorted(os.sched_getaffinity(0))[:2]
    with Served(served_power, "--threads", "2", "--pin", "on") as server:
        assert server.ask("POST", "/v2/models/power/infer", *big_request(64))[0] == 200
        allowed = [
            re.search(r"Cpus_allowed_list:\s*(\S+)", (task / "status").read_text())[1]  # type: ignore[index]
            for task in Path(f"/proc/{server.process.pid}/task").iterdir()
        ]
        assert all(allowed.count(str(cpu)) == 1 for cpu in cpus), allowed
