# SPDX-License-Identifier: Apache-2.0
"""Twins of another checkout that hold an address or a port which a twin of this one needs.

Addresses and ports stand in inventories, so two checkouts on one machine ask for the same. A twin that
somebody keeps is left alone and named. One that nobody can want any more is ended: its site's directory is
gone, or the run of tests that started it is. Such a run marks its twins through `EDGEWRIGHT_TWIN_OWNER`; a
twin that a person started has no owner and is kept.

    os.environ[OWNER_VARIABLE] = mark(os.getpid())
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edgewright.errors import EdgewrightError

__all__ = ["DISK", "OWNER_FILE", "OWNER_VARIABLE", "Holder", "end", "mark", "owner", "vm_holder"]

OWNER_VARIABLE = "EDGEWRIGHT_TWIN_OWNER"
DISK = "disk.qcow2"
"""A VM twin's own layer of disk, by which its QEMU is known to be a twin's."""
OWNER_FILE = "owner"
"""In a VM twin's directory: the owner, where it has one."""


@dataclass(frozen=True)
class Holder:
    """What holds an address or a port.

    Attributes:
        name: what it is, for a message: a container's name, or a process.
        place: the directory of its site.
        owner: the run that started it, as `mark` tells one; empty where a person did.
        stop: the command that ends it, for a message.
    """

    name: str
    place: Path
    owner: str
    stop: str

    def abandoned(self) -> str:
        """Why nobody can want it any more; empty where somebody may."""
        if not self.place.is_dir():
            return f"its site {self.place} is gone"
        if self.owner and mark(int(self.owner.split(":", 1)[0])) != self.owner:
            return f"the tests that started it in {self.place} are gone"
        return ""

    def refusal(self, doing: str, wanted: str) -> EdgewrightError:
        """The error for a holder that is kept.

        Args:
            doing: what was being done (`starting twin edge-01`).
            wanted: what it holds (`address 10.213.0.41`).
        """
        return EdgewrightError(
            f"{doing}: {wanted} is held by {self.name}, a twin of the site {self.place}; stop it "
            f"(`{self.stop}`), or give one of the two another one in its inventory"
        )


def mark(pid: int) -> str:
    """`PID:START` of a process, START in clock ticks since the host's boot; empty when none runs.

    The start time tells a process from a later one of the same number (proc(5), field 22 of `stat`).
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return ""
    return "" if fields[0] in {"Z", "X"} else f"{pid}:{fields[19]}"


def owner() -> str:
    """The owner that this process was told to write on the twins that it starts; empty for none."""
    told = os.environ.get(OWNER_VARIABLE, "")
    return told if told.split(":", 1)[0].isdecimal() else ""


def vm_holder(port: int) -> tuple[Holder, int] | None:
    """The VM twin that has this port of 127.0.0.1, with QEMU's process id; None when no VM twin has it.

    Args:
        port: where its ssh is forwarded from.
    """
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            if b"qemu-system" not in command or f"hostfwd=tcp:127.0.0.1:{port}-".encode() not in command:
                continue
            # Not its working directory: QEMU leaves that when it goes to the background.
            held = [str(each.readlink()).removesuffix(" (deleted)") for each in (entry / "fd").iterdir()]
        except OSError:  # it ended meanwhile, or is another user's
            continue
        disks = [Path(path) for path in held if path.endswith(f"/{DISK}")]
        if not disks:
            continue
        directory = disks[0].parent
        try:
            started_by = (directory / OWNER_FILE).read_text(encoding="ascii")
        except OSError:
            started_by = ""
        pid = int(entry.name)
        return Holder(f"process {pid} (QEMU)", directory, started_by, f"kill {pid}"), pid
    return None


def end(pid: int, doing: str) -> None:
    """End an abandoned QEMU at once and wait until it is gone.

    Raises:
        EdgewrightError: it does not end.
    """
    before = mark(pid)
    if not before:
        return
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    for _ in range(100):
        if mark(pid) != before:
            return
        time.sleep(0.1)
    raise EdgewrightError(f"{doing}: process {pid} did not end in 10 s; look at it by hand")
