# SPDX-License-Identifier: Apache-2.0
"""Contents become files that FAT holds, and get their names only when they are right."""

from __future__ import annotations

import io
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from edgewright.bundle.layout import BLOBS, CHUNK_BYTES, INDEX, MAX_FILE_BYTES, Blob, part_name
from edgewright.bundle.parts import Piece, pieces_of, split
from edgewright.bundle.writer import ROOM, StickWriter
from edgewright.depot.progress import Progress
from edgewright.errors import InputError, IntegrityError

KIB = 1 << 10
GIB = 1 << 30


def _sha(data: bytes) -> str:
    return sha256(data).hexdigest()


def _piece(name: str, data: bytes) -> Piece:
    return Piece(name, data, len(data), _sha(data))


def _files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def _quiet(total: int = 0) -> Progress:
    return Progress("test", total, io.StringIO())


@pytest.mark.parametrize(
    ("size", "sizes"),
    [
        (0, []),
        (1, []),
        (4 * KIB - 1, []),
        (4 * KIB, []),
        (4 * KIB + 1, [4 * KIB, 1]),
        (8 * KIB - 1, [4 * KIB, 4 * KIB - 1]),
        (8 * KIB, [4 * KIB, 4 * KIB]),
        (8 * KIB + 1, [4 * KIB, 4 * KIB, 1]),
    ],
)
def test_a_content_is_split_at_the_border(size: int, sizes: list[int], tmp_path: Path) -> None:
    data = os.urandom(size)
    source = tmp_path / "source"
    source.write_bytes(data)
    blob = split(_sha(data), source, 4 * KIB, tmp_path / "notes")
    assert [part.size for part in blob.parts] == sizes
    assert [part.name for part in blob.parts] == [part_name(_sha(data), n) for n in range(len(sizes))]
    with StickWriter(tmp_path / "stick") as stick:
        stick.place(pieces_of(_sha(data), blob, source), _quiet())
    placed = _files(tmp_path / "stick")
    assert b"".join(placed[name] for name in sorted(placed)) == data
    assert all(len(part) <= 4 * KIB for part in placed.values())
    for part in blob.parts:
        assert _sha(placed[f"{BLOBS}/{part.name}"]) == part.sha256
    assert split(_sha(data), source, 4 * KIB, tmp_path / "notes") == blob, "from the note"


def test_a_damaged_note_is_made_anew(tmp_path: Path) -> None:
    data = bytes(9)
    source = tmp_path / "source"
    source.write_bytes(data)
    blob = split(_sha(data), source, 4, tmp_path / "notes")
    (note,) = (tmp_path / "notes").iterdir()
    for text in ("", "[]", "[1, 2, 3]", '{"a": 1}'):
        note.write_text(text)
        assert split(_sha(data), source, 4, tmp_path / "notes") == blob


