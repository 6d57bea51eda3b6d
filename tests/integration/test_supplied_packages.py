# SPDX-License-Identifier: Apache-2.0
"""Packages and wheels that a site supplies: resolved with the others, and in the depot's indices."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgewright.depot.blobs import BlobStore, sha256_file
from edgewright.depot.keys import ReleaseKey
from edgewright.depot.manifest import DEPOT_FILE, describe_depot
from edgewright.depot.trees import ARCHIVE_KEY, apt_tree, files_tree, oci_tree, pypi_tree, write_tree
from edgewright.errors import InputError, IntegrityError
from edgewright.release.changes import diff_locks
from edgewright.release.documents import LOCK_FILE, dump_lock, load_lock_file
from edgewright.release.lock import _read_licences, ensure_images, fetch_sources
from edgewright.release.ocitar import Entry, make_image, write_layer
from tests.integration.depot_site import DepotSite, run, served
from tests.integration.release_place import Place, make_place
from tests.integration.release_sources import tiny_wheel
from tests.integration.test_depot_clients import Apt, Podman

pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(shutil.which("apt-ftparchive") is None, reason="apt-ftparchive is missing"),
    pytest.mark.skipif(os.geteuid() != 0, reason="an isolated apt needs root here"),
]

WAIVER = {"who": "Legal", "why": "agreement 4711", "until": "2099-06-30"}
TOOLKIT = "acme-toolkit_1.0-1_amd64.deb"
WHEEL = "acme_libs-1.0-py3-none-any.whl"


def supply_deb(place: Place, filename: str, depends: str = "", **fields: str) -> dict[str, Any]:
    """Make a package of the site's own, and name it in the release. Returns the release's entry."""
    name, version, arch = filename.removesuffix(".deb").split("_")
    told = {"Package": name, "Version": version, "Architecture": arch, "Maintainer": "A <a@archive.example>"}
    told |= {"Depends": depends} if depends else {}
    room = place.folder.parent / "made" / filename
    (room / "DEBIAN").mkdir(parents=True)
    text = "".join(f"{key}: {value}\n" for key, value in {**told, **fields, "Description": "own"}.items())
    (room / "DEBIAN/control").write_text(text)
    target = place.folder / "supplied" / filename
    built = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(room), str(target)]
    subprocess.run(built, check=True, stdout=subprocess.DEVNULL)
    return name_it(place, filename, "deb")


def name_it(place: Place, filename: str, kind: str) -> dict[str, Any]:
    entry = {"name": filename, "kind": kind, "path": f"supplied/{filename}", "waiver": WAIVER}
    entry |= {"sha256": sha256_file(place.folder / "supplied" / filename)}
    entry |= {"licence": "LicenseRef-NVIDIA-SLA"}
    place.release["files"].append(entry)
    return entry


def supply_wheel(
    place: Place, name: str = "acme_libs", needs: tuple[str, ...] = ("gamma",)
) -> dict[str, Any]:
    tiny_wheel(place.folder / "supplied", name, "1.0", needs, "NVIDIA Proprietary")
    return name_it(place, f"{name}-1.0-py3-none-any.whl", "wheel")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with make_place(tmp_path, monkeypatch) as made:
        yield made


def by_name(entries: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in entries}


def depot_of(lock: dict[str, Any], place: Place, depot: Path) -> None:
    """Lay out a depot as `depot build` does, from a store that holds nothing supplied."""
    for entry in lock["files"]:
        place.store.path(entry["sha256"]).unlink(missing_ok=True)
    fetch_sources(lock, place.release, place.store, everything=True)
    ensure_images(lock, place.release, place.folder, place.store)
    tree = apt_tree(lock, ReleaseKey(depot.parent / "keys"), place.store) | pypi_tree(lock) | files_tree(lock)
    depot.mkdir()
    files = write_tree(tree | oci_tree(lock, place.store), depot, place.store)
    (depot / DEPOT_FILE).write_bytes(describe_depot("tiny", "1.0.0", "0" * 64, files))
    (depot / DEPOT_FILE).chmod(0o644)


def test_real_apt_pip_and_podman_take_what_was_supplied_and_their_own_platform(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    supply_deb(place, TOOLKIT, "libacme1 (>= 1), tool")
    supply_deb(place, "libacme1_1+x~1_all.deb")
    supply_wheel(place)
    place.archive.add("acme-toolkit", "9.0", arch="amd64")  # an archive's, newer: it does not count
    place.archive.publish()
    lock = place.resolve()
    _read_licences(lock, {}, place.store, fetch=True)
    debs, wheels = by_name(lock["apt"]["packages"]), by_name(lock["python"]["wheels"])
    toolkit = debs["acme-toolkit"]
    assert (toolkit["version"], toolkit["url"], toolkit["source"]) == (
        "1.0-1", f"supplied:{TOOLKIT}", "supplied"
    )  # fmt: skip
    assert (toolkit["licence"], toolkit["waiver"]) == ("LicenseRef-NVIDIA-SLA", WAIVER)
    assert {"libacme1", "tool", "libtool1"} <= set(debs), "what it needs: supplied as well, and the archive's"
    assert wheels["acme-libs"]["url"] == f"supplied:{WHEEL}"
    assert wheels["acme-libs"]["licence"] == "LicenseRef-NVIDIA-SLA"
    layer = write_layer({"tool": Entry.file(b"tool")}, place.store)
    lock["images"] = [
        {"role": "model", "name": "tiny/both", "version": "1", "platform": f"linux/{arch}"}
        | dict(
            zip(("digest", "size"), vars(make_image([layer], {}, arch, place.store)).values(), strict=True)
        )
        | {"licence": "MIT", "model": "both"}
        for arch in ("amd64", "arm64")
    ]
    (tmp_path / LOCK_FILE).write_bytes(dump_lock(lock))
    assert load_lock_file(tmp_path / LOCK_FILE)[0] == lock, "as the schema allows it"
    depot_of(lock, place, tmp_path / "depot")
    for name in list(os.environ):
        if name.startswith(("PIP_", "SSL_CERT_")) or name.endswith("_CA_BUNDLE"):
            monkeypatch.delenv(name)
    with served(tmp_path / "depot", tmp_path) as site:
        _by_apt(site, tmp_path)
        _by_pip(site, tmp_path, {wheels[name]["sha256"] for name in ("acme-libs", "gamma")})
        _by_skopeo_and_podman(site, tmp_path, lock["images"])


def _by_apt(site: DepotSite, folder: Path) -> None:
    apt = Apt(site, folder / "apt", site.depot / ARCHIVE_KEY, "tiny")
    assert apt("update", "-o", "APT::Update::Error-Mode=any").returncode == 0
    wanted = apt("install", "--simulate", "acme-toolkit").stdout
    assert {line.split()[1] for line in wanted.splitlines() if line.startswith("Inst ")} == {
        "acme-toolkit", "libacme1", "libtool1", "tool"
    }  # fmt: skip
    assert apt("download", "acme-toolkit").returncode == 0
    (got,) = (apt.root / "work").glob("acme-toolkit*.deb")
    assert sha256_file(got) == sha256_file(folder / "release/supplied" / TOOLKIT)
    with site.changed(f"apt/pool/{TOOLKIT}"):
        got.unlink()
        assert "Hash Sum mismatch" in apt("download", "acme-toolkit").stderr


def _by_pip(site: DepotSite, folder: Path, expected: set[str]) -> None:
    both = folder / "client.pem"
    both.write_bytes(site.certificate.read_bytes() + site.key.read_bytes())
    done = run(
        *(sys.executable, "-m", "pip", "download", "--no-cache-dir", "--only-binary", ":all:"),
        *("--index-url", f"https://{site.address}/pypi/simple/", "--cert", site.authority.root),
        *("--client-cert", both, "--retries", "0", "--dest", folder / "got", "acme-libs"),
        env={"PIP_CONFIG_FILE": os.devnull},
    )
    assert done.returncode == 0
    assert {sha256_file(path) for path in (folder / "got").glob("*.whl")} == expected


def _by_skopeo_and_podman(site: DepotSite, folder: Path, images: list[dict[str, Any]]) -> None:
    """One name, and each client gets the image of the platform that it asks for."""
    certs = folder / "certs"
    certs.mkdir()
    for source, name in ((site.authority.root, "ca.crt"), (site.certificate, "client.cert")):
        shutil.copy(source, certs / name)
    shutil.copy(site.key, certs / "client.key")
    reference = f"{site.address}/tiny/both:1"
    if shutil.which("skopeo"):
        for image in images:
            arch = image["platform"].removeprefix("linux/")
            words = ("--override-os", "linux", "--override-arch", arch, "inspect", "--cert-dir", certs)
            seen = run("skopeo", *words, "--format", "{{.Architecture}}", f"docker://{reference}")
            assert seen.stdout.strip() == arch, seen.stderr
    if shutil.which("podman") is None:
        pytest.skip("podman is not installed; apt, pip and skopeo were tried")
    with tempfile.TemporaryDirectory(prefix="ew-", ignore_cleanup_errors=True) as name:  # a short path
        podman = Podman(Path(name))
        for image in images:
            arch = image["platform"].removeprefix("linux/")
            pulled = podman("pull", "--quiet", "--arch", arch, "--cert-dir", certs, reference)
            assert pulled.returncode == 0, pulled.stderr
            told = podman("image", "inspect", "--format", "{{.Architecture}}", pulled.stdout.strip())
            assert told.stdout.strip() == arch
            pinned = f"{site.address}/tiny/both@{image['digest']}"
            assert podman("pull", "--quiet", "--cert-dir", certs, pinned).returncode == 0
        podman("rmi", "--all", "--force")


def test_a_supplied_file_that_changes_is_the_only_thing_that_moves(place: Place) -> None:
    supply_deb(place, TOOLKIT, "tool")
    supply_wheel(place)
    old = place.resolve()
    place.archive.add("tool", "1.1", "libtool1 (>= 1.0)")
    place.archive.publish()
    place.release["files"] = [entry for entry in place.release["files"] if entry["name"] != TOOLKIT]
    supply_deb(place, "acme-toolkit_1.0-2_amd64.deb", "tool")
    new = place.resolve(old, "acme-toolkit_1.0-2_amd64.deb")
    assert [change.name for change in diff_locks(old, new).changes] == [
        "acme-toolkit", TOOLKIT, "acme-toolkit_1.0-2_amd64.deb"
    ]  # fmt: skip
    place.release["files"] = place.release["files"][:1]
    gone = place.resolve(new, "firmware.bin")
    assert "acme-toolkit" not in by_name(gone["apt"]["packages"])
    assert "acme-libs" not in by_name(gone["python"]["wheels"])


def test_what_nothing_has_is_told_with_the_supplied_file_that_needs_it(place: Place) -> None:
    supply_deb(place, TOOLKIT, "tool, libcuda1 (>= 535)")
    told = rf"release\.yml:\d+: {TOOLKIT}: it depends on libcuda1 \(>= 535\), which no archive .* for amd64"
    with pytest.raises(InputError, match=told):
        place.resolve()
    place.release["files"].pop()
    supply_deb(place, "late_1.0_all.deb", "libtool1 (>= 9)")
    told = r"late_1\.0_all\.deb: it depends on libtool1 \(>= 9\), of which 1\.0 is what the"
    with pytest.raises(InputError, match=told):
        place.resolve()
    place.release["files"].pop()
    supply_deb(place, "acme-toolkit_2.0-1_amd64.deb", "tool, libcuda1 (>= 535)")
    supply_deb(place, "libcuda1_535.1_amd64.deb", "libnowhere")
    with pytest.raises(
        InputError, match=r"libcuda1_535\.1_amd64\.deb: it depends on libnowhere, which no arch"
    ):
        place.resolve()


def test_a_supplied_wheel_whose_need_nothing_has_is_told_with_its_line(place: Place) -> None:
    supply_wheel(place, needs=("nowhere>=2",))
    with pytest.raises(InputError, match=rf"{WHEEL} \(.*release\.yml:\d+\).*nowhere>=2"):
        place.resolve()


def test_a_supplied_file_with_other_bytes_is_named_with_expected_and_got(place: Place) -> None:
    entry = supply_deb(place, TOOLKIT)
    path = place.folder / "supplied" / TOOLKIT
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    got = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(
        IntegrityError, match=rf"{TOOLKIT}: expected sha256 {entry['sha256']}, got {got}; sup"
    ):
        place.resolve()


def test_a_lock_with_supplied_files_stays_the_same(place: Place) -> None:
    supply_deb(place, TOOLKIT, "tool")
    supply_wheel(place)
    first = place.resolve()
    place.store = BlobStore(place.folder.parent / "other")
    assert dump_lock(place.resolve()) == dump_lock(first)
