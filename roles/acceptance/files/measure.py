#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Measures the model, the isolated CPUs and the kernel's log on the device, all at once.

Runs on the device as a zip application that carries `plan.json`, one tensor for each label, and
`device_facts.py`, which says what the device is; it does not carry what the labels say. It asks the
model over mTLS through nginx with the device's own certificate, one request at a time at the planned
rate, while cyclictest measures how late threads wake up inside the slice. It prints one JSON document
(schema edgewright.measurement/v1) on standard output and its progress on standard error. It judges
nothing: that is done on the controller.

Latency is from the first byte sent to the last byte received on a kept connection; a planned
time that passed while the request before was not answered yet is left out, and counted as late.

Standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import array
import hashlib
import http.client
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

SCHEMA = "edgewright.measurement/v1"
REQUEST_TIMEOUT_S = 60.0
ERRORS_IN_A_ROW = 20
EXAMPLES = 20
# Upper end of the wake-up histogram in us; the worst case is recorded beyond it too.
WAKEUP_HISTOGRAM_US = 10000
PROGRESS_S = 10.0

# Kinds of kernel messages that no device may show while it is measured; the first that fits counts.
KERNEL_KINDS = (
    ("lockup", re.compile(r"soft lockup|hard LOCKUP|hung_task|blocked for more than \d+ seconds")),
    ("stall", re.compile(r"rcu.*(detected|self-detected).*stall|rcu.*kthread starved|clocksource.*unstable")),
    ("bug", re.compile(r"\bBUG\b|\bOops\b|kernel panic|general protection fault|scheduling while atomic")),
    ("warning", re.compile(r"\bWARNING:")),
)


class Device(http.client.HTTPSConnection):
    """A connection to nginx on this very device, with the device's own certificate."""

    def __init__(self, host: str, port: int, identity: str) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # The device asks itself over its loopback, which is no name of its certificate; the chain counts.
        context.check_hostname = False
        context.load_verify_locations(identity + "/site-root.crt")
        context.load_cert_chain(identity + "/device.crt", identity + "/device.key")
        super().__init__(host, port, timeout=REQUEST_TIMEOUT_S, context=context)

    def connect(self) -> None:
        """Connect without waiting for more bytes before a packet leaves."""
        super().connect()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[dict[str, str], bytes]:
        """Headers (small letters) and body of an answer with status 200; OSError says what else came."""
        self.request(method, path, body=body or None, headers=headers or {})
        answer = self.getresponse()
        data = answer.read()
        if answer.status != 200:
            text = data[:200].decode("utf-8", "replace").strip()
            raise OSError(f"{method} {path}: status {answer.status}: {text}")
        return {name.lower(): value for name, value in answer.getheaders()}, data


class Model:
    """The served model: its names, its alphabet, and how to ask it."""

    def __init__(self, device: Device, name: str) -> None:
        self.path = f"/v2/models/{name}"
        metadata = json.loads(device.ask("GET", self.path)[1])
        self.input = metadata["inputs"][0]["name"]
        self.output = metadata["outputs"][0]["name"]
        alphabet = (metadata.get("parameters") or {}).get("alphabet")
        if isinstance(alphabet, str):
            alphabet = json.loads(alphabet)
        if not isinstance(alphabet, list) or not alphabet:
            raise ValueError(f"model {name}: its metadata has no parameter alphabet")
        self.alphabet: list[str] = alphabet
        self._texts: dict[bytes, str] = {}

    def body(self, tensor: bytes, shape: list[int]) -> tuple[bytes, dict[str, str]]:
        """A request with the binary tensor extension of the Open Inference Protocol, and its headers."""
        entry = {
            "name": self.input,
            "shape": shape,
            "datatype": "FP32",
            "parameters": {"binary_data_size": len(tensor)},
        }
        wanted = {"name": self.output, "parameters": {"binary_data": True}}
        head = json.dumps({"inputs": [entry], "outputs": [wanted]}).encode()
        return head + tensor, {
            "Content-Type": "application/octet-stream",
            "Inference-Header-Content-Length": str(len(head)),
        }

    def text(self, headers: dict[str, str], data: bytes) -> str:
        """What an answer says; equal answers are decoded once, so that decoding costs nothing later."""
        head_bytes = int(headers.get("inference-header-content-length", len(data)))
        output = json.loads(data[:head_bytes])["outputs"][0]
        if head_bytes == len(data):
            raise ValueError("the answer has no binary tensor")
        key = hashlib.sha256(data[head_bytes:]).digest()
        if key not in self._texts:
            self._texts[key] = decode(data[head_bytes:], output["shape"], self.alphabet)
        return self._texts[key]


