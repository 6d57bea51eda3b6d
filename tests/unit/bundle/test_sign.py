# SPDX-License-Identifier: Apache-2.0
"""The same files and keys give the same bytes; what changed gets the next version; nothing else is signed."""

from __future__ import annotations

import os
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata

from edgewright.bundle.ceremony import rotate_release, rotate_root
from edgewright.bundle.keys import KeySet
from edgewright.bundle.layout import INDEX
from edgewright.bundle.sign import sign_bundle
from edgewright.errors import EdgewrightError, InputError
from tests.unit.bundle import sticks
from tests.unit.bundle.sticks import EXPIRES, SIGNED_AT, Made, snapshot_of


def sign(made: Made, **changes: object) -> None:
    options = {"signed_at": SIGNED_AT, "expires": EXPIRES} | changes
    sign_bundle(made.stick, made.keys, **options)  # type: ignore[arg-type]


def test_the_same_bytes(made: Made, tmp_path: Path) -> None:
    """In another directory, from another copy of the keys, on another day, and over itself."""
    first = snapshot_of(made.stick)
    sign(made)
    assert snapshot_of(made.stick) == first
    shutil.copytree(made.keys.directory, tmp_path / "elsewhere")
    again = sticks.make(tmp_path / "b", KeySet.open(tmp_path / "elsewhere"), "other-name")
    assert snapshot_of(again.stick) == first
    shutil.rmtree(tmp_path / "elsewhere" / "repository")  # a first signing elsewhere, too
    third = sticks.make(tmp_path / "c", KeySet.open(tmp_path / "elsewhere"))
    assert snapshot_of(third.stick) == first


def test_what_is_signed(made: Made) -> None:
    targets = Metadata.from_file(str(made.metadata("targets"))).signed
    on_stick = {
        str(path.relative_to(made.stick))
        for path in made.stick.rglob("*")
        if path.is_file() and not path.name.endswith(("targets.json", "snapshot.json", "timestamp.json"))
    }
    assert set(targets.targets) == on_stick
    assert {"install", INDEX, "metadata/1.root.json"} <= on_stick
    assert targets.expires == EXPIRES
    assert sorted(path.name for path in (made.stick / "metadata").iterdir()) == [
        "1.root.json",
        "1.snapshot.json",
        "1.targets.json",
        "timestamp.json",
    ]


def versions(made: Made) -> tuple[int, int, int]:
    found = [
        Metadata.from_file(str(made.metadata(role))).signed.version
        for role in ("targets", "snapshot", "timestamp")
    ]
    return (found[0], found[1], found[2])


def test_versions_are_a_function_of_what_was_signed(made: Made, tmp_path: Path) -> None:
    assert versions(made) == (1, 1, 1)
    second = sticks.make(tmp_path, made.keys, "second", {"x": b"second"})
    assert versions(second) == (2, 2, 2)
    sign(made)
    assert versions(made) == (1, 1, 1)
    third = sticks.make(tmp_path, made.keys, "third", {"x": b"third"})
    assert versions(third) == (3, 3, 3)
    sign(second)
    assert versions(second) == (2, 2, 2)


def test_signed_again_for_longer(made: Made) -> None:
    """The same contents, a later end: a newer bundle, which controllers take."""
    made.accept()
    sticks.change_index(made, expires=EXPIRES + timedelta(days=90))
    sign(made, expires=EXPIRES + timedelta(days=90))
    assert versions(made) == (2, 2, 2)
    assert not (made.stick / "metadata" / "1.targets.json").exists()
    made.accept()


@pytest.mark.parametrize("what", ["release", "root"])
def test_after_a_rotation(made: Made, tmp_path: Path, what: str) -> None:
    made.accept()
    if what == "release":
        rotate_release(made.keys.directory, None, EXPIRES.replace(year=2035))
    else:
        rotate_root(made.keys.directory, [], ["root-3"], None, EXPIRES.replace(year=2035))
    newer = sticks.make(tmp_path, KeySet.open(made.keys.directory), "newer")
    assert (newer.stick / "metadata" / "2.root.json").is_file()
    newer.accept()
    with newer.open(fingerprint=False) as bundle:
        assert bundle.fingerprint == made.keys.fingerprint


