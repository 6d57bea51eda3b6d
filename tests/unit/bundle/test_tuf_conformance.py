# SPDX-License-Identifier: Apache-2.0
"""python-tuf's own tests and data through our fetcher, and our bundles through its plain client."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import tuf
from tuf.api.exceptions import DownloadHTTPError, DownloadLengthMismatchError, RepositoryError
from tuf.api.metadata import Metadata, Root
from tuf.ngclient import Updater, UpdaterConfig

from edgewright.bundle.ceremony import rotate_release
from edgewright.bundle.keys import KeySet
from edgewright.bundle.reader import BASE_URL, Stick, StickFetcher
from edgewright.bundle.refusal import BundleRefused
from edgewright.paths import cache_dir
from tests.unit.bundle import sticks
from tests.unit.bundle.sticks import Made

MODULES = (
    "test_updater_top_level_update",
    "test_updater_key_rotations",
    "test_updater_consistent_snapshot",
    "test_updater_validation",
    "test_updater_fetch_target",
    "test_updater_delegation_graphs",
    "test_updater_ng",
    "test_trusted_metadata_set",
)

NARROWER = {
    "test_delegated_roles_update",  # a role called "..", whose file is "...json"
    "test_download_targets",  # a target called "..file.ext"
    "test_fetch_target",  # a target that is not ASCII
    "test_non_existing_target_file",  # "targets//non_existing_file.txt"
    "test_safely_encoded_rolenames",  # "1...%2Fa.json"
}
"""Tests with a case that our fetcher refuses for its name: bundles have plain names only."""

HTTP_ONLY = {"test_user_agent"}


@pytest.fixture(scope="session")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """python-tuf's tests of the installed version, from its source distribution."""
    version = tuf.__version__
    cache = cache_dir() / "tuf-sdist"
    cache.mkdir(exist_ok=True)
    archive = cache / f"tuf-{version}.tar.gz"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not archive.is_file():
            command = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "--no-build-isolation",
            ]
            done = subprocess.run(
                [*command, "--no-binary", "tuf", "--dest", str(cache), f"tuf=={version}"],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                pytest.skip(f"python-tuf's source distribution cannot be had: {done.stderr[-300:]}")
    place = tmp_path_factory.mktemp("upstream")
    with tarfile.open(archive) as packed:
        top = f"tuf-{version}/"
        for member in packed.getmembers():
            if member.name.startswith(f"{top}tests/"):
                member.name = member.name.removeprefix(top)
                packed.extract(member, place, filter="data")
    return place


def test_its_own_tests_through_our_fetcher(upstream: Path) -> None:
    runner = Path(__file__).with_name("tuf_upstream.py")
    done = subprocess.run(
        [sys.executable, str(runner), str(upstream), *MODULES],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
        check=False,
    )
    assert done.stdout, done.stderr[-2000:]
    result = json.loads(done.stdout)
    assert result["ran"] >= 90
    assert result["skipped"] == []
    failed: dict[str, str] = {name.partition(" ")[0]: told for name, told in result["failed"].items()}
    assert set(failed) <= NARROWER | HTTP_ONLY, {
        name: failed[name] for name in set(failed) - NARROWER - HTTP_ONLY
    }
    for name in NARROWER & set(failed):
        assert "BundleRefused" in failed[name]
        assert "is no name" in failed[name]


def client(place: Path, stick: Path, root: bytes) -> Updater:
    """The plain client, with nothing of ours but the fetcher."""
    (place / "targets").mkdir(parents=True)
    return Updater(
        metadata_dir=str(place / "metadata"),
        metadata_base_url=f"{BASE_URL}metadata/",
        target_dir=str(place / "targets"),
        target_base_url=f"{BASE_URL}targets/",
        fetcher=StickFetcher(Stick(stick)),
        bootstrap=root,
    )


def test_its_published_repository(upstream: Path, tmp_path: Path) -> None:
    """The test data as it is published: what is right is taken, what is changed is not."""
    stick = upstream / "tests" / "repository_data" / "repository"
    root = (stick / "metadata" / "1.root.json").read_bytes()
    (tmp_path / "metadata").mkdir()
    updater = client(tmp_path, stick, root)
    updater.refresh()
    for name in ("file1.txt", "file2.txt", "file3.txt"):
        info = updater.get_targetinfo(name)
        assert info is not None
        path = updater.download_target(info)
        assert Path(path).read_bytes() == (stick / "targets" / name).read_bytes()
    changed = sticks.copy_stick(stick, tmp_path / "changed")
    (changed / "targets" / "file1.txt").write_bytes(b"changed")
    (tmp_path / "c" / "metadata").mkdir(parents=True)
    updater = client(tmp_path / "c", changed, root)
    info = updater.get_targetinfo("file1.txt")
    assert info is not None
    with pytest.raises(RepositoryError):
        updater.download_target(info)
    (changed / "metadata" / "timestamp.json").unlink()
    (tmp_path / "d" / "metadata").mkdir(parents=True)
    with pytest.raises(DownloadHTTPError):
        client(tmp_path / "d", changed, root).refresh()


def test_its_fishy_rolenames(upstream: Path, tmp_path: Path) -> None:
    """Roles called `../a` and `.`: the client quotes them, and our fetcher opens no such name at all."""
    stick = upstream / "tests" / "repository_data" / "fishy_rolenames"
    root = (stick / "metadata" / "1.root.json").read_bytes()
    (tmp_path / "metadata").mkdir()
    updater = client(tmp_path, stick, root)
    updater.refresh()
    with pytest.raises(BundleRefused, match="is no name"):
        updater.get_targetinfo("anything")


def test_our_fetcher_and_its_rules(tmp_path: Path) -> None:
    """What the client expects of a fetcher: 404 for what is not there, a length that bounds."""
    (tmp_path / "file").write_bytes(b"12345")
    fetcher = StickFetcher(Stick(tmp_path))
    assert fetcher.download_bytes(f"{BASE_URL}file", 5) == b"12345"
    assert b"".join(fetcher.fetch(f"{BASE_URL}file")) == b"12345"
    with fetcher.download_file(f"{BASE_URL}file", 5) as stream:
        assert stream.read() == b"12345"
    with pytest.raises(DownloadLengthMismatchError):
        fetcher.download_bytes(f"{BASE_URL}file", 4)
    with pytest.raises(DownloadLengthMismatchError), fetcher.download_file(f"{BASE_URL}file", 4):
        pass
    with pytest.raises(DownloadHTTPError) as caught:
        fetcher.download_bytes(f"{BASE_URL}no/file", 5)
    assert caught.value.status_code == 404
    with pytest.raises(DownloadHTTPError) as caught:
        list(fetcher.fetch(f"{BASE_URL}no/file"))
    assert caught.value.status_code == 404


@pytest.fixture
def served(made: Made) -> Iterator[str]:
    """The stick over HTTP, as a web server gives it to anybody."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(made.stick))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("rotated", [False, True])
def test_the_plain_client_takes_our_bundles(made: Made, served: str, tmp_path: Path, rotated: bool) -> None:
    """python-tuf's client with its own HTTP fetcher; all it is told is that names have no prefix."""
    if rotated:
        rotate_release(made.keys.directory, None, sticks.EXPIRES.replace(year=2035))
        index = sticks.BundleIndex.load((made.stick / sticks.INDEX).read_bytes())
        keys = KeySet.open(made.keys.directory)
        sticks.sign_bundle(made.stick, keys, signed_at=index.signed_at, expires=index.expires)
    (tmp_path / "client").mkdir()
    updater = Updater(
        metadata_dir=str(tmp_path / "client"),
        metadata_base_url=f"{served}metadata/",
        target_dir=str(tmp_path),
        target_base_url=served,
        config=UpdaterConfig(prefix_targets_with_hash=False),
        bootstrap=made.keys.roots[1],
    )
    updater.refresh()
    names = list(updater._trusted_set.targets.targets)
    assert len(names) > 10
    for number, name in enumerate(names):
        info = updater.get_targetinfo(name)
        assert info is not None
        path = updater.download_target(info, str(tmp_path / f"got-{number}"))
        assert Path(path).read_bytes() == (made.stick / name).read_bytes()
    root = Metadata[Root].from_bytes((tmp_path / "client" / "root.json").read_bytes()).signed
    assert root.version == (2 if rotated else 1)