def decode(tensor: bytes, shape: list[int], alphabet: list[str]) -> str:
    """Greedy CTC: the best class of each step, repeats joined, class 0 (blank) dropped.

    Args:
        tensor: float32, little-endian, of shape [1, steps, classes].
        shape: that shape.
        alphabet: the text of each class after the blank.

    Raises:
        ValueError: shape, bytes and alphabet do not fit each other.
    """
    classes = len(alphabet) + 1
    if len(shape) != 3 or shape[0] != 1 or shape[2] != classes or len(tensor) != 4 * shape[1] * classes:
        raise ValueError(f"output of shape {shape} in {len(tensor)} bytes does not fit {classes} classes")
    values = array.array("f")
    values.frombytes(tensor)
    if sys.byteorder == "big":
        values.byteswap()
    text, before = "", 0
    for step in range(shape[1]):
        row = values[step * classes : (step + 1) * classes]
        best = row.index(max(row))
        if best not in (0, before):
            text += alphabet[best - 1]
        before = best
    return text


def wait_until_ready(
    device: Device,
    timeout_s: float,
    *,
    tell: Callable[[str], None],
    clock: Callable[[], int] = time.monotonic_ns,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Wait until the server has verified and warmed up its models, as after a boot.

    Raises:
        OSError: it did not within the time; says what it answered last.
    """
    begun = told = clock()
    while True:
        try:
            device.ask("GET", "/v2/health/ready")
            return
        except (OSError, http.client.HTTPException) as error:
            device.close()
            waited = (clock() - begun) / 1e9
            if waited >= timeout_s:
                raise OSError(f"not ready within {timeout_s:g} s: {type(error).__name__}: {error}") from error
            if clock() - told >= PROGRESS_S * 1e9:
                told = clock()
                tell(f"waiting for the model, {waited:.0f} s of {timeout_s:g} s: {error}")
        sleep(1.0)


def measure_requests(
    plan: dict[str, Any],
    tensors: list[bytes],
    device: Device,
    *,
    tell: Callable[[str], None],
    clock: Callable[[], int] = time.monotonic_ns,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """Ask the model at the planned rate for the planned time, at least once with each label.

    Args:
        plan: `model`, `rate_hz`, `duration_s`, `shapes` of the tensors.
        tensors: float32, little-endian, one for each label.
        device: the connection.
        tell: takes a line of progress.
        clock: monotonic time in ns.
        sleep: waits for so many seconds.
    """
    model = Model(device, plan["model"])
    pairs = zip(tensors, plan["shapes"])  # noqa: B905 - "strict" came with Python 3.10
    bodies = [model.body(tensor, shape) for tensor, shape in pairs]
    path = model.path + "/infer"
    histogram: dict[int, int] = {}
    texts: list[dict[str, int]] = [{} for _ in tensors]
    errors: list[str] = []
    sent = late = failed = in_a_row = 0
    period_ns, duration_ns = int(1e9 / plan["rate_hz"]), int(plan["duration_s"] * 1e9)
    started = due = told = clock()
    # Each label is asked at least once, however short the time; a request that hangs has its own end.
    while True:
        now = clock()
        if max(now, due) - started >= duration_ns and sent >= len(tensors):
            break
        if now < due:
            sleep((due - now) / 1e9)
        elif now - due >= period_ns:
            missed = (now - due) // period_ns
            late += missed
            due += missed * period_ns
        due += period_ns
        label = sent % len(tensors)
        body, headers = bodies[label]
        sent += 1
        begun = clock()
        try:
            answer_headers, data = device.ask("POST", path, body, headers)
            took_us = round((clock() - begun) / 1000)
            text = model.text(answer_headers, data)
            histogram[took_us] = histogram.get(took_us, 0) + 1
            texts[label][text] = texts[label].get(text, 0) + 1
            in_a_row = 0
        except (OSError, http.client.HTTPException, ValueError, KeyError, IndexError) as error:
            failed += 1
            in_a_row += 1
            if len(errors) < EXAMPLES:
                errors.append(f"{type(error).__name__}: {error}")
            device.close()
            if in_a_row >= ERRORS_IN_A_ROW:
                errors.append(f"gave up after {in_a_row} errors in a row")
                break
        if clock() - told >= PROGRESS_S * 1e9:
            told = clock()
            seconds, planned = int((told - started) / 1e9), plan["duration_s"]
            tell(f"{seconds} s of {planned:g} s, {sent} requests, {failed} errors")
    sleep(max(0, started + duration_ns - clock()) / 1e9)
    return {
        "sent": sent,
        "late": late,
        "seconds": (clock() - started) / 1e9,
        "latency_us_histogram": {str(us): count for us, count in sorted(histogram.items())},
        "texts": texts,
        "errors": failed,
        "error_examples": errors,
    }


class Wakeup:
    """cyclictest inside the slice, while the model is asked."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.path = f"/run/edgewright-wakeup-{os.getpid()}.json"
        cpus = cpu_numbers(plan["cpus"])
        command = ["systemd-run", "--quiet", "--wait", "--collect", "--slice=" + plan["slice"]]
        command += [
            "--unit=edgewright-wakeup",
            "--property=LimitMEMLOCK=infinity",
            "--property=StandardOutput=null",
        ]
        command += [
            plan.get("cyclictest", "cyclictest"),
            "--quiet",
            "--mlockall",
            "--priority={}".format(plan["wakeup_priority"]),
        ]
        command += [f"--threads={len(cpus)}", "--affinity=" + plan["cpus"]]
        command += ["--interval={}".format(plan["wakeup_interval_us"]), "--distance=0"]
        command += ["--duration={}".format(max(1, round(plan["duration_s"])))]
        command += [f"--histogram={WAKEUP_HISTOGRAM_US}", "--json=" + self.path]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    def stop(self) -> None:
        """End it before its time."""
        subprocess.run(["systemctl", "stop", "edgewright-wakeup.service"], check=False, timeout=60)
        self.process.kill()

    def result(self) -> dict[str, Any]:
        """What it measured: `threads` by CPU, or `error`."""
        try:
            _, err = self.process.communicate(timeout=self.plan["duration_s"] + 120)
        except subprocess.TimeoutExpired:
            self.stop()
            return {"error": "cyclictest did not end in time"}
        try:
            report = json.loads(Path(self.path).read_text(encoding="utf-8"))
            Path(self.path).unlink()
        except (OSError, ValueError) as error:
            said = err.decode("utf-8", "replace").strip()[-300:]
            return {"error": f"cyclictest ended with status {self.process.returncode}: {said} {error}"}
        threads = {}
        for number, cpu in enumerate(cpu_numbers(self.plan["cpus"])):
            thread = report["thread"][str(number)]
            threads[str(cpu)] = {
                "cycles": thread["cycles"],
                "worst_us": thread["max"],
                "least_us": thread["min"],
                "mean_us": thread["avg"],
                "histogram_us": thread.get("histogram") or {},
            }
        return {"version": report.get("rt_test_version:"), "threads": threads}


class KernelLog:
    """The kernel's own messages from now on, read from /dev/kmsg: no clock is compared, none is missed."""

    def __init__(self, path: str = "/dev/kmsg") -> None:
        self.error: str | None = None
        try:
            self.stream = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            os.lseek(self.stream, 0, os.SEEK_END)
        except OSError as error:
            self.error = str(error)

    def result(self) -> dict[str, Any]:
        """`lines` seen, how many of each kind were `found`, `examples`, and whether the log is `complete`."""
        found = {kind: 0 for kind, _ in KERNEL_KINDS}
        examples: list[str] = []
        lines, complete = 0, True
        while self.error is None:
            try:
                record = os.read(self.stream, 16384)
            except BrokenPipeError:  # the kernel overwrote messages before they were read
                complete = False
                continue
            except OSError:
                break
            if not record:
                break
            # "priority,number,microseconds,flags;text"; priorities from 8 on are not the kernel's.
            head, _, text = record.decode("utf-8", "replace").partition(";")
            if int(head.split(",")[0]) >= 8:
                continue
            lines += 1
            kind = kernel_kind(text)
            if kind:
                found[kind] += 1
                if len(examples) < EXAMPLES:
                    examples.append(text.split("\n")[0])
        return {
            "lines": lines,
            "found": found,
            "examples": examples,
            "complete": complete,
            "error": self.error,
        }


def kernel_kind(text: str) -> str | None:
    """Kind of a kernel message that counts, or None."""
    for kind, pattern in KERNEL_KINDS:
        if pattern.search(text):
            return kind
    return None


def cpu_numbers(text: str) -> list[int]:
    """CPUs of a list in the kernel's notation, such as 2-3,5."""
    numbers: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def _utc() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _tell(line: str) -> None:
    sys.stderr.write(f"measuring: {line}\n")
    sys.stderr.flush()


def main() -> int:
    """Measure once and print the result. Returns 0, or 1 with a line of reason when nothing was measured."""
    from device_facts import facts  # noqa: PLC0415 - the program's other file, which measuring does without

    with zipfile.ZipFile(sys.argv[0]) as archive:
        plan = json.loads(archive.read("plan.json"))
        tensors = [archive.read(f"{number}.f32") for number in range(len(plan["shapes"]))]
    host, port = plan["frontend"]
    wakeup: Wakeup | None = None
    try:
        device = Device(host, port, plan["identity"])
        wait_until_ready(device, plan["ready_timeout_s"], tell=_tell)
        started, log = _utc(), KernelLog()
        _tell(f"cyclictest on CPU {plan['cpus']}, model {plan['model']}, for {plan['duration_s']:g} s")
        wakeup = Wakeup(plan)
        requests = measure_requests(plan, tensors, device, tell=_tell)
    except (OSError, http.client.HTTPException, ValueError, KeyError, IndexError) as error:
        if wakeup:
            wakeup.stop()
        what = f"measuring model {plan['model']} at {host}:{port}"
        sys.stderr.write(f"{what}: {type(error).__name__}: {error}\n")
        return 1
    woken = wakeup.result()
    result = {
        "schema": SCHEMA,
        "started": started,
        "finished": _utc(),
        "requests": requests,
        "wakeup": woken,
        "kernel_log": log.result(),
        "facts": facts(plan),
    }
    json.dump(result, sys.stdout, sort_keys=True)
    sys.stdout.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
