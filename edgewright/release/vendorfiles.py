# SPDX-License-Identifier: Apache-2.0
"""NVIDIA's files that no device is given as they are: recognised by content and name; what to do instead.

    why = unsuited(blob, "NVIDIA-Linux-x86_64-535.309.01.run")      # a sentence; None for any other file

A `.run` installer or a tar archive that is unpacked by hand leaves files on a device that no package owns:
nothing holds them, nothing reads back their version, and the driver's installer compiles there. A local
repository package brings packages to a machine that runs apt on them; devices need the packages themselves.

Layouts, as their makers' installation pages and logs of their users show them:
* local repository: a package named `NAME-local-repo-OS-VERSION` or `cuda-repo-OS-VERSION-local` with
  `/var/NAME/InRelease`, `Packages`, packages, keyring (log in https://github.com/remz1337/Proxmox/issues/8;
  `file:/var/nccl-local-repo-...` in https://github.com/NVIDIA/nvidia-container-toolkit/issues/1781);
* `.run`: a shell script of Makeself (https://makeself.io) with an archive behind it; what NVIDIA's says of
  itself was not read in one, so a shell script of such a name counts as well;
* tar: `TensorRT-VERSION/lib/libnvinfer.so...`, `cudnn-linux-ARCH-VERSION-archive/`.
"""

from __future__ import annotations

import lzma
import re
import tarfile
import zlib
from pathlib import Path

from edgewright.depot.debfile import control_fields
from edgewright.errors import IntegrityError

__all__ = ["is_local_repository", "unsuited"]

_LOCAL = re.compile(
    r"^Package: (\S+-local-repo-\S+|cuda-repo-\S+-local|nvinfer-runtime-trt-repo-\S+)\s*$", re.M
)
_DRIVER = re.compile(r"^NVIDIA-Linux-\S+\.run$")
_CUDA = re.compile(r"^cuda_[\d.]+(_[\d.]+)?_linux\S*$")
_HEAD_BYTES = 64 << 10
"""How much of an installer is read: Makeself's script has 15 to 25 KiB."""

_ENTRIES = 200
"""How many names of an archive are looked at: NVIDIA's begin with their one directory."""

_LOOKED_AT = 256 << 20
"""How many bytes of an archive are unpacked to look at names: another's first file may have gigabytes."""

_NAMES = {"tensorrt": re.compile(r"TensorRT-\d[\d.]*/"), "cudnn": re.compile(r"cudnn-linux-\S+-archive/")}
_TARS = {b"\x1f\x8b": "r|gz", b"\xfd7zXZ": "r|xz"}
_GUIDE = "docs/how-to/supply-nvidia-files.md"
_ADVICE = {
    "driver": "the driver's installer compiles on the device and leaves files that no package owns: take the "
    "driver from Debian's packages (non-free), or supply NVIDIA's as .deb files of a "
    "nvidia-driver-local-repo package, and name its modules under modules",
    "cuda": "the toolkit's installer leaves files that no package owns: supply what is needed of it as .deb "
    "files (cuda-cudart-12-2 and such, of a cuda-repo-...-local package), or as wheels "
    "(nvidia-cuda-runtime-cu12)",
    "tensorrt": "nothing on a device unpacks it: supply TensorRT's libraries as .deb files (libnvinfer10 and "
    "such, of a nv-tensorrt-local-repo package), or as the wheel tensorrt-cu12-libs; the wheels in the "
    "archive's python/ lack the libraries",
    "cudnn": "nothing on a device unpacks it: supply cuDNN as .deb files (libcudnn9-cuda-12), or as the "
    "wheel nvidia-cudnn-cu12",
}


def is_local_repository(path: Path) -> bool:
    """Whether a file is a package that brings a repository of packages, by its control data."""
    try:
        return bool(_LOCAL.search(control_fields(path)))
    except IntegrityError:
        return False


def unsuited(path: Path, name: str) -> str | None:
    """Why a file is nothing that a device can be given, and what to supply instead.

    Args:
        path: The file; only its beginning is read.
        name: What it is called, wherever it lies.

    Returns:
        A sentence that begins with what it is; None where it is no such file.
    """
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    if head.startswith(b"!<arch>\n"):
        if not is_local_repository(path):
            return None
        return (
            "it is a local repository package, whose packages devices need, not itself: take them out with "
            f"`edgewright release unpack FILE -o supplied` and name those ({_GUIDE})"
        )
    if head.startswith(b"#!"):
        made = head if b"akeself" in head else b""
        if _DRIVER.match(name) or re.search(rb"NVIDIA[ -](Accelerated Graphics Driver|Linux-)", made):
            return f"it is NVIDIA's .run installer of the driver; {_ADVICE['driver']} ({_GUIDE})"
        if _CUDA.match(name) or re.search(rb"NVIDIA CUDA|CUDA Toolkit|cuda-installer", made):
            return f"it is NVIDIA's .run installer of CUDA; {_ADVICE['cuda']} ({_GUIDE})"
        return None
    mode = next((mode for magic, mode in _TARS.items() if head.startswith(magic)), None)
    kind = _archive(path, mode) if mode else None
    if kind is None:
        return None
    what = {"tensorrt": "TensorRT", "cudnn": "cuDNN"}[kind]
    return f"it is NVIDIA's tar archive of {what}; {_ADVICE[kind]} ({_GUIDE})"


def _archive(path: Path, mode: str) -> str | None:
    """Which of NVIDIA's archives a tar is, by the names in it."""
    try:
        with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
            for number, member in enumerate(tar):
                name = member.name.removeprefix("./")
                kind = next((kind for kind, form in _NAMES.items() if form.match(name)), None)
                if kind or number >= _ENTRIES or member.offset_data + member.size > _LOOKED_AT:
                    return kind
    except (tarfile.TarError, OSError, EOFError, lzma.LZMAError, zlib.error):
        return None
    return None
