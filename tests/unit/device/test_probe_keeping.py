# SPDX-License-Identifier: Apache-2.0
"""A device keeps the probe's program whole or not at all, alone, and answers with it in the same command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgewright.device.probe_keeping import keeping_command
from edgewright.device.probe_program import parse_answer, probe_program, shipped_input
from edgewright.errors import EdgewrightError

HOST = "reader-01"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the program shall be; nothing is there, nor the directories above."""
    return tmp_path / "var/lib/probe" / f"{probe_program().sha256}.py"


def keep(place: Path, data: bytes | None = None) -> dict[str, Any] | None:
    """Run the command as a connection would; `data`: its input where it is another than the right one."""
    wants = {"drift_watch": {"at": {"program": str(place)}, "period_s": 0, "files": {}}}
    sent = shipped_input(probe_program(), json.dumps(wants).encode()) if data is None else data
    command = keeping_command(sys.executable, probe_program(), str(place))
    done = subprocess.run(["/bin/sh", "-c", command], input=sent, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return parse_answer(done.stdout.decode(), HOST)


def _nothing(_: Path) -> None:
    pass


def _the_same(place: Path) -> None:
    place.parent.mkdir(parents=True)
    place.write_bytes(probe_program().data)


def _changed(place: Path) -> None:
    place.parent.mkdir(parents=True)
    place.write_text("raise SystemExit(3)")


def _others(place: Path) -> None:
    """Programs of other versions, and what a power cut left of one."""
    place.parent.mkdir(parents=True)
    (place.parent / "0123.py").write_text("old")
    (place.parent / ".4567.py.999999999").write_text("half")


@pytest.mark.parametrize("before", [_nothing, _the_same, _changed, _others])
def test_it_is_there_alone_and_answers(place: Path, before: Any) -> None:
    before(place)
    have = keep(place)
    assert have is not None
    assert have["drift_watch"]["program"] == probe_program().sha256
    assert place.read_bytes() == probe_program().data
    assert [path.name for path in place.parent.iterdir()] == [place.name]
    assert (place.stat().st_mode & 0o777, place.parent.stat().st_mode & 0o777) == (0o644, 0o755)


def test_what_another_controller_has_on_its_way_and_what_is_no_program_stay(place: Path) -> None:
    place.parent.mkdir(parents=True)
    on_its_way, note = place.parent / f".4567.py.{os.getpid()}", place.parent / "note.txt"
    on_its_way.write_text("half")
    note.write_text("a person's")
    assert keep(place)
    assert {path.name for path in place.parent.iterdir()} == {place.name, on_its_way.name, note.name}


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_program_that_arrived_in_part_is_neither_kept_nor_run(place: Path, share: float) -> None:
    packed = probe_program().packed
    assert keep(place, packed[: int(len(packed) * share)]) is None
    assert not place.parent.exists()


def test_a_place_that_cannot_be_written_is_told_and_nothing_is_left(place: Path) -> None:
    place.parent.parent.mkdir(parents=True)
    place.parent.write_text("a file where the directory should be")
    with pytest.raises(EdgewrightError, match=r"reading the state of reader-01: .*cannot be kept in .*probe"):
        keep(place)
    assert place.parent.read_text() == "a file where the directory should be"


def test_a_directory_in_the_program_s_place_is_told_and_nothing_is_left_on_its_way(place: Path) -> None:
    place.mkdir(parents=True)
    with pytest.raises(EdgewrightError, match="cannot be kept in"):
        keep(place)
    assert [path.name for path in place.parent.iterdir()] == [place.name]
