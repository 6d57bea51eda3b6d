# SPDX-License-Identifier: Apache-2.0
"""A VM twin: start it, stop it as a person or as a power cut does, forget it.

    twin = VmTwin(TwinSpec(name="edge-01", kind="vm", state_dir=Path("/tmp/site"), port=2201))
    twin.up()
    print(twin.run("uname -r").stdout)
    twin.kill()          # the power is cut
    twin.up()            # the same disk boots again
    twin.purge()         # stopped, and its disk forgotten

What a twin is made of lies in `STATE/twins/NAME`: `disk.qcow2`, `efivars.fd`, `serial.log`, its host
key. A twin runs when the process in `pid` is a QEMU that was started in that directory.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import ClassVar

from edgewright.errors import EdgewrightError, InputError, IntegrityError
from edgewright.paths import cache_dir
from edgewright.twin import abandoned, qemu
from edgewright.twin.disk import make_disk
from edgewright.twin.image import VmImage, vm_image
from edgewright.twin.keys import forget_host_key
from edgewright.twin.machine import Twin
from edgewright.twin.recipe import in_suite, vm_recipe
from edgewright.twin.tools import need, run_quiet, tail

__all__ = ["VmTwin"]

_PHASES = (  # what the serial log shows last decides the phase; the first match from the end wins
    ("login:", "up, ssh starting"),
    ("systemd[1]", "services starting"),
    ("Linux version", "kernel starting"),
    ("BdsDxe: starting", "boot loader"),
)


class VmTwin(Twin):
    """A virtual machine that stands in for a device; its spec's kind is `vm`."""

    needs = ("nc", "ssh", "qemu-img")
    start_s = 600.0  # an emulated boot takes 30-60 s on an idle host; many at once on two cores take minutes
    stop_s = 120.0

    image_kind: ClassVar[str] = "vm"
    """The kind of recipe that its disk is made from."""

    _boot_from = 0

    def _image(self) -> VmImage:
        """What its disk is made from; made when the cache lacks it."""
        return vm_image(in_suite(vm_recipe(self.spec.arch), self.spec.suite), self._say)

    @property
    def serial_log(self) -> Path:
        """What the device wrote to its serial console, all boots after one another."""
        return self.spec.directory / "serial.log"

    def boots(self) -> int:
        """How many times a kernel started on it, by its serial console."""
        try:
            return self.serial_log.read_text(encoding="utf-8", errors="replace").count("] Linux version ")
        except FileNotFoundError:
            return 0

    @property
    def disk(self) -> Path:
        """The twin's own layer of disk."""
        return self.spec.directory / abandoned.DISK

    def pid(self) -> int | None:
        """The process id of the twin's QEMU, or None when it does not run.

        A QEMU that was killed gives up its memory, and with it its command line, before its disk: it counts
        as running until the last of its threads is gone, so that the next start finds the disk free.
        """
        try:
            pid = int((self.spec.directory / "pid").read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None
        words = _words(pid)
        ours = qemu.vm_uuid(self.spec).encode()
        if b"qemu-system" in words[0] and ours in words:
            return pid
        return pid if words == [b""] and _is_ending(pid) else None

    def is_up(self) -> bool:
        return self.pid() is not None

    def accelerator(self) -> str | None:
        pid = self.pid()
        words = _words(pid) if pid is not None else []
        return words[words.index(b"-accel") + 1].split(b",")[0].decode() if b"-accel" in words else None

    def _start(self) -> None:
        spec = self.spec
        image = self._image()
        code, variables = qemu.firmware(spec.arch)
        kvm = spec.arch == "amd64" and qemu.kvm_works(image.kernel, cache_dir() / "twins", self._say)
        if self.disk.exists():
            self._check_disk()
        else:
            make_disk(spec, image, self.disk)
        if not (spec.directory / "efivars.fd").exists():
            shutil.copyfile(variables, spec.directory / ".efivars.new")
            (spec.directory / ".efivars.new").replace(spec.directory / "efivars.fd")
        for leftover in ("pid", "qmp.sock"):
            (spec.directory / leftover).unlink(missing_ok=True)
        self._boot_from = self.serial_log.stat().st_size if self.serial_log.exists() else 0
        emulated = qemu.tcg(spec.cpus, len(os.sched_getaffinity(0)), parallel=spec.parallel)
        argv = qemu.command(spec, qemu.KVM if kvm else emulated, code)
        need(argv[0])
        self._free_port()
        (spec.directory / abandoned.OWNER_FILE).write_text(abandoned.owner(), encoding="ascii")
        errors = spec.directory / "qemu.log"
        with errors.open("wb") as handle:
            done = subprocess.run(
                argv, cwd=spec.directory, stdin=subprocess.DEVNULL, stdout=handle, stderr=handle, check=False
            )
        if done.returncode != 0:
            said = tail(errors, 5)
            hint = ""
            if "forwarding" in said:
                hint = f"; port {spec.port} of 127.0.0.1 is taken: stop what holds it, or change ansible_port"
            raise EdgewrightError(f"starting twin {spec.name}: QEMU refused: {said}{hint}")

    def _free_port(self) -> None:
        """End a VM twin of another checkout that has this one's port, where nobody can want it any more.

        Raises:
            EdgewrightError: somebody may want it; names it.
        """
        found = abandoned.vm_holder(self.spec.port)
        if found is None:
            return
        doing = f"starting twin {self.spec.name}"
        holder, pid = found
        why = holder.abandoned()
        if not why:
            raise holder.refusal(doing, f"port {self.spec.port} of 127.0.0.1")
        self._say(f"{self.spec.name}: ending {holder.name}, which holds port {self.spec.port}: {why}")
        abandoned.end(pid, doing)

    def _check_disk(self) -> None:
        """Refuse a disk of another architecture or suite, or one whose image is gone from the cache."""
        spec = self.spec
        told = json.loads(
            run_quiet(
                ["qemu-img", "info", "--output=json", str(self.disk)], f"reading the disk of twin {spec.name}"
            )
        )
        below = Path(told.get("full-backing-filename", ""))
        again = (
            f"forget the disk (edgewright twin down --purge {spec.name}) and start it again, then it is bare"
        )
        if not below.parent.name.startswith(f"{self.image_kind}-{spec.arch}-"):
            raise InputError(
                f"starting twin {spec.name}: it shall be a {spec.kind} of {spec.arch}, but its disk was made "
                f"from {below.parent.name or 'an unknown image'}; {again}"
            )
        if not below.is_file():
            raise IntegrityError(
                f"starting twin {spec.name}: its disk lies on {below}, which is gone; {again}"
            )
        made = json.loads((below.parent / "recipe.json").read_text(encoding="utf-8"))
        if made["suite"] != spec.suite:
            raise InputError(
                f"starting twin {spec.name}: it shall have Debian's {spec.suite}, but its disk was made with "
                f"{made['suite']}; {again}"
            )

    def _phase(self) -> str:
        """How far this boot is, by its part of the serial log."""
        try:
            with self.serial_log.open("rb") as handle:
                handle.seek(self._boot_from)
                text = handle.read().decode("utf-8", "replace")
        except FileNotFoundError:
            text = ""
        return next((phase for mark, phase in _PHASES if mark in text), "firmware")

    def _last_words(self) -> str:
        return f"{self.serial_log}:\n{tail(self.serial_log)}"

    def _stop(self, timeout_s: float) -> None:
        """Press the power button."""
        try:
            qemu.monitor(self.spec.directory, "system_powerdown")
        except EdgewrightError as error:
            self._say(f"{self.spec.name}: {error}")
            timeout_s = 0.0
        start = told = time.monotonic()
        while self.is_up():
            now = time.monotonic()
            if now - start > timeout_s:
                self._say(f"{self.spec.name}: not off within {timeout_s:.0f} s, cutting its power")
                self.kill()
                break
            if now - told >= 10.0:
                told = now
                self._say(f"{self.spec.name}: {now - start:.0f} s, shutting down")
            time.sleep(0.3)

    def _cut(self) -> str:
        pid = self.pid()
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        return f"process {pid}"

    def purge(self) -> None:
        self.kill()
        forget_host_key(self.spec)
        shutil.rmtree(self.spec.directory, ignore_errors=True)


def _words(pid: int) -> list[bytes]:
    """A process's command line; one empty word for a process that is ending or not there."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return [b""]


def _is_ending(pid: int) -> bool:
    """Whether a process without a command line is a QEMU whose threads are not all gone."""
    try:
        name, state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").split("(", 1)[1].rsplit(")", 1)
        threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
    except (OSError, IndexError, ValueError):
        return False
    return name.startswith("qemu-system") and (threads > 1 or state.split()[0] not in {"Z", "X"})
