# SPDX-License-Identifier: Apache-2.0
"""Attacks on signatures, versions and metadata (docs/reference/bundle-attacks.md), each refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root

from edgewright.bundle.ceremony import build_root, rotate_release
from edgewright.bundle.keyfile import make_key, sign_with, write_file
from edgewright.bundle.keys import KEYS_FILE, KeyEntry, KeyPlan, KeySet, RolePlan
from edgewright.bundle.refusal import BundleRefused
from edgewright.bundle.verify import open_bundle
from edgewright.errors import InputError
from tests.unit.bundle import sticks
from tests.unit.bundle.sticks import NOW, Made, check, refused


def test_wrong_key(made: Made, tmp_path: Path) -> None:
    made.accept()
    other = sticks.make(tmp_path / "other", KeySet.develop(tmp_path / "others-keys"), days=9)
    with refused("key", "signed by none of the trusted root's keys"):
        made.open(stick=other.stick, fingerprint=False)
    with refused("key", "this controller trusts the root with fingerprint"):
        open_bundle(other.stick, made.trust, fingerprint=other.keys.fingerprint, now=NOW)


def test_wrong_fingerprint(made: Made) -> None:
    with refused("key", "0000 0000", "signed by somebody else"):
        open_bundle(made.stick, made.trust, fingerprint="0" * 64, now=NOW)
    for text in ("", "0" * 63, "g" * 64):
        with pytest.raises(InputError, match="expected 64 hexadecimal digits"):
            open_bundle(made.stick, made.trust, fingerprint=text, now=NOW)
    grouped = " ".join(made.keys.fingerprint[at : at + 4] for at in range(0, 64, 4)).upper()
    open_bundle(made.stick, made.trust, fingerprint=grouped, now=NOW).close()


def test_first_use_needs_a_fingerprint(made: Made) -> None:
    with refused("untrusted", "edgewright keys fingerprint"):
        check(made, fingerprint=False)
    assert not made.trust.exists()


def _next_root(made: Made, change: Callable[[Root], None], signers: list[int]) -> Path:
    """Put the next root on the stick, signed by these of the root keys only."""
    metadata = Metadata[Root].from_bytes(made.keys.roots[max(made.keys.roots)])
    metadata.signed.version += 1
    change(metadata.signed)
    metadata.signatures.clear()
    for number in signers:
        metadata.sign(made.signers("root")[number], append=True)
    path = made.stick / "metadata" / f"{metadata.signed.version}.root.json"
    metadata.to_file(str(path))
    return path


def test_root_below_threshold(made: Made) -> None:
    stranger = CryptoSigner.generate_ed25519()

    def take_over(root: Root) -> None:
        for role in ("targets", "snapshot", "timestamp"):
            root.roles[role].keyids = [stranger.public_key.keyid]
        root.keys[stranger.public_key.keyid] = stranger.public_key

    _next_root(made, take_over, [0])
    with refused("threshold", "2.root.json has 1 fitting signatures", "expected 2"):
        check(made)
    _next_root(made, take_over, [])
    with refused("key", "signed by none"):
        check(made)
    path = _next_root(made, take_over, [0, 1])
    metadata = Metadata[Root].from_file(str(path))
    second = list(metadata.signatures.values())[1]
    second.signature = second.signature[:-2] + ("00" if second.signature[-2:] != "00" else "11")
    metadata.to_file(str(path))
    with refused("changed", "does not fit"):
        check(made)


@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp"])
def test_below_threshold(made: Made, role: str) -> None:
    path = made.metadata(role)
    content = json.loads(path.read_bytes())
    content["signatures"] = []
    _put(made, role, content)
    with refused("key" if role == "timestamp" else "changed"):
        check(made)


def test_below_the_threshold_of_two_release_keys(keys: KeySet, tmp_path: Path) -> None:
    """Two must sign for the timestamp, one has."""
    make_key(keys.directory / "second.pem", "")
    roles = dict(keys.plan.roles) | {"timestamp": RolePlan(2, ("release", "second"))}
    entries = dict(keys.plan.keys) | {"second": KeyEntry("second.pub.pem", "second.pem")}
    plan = KeyPlan(True, entries, roles)
    drafted = KeySet(keys.directory, plan, {})
    root = build_root(drafted.public, plan, 1, keys.root.expires)
    for signer in drafted.signers("root"):
        sign_with(root, signer)
    write_file(keys.directory / "roots" / "1.root.json", root.to_bytes())
    write_file(keys.directory / KEYS_FILE, plan.dump())
    made = sticks.make(tmp_path, KeySet.open(keys.directory))
    check(made)
    content = json.loads(made.metadata("timestamp").read_bytes())
    content["signatures"].pop()
    _put(made, "timestamp", content)
    with refused("threshold", "timestamp.json has 1 fitting signatures", "expected 2"):
        check(made)


def _put(made: Made, role: str, content: object) -> None:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    made.metadata(role).write_text(text)


def test_signature_that_does_not_fit(made: Made) -> None:
    content = json.loads(made.metadata("timestamp").read_bytes())
    right = content["signatures"][0]
    other = "01" if right["sig"].endswith("00") else "00"  # one signature in 256 ends with 00 anyway
    content["signatures"] = [right | {"sig": right["sig"][:-2] + other}]
    _put(made, "timestamp", content)
    with refused("changed", "does not fit it"):
        check(made)
    content["signatures"] = [right, right | {"keyid": "0" * 64}]
    _put(made, "timestamp", content)
    with refused("changed", "carries a signature that does not fit"):
        check(made)


def test_older_than_installed(made: Made) -> None:
    newer = sticks.make(made.stick.parent, made.keys, "newer", {"x": b"newer"}, days=3)
    newer.accept()
    with refused("rollback", "version 1", "older than one that was accepted here"):
        check(made)
    check(newer)


def test_mixed_metadata(made: Made, tmp_path: Path) -> None:
    newer = sticks.make(made.stick.parent, made.keys, "newer", {"x": b"newer"}, days=3)
    for role in ("targets", "snapshot"):
        mixed = sticks.copy_stick(newer.stick, tmp_path / f"mixed-{role}")
        shutil.copy(made.metadata(role), mixed / "metadata" / newer.metadata(role).name)
        with refused("mixed", "metadata of two bundles is mixed"):
            newer.open(stick=mixed)
    mixed = sticks.copy_stick(newer.stick, tmp_path / "mixed")
    shutil.copy(made.metadata("timestamp"), mixed / "metadata" / "timestamp.json")
    with refused("mixed", "1.snapshot.json is missing, and 2.snapshot.json lies there instead"):
        newer.open(stick=mixed)
    for role in ("targets", "snapshot"):
        shutil.copy(made.metadata(role), mixed / "metadata" / made.metadata(role).name)
    with pytest.raises(BundleRefused):
        newer.open(stick=mixed)


def test_frozen_metadata(made: Made, tmp_path: Path) -> None:
    """The newer contents, but the old timestamp: the newer bundle is hidden behind it."""
    made.accept()
    newer = sticks.make(made.stick.parent, made.keys, "newer", {"x": b"newer"}, days=3)
    for path in made.stick.glob("metadata/*"):
        shutil.copy(path, newer.stick / "metadata" / path.name)
    with pytest.raises(BundleRefused) as caught:
        check(newer)
    assert caught.value.why in ("missing", "extra", "length")


def test_same_version_other_content(made: Made, tmp_path: Path) -> None:
    """A second build host whose history of versions is not the first one's."""
    shutil.copytree(made.keys.directory, tmp_path / "second")
    shutil.rmtree(tmp_path / "second" / "repository")
    other = sticks.make(tmp_path / "b", KeySet.open(tmp_path / "second"), contents={"x": b"other"})
    made.accept()
    with refused("mixed", "two different bundles were signed under one version"):
        made.open(stick=other.stick)


