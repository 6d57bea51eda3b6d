# SPDX-License-Identifier: Apache-2.0
"""The bill of materials: all that the lock names, valid by the official schema, always the same bytes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from edgewright.bundle.needs import deb_needs, wheel_needs
from edgewright.bundle.sbom import make_sbom, validate_sbom
from edgewright.depot.blobs import BlobStore
from edgewright.errors import EdgewrightError, IntegrityError
from tests.unit.bundle import locks

MOMENT = datetime(2026, 11, 19, 2, 12, 54, tzinfo=UTC)
LOCK_SHA256 = "10" * 32


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> BlobStore:
    return BlobStore(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def lock(store: BlobStore, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return locks.lock(store, tmp_path_factory.mktemp("debs"))


def _made(lock: dict[str, Any], store: BlobStore, moment: datetime = MOMENT) -> bytes:
    return make_sbom(locks.release(), lock, LOCK_SHA256, store, moment)


@pytest.fixture
def told(lock: dict[str, Any], store: BlobStore) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(_made(lock, store))
    return loaded


def _by_name(told: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {component["name"]: component for component in told["components"]}


def _properties(component: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in component["properties"]}


def test_the_official_schema_accepts_it(lock: dict[str, Any], store: BlobStore) -> None:
    data = _made(lock, store)
    assert json.loads(data)["specVersion"] == "1.7"
    assert JsonStrictValidator(SchemaVersion.V1_7).validate_str(data.decode()) is None
    assert validate_sbom(data) is None


def test_everything_that_the_lock_names_is_in_it(told: dict[str, Any], lock: dict[str, Any]) -> None:
    hashes = {
        hash_["content"]: component["name"]
        for component in told["components"]
        for hash_ in component["hashes"]
    }
    entries = [
        *lock["apt"]["packages"],
        *lock["images"][0]["debs"],
        *lock["python"]["wheels"],
        *lock["files"],
    ]
    for entry in entries:
        assert hashes[entry["sha256"]] == entry["name"]
    for image in lock["images"]:
        assert hashes[image["digest"].removeprefix("sha256:")] == image.get("model", image["name"])
    assert len(told["components"]) == len(entries) + len(lock["images"])


@pytest.mark.parametrize(
    ("name", "purl", "kind"),
    [
        ("middle", "pkg:deb/debian/middle@1:1.0%2Bb1-2?arch=amd64&distro=bookworm", "library"),
        ("libc", "pkg:deb/debian/libc@1:1.0%2Bb1-2?arch=amd64&distro=bookworm", "library"),
        ("h11", "pkg:pypi/h11@2.0?file_name=h11-2.0-py3-none-any.whl", "library"),
        ("edgewright/runtime", "pkg:oci/runtime@sha256:", "container"),
        ("reader", "pkg:oci/reader@sha256:", "machine-learning-model"),
        ("engine.bin", "pkg:generic/engine.bin?checksum=sha256:", "file"),
    ],
)
def test_each_has_its_package_url_and_kind(told: dict[str, Any], name: str, purl: str, kind: str) -> None:
    component = _by_name(told)[name]
    assert component["purl"].startswith(purl)
    assert component["type"] == kind


@pytest.mark.parametrize(
    ("name", "licences"),
    [
        ("h11", [{"license": {"id": "MIT"}}]),
        ("base", [{"license": {"name": "3-Clause BSD License"}}]),
        ("edgewright/runtime", [{"expression": "Apache-2.0 AND MIT"}]),
        ("driver.run", [{"license": {"name": "LicenseRef-Vendor"}}]),
        ("low", None),
    ],
)
def test_a_licence_is_what_the_lock_says(told: dict[str, Any], name: str, licences: Any) -> None:
    assert _by_name(told)[name].get("licenses") == licences


def test_a_waiver_is_told_with_its_name_and_end(told: dict[str, Any]) -> None:
    found = _properties(_by_name(told)["driver.run"])
    assert (found["edgewright:waiver_who"], found["edgewright:waiver_until"]) == ("A. Lawyer", "2027-06-30")


def test_where_it_came_from_is_told(told: dict[str, Any]) -> None:
    by_name = _by_name(told)
    assert by_name["engine.bin"]["externalReferences"] == [
        {"type": "distribution", "url": "https://archive.example/engine.bin"}
    ]
    assert _properties(by_name["low"])["edgewright:archive"] == "debian/pool/main/low.deb"
    assert by_name["reader"]["pedigree"]["ancestors"][0]["name"] == "carrier"
    assert "carrier" not in by_name  # the wheel itself is not in the bundle


def test_dependencies_are_those_that_packages_declare(told: dict[str, Any]) -> None:
    names = {component["bom-ref"]: component["name"] for component in told["components"]} | {
        "release": "release"
    }
    needs = {
        names[one["ref"]]: sorted(names[ref] for ref in one.get("dependsOn", []))
        for one in told["dependencies"]
        if one["ref"] in names
    }
    assert needs["middle"] == [
        "low",
        "mail",
    ]  # "mail" stands in for "mail-agent"; the base system is not here
    assert needs["top"] == ["low", "middle"]
    assert needs["serve"] == ["base", "h11"]
    assert needs["base"] == []
    assert needs["edgewright/runtime"] == ["base", "h11", "libc", "serve"]
    assert needs["release"] == ["driver.run", "edgewright/runtime", "engine.bin", "kernel", "reader", "top"]


def test_everything_is_reached_from_the_release(told: dict[str, Any]) -> None:
    needs = {one["ref"]: one.get("dependsOn", []) for one in told["dependencies"]}
    reached, waiting = set(), ["release"]
    while waiting:
        ref = waiting.pop()
        if ref not in reached:
            reached.add(ref)
            waiting += needs.get(ref, [])
    assert {component["bom-ref"] for component in told["components"]} <= reached


@pytest.fixture(scope="module")
def wide(lock: dict[str, Any], store: BlobStore, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The lock with a second target that shares files with the first, and an image made elsewhere."""
    room = tmp_path_factory.mktemp("arm64")
    arm64 = {
        "os": {"family": "debian", "suite": "trixie", "arch": "arm64"},
        "kernel": {"package": "kernel", "version": "2", "release": "6.12.0-9-rt-arm64", "flavour": "rt"},
        "apt": {
            "date": "Thu, 19 Nov 2026 02:12:54 UTC",
            "packages": [
                lock["apt"]["packages"][1],  # low, which any architecture runs
                locks.deb(store, room, "kernel", "arm64"),
                locks.deb(store, room, "top", "arm64", Depends="low"),
            ],
        },
        "python": {
            "wheels": [
                lock["python"]["wheels"][0],
                locks.wheel(store, "serve", "h11; python_version >= '3.13'", "lone; python_version < '3.13'")
                | {"filename": "serve-2.0-cp313-cp313-linux_aarch64.whl"},
                locks.wheel(store, "lone") | {"filename": "lone-2.0-cp313-cp313-linux_aarch64.whl"},
            ]
        },
    }
    extra = {
        **{"role": "extra", "name": "edgewright/db", "version": "16", "size": 9, "platform": "linux/amd64"},
        **{"digest": "sha256:" + "33" * 32, "licence": "PostgreSQL"},
        "from": {"kind": "registry", "reference": "registry.example/db:16", "digest": "sha256:" + "22" * 32},
    }
    own = next(image for image in lock["images"] if image["role"] == "runtime")
    other = {**own, "platform": "linux/arm64", "digest": "sha256:" + "ff" * 32}
    other["debs"] = [locks.deb(store, room, "inner", "arm64")]
    return {**lock, "targets": [arm64], "images": [*lock["images"], extra, other]}


