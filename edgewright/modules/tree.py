# SPDX-License-Identifier: Apache-2.0
"""A clean tree of locked packages, and dkms run in it: nothing of the build host gets into a module.

The tree is packages unpacked, no more: no maintainer script runs, nothing is installed. dkms, from the
archive like the rest, compiles inside it, in name spaces of its own: no network, one fixed host name, the
same paths wherever the tree lies. When whoever started it dies, so does everything inside.
"""

from __future__ import annotations

import gzip
import lzma
import os
import re
import shutil
import subprocess
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewright.depot.blobs import BlobStore
from edgewright.errors import EdgewrightError, InputError, IntegrityError
from edgewright.twin.tools import Say, as_root, need, run_logged, run_quiet, tail

__all__ = [
    "SCRIPT",
    "Dkms",
    "Kernel",
    "check_compiler",
    "check_preemption",
    "read_dkms",
    "remove_tree",
    "run_dkms",
    "unpack",
]

_MERGED = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")
"""Directories of the root that are links below /usr, as every installation since Debian 12 has them."""

# What a maintainer script would have made: names that update-alternatives keeps, root as a user.
# sign_file names nothing on purpose: dkms would otherwise make a key of its own, another one each time.
_SETUP = r"""set -eu
tree=$1; shift
mkdir -p "$tree/proc" "$tree/dev" "$tree/tmp" "$tree/root" "$tree/etc/dkms" "$tree/var/lib/dkms"
for name in null zero random urandom; do
    : > "$tree/dev/$name"
    mount --bind "/dev/$name" "$tree/dev/$name"
done
ln -sfn /proc/self/fd "$tree/dev/fd"
mount -t proc proc "$tree/proc"
hostname edgewright
[ -e "$tree/usr/bin/awk" ] || ln -s mawk "$tree/usr/bin/awk"
[ -e "$tree/usr/bin/cc" ] || ln -s gcc "$tree/usr/bin/cc"
echo root:x:0:0:root:/root:/bin/sh > "$tree/etc/passwd"
echo root:x:0: > "$tree/etc/group"
echo 'sign_file="/nonexistent"' >> "$tree/etc/dkms/framework.conf"
"""

# The two gates before PREEMPT_RT: Debian's in dkms.conf (BUILD_EXCLUSIVE_CONFIG), NVIDIA's own in its build.
_RT_SETUP = r"""echo 'BUILD_EXCLUSIVE_CONFIG=""' > "$tree/etc/dkms/$DKMS_NAME.conf"
"""

_RUN = r"""exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 TZ=UTC HOME=/root $VARIABLES \
    SOURCE_DATE_EPOCH="$MOMENT" KBUILD_BUILD_TIMESTAMP="@$MOMENT" \
    KBUILD_BUILD_USER=edgewright KBUILD_BUILD_HOST=edgewright \
    /usr/sbin/chroot "$tree" /bin/bash -euc '
        umask 022
        dkms add -m "$1" -v "$2"
        dkms build -j "$4" -m "$1" -v "$2" -k "$3"
    ' build "$DKMS_NAME" "$DKMS_VERSION" "$KERNEL" "$JOBS"
"""

SCRIPT = _SETUP + _RT_SETUP + _RUN
"""All that decides what a build does beside its packages: part of what names its result in the cache."""

_GNU = ("x86_64-linux-gnu", "aarch64-linux-gnu")
"""How GNU names the architectures that Edgewright knows, before a compiler's name."""

_RT_VARIABLES = "IGNORE_PREEMPT_RT_PRESENCE=1"
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]*")


@dataclass(frozen=True)
class Kernel:
    """A locked kernel: package, its version, release as `uname -r` says it, flavour `rt` or `generic`."""

    package: str
    version: str
    release: str
    flavour: str

    @classmethod
    def of(cls, entry: Mapping[str, str]) -> Kernel:
        """From the lock's words."""
        return cls(entry["package"], entry["version"], entry["release"], entry["flavour"])


@dataclass(frozen=True)
class Dkms:
    """What a source's dkms.conf says.

    Attributes:
        name: Its name for dkms.
        version: Its version.
        modules: How many modules it promises.
        directory: Where the sources lie, below the tree's root.
        moment: When the source was made, in seconds since 1970.
    """

    name: str
    version: str
    modules: int
    directory: str
    moment: int


