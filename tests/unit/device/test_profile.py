# SPDX-License-Identifier: Apache-2.0
"""Hardware profiles: read, looked up, refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgewright.device.profile import (
    carried_profiles,
    known_profiles,
    load_profile,
    missing_profile,
    parse_profile,
)
from edgewright.errors import InputError

GOOD = """
schema: edgewright.profile/v1
description: a box
arch: arm64
cpus: 8
memory_mib: 16384
boot: extlinux
gpu: tegra
power_modes: [MAXN, 15W]
"""


def test_a_profile_is_read_whole() -> None:
    profile = parse_profile("orin", GOOD, "orin.yml")
    assert profile.as_dict() == {
        "name": "orin",
        "arch": "arm64",
        "cpus": 8,
        "memory_mib": 16384,
        "boot": "extlinux",
        "gpu": "tegra",
        "power_modes": ["MAXN", "15W"],
        "description": "a box",
    }


@pytest.mark.parametrize("path", sorted(carried_profiles().glob("*.yml")), ids=lambda path: path.stem)
def test_every_carried_profile_is_valid(path: Path) -> None:
    assert load_profile(path.stem, [carried_profiles()]).name == path.stem


def test_the_vm_twin_is_a_device_of_four_cpus_without_gpu() -> None:
    profile = load_profile("x86_vm", [carried_profiles()])
    assert (profile.arch, profile.cpus, profile.boot, profile.gpu, profile.power_modes) == (
        "amd64",
        4,
        "grub",
        "none",
        (),
    )


BAD = {
    "unknown key": (GOOD + "cpu: 8\n", ["unknown key cpu", "did you mean cpus?"]),
    "missing key": (GOOD.replace("arch: arm64\n", ""), ["missing arch"]),
    "other schema": (
        GOOD.replace("/v1", "/v2"),
        ["expected schema: edgewright.profile/v1", "'edgewright.profile/v2'"],
    ),
    "no schema": ("arch: amd64\n", ["expected schema", "got None"]),
    "not YAML": ("a: [", ["is not YAML"]),
    "a list": ("- a\n", ["expected a mapping", "got list"]),
    "empty": ("", ["expected a mapping", "got NoneType"]),
    "unknown arch": (GOOD.replace("arm64", "x86_64"), ["arch: expected one of amd64, arm64, got 'x86_64'"]),
    "no CPUs": (GOOD.replace("cpus: 8", "cpus: 0"), ["cpus: expected a whole number from 1", "got 0"]),
    "CPUs as text": (GOOD.replace("cpus: 8", "cpus: '8'"), ["cpus: expected a whole number", "got '8'"]),
    "CPUs as yes": (GOOD.replace("cpus: 8", "cpus: true"), ["cpus: expected a whole number", "got True"]),
    "too many CPUs": (GOOD.replace("cpus: 8", "cpus: 80000"), ["from 1 to 8192, got 80000"]),
    "memory as text": (GOOD.replace("16384", "16G"), ["memory_mib: expected a whole number", "got '16G'"]),
    "unknown boot": (GOOD.replace("extlinux", "lilo"), ["boot: expected one of grub", "got 'lilo'"]),
    "GPU yes": (GOOD.replace("tegra", "true"), ["gpu: expected one of", "got True"]),
    "modes as text": (GOOD.replace("[MAXN, 15W]", "MAXN"), ["power_modes: expected a list of names"]),
    "modes of numbers": (
        GOOD.replace("[MAXN, 15W]", "[0]"),
        ["power_modes: expected a list of names, got [0]"],
    ),
    "description of numbers": (GOOD.replace("a box", "7"), ["description: expected a line of text, got 7"]),
    "code": ("!!python/object/apply:os.system ['true']", ["is not YAML"]),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_profile_is_refused_by_name(case: str) -> None:
    text, parts = BAD[case]
    with pytest.raises(InputError) as caught:
        parse_profile("box", text, "profiles/box.yml")
    message = str(caught.value)
    assert "profile box (profiles/box.yml)" in message
    for part in parts:
        assert part in message


def test_a_sites_own_profile_comes_before_the_carried_one(tmp_path: Path) -> None:
    (tmp_path / "x86_vm.yml").write_text(GOOD, encoding="utf-8")
    assert load_profile("x86_vm", [tmp_path, carried_profiles()]).arch == "arm64"
    assert load_profile("x86_vm", [tmp_path / "none", carried_profiles()]).arch == "amd64"


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("x86_wm", ["no such profile", "did you mean x86_vm?"]),
        ("../../etc/passwd", ["expected a name of small letters"]),
        (7, ["edgewright_profile is 7"]),
        (["x86_vm"], ["expected a name"]),
        ("", ["expected a name"]),
    ],
)
def test_an_unknown_profile_is_refused(name: object, parts: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        load_profile(name, [carried_profiles()])
    for part in [*parts, "x86_vm"]:
        assert part in str(caught.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "box.yml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"cannot read .*box\.yml"):
        load_profile("box", [tmp_path])


def test_a_host_without_a_profile_is_told_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "orin.yml").write_text(GOOD, encoding="utf-8")
    directories = [tmp_path, carried_profiles()]
    message = str(missing_profile("reader-01", directories))
    assert message.startswith(
        "host reader-01 has no hardware profile: set edgewright_profile in host_vars/reader-01/"
    )
    assert message.endswith(", ".join(known_profiles(directories)))
    assert "orin" in message


CARD = """\
schema: edgewright.profile/v1
arch: amd64
cpus: 8
memory_mib: 16384
boot: grub
gpu: nvidia
gpu_model: t4
"""

JETSON = CARD.replace("gpu: nvidia\ngpu_model: t4", "gpu: tegra\ngpu_model: orin\njetson_module: p3767-0003")


def test_a_profile_may_name_its_gpu_and_module() -> None:
    assert parse_profile("card", CARD, "x").as_dict()["gpu_model"] == "t4"
    found = parse_profile("jetson", JETSON, "x").as_dict()
    assert (found["gpu_model"], found["jetson_module"]) == ("orin", "p3767-0003")


def test_names_that_a_profile_has_none_of_are_left_out() -> None:
    assert "jetson_module" not in parse_profile("card", CARD, "x").as_dict()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("gpu: nvidia", "gpu: none", "gpu_model is 't4' where gpu is 'none'"),
        ("gpu_model: t4", "gpu_model: NVIDIA T4", "gpu_model: expected a name such as t4"),
        ("gpu_model: t4", "gpu_model: 4", "gpu_model: expected a name such as t4"),
        ("gpu_model: t4", "jetson_module: p3767-0003", "jetson_module is 'p3767-0003' where gpu is 'nvidia'"),
        ("boot: grub", "boot: bios", "boot: expected one of grub, extlinux, firmware, snapd, given, none"),
    ],
)
def test_a_wrong_name_of_hardware_is_refused(old: str, new: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        parse_profile("card", CARD.replace(old, new), "x")


def test_a_jetson_module_is_a_part_number() -> None:
    with pytest.raises(InputError, match="jetson_module: expected a name such as p3767-0003"):
        parse_profile("jetson", JETSON.replace("p3767-0003", "Orin Nano"), "x")
