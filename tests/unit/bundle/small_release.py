# SPDX-License-Identifier: Apache-2.0
"""A release of a few kilobytes, all of whose sources are in the cache: debs, a wheel, images; no network."""

from __future__ import annotations

import io
import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgewright.depot.blobs import BlobStore, sha256_bytes
from edgewright.release.documents import LOCK_FILE, RELEASE_FILE, dump_lock, load_release
from edgewright.release.ocitar import Entry, make_image, write_layer

EXAMPLE = Path(__file__).resolve().parents[3] / "releases" / "label-reader"
DATE = "Thu, 19 Nov 2026 02:12:54 UTC"


def make_release(
    directory: Path, debs: Sequence[str] = ("one", "two"), date: str = DATE, model: bytes = b"weights"
) -> Path:
    """Write a release and its lock, and put what they name into the cache that `EDGEWRIGHT_CACHE` names.

    Args:
        directory: Where; made when missing.
        debs: Names of its packages.
        date: Of its package index.
        model: The model's bytes.

    Returns:
        The directory.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / RELEASE_FILE).write_bytes((EXAMPLE / RELEASE_FILE).read_bytes())
    release, digest = load_release(directory)
    store = BlobStore()
    lock = {
        "schema": "edgewright.lock/v1",
        "release": {"name": release["name"], "version": release["version"], "sha256": digest},
        "os": {"family": "debian", "suite": "bookworm", "arch": "amd64"},
        "kernel": {
            "package": "linux-image-6.1.0-1-rt-amd64",
            "version": "6.1-1",
            "release": "6.1.0-1-rt-amd64",
            "flavour": "rt",
        },
        "apt": {"date": date, "packages": [_deb(name, directory, store) for name in sorted(debs)]},
        "python": {"wheels": [_wheel("small", store)]},
        "images": [_runtime(store), _model(release, model, store)],
    }
    (directory / LOCK_FILE).write_bytes(dump_lock(lock))
    return directory


def _deb(name: str, directory: Path, store: BlobStore) -> dict[str, Any]:
    tree = directory / "debs" / name
    (tree / "DEBIAN").mkdir(parents=True, exist_ok=True)
    (tree / "DEBIAN").chmod(0o755)
    (tree / "DEBIAN" / "control").write_text(
        f"Package: {name}\nVersion: 1.0\nArchitecture: all\nMaintainer: Nobody <nobody@archive.example>\n"
        f"Description: nothing, called {name}\n"
    )
    documents = tree / "usr" / "share" / "doc" / name
    documents.mkdir(parents=True, exist_ok=True)
    (documents / "copyright").write_text("License: Expat\n")
    built = directory / "debs" / f"{name}.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "--build", tree, built],
        check=True,
        capture_output=True,
        env={"PATH": "/usr/bin:/bin", "SOURCE_DATE_EPOCH": "0"},
    )
    data = built.read_bytes()
    return {
        "name": name,
        "version": "1.0",
        "arch": "all",
        "filename": f"{name}_1.0_all.deb",
        "url": f"archive:debian/pool/main/{name}_1.0_all.deb",
        "size": len(data),
        "sha256": store.put(data),
        "source": "bookworm",
    }


def _wheel(name: str, store: BlobStore) -> dict[str, Any]:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as wheel:
        described = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nLicense: MIT\n"
        for path, text in {f"{name}.py": "", f"{name}-1.0.dist-info/METADATA": described}.items():
            wheel.writestr(zipfile.ZipInfo(path), text)
    data = buffer.getvalue()
    filename = f"{name}-1.0-py3-none-any.whl"
    return {"name": name, "version": "1.0", "filename": filename, "size": len(data)} | {
        "sha256": store.put(data),
        "licence": "MIT",
    }


def _image(files: dict[str, bytes], store: BlobStore) -> dict[str, Any]:
    layer = write_layer({path: Entry.file(data) for path, data in files.items()}, store)
    image = make_image([layer], {}, "amd64", store)
    return {"digest": image.digest, "size": image.size, "platform": "linux/amd64", "sources": "0" * 64}


def _runtime(store: BlobStore) -> dict[str, Any]:
    return {
        "role": "runtime",
        "name": "edgewright/runtime",
        "version": "1.0.0",
        "licence": "Apache-2.0",
    } | _image({"usr/bin/server": b"#!/bin/true\n"}, store)


def _model(release: dict[str, Any], data: bytes, store: BlobStore) -> dict[str, Any]:
    wanted = release["images"]["models"][0]
    described = (
        f"schema: edgewright.model/v1\nname: {wanted['model']}\nsha256: {sha256_bytes(data)}\n".encode()
    )
    files = {"model.onnx": data, "model.yml": described, "LICENSE": b"Apache-2.0\n"}
    return {
        "role": "model",
        "name": wanted["name"],
        "model": wanted["model"],
        "version": wanted["version"],
        "licence": wanted["licence"],
    } | _image(files, store)
