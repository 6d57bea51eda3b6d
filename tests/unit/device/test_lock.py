# SPDX-License-Identifier: Apache-2.0
"""The lock as areas see it: read, or refused with the place of the fault."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from edgewright.device.lock import for_target, load_lock, parse_lock
from edgewright.errors import InputError

SHA = "0" * 63 + "1"
GOOD = {
    "schema": "edgewright.lock/v1",
    "release": {"name": "label-reader", "version": "1.0.0", "sha256": SHA},
    "os": {"family": "debian", "suite": "bookworm", "arch": "amd64"},
    "kernel": {
        "package": "linux-image-6.1.0-56-rt-amd64",
        "version": "6.1.180-1",
        "release": "6.1.0-56-rt-amd64",
        "flavour": "rt",
    },
    "apt": {
        "packages": [
            {
                "name": "openssl",
                "version": "3",
                "arch": "amd64",
                "filename": "openssl_3_amd64.deb",
                "sha256": SHA,
            }
        ]
    },
    "python": {"wheels": []},
    "images": [{"role": "runtime", "name": "edgewright/runtime", "digest": f"sha256:{SHA}"}],
}


def _without(*path: str | int) -> str:
    lock = yaml.safe_load(yaml.safe_dump(GOOD))
    part = lock
    for step in path[:-1]:
        part = part[step]
    del part[path[-1]]
    return yaml.safe_dump(lock)


def test_a_lock_is_given_out_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "release.lock.yml"
    path.write_text(yaml.safe_dump(GOOD), encoding="utf-8")
    assert load_lock(path) == GOOD


STACK = {
    "profile": "x86_t4",
    "target": "bookworm/amd64",
    "chosen": {"arch": "amd64", "suite": "bookworm", "kernel-flavour": "rt"},
    "waiver": {"who": "Ada", "why": "the line", "until": "2027-06-30"},
}


def _with_stack(**changes: object) -> str:
    return yaml.safe_dump({**GOOD, "nvidia": [{**STACK, **changes}]})


def test_a_lock_with_an_nvidia_stack_is_given_out_as_it_is() -> None:
    assert parse_lock(_with_stack(), "x")["nvidia"] == [STACK]
    assert parse_lock(_with_stack(waiver=None), "x")["nvidia"][0]["waiver"] is None


BAD = {
    "NVIDIA no list": (yaml.safe_dump({**GOOD, "nvidia": {}}), "nvidia: expected a list, got dict"),
    "NVIDIA of no profile": (_with_stack(profile=""), "nvidia[0]: profile: expected text, got ''"),
    "nothing chosen": (_with_stack(chosen=None), "nvidia[0]: chosen: expected a mapping with arch"),
    "a version that is a number": (
        _with_stack(chosen={**STACK["chosen"], "cuda": 12.2}),  # type: ignore[dict-item]
        "nvidia[0]: chosen: cuda: expected text, got 12.2",
    ),
    "a waiver cut out": (
        yaml.safe_dump({**GOOD, "nvidia": [{k: v for k, v in STACK.items() if k != "waiver"}]}),
        "nvidia[0]: waiver: expected a mapping with who, why, until, got str",
    ),
    "a waiver without a name": (
        _with_stack(waiver={"why": "x", "until": "2027-06-30"}),
        "nvidia[0]: waiver: who: expected text, got None",
    ),
    "a waiver until no day": (
        _with_stack(waiver={"who": "x", "why": "x", "until": "2027-02-30"}),
        "nvidia[0]: waiver: until: expected a day such as 2027-06-30, got '2027-02-30'",
    ),
    "not YAML": ("a: [", "is not YAML"),
    "cut short": (yaml.safe_dump(GOOD)[:60], "expected"),
    "empty": ("", "expected a mapping of keys, got NoneType"),
    "other schema": (yaml.safe_dump({**GOOD, "schema": "edgewright.lock/v9"}), "got 'edgewright.lock/v9'"),
    "no kernel": (
        _without("kernel"),
        "kernel: expected a mapping with package, version, release, flavour, got nothing",
    ),
    "kernel without release": (_without("kernel", "release"), "kernel: release: expected text, got None"),
    "no packages": (_without("apt", "packages"), "apt.packages: expected a list, got nothing"),
    "no apt": (_without("apt"), "apt.packages: expected a list, got nothing"),
    "package without digest": (
        _without("apt", "packages", 0, "sha256"),
        "apt.packages[0]: sha256: expected text",
    ),
    "image without digest": (_without("images", 0, "digest"), "images[0]: digest: expected text, got None"),
    "images a mapping": (yaml.safe_dump({**GOOD, "images": {}}), "images: expected a list, got dict"),
    "package a text": (
        yaml.safe_dump({**GOOD, "apt": {"packages": ["openssl"]}}),
        "apt.packages[0]: expected a mapping with name",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_lock_is_refused_with_the_place_of_the_fault(case: str) -> None:
    text, part = BAD[case]
    with pytest.raises(InputError) as caught:
        parse_lock(text, "releases/x/release.lock.yml")
    assert str(caught.value).startswith("lock releases/x/release.lock.yml")
    assert part in str(caught.value)
    assert "edgewright release lock" in str(caught.value)


def test_a_lock_that_is_not_there_is_told_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_lock(tmp_path / "release.lock.yml")
    assert "does not exist" in str(caught.value)
    assert f"edgewright release lock {tmp_path}" in str(caught.value)


def test_a_directory_is_not_a_lock(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is a directory: name the file, such as .*release\.lock\.yml"):
        load_lock(tmp_path)


def test_bytes_are_not_a_lock(tmp_path: Path) -> None:
    (tmp_path / "lock").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        load_lock(tmp_path / "lock")


def _image(arch: str) -> dict[str, str]:
    return {"role": "runtime", "name": "edgewright/runtime", "digest": arch, "platform": f"linux/{arch}"}


def _part(suite: str, arch: str) -> dict[str, object]:
    return {
        "os": {"suite": suite, "arch": arch}, "kernel": {"release": f"{suite}-{arch}"},
        "apt": {"packages": []}, "python": {"wheels": []},
    }  # fmt: skip


SEVERAL = {
    **GOOD,
    "targets": [_part("bookworm", "arm64"), _part("trixie", "arm64")],
    "images": [_image("amd64"), _image("arm64")],
}


@pytest.mark.parametrize(
    ("arch", "suite", "kernel"),
    [
        ("amd64", None, "6.1.0-56-rt-amd64"),
        ("amd64", "bookworm", "6.1.0-56-rt-amd64"),
        ("arm64", "bookworm", "bookworm-arm64"),
        ("arm64", "trixie", "trixie-arm64"),
    ],
)
def test_a_device_sees_its_own_target_and_images(arch: str, suite: str | None, kernel: str) -> None:
    seen = for_target(SEVERAL, arch, suite)
    assert seen["kernel"]["release"] == kernel
    assert [image["digest"] for image in seen["images"]] == [arch]
    assert "targets" not in seen


def test_a_lock_of_one_target_is_left_as_it_is() -> None:
    assert for_target(GOOD, "arm64") is GOOD


@pytest.mark.parametrize(("arch", "suite"), [("riscv64", "bookworm"), ("arm64", "sid"), ("arm64", None)])
def test_a_device_that_no_target_is_for_is_told(arch: str, suite: str | None) -> None:
    told = (
        f"expected a target {suite or 'of any suite'} on {arch}, it has bookworm on amd64, bookworm on arm64"
    )
    with pytest.raises(InputError, match=told):
        for_target(SEVERAL, arch, suite)
