# SPDX-License-Identifier: Apache-2.0
"""What a build placed is flushed to the medium before it is signed; what was flushed before is not again."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

import pytest

from edgewright.bundle import medium
from edgewright.bundle.known import Known
from edgewright.bundle.layout import INDEX
from edgewright.bundle.medium import flush, look, sync
from edgewright.bundle.parts import Piece
from edgewright.bundle.writer import StickWriter
from edgewright.depot.progress import Progress
from edgewright.errors import InputError


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths that were flushed, `ALL ...` for a whole file system."""
    seen: list[str] = []
    real = os.fsync

    def note(descriptor: int) -> None:
        seen.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(medium, "sync", lambda root: seen.append(f"ALL {root}"))
    return seen


def _place(stick: Path, contents: dict[str, bytes], known: Known | None) -> None:
    pieces = [Piece(name, data, len(data), sha256(data).hexdigest()) for name, data in contents.items()]
    with StickWriter(stick, known) as writer:
        writer.place(pieces, Progress("test", 0))
        writer.remove_others(contents)
        writer.flush()
    if known is not None:
        known.save()


def test_a_few_files_are_flushed_one_by_one_and_their_directories_last(
    tmp_path: Path, flushed: list[str]
) -> None:
    _place(tmp_path, {INDEX: b"{}", "targets/documents/a": b"a"}, None)
    assert set(flushed[:2]) == {f"{tmp_path}/{INDEX}", f"{tmp_path}/targets/documents/a"}
    assert flushed[2:] == [f"{tmp_path}/targets/documents", f"{tmp_path}/targets", str(tmp_path)]


def test_many_files_are_flushed_with_their_file_system(tmp_path: Path, flushed: list[str]) -> None:
    _place(tmp_path, {INDEX: b"{}"} | {f"targets/documents/{n}": b"a" for n in range(99)}, None)
    assert flushed == [f"ALL {tmp_path}"]


def test_what_was_noted_is_not_flushed_again(
    tmp_path: Path, flushed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(tmp_path / "cache"))
    stick, contents = tmp_path / "stick", {INDEX: b"{}", "targets/documents/a": b"a"}
    _place(stick, contents, Known(stick))
    os.utime(stick / INDEX, ns=(0, 1_000_000_001))  # as if a while had passed; noted on the next run
    os.utime(stick / "targets/documents/a", ns=(0, 1_000_000_001))
    flushed.clear()
    _place(stick, contents, Known(stick))
    assert {f"{stick}/{INDEX}", f"{stick}/targets/documents/a"} <= set(flushed), "hashed: a build was killed?"
    flushed.clear()
    _place(stick, {INDEX: b"{}"}, Known(stick))
    assert sorted(flushed) == sorted([str(stick), f"{stick}/targets"]), "a name went from targets"


def test_files_that_are_gone_are_passed_over(tmp_path: Path) -> None:
    flush(tmp_path, [tmp_path / "gone"], [tmp_path / "no", tmp_path])
    sync(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync(tmp_path / "no")


def test_a_listing_names_files_and_directories_and_refuses_others(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").write_bytes(b"123")
    found = look(tmp_path, "testing")
    assert found.directories == ("a", "a/b")
    assert {name: state.st_size for name, state in found.files.items()} == {"a/b/c": 3}
    for make, told in ((lambda p: p.symlink_to("b"), "a symbolic link"), (os.mkfifo, "a pipe")):
        make(tmp_path / "a" / "odd")
        with pytest.raises(InputError, match=f"testing: a/odd is {told}; a bundle has plain files only"):
            look(tmp_path, "testing")
        (tmp_path / "a" / "odd").unlink()
