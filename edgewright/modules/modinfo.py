# SPDX-License-Identifier: Apache-2.0
"""What a kernel module says of itself, read from its ELF section `.modinfo`; no program is run.

    found = read_modinfo(Path("nvidia.ko").read_bytes(), "nvidia.ko")
    found["vermagic"]       # ["6.1.0-56-rt-amd64 SMP preempt_rt mod_unload modversions "]

The section holds `key=value` texts, each ended by a zero byte (Linux include/linux/moduleparam.h). Only
what this project builds is read: ELF of 64 bits, little-endian.
"""

from __future__ import annotations

import struct

from edgewright.errors import IntegrityError

__all__ = ["read_modinfo", "vermagic_release"]

_IDENT = b"\x7fELF\x02\x01"
"""Magic, 64 bits, little-endian (ELF-64 Object File Format, e_ident)."""

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_EXTENDED = 0xFFFF
"""e_shstrndx where the number does not fit (SHN_XINDEX); no module has that many sections."""


def read_modinfo(data: bytes, name: str) -> dict[str, list[str]]:
    """Read a module's information.

    Args:
        data: The module.
        name: What it is called in messages.

    Returns:
        Values by key, in the order of the file; a key may come several times.

    Raises:
        IntegrityError: It is no kernel module, or it is cut short.
    """
    try:
        section = _section(data, b".modinfo")
    except (struct.error, ValueError, IndexError) as error:
        raise IntegrityError(
            f"reading {name}: expected a kernel module (ELF, 64 bits, little-endian), got {error}"
        ) from error
    found: dict[str, list[str]] = {}
    for text in section.split(b"\0"):
        key, equals, value = text.decode("utf-8", "replace").partition("=")
        if equals:
            found.setdefault(key, []).append(value)
    return found


def vermagic_release(found: dict[str, list[str]]) -> str:
    """The kernel release that a module was built for; empty where it does not say."""
    words = " ".join(found.get("vermagic", [])[:1]).split()
    return words[0] if words else ""


def _section(data: bytes, wanted: bytes) -> bytes:
    if not data.startswith(_IDENT):
        raise ValueError(f"bytes that begin with {data[:6].hex() or 'nothing'}")
    header = _HEADER.unpack_from(data)
    offset, size, count, names_at = header[6], header[11], header[12], header[13]
    if size != _SECTION.size or names_at in (0, _EXTENDED) or names_at >= count:
        raise ValueError("an ELF file without a table of sections")
    sections = [_SECTION.unpack_from(data, offset + number * size) for number in range(count)]
    names = _content(data, sections[names_at])
    for section in sections:
        if names[section[0] : names.index(b"\0", section[0])] == wanted:
            return _content(data, section)
    raise ValueError(f"an ELF file without the section {wanted.decode()}")


def _content(data: bytes, section: tuple[int, ...]) -> bytes:
    start, length = section[4], section[5]
    if start + length > len(data):
        raise ValueError("an ELF file that is cut short")
    return data[start : start + length]
