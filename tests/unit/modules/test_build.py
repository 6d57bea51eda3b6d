# SPDX-License-Identifier: Apache-2.0
"""What is checked around a build, and the cache: whole or not there."""

from __future__ import annotations

import fcntl
import json
import platform
from pathlib import Path
from typing import Any

import pytest

from edgewright.depot.blobs import BlobStore
from edgewright.errors import EdgewrightError, InputError, IntegrityError, MissingToolError
from edgewright.modules import build as under_test
from edgewright.modules.build import build_key, build_modules, check_headers, check_modules, control_fields
from edgewright.modules.tree import Kernel
from tests.unit.modules.tiny import RELEASE, entry, tiny_module

MAGIC = f"vermagic={RELEASE} SMP preempt_rt mod_unload modversions "
KERNEL = Kernel.of(entry()["kernel"])


def test_modules_tell_what_they_are() -> None:
    modules = {
        "b.ko": tiny_module(MAGIC, "license=NVIDIA", "depends="),
        "a.ko": tiny_module(MAGIC, "license=Dual MIT/GPL", "depends=drm,b"),
    }
    told = check_modules(modules, KERNEL, "nvidia-current", "proprietary")
    assert list(told) == ["a.ko", "b.ko"]
    assert told["a.ko"]["depends"] == ["drm", "b"]
    assert told["b.ko"]["vermagic"] == f"{RELEASE} SMP preempt_rt mod_unload modversions"


@pytest.mark.parametrize(
    ("told", "flavour", "said"),
    [
        (
            ("vermagic=6.1.0-50-rt-amd64 SMP preempt_rt ", "license=NVIDIA"),
            "proprietary",
            "its vermagic says 6.1",
        ),
        (("license=NVIDIA",), "proprietary", "its vermagic says nothing"),
        ((f"vermagic={RELEASE} SMP mod_unload ", "license=NVIDIA"), "proprietary", "of flavour rt"),
        ((MAGIC, "license=NVIDIA"), "open", "expected the open flavour, their licences are NVIDIA"),
        ((MAGIC, "license=Dual MIT/GPL"), "proprietary", "expected the proprietary flavour"),
    ],
    ids=["another kernel", "no vermagic", "not RT", "not open", "not proprietary"],
)
def test_modules_of_another_kernel_or_flavour_are_refused(
    told: tuple[str, ...], flavour: str, said: str
) -> None:
    with pytest.raises(IntegrityError, match=said):
        check_modules({"a.ko": tiny_module(*told)}, KERNEL, "nvidia-current", flavour)


@pytest.mark.parametrize(
    ("words", "flavour", "fits"),
    [
        ("SMP preempt_rt mod_unload", "rt", True),
        ("SMP preempt mod_unload", "rt", True),  # Debian 13's 6.12 real-time kernel, which has PREEMPT_BUILD
        ("SMP mod_unload", "rt", False),
        ("SMP preempt mod_unload", "generic", True),
        ("SMP mod_unload", "generic", True),
        ("SMP preempt_rt mod_unload", "generic", False),
    ],
)
def test_a_vermagic_tells_the_flavour_where_it_can(words: str, flavour: str, fits: bool) -> None:
    assert under_test._fits(words.split(), flavour) is fits


@pytest.mark.parametrize("version", ["6.1.176-1", None], ids=["other", "none"])
def test_headers_of_another_version_are_refused(version: str | None) -> None:
    changed = entry()
    changed["debs"] = [] if version is None else [{**changed["debs"][0], "version": version}]
    with pytest.raises(
        InputError, match=rf"linux-headers-{RELEASE} must be 6\.1\.192-2, got {version or 'none'}"
    ):
        check_headers(changed)


def test_the_package_depends_on_exactly_this_kernel_and_driver() -> None:
    fields = control_fields(entry(), "")
    assert fields["Depends"] == (
        f"linux-image-{RELEASE} (= 6.1.192-2), nvidia-kernel-support (= 535.309.01-0+deb12u1)"
    )
    assert fields["Conflicts"] == "nvidia-kernel-dkms"
    assert "They are not signed." in fields["Description"]
    assert "signed by the key with certificate sha256 abc" in control_fields(entry(), "abc")["Description"]


def test_the_key_is_of_all_that_decides_and_of_nothing_else() -> None:
    key = build_key(entry())
    assert build_key(entry(sha256="c" * 64, size=9, rt_waiver=None)) == key
    other = {**entry()["debs"][0], "sha256": "d" * 64}
    for change in ({"debs": [other]}, {"driver": "1"}, {"needs": []}, {"version": "2"}, {"flavour": "open"}):
        assert build_key(entry(**change)) != key


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A cache of its own, and a build that only writes a file; `built` counts them."""
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(tmp_path))
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    built: list[Path] = []

    def made(_entry: Any, _store: Any, work: Path) -> Path:
        built.append(work)
        target = work / "made.deb"
        target.write_bytes(b"package")
        return target

    monkeypatch.setattr(under_test, "_build", made)
    return built


def test_a_build_is_made_once_and_leaves_nothing_but_its_result(place: list[Path], tmp_path: Path) -> None:
    store = BlobStore()
    first = build_modules(entry(), store)
    again = build_modules(entry(), store)
    assert (first.cached, again.cached, len(place)) == (False, True, 1)
    assert (first.sha256, first.size) == (again.sha256, 7)
    assert store.path(first.sha256).read_bytes() == b"package"
    names = sorted(path.name for path in (tmp_path / "modules").iterdir())
    assert names == [f".{build_key(entry())}.lock", f"{build_key(entry())}.json"]


@pytest.mark.parametrize("damage", ["note", "empty note", "package", "cut package", "no package"])
def test_a_half_built_or_damaged_cache_builds_again(place: list[Path], tmp_path: Path, damage: str) -> None:
    store = BlobStore()
    built = build_modules(entry(), store)
    note = tmp_path / "modules" / f"{build_key(entry())}.json"
    package = store.path(built.sha256)
    {
        "note": lambda: note.write_text('{"sha256":'),
        "empty note": lambda: note.write_text(json.dumps({})),
        "package": lambda: package.write_bytes(b"PACKAGE"),
        "cut package": lambda: package.write_bytes(b"pack"),
        "no package": package.unlink,
    }[damage]()
    assert build_modules(entry(), store).cached is False
    assert store.path(built.sha256).read_bytes() == b"package"
    assert build_modules(entry(), store).cached is True


def test_what_a_killed_build_left_goes_and_a_running_one_stays(place: list[Path], tmp_path: Path) -> None:
    modules = tmp_path / "modules"
    for name in (f".{build_key(entry())}.a.work", ".dead.b.work", ".busy.c.work"):
        (modules / name / "tree").mkdir(parents=True)
    with (modules / ".busy.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        build_modules(entry(), BlobStore())
    assert [path.name for path in modules.glob(".*.work")] == [".busy.c.work"]


def test_a_build_that_fails_leaves_nothing(
    place: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_entry: Any, _store: Any, work: Path) -> Path:
        (work / "tree/usr").mkdir(parents=True)
        raise EdgewrightError("building: no")

    monkeypatch.setattr(under_test, "_build", failing)
    with pytest.raises(EdgewrightError, match="building: no"):
        build_modules(entry(), BlobStore())
    assert not [path for path in (tmp_path / "modules").iterdir() if not path.name.endswith(".lock")]


def test_another_architectures_modules_are_not_built_here(
    place: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with pytest.raises(MissingToolError, match="its compiler is one of amd64, this host is arm64"):
        build_modules(entry(), BlobStore())
    assert not place
