# SPDX-License-Identifier: Apache-2.0
"""A snapd twin: a VM with Debian's snapd in which stand-ins for Canonical's base and snapd are installed.

    twin = SnapdTwin(TwinSpec(name="core-01", kind="snapd", state_dir=Path("/tmp/site"), port=2201))
    twin.up()
    print(twin.run("snap list").stdout)       # snapd ...-standin, core24 debian12-standin

It stands for a device with Ubuntu Core: snapd, its confinement and its services are real, base and snapd
snaps are stand-ins, kernel and boot are Debian's. The stand-ins are installed in the image, once: it is made
as every VM's, booted, settled, shut down, and its disk kept.
"""

from __future__ import annotations

import shutil
import socket
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from edgewright.errors import EdgewrightError
from edgewright.twin.image import VmImage, image_dir, vm_image
from edgewright.twin.keys import locked
from edgewright.twin.recipe import Recipe
from edgewright.twin.snapd_recipe import STANDINS, STANDINS_DIR, snapd_recipe
from edgewright.twin.spec import TwinSpec
from edgewright.twin.tools import Say, need, run_quiet
from edgewright.twin.vm import VmTwin

__all__ = ["SnapdTwin", "snapd_image"]

_SETTLE_S = 1200.0
"""Two installs take 30 to 50 s each on an emulated CPU of an idle host."""

# What belongs to one machine: each twin gets its own before its first boot.
_OWN_FILES = (
    *("/etc/hostname", "/etc/hosts", "/etc/machine-id", "/etc/ssh/ssh_host_ed25519_key"),
    *("/etc/ssh/ssh_host_ed25519_key.pub", "/root/.ssh/authorized_keys", "/var/lib/systemd/random-seed"),
)


class SnapdTwin(VmTwin):
    """A VM that stands in for a device with Ubuntu Core; its spec's kind is `snapd`."""

    image_kind = "snapd"

    def _image(self) -> VmImage:
        return snapd_image(self._say)

    def up(self, timeout_s: float | None = None) -> bool:
        started = super().up(timeout_s)
        if started:
            self._say(f"{self.spec.name}: its snaps {' and '.join(STANDINS)} are stand-ins from Debian 12")
        return started


class _Settling(VmTwin):
    """The machine in which an image settles; it boots what it is given."""

    image_kind = "snapdbare"

    def __init__(self, spec: TwinSpec, image: VmImage, say: Say) -> None:
        super().__init__(spec, say)
        self._given = image

    def _image(self) -> VmImage:
        return self._given


def snapd_image(say: Say) -> VmImage:
    """Get the image of snapd twins from the cache, or make it.

    Args:
        say: gets progress.

    Raises:
        EdgewrightError: a step failed; nothing is left in the cache under the image's name.
        UnreachableError: the machine in which it settles does not come up.
        MissingToolError: a program is not installed.
    """
    recipe = snapd_recipe()
    final = image_dir(recipe)
    if final.is_dir():
        return VmImage(final, recipe)
    need("mksquashfs", "qemu-img", "qemu-system-x86_64")
    with locked(final.parent / f".{recipe.label}.lock"):
        if not final.is_dir():
            bare = vm_image(replace(recipe, kind=_Settling.image_kind), say)
            _settle(recipe, bare, final, say)
            shutil.rmtree(bare.directory)
    return VmImage(final, recipe)


def _settle(recipe: Recipe, bare: VmImage, final: Path, say: Say) -> None:
    start = time.monotonic()
    say(f"settling the image {recipe.label}: its stand-in snaps are installed (two minutes when emulated)")
    work = Path(tempfile.mkdtemp(prefix=f".{recipe.label}.", dir=final.parent))
    spec = TwinSpec(
        "settling", "snapd", work / "state", _free_port(), memory_mib=1024, depot_port=_free_port()
    )
    twin = _Settling(spec, bare, say)
    try:
        twin.up()
        done = twin.run(f"sh {STANDINS_DIR}/settle.sh", timeout_s=_SETTLE_S)
        if done.returncode:
            raise EdgewrightError(
                f"settling the image {recipe.label}: its script ended with status {done.returncode}: "
                f"{(done.stdout + done.stderr).strip()[-1500:]}"
            )
        say("\n".join(f"    {line}" for line in done.stdout.strip().splitlines()))
        twin.run(f"rm -f {' '.join(_OWN_FILES)}; sync")
        twin.down()
        ready = work / "ready"
        ready.mkdir()
        run_quiet(
            [
                *("qemu-img", "convert", "-f", "qcow2", "-O", "raw", "-S", "4k"),
                *(str(twin.disk), str(ready / "disk.raw")),
            ],
            f"settling the image {recipe.label}",
        )
        shutil.copyfile(bare.kernel, ready / "vmlinuz")
        (ready / "recipe.json").write_text(recipe.document(), encoding="utf-8")
        (ready / "settled.txt").write_text(done.stdout, encoding="utf-8")
        ready.rename(final)
    finally:
        twin.purge()
        shutil.rmtree(work, ignore_errors=True)
    say(f"settled the image {recipe.label} in {time.monotonic() - start:.0f} s")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port
