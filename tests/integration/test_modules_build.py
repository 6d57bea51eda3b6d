# SPDX-License-Identifier: Apache-2.0
"""Building for real against Debian's RT kernel: a tiny module, whose faults are cheap, and NVIDIA's driver.

The driver costs about 210 CPU seconds once; its package stays in the cache that every checkout shares.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from edgewright.bundle.keys import KeySet
from edgewright.bundle.verify import open_bundle
from edgewright.depot.blobs import BlobStore
from edgewright.depot.debfile import control_fields
from edgewright.errors import EdgewrightError
from edgewright.modules.build import build_modules
from edgewright.modules.debpack import Member, write_deb
from edgewright.modules.inspect import inspect_package
from edgewright.modules.ship import fetch_inputs, ship_modules
from edgewright.paths import cache_dir
from edgewright.release.documents import LOCK_FILE, dump_lock, load_lock
from tests.integration.modules_site import DRIVER, RELEASE, ordered, real_modules
from tests.unit.bundle.small_release import make_release
from tests.unit.modules.tiny import make_mok

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="the clean tree takes root"),
    pytest.mark.skipif(shutil.which("unshare") is None, reason="no unshare"),
]

_SOURCE = """#include <linux/module.h>
static int __init tiny_init(void) { pr_info("tiny: %s\\n", __FILE__); return 0; }
module_init(tiny_init);
MODULE_LICENSE("GPL");
"""
_CONF = """PACKAGE_NAME="tiny"
PACKAGE_VERSION="1.0"
BUILD_EXCLUSIVE_CONFIG="!CONFIG_PREEMPT_RT"
{more}
MAKE[0]="make -C /lib/modules/${{kernelver}}/build M=/var/lib/dkms/tiny/1.0/build modules"
CLEAN="true"
BUILT_MODULE_NAME[0]="tiny"
DEST_MODULE_LOCATION[0]="/updates/dkms"
"""


@functools.cache
def order() -> dict[str, Any]:
    """The real driver's order, whose tree of packages the tiny module is built in."""
    return ordered(RELEASE, Path("/nonexistent")).entry


def tiny(folder: Path, store: BlobStore, more: str = "") -> dict[str, Any]:
    """An entry for a tiny module, with its inputs in a store."""
    shared = BlobStore()
    real = order()
    fetch = [deb for deb in real["debs"] if not deb["name"].startswith("nvidia")]
    fetch_inputs({"debs": fetch}, shared)
    for deb in fetch:
        if not store.has(deb["sha256"]):
            os.link(shared.path(deb["sha256"]), store.path(deb["sha256"]))
    fields = {"Package": "tiny-dkms", "Version": "1.0-1", "Architecture": "all", "Maintainer": "T"}
    files = {
        "usr/src/tiny-1.0/dkms.conf": Member(_CONF.format(more=more).encode()),
        "usr/src/tiny-1.0/Makefile": Member(b"obj-m := tiny.o\n"),
        "usr/src/tiny-1.0/tiny.c": Member(_SOURCE.encode()),
    }
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "tiny.deb"
    write_deb(target, {**fields, "Description": "tiny"}, files, {}, 1_700_000_000)
    size = target.stat().st_size
    source = {"name": "tiny-dkms", "version": "1.0-1", "arch": "all", "filename": "tiny.deb", "size": size}
    source |= {"url": "archive:debian/tiny.deb", "sha256": store.put_file(target), "source": "tests"}
    return {
        **real,
        "flavour": "open",
        "driver": "1.0",
        "source": {"name": "tiny-dkms", "version": "1.0-1"},
        "debs": [*fetch, source],
    }