@pytest.mark.parametrize("accepted", [False, True], ids=["first use", "accepted before"])
def test_metadata_in_another_spelling(made: Made, accepted: bool) -> None:
    """The same meaning in other bytes: the signature still fits."""
    if accepted:
        made.accept()
    path = made.metadata("timestamp")
    data = path.read_bytes()
    content = json.loads(data)
    upper, gap, more = (json.loads(data) for _ in range(3))
    upper["signatures"][0]["sig"] = upper["signatures"][0]["sig"].upper()
    gap["signatures"][0]["sig"] = gap["signatures"][0]["sig"][:2] + " " + gap["signatures"][0]["sig"][2:]
    more["signatures"][0]["note"] = 1
    spellings = {
        "capitals": json.dumps(upper, sort_keys=True, separators=(",", ":")).encode(),
        "gap": json.dumps(gap, sort_keys=True, separators=(",", ":")).encode(),
        "a field of a signature": json.dumps(more, sort_keys=True, separators=(",", ":")).encode(),
        "spaces": json.dumps(content, sort_keys=True).encode(),
        "a field more": json.dumps(content | {"note": 1}, sort_keys=True, separators=(",", ":")).encode(),
        "reversed": json.dumps(dict(reversed(content.items())), separators=(",", ":")).encode(),
        "end": data + b"\n",
        "escape": data.replace(b'"timestamp"', b'"\\u0074imestamp"'),
        "twice": data.replace(b'{"signatures":', b'{"signatures":[],"signatures":'),
    }
    for name, spelling in spellings.items():
        assert spelling != data, name
        path.write_bytes(spelling)
        with pytest.raises(BundleRefused) as caught:
            check(made)
        assert caught.value.why in ("metadata", "mixed"), (name, str(caught.value))
    path.write_bytes(data)
    check(made)


