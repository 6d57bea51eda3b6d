# SPDX-License-Identifier: Apache-2.0
"""What a device pays for kernel modules: the shipped package against compiling there with DKMS.

Both ways begin with the same tree: the locked kernel unpacked, no driver. Both end where depmod has the
modules in its list. No device is needed: it is a chroot tree on this host, and the page says so. dpkg's own
bookkeeping is in neither way; fetching is told in bytes, not in time. Writes
`benchmarks/RESULTS-modules.md`. Takes root.

    python benchmarks/modules.py
"""

from __future__ import annotations

import argparse
import datetime
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.run import machine  # noqa: E402  the path above makes it importable
from edgewright.depot.blobs import BlobStore  # noqa: E402
from edgewright.modules.build import module_directory  # noqa: E402
from edgewright.modules.ship import fetch_inputs  # noqa: E402
from edgewright.modules.tree import Kernel, read_dkms, remove_tree, run_dkms, unpack  # noqa: E402
from edgewright.paths import cache_dir  # noqa: E402
from edgewright.twin.tools import say_print  # noqa: E402
from tests.integration.modules_site import real_modules  # noqa: E402

RESULTS = ROOT / "benchmarks" / "RESULTS-modules.md"


@dataclass(frozen=True)
class Cost:
    """One way: wall and CPU in seconds, bytes to fetch, bytes that stay on the device."""

    wall_s: float
    cpu_s: float
    fetched: int
    kept: int


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _bytes(tree: Path) -> int:
    return sum(path.lstat().st_size for path in tree.rglob("*") if path.is_file() and not path.is_symlink())


def measure(tree: Path, fetched: int, action: Callable[[], object]) -> Cost:
    """Run one way in a tree and return what it cost."""
    before, cpu, begun = _bytes(tree), _cpu_s(), time.monotonic()
    action()
    wall, used = time.monotonic() - begun, _cpu_s() - cpu
    return Cost(wall, used, fetched, _bytes(tree) - before)


def depmod(tree: Path, kernel: Kernel, expected: str) -> None:
    """List the modules as the package's script does, and check that the driver is among them."""
    subprocess.run([shutil.which("chroot") or "/usr/sbin/chroot", tree, "depmod", kernel.release], check=True)
    listed = (tree / "lib/modules" / kernel.release / "modules.dep").read_text("utf-8")
    if f"{expected}/nvidia-current.ko:" not in listed:
        raise SystemExit(f"depmod does not list {expected}/nvidia-current.ko: nothing to measure")


def report(ways: Mapping[str, Cost], entry: Mapping[str, Any]) -> str:
    """The page of results, as Markdown."""
    package, dkms = ways["package"], ways["dkms"]

    def row(name: str, one: float, other: float, digits: int = 1) -> str:
        return f"| {name} | {one:.{digits}f} | {other:.{digits}f} | {other / max(one, 0.01):.0f} |"

    return "\n".join(
        [
            "# Results: kernel modules",
            "",
            f"* Date: {datetime.datetime.now(datetime.UTC).date().isoformat()}",
            f"* Machine: {machine()}",
            "* Command: `python benchmarks/modules.py`, as `make bench` runs it",
            f"* What: {entry['source']['name']} {entry['source']['version']} for "
            f"{entry['kernel']['package']} {entry['kernel']['version']}",
            "* Where: a chroot tree on this host, not a device; from no driver to modules in depmod's list",
            f"* Load average at the end: {os.getloadavg()[1]:.1f}; a busy host stretches wall times",
            "",
            "| | shipped package | DKMS on the device | DKMS / package |",
            "|---|---|---|---|",
            row("wall, s", package.wall_s, dkms.wall_s),
            row("CPU, s", package.cpu_s, dkms.cpu_s),
            row("to fetch, MB", package.fetched / 1e6, dkms.fetched / 1e6),
            row("more on the disk, MB", package.kept / 1e6, dkms.kept / 1e6),
            "",
            "Both unpack what they need into the same tree and run depmod; dpkg's bookkeeping is in neither.",
            "The package pays the compiler's time once, on the build host, for all devices.",
            "",
        ]
    )


def main() -> int:
    """Measure and write the page."""
    argparse.ArgumentParser(description="Measure shipped kernel modules against DKMS.").parse_args()
    order, entry = real_modules()
    store, kernel = BlobStore(), Kernel.of(entry["kernel"])
    image = [deb.entry() for deb in order.closure if deb.name == kernel.package]
    fetch_inputs({"debs": [*entry["debs"], *image]}, store)
    ways: dict[str, Cost] = {}
    (cache_dir() / "modules").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".bench.", dir=cache_dir() / "modules") as name:
        tools = [deb for deb in entry["debs"] if _is_base(deb["name"])]
        for way in ("package", "dkms"):
            tree = Path(name) / way
            try:
                unpack([*image, *tools], store, tree, say_print)
                ways[way] = _measure(way, tree, entry, store, kernel, tools)
                print(f"bench: {way}: {ways[way]}", flush=True)
            finally:
                remove_tree(tree)
    page = report(ways, entry)
    RESULTS.write_text(page, encoding="utf-8")
    print(page)
    return 0


def _measure(  # noqa: PLR0917 - each is another part of what is measured
    way: str,
    tree: Path,
    entry: Mapping[str, Any],
    store: BlobStore,
    kernel: Kernel,
    tools: Sequence[Mapping[str, Any]],
) -> Cost:
    if way == "package":

        def ship() -> None:
            subprocess.run(["dpkg-deb", "-x", store.path(entry["sha256"]), tree / "new"], check=True)
            source = tree / "new/lib/modules" / kernel.release / "updates"
            source.rename(tree / "usr/lib/modules" / kernel.release / "updates")
            depmod(tree, kernel, module_directory(kernel.release).split("/", 3)[3])

        return measure(tree, entry["size"], ship)

    more = [deb for deb in entry["debs"] if deb not in tools]

    def compile_here() -> None:
        unpack(more, store, tree, say_print)
        dkms = read_dkms(tree, entry["source"]["name"])
        found = run_dkms(tree, kernel, dkms, tree.parent / "build.log", say_print)
        target = tree / "usr/lib/modules" / kernel.release / "updates/dkms"
        target.mkdir(parents=True)
        for path in found:
            shutil.copyfile(path, target / path.name)
        depmod(tree, kernel, "updates/dkms")

    return measure(tree, sum(deb["size"] for deb in more), compile_here)


_COMPILING = (
    *("binutils", "cpp", "dkms", "dpkg-dev", "gcc", "libasan", "libbinutils", "libcc1", "libctf", "libdpkg"),
    *(
        "libgcc-12-dev",
        "libgprofng",
        "libisl",
        "libitm",
        "liblsan",
        "libmpc",
        "libmpfr",
        "libtsan",
        "libubsan",
    ),
    *(
        "linux-",
        "lsb-release",
        "make",
        "nvidia-",
        "patch",
        "perl-modules",
        "libquadmath",
        "libatomic",
        "libgomp",
    ),
)
"""Beginnings of names of what a device without DKMS does not have; the rest is on any Debian, or nearly."""


def _is_base(name: str) -> bool:
    return not name.startswith(_COMPILING)


if __name__ == "__main__":
    sys.exit(main())