def test_a_killed_run_is_finished_by_the_next(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    right = snapshot_of(made.stick)
    for name in ("1.targets.json", "1.snapshot.json"):
        (made.stick / "metadata" / name).unlink()
    (made.stick / "metadata" / ".1.targets.json.abc123").write_bytes(b"half")
    sign(made)
    assert snapshot_of(made.stick) == right


def test_timestamp_is_last(keys: KeySet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sticks.write_stick(tmp_path / "stick")
    written: list[str] = []
    replace = Path.replace

    def note(path: Path, target: Path) -> Path:
        if Path(target).parent.name == "metadata":
            written.append(Path(target).name)
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", note)
    sign_bundle(tmp_path / "stick", keys, signed_at=SIGNED_AT, expires=EXPIRES)
    assert sorted(written[:-1]) == ["1.root.json", "1.snapshot.json", "1.targets.json"]
    assert written[-1] == "timestamp.json"


def test_times_must_agree(made: Made) -> None:
    with pytest.raises(InputError, match="has signed_at 2026-11-19T02:12:54Z, expected 2026-11-20"):
        sign(made, signed_at=SIGNED_AT + timedelta(days=1))
    with pytest.raises(InputError, match="has expires"):
        sign(made, expires=EXPIRES + timedelta(days=1))
    end = made.keys.root.expires
    sticks.change_index(made, expires=end)
    with pytest.raises(InputError, match="extend it with `edgewright keys rotate root"):
        sign(made, expires=end)


def _fifo(stick: Path) -> None:
    os.mkfifo(stick / "targets" / "pipe")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda stick: (stick / "notes.txt").write_bytes(b""), "'notes.txt' has no place in a bundle"),
        (lambda stick: (stick / "targets" / "a b").write_bytes(b""), "'a b' is no name"),
        (lambda stick: (stick / "targets" / ".part").write_bytes(b""), "'.part' is no name"),
        (lambda stick: (stick / "targets" / "link").symlink_to("blobs"), "is a symbolic link"),
        (_fifo, "targets/pipe is a pipe"),
        (lambda stick: (stick / "metadata" / "notes").write_bytes(b""), "metadata/notes has no place"),
        (lambda stick: (stick / INDEX).unlink(), "there is no targets/bundle.json"),
        (lambda stick: (stick / "install").unlink() or (stick / "install").mkdir(), "install is a directory"),
    ],
)
def test_what_has_no_place(made: Made, spoil: object, told: str) -> None:
    spoil(made.stick)  # type: ignore[operator]
    with pytest.raises(InputError, match=told):
        sign(made)


def test_the_key_that_signs_must_count(made: Made, tmp_path: Path) -> None:
    other = KeySet.develop(tmp_path / "other")
    mixed = KeySet(other.directory, other.plan, made.keys.roots)
    with pytest.raises(InputError, match="do not count by root 1"):
        sign_bundle(made.stick, mixed, signed_at=SIGNED_AT, expires=EXPIRES)


def test_a_damaged_history_is_not_begun_anew(made: Made) -> None:
    path = made.keys.directory / "repository" / "history.json"
    path.write_bytes(b"{}")
    with pytest.raises(InputError, match="restore it from the backup of the keys"):
        sign(made)


def test_a_damaged_copy_in_the_history_is_signed_again(made: Made) -> None:
    right = snapshot_of(made.stick)
    for path in (made.keys.directory / "repository" / "targets").iterdir():
        path.write_bytes(b"damaged")
    sign(made)
    assert snapshot_of(made.stick) == right


def test_a_stick_that_cannot_be_written(made: Made) -> None:
    shutil.rmtree(made.stick / "metadata")
    (made.stick / "metadata").write_bytes(b"")
    with pytest.raises((EdgewrightError, InputError), match="metadata"):
        sign(made)
