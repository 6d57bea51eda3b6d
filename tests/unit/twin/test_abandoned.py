# SPDX-License-Identifier: Apache-2.0
"""Who may end a twin of another checkout: nobody while its site and its owner are there."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from edgewright.errors import EdgewrightError
from edgewright.twin.abandoned import OWNER_VARIABLE, Holder, end, mark, owner, vm_holder
from edgewright.twin.spec import TwinSpec
from edgewright.twin.vm import VmTwin


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _holder(place: Path, started_by: str) -> Holder:
    return Holder("container c1", place, started_by, "podman rm -f c1")


def _stand_in(directory: Path, port: int) -> subprocess.Popen[bytes]:
    """A process with the command line of a twin's QEMU, which has its disk open and is elsewhere itself."""
    words = ["qemu-system-x86_64", "-netdev", f"user,hostfwd=tcp:127.0.0.1:{port}-:22"]
    code = (
        f"import time; disk = open('{directory}/disk.qcow2', 'w'); print('up', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen(
        [words[0], "-c", code, *words[1:]], executable=sys.executable, cwd="/", stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_a_mark_tells_a_process_from_a_later_one_of_its_number() -> None:
    mine = mark(os.getpid())
    assert mine.startswith(f"{os.getpid()}:")
    assert mark(2**22 + 1) == ""  # above Linux' greatest process id


@pytest.mark.parametrize(
    ("place", "started_by", "why"),
    [
        pytest.param("here", "", "", id="a person's twin is kept"),
        pytest.param("here", "self", "", id="the run goes on"),
        pytest.param("here", "1:999999999999", "the tests that started it", id="the number is another's now"),
        pytest.param("here", f"{2**22 + 1}:5", "the tests that started it", id="the run is gone"),
        pytest.param("gone", "self", "is gone", id="its site was removed"),
    ],
)
def test_what_nobody_can_want_is_told(tmp_path: Path, place: str, started_by: str, why: str) -> None:
    (tmp_path / "here").mkdir()
    told = _holder(tmp_path / place, mark(os.getpid()) if started_by == "self" else started_by).abandoned()
    assert why in told if why else told == ""


def test_the_refusal_says_who_holds_it_and_what_to_do(tmp_path: Path) -> None:
    message = str(_holder(tmp_path, "").refusal("starting twin t1", "address 10.213.0.41"))
    for part in ("starting twin t1", "address 10.213.0.41", "container c1", str(tmp_path), "podman rm -f c1"):
        assert part in message


@pytest.mark.parametrize(("told", "expected"), [("77:88", "77:88"), ("", ""), ("nobody", "")])
def test_an_owner_is_a_mark_or_nothing(monkeypatch: pytest.MonkeyPatch, told: str, expected: str) -> None:
    monkeypatch.setenv(OWNER_VARIABLE, told)
    assert owner() == expected


def test_the_tests_own_their_twins() -> None:
    assert mark(int(os.environ[OWNER_VARIABLE].split(":")[0])) == os.environ[OWNER_VARIABLE]


def test_a_port_that_a_kept_twin_has_is_refused_and_an_abandoned_one_is_freed(tmp_path: Path) -> None:
    port, place, said = _free_port(), tmp_path / "other", list[str]()
    place.mkdir()
    process = _stand_in(place, port)
    try:
        twin = VmTwin(TwinSpec("edge-01", "vm", tmp_path / "site", port), said.append)
        found = vm_holder(port)
        assert found is not None
        assert (found[0].place, found[1]) == (place, process.pid)
        with pytest.raises(
            EdgewrightError, match=f"port {port} of 127.0.0.1 is held by process {process.pid}"
        ):
            twin._free_port()
        assert process.poll() is None
        (place / "owner").write_text("1:999999999999", encoding="ascii")
        twin._free_port()
    finally:
        process.kill()
        process.wait()
    assert "the tests that started it" in said[-1]
    assert vm_holder(port) is None


def test_a_process_that_is_gone_is_no_error(tmp_path: Path) -> None:
    process = _stand_in(tmp_path, _free_port())
    process.kill()
    process.wait()
    end(process.pid, "starting twin edge-01")
    assert mark(process.pid) == ""
