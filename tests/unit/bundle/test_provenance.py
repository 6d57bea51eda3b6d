# SPDX-License-Identifier: Apache-2.0
"""Provenance of a real lock: what it says, that it always says the same, and what is refused."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner

import edgewright
from edgewright.bundle import dsse
from edgewright.bundle.provenance import PREDICATE_TYPE, sign_statement, statement, verify_statement
from edgewright.errors import InputError, IntegrityError
from edgewright.release.documents import load_lock
from edgewright.release.ocitar import canonical_json

RELEASE = Path(__file__).resolve().parents[3] / "releases" / "label-reader"
LOCK, LOCK_SHA256 = load_lock(RELEASE, fitting=False)
ALICE, BOB, EVE = (CryptoSigner.generate_ed25519() for _ in range(3))


def _signed(told: dict[str, Any] | None = None) -> bytes:
    return sign_statement(told or statement(LOCK, LOCK_SHA256), [ALICE])


def test_it_speaks_of_the_lock_and_its_images() -> None:
    told = verify_statement(_signed(), [ALICE.public_key], subjects={"release.lock.yml": LOCK_SHA256})
    assert told["_type"] == "https://in-toto.io/Statement/v1"
    assert told["predicateType"] == "https://slsa.dev/provenance/v1"
    spoken = {one["name"]: one["digest"]["sha256"] for one in told["subject"]}
    assert spoken["release.lock.yml"] == LOCK_SHA256
    for image in LOCK["images"]:
        assert f"sha256:{spoken[image['name']]}" == image["digest"]


def test_every_package_wheel_and_source_is_a_resolved_dependency() -> None:
    definition = statement(LOCK, LOCK_SHA256)["predicate"]["buildDefinition"]
    found = {(one["name"], one["digest"]["sha256"]): one for one in definition["resolvedDependencies"]}
    assert len(found) == len(definition["resolvedDependencies"])
    for deb in LOCK["apt"]["packages"]:
        assert found[deb["filename"], deb["sha256"]]["uri"] == deb["url"]
    for wheel in LOCK["python"]["wheels"]:
        assert (wheel["filename"], wheel["sha256"]) in found
    for image in LOCK["images"]:
        for entry in [*image.get("debs", []), *([image["wheel"]] if "wheel" in image else [])]:
            assert (entry["filename"], entry["sha256"]) in found
    assert ("release.yml", LOCK["release"]["sha256"]) in found


def test_the_builder_and_the_release_are_named() -> None:
    told = statement(LOCK, LOCK_SHA256, {"sbom.cdx.json": "ab" * 32})
    details = told["predicate"]["runDetails"]
    assert details["builder"]["version"] == {"edgewright": edgewright.__version__}
    assert details["byproducts"] == [{"name": "sbom.cdx.json", "digest": {"sha256": "ab" * 32}}]
    parameters = told["predicate"]["buildDefinition"]["externalParameters"]
    assert (parameters["release"], parameters["version"]) == ("label-reader", LOCK["release"]["version"])


def test_supplied_files_and_what_others_images_were_are_dependencies_too() -> None:
    extra = {"platform": "linux/amd64", "role": "extra", "name": "db", "digest": "sha256:" + "33" * 32}
    lock = {
        **LOCK,
        "files": [{"name": "engine.deb", "sha256": "11" * 32, "url": "https://archive.example/engine.deb"}],
        "images": [
            *LOCK["images"],
            {
                **extra,
                "from": {"kind": "registry", "reference": "r.example/db:1", "digest": "sha256:" + "22" * 32},
            },
            {**extra, "name": "web", "from": {"kind": "oci-archive", "path": "web.tar", "sha256": "44" * 32}},
        ],
    }
    listed = statement(lock, LOCK_SHA256)["predicate"]["buildDefinition"]["resolvedDependencies"]
    digests = {one["name"]: one["digest"]["sha256"] for one in listed}
    assert digests["engine.deb"] == "11" * 32
    assert digests["r.example/db:1"] == "22" * 32
    assert digests["web.tar"] == "44" * 32


def test_packages_and_wheels_of_further_targets_are_dependencies_too() -> None:
    deb = {"filename": "top_1_arm64.deb", "sha256": "55" * 32, "url": "archive:debian/pool/main/top.deb"}
    wheel = {"filename": "serve-2.0-cp313-cp313-linux_aarch64.whl", "sha256": "66" * 32}
    target = {"apt": {"packages": [deb, LOCK["apt"]["packages"][0]]}, "python": {"wheels": [wheel]}}
    made = statement({**LOCK, "targets": [target]}, LOCK_SHA256)["predicate"]["buildDefinition"]
    listed = made["resolvedDependencies"]
    digests = {one["name"]: one["digest"]["sha256"] for one in listed}
    assert len(listed) == len({(one["name"], one["digest"]["sha256"]) for one in listed})
    assert digests["top_1_arm64.deb"] == "55" * 32
    assert digests["serve-2.0-cp313-cp313-linux_aarch64.whl"] == "66" * 32
    alone = statement(LOCK, LOCK_SHA256)["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert len(listed) == len(alone) + 2


def test_the_same_lock_gives_the_same_bytes_in_any_order() -> None:
    turned = {**LOCK, "apt": {**LOCK["apt"], "packages": LOCK["apt"]["packages"][::-1]}}
    assert _signed(statement(turned, LOCK_SHA256)) == _signed()


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "other statement": (
        lambda told: told.update(_type="https://in-toto.io/Statement/v0.1"),
        "expected _type",
    ),
    "other predicate": (
        lambda told: told.update(predicateType="https://slsa.dev/vsa/v1"),
        "expected predicateT",
    ),
    "type missing": (lambda told: told.pop("predicateType"), "expected predicateType"),
    "no subject": (lambda told: told.update(subject=[]), "At least one subject"),
    "subject without digest": (lambda told: told["subject"][0].pop("digest"), "At least one digest"),
    "subject no list": (lambda told: told.update(subject="x"), "no SLSA provenance"),
    "no predicate": (lambda told: told.pop("predicate"), "no SLSA provenance"),
    "predicate of another form": (
        lambda told: told["predicate"]["buildDefinition"].update(resolvedDependencies="all"),
        "no SLSA provenance",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_signed_statement_of_another_kind_is_refused(name: str) -> None:
    change, told = CHANGES[name]
    made = json.loads(canonical_json(statement(LOCK, LOCK_SHA256)))
    change(made)
    with pytest.raises(IntegrityError, match=told):
        verify_statement(_signed(made), [ALICE.public_key])


def test_a_statement_about_another_lock_is_refused() -> None:
    with pytest.raises(IntegrityError, match="it belongs to another bundle"):
        verify_statement(_signed(), [ALICE.public_key], subjects={"release.lock.yml": "0" * 64})
    with pytest.raises(IntegrityError, match="no such thing"):
        verify_statement(_signed(), [ALICE.public_key], subjects={"edgewright/other": "0" * 64})


def test_fields_that_a_later_version_adds_are_let_be() -> None:
    made = statement(LOCK, LOCK_SHA256)
    made["predicate"]["buildDefinition"]["later"] = {"a": 1}
    assert verify_statement(_signed(made), [ALICE.public_key]) == made


def _payload(change: Callable[[bytes], bytes]) -> bytes:
    raw = json.loads(_signed())
    raw["payload"] = base64.b64encode(change(base64.b64decode(raw["payload"]))).decode()
    return json.dumps(raw).encode()


@pytest.mark.parametrize("where", [0, 0.5, 0.999], ids=["first", "middle", "last"])
def test_a_changed_byte_is_refused(where: float) -> None:
    def flip(data: bytes) -> bytes:
        place = int(len(data) * where)
        return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]

    with pytest.raises(IntegrityError, match="changed after it was signed"):
        verify_statement(_payload(flip), [ALICE.public_key])


def test_wrong_key_wrong_type_below_threshold_and_no_signature_are_refused() -> None:
    with pytest.raises(IntegrityError, match="signed by someone else"):
        verify_statement(sign_statement(statement(LOCK, LOCK_SHA256), [EVE]), [ALICE.public_key])
    other = dsse.sign(canonical_json(statement(LOCK, LOCK_SHA256)), [ALICE], "application/json")
    with pytest.raises(IntegrityError, match="expected a payload of type"):
        verify_statement(other, [ALICE.public_key])
    with pytest.raises(IntegrityError, match="expected valid signatures by 2"):
        verify_statement(_signed(), [ALICE.public_key, BOB.public_key], threshold=2)
    bare = {**json.loads(_signed()), "signatures": []}
    with pytest.raises(IntegrityError, match="it has none"):
        verify_statement(json.dumps(bare).encode(), [ALICE.public_key])
    with pytest.raises(InputError, match="no key"):
        sign_statement(statement(LOCK, LOCK_SHA256), [])


def test_two_signers_meet_a_threshold_of_two() -> None:
    envelope = sign_statement(statement(LOCK, LOCK_SHA256), [ALICE, BOB])
    told = verify_statement(envelope, [ALICE.public_key, BOB.public_key], threshold=2)
    assert told["predicateType"] == PREDICATE_TYPE
