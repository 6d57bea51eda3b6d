# SPDX-License-Identifier: Apache-2.0
"""Files that a site supplies, from its hands to a device: locked, on a stick, in the served depot, fetched.

A package and a wheel stand in for NVIDIA's, which nobody may hand on: same names, same licence and waiver,
built here. docs/how-to/supply-nvidia-files.md tells the same steps.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgewright.bundle.build import build_bundle
from edgewright.bundle.keys import KeySet
from edgewright.bundle.takein import CURRENT, take_in
from edgewright.bundle.verify import open_bundle
from edgewright.depot.blobs import BlobStore
from edgewright.errors import InputError, IntegrityError
from edgewright.release.documents import LOCK_FILE, RELEASE_FILE, dump_lock, load_lock, read_release
from edgewright.release.files import lock_files
from edgewright.release.wheels import normal_name
from tests.integration.depot_site import DepotSite, run, served
from tests.integration.release_sources import tiny_wheel
from tests.unit.bundle.small_release import make_release

pytestmark = pytest.mark.clients

DEB = "nvidia-container-toolkit_1.19.1-1_amd64.deb"
WHEEL = "tensorrt_libs-1.0-py3-none-any.whl"
WAIVER = {"who": "Legal, A. Person", "why": "agreement 4711", "until": "2099-06-30"}


def _supply(release: Path) -> dict[str, bytes]:
    """Put the two stand-ins where a site puts the real ones. Returns their bytes by name."""
    supplied = release / "supplied"
    tree = release / "debs" / "toolkit"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        "Package: nvidia-container-toolkit\nVersion: 1.19.1-1\nArchitecture: amd64\n"
        "Maintainer: Nobody <nobody@archive.example>\nDescription: a stand-in\n"
    )
    supplied.mkdir()
    built = ["dpkg-deb", "--root-owner-group", "--build", str(tree), str(supplied / DEB)]
    subprocess.run(built, check=True, capture_output=True)
    tiny_wheel(supplied, normal_name("tensorrt_libs").replace("-", "_"), "1.0", licence="NVIDIA Proprietary")
    return {name: (supplied / name).read_bytes() for name in (DEB, WHEEL)}


def _name(release: Path, files: dict[str, bytes], waiver: dict[str, str] | None) -> None:
    """Write them into release.yml."""
    content = yaml.safe_load((release / RELEASE_FILE).read_text())
    content["files"] = [
        {
            **{"name": name, "path": f"supplied/{name}", "sha256": hashlib.sha256(data).hexdigest()},
            **{"licence": "LicenseRef-NVIDIA-SLA"},
            **({"waiver": waiver} if waiver else {}),
        }
        for name, data in files.items()
    ]
    (release / RELEASE_FILE).write_text(yaml.safe_dump(content, sort_keys=False))


@pytest.fixture(scope="module")
def supplied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, bytes]]]:
    """A release whose lock was made with the two files, and their bytes; its packages are in the cache."""
    root = tmp_path_factory.mktemp("supplied")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEWRIGHT_CACHE", str(root / "cache"))
        release = make_release(root / "release")
        files = _supply(release)
        _name(release, files, WAIVER)
        marked, digest = read_release(release)
        lock, _ = load_lock(release, fitting=False)
        lock = {**lock, "release": {**lock["release"], "sha256": digest}}
        lock["files"] = lock_files(marked, release, BlobStore())
        (release / LOCK_FILE).write_bytes(dump_lock(lock))
        yield root, files


def _curl(site: DepotSite, path: str, target: Path) -> subprocess.CompletedProcess[str]:
    return run(
        *("curl", "-sS", "--fail", "--cacert", site.authority.root, "--cert", site.certificate),
        *("--key", site.key, "-o", target, f"https://{site.address}{path}"),
    )


@pytest.fixture(scope="module")
def site(supplied: tuple[Path, dict[str, bytes]]) -> Iterator[DepotSite]:
    """The bundle of that release, taken in by a controller and served."""
    root, _ = supplied
    keys = KeySet.develop(root / "keys")
    build_bundle(root / "release", root / "stick", keys)
    with open_bundle(root / "stick", root / "trust", fingerprint=keys.fingerprint) as bundle:
        take_in(bundle, root / "depots", 1)
        bundle.accept()
    with served(root / "depots" / CURRENT, root) as site:
        yield site


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("name", [DEB, WHEEL])
def test_curl_fetches_a_supplied_file_from_the_depot(
    site: DepotSite, supplied: tuple[Path, dict[str, bytes]], tmp_path: Path, name: str
) -> None:
    target = tmp_path / name
    assert _curl(site, f"/files/{name}", target).returncode == 0
    assert target.read_bytes() == supplied[1][name]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_what_the_lock_does_not_name_is_not_there(site: DepotSite, tmp_path: Path) -> None:
    done = _curl(site, "/files/other.deb", tmp_path / "other.deb")
    assert done.returncode == 22, "curl's status for an HTTP error"
    assert "404" in done.stderr
    assert not (tmp_path / "other.deb").exists()


def test_the_depot_and_the_documents_name_it(
    site: DepotSite, supplied: tuple[Path, dict[str, bytes]]
) -> None:
    root, files = supplied
    listed = json.loads((site.depot / "depot.json").read_text())["files"]
    bill = json.loads((root / "stick/targets/documents/sbom.cdx.json").read_text())
    components = {component["bom-ref"]: component for component in bill["components"]}
    for name, data in files.items():
        digest = hashlib.sha256(data).hexdigest()
        assert listed[f"files/{name}"] == {"sha256": digest, "size": len(data)}
        component = components[f"file:{name}"]
        assert component["hashes"] == [{"alg": "SHA-256", "content": digest}]
        told: dict[str, Any] = {one["name"]: one["value"] for one in component["properties"]}
        assert told["edgewright:waiver_who"] == WAIVER["who"]
        assert told["edgewright:waiver_until"] == WAIVER["until"]


def test_without_a_waiver_it_does_not_travel(supplied: tuple[Path, dict[str, bytes]], tmp_path: Path) -> None:
    release = tmp_path / "release"
    shutil.copytree(supplied[0] / "release", release)
    _name(release, supplied[1], None)
    with pytest.raises(
        InputError, match=r"release\.yml:\d+: .*NVIDIA's licences allow use, and handing on only"
    ):
        read_release(release)


def test_another_file_of_the_same_name_is_refused_when_the_bundle_is_built(
    supplied: tuple[Path, dict[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another build host the file is taken anew, and must be the one that was locked."""
    root, files = supplied
    release = tmp_path / "release"
    shutil.copytree(root / "release", release)
    shutil.copytree(root / "cache", tmp_path / "cache")
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(tmp_path / "cache"))
    BlobStore().path(hashlib.sha256(files[DEB]).hexdigest()).unlink()
    keys = KeySet.develop(root / "keys")
    (release / "supplied" / DEB).write_bytes(files[DEB][:-1] + b"!")
    with pytest.raises(IntegrityError, match=rf"{DEB}: expected sha256"):
        build_bundle(release, tmp_path / "stick", keys)
    (release / "supplied" / DEB).unlink()
    with pytest.raises(InputError, match=rf"file {DEB}: there is no file .*the site supplies it"):
        build_bundle(release, tmp_path / "stick", keys)
    assert not (tmp_path / "stick").exists()
