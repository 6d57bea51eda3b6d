# SPDX-License-Identifier: Apache-2.0
"""The probe's one program: the same bytes each time, run only whole and unchanged, its answer read
strictly."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgewright.device import probe_program as table
from edgewright.device.areas import AREA_NAMES
from edgewright.device.probe_program import (
    MARK,
    build,
    kept_command,
    kept_path,
    parse_answer,
    probe_program,
    shipped_command,
    shipped_input,
)
from edgewright.errors import EdgewrightError, UnreachableError
from edgewright.paths import collection_root

MODULE_UTILS = collection_root() / "plugins/module_utils"


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The program, kept as a device does, below a directory of the test's own."""
    monkeypatch.setattr(table, "KEPT_DIRECTORY", str(tmp_path / "probe"))
    path = Path(kept_path(probe_program().sha256))
    path.parent.mkdir()
    path.write_bytes(probe_program().data)
    return path


def run(command: str, data: bytes) -> str:
    """One command as a connection would run it; returns its standard output."""
    done = subprocess.run(["/bin/sh", "-c", command], input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def run_kept(wants: Any) -> dict[str, Any] | None:
    output = run(kept_command(sys.executable, probe_program().sha256), json.dumps(wants).encode())
    return parse_answer(output, "reader-01")


def run_shipped(data: bytes) -> dict[str, Any] | None:
    return parse_answer(run(shipped_command(sys.executable, probe_program()), data), "reader-01")


def test_it_is_the_same_bytes_from_any_place(tmp_path: Path) -> None:
    shutil.copytree(MODULE_UTILS, tmp_path / "copy", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "copy" / "left.txt").write_text("not a module")
    assert build(tmp_path / "copy") == build(MODULE_UTILS) == probe_program()
    with (tmp_path / "copy" / "kernel.py").open("a") as stream:
        stream.write("# more\n")
    assert build(tmp_path / "copy").sha256 != probe_program().sha256


def test_a_damaged_installation_is_told(tmp_path: Path) -> None:
    with pytest.raises(EdgewrightError, match=r"has no probe_main\.py; install Edgewright anew"):
        build(tmp_path)


def test_a_kept_program_reads(kept: Path) -> None:
    assert run_kept({"kernel": {}, "acceptance": {"at": {"receipt": "/nowhere"}}}) == {
        "kernel": {},
        "acceptance": {"accepted_for": None, "verdict": None, "record": None},
    }


def test_it_reads_every_area_and_needs_no_package_of_the_device(kept: Path) -> None:
    assert run_kept({}) == {}
    names = [f"{table._PACKAGE}.{name}" for name in (*AREA_NAMES, "probe", "system")]
    script = f"import importlib; exec(open({str(kept)!r}).read(), {{'__name__': 'probe'}})"
    script += f"; [importlib.import_module(name) for name in {names!r}]"
    subprocess.run([sys.executable, "-I", "-S", "-c", script], check=True)


@pytest.mark.parametrize("change", ["flip", "cut", "more", "empty", "gone", "directory"])
def test_a_kept_program_that_changed_is_not_run(kept: Path, tmp_path: Path, change: str) -> None:
    data = kept.read_bytes()
    if change in ("gone", "directory"):
        kept.unlink()
        if change == "directory":
            kept.mkdir()
    else:
        evil = b"import pathlib; pathlib.Path(%r).touch()\n" % str(tmp_path / "ran").encode()
        kept.write_bytes(
            {"flip": evil + data[len(evil) :], "cut": data[:-1], "more": data + evil, "empty": b""}[change]
        )
    assert run_kept({"kernel": {}}) is None
    assert not (tmp_path / "ran").exists()


def test_a_shipped_program_reads_and_is_not_kept(kept: Path) -> None:
    kept.unlink()
    assert run_shipped(shipped_input(probe_program(), b'{"kernel": {}}')) == {"kernel": {}}
    assert list(kept.parent.iterdir()) == []


@pytest.mark.parametrize("keep", [0, 1, 1000, -1])
def test_a_program_that_arrived_in_part_is_not_run(kept: Path, keep: int) -> None:
    assert run_shipped(probe_program().packed[:keep]) is None


def test_a_want_that_arrived_in_part_is_told(kept: Path) -> None:
    with pytest.raises(EdgewrightError, match="the request did not arrive whole"):
        run_shipped(shipped_input(probe_program(), b'{"kernel": {'))


FAILURES = {
    "an area's own refusal": ({"depot_client": {"depot": 1}}, "files"),
    "unknown area": ({"kernal": {}}, "there is no area 'kernal' to read"),
    "no mapping": ([], "the request is no mapping of areas"),
    "a fault in a reader": ({"acceptance": {"at": 1}}, r"TypeError: .* \(acceptance\.py, line \d+\)"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_what_a_reader_cannot_do_is_told_with_its_place(kept: Path, case: str) -> None:
    wants, words = FAILURES[case]
    with pytest.raises(
        EdgewrightError, match="reading the state of reader-01: the probe could not"
    ) as caught:
        run_kept(wants)
    assert caught.match(words)


ANSWER = MARK + json.dumps({"have": {"kernel": {"release": "6.1"}}})
CUT = {
    "nothing": ("", "it said nothing"),
    "blanks": ("\n\n", "it said nothing"),
    "a banner alone": ("Welcome\n", "it said 8 bytes, none of them an answer"),
    "cut off": (ANSWER[:-4], "none of them an answer"),
    "mark alone": (MARK, "none of them an answer"),
    "no mapping": (MARK + "[]", "none of them an answer"),
}


@pytest.mark.parametrize("case", CUT)
def test_an_answer_that_is_not_whole_is_a_device_that_went_away(case: str) -> None:
    output, words = CUT[case]
    with pytest.raises(UnreachableError, match="reading the state of reader-01") as caught:
        parse_answer(output, "reader-01")
    assert caught.match(words)
    assert caught.match("nothing was changed")


@pytest.mark.parametrize(
    "output", [ANSWER, f"Welcome\n{ANSWER}\n", f"\n{ANSWER}\nbye\n", f"{MARK}cut\n{ANSWER}"]
)
def test_an_answer_is_found_among_other_lines(output: str) -> None:
    assert parse_answer(output, "reader-01") == {"kernel": {"release": "6.1"}}


def test_an_answer_of_another_shape_is_refused() -> None:
    with pytest.raises(EdgewrightError, match="expected an answer with have"):
        parse_answer(MARK + "{}", "reader-01")
