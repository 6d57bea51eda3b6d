# SPDX-License-Identifier: Apache-2.0
"""NVIDIA's installers and archives are told from other files; their contents here are made up."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from edgewright.depot.blobs import BlobStore
from edgewright.errors import InputError
from edgewright.release.supplied import read_supplied
from edgewright.release.vendorfiles import is_local_repository, unsuited
from edgewright.release.yamlmarks import Marked
from tests.unit.release.test_supplied import CONTROL, deb_bytes


def tar(mode: str, *names: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    return buffer.getvalue()


MAKESELF = b"#!/bin/sh\n# This script was generated using Makeself 2.4.0\n"
DRIVER = MAKESELF + b'label="NVIDIA Accelerated Graphics Driver for Linux-x86_64 535.309.01"\n' + bytes(99)
CUDA = MAKESELF + b'label="NVIDIA CUDA Toolkit"\nscript="./cuda-installer"\n' + bytes(99)
TENSORRT = tar("w:gz", "TensorRT-10.4.0.26/lib/libnvinfer.so.10")
CUDNN = tar("w:xz", "cudnn-linux-x86_64-9.5.0.50_cuda12-archive/lib/libcudnn.so.9")

REFUSED = {
    "driver": ("anything.bin", DRIVER, "installer of the driver; .* take the driver from Debian's packages"),
    "driver by name": (
        "NVIDIA-Linux-x86_64-535.309.01.run",
        b"#!/bin/sh\n",
        "nvidia-driver-local-repo package",
    ),
    "cuda": ("cuda.run", CUDA, "installer of CUDA; .*cuda-cudart-12-2"),
    "cuda by name": ("cuda_12.2.2_535.104.05_linux.run", b"#!/bin/sh\n", "nvidia-cuda-runtime-cu12"),
    "tensorrt": ("t.tar.gz", TENSORRT, "archive of TensorRT; .*libnvinfer10 .*tensorrt-cu12-libs"),
    "cudnn": ("c.tar.xz", CUDNN, "archive of cuDNN; .*libcudnn9-cuda-12.*nvidia-cudnn-cu12"),
}

TAKEN = {
    "another installer": ("tool.run", MAKESELF + b'label="A tool"\n'),
    "a script": ("setup.sh", b"#!/bin/sh\necho NVIDIA Accelerated Graphics Driver\n"),
    "another archive": ("firmware.tar.gz", tar("w:gz", "firmware/a.bin")),
    "a damaged archive": ("t.tar.gz", TENSORRT[:20]),
    "no archive": ("a.bin", b"\x1f\x8bno"),
    "the name alone": ("NVIDIA-Linux-x86_64-535.309.01.run", b"no script"),
    "nothing": ("empty", b""),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_installer_is_told_with_what_to_supply_instead(tmp_path: Path, case: str) -> None:
    name, data, said = REFUSED[case]
    store = BlobStore(tmp_path)
    entry: dict[str, Any] = {
        "name": name,
        "sha256": store.put(data),
        "size": len(data),
        "path": f"supplied/{name}",
    }
    marked = Marked(Path("release.yml"), {"files": [entry]}, {("files", 0): 7})
    with pytest.raises(InputError, match=rf"(?s)reading release\.yml:7: {name}: it is NVIDIA's .*{said}"):
        read_supplied(marked, [entry], store)


@pytest.mark.parametrize("case", TAKEN)
def test_another_file_is_taken_as_it_is(tmp_path: Path, case: str) -> None:
    name, data = TAKEN[case]
    path = tmp_path / "blob"
    path.write_bytes(data)
    assert unsuited(path, name) is None


@pytest.mark.parametrize(
    "package",
    [
        "nv-tensorrt-local-repo-ubuntu2204-10.4.0-cuda-12.6",
        "nvidia-driver-local-repo-debian12-535.309.01",
        "cudnn-local-repo-debian12-9.5.0",
        "cuda-repo-debian12-12-2-local",
    ],
)
def test_a_local_repository_package_is_told_how_to_unpack(tmp_path: Path, package: str) -> None:
    store = BlobStore(tmp_path / "blobs")
    data = deb_bytes(tmp_path, CONTROL.replace("Package: tool", f"Package: {package}"))
    entry = {
        "name": f"{package}_2.0-1_arm64.deb",
        "kind": "deb",
        "sha256": store.put(data),
        "size": len(data),
    }
    entry["path"] = f"supplied/{entry['name']}"
    assert is_local_repository(store.path(str(entry["sha256"])))
    marked = Marked(Path("release.yml"), {"files": [entry]}, {("files", 0): 7})
    with pytest.raises(InputError, match=rf"edgewright release unpack supplied/{package}_\S+ -o supplied"):
        read_supplied(marked, [entry], store)


def test_an_ordinary_package_is_no_local_repository(tmp_path: Path) -> None:
    path = tmp_path / "tool.deb"
    path.write_bytes(deb_bytes(tmp_path))
    assert not is_local_repository(path)
    assert unsuited(path, "tool.deb") is None
