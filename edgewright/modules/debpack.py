# SPDX-License-Identifier: Apache-2.0
"""Packing files as a Debian package, the same bytes for the same files wherever it is done.

    write_deb(target, {"Package": "tool", ...}, {"usr/bin/tool": Member(Path("tool"), 0o755)}, {}, moment)

The format is deb(5). Nothing is compressed: what a compressor writes hangs on its version, the sha256 in
the lock must not, and a small device unpacks plain bytes fastest. Entries are sorted, belong to root, and
carry one time.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edgewright.errors import IntegrityError

__all__ = ["Member", "control_text", "read_members", "write_deb"]

_MAGIC = b"!<arch>\n"
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Member:
    """A file of a package: its bytes, or where they lie; `mode` as permissions."""

    content: bytes | Path
    mode: int = 0o644

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    def open(self) -> BinaryIO:
        """A stream of the bytes."""
        return io.BytesIO(self.content) if isinstance(self.content, bytes) else self.content.open("rb")


def control_text(fields: Mapping[str, str]) -> str:
    """Control fields as a stanza; further lines of a value are indented (deb-control(5))."""
    lines = (f"{key}: " + value.strip("\n").replace("\n", "\n ") for key, value in fields.items())
    return "".join(f"{line}\n" for line in lines)


def write_deb(
    target: Path,
    fields: Mapping[str, str],
    files: Mapping[str, Member],
    scripts: Mapping[str, str],
    moment: int,
) -> None:
    """Write a package.

    Args:
        target: The file; replaced when it is there.
        fields: Control fields in their order; `Installed-Size` is added.
        files: Files by path below the root, without a leading slash.
        scripts: Maintainer scripts by name, such as `postinst`.
        moment: The time that every entry carries, in seconds since 1970.
    """
    size = sum(-(-member.size // 1024) for member in files.values()) + len(files)
    control = control_text({**fields, "Installed-Size": str(size)})  # dpkg counts in KiB, by file
    sums = "".join(f"{_md5(member)}  {path}\n" for path, member in sorted(files.items()))
    inner = {"control": Member(control.encode()), "md5sums": Member(sums.encode())}
    inner |= {name: Member(text.encode(), 0o755) for name, text in scripts.items()}
    with target.open("wb") as stream:
        stream.write(_MAGIC)
        _append(stream, "debian-binary", b"2.0\n", moment)
        _append(stream, "control.tar", _tar_bytes(inner, moment), moment)
        start = stream.tell()
        stream.write(_head("data.tar", 0, moment))
        begin = stream.tell()
        _tar(stream, files, moment)
        length = stream.tell() - begin
        stream.write(b"\n" * (length % 2))
        stream.seek(start)
        stream.write(_head("data.tar", length, moment))


def read_members(path: Path, below: str) -> dict[str, bytes]:
    """Files of a package that `write_deb` wrote, below a directory.

    Args:
        path: The package.
        below: Path below the root, without a leading slash.

    Raises:
        IntegrityError: It is no such package.
    """
    try:
        with path.open("rb") as stream:
            if stream.read(len(_MAGIC)) != _MAGIC:
                raise ValueError("it does not begin as an ar archive")
            while header := stream.read(60):
                name, size = header[:16].decode("ascii").strip(), int(header[48:58])
                if name != "data.tar":
                    stream.seek(size + size % 2, io.SEEK_CUR)
                    continue
                with tarfile.open(fileobj=stream, mode="r|") as tar:
                    return {
                        member.name.removeprefix("./"): _read(tar, member)
                        for member in tar
                        if member.isreg() and member.name.removeprefix("./").startswith(f"{below}/")
                    }
    except (OSError, ValueError, tarfile.TarError) as error:
        raise IntegrityError(f"reading {path}: {error}") from error
    raise IntegrityError(f"reading {path}: expected an uncompressed Debian package, found no data.tar")


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = tar.extractfile(member)
    return stream.read() if stream else b""


def _head(name: str, size: int, moment: int) -> bytes:
    return f"{name:<16}{moment:<12}{0:<6}{0:<6}{'100644':<8}{size:<10}`\n".encode("ascii")


def _append(stream: BinaryIO, name: str, data: bytes, moment: int) -> None:
    stream.write(_head(name, len(data), moment) + data + b"\n" * (len(data) % 2))


def _tar_bytes(files: Mapping[str, Member], moment: int) -> bytes:
    buffer = io.BytesIO()
    _tar(buffer, files, moment)
    return buffer.getvalue()


def _tar(stream: BinaryIO, files: Mapping[str, Member], moment: int) -> None:
    """Write files and the directories that hold them, parents first."""
    directories = {str(parent) for path in files for parent in Path(path).parents}
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path in sorted(directories | set(files)):
            member = files.get(path)
            info = tarfile.TarInfo("./" if path == "." else f"./{path}")
            info.mtime, info.uname, info.gname = moment, "root", "root"
            if member is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(info)
            else:
                info.size, info.mode = member.size, member.mode
                with member.open() as content:
                    tar.addfile(info, content)


def _md5(member: Member) -> str:
    """As dpkg's md5sums want it: against damage, not against an attacker."""
    digest = hashlib.md5(usedforsecurity=False)
    with member.open() as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
