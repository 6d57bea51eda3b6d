# SPDX-License-Identifier: Apache-2.0
"""Whether this build host runs an architecture's compiler: as its own, or through the kernel's binfmt_misc.

The tree that modules are compiled in is of the devices' architecture throughout, its compiler too, so that
the bytes are the same wherever it runs. Of another architecture it runs emulated (qemu-user), where the
kernel knows an interpreter for its programs and holds it open, since inside the tree there is none.

    ensure_runs("arm64", "building edgewright-nvidia-modules-...")      # True where it is emulated
"""

from __future__ import annotations

import platform
from pathlib import Path

from edgewright.errors import MissingToolError

__all__ = ["ensure_runs"]

_BINFMT = Path("/proc/sys/fs/binfmt_misc")
_NATIVE = {"x86_64": "amd64", "aarch64": "arm64"}
_EXECUTABLE = "7f454c460201010000000000000000000200"
_MAGIC = {"amd64": f"{_EXECUTABLE}3e00", "arm64": f"{_EXECUTABLE}b700"}
"""First bytes of an architecture's programs as binfmt_misc writes them: ELF, 64 bits, EXEC, machine."""


def ensure_runs(arch: str, doing: str, binfmt: Path = _BINFMT) -> bool:
    """Check that programs of an architecture run here.

    Args:
        arch: Debian's name of it.
        doing: For the message.
        binfmt: Where the kernel tells its interpreters.

    Returns:
        Whether they run emulated.

    Raises:
        MissingToolError: They do not.
    """
    here = _NATIVE.get(platform.machine(), platform.machine())
    if arch == here:
        return False
    found = "no emulator is registered for it"
    for entry in sorted(binfmt.glob("*")) if arch in _MAGIC else []:
        told = _told(entry)
        if told.get("magic") != _MAGIC[arch]:
            continue
        if "disabled" in told or "F" not in told.get("flags", ""):
            found = f"{entry} is {'disabled' if 'disabled' in told else 'without the flag F'}"
            continue
        return True
    raise MissingToolError(
        f"{doing}: its compiler is one of {arch}, this host is {here}, and {found}; lock and build the "
        f"release on an {arch} host, or install qemu-user-static and binfmt-support here, which runs it "
        "emulated (many times slower, the same bytes)"
    )


def _told(entry: Path) -> dict[str, str]:
    """An entry of binfmt_misc as words and values; empty for its control files, which cannot be read so."""
    if entry.name in {"register", "status"}:
        return {}
    try:
        lines = entry.read_text("utf-8").splitlines()
    except OSError:
        return {}
    return {line.split(" ")[0].rstrip(":"): line.partition(" ")[2] for line in lines if line}