@pytest.fixture(scope="module")
def told_wide(wide: dict[str, Any], store: BlobStore) -> dict[str, Any]:
    release = locks.release() | {
        "targets": [{"suite": "trixie", "arch": "arm64", "kernel": "kernel", "python": {"version": "3.13"}}]
    }
    loaded: dict[str, Any] = json.loads(make_sbom(release, wide, LOCK_SHA256, store, MOMENT))
    return loaded


def test_further_targets_and_images_made_elsewhere_are_in_it(
    told_wide: dict[str, Any], wide: dict[str, Any]
) -> None:
    """Nothing that the depot of a bundle holds is missing in its bill."""
    found = [(one["bom-ref"], one["hashes"][0]["content"]) for one in told_wide["components"]]
    expected = set()
    for part in [wide, *wide["targets"]]:
        expected |= {(f"deb:{deb['filename']}", deb["sha256"]) for deb in part["apt"]["packages"]}
        expected |= {(f"wheel:{one['filename']}", one["sha256"]) for one in part["python"]["wheels"]}
    for image in wide["images"]:
        digest = image["digest"]
        expected |= {(f"image:{image['name']}@{digest}", digest.removeprefix("sha256:"))}
        expected |= {(f"deb:{deb['filename']}", deb["sha256"]) for deb in image.get("debs", [])}
    expected |= {(f"file:{entry['name']}", entry["sha256"]) for entry in wide["files"]}
    assert len(found) == len(set(found))
    assert set(found) == expected


