# SPDX-License-Identifier: Apache-2.0
"""A Debian package's control fields, read here: a program started for each of 300 packages takes seconds.

    control_fields(Path("openssl_3.0.17-1_amd64.deb"))     # "Package: openssl\\nVersion: ..."

The format is deb(5): an ar archive of `debian-binary`, `control.tar` and `data.tar`. Only its first few
kilobytes are read. What Python 3.11 cannot unpack (zstd) is left to `dpkg-deb`.
"""

from __future__ import annotations

import io
import lzma
import subprocess
import tarfile
import zlib
from pathlib import Path
from typing import BinaryIO

from edgewright.errors import IntegrityError

__all__ = ["control_fields"]

_MAGIC = b"!<arch>\n"
_HEADER_BYTES = 60
_MAX_CONTROL_BYTES = 16 << 20
"""A control archive with very many maintainer scripts has 2 MB."""

_MODES = {"control.tar": "r:", "control.tar.gz": "r:gz", "control.tar.xz": "r:xz"}


def control_fields(path: Path, name: str = "") -> str:
    """Read a package's control fields.

    Args:
        path: The package.
        name: What it is called in messages; the path's last part when not given.

    Returns:
        The file `control` as it is in the package.

    Raises:
        IntegrityError: It is not a Debian package.
    """
    name = name or path.name
    try:
        with path.open("rb") as stream:
            found = _control(stream)
    except (ValueError, KeyError, OSError, EOFError, tarfile.TarError, lzma.LZMAError, zlib.error) as error:
        raise IntegrityError(f"reading {name}: it is not a Debian package: {error}") from error
    return _by_dpkg(path, name) if found is None else found


def _control(stream: BinaryIO) -> str | None:
    """The control file; None when its archive is packed in a way that Python cannot unpack."""
    if stream.read(len(_MAGIC)) != _MAGIC:
        raise ValueError("it does not begin as an ar archive")
    for _ in range(8):  # debian-binary, at most some extra members whose names begin with "_", control
        header = stream.read(_HEADER_BYTES)
        if len(header) < _HEADER_BYTES or header[58:60] != b"`\n":
            raise ValueError("it is cut short before its control archive")
        name = header[:16].decode("ascii").strip().rstrip("/")
        size = int(header[48:58].decode("ascii"))
        if size < 0:
            raise ValueError(f"member {name} has a size of {size}")
        if not name.startswith("control.tar"):
            stream.seek(size + size % 2, io.SEEK_CUR)
            continue
        if size > _MAX_CONTROL_BYTES:
            raise ValueError(f"its control archive has {size} bytes, expected {_MAX_CONTROL_BYTES} at most")
        data = stream.read(size)
        if len(data) < size:
            raise ValueError("its control archive is cut short")
        mode = _MODES.get(name)
        return None if mode is None else _member(data, mode)
    raise ValueError("it has no control archive")


def _member(data: bytes, mode: str) -> str:
    with tarfile.open(fileobj=io.BytesIO(data), mode=mode) as tar:  # type: ignore[call-overload]
        for member in tar:
            if member.name.removeprefix("./") == "control" and member.isreg():
                if member.size > _MAX_CONTROL_BYTES:
                    raise ValueError(f"its control file has {member.size} bytes")
                text: bytes = tar.extractfile(member).read()
                return text.decode("utf-8")
    raise ValueError("its control archive has no file named control")


def _by_dpkg(path: Path, name: str) -> str:
    done = subprocess.run(["dpkg-deb", "--field", str(path)], capture_output=True, check=False)
    if done.returncode != 0:
        told = done.stderr.decode("utf-8", "replace").strip()
        raise IntegrityError(f"reading {name}: it is not a Debian package: {told}")
    return done.stdout.decode("utf-8")
