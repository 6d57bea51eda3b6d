# SPDX-License-Identifier: Apache-2.0
"""A bundle becomes the depot's release whole or not at all, and what is here already is not copied again."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from edgewright.bundle.build import build_bundle
from edgewright.bundle.keys import KeySet
from edgewright.bundle.layout import INDEX, BundleIndex
from edgewright.bundle.takein import CURRENT, TakeInResult, reclaim, release_name, take_in
from edgewright.bundle.verify import BundleRefused, open_bundle
from edgewright.cli.main import main
from edgewright.depot.build import verify_depot
from edgewright.depot.manifest import DEPOT_FILE, LAYOUT, load_depot
from edgewright.errors import EdgewrightError, InputError
from tests.unit.bundle.killing import changes, killed
from tests.unit.bundle.small_release import make_release

DATES = {
    "one": "Thu, 19 Nov 2026 02:12:54 UTC",
    "two": "Fri, 20 Nov 2026 02:12:54 UTC",
    "three": "Sat, 21 Nov 2026 02:12:54 UTC",
    "four": "Sun, 22 Nov 2026 02:12:54 UTC",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with bundles `one` to `four`, each a later release, and `rekeyed`: `one` by other keys."""
    root = tmp_path_factory.mktemp("takein")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEWRIGHT_CACHE", str(root / "cache"))
        keys, others = KeySet.develop(root / "keys"), KeySet.develop(root / "others")
        for name, date in DATES.items():
            make_release(root / "releases" / name, ("common", f"only-{name}"), date)
            build_bundle(root / "releases" / name, root / name, keys)
        build_bundle(root / "releases" / "one", root / "rekeyed", others)
        yield root


def _take(site: Path, name: str, depots: Path, keep: int = 3, keys: str = "keys") -> TakeInResult:
    fingerprint = KeySet.open(site / keys).fingerprint
    with open_bundle(site / name, depots.with_name(f"trust-{keys}"), fingerprint=fingerprint) as bundle:
        result = take_in(bundle, depots, keep)
        bundle.accept()
    return result


def _index(site: Path, name: str) -> BundleIndex:
    return BundleIndex.load((site / name / INDEX).read_bytes())


def _served(site: Path, depots: Path) -> str:
    """Which bundle is served; it must be there whole."""
    current = depots / CURRENT
    assert verify_depot(current) == []
    names = {release_name(_index(site, name)): name for name in DATES}
    return names[current.resolve().name]


def _inode(depots: Path, release: str, path: str) -> int:
    return (depots / "releases" / release / path).stat().st_ino


def test_a_bundle_becomes_the_depot(site: Path, tmp_path: Path) -> None:
    result = _take(site, "one", tmp_path / "depots")
    index = _index(site, "one")
    release = tmp_path / "depots" / "releases" / f"label-reader-1.0.0-{index.lock_sha256[:12]}"
    assert result == TakeInResult(True, release, index.depot_bytes, 0, ())
    assert str((tmp_path / "depots" / CURRENT).readlink()) == f"releases/{release.name}"
    assert verify_depot(release, site / "releases" / "one") == []
    told = load_depot(release)
    assert told["lock_sha256"] == index.lock_sha256
    assert told["key_sha256"] == index.depot["apt/edgewright-archive-key.asc"]
    assert (told["release"], told["version"], told["layout"]) == ("label-reader", "1.0.0", LAYOUT)
    assert sorted(path.name for path in (tmp_path / "depots").iterdir()) == [CURRENT, "releases"]


def test_equal_contents_are_one_file(site: Path, tmp_path: Path) -> None:
    release = _take(site, "one", tmp_path / "depots").release
    by_digest: dict[str, set[int]] = {}
    for path, digest in _index(site, "one").depot.items():
        by_digest.setdefault(digest, set()).add((release / path).stat().st_ino)
    assert all(len(inodes) == 1 for inodes in by_digest.values())
    assert len(by_digest) < len(_index(site, "one").depot)


