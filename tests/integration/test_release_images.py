# SPDX-License-Identifier: Apache-2.0
"""Images made elsewhere, taken in by the real skopeo and Docker library: registry, engine, archive files."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgewright.depot.blobs import BlobStore, sha256_file
from edgewright.errors import InputError, IntegrityError, UnreachableError
from edgewright.release.imports import Imported, import_image, restore_image
from edgewright.release.ocitar import MANIFEST_TYPE, image_blobs
from tests.integration.release_sources import DOCKER, Registry, serve, tiny_layer

pytestmark = pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Registry, str]]:
    """A registry without TLS, which this host's skopeo is told to accept as an operator would."""
    made = Registry(tmp_path / "registry")
    with serve(made.root) as address:
        conf = tmp_path / "home/.config/containers/registries.conf"
        conf.parent.mkdir(parents=True)
        conf.write_text(f'[[registry]]\nlocation = "{address}"\ninsecure = true\n')
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        yield made, address


def entry(source: dict[str, str], **more: str) -> dict[str, Any]:
    return {"name": "site/tool", "version": "1.2", "licence": "MIT", "from": source, **more}


def take(
    source: dict[str, str], store: BlobStore, folder: Path, arch: str = "amd64", **more: Any
) -> Imported:
    return import_image(entry(source), arch, folder, store, place="release.yml:7", **more)


def locked(image: Imported, arch: str = "amd64") -> dict[str, Any]:
    return {
        "role": "extra", "name": "site/tool", "version": "1.2", "licence": "MIT",
        "digest": image.digest, "size": image.size, "platform": f"linux/{arch}", "from": image.origin,
    }  # fmt: skip


def layers(image: Imported, store: BlobStore) -> list[bytes]:
    blobs = image_blobs(image.digest, store)
    assert blobs is not None
    manifest = json.loads(store.path(blobs[0]).read_bytes())
    assert manifest["mediaType"] == MANIFEST_TYPE
    assert image.size == sum(store.path(blob).stat().st_size for blob in blobs)
    return [store.path(blob).read_bytes() for blob in blobs[2:]]


def clear(store: BlobStore) -> None:
    for path in store.root.iterdir():
        path.unlink()


# --- registry -----------------------------------------------------------------------------------------


def test_an_oci_image_keeps_the_registrys_digest_and_comes_back(
    registry: tuple[Registry, str], store: BlobStore, tmp_path: Path
) -> None:
    made, address = registry
    digest, _ = made.push("site/tool", "1.2", "amd64", "one")
    image = take({"kind": "registry", "reference": f"{address}/site/tool:1.2"}, store, tmp_path)
    assert image.digest == digest
    assert image.origin == {
        "kind": "registry", "reference": f"{address}/site/tool:1.2", "digest": digest
    }  # fmt: skip
    assert len(layers(image, store)) == 1
    clear(store)
    made.push("site/tool", "1.2", "amd64", "the tag has moved on")
    restore_image(locked(image), tmp_path, store)
    assert image_blobs(digest, store) is not None, "by digest, wherever the tag is now"


def test_an_index_gives_the_image_of_the_devices_platform(
    registry: tuple[Registry, str], store: BlobStore, tmp_path: Path
) -> None:
    made, address = registry
    digests = {arch: made.push("site/tool", arch, arch, arch)[0] for arch in ("amd64", "arm64")}
    made.index("site/tool", "1.2", digests)
    source = {"kind": "registry", "reference": f"{address}/site/tool:1.2"}
    for arch, digest in digests.items():
        assert take(source, store, tmp_path, arch).digest == digest
    with pytest.raises(
        InputError, match=r"release\.yml:7.*no image for linux/riscv64 \(it has: linux/amd64, l"
    ):
        take(source, store, tmp_path, "riscv64")


def test_dockers_own_form_becomes_oci_with_the_same_content(
    registry: tuple[Registry, str], store: BlobStore, tmp_path: Path
) -> None:
    made, address = registry
    digest, config = made.push("site/tool", "1.2", "amd64", "one", DOCKER)
    image = take({"kind": "registry", "reference": f"{address}/site/tool@{digest}"}, store, tmp_path)
    assert image.digest != digest
    assert image.origin["digest"] == digest
    manifest = json.loads(store.path(image.digest.removeprefix("sha256:")).read_bytes())
    assert manifest["config"]["digest"] == config
    assert manifest["layers"][0]["mediaType"].endswith("tar+gzip")
    clear(store)
    restore_image(locked(image), tmp_path, store)
    assert layers(image, store)


def test_what_is_locked_and_still_there_is_not_copied_again(
    registry: tuple[Registry, str], store: BlobStore, tmp_path: Path
) -> None:
    made, address = registry
    made.push("site/tool", "1.2", "amd64", "one")
    source = {"kind": "registry", "reference": f"{address}/site/tool:1.2"}
    image = take(source, store, tmp_path)
    clear(store)
    assert take(source, store, tmp_path, held=locked(image)) == image
    assert not list(store.root.iterdir())
    made.push("site/tool", "1.2", "amd64", "two")
    assert take(source, store, tmp_path, held=locked(image)).digest != image.digest


def test_an_image_of_another_platform_is_refused(
    registry: tuple[Registry, str], store: BlobStore, tmp_path: Path
) -> None:
    made, address = registry
    made.push("site/tool", "1.2", "arm64", "one")
    with pytest.raises(InputError, match="expected an image for linux/amd64, got one for linux/arm64"):
        take({"kind": "registry", "reference": f"{address}/site/tool:1.2"}, store, tmp_path)


