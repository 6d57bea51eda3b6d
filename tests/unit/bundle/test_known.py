# SPDX-License-Identifier: Apache-2.0
"""What a build hashed is not read again while nothing says that it changed; whatever verifies reads all."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgewright.bundle import build, writer
from edgewright.bundle.build import BundleResult, build_bundle
from edgewright.bundle.keys import KeySet
from edgewright.bundle.known import Known
from edgewright.bundle.layout import INDEX, BundleIndex, File
from edgewright.bundle.sign import sign_bundle
from edgewright.bundle.verify import BundleRefused, open_bundle
from edgewright.errors import InputError
from edgewright.paths import cache_dir
from edgewright.release.documents import LOCK_FILE, load_lock
from tests.unit.bundle.small_release import make_release
from tests.unit.bundle.sticks import EXPIRES, SIGNED_AT, Made, snapshot_of

DEB = "apt/pool/one_1.0_all.deb"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with `release/`, `other/` and `keys/`; the cache is below it too."""
    root = tmp_path_factory.mktemp("known")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEWRIGHT_CACHE", str(root / "cache"))
        make_release(root / "release")
        make_release(root / "other", ("one", "two", "three"), "Fri, 20 Nov 2026 02:12:54 UTC")
        KeySet.develop(root / "keys")
        yield root


def _build(site: Path, stick: Path, release: str = "release") -> BundleResult:
    return build_bundle(site / release, stick, KeySet.open(site / "keys"))


def _check(site: Path, stick: Path, tmp_path: Path) -> None:
    fingerprint = KeySet.open(site / "keys").fingerprint
    with open_bundle(stick, tmp_path / "trust", fingerprint=fingerprint) as bundle:
        bundle.check_all()


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that the writer reads to hash them."""
    found: list[str] = []
    real = writer._hash

    def note(path: Path) -> str:
        found.append(path.name)
        return real(path)

    monkeypatch.setattr(writer, "_hash", note)
    return found


def _blob(stick: Path, path: str = DEB) -> Path:
    return stick / "targets" / "blobs" / BundleIndex.load((stick / INDEX).read_bytes()).depot[path]


def _settled(stick: Path) -> None:
    """Give every file a time that lies well back, as it has when a stick is built again on another day."""
    for path in stick.rglob("*"):
        if path.is_file():
            os.utime(path, ns=(1_700_000_000_123_456_789, 1_700_000_000_123_456_789))


def test_the_second_build_reads_what_is_new_only(site: Path, tmp_path: Path, hashed: list[str]) -> None:
    stick = tmp_path / "stick"
    _build(site, stick)
    _settled(stick)
    _build(site, stick)  # notes the files as they are now
    hashed.clear()
    result = _build(site, stick)
    assert hashed == []
    assert result.written == 0
    _build(site, stick, "other")
    stays = {_blob(stick).name, _blob(stick, "apt/pool/two_1.0_all.deb").name}
    assert not stays & set(hashed)
    _check(site, stick, tmp_path)
    shutil.rmtree(cache_dir() / "sticks")
    _build(site, tmp_path / "fresh", "other")
    assert snapshot_of(stick) == snapshot_of(tmp_path / "fresh")


def _changed(path: Path) -> None:
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])


def _touched(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def _swapped(path: Path) -> None:
    """Another file with the same size and time: its inode tells."""
    status = path.stat()
    _changed(path)
    keep = path.with_name("keep")
    shutil.copy(path, keep)
    path.unlink()
    keep.rename(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("spoil", [_changed, _touched, _swapped])
def test_a_file_that_differs_is_read_again_and_mended(
    site: Path, tmp_path: Path, hashed: list[str], spoil: Any
) -> None:
    stick = tmp_path / "stick"
    _build(site, stick)
    right = snapshot_of(stick)
    path = _blob(stick)
    spoil(path)
    hashed.clear()
    _build(site, stick)
    assert path.name in hashed
    assert snapshot_of(stick) == right
    _check(site, stick, tmp_path)


def test_a_change_that_hides_is_refused_by_verify(site: Path, tmp_path: Path) -> None:
    """The record is wrong: same size, time and inode, another byte. What is signed is the lock's digest."""
    stick = tmp_path / "stick"
    _build(site, stick)
    path = _blob(stick)
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)  # a file of its own, so that the cache's stays as it is
    _settled(stick)
    _build(site, stick)
    status = path.stat()
    with path.open("r+b") as stream:
        stream.write(bytes([data[0] ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    _build(site, stick)
    assert path.read_bytes() != data, "the build did not see it"
    with pytest.raises(BundleRefused, match=path.name) as refused:
        _check(site, stick, tmp_path)
    assert refused.value.why == "changed"
    path.unlink()
    _build(site, stick)
    _check(site, stick, tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"[]", b'{"schema":"edgewright.known/v9","files":{}}'),
        *(b'{"schema":"edgewright.known/v1"}', b'{"schema":"edgewright.known/v1","files":7}'),
        b'{"schema":"edgewright.known/v1","files":{"a":[1,2]}}',
    ],
)
def test_a_damaged_record_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "file").write_bytes(b"x")
    os.utime(tmp_path / "file", ns=(5, 5))
    known = Known(tmp_path)
    known.note("file", tmp_path / "file", "d" * 64)
    known.save()
    assert Known(tmp_path).find("file", tmp_path / "file") == "d" * 64
    assert Known(tmp_path / "another").find("file", tmp_path / "file") is None, "a record is of one stick"
    (record,) = (cache_dir() / "sticks").iterdir()
    record.write_bytes(content)
    assert Known(tmp_path).find("file", tmp_path / "file") is None


