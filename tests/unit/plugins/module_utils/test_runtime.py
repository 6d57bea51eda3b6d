# SPDX-License-Identifier: Apache-2.0
"""How the runtime area is read: from a device's answers, and from a real server on a socket."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.edgewright.factory.plugins.module_utils import probe_main
from ansible_collections.edgewright.factory.plugins.module_utils import runtime as reader
from ansible_collections.edgewright.factory.plugins.module_utils.probe import probe
from ansible_collections.edgewright.factory.plugins.module_utils.system import NoAnswerError, Result, System

from edgewright.device import runtime
from tests.unit.device.runtime_inputs import MODEL_DIGEST, PROFILE, RUNTIME_DIGEST, VARIABLES, lock

WANT = runtime.want(VARIABLES, PROFILE, lock())
LEAF = b"the leaf's bytes"
PEM = f"-----BEGIN CERTIFICATE-----\n{base64.b64encode(LEAF).decode()}\n-----END CERTIFICATE-----\n"
CONTAINER: dict[str, Any] = {
    "ImageDigest": RUNTIME_DIGEST,
    "State": {"Running": True, "Pid": 812},
    "Config": {"Labels": {"edgewright.generation": WANT["generation"]}},
    "Mounts": [
        {"Type": "bind", "Source": "/run/edgewright/runtime/a", "Destination": "/run/edgewright"},
        {
            "Type": "image",
            "Source": WANT["at"]["references"]["label-reader"],
            "Destination": "/models/label-reader",
        },
    ],
}


class Device(System):
    """A device that serves as wanted, but for the changes; remembers which programs were run."""

    def __init__(self, **changes: Any) -> None:
        self.container = [CONTAINER]
        self.podman: Result | None = None
        self.files: dict[str, str] = {
            **WANT["files"],
            "/etc/edgewright/identity/device.crt": PEM,
            "/proc/812/cgroup": "0::/edgert.slice/edgewright-runtime-a.service/container\n",
            "/proc/812/status": "Name:\tpython3.11\nCpus_allowed:\tc\nCpus_allowed_list:\t2-3\n",
        }
        self.installed = dict(WANT["packages"])
        self.units = {"edgewright-runtime-a.service": "active", "nginx.service": "active"}
        self.service = "NRestarts=0\nResult=success\nExecMainStatus=0\n"
        self.images: list[dict[str, Any]] = []
        self.ran: list[str] = []
        for name, value in changes.items():
            setattr(self, name, value)

    def read(self, path: str) -> str | None:
        return self.files.get(path)

    def listdir(self, path: str) -> list[str]:
        assert path == "/etc/nginx/sites-enabled"
        return []

    def run(self, argv: list[str], timeout_s: float = 30.0) -> Result:  # noqa: ARG002 - System's
        self.ran.append(" ".join(argv[:3]))
        if argv[0] == "dpkg-query":
            lines = [f"{name}\tinstalled\t{version}\n" for name, version in self.installed.items()]
            return Result(0, "".join(lines), "")
        if argv[:4] == ["systemctl", "show", "--property", "NRestarts,Result,ExecMainStatus"]:
            assert argv[4:] == ["edgewright-runtime-a.service"]
            return Result(0, self.service, "")
        if argv[0] == "systemctl":
            blocks = [
                f"Id={unit}\nActiveState={state}\nUnitFileState=enabled\nNeedDaemonReload=no\n"
                for unit, state in self.units.items()
            ]
            return Result(0, "\n".join(blocks), "")
        if argv[:3] == ["podman", "container", "inspect"]:
            if self.podman is not None:
                return self.podman
            missing = f"Error: inspecting object: no such container {argv[3]}"
            return (
                Result(0, json.dumps(self.container), "") if self.container else Result(125, "[]\n", missing)
            )
        assert argv[:2] == ["podman", "images"]
        return Result(0, json.dumps(self.images), "")


def ask(where: Any, identity: str | None) -> reader.Answer:
    """Server and nginx of a device that serves as wanted."""
    if isinstance(where, str):
        assert (where, identity) == ("/run/edgewright/runtime/a/server.sock", None)
        return reader.Answer(200, {}, None)
    assert (where, identity) == (("127.0.0.1", 8443), "/etc/edgewright/identity")
    return reader.Answer(200, {"edgewright-config": WANT["frontend"]["config"]}, LEAF)


def items(device: Device, asked: Any = ask) -> list[str]:
    return [drift.item for drift in runtime.drift(reader.read(device, WANT, asked), WANT)]


def test_a_device_as_wanted_has_no_drift_and_takes_three_commands() -> None:
    device = Device()
    assert items(device) == []
    assert device.ran == ["dpkg-query -W -f", "systemctl show --property", "podman container inspect"]


def test_a_bare_device_is_asked_nothing_more() -> None:
    device = Device(container=[], files={}, installed={}, units={})
    have = reader.read(device, WANT, ask)
    assert have["packages"] == dict.fromkeys(WANT["packages"])
    assert have["stored"] is None
    assert device.ran == ["dpkg-query -W -f", "systemctl show --property"]


def test_a_stopped_container_is_none() -> None:
    stopped = {**CONTAINER, "State": {"Running": False, "Pid": 0}}
    device = Device(container=[stopped])
    assert items(device) == ["image", "models", "generation", "slice", "cpus"]
    assert "podman images --format" in device.ran


def test_images_on_disk_are_listed_only_where_others_run() -> None:
    other = {**CONTAINER, "ImageDigest": "sha256:" + "c" * 64}
    stored = [
        {"RepoDigests": [f"10.0.2.100:8443/edgewright/runtime@{RUNTIME_DIGEST}"]},
        {"RepoDigests": None},
    ]
    have = reader.read(Device(container=[other], images=stored), WANT, ask)
    assert have["image"] == "sha256:" + "c" * 64
    assert have["models"] == {"label-reader": MODEL_DIGEST}
    assert have["stored"] == [f"10.0.2.100:8443/edgewright/runtime@{RUNTIME_DIGEST}"]


def test_outside_of_the_slice() -> None:
    device = Device()
    device.files["/proc/812/cgroup"] = "0::/machine.slice/libpod-1.scope\n"
    device.files["/proc/812/status"] = "Cpus_allowed_list:\t0-1\n"
    assert items(device) == ["slice", "cpus"]


def test_an_old_certificate_in_nginx_is_drift() -> None:
    device = Device()
    device.files["/etc/edgewright/identity/device.crt"] = PEM.replace("dGhl", "VGhl")
    have = reader.read(device, WANT, ask)
    assert have["frontend"]["certificate_current"] is False
    assert items(device) == ["frontend"]


def test_nothing_answers() -> None:
    assert items(Device(), lambda *_: reader.NOTHING) == ["ready", "frontend"]


def test_no_scope_reads_nothing() -> None:
    assert reader.read(Device(), {}) == {}


def test_leaf_is_the_first_certificate() -> None:
    chain = PEM + PEM.replace("dGhl", "VGhl")
    assert reader.leaf_sha256(chain) == hashlib.sha256(LEAF).hexdigest()
    assert reader.leaf_sha256("no certificate") is None
    assert reader.leaf_sha256(None) is None


def _serve(path: Path, answer: bytes) -> threading.Thread:
    """One answer to one connection, in two pieces."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(1)

    def once() -> None:
        stream, _ = listener.accept()
        with listener, stream:
            assert stream.recv(4096).startswith(b"GET /v2/health/ready HTTP/1.1\r\n")
            stream.sendall(answer[:5])
            stream.sendall(answer[5:])

    thread = threading.Thread(target=once)
    thread.start()
    return thread