def test_an_image_made_elsewhere_tells_its_licence_and_source(told_wide: dict[str, Any]) -> None:
    image = _by_name(told_wide)["edgewright/db"]
    assert image["type"] == "container"
    assert image["licenses"] == [{"license": {"id": "PostgreSQL"}}]
    properties = _properties(image)
    assert properties["edgewright:role"] == "extra"
    assert properties["edgewright:from_kind"] == "registry"
    assert properties["edgewright:from_reference"] == "registry.example/db:16"


def test_each_target_s_packages_need_those_of_the_same_target(told_wide: dict[str, Any]) -> None:
    needs = {one["ref"]: one.get("dependsOn", []) for one in told_wide["dependencies"]}
    assert needs["deb:top_1.0+b1-2_arm64.deb"] == ["deb:low_1.0+b1-2_all.deb"]
    assert needs["deb:top_1.0+b1-2_all.deb"] == ["deb:low_1.0+b1-2_all.deb", "deb:middle_1.0+b1-2_amd64.deb"]
    assert needs["wheel:serve-2.0-cp313-cp313-linux_aarch64.whl"] == ["wheel:h11-2.0-py3-none-any.whl"]
    runtime = next(ref for ref in needs if ref.startswith("image:edgewright/runtime@"))
    assert not [ref for ref in needs[runtime] if "aarch64" in ref], "the runtime is built for the first"
    direct = needs["release"]
    assert {"deb:kernel_1.0+b1-2_amd64.deb", "deb:kernel_1.0+b1-2_arm64.deb"} <= set(direct)
    assert "deb:top_1.0+b1-2_arm64.deb" in direct
    assert "wheel:serve-2.0-cp313-cp313-linux_aarch64.whl" not in direct, "the arm64 image holds it"
    arm64 = next(one for one in told_wide["components"] if one["bom-ref"] == "deb:top_1.0+b1-2_arm64.deb")
    assert arm64["purl"].endswith("?arch=arm64&distro=trixie")


def test_a_supplied_package_is_told_as_what_it_is(lock: dict[str, Any], store: BlobStore) -> None:
    """It is no package of Debian's, and who answers for it stands with it; the file is not listed again."""
    waiver = {"who": "Legal", "why": "agreement", "until": "2099-06-30"}
    first, *others = lock["apt"]["packages"]
    own = {**first, "url": "supplied:own.deb", "source": "supplied", "licence": "LicenseRef-NVIDIA-SLA"}
    own["waiver"] = waiver
    file = {"name": "own.deb", "kind": "deb", "size": first["size"], "sha256": first["sha256"]}
    file |= {"licence": "LicenseRef-NVIDIA-SLA", "waiver": waiver, "path": "own.deb"}
    changed = {**lock, "apt": {**lock["apt"], "packages": [own, *others]}, "files": [file]}
    bill = json.loads(_made(changed, store))
    found = {component["bom-ref"]: component for component in bill["components"]}
    assert "file:own.deb" not in found
    component = found[f"deb:{own['filename']}"]
    assert component["purl"].startswith(f"pkg:deb/{own['name']}@")
    told = _properties(component)
    assert (told["edgewright:supplied"], told["edgewright:waiver_who"]) == ("own.deb", "Legal")


def test_an_image_of_a_further_platform_holds_what_is_that_platforms(told_wide: dict[str, Any]) -> None:
    needs = {one["ref"]: one.get("dependsOn", []) for one in told_wide["dependencies"]}
    (ref,) = (ref for ref in needs if ref.endswith("ff" * 32))
    assert "deb:inner_1.0+b1-2_arm64.deb" in needs[ref]
    assert "wheel:serve-2.0-cp313-cp313-linux_aarch64.whl" in needs[ref]
    told = next(one for one in told_wide["components"] if one["bom-ref"] == ref)
    assert "arch=arm64" in told["purl"]
    assert _properties(told)["edgewright:platform"] == "linux/arm64"


def test_number_and_time_come_from_the_lock(lock: dict[str, Any], store: BlobStore) -> None:
    first = _made(lock, store)
    assert _made(lock, store, MOMENT.astimezone(timezone(timedelta(hours=9)))) == first
    told = json.loads(first)
    assert told["metadata"]["timestamp"] == "2026-11-19T02:12:54+00:00"
    other = json.loads(make_sbom(locks.release(), lock, "11" * 32, store, MOMENT))
    assert other["serialNumber"] != told["serialNumber"]


