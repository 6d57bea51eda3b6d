# SPDX-License-Identifier: Apache-2.0
"""A small release with real packages, wheels and a model image in a store, for tests to change."""

from __future__ import annotations

import io
import subprocess
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgewright.depot.blobs import BlobStore, sha256_bytes
from edgewright.release.ocitar import Entry, Image, make_image, write_layer

RELEASE_SHA256 = "5e" * 32
FILES = {
    "model.onnx": Entry.file(bytes(range(256)) * 40),
    "model.yml": Entry.file(b"schema: edgewright.model/v1\n"),
    "LICENSE": Entry.file(b"Apache License\n"),
    "golden/serial.x.npy": Entry.file(b"\x93NUMPY x"),
}


def deb(store: BlobStore, room: Path, name: str, arch: str = "all", **fields: str) -> dict[str, Any]:
    """Build a Debian package with these control fields (`Depends`, `Pre-Depends` as `Pre_Depends`, ...)."""
    root = room / name
    (root / "DEBIAN").mkdir(parents=True)
    lines = {
        "Package": name,
        "Version": "1:1.0+b1-2",
        "Architecture": arch,
        "Maintainer": "A <a@archive.example>",
    }
    lines |= {key.replace("_", "-"): value for key, value in fields.items()} | {"Description": name}
    text = "".join(f"{key}: {value}\n" for key, value in lines.items())
    (root / "DEBIAN/control").write_text(text)
    path = room / f"{name}.deb"
    subprocess.run(["dpkg-deb", "--build", "-Znone", str(root), str(path)], check=True, capture_output=True)
    data = path.read_bytes()
    return {
        "name": name,
        "version": "1:1.0+b1-2",
        "arch": arch,
        "filename": f"{name}_1.0+b1-2_{arch}.deb",
        "url": f"archive:debian/pool/main/{name}.deb",
        "size": len(data),
        "sha256": store.put(data),
        "source": "bookworm",
    }


def wheel(store: BlobStore, name: str, *requires: str, licence: str = "MIT") -> dict[str, Any]:
    """Build a wheel that requires others."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.0\n"
        metadata += "".join(f"Requires-Dist: {text}\n" for text in requires)
        archive.writestr(zipfile.ZipInfo(f"{name}-2.0.dist-info/METADATA"), metadata)
    data = buffer.getvalue()
    return {
        "name": name,
        "version": "2.0",
        "filename": f"{name}-2.0-py3-none-any.whl",
        "size": len(data),
        "sha256": store.put(data),
        "licence": licence,
    }


def model_image(store: BlobStore, files: Mapping[str, Entry] = FILES) -> Image:
    """Build a model's image."""
    return make_image([write_layer(files, store)], {}, "amd64", store)


def release() -> dict[str, Any]:
    """What the documents read of a release."""
    return {"apt": {"packages": ["top"]}, "python": {"version": "3.11", "requirements": ["serve[http]"]}}


def lock(store: BlobStore, room: Path) -> dict[str, Any]:
    """A lock of six packages, three wheels, a runtime image, a model and two files."""
    image = model_image(store)
    debs = [
        deb(store, room, "kernel", "amd64"),
        deb(store, room, "low"),
        deb(store, room, "mail", Provides="mail-agent"),
        deb(store, room, "middle", "amd64", Depends="low (>= 1), none | mail-agent, base-system"),
        deb(store, room, "top", Depends="middle", Pre_Depends="low"),
    ]
    return {
        "schema": "edgewright.lock/v1",
        "release": {"name": "reader", "version": "1.0.0", "sha256": RELEASE_SHA256},
        "os": {"family": "debian", "suite": "bookworm", "arch": "amd64"},
        "kernel": {"package": "kernel", "version": "1", "release": "6.1.0-9-rt-amd64", "flavour": "rt"},
        "apt": {"date": "Thu, 19 Nov 2026 02:12:54 UTC", "packages": debs},
        "python": {
            "wheels": [
                wheel(store, "h11"),
                wheel(store, "serve", 'h11>=1; extra == "http"', 'colour; extra == "shell"', "base>=1"),
                wheel(store, "base", 'windows-only; sys_platform == "win32"', licence="3-Clause BSD License"),
            ]
        },
        "images": [
            {
                **{"role": "runtime", "name": "edgewright/runtime", "version": "1.0.0", "size": 10},
                **{"digest": f"sha256:{sha256_bytes(b'runtime')}", "platform": "linux/amd64"},
                **{"licence": "Apache-2.0 AND MIT", "debs": [deb(store, room, "libc", "amd64")]},
            },
            {
                **{"role": "model", "name": "edgewright/models/reader", "model": "reader", "version": "1"},
                **{"digest": image.digest, "size": image.size, "platform": "linux/amd64"},
                **{"licence": "Apache-2.0", "wheel": wheel(store, "carrier")},
            },
        ],
        "files": [
            {
                **{"name": "engine.bin", "size": 3, "sha256": sha256_bytes(b"one"), "licence": "MIT"},
                "url": "https://archive.example/engine.bin",
            },
            {
                **{"name": "driver.run", "size": 3, "sha256": sha256_bytes(b"two")},
                "licence": "LicenseRef-Vendor",
                "waiver": {"who": "A. Lawyer", "why": "agreement 7", "until": "2027-06-30"},
            },
        ],
    }