def test_asks_over_a_real_socket(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    thread = _serve(path, b"HTTP/1.1 200 OK\r\nEdgewright-Config: abc\r\n\r\n")
    assert reader.ask_ready(str(path), None) == reader.Answer(200, {"edgewright-config": "abc"}, None)
    thread.join(10)


def test_no_server_and_no_identity_answer_nothing(tmp_path: Path) -> None:
    assert reader.ask_ready(str(tmp_path / "none.sock"), None).status == 0
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        assert reader.ask_ready(listener.getsockname(), str(tmp_path)).status == 0


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (
            Result(124, "", "no answer within 30 s"),
            r"runtime: `podman container inspect \S+`: no answer",
        ),
        (
            Result(126, "", "it cannot be started: [Errno 12]"),
            r"inspect \S+`: it cannot be started",
        ),
        (
            Result(125, "", "Error: database is locked"),
            "status 125 and said Error: database is locked, so",
        ),
        (Result(0, "[", ""), r"status 0 and said \[, so what runs is not known"),
        (Result(0, "[]", ""), r"said \[\], so what runs is not known"),
    ],
    ids=["timeout", "not started", "locked", "cut off", "empty"],
)
def test_a_podman_that_does_not_say_is_unknown_and_never_absent(answer: Result, told: str) -> None:
    with pytest.raises(NoAnswerError, match=told):
        probe(Device(podman=answer), {"runtime": WANT})
    found = probe_main.answer(Device(podman=answer), json.dumps({"runtime": WANT}))
    assert list(found) == ["error"]
    assert found["error"].startswith("runtime: `podman container inspect ")
    assert "not known" in found["error"]


@pytest.mark.parametrize(
    "answer", [Result(125, "[]\n", "Error: no such container x"), Result(127, "", "none")]
)
def test_a_container_that_podman_does_not_have_is_absent(answer: Result) -> None:
    found = probe(Device(podman=answer), {"runtime": WANT})["runtime"]
    assert (found["image"], found["models"], found["generation"]) == (None, None, None)


def silent(where: Any, identity: str | None) -> reader.Answer:
    return reader.NOTHING


TROUBLE = {
    "given up": (
        "failed",
        "5",
        "systemd has given up on edgewright-runtime-a.service: its last result is exit-code,",
    ),
    "again and again": (
        "active",
        "3",
        "does not stay up: systemd has started it again 3 times; its last result is",
    ),
    "between two starts": ("activating", "12", "systemd has started it again 12 times"),
    "still loading": ("active", "0", None),
    "loading after one crash": ("activating", "2", None),
    "no number": ("activating", "", None),
}


@pytest.mark.parametrize("case", TROUBLE)
def test_a_server_that_will_not_be_ready_by_waiting_is_told(case: str) -> None:
    state, times, told = TROUBLE[case]
    device = Device(service=f"NRestarts={times}\nResult=exit-code\nExecMainStatus=1\n")
    device.units["edgewright-runtime-a.service"] = state
    have = reader.read(device, WANT, silent)
    if told is None:
        assert have["trouble"] is None
    else:
        assert told in have["trouble"]
    # A sentence and no item: what differs is told as before.
    assert {each.item for each in runtime.drift(have, WANT)} >= {"ready"}
    assert "trouble" not in {each.item for each in runtime.drift(have, WANT)}


def test_a_server_that_answers_is_not_asked_for_its_past() -> None:
    device = Device(service="NRestarts=99\n")
    assert reader.read(device, WANT, ask)["trouble"] is None
    assert sum(each.startswith("systemctl") for each in device.ran) == 1