def test_the_order_of_the_lock_does_not_matter(lock: dict[str, Any], store: BlobStore) -> None:
    turned = {
        **lock,
        "apt": {**lock["apt"], "packages": lock["apt"]["packages"][::-1]},
        "images": lock["images"][::-1],
    }
    assert _made(turned, store) == _made(lock, store)


def test_what_the_schema_refuses_is_never_given_out(lock: dict[str, Any], store: BlobStore) -> None:
    wrong = {**lock, "files": [{**lock["files"][0], "sha256": "too short"}]}
    with pytest.raises(EdgewrightError, match=r"refuses it: from components/0 on, components/.*/hashes/0"):
        _made(wrong, store)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"bomFormat": "SPDX"}, "bomFormat"),
        ({"specVersion": "9.9"}, "no CycloneDX document"),
        ({"unknown": 1}, "unknown"),
        ({"metadata": {"timestamp": "yesterday"}}, "metadata/timestamp"),
        (
            {"components": [{"type": "library", "name": f"n{n}"} for n in range(99)] + [{"name": "x"}]},
            "components/96",
        ),
        ({"components": [{"type": "library", "name": "x"}] * 2}, "components has an item twice"),
        ({"components": {}}, "components"),
        ({"dependencies": [{"ref": f"r{n}"} for n in range(40)] + [{"ref": 7}]}, "dependencies/8/ref"),
    ],
)
def test_validation_refuses_what_is_wrong(
    lock: dict[str, Any], store: BlobStore, change: dict[str, Any], told: str
) -> None:
    wrong = {**json.loads(_made(lock, store)), **change}
    fault = validate_sbom(json.dumps(wrong).encode())
    assert fault is not None
    assert told in fault


def test_a_package_that_the_store_lacks_is_named(lock: dict[str, Any], store: BlobStore) -> None:
    missing = {**lock["apt"]["packages"][0], "sha256": "0" * 64, "filename": "gone_1_all.deb"}
    with pytest.raises(IntegrityError, match=r"reading what gone_1_all\.deb needs"):
        _made({**lock, "apt": {**lock["apt"], "packages": [missing]}}, store)


def test_a_wheel_without_metadata_is_named(store: BlobStore) -> None:
    data = b"no zip"
    entry = {"name": "x", "filename": "x-1.whl", "size": len(data), "sha256": store.put(data)}
    with pytest.raises(IntegrityError, match=r"x-1\.whl needs: it is no wheel"):
        wheel_needs([entry], [], "3.11", "amd64", store)


def test_a_package_that_is_none_is_named(store: BlobStore) -> None:
    data = b"no package"
    entry = {"name": "x", "arch": "all", "filename": "x.deb", "size": len(data), "sha256": store.put(data)}
    with pytest.raises(IntegrityError, match=r"reading x\.deb: it is not a Debian package"):
        deb_needs([entry], store)


def test_a_package_of_another_architecture_is_not_meant(store: BlobStore, tmp_path: Path) -> None:
    here = locks.deb(store, tmp_path / "a", "lib", "arm64")
    there = locks.deb(store, tmp_path / "b", "lib", "amd64")
    user = locks.deb(store, tmp_path / "c", "user", "amd64", Depends="lib:any")
    assert deb_needs([here, there, user], store)[user["filename"]] == [there["filename"]]


def test_extras_are_followed_through_wheels_that_ask_for_them(store: BlobStore) -> None:
    wheels = [
        locks.wheel(store, "one", "two[fast]"),
        locks.wheel(store, "two", 'three; extra == "fast"', 'four; extra == "slow"'),
        locks.wheel(store, "three", 'one; python_version < "3"'),
        locks.wheel(store, "four"),
    ]
    needs = wheel_needs(wheels, ["one"], "3.11", "amd64", store)
    assert needs["two-2.0-py3-none-any.whl"] == ["three-2.0-py3-none-any.whl"]
    assert needs["three-2.0-py3-none-any.whl"] == []


@pytest.mark.parametrize(("arch", "expected"), [("amd64", []), ("arm64", ["two-2.0-py3-none-any.whl"])])
def test_markers_are_those_of_the_device(store: BlobStore, arch: str, expected: list[str]) -> None:
    wheels = [locks.wheel(store, "arm", 'two; platform_machine == "aarch64"'), locks.wheel(store, "two")]
    assert wheel_needs(wheels, [], "3.11", arch, store)["arm-2.0-py3-none-any.whl"] == expected
