# SPDX-License-Identifier: Apache-2.0
"""Make the images of twins, once per recipe, in the cache that every checkout shares.

A VM's image is a raw, sparse disk with GPT, an EFI system partition and an ext4 root, made without a
loop device or a mount: the tree goes in with `mke2fs -d`, the boot loader with mtools. It appears in
the cache under its recipe's digest only when it is whole.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from edgewright.archives import address
from edgewright.errors import EdgewrightError
from edgewright.paths import cache_dir
from edgewright.twin.keys import locked
from edgewright.twin.recipe import Recipe
from edgewright.twin.tools import Say, as_root, need, run_logged, run_quiet

__all__ = ["VmImage", "image_dir", "make_tree", "root_offset", "vm_image"]

_MIB = 1 << 20
_FIRST_MIB = 1  # where the first partition starts: the alignment that sgdisk uses itself


class VmImage:
    """A finished VM image in the cache.

    Args:
        directory: where it lies.
        recipe: what it was made from.
    """

    def __init__(self, directory: Path, recipe: Recipe) -> None:
        self.directory = directory
        self.recipe = recipe

    @property
    def disk(self) -> Path:
        """The raw disk, never written again: twins have their own layer on top."""
        return self.directory / "disk.raw"

    @property
    def kernel(self) -> Path:
        """The image's kernel alone, which the KVM probe boots."""
        return self.directory / "vmlinuz"


def image_dir(recipe: Recipe) -> Path:
    """Where the cache has, or would have, the recipe's image."""
    return cache_dir() / "twins" / recipe.label


def root_offset(recipe: Recipe) -> int:
    """Where a VM image's root file system starts, in bytes from the disk's start."""
    return (_FIRST_MIB + recipe.esp_mib) * _MIB


def make_tree(recipe: Recipe, target: Path, log: Path, say: Say) -> None:
    """Fill a directory or a tar file (a target that ends in `.tar`) with the recipe's system.

    Raises:
        EdgewrightError: neither root nor sudo, this host's apt has no such source, or mmdebstrap failed; the
            message has its last lines.
        MissingToolError: mmdebstrap or its emulator is not installed.
    """
    doing = f"making the image {recipe.label}"
    if recipe.arch == "arm64":
        need("qemu-aarch64-static", "arch-test")
        _check_foreign_programs(recipe)
    argv = ["mmdebstrap", "--variant=minbase", f"--architectures={recipe.arch}"]
    argv += [f"--include={','.join(recipe.packages)}", "--aptopt=APT::Install-Recommends false"]
    argv += [f"--dpkgopt=path-exclude={pattern}" for pattern in recipe.excluded]
    for option, script in (("--setup-hook", recipe.setup), ("--customize-hook", recipe.hook)):
        if script:
            path = log.with_name(f"{option.strip('-')}.sh")
            path.write_text(script, encoding="utf-8")
            argv.append(f'{option}=sh {path} "$1"')
    # The options of this build are not the device's settings: it starts with apt's and dpkg's own.
    argv.append(
        '--customize-hook=rm -f "$1"/etc/apt/apt.conf.d/99mmdebstrap "$1"/etc/dpkg/dpkg.cfg.d/99mmdebstrap'
    )
    sources = []
    for source in recipe.sources:
        kind, archive, rest = source.split(maxsplit=2)
        sources.append(f"{kind} {address(archive)} {rest}")
    argv += [recipe.suite, str(target), *sources]
    run_logged(as_root(argv, doing), doing, log, say)


def _check_foreign_programs(recipe: Recipe) -> None:
    """Refuse, before the downloads, when this host's kernel hands no such program to its emulator."""
    tried = subprocess.run(["arch-test", recipe.arch], capture_output=True, check=False)
    if tried.returncode != 0:
        raise EdgewrightError(
            f"making the image {recipe.label}: this host runs no {recipe.arch} programs, as setting up the "
            f"packages needs; run: apt-get install qemu-user-static binfmt-support; then, where nothing did "
            f"it at boot: mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc; update-binfmts --enable"
        )