def test_nothing_hangs_on_the_stick_s_own_files(site: Path, tmp_path: Path) -> None:
    shutil.copytree(site / "one", tmp_path / "one")
    shutil.copytree(site / "keys", tmp_path / "keys")
    _take(tmp_path, "one", tmp_path / "depots")
    shutil.rmtree(tmp_path / "one")
    assert verify_depot(tmp_path / "depots" / CURRENT) == []


def test_files_are_readable_whatever_the_umask(site: Path, tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        _take(site, "one", tmp_path / "depots")
    finally:
        os.umask(old)
    depots = tmp_path / "depots"
    for path in [depots, *(path for path in depots.rglob("*") if not path.is_symlink())]:
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644), path


def _states(root: Path) -> dict[Path, tuple[int, ...]]:
    states = {path: path.lstat() for path in root.rglob("*")}
    return {
        path: (s.st_ino, s.st_mode, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for path, s in states.items()
    }


def test_the_same_bundle_again_does_nothing(site: Path, tmp_path: Path) -> None:
    first = _take(site, "one", tmp_path / "depots")
    before = _states(tmp_path / "depots")
    assert _take(site, "one", tmp_path / "depots") == TakeInResult(False, first.release, 0, 0, ())
    assert _states(tmp_path / "depots") == before


def test_a_release_that_lost_a_file_is_taken_in_again(site: Path, tmp_path: Path) -> None:
    release = _take(site, "one", tmp_path / "depots").release
    (release / "apt" / "pool" / "common_1.0_all.deb").unlink()
    result = _take(site, "one", tmp_path / "depots")
    assert result.changed
    assert (
        result.copied
        == _index(site, "one").blobs[_index(site, "one").depot["apt/pool/common_1.0_all.deb"]].size
    )
    assert _served(site, tmp_path / "depots") == "one"


def test_what_is_here_is_linked_and_not_read_from_the_stick(site: Path, tmp_path: Path) -> None:
    depots, path = tmp_path / "depots", "apt/pool/common_1.0_all.deb"
    old = _take(site, "one", depots).release.name
    result = _take(site, "two", depots)
    assert result.linked > 0
    assert result.linked + result.copied == _index(site, "two").depot_bytes
    assert _inode(depots, old, path) == _inode(depots, result.release.name, path)
    assert _served(site, depots) == "two"
    assert verify_depot(depots / "releases" / old) == []


def test_what_is_here_and_damaged_is_not_linked(site: Path, tmp_path: Path) -> None:
    depots, path = tmp_path / "depots", "apt/pool/common_1.0_all.deb"
    old = _take(site, "one", depots).release
    data = (old / path).read_bytes()
    (old / path).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    result = _take(site, "two", depots)
    assert _inode(depots, old.name, path) != _inode(depots, result.release.name, path)
    assert _served(site, depots) == "two"


def test_the_same_release_by_other_keys_takes_its_place(site: Path, tmp_path: Path) -> None:
    depots = tmp_path / "depots"
    first = _take(site, "one", depots)
    result = _take(site, "rekeyed", depots, keys="others")
    assert result.changed
    assert result.release == first.release
    assert (
        load_depot(depots / CURRENT)["key_sha256"]
        == _index(site, "rekeyed").depot["apt/edgewright-archive-key.asc"]
    )
    assert _served(site, depots) == "one"
    assert sorted(path.name for path in depots.iterdir()) == [CURRENT, "releases"]


def test_the_last_releases_stay(site: Path, tmp_path: Path) -> None:
    depots = tmp_path / "depots"
    names = [_take(site, name, depots, keep=2).release.name for name in ("one", "two")]
    result = _take(site, "three", depots, keep=2)
    assert result.removed == (names[0],)
    assert {path.name for path in (depots / "releases").iterdir()} == {names[1], result.release.name}
    (depots / "releases" / "notes").mkdir()
    result = _take(site, "four", depots, keep=1)
    assert {path.name for path in (depots / "releases").iterdir()} == {result.release.name, "notes"}
    assert _served(site, depots) == "four"


def test_space_is_freed_on_request_and_told(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    depots = tmp_path / "depots"
    names = [_take(site, name, depots).release.name for name in ("one", "two", "three")]
    (depots / ".staging").mkdir()
    (depots / ".staging" / "left").write_bytes(bytes(1000))
    capsys.readouterr()
    freed = reclaim(depots, keep=1)
    own = {"only-one", "only-two"}
    paths = [f"apt/pool/{name}_1.0_all.deb" for name in own]
    assert freed > 1000 + sum(
        _index(site, name).blobs[_index(site, name).depot[path]].size
        for name in ("one", "two")
        for path in paths
        if path in _index(site, name).depot
    )
    told = capsys.readouterr().err
    assert "removed what an interrupted run left" in told
    assert [name for name in names if f"removed {name}: " in told] == names[:2]
    assert _served(site, depots) == "three"
    assert reclaim(depots, keep=1) == 0
    assert sorted(path.name for path in depots.iterdir()) == [CURRENT, "releases"]


def test_a_kill_at_any_point_leaves_the_old_release_and_the_next_run_finishes(
    site: Path, tmp_path: Path
) -> None:
    before, room = tmp_path / "before", tmp_path / "room"
    depots = room / "depots"
    _take(site, "one", before / "depots")
    _take(site, "two", before / "depots")

    def start() -> None:
        shutil.rmtree(room, ignore_errors=True)
        subprocess.run(["cp", "-a", before, room], check=True)  # hard links stay hard links

    start()
    count = changes(lambda: _take(site, "three", depots, keep=2), depots)
    seen = set()
    for at in [*range(0, count, max(count // 15, 1)), *range(count - 8, count)]:
        start()
        # Threads that race to make a directory make the count differ by a few.
        assert killed(lambda: _take(site, "three", depots, keep=2), depots, at) or at > count - 9
        seen.add(_served(site, depots))
        for release in (depots / "releases").iterdir():
            assert verify_depot(release) == [], "what has a name is whole"
        result = _take(site, "three", depots, keep=2)
        assert _served(site, depots) == "three"
        assert result.copied + result.linked in (0, _index(site, "three").depot_bytes)
    assert seen == {"two", "three"}, "before and after the switch"


def test_one_kill_after_the_other_still_comes_to_an_end(site: Path, tmp_path: Path) -> None:
    depots = tmp_path / "depots"
    _take(site, "one", depots)
    at = 3
    while killed(lambda: _take(site, "two", depots), depots, at):
        assert _served(site, depots) == "one" or at > 20
        at += 9
    assert _served(site, depots) == "two"
    assert sorted(path.name for path in depots.iterdir()) == [CURRENT, "releases"]


def test_a_damaged_stick_changes_nothing(site: Path, tmp_path: Path) -> None:
    depots = tmp_path / "depots"
    _take(site, "one", depots)
    shutil.copytree(site / "two", tmp_path / "two")
    shutil.copytree(site / "keys", tmp_path / "keys")
    digest = _index(site, "two").depot["apt/pool/only-two_1.0_all.deb"]
    blob = tmp_path / "two" / "targets" / "blobs" / digest
    blob.write_bytes(bytes(blob.stat().st_size))
    with pytest.raises(BundleRefused):
        _take(tmp_path, "two", depots)
    assert _served(site, depots) == "one"
    assert _take(site, "two", depots).changed, "a good stick goes on"
    assert _served(site, depots) == "two"


def test_what_lies_in_staging_is_not_trusted(site: Path, tmp_path: Path) -> None:
    depots, index = tmp_path / "depots", _index(site, "one")
    staging = depots / ".staging"
    for path, digest in index.depot.items():
        (staging / path).parent.mkdir(parents=True, exist_ok=True)
        (staging / path).write_bytes(bytes(index.blobs[digest].size))
    (staging / "apt" / "stranger").write_text("mine")
    shutil.rmtree(staging / "pypi")
    (staging / "pypi").write_text("a file where a directory shall be")
    (staging / "v2" / "link").symlink_to("/etc/passwd")
    _take(site, "one", depots)
    assert _served(site, depots) == "one"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0 or not _mount(place, "size=64k"):
        pytest.skip("mounting a file system takes root and CAP_SYS_ADMIN")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def _mount(place: Path, options: str) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", options, "none", str(place)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_too_little_space_is_told_before_anything_is_copied(site: Path, small_disk: Path) -> None:
    with pytest.raises(InputError, match=r"needs \d+\.\d MB, \d+\.\d MB are available"):
        _take(site, "one", small_disk / "depots")
    assert list((small_disk / "depots").iterdir()) == []


def test_a_disk_that_fills_up_leaves_the_old_release(site: Path, small_disk: Path) -> None:
    """There is space enough but, after the first release, no room for more names: seen only on the way."""
    depots = small_disk / "depots"
    assert _mount(small_disk, "remount,size=4m,nr_inodes=400")
    _take(site, "one", depots)
    used = os.statvfs(small_disk).f_files - os.statvfs(small_disk).f_ffree
    assert _mount(small_disk, f"remount,nr_inodes={used + 10}")
    with pytest.raises(EdgewrightError, match=r"full|No space left"):
        _take(site, "two", depots)
    assert _served(site, depots) == "one"
    assert _mount(small_disk, "remount,nr_inodes=400")
    assert _take(site, "two", depots).changed
    assert _served(site, depots) == "two"


def test_two_runs_at_once_are_refused(site: Path, tmp_path: Path) -> None:
    depots = tmp_path / "depots"
    depots.mkdir()
    descriptor = os.open(depots, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another run is at work there"):
            _take(site, "one", depots)
        with pytest.raises(InputError, match="another run is at work there"):
            reclaim(depots)
    finally:
        os.close(descriptor)
    assert list(depots.iterdir()) == []


@pytest.mark.parametrize("keep", [0, -1])
def test_keeping_no_release_is_refused(keep: int, site: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"expected 1 or more, got {keep}"):
        _take(site, "one", tmp_path / "depots", keep)
    assert not (tmp_path / "depots").exists()


def test_a_directory_that_is_something_else_is_refused(site: Path, tmp_path: Path) -> None:
    (tmp_path / "depots" / CURRENT).mkdir(parents=True)
    with pytest.raises(InputError, match="expected a directory whose current is a symbolic link"):
        _take(site, "one", tmp_path / "depots")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="expected a directory"):
        _take(site, "one", tmp_path / "file")
    with pytest.raises(InputError, match="there is no directory"):
        reclaim(tmp_path / "none")


def test_the_command_line(site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fingerprint = KeySet.open(site / "keys").fingerprint
    depots, trust = tmp_path / "depots", tmp_path / "trust"
    common = ["--depots", str(depots), "--trust", str(trust)]
    assert main(["bundle", "install", str(site / "one"), *common]) == 3, "no fingerprint yet"
    assert not depots.exists()
    assert main(["bundle", "install", str(site / "one"), *common, "--fingerprint", fingerprint]) == 0
    assert "label-reader 1.0.0 is served now" in capsys.readouterr().out
    assert main(["bundle", "install", str(site / "one"), *common]) == 0
    assert "is served already, nothing to do" in capsys.readouterr().out
    assert main(["bundle", "install", str(site / "three"), *common, "--keep", "1"]) == 0
    assert "removed label-reader-1.0.0-" in capsys.readouterr().out
    assert main(["bundle", "install", str(site / "two"), *common]) == 3, "older than what was accepted"
    assert _served(site, depots) == "three"
    digest = sha256((depots / CURRENT / DEPOT_FILE).read_bytes()).hexdigest()
    assert main(["bundle", "verify", str(site / "three"), "--trust", str(trust)]) == 0
    assert sha256((depots / CURRENT / DEPOT_FILE).read_bytes()).hexdigest() == digest
    assert main(["bundle", "reclaim", "--depots", str(depots)]) == 0
    assert capsys.readouterr().out.endswith(" MB freed\n")