@pytest.fixture
def elsewhere(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`elsewhere()` goes to another empty cache, beside the shared one so that links reach there."""
    shared = cache_dir()
    made: list[Path] = []

    def go() -> BlobStore:
        place = shared / f".test-{tmp_path_factory.mktemp('x').name}-{os.getpid()}-{len(made)}"
        made.append(place)
        place.mkdir()
        monkeypatch.setenv("EDGEWRIGHT_CACHE", str(place))
        return BlobStore()

    yield go
    monkeypatch.undo()
    for place in made:
        shutil.rmtree(place, ignore_errors=True)


def prepared(elsewhere: Any, tmp_path: Path, more: str = "") -> Any:
    """An entry and the empty cache that holds nothing but its inputs."""
    shared = os.environ.get("EDGEWRIGHT_CACHE")
    order()
    store = elsewhere()
    here = os.environ["EDGEWRIGHT_CACHE"]
    with pytest.MonkeyPatch.context() as patch:
        if shared is None:
            patch.delenv("EDGEWRIGHT_CACHE")
        else:
            patch.setenv("EDGEWRIGHT_CACHE", shared)
        entry = tiny(tmp_path / "tiny", store, more)
    assert os.environ["EDGEWRIGHT_CACHE"] == here
    return entry, store


def test_a_kernel_that_the_source_refuses_gives_no_package(elsewhere: Any, tmp_path: Path) -> None:
    entry, store = prepared(elsewhere, tmp_path, more='BUILD_EXCLUSIVE_KERNEL="^5\\."')
    with pytest.raises(EdgewrightError, match=r"building tiny 1\.0 for .*-rt-amd64: .*"):
        build_modules(entry, store)
    assert not list((cache_dir() / "modules").glob("*.json"))


_KILLED = """
import json, sys
from edgewright.bundle.keys import KeySet
from edgewright.bundle.verify import open_bundle
from edgewright.depot.blobs import BlobStore
from edgewright.modules.build import build_modules
build_modules(json.loads(sys.stdin.read()), BlobStore())
"""


def test_killed_builds_are_taken_up_again_and_two_places_then_give_the_same_bytes(
    elsewhere: Any, tmp_path: Path
) -> None:
    """For a kernel that dkms would skip: the tiny module's settings have Debian's gate before PREEMPT_RT."""
    entry, store = prepared(elsewhere, tmp_path)
    place = cache_dir() / "modules"
    with subprocess.Popen([sys.executable, "-c", _KILLED], stdin=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(entry))
        process.stdin.close()
        while process.poll() is None and not list(place.glob(".*.work/tree/var/lib/dkms/tiny")):
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    (left,) = place.glob(".*.work")
    for _ in range(100):
        if not _running_below(left):
            break
        time.sleep(0.1)
    assert not _running_below(left), "what the build had started goes with it"
    first = build_modules(entry, store)
    assert first.cached is False
    assert not list(place.glob(".*.work"))
    lines = inspect_package(store.path(first.sha256))
    assert "preempt_rt" in lines[1]
    assert lines[1].endswith("; not signed")

    entry, store = prepared(elsewhere, tmp_path)
    _killed_while_bundling({**entry, "sha256": first.sha256, "size": first.size}, tmp_path)
    second = build_modules(entry, store)
    assert (second.cached, second.sha256) == (True, first.sha256)


_BUNDLE = """
import sys
from pathlib import Path
from edgewright.bundle.build import build_bundle
from edgewright.bundle.keys import KeySet
build_bundle(Path(sys.argv[1]), Path(sys.argv[2]), KeySet.open(Path(sys.argv[3])))
"""


def _killed_while_bundling(entry: dict[str, Any], tmp_path: Path) -> None:
    """A bundle's build that finds the sources alone is killed while it compiles; the next one finishes.

    It refuses any other package than the lock's.
    """
    release, keys = make_release(tmp_path / "release"), tmp_path / "keys"
    lock, _ = load_lock(release)
    (release / LOCK_FILE).write_bytes(dump_lock({**lock, "kernel": entry["kernel"], "modules": [entry]}))
    made = KeySet.develop(keys)
    make_mok(keys)
    command = [sys.executable, "-c", _BUNDLE, str(release), str(tmp_path / "stick"), str(keys)]
    place = cache_dir() / "modules"
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not list(place.glob(".*.work/tree/var/lib/dkms/tiny")):
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "stick/metadata/timestamp.json").exists(), "half a bundle is none"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not list(place.glob(".*.work"))
    with open_bundle(tmp_path / "stick", tmp_path / "trust", fingerprint=made.fingerprint) as bundle:
        bundle.check_all()
        assert f"apt/pool/{entry['filename']}" in bundle.index.depot


def _running_below(tree: Path) -> list[str]:
    found = []
    for root in Path("/proc").glob("[0-9]*/root"):
        try:
            found += [str(root)] if str(tree) in str(root.readlink()) else []
        except OSError:
            continue
    return found


def test_the_real_driver_is_built_packed_and_signed(tmp_path: Path) -> None:
    found, entry = real_modules()
    store = BlobStore()
    deb = store.path(entry["sha256"])
    fields = control_fields(deb)
    assert f"Depends: {found.kernel['package']} (= {found.kernel['version']}), " in fields
    assert f"nvidia-kernel-support (= {entry['source']['version']})" in fields
    assert f"Provides: nvidia-kernel-{DRIVER}\n" in fields
    names = {each.name for each in found.closure}
    assert "nvidia-kernel-support" in names
    assert not names & {"dkms", "gcc", "make", "nvidia-kernel-dkms"}, "no compiler goes to devices"
    lines = inspect_package(deb)
    assert len(lines) == 6
    assert all("preempt_rt" in line and line.endswith("not signed") for line in lines[1:])
    key, certificate = make_mok(tmp_path)
    (shipped,) = ship_modules({"modules": [entry]}, store, key.parent)
    signed = inspect_package(store.path(shipped["sha256"]), certificate)
    assert all(line.endswith("signature right") for line in signed[1:])
    store.path(shipped["sha256"]).unlink()
    assert build_modules(entry, store).cached is True


def test_user_space_finds_its_modules_without_a_compiler(tmp_path: Path) -> None:
    """Debian's nvidia-driver asks for modules of its version; the package to come answers, dkms stays out."""
    found = ordered(RELEASE, tmp_path, ["nvidia-driver"])
    names = {each.name for each in found.closure}
    assert "nvidia-driver" in names
    assert not names & {"dkms", "gcc", "nvidia-kernel-dkms"}