def unpack(debs: Sequence[Mapping[str, Any]], store: BlobStore, tree: Path, say: Say) -> None:
    """Unpack packages into a directory, an empty one or one that this filled before.

    Args:
        debs: The lock's entries.
        store: Holds them.
        tree: The directory; made.
        say: Gets progress.

    Raises:
        IntegrityError: A package cannot be unpacked.
        MissingToolError: dpkg-deb or tar is not installed.
    """
    need("dpkg-deb", "tar")
    for name in _MERGED:
        (tree / "usr" / name).mkdir(parents=True, exist_ok=True)
        if not (tree / name).is_symlink():
            (tree / name).symlink_to(f"usr/{name}")
    say(f"unpacking {len(debs)} packages")
    for deb in debs:
        source = str(store.path(deb["sha256"]))
        with subprocess.Popen(
            ["dpkg-deb", "--fsys-tarfile", source], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as reader:
            done = subprocess.run(
                ["tar", "-x", "-C", str(tree), "--keep-directory-symlink", "--no-same-owner"],
                stdin=reader.stdout,
                capture_output=True,
                check=False,
            )
            told = reader.stderr.read() if reader.stderr else b""
        if reader.returncode != 0 or done.returncode != 0:
            said = (told or done.stderr).decode("utf-8", "replace").strip()[-300:]
            raise IntegrityError(f"unpacking {deb['filename']} into the tree for modules: {said}")


def read_dkms(tree: Path, source: str) -> Dkms:
    """Find and read the one dkms.conf that a source package brought.

    Args:
        tree: The unpacked tree.
        source: Name of the package, for messages.

    Raises:
        InputError: There is none, several, or it does not say its name and version plainly.
    """
    found = sorted(tree.glob("usr/src/*/dkms.conf"))
    if len(found) != 1:
        names = ", ".join(str(path.parent.name) for path in found) or "none"
        raise InputError(
            f"reading the sources of {source}: expected one usr/src/NAME/dkms.conf, found {names}; name a "
            "package with one module source for dkms as modules[].source"
        )
    text = found[0].read_text("utf-8", "replace")
    told = {}
    for key in ("PACKAGE_NAME", "PACKAGE_VERSION"):
        match = re.search(rf"^{key}=[\"']?([^\"'\s]+)[\"']?\s*$", text, re.MULTILINE)
        if match is None or not _WORD.fullmatch(match[1]):
            raise InputError(
                f"reading dkms.conf of {source}: expected a line {key}=WORD, got "
                f"{match[0] if match else 'none'}; this source cannot be built here"
            )
        told[key] = match[1]
    modules = len(set(re.findall(r"^BUILT_MODULE_NAME\[(\d+)\]", text, re.MULTILINE))) or 1
    return Dkms(
        told["PACKAGE_NAME"],
        told["PACKAGE_VERSION"],
        modules,
        str(found[0].parent.relative_to(tree)),
        int(found[0].stat().st_mtime),
    )


def check_compiler(tree: Path, kernel: Kernel) -> str:
    """Check that the tree has the kernel's headers and the very compiler that the kernel was built with.

    Returns:
        The compiler in the headers' words, such as `gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0`.

    Raises:
        InputError: The headers are another kernel's, or the compiler is not there.
    """
    config = tree / "usr/src" / f"linux-headers-{kernel.release}" / ".config"
    if not config.is_file():
        there = ", ".join(sorted(path.name for path in tree.glob("usr/src/linux-headers-*"))) or "none"
        raise InputError(
            f"building modules for {kernel.release}: the tree has no headers of this kernel (found: "
            f"{there}); "
            "lock the release anew, so that kernel and headers are of one version"
        )
    match = re.search(r'^CONFIG_CC_VERSION_TEXT="((\S+) .*)"$', config.read_text("utf-8"), re.MULTILINE)
    if match is None:
        raise InputError(f"building modules for {kernel.release}: its headers do not say which compiler")
    names = [match[2], *(f"{gnu}-{match[2]}" for gnu in _GNU)]
    if not any((tree / "usr/bin" / name).exists() for name in names):
        raise InputError(
            f"building modules for {kernel.release}: the kernel was built with {match[1]}, and the tree has "
            "no "
            f"usr/bin/{match[2]}; lock the release anew, so that its package {match[2]} is among the inputs"
        )
    return match[1]


def check_preemption(tree: Path, kernel: Kernel) -> None:
    """Check by the headers' configuration that they are PREEMPT_RT just where the kernel is.

    Raises:
        InputError: They are not, or tell nothing.
    """
    config = tree / "usr/src" / f"linux-headers-{kernel.release}" / ".config"
    text = config.read_text("utf-8") if config.is_file() else ""
    found = re.search(r"^CONFIG_PREEMPT_RT=y$", text, re.MULTILINE) is not None
    if not text or found != (kernel.flavour == "rt"):
        told = "PREEMPT_RT" if found else "another"
        raise InputError(
            f"building modules for {kernel.release}: the lock says flavour {kernel.flavour}, the "
            f"configuration in its headers {f'says {told}' if text else 'is missing'}; lock the release anew"
        )


def run_dkms(tree: Path, kernel: Kernel, dkms: Dkms, log: Path, say: Say) -> list[Path]:
    """Compile.

    Args:
        tree: The unpacked tree; root's files are in it afterwards (`remove_tree`).
        kernel: What for.
        dkms: What.
        log: Gets all output.
        say: Gets progress.

    Returns:
        The modules, unsigned and without debugging symbols, by name.

    Raises:
        EdgewrightError: It failed, or it ended well without the modules; with the last lines of its log.
        MissingToolError: A program is not installed.
    """
    doing = f"building {dkms.name} {dkms.version} for {kernel.release}"
    need("chroot", "setpriv", "unshare", "mount", "hostname")
    real_time = kernel.flavour == "rt"
    variables = {
        "DKMS_NAME": dkms.name,
        "DKMS_VERSION": dkms.version,
        "KERNEL": kernel.release,
        "JOBS": str(os.cpu_count() or 1),
        "MOMENT": str(dkms.moment),
        "VARIABLES": _RT_VARIABLES if real_time else "",
    }
    script = log.with_name("build.sh")
    lines = [f"{key}='{value}'" for key, value in variables.items()]
    script.write_text("\n".join([*lines, _SETUP + (_RT_SETUP if real_time else "") + _RUN]), encoding="utf-8")
    spaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "--kill-child"]
    argv = ["setpriv", "--pdeathsig", "KILL", "unshare", *spaces, "sh", str(script), str(tree)]

    inner = tree / "var/lib/dkms" / dkms.name / dkms.version

    def told(line: str) -> None:
        # os.walk, unlike a glob, does not mind what a compiler removes meanwhile.
        made = sum(len(files) for _, _, files in os.walk(inner / "build"))
        say(f"{line.split(',', maxsplit=1)[0]}, {made} files in its directory")

    try:
        run_logged(as_root(argv, doing), doing, log, told)
    except EdgewrightError as error:
        raise EdgewrightError(f"{error}{_make_log(inner)}") from error
    # dkms itself ends with status 0 or 77 where it skips a kernel: only the files count.
    made = sorted(inner.glob(f"{kernel.release}/*/module/*.ko*"))
    found = [_plain(path, log.with_name("modules")) for path in made]
    if len(found) < dkms.modules:
        names = ", ".join(path.name for path in found) or "none"
        raise EdgewrightError(
            f"{doing}: dkms ended with status 0, but of {dkms.modules} modules there are: {names}; the end "
            "of "
            f"its log:\n{tail(log)}{_make_log(inner)}"
        )
    return found


