# SPDX-License-Identifier: Apache-2.0
"""From `modules:` to a lock's entry, with archives that are lists."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgewright.errors import InputError
from edgewright.modules.order import draft_modules, needed, order_modules
from edgewright.release.aptresolve import Deb
from edgewright.release.documents import read_release
from edgewright.release.targets import release_targets
from edgewright.release.yamlmarks import Marked, read_marked

KERNEL = {"package": "linux-image-1-rt", "version": "6.1-2", "release": "1-rt", "flavour": "rt"}
WAIVER = {"who": "Ada", "why": "line 3", "until": "2099-01-01"}
WISH = {"name": "nvidia", "flavour": "proprietary", "source": "driver-dkms", "driver": "535.1"}


def deb(name: str, version: str = "535.1-1", **fields: str) -> Deb:
    told = {"Package": name, "Version": version, **fields}
    stanza = "\n".join(f"{key}: {value}" for key, value in told.items())
    return Deb(
        name, version, "amd64", f"{name}.deb", f"archive:debian/{name}.deb", 1, "a" * 64, "tiny", stanza
    )


class Room:
    """As `AptRoom`, for these packages."""

    def __init__(self, *debs: Deb) -> None:
        self.debs = {each.name: each for each in debs}
        self.asked: list[str] = []

    def has(self, name: str) -> bool:
        return name in self.debs

    def newest(self, name: str) -> Deb:
        if name not in self.debs:
            raise InputError(f"resolving {name}: no such package")
        return self.debs[name]

    def providers(self, name: str) -> list[Deb]:
        return [each for each in self.debs.values() if f"Provides: {name}" in each.stanza]

    def resolve(self, names: Iterable[str]) -> list[Deb]:
        self.asked = list(names)
        return [deb("linux-headers-1-rt", "6.1-2"), deb("gcc", "12")]


SOURCE = deb(
    "driver-dkms",
    Source="driver",
    Provides="kernel-535.1, kernel-dkms-any (= 535.1)",
    Depends="firmware (= 535.1) | firmware-535.1, support--v1, dkms (>= 3), common (>= 2)",
)
SUPPORT = deb("support", Source="driver", Provides="support--v1")
FIRMWARE, COMMON = deb("firmware", Source="driver"), deb("common", "7")


def release(**changes: Any) -> Marked:
    content = {
        "os": {"family": "debian", "suite": "tiny", "arch": "amd64", "kernel": "k"},
        "apt": {"sources": [], "packages": [], "bootstrap": []},
        "python": {"version": "3.11", "platforms": [], "requirements": []},
        "images": {"runtime": {"name": "runtime", "debs": []}, "models": []},
        "nvidia": {"rt_waiver": WAIVER},
        "modules": [WISH],
    } | changes
    return read_marked(yaml.safe_dump(content, sort_keys=False).encode(), Path("release.yml"))


def order(
    room: Room, marked: Marked, kernel: dict[str, str] = KERNEL, held: Any = None
) -> list[dict[str, Any]]:
    drafts = draft_modules(room, marked, release_targets(marked.content)[0])  # type: ignore[arg-type]
    closure = [SUPPORT, FIRMWARE, COMMON]
    return order_modules(room, drafts, marked, kernel, closure, held or {})  # type: ignore[arg-type]


def test_an_entry_names_kernel_driver_inputs_and_what_devices_need() -> None:
    room = Room(SOURCE, SUPPORT, FIRMWARE, COMMON)
    (entry,) = order(room, release())
    assert entry["needs"] == ["common (>= 2)", "firmware (= 535.1-1)", "support (= 535.1-1)"]
    assert entry["provides"] == ["kernel-535.1"]
    assert entry["package"] == "edgewright-nvidia-modules-1-rt"
    assert entry["version"] == "535.1+6.1.2-1"
    assert entry["rt_waiver"] == WAIVER
    assert [each["name"] for each in entry["debs"]] == ["driver-dkms", "gcc", "linux-headers-1-rt"]
    assert "linux-headers-1-rt=6.1-2" in room.asked, "headers of the kernel's own version"
    assert (entry["sha256"], entry["size"]) == ("", 0)


def test_apt_sees_the_package_to_come_as_installed() -> None:
    marked = release()
    room: Any = Room(SOURCE, SUPPORT, FIRMWARE, COMMON)
    (draft,) = draft_modules(room, marked, release_targets(marked.content)[0])
    assert needed([draft]) == ["common", "firmware", "support"]
    assert "Provides: kernel-535.1\n" in draft.stand_in.stanza
    assert "Conflicts: driver-dkms" in draft.stand_in.stanza


def test_a_release_without_modules_and_a_further_target_order_nothing() -> None:
    marked = release(modules=[])
    assert order(Room(), marked) == []
    marked = release(targets=[{"suite": "tiny", "arch": "arm64", "kernel": "k"}])
    room: Any = Room()
    assert draft_modules(room, marked, release_targets(marked.content)[1]) == []


def test_a_further_target_orders_for_its_own_architecture_and_kernel() -> None:
    target = {"suite": "tiny", "arch": "arm64", "kernel": "k"}
    wishes = [WISH, {**WISH, "driver": "536.1", "source": "other-dkms", "arches": ["arm64"]}]
    marked = release(targets=[target], modules=wishes)
    room: Any = Room(deb("other-dkms", "536.1-1", Source="driver"))
    (draft,) = draft_modules(room, marked, release_targets(marked.content)[1])
    assert (draft.number, draft.arch) == (1, "arm64")
    (made,) = order_modules(room, [draft], marked, {**KERNEL, "release": "2-rt"}, [], {})
    assert (made["arch"], made["kernel"]["release"]) == ("arm64", "2-rt")
    assert made["filename"].endswith("-2-rt_536.1+6.1.2-1_arm64.deb")


def test_another_driver_than_the_release_names_is_refused_with_its_line() -> None:
    room = Room(deb("driver-dkms", "535.2-1"))
    with pytest.raises(
        InputError, match=r"release\.yml:\d+: .*expected driver 535\.1, the sources have driver-dkms 5"
    ):
        order(room, release())
    with pytest.raises(InputError, match="no such package"):
        order(Room(), release())


@pytest.mark.parametrize(
    "more",
    [[], [deb("one", Provides="support--v1"), deb("two", Provides="support--v1")]],
    ids=["nobody", "several of other sources"],
)
def test_what_nobody_or_several_provide_is_refused_by_name(more: list[Deb]) -> None:
    with pytest.raises(InputError, match=r"release\.yml:\d+: driver-dkms needs 'support--v1' on devices"):
        order(Room(SOURCE, FIRMWARE, COMMON, *more), release())


def test_preempt_rt_without_a_waiver_is_refused_and_another_kernel_needs_none() -> None:
    room = Room(SOURCE, SUPPORT, FIRMWARE, COMMON)
    with pytest.raises(
        InputError, match=r"release\.yml:\d+: modules nvidia for the PREEMPT_RT kernel 1-rt: .*waiver"
    ):
        order(room, release(nvidia={}))
    (entry,) = order(room, release(nvidia={}), {**KERNEL, "flavour": "generic"})
    assert "rt_waiver" not in entry


def test_a_held_entry_that_still_fits_stays_and_one_of_another_kernel_does_not() -> None:
    room = Room(SOURCE, SUPPORT, FIRMWARE, COMMON)
    (entry,) = order(room, release())
    locked = {**entry, "sha256": "b" * 64, "size": 9, "debs": entry["debs"][:1]}
    assert order(room, release(), held={"nvidia": locked}) == [locked]
    (moved,) = order(room, release(), {**KERNEL, "version": "6.1-3"}, held={"nvidia": locked})
    assert (moved["sha256"], len(moved["debs"])) == ("", 3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"flavour": "closed"}, "flavour: proprietary or open"),
        ({"driver": 535.1}, "driver: its version in quotes"),
        ({"name": "other"}, "expected 'nvidia', got 'other'"),
        ({"revision": 0}, "revision: raised to ship the same modules anew"),
        ({"colour": "red"}, "unknown key 'colour'"),
    ],
)
def test_a_wish_that_is_wrong_is_told_with_its_line(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    example = Path(__file__).parents[3] / "releases/label-reader/release.yml"
    (tmp_path / "release.yml").write_text(
        example.read_text() + yaml.safe_dump({"modules": [{**WISH, **change}]})
    )
    with pytest.raises(InputError, match=rf"release\.yml:\d+: modules\[0\].*{said}"):
        read_release(tmp_path)