def test_a_changed_blob_is_refused(registry: tuple[Registry, str], store: BlobStore, tmp_path: Path) -> None:
    made, address = registry
    made.push("site/tool", "1.2", "amd64", "one")
    for path in (made.root / "v2/site/tool/blobs").iterdir():
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    with pytest.raises((IntegrityError, UnreachableError, InputError), match=r"(?i)digest|match|invalid"):
        take({"kind": "registry", "reference": f"{address}/site/tool:1.2"}, store, tmp_path)
    assert not [path for path in store.root.iterdir() if len(path.name) == 64]


def test_a_missing_image_and_a_silent_registry_are_told_apart(
    registry: tuple[Registry, str], store: BlobStore, tmp_path: Path
) -> None:
    _, address = registry
    with pytest.raises(
        InputError, match=r"reading release\.yml:7: image site/tool: skopeo: .*correct the ref"
    ):
        take({"kind": "registry", "reference": f"{address}/site/none:1"}, store, tmp_path)
    with pytest.raises(UnreachableError, match="check the source and this host"):
        take({"kind": "registry", "reference": "127.0.0.1:9/site/tool:1"}, store, tmp_path)


# --- archive files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["oci-archive", "docker-archive"])
def test_an_archive_that_skopeo_wrote_is_taken(
    kind: str, registry: tuple[Registry, str], store: BlobStore, tmp_path: Path
) -> None:
    made, address = registry
    made.push("site/tool", "1.2", "amd64", "one")
    archive = tmp_path / "supplied: tool.tar"
    named = ":site/tool:1.2" if kind == "docker-archive" else ""
    plain = tmp_path / "plain.tar"
    subprocess.run(
        ["skopeo", "copy", "-q", f"docker://{address}/site/tool:1.2", f"{kind}:{plain}{named}"], check=True
    )
    plain.rename(archive)
    source = {"kind": kind, "path": archive.name, "sha256": sha256_file(archive)}
    image = take(source, store, tmp_path)
    assert image.origin == source
    assert b"one" in layers(image, store)[0] or layers(image, store)[0].startswith(b"\x1f\x8b")
    clear(store)
    restore_image(locked(image), tmp_path, store)
    assert layers(image, store)
    archive.write_bytes(archive.read_bytes() + b"\0")
    with pytest.raises(IntegrityError, match=f"expected sha256 {source['sha256']}, got "):
        restore_image(locked(image), tmp_path, store)
    archive.unlink()
    with pytest.raises(InputError, match=r"there is no file .*supplied: tool\.tar; put the archive there"):
        take(source, store, tmp_path)


def test_a_file_that_is_no_archive_is_refused(store: BlobStore, tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"no archive" * 100)
    source = {"kind": "oci-archive", "path": "x.tar", "sha256": sha256_file(tmp_path / "x.tar")}
    with pytest.raises(InputError, match=r"image site/tool: skopeo: .*; is the file whole, of that kind"):
        take(source, store, tmp_path)


# --- a local engine -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def engine() -> Iterator[str]:
    """A podman of its own (storage included) that answers Docker's interface on a socket, with one image."""
    if shutil.which("podman") is None:
        pytest.skip("podman is not installed")
    # Not pytest's own directory: podman takes 50 characters at most, and a socket about 100.
    with tempfile.TemporaryDirectory(prefix="ew-engine-") as name:
        yield from _engine(Path(name))


def _engine(folder: Path) -> Iterator[str]:
    socket = folder / "s.sock"
    podman = ["podman", "--root", f"{folder}/root", "--runroot", f"{folder}/run", "--storage-driver", "vfs"]
    (folder / "layer.tar").write_bytes(tiny_layer("from an engine"))
    made = subprocess.run(
        [*podman, "import", "--arch", "amd64", f"{folder}/layer.tar", "localhost/site/tool:1.2"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if made.returncode != 0:
        pytest.skip(f"podman cannot store an image on this host: {made.stderr.strip().splitlines()[-1:]}")
    service = subprocess.Popen(
        [*podman, "system", "service", "--time", "120", f"unix://{socket}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        while not socket.exists() and time.monotonic() < deadline and service.poll() is None:
            time.sleep(0.1)
        if not socket.exists():
            pytest.skip("podman system service does not start on this host")
        yield f"unix://{socket}"
    finally:
        service.terminate()
        service.wait()


def test_an_image_of_a_local_engine_is_taken_through_dockers_library(
    engine: str, store: BlobStore, tmp_path: Path
) -> None:
    source = {"kind": "engine", "reference": "localhost/site/tool:1.2", "socket": engine}
    image = take(source, store, tmp_path)
    assert image.origin["id"].startswith("sha256:")
    assert layers(image, store) == [tiny_layer("from an engine")], "uncompressed, as the engine gives it"
    manifest = json.loads(store.path(image.digest.removeprefix("sha256:")).read_bytes())
    assert manifest["layers"][0]["mediaType"].endswith(".tar")
    clear(store)
    assert take(source, store, tmp_path).digest == image.digest, "the same image, the same digest"
    clear(store)
    restore_image(locked(image), tmp_path, store)
    assert layers(image, store)


def test_an_engine_without_the_image_and_no_engine_are_told_apart(
    engine: str, store: BlobStore, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="has no image localhost/none:1; build or pull it there"):
        take({"kind": "engine", "reference": "localhost/none:1", "socket": engine}, store, tmp_path)
    silent = f"unix://{tmp_path}/none.sock"
    with pytest.raises(UnreachableError, match=f"no engine answers at {silent}; start it"):
        take({"kind": "engine", "reference": "localhost/none:1", "socket": silent}, store, tmp_path)