@pytest.mark.parametrize(
    ("age_ns", "whole_second", "kept"),
    [
        (0, False, False),
        (1_000_000_000, False, True),
        (1_000_000_000, True, False),
        (10_000_000_000, True, True),
    ],
)
def test_a_file_that_has_just_changed_is_not_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age_ns: int, whole_second: bool, kept: bool
) -> None:
    """A change within the same tick of the file system's clock would show the same time."""
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(tmp_path / "cache"))
    now = 1_800_000_000_000_000_000 if whole_second else 1_800_000_000_000_000_001
    monkeypatch.setattr("edgewright.bundle.known.time.time_ns", lambda: now)
    (tmp_path / "file").write_bytes(b"x")
    os.utime(tmp_path / "file", ns=(now - age_ns, now - age_ns))
    known = Known(tmp_path)
    known.note("file", tmp_path / "file", "d" * 64)
    known.save()
    assert (Known(tmp_path).find("file", tmp_path / "file") is not None) == kept


def test_nothing_of_the_record_lies_on_the_stick(site: Path, tmp_path: Path) -> None:
    _build(site, tmp_path / "stick")
    names = {path.name for path in (tmp_path / "stick").iterdir()}
    assert names == {"metadata", "targets"}


def test_signing_reads_what_nobody_hashed(made: Made) -> None:
    """What is known is taken as it is; what is not, or has another size, is hashed."""
    right = snapshot_of(made.stick)
    blob = next(path for path in sorted((made.stick / "targets" / "blobs").iterdir()))
    name = f"targets/blobs/{blob.name}"
    size = blob.stat().st_size
    for known in (
        {name: File(size, hashlib.sha256(blob.read_bytes()).hexdigest())},
        {name: File(size + 1, "0" * 64)},
        {"targets/blobs/none": File(1, "0" * 64)},
    ):
        sign_bundle(made.stick, made.keys, signed_at=SIGNED_AT, expires=EXPIRES, known=known)
        assert snapshot_of(made.stick) == right
    sign_bundle(
        made.stick, made.keys, signed_at=SIGNED_AT, expires=EXPIRES, known={name: File(size, "0" * 64)}
    )
    told = json.loads(max((made.stick / "metadata").glob("*.targets.json")).read_bytes())
    assert told["signed"]["targets"][name]["hashes"]["sha256"] == "0" * 64
    with pytest.raises(BundleRefused), made.open() as bundle:
        bundle.check_all()


def test_a_waiver_that_ended_since_locking_refuses_the_build(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = tmp_path / "release"
    shutil.copytree(site / "release", release)
    text = (release / LOCK_FILE).read_text()
    waived = "waiver: {who: Legal, why: agreement 4711, until: '2026-12-31'}"
    assert "licence: MIT\n" in text
    (release / LOCK_FILE).write_text(text.replace("licence: MIT\n", f"licence: MIT\n    {waived}\n", 1))
    assert load_lock(release)[0]["python"]["wheels"][0]["waiver"]["until"] == "2026-12-31"

    class Clock(datetime.datetime):
        day = 31

        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Clock:
            return cls(2026, 12, 31, 23, tzinfo=tz) if cls.day == 31 else cls(2027, 1, 1, tzinfo=tz)

    monkeypatch.setattr(build, "datetime", Clock)
    build_bundle(release, tmp_path / "stick", KeySet.open(site / "keys"))
    right = snapshot_of(tmp_path / "stick")
    Clock.day = 1
    with pytest.raises(
        InputError, match=r"release\.lock\.yml: python\.wheels\.0: the waiver of Legal ended on 2026-12-31"
    ):
        build_bundle(release, tmp_path / "stick", KeySet.open(site / "keys"))
    assert snapshot_of(tmp_path / "stick") == right, "refused before anything was touched"