def test_next_root_held_back(made: Made) -> None:
    """The controller never hears of root 2, whose keys signed the bundle; or the stick lacks it."""
    rotate_release(made.keys.directory, None, sticks.EXPIRES.replace(year=2035))
    newer = sticks.make(made.stick.parent, KeySet.open(made.keys.directory), "newer", days=3)
    newest = newer.stick / "metadata" / "2.root.json"
    aside = newer.stick.parent / "2.root.json"
    newest.rename(aside)
    with refused("key", "must carry every new N.root.json"):
        check(newer)
    aside.rename(newest)
    newer.accept()
    newest.unlink()
    with refused("missing", "2.root.json"):
        check(newer)


def test_rotated_key_signs_again(made: Made) -> None:
    """Somebody stole the old release key, and signs with it what looks newest."""
    before = made.keys
    rotate_release(before.directory, None, sticks.EXPIRES.replace(year=2035))
    now = KeySet.open(before.directory)
    newer = sticks.make(made.stick.parent, now, "newer", days=3)
    newer.accept()
    for number in range(3):
        sticks.resign(
            made,
            lambda targets: setattr(targets, "version", targets.version),
            timestamp=lambda stamp, by=number: setattr(stamp, "version", stamp.version + 10 * by),
        )
        with refused("key"):
            made.open(trust=newer.trust)


@pytest.mark.parametrize("name", ["metadata/timestamp.json", "metadata/2.root.json", "metadata/1.root.json"])
@pytest.mark.parametrize(
    "bomb",
    [
        b"[" * 100_000,
        b'{"a":' * 16_000,
        b'{"signatures":[],"signed":{"_type":"timestamp","version":' + b"9" * 10_000 + b"}}",
        b'"' + b'\\"' * 8_000,
        b"{" + b" " * 1_000_000,
        b'{"signatures":[],"signed":' + b"[" * 900 + b"]" * 900 + b"}",
        b"\xff\xfe" * 100,
        b"",
        b"null",
        b'{"signatures":[],"signed":{"_type":["timestamp"]}}',
        b'{"signatures":{"a":1},"signed":{"_type":"timestamp","spec_version":"1.0","version":NaN}}',
    ],
    ids=[
        "arrays",
        "objects",
        "number",
        "quotes",
        "spaces",
        "deep",
        "no text",
        "empty",
        "null",
        "type",
        "nan",
    ],
)
def test_metadata_bombs(made: Made, name: str, bomb: bytes) -> None:
    (made.stick / name).write_bytes(bomb)
    with pytest.raises(BundleRefused) as caught:
        made.open(fingerprint=True)
    assert caught.value.why in ("metadata", "key")
    made.trust.mkdir(exist_ok=True)


def test_metadata_of_terabytes(made: Made) -> None:
    for role in ("timestamp", "snapshot", "targets", "root"):
        path = made.metadata(role)
        data = path.read_bytes()
        with path.open("wb") as stream:
            stream.truncate(1 << 42)
        with refused("metadata", "bytes"):
            check(made)
        path.write_bytes(data)