@pytest.mark.parametrize("chunk_bytes", [0, -1, MAX_FILE_BYTES + 1])
def test_a_chunk_that_fat_cannot_hold_is_refused(chunk_bytes: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected chunks of 1 to 4294967295 bytes"):
        split("a" * 64, tmp_path, chunk_bytes, tmp_path / "notes")


def test_more_parts_than_names_are_refused(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(1001))
    with pytest.raises(InputError, match="more than 1000 parts"):
        split(_sha(bytes(1001)), source, 1, tmp_path / "notes")


def test_a_source_with_other_bytes_is_not_split(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(9))
    with pytest.raises(IntegrityError, match=f"expected sha256 {'a' * 64}"):
        split("a" * 64, source, 4, tmp_path / "notes")


BORDERS = {2 * GIB - 1: 0, 2 * GIB: 0, 4 * GIB - 1: 2, 4 * GIB: 2, 4 * GIB + 1: 2}
"""Size in bytes -> parts that it must have."""


@pytest.fixture(scope="module")
def border_digests() -> dict[int, str]:
    """Digests of files of these sizes: zeros, and one letter at the end."""
    zeros, block, hashed, found = sha256(), bytes(1 << 24), 0, {}
    for size in BORDERS:
        while hashed < size - 1:
            step = min(len(block), size - 1 - hashed)
            zeros.update(block[:step])
            hashed += step
        whole = zeros.copy()
        whole.update(b"x")
        found[size] = whole.hexdigest()
    return found


@pytest.fixture
def sparse(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory where it has the room: a disk reads holes slowly, into its cache."""
    memory = Path("/dev/shm")  # noqa: S108 - memory, not a fixed name
    if not os.access(memory, os.W_OK) or shutil.disk_usage(memory).free < max(BORDERS) + GIB:
        yield tmp_path
        return
    place = Path(tempfile.mkdtemp(prefix="ew-sparse-", dir=memory))
    yield place
    shutil.rmtree(place, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.parametrize("size", BORDERS)
def test_sparse_files_at_the_borders_of_fat(size: int, border_digests: dict[int, str], sparse: Path) -> None:
    source, digest = sparse / "source", border_digests[size]
    with source.open("wb") as stream:
        stream.truncate(size - 1)
        stream.seek(size - 1)
        stream.write(b"x")
    blob = split(digest, source, CHUNK_BYTES, sparse / "notes")
    assert len(blob.parts) == BORDERS[size]
    pieces = pieces_of(digest, blob, source)
    assert sum(piece.size for piece in pieces) == size
    assert all(piece.size <= MAX_FILE_BYTES for piece in pieces)
    if size in {4 * GIB - 1, 4 * GIB}:
        return  # copied in the same way as the next one, and time is dear
    with StickWriter(sparse / "stick") as stick:
        stick.need_space(pieces)
        stick.place(pieces, _quiet())
    found = sorted((sparse / "stick" / BLOBS).iterdir())
    assert [path.stat().st_size for path in found] == [piece.size for piece in pieces]
    assert all(path.stat().st_blocks * 512 < 16 << 20 for path in found), "holes stay holes"
    with found[-1].open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        assert stream.read() == b"x"


def test_a_wrong_source_gets_no_name(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"other")
    pieces = [_piece("install", b"right"), Piece(f"{BLOBS}/{'a' * 64}", source, 5, "a" * 64)]
    stick = StickWriter(tmp_path / "stick")
    with pytest.raises(IntegrityError, match=rf"{source} has sha256 {_sha(b'other')}, expected a+"), stick:
        stick.place(pieces, _quiet())
    assert not list((tmp_path / "stick").rglob("a*"))
    assert source.read_bytes() == b"other"
    assert (tmp_path / "stick" / ROOM).is_dir(), "what is not done is seen to be so"


def test_a_source_that_ends_early_gets_no_name(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"12345")
    with pytest.raises(IntegrityError), StickWriter(tmp_path / "stick") as stick:
        stick.place([Piece("install", source, 6, _sha(b"12345\0"))], _quiet())
    assert not (tmp_path / "stick" / "install").exists()


def test_what_is_there_and_right_is_kept_and_what_is_wrong_is_replaced(tmp_path: Path) -> None:
    root = tmp_path / "stick"
    right, wrong, short = (_piece(f"{BLOBS}/{_sha(data)}", data) for data in (b"right", b"wrong", b"short"))
    index = _piece(INDEX, b"{}")
    with StickWriter(root) as stick:
        stick.place([right, wrong, short, index], _quiet())
    before = (root / right.name).stat()
    (root / wrong.name).write_bytes(b"WRONG")
    (root / short.name).write_bytes(b"sh")
    with StickWriter(root) as stick:
        stick.place([right, wrong, short, index], _quiet())
        assert (stick.kept, stick.written) == (7, 10)
    assert (root / right.name).stat().st_ino == before.st_ino
    assert set(_files(root).values()) == {b"right", b"wrong", b"short", b"{}"}
    with StickWriter(root) as stick:
        assert stick.remove_others([right.name, INDEX]) == 2
    assert set(_files(root)) == {right.name, INDEX}


def test_modes_do_not_hang_on_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        with StickWriter(tmp_path / "stick") as stick:
            stick.place([Piece("install", b"#!", 2, _sha(b"#!"), mode=0o755), _piece(INDEX, b"{}")], _quiet())
    finally:
        os.umask(old)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "stick").rglob("*")}
    assert modes == {"install": 0o755, "targets": 0o755, "bundle.json": 0o644}
    assert (tmp_path / "stick").stat().st_mode & 0o777 == 0o755


def test_a_whole_file_of_the_same_file_system_is_a_link(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"content")
    name = f"{BLOBS}/{_sha(b'content')}"
    with StickWriter(tmp_path / "stick") as stick:
        stick.place([Piece(name, source, 7, _sha(b"content"))], _quiet())
    assert (tmp_path / "stick" / name).stat().st_ino == source.stat().st_ino


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="there is no other file system to write to")  # noqa: S108
def test_another_file_system_gets_a_copy(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"content")
    name = f"{BLOBS}/{_sha(b'content')}"
    root = Path("/dev/shm") / f"edgewright-test-{os.getpid()}"  # noqa: S108
    try:
        if tmp_path.stat().st_dev == root.parent.stat().st_dev:
            pytest.skip("the temporary directory is in the same file system")
        with StickWriter(root) as stick:
            stick.place([Piece(name, source, 7, _sha(b"content"))], _quiet())
        assert (root / name).read_bytes() == b"content"
    finally:
        shutil.rmtree(root, ignore_errors=True)


@pytest.mark.parametrize(
    ("name", "bundle", "said"),
    [
        ("precious.txt", False, r"precious\.txt is there and is no part of a bundle"),
        ("install", False, "install is there and is no part of a bundle"),
        ("targets/blobs/README", True, "targets/blobs/README is there"),
        ("targets/other/x", True, "targets/other/x is there"),
        ("System Volume Information/x", True, "System Volume Information/x is there"),
        (".hidden", True, r"\.hidden is there"),
    ],
)
def test_what_is_no_bundle_is_left_alone(name: str, bundle: bool, said: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("mine")
    if bundle:
        (tmp_path / INDEX).parent.mkdir(exist_ok=True)
        (tmp_path / INDEX).write_text("{}")
    before = _files(tmp_path)
    with pytest.raises(InputError, match=said):
        StickWriter(tmp_path)
    assert _files(tmp_path) == before


def test_what_a_killed_signing_left_is_no_stranger(tmp_path: Path) -> None:
    for name in (
        INDEX,
        "metadata/.timestamp.json.8ak16rbl",
        "metadata/.3.targets.json.x_y",
        "metadata/1.root.json",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    StickWriter(tmp_path)
    (tmp_path / "metadata" / ".other").write_text("mine")
    with pytest.raises(InputError, match=r"metadata/\.other is there"):
        StickWriter(tmp_path)


def test_a_link_on_the_stick_is_refused(tmp_path: Path) -> None:
    (tmp_path / "stick" / "targets").mkdir(parents=True)
    (tmp_path / "stick" / INDEX).write_text("{}")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "stick" / "metadata").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="metadata is a symbolic link"):
        StickWriter(tmp_path / "stick")


def test_a_file_for_a_stick_is_refused(tmp_path: Path) -> None:
    (tmp_path / "stick").write_text("mine")
    with pytest.raises(InputError, match="is no directory"):
        StickWriter(tmp_path / "stick")


def test_too_little_space_is_told_first(tmp_path: Path) -> None:
    stick = StickWriter(tmp_path / "stick")
    huge = Piece("install", b"", 1 << 60, "a" * 64)
    with pytest.raises(InputError, match=r"it needs 1152921504\.61 GB more, \d+\.\d+ [GM]B are available"):
        stick.need_space([huge])
    assert not (tmp_path / "stick").exists()


def test_links_and_what_is_there_need_no_space(tmp_path: Path) -> None:
    source = tmp_path / "source"
    with source.open("wb") as stream:
        stream.truncate(1 << 40)
    StickWriter(tmp_path / "stick").need_space([Piece("install", source, 1 << 40, "a" * 64)])


def test_a_full_stick_is_told(tmp_path: Path) -> None:
    """The process may write no file above 64 KiB: the kernel refuses as it does for a FAT stick."""
    script = textwrap.dedent(
        """
        import resource, sys
        from hashlib import sha256
        from pathlib import Path
        from edgewright.bundle.parts import Piece
        from edgewright.bundle.writer import StickWriter
        from edgewright.depot.progress import Progress
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
        data = b"x" * (1 << 17)
        with StickWriter(Path(sys.argv[1])) as stick:
            stick.place([Piece("install", data, len(data), sha256(data).hexdigest())], Progress("", 1))
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "stick")], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "InputError: writing install in" in done.stderr
    assert "may not write a file as large as that" in done.stderr
    assert not (tmp_path / "stick" / "install").exists()
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1 << 16


def test_a_blob_without_parts_is_one_file() -> None:
    assert [piece.name for piece in pieces_of("a" * 64, Blob(3), b"abc")] == [f"{BLOBS}/{'a' * 64}"]