def _boot_loader(recipe: Recipe, tree: Path, work: Path) -> Path:
    config = work / "embedded.cfg"
    config.write_text(recipe.grub_embedded, encoding="utf-8")
    loader = work / recipe.efi_name
    run_quiet(
        [
            *(
                "grub-mkimage",
                "-O",
                recipe.grub_target,
                "-d",
                str(tree / "usr/lib/grub" / recipe.grub_target),
            ),
            *("-c", str(config), "-p", "/boot/grub", "-o", str(loader), *recipe.grub_modules),
        ],
        "making the boot loader",
    )
    return loader


def _disk(recipe: Recipe, tree: Path, work: Path, disk: Path) -> None:
    """Partition a sparse file and fill both partitions."""
    loader = _boot_loader(recipe, tree, work)
    with disk.open("wb") as handle:
        handle.truncate((_FIRST_MIB + recipe.esp_mib + recipe.root_mib + 1) * _MIB)
    run_quiet(
        [
            *("sgdisk", "-n", f"1:{_FIRST_MIB}M:+{recipe.esp_mib}M", "-t", "1:EF00", "-c", "1:EFI"),
            *("-n", f"2:{_FIRST_MIB + recipe.esp_mib}M:+{recipe.root_mib}M", "-t", "2:8300", "-c", "2:root"),
            str(disk),
        ],
        "partitioning the image",
    )
    esp = f"{disk}@@{_FIRST_MIB * _MIB}"
    # mformat would take the geometry from the whole disk: give it the partition's size in sectors.
    run_quiet(
        ["mformat", "-i", esp, "-F", "-v", "EFI", "-T", str(recipe.esp_mib * 2048), "::"], "making the ESP"
    )
    run_quiet(["mmd", "-i", esp, "::/EFI", "::/EFI/BOOT"], "filling the ESP")
    run_quiet(["mcopy", "-i", esp, str(loader), f"::/EFI/BOOT/{recipe.efi_name}"], "filling the ESP")
    _drop_inner_partition_table(disk, _FIRST_MIB * _MIB)
    doing = "making the root file system"
    argv = ["mke2fs", "-q", "-F", "-t", "ext4", "-L", "root", "-m", "1", "-d", str(tree)]
    argv += ["-E", f"offset={root_offset(recipe)},assume_storage_prezeroed=1", str(disk)]
    run_quiet(as_root([*argv, f"{recipe.root_mib}M"], doing), doing)


def _drop_inner_partition_table(disk: Path, start: int) -> None:
    """Zero the partition table that mformat puts into a FAT's first sector.

    grub-probe on the device would report it as a nested partition, thirty times per update-grub.

    Args:
        disk: the disk.
        start: where the FAT starts, in bytes.
    """
    with disk.open("r+b") as handle:
        handle.seek(start + 446)
        handle.write(bytes(64))


def vm_image(recipe: Recipe, say: Say) -> VmImage:
    """Get the recipe's image from the cache, or make it.

    Args:
        recipe: what the image shall hold.
        say: gets progress.

    Raises:
        EdgewrightError: a step failed; nothing is left in the cache under the image's name.
        MissingToolError: a program is not installed.
    """
    final = image_dir(recipe)
    if final.is_dir():
        return VmImage(final, recipe)
    need("mmdebstrap", "mke2fs", "sgdisk", "mformat", "mmd", "mcopy", "grub-mkimage")
    with locked(final.parent / f".{recipe.label}.lock"):
        if final.is_dir():
            return VmImage(final, recipe)
        start = time.monotonic()
        say(f"making the image {recipe.label} (kept in the cache; about a minute for amd64)")
        work = Path(tempfile.mkdtemp(prefix=f".{recipe.label}.", dir=final.parent))
        tree, ready = work / "tree", work / "ready"
        try:
            ready.mkdir()
            make_tree(recipe, tree, work / "build.log", say)
            say(f"making the image {recipe.label}: disk")
            _disk(recipe, tree, work, ready / "disk.raw")
            kernels = sorted((tree / "boot").glob("vmlinuz-*"))
            shutil.copyfile(kernels[-1], ready / "vmlinuz")
            (ready / "recipe.json").write_text(recipe.document(), encoding="utf-8")
            ready.rename(final)
        finally:
            if tree.exists():
                run_quiet(as_root(["rm", "-rf", str(tree)], "removing the tree"), "removing the tree")
            shutil.rmtree(work, ignore_errors=True)
        say(f"made the image {recipe.label} in {time.monotonic() - start:.0f} s")
    return VmImage(final, recipe)
