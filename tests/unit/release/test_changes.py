# SPDX-License-Identifier: Apache-2.0
"""Two locks compared: what moved, in one line, as a table and as JSON."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgewright.cli.main import main
from edgewright.errors import InputError
from edgewright.release.changes import diff_locks
from edgewright.release.documents import LOCK_FILE, dump_lock, load_lock_file

EXAMPLE = Path(__file__).resolve().parents[3] / "releases" / "label-reader"


@pytest.fixture(scope="module")
def lock() -> dict[str, Any]:
    return load_lock_file(EXAMPLE / LOCK_FILE)[0]


def _deb(lock: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(deb for deb in lock["apt"]["packages"] if deb["name"] == name)
    return found


def _upgrade(lock: dict[str, Any]) -> None:
    _deb(lock, "openssl").update(version="9.9-1", sha256="9" * 64, size=_deb(lock, "openssl")["size"] + 7)


def _relicense(lock: dict[str, Any]) -> None:
    lock["python"]["wheels"][0]["licence"] = "Zlib"


def _rebuild(lock: dict[str, Any]) -> None:
    lock["images"][0]["digest"] = "sha256:" + "8" * 64


def _drop(lock: dict[str, Any]) -> None:
    lock["apt"]["packages"] = [deb for deb in lock["apt"]["packages"] if deb["name"] != "podman"]


def _supply(lock: dict[str, Any]) -> None:
    entry = {"name": "firmware.bin", "size": 10, "sha256": "7" * 64, "licence": "MIT", "path": "firmware.bin"}
    lock["files"] = [entry]


def _date(lock: dict[str, Any]) -> None:
    lock["apt"]["date"] = "Fri, 20 Nov 2026 02:12:54 UTC"


def _solve(lock: dict[str, Any]) -> None:
    lock["nvidia"] = [_stack()]


def _stack(**chosen: str) -> dict[str, Any]:
    return {
        "profile": "x86_t4",
        "target": "bookworm/amd64",
        "origin": "debian",
        "chosen": {"arch": "amd64", "driver": "535.309.01", "cuda": "12.2.2", **chosen},
        "unlocked": [],
        "warnings": [],
        "waiver": {"who": "Ada", "why": "the line", "until": "2027-06-30"},
    }


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], None], str, int]] = {
    "package upgraded": (_upgrade, "1 package (openssl {openssl} -> 9.9-1)", 7),
    "package gone": (_drop, "1 package (podman gone)", 0),
    "licence changed": (_relicense, "1 wheel ({wheel})", 0),
    "image rebuilt": (_rebuild, "1 image (edgewright/runtime)", 0),
    "file supplied": (_supply, "1 file (firmware.bin new)", 10),
    "stack solved": (_solve, "the NVIDIA stack (x86_t4 stack new, driver 535.309.01, cuda 12.2.2)", 0),
    "another day": (_date, "other fields", 0),
}


@pytest.mark.parametrize("case", CHANGES)
def test_what_moved_is_told_in_one_line(case: str, lock: dict[str, Any]) -> None:
    change, words, size = CHANGES[case]
    new = copy.deepcopy(lock)
    change(new)
    diff = diff_locks(lock, new)
    names = {"openssl": _deb(lock, "openssl")["version"], "wheel": lock["python"]["wheels"][0]["name"]}
    assert diff.summary() == words.format(**names)
    assert "\n" not in diff.summary()
    if case != "package gone":
        assert diff.new_bytes - diff.old_bytes == size
    assert bool(diff)
    assert not diff_locks(new, new)
    assert diff_locks(new, new).summary() == "nothing"


STACKS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "other versions": (
        _stack(driver="535.261.03", tensorrt="10.6.0"),
        ["driver 535.309.01 -> 535.261.03", "tensorrt new, 10.6.0"],
    ),
    "a longer waiver": (
        {**_stack(), "waiver": {"who": "Ada", "why": "the line", "until": "2028-06-30"}},
        ["waiver of Ada until 2027-06-30 (the line) -> of Ada until 2028-06-30 (the line)"],
    ),
    "no waiver": ({**_stack(), "waiver": None}, ["waiver gone"]),
    "other reasons": ({**_stack(), "unlocked": ["cuda"]}, ["reasons 0 warnings -> 0 warnings"]),
}


@pytest.mark.parametrize("case", STACKS)
def test_what_moved_in_the_nvidia_stack_is_told_by_item(case: str, lock: dict[str, Any]) -> None:
    new, words = STACKS[case]
    diff = diff_locks({**lock, "nvidia": [_stack()]}, {**lock, "nvidia": [new]})
    sentences = [f"nvidia x86_t4 on bookworm/amd64: {each}" for each in words]
    assert diff.sentences() == sentences
    assert all(sentence in diff.table() for sentence in sentences)
    assert [each["item"] for each in diff.as_json()["stack"]] == [each.split()[0] for each in words]


def test_a_stack_that_is_gone_is_told(lock: dict[str, Any]) -> None:
    diff = diff_locks({**lock, "nvidia": [_stack()]}, lock)
    assert diff.sentences() == ["nvidia x86_t4 on bookworm/amd64: stack gone"]


def test_counts_stay_short_when_much_moved(lock: dict[str, Any]) -> None:
    new = copy.deepcopy(lock)
    for deb in new["apt"]["packages"]:
        deb["sha256"] = "6" * 64
    count = len(lock["apt"]["packages"])
    assert diff_locks(lock, new).summary().startswith(f"{count} packages (conmon, ")
    assert f" and {count - 8} more)" in diff_locks(lock, new).summary()


def test_content_that_several_entries_are_made_of_counts_once(lock: dict[str, Any]) -> None:
    diff = diff_locks({}, lock)
    once = {deb["sha256"]: deb["size"] for deb in lock["apt"]["packages"]}
    once |= {deb["sha256"]: deb["size"] for image in lock["images"] for deb in image.get("debs", [])}
    once |= {wheel["sha256"]: wheel["size"] for wheel in lock["python"]["wheels"]}
    once |= {image["wheel"]["sha256"]: image["wheel"]["size"] for image in lock["images"] if "wheel" in image}
    once |= {image["digest"]: image["size"] for image in lock["images"]}
    once |= {snap["sha256"]: snap["size"] for snap in lock.get("snaps", [])}
    assert (diff.old_bytes, diff.new_bytes) == (0, sum(once.values()))


@pytest.fixture
def pair(lock: dict[str, Any], tmp_path: Path) -> tuple[Path, Path]:
    new = copy.deepcopy(lock)
    for change in (_upgrade, _relicense, _drop, _supply):
        change(new)
    (tmp_path / "new").mkdir()
    (tmp_path / "old.lock.yml").write_bytes(dump_lock(lock))
    (tmp_path / "new" / LOCK_FILE).write_bytes(dump_lock(new))
    return tmp_path / "old.lock.yml", tmp_path / "new"


def test_the_command_prints_a_table(pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["release", "diff", str(pair[0]), str(pair[1])]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["what", "name", "old", "new", "bytes", "licence"]
    signs = {tuple(line.split()[:3]) for line in lines[1:-1]}
    assert {("~", "deb", "openssl"), ("-", "deb", "podman"), ("+", "file", "firmware.bin")} <= signs
    (wheel,) = (line for line in lines if line.startswith("~  wheel"))
    assert wheel.endswith("-> Zlib")
    assert lines[-1].startswith("1 added, 1 removed, 2 changed; ")


def test_the_command_prints_json(pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["release", "diff", "--json", str(pair[0]), str(pair[1])]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["schema"] == "edgewright.lock-diff/v1"
    by_name = {change["name"]: change for change in told["changes"]}
    assert by_name["openssl"]["what"] == "changed"
    assert (by_name["openssl"]["new"]["version"], by_name["openssl"]["bytes"]) == ("9.9-1", 7)
    assert by_name["podman"]["new"] is None
    assert by_name["firmware.bin"]["old"] is None


def test_a_lock_against_itself_says_so(pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["release", "diff", str(pair[0]), str(pair[0])]) == 0
    assert capsys.readouterr().out.startswith("0 added, 0 removed, 0 changed; ")


def test_a_lock_that_is_not_there_or_damaged_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no such file; name a release\.lock\.yml"):
        load_lock_file(tmp_path / "none.yml")
    (tmp_path / "x.yml").write_text("schema: edgewright.lock/v1\nrelase: {}\n")
    with pytest.raises(InputError, match=r"x\.yml:2: the top level: unknown key 'relase', did you mean 'rel"):
        load_lock_file(tmp_path / "x.yml")