def _plain(module: Path, room: Path) -> Path:
    """A module as it was before dkms packed it, as newer ones do for a kernel whose own modules are packed.

    A signature is one of the plain bytes, and those do not hang on a version of xz.
    """
    if module.suffix == ".ko":
        return module
    if module.suffix not in {".gz", ".xz"}:
        raise EdgewrightError(
            f"reading {module.name}: expected .ko, .ko.xz or .ko.gz, dkms packed it otherwise; it cannot be "
            "shipped"
        )
    room.mkdir(exist_ok=True)
    target = room / module.stem
    try:
        data = module.read_bytes()
        target.write_bytes(lzma.decompress(data) if module.suffix == ".xz" else gzip.decompress(data))
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise EdgewrightError(f"unpacking {module.name} as dkms packed it: {error}") from error
    return target


def _make_log(inner: Path) -> str:
    """The end of the compiler's own words, which dkms keeps apart."""
    logs = sorted(inner.glob("**/make.log"))
    return f"\nthe end of make.log:\n{tail(logs[0])}" if logs else ""


def remove_tree(tree: Path) -> None:
    """Remove a tree with root's files in it."""
    if os.geteuid() != 0:
        shutil.rmtree(tree, ignore_errors=True)  # what root never touched takes no sudo
    if tree.exists():
        doing = "removing the tree for modules"
        run_quiet(as_root(["rm", "-rf", "--one-file-system", str(tree)], doing), doing)
