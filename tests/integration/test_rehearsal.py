# SPDX-License-Identifier: Apache-2.0
"""The rehearsal for real: who tries to get out is seen; a whole bundle closes, one without a deb does not."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgewright.bundle.rehearsal.controller import Controller
from edgewright.bundle.rehearsal.egress import ELSEWHERE, Attempt, Namespace
from edgewright.release.documents import LOCK_FILE, dump_lock, load_lock

ROOT = Path(__file__).resolve().parents[2]
RELEASE = ROOT / "releases" / "label-reader"
MISSING = "python-apt-common"  # what python3-apt needs, one of the first packages that a device gets

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace takes root")


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Namespace]:
    """A shut network around a process that sleeps."""
    process = subprocess.Popen(["unshare", "--net", "sleep", "120"])
    try:
        own = Path("/proc/self/ns/net").readlink()
        while Path(f"/proc/{process.pid}/ns/net").readlink() == own:
            assert process.poll() is None
        with Namespace(process.pid, tmp_path / "dns.log") as made:
            yield made
    finally:
        process.kill()
        process.wait()


def _python(net: Namespace, program: str) -> str:
    done = subprocess.run(
        [*net.enter, sys.executable, "-c", f"import socket\n{program}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    return (done.stdout + done.stderr).strip()


@pytest.mark.slow
def test_who_goes_elsewhere_is_refused_at_once_and_written_down(net: Namespace) -> None:
    assert net.refused() == []
    connect = "socket.create_connection(({!r}, {}), timeout=20)"
    assert "Connection refused" in _python(net, connect.format("192.0.2.7", 443))
    assert "Connection refused" in _python(net, connect.format("2001:db8::7", 80))
    send = "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.8', 123))"
    assert "not permitted" in _python(net, send)
    assert net.refused() == [
        Attempt("controller", "tcp", "192.0.2.7", 443),
        Attempt("controller", "tcp", "2001:db8::7", 80),
        Attempt("controller", "udp", "192.0.2.8", 123),
    ]


@pytest.mark.slow
def test_a_name_is_answered_so_that_what_follows_is_seen(net: Namespace) -> None:
    question = (
        "import struct\n"
        "name = b''.join(bytes([len(p)]) + p for p in (b'pypi', b'org')) + b'\\0'\n"
        "link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "link.settimeout(10)\n"
        "asked = struct.pack('>6H', 7, 256, 1, 0, 0, 0) + name + struct.pack('>2H', 1, 1)\n"
        "link.sendto(asked, ('127.0.0.1', 53))\n"
        "print(socket.inet_ntoa(link.recv(512)[-4:]))"
    )
    assert _python(net, question) == ELSEWHERE
    assert net.refused() == [Attempt("controller", "dns", name="pypi.org")]


@dataclass(frozen=True)
class Office:
    """A build host: keys, and what the command line prints."""

    directory: Path

    def edgewright(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(Path(sys.executable).parent / "edgewright"), *words],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"EDGEWRIGHT_KEYS": str(self.directory / "keys")},
        )

    def stick(self, release: Path, name: str) -> Path:
        done = self.edgewright("bundle", "build", str(release), "-o", str(self.directory / name))
        assert done.returncode == 0, done.stderr
        return self.directory / name

    def rehearse(self, stick: Path) -> subprocess.CompletedProcess[str]:
        return self.edgewright("bundle", "rehearse", str(stick), "--work", str(self.directory / "work"))

    def certificate(self, name: str, stick: Path) -> subprocess.CompletedProcess[str]:
        return self.edgewright("bundle", "certificate", str(self.directory / name), str(stick), "--json")


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    return Office(tmp_path_factory.mktemp("office"))


def _nothing_is_left(office: Office) -> bool:
    work = office.directory / "work"
    controller = Controller(work, office.directory, print).name  # other tests have controllers of their own
    named = subprocess.run(
        ["podman", "ps", "--all", "--format", "{{.Names}}"], capture_output=True, text=True, check=True
    ).stdout.split()
    return controller not in named and {path.suffix for path in work.iterdir()} == {".log"}


@pytest.mark.container
def test_an_interrupted_rehearsal_leaves_nothing(office: Office) -> None:
    stick = office.stick(RELEASE, "whole")
    words = ["bundle", "rehearse", str(stick), "--work", str(office.directory / "work")]
    program = [str(Path(sys.executable).parent / "edgewright"), *words]
    environment = os.environ | {"EDGEWRIGHT_KEYS": str(office.directory / "keys")}
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert any(line.startswith("== 2. install") for line in process.stdout)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=120)
    assert process.returncode == 130
    assert _nothing_is_left(office)
    assert not (office.directory / "whole.closure.json").exists(), "half a procedure proves nothing"


@pytest.mark.vm
@pytest.mark.slow
def test_a_bundle_without_one_deb_fails_and_names_it(office: Office, tmp_path: Path) -> None:
    """Signed and whole by its own list; the list is what is wrong."""
    release = tmp_path / "label-reader"
    shutil.copytree(RELEASE, release)
    lock, _ = load_lock(release)
    packages = lock["apt"]["packages"]
    lock["apt"]["packages"] = [deb for deb in packages if deb["name"] != MISSING]
    assert len(lock["apt"]["packages"]) == len(packages) - 1
    (release / LOCK_FILE).write_bytes(dump_lock(lock))
    stick = office.stick(release, "lacking")
    done = office.rehearse(stick)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "label-reader 1.0.0: NOT CLOSED" in done.stdout
    assert MISSING in next(line for line in done.stdout.splitlines() if line.startswith("  failed"))
    shown = office.certificate("lacking.closure.json", stick)
    assert shown.returncode == 1
    assert json.loads(shown.stdout)["verdict"] == "not closed"
    assert _nothing_is_left(office)


@pytest.mark.vm
@pytest.mark.slow
def test_the_example_closes(office: Office) -> None:
    stick = office.stick(RELEASE, "whole")
    done = office.rehearse(stick)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
    shown = office.certificate("whole.closure.json", stick)
    assert shown.returncode == 0, shown.stderr
    told = json.loads(shown.stdout)
    assert told["verdict"] == "closed"
    assert told["refused"] == []
    (provisioned,) = [
        step["told"] for step in told["steps"] if step["name"].startswith("provision the device")
    ]
    assert provisioned.endswith(" 0 failed; 1 reboot"), "from bare to accepted takes exactly one"
    assert {step["result"] for step in told["steps"]} == {"rehearsed", "simulated", "skipped"}
    assert told["acceptance"]["verdict"] == "inconclusive", "an emulated CPU proves nothing about time"
    assert _nothing_is_left(office)
    other = office.certificate("whole.closure.json", office.directory / "lacking")
    assert other.returncode == 3
    assert "given for another bundle" in other.stderr
