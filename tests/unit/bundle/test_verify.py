# SPDX-License-Identifier: Apache-2.0
"""Each attack of docs/reference/bundle-attacks.md is tried, and refused for its own reason with nothing
changed."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root, TargetFile, Targets

from edgewright.bundle import reader, transfer
from edgewright.bundle.ceremony import build_root, rotate_release
from edgewright.bundle.keyfile import make_key, sign_with, write_file
from edgewright.bundle.keys import KEYS_FILE, KeyEntry, KeyPlan, KeySet, RolePlan
from edgewright.bundle.layout import BLOBS, INDEX, Blob, BundleIndex, Part, blob_name, part_name
from edgewright.bundle.refusal import BundleRefused
from edgewright.bundle.verify import open_bundle
from edgewright.depot.progress import Progress
from edgewright.errors import EdgewrightError, InputError
from tests.unit.bundle import sticks
from tests.unit.bundle.sticks import CONTENTS, NOW, SPLIT, Made, digest, snapshot_of

WHEEL = blob_name(digest(b"wheel"))
DEB = blob_name(digest(CONTENTS["apt/pool/hello.deb"]))


@contextmanager
def refused(why: str, *told: str) -> Iterator[None]:
    """Expect a refusal for this reason whose message says all of this."""
    with pytest.raises(BundleRefused) as caught:
        yield
    assert caught.value.why == why, str(caught.value)
    for words in told:
        assert words in str(caught.value)


def check(made: Made, **options: object) -> None:
    """All that a controller does before it takes a bundle in."""
    before = snapshot_of(made.trust)
    try:
        with made.open(**options) as bundle:  # type: ignore[arg-type]
            bundle.check_all()
    finally:
        assert snapshot_of(made.trust) == before


def test_a_right_bundle(made: Made, tmp_path: Path) -> None:
    stream = io.StringIO()
    with made.open() as bundle:
        assert bundle.index.name == "label-reader 1.0.0"
        assert bundle.fingerprint == made.keys.fingerprint
        progress = Progress("verifying", bundle.size, stream)
        bundle.check_all(progress)
        progress.close()
        assert bundle.read("targets/documents/release.lock.yml", 100) == b"schema: edgewright.lock/v1\n"
        for blob in bundle.index.blobs:
            bundle.copy(blob, tmp_path / blob)
            assert digest((tmp_path / blob).read_bytes()) == blob
        bundle.accept()
        bundle.accept()
        assert bundle.clock_note is None
    assert "100" in stream.getvalue() or bundle.size > 0
    with made.open(fingerprint=False) as again:
        assert again.fingerprint == made.keys.fingerprint
    assert (made.trust / "current" / "floor.json").is_file()


def test_copy_into_a_descriptor(made: Made, tmp_path: Path) -> None:
    with made.open() as bundle, (tmp_path / "whole").open("w+b") as stream:
        stream.write(b"before")
        stream.flush()
        bundle.copy(digest(SPLIT), stream.fileno())
        (made.stick / WHEEL).write_bytes(b"WHEEL")
        with refused("changed"):
            bundle.copy(digest(b"wheel"), stream.fileno())
    assert (tmp_path / "whole").read_bytes() == b"before" + SPLIT


def test_what_a_bundle_does_not_have(made: Made, tmp_path: Path) -> None:
    with made.open() as bundle:
        with pytest.raises(InputError, match="the bundle has no such blob"):
            bundle.copy("0" * 64, tmp_path / "x")
        with pytest.raises(InputError, match="the bundle has no such file"):
            bundle.read("metadata/timestamp.json", 10)
        with refused("length", "expected at most 3 bytes"):
            bundle.read(INDEX, 3)
    with pytest.raises(ValueError, match="was closed"):
        bundle.read(INDEX, 1 << 20)
    with pytest.raises(InputError, match="there is no such directory"):
        open_bundle(tmp_path / "nowhere", made.trust, fingerprint="0" * 64)
    (tmp_path / "bare").mkdir()
    with refused("missing", "is this the directory of a bundle?"):
        made.open(stick=tmp_path / "bare")


@pytest.mark.parametrize("where", ["first", "middle", "last"])
@pytest.mark.parametrize(
    "name", [DEB, f"{BLOBS}/{part_name(digest(SPLIT), 1)}", "install", "installer/bootstrap.py", INDEX]
)
def test_changed_byte(made: Made, tmp_path: Path, name: str, where: str) -> None:
    path = made.stick / name
    data = bytearray(path.read_bytes())
    data[{"first": 0, "middle": len(data) // 2, "last": -1}[where]] ^= 1
    path.write_bytes(data)
    with refused("changed", name, "sha256"):
        check(made)
    if name.startswith(BLOBS):
        blob = name.rpartition("/")[2][:64]
        with made.open() as bundle, refused("changed", name):
            bundle.copy(blob, tmp_path / "staged")
        assert not (tmp_path / "staged").exists()


@pytest.mark.parametrize("role", ["root", "targets", "snapshot", "timestamp"])
@pytest.mark.parametrize("accepted", [False, True], ids=["first use", "accepted before"])
def test_changed_byte_of_metadata(made: Made, role: str, accepted: bool) -> None:
    if accepted:
        made.accept()
    path = made.metadata(role)
    data = bytearray(path.read_bytes())
    for at in (0, len(data) // 3, len(data) // 2, len(data) - 1):
        changed = bytearray(data)
        changed[at] ^= 1
        path.write_bytes(changed)
        with pytest.raises(BundleRefused):
            check(made)


@pytest.mark.parametrize(
    ("change", "told"),
    [(lambda data: data[:-1], "has 4 bytes, expected 5"), (lambda data: data + b"x", "has 6")],
)
def test_wrong_length(made: Made, change: Callable[[bytes], bytes], told: str) -> None:
    path = made.stick / WHEEL
    path.write_bytes(change(path.read_bytes()))
    with refused("length", told, "copy it again"):
        check(made)


def test_missing_file(made: Made) -> None:
    (made.stick / WHEEL).unlink()
    with refused("missing", f"{WHEEL} is missing"):
        check(made)
    shutil.rmtree(made.stick / "targets")
    with refused("missing", "; and "):
        check(made)


@pytest.mark.parametrize("role", ["root", "targets", "snapshot", "timestamp"])
def test_missing_metadata(made: Made, role: str) -> None:
    path = made.metadata(role)
    path.unlink()
    with refused("missing", path.name):
        check(made)
    made.trust.mkdir()
    shutil.rmtree(made.stick / "metadata")
    with refused("missing", "metadata"):
        check(made)


@pytest.mark.parametrize(
    "name",
    [
        "autorun.inf",
        "targets/blobs/more",
        "metadata/2.root.json.bak",
        "installer/x/y",
        "metadata/7.targets.json",
    ],
)
def test_extra_file(made: Made, name: str) -> None:
    path = made.stick / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"")
    shown = name if name != "installer/x/y" else "installer/x"
    with refused("extra", shown, "not named by any metadata"):
        check(made)


def test_extra_file_of_a_system(made: Made) -> None:
    (made.stick / "lost+found").mkdir()
    check(made)
    (made.stick / "lost+found" / "x").write_bytes(b"")
    with refused("extra", "lost+found"):
        check(made)
    shutil.rmtree(made.stick / "lost+found")
    (made.stick / "System Volume Information").mkdir()
    with refused("extra", "another operating system left it there"):
        check(made)


def test_two_files_swapped(made: Made) -> None:
    one, two = (made.stick / BLOBS / part_name(digest(SPLIT), number) for number in (0, 1))
    one.rename(made.stick / "x")
    two.rename(one)
    (made.stick / "x").rename(two)
    with refused("changed", "2 files"):
        check(made)


def test_parts_exchanged(made: Made, tmp_path: Path) -> None:
    one, two = (made.stick / BLOBS / part_name(digest(SPLIT), number) for number in (0, 1))
    with made.open() as bundle:
        data = one.read_bytes()
        one.write_bytes(two.read_bytes())
        two.write_bytes(data)
        with refused("changed", one.name):
            bundle.copy(digest(SPLIT), tmp_path / "staged")
    assert not (tmp_path / "staged").exists()


def test_parts_do_not_make_the_blob(made: Made, tmp_path: Path) -> None:
    """Signed by somebody who has the key and cuts a file wrongly."""
    index = BundleIndex.load((made.stick / INDEX).read_bytes())
    blob = index.blobs[digest(SPLIT)]
    other = b"\xff" * blob.parts[0].size
    path = f"{BLOBS}/{blob.parts[0].name}"
    (made.stick / path).write_bytes(other)
    parts = (Part(blob.parts[0].name, len(other), digest(other)), *blob.parts[1:])
    sticks.change_index(made, blobs=dict(index.blobs) | {digest(SPLIT): Blob(blob.size, parts)})

    def change(targets: Targets) -> None:
        targets.targets[path] = TargetFile.from_data(path, other, ["sha256"])

    sticks.resign(made, change)
    with made.open() as bundle:
        bundle.check_all()
        with refused("changed", "3 parts are as signed but make sha256"):
            bundle.copy(digest(SPLIT), tmp_path / "staged")
    assert not (tmp_path / "staged").exists()


def test_swap_between_check_and_use(made: Made, tmp_path: Path) -> None:
    with made.open() as bundle:
        bundle.check_all()
        (made.stick / WHEEL).write_bytes(b"WHEEL")
        (made.stick / INDEX).write_bytes(bytes(len((made.stick / INDEX).read_bytes())))
        with refused("changed"):
            bundle.copy(digest(b"wheel"), tmp_path / "staged")
        with refused("changed"):
            bundle.read(INDEX, 1 << 20)
        (made.stick / WHEEL).unlink()
        (made.stick / WHEEL).symlink_to("/etc/hostname")
        with refused("kind", "symbolic link"):
            bundle.copy(digest(b"wheel"), tmp_path / "staged")
        (made.stick / WHEEL).unlink()
        with refused("missing"):
            bundle.copy(digest(b"wheel"), tmp_path / "staged")
        (made.stick / "targets").rename(made.stick / "elsewhere")
        (made.stick / "targets").symlink_to("elsewhere")
        with refused("kind", "its part targets, is a symbolic link"):
            bundle.copy(digest(b"wheel"), tmp_path / "staged")
    assert not (tmp_path / "staged").exists()


@pytest.mark.parametrize("size", [1000, 3000])
def test_file_changes_while_it_is_read(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(transfer, "CHUNK", 500)
    path = made.stick / DEB

    class Cutter(Progress):
        def add(self, count: int, fetched: bool = True) -> None:
            del count, fetched
            os.truncate(path, size)

    with made.open() as bundle, refused("length", "expected 2000 bytes, got"):
        bundle.copy(digest(CONTENTS["apt/pool/hello.deb"]), tmp_path / "staged", Cutter("", 1, io.StringIO()))
    assert not (tmp_path / "staged").exists()


def test_copy_writes_the_signed_size_only(made: Made, tmp_path: Path) -> None:
    with made.open() as bundle:
        with (made.stick / WHEEL).open("wb") as stream:
            stream.truncate(1 << 40)  # sparse
        with refused("length", "expected 5 bytes, got more"):
            bundle.copy(digest(b"wheel"), tmp_path / "staged")
        with refused("length"):
            bundle.check_all()


def test_no_space(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """/dev/full has no space; a file in staging that exists already is never written over."""
    with made.open() as bundle:
        with (
            pytest.raises(EdgewrightError, match="No space left on device; it needs 5 bytes"),
            Path("/dev/full").open("wb") as full,
        ):
            bundle.copy(digest(b"wheel"), full.fileno())
        (tmp_path / "staged").write_bytes(b"mine")
        with pytest.raises(EdgewrightError, match="File exists"):
            bundle.copy(digest(b"wheel"), tmp_path / "staged")
        assert (tmp_path / "staged").read_bytes() == b"mine"
        with pytest.raises(EdgewrightError, match="No such file or directory"):
            bundle.copy(digest(b"wheel"), tmp_path / "no" / "staged")


@pytest.mark.parametrize("size", [0, 4, 6, 2**32, -1])
def test_sizes_that_lie(made: Made, size: int) -> None:
    """The key's holder signs a wrong size: in the metadata only, or in the index as well."""

    def lie(targets: Targets) -> None:
        targets.targets[WHEEL].length = size

    if size >= 0:
        sticks.resign(made, lie)
    else:  # python-tuf writes no such number
        text = made.metadata("targets").read_text()
        made.metadata("targets").write_text(text.replace('"length":5}', '"length":-1}'))
    with pytest.raises(BundleRefused) as caught:
        check(made)
    assert caught.value.why in ("length", "changed")


def test_index_that_disagrees(made: Made) -> None:
    index = BundleIndex.load((made.stick / INDEX).read_bytes())
    sticks.change_index(made, blobs=dict(index.blobs) | {digest(b"wheel"): Blob(6)})
    sticks.resign(made)
    with refused("index", "says 6 bytes", "targets.json 5"):
        check(made)
    sticks.change_index(made, blobs=index.blobs, expires=sticks.EXPIRES.replace(year=2030))
    sticks.resign(made)
    with refused("index", "expires 2030"):
        check(made)
    sticks.change_index(made, expires=index.expires, documents={})
    sticks.resign(made)
    with refused("index", "does not list it"):
        check(made)


def test_index_is_not_named(made: Made) -> None:
    sticks.resign(made, lambda targets: targets.targets.pop(INDEX) and None)
    with refused("metadata", "does not name targets/bundle.json"):
        check(made)


@pytest.mark.parametrize(
    "name",
    [
        "../outside",
        "/etc/passwd",
        "targets/../../outside",
        "targets//x",
        "targets/./x",
        "targets/a\nb",
        "targets/a\x00b",
        "targets/-x",
        "targets/\u00fc",
        "targets/" + "x" * 256,
        "targets/" + "x/" * 600 + "x",
        "targets/blobs",
        "elsewhere/x",
        "metadata/x.json",
        "metadata/2.root.json",
        "metadata/timestamp.json",
        "targets/" + "/".join("abcdefghijklmnopqrst"),
        "",
    ],
)
def test_names_that_leave_the_stick(made: Made, tmp_path: Path, name: str) -> None:
    (tmp_path / "outside").write_bytes(b"outside")

    def add(targets: Targets) -> None:
        targets.targets[name] = TargetFile.from_data(name or "x", b"outside", ["sha256"])

    sticks.resign(made, add)
    with pytest.raises(BundleRefused) as caught:
        check(made)
    assert caught.value.why in ("name", "metadata", "missing"), str(caught.value)
    if name == "metadata/timestamp.json":
        return
    with reader.Stick(made.stick) as stick, pytest.raises((BundleRefused, FileNotFoundError)):
        stick.read(name, 100)


def _socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def _device(path: Path) -> None:
    try:
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero
    except PermissionError:
        pytest.skip("making a device file needs root")


KINDS = {
    "link": (lambda path: path.symlink_to("/etc/hostname"), "a symbolic link"),
    "dangling link": (lambda path: path.symlink_to("nowhere"), "a symbolic link"),
    "pipe": (os.mkfifo, "a pipe"),
    "socket": (_socket, "a socket"),
    "device": (_device, "a character device"),
    "directory": (Path.mkdir, "a directory"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name",
    [WHEEL, INDEX, "install", "metadata/1.root.json", "metadata/timestamp.json", "metadata/1.snapshot.json"],
)
def test_links_and_special_files(made: Made, kind: str, name: str) -> None:
    replacement, told = KINDS[kind]
    path = made.stick / name
    path.unlink()
    replacement(path)
    with refused("kind", told, name):
        check(made)


def test_links_to_right_copies(made: Made, tmp_path: Path) -> None:
    """A link is refused also when all that it leads to is right: it might lead elsewhere a moment later."""
    for name in ("targets", "metadata", WHEEL):
        aside = tmp_path / "aside"
        (made.stick / name).rename(aside)
        (made.stick / name).symlink_to(aside)
        with refused("kind", "a symbolic link"):
            check(made)
        (made.stick / name).unlink()
        aside.rename(made.stick / name)
    (made.stick / "targets" / "documents").rename(tmp_path / "documents")
    (made.stick / "targets" / "documents").write_bytes(b"")
    with refused("kind", "targets/documents is a file, expected a directory"):
        check(made)


def test_walk_is_bounded(made: Made) -> None:
    deep = made.stick / "targets"
    for number in range(2000):
        (made.stick / "targets" / f"x{number}").touch()
    with refused("extra", "; and "):
        check(made)
    here = Path.cwd()
    os.chdir(deep)
    try:
        for _ in range(200):
            Path("d").mkdir()
            os.chdir("d")
    finally:
        os.chdir(here)
    with refused("extra"):
        check(made)


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
    content["signatures"] = [right | {"sig": right["sig"][:-2] + "00"}]
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


def test_power_cut_while_accepting(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever step is the last one, the state is the old one or the new one, whole."""
    made.accept()
    old = (made.trust / "current").readlink()
    newer = sticks.make(made.stick.parent, made.keys, "newer", {"x": b"newer"}, days=3)
    steps = [
        (Path, "mkdir"),
        (Path, "chmod"),
        (Path, "rename"),
        (Path, "symlink_to"),
        (Path, "replace"),
        (os, "fsync"),
    ]
    for place, step in steps:
        with monkeypatch.context() as patch, newer.open() as bundle:

            def cut(*_: object, **__: object) -> None:
                raise OSError(5, "power cut")

            patch.setattr(place, step, cut)
            with pytest.raises(EdgewrightError, match="the trusted state is as it was"):
                bundle.accept()
        assert (made.trust / "current").readlink() == old
        made.open(fingerprint=False).close()
    newer.accept()
    with refused("rollback"):
        made.open()
    assert len(list((made.trust / "states").iterdir())) == 1


def test_a_refused_bundle_leaves_no_trace(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)
    made.accept()
    before = snapshot_of(tmp_path)
    newer = sticks.make(tmp_path, made.keys, "newer", {"x": b"newer"}, days=3)
    (newer.stick / blob_name(digest(b"newer"))).write_bytes(b"NEWER")
    shutil.rmtree(newer.stick / "installer")
    with refused("missing"):
        newer.open()
    monkeypatch.setattr("tempfile.tempdir", None)
    assert snapshot_of(made.trust) == {
        name.removeprefix("trust/"): data for name, data in before.items() if name.startswith("trust/")
    }
    assert not list((tmp_path / "tmp").iterdir())
    made.open().close()


def test_accepted_meanwhile(made: Made) -> None:
    newer = sticks.make(made.stick.parent, made.keys, "newer", {"x": b"newer"}, days=3)
    with made.open() as older:
        newer.accept()
        with refused("state", "accepted meanwhile"):
            older.accept()
    with refused("rollback"):
        made.open()


@pytest.mark.parametrize(
    "name",
    ["floor.json", "metadata/timestamp.json", "metadata/targets.json", "metadata/root_history/1.root.json"],
)
@pytest.mark.parametrize("damage", ["gone", "empty", "changed"])
def test_damaged_trusted_state(made: Made, name: str, damage: str) -> None:
    made.accept()
    path = made.trust / "current" / name
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(b"" if damage == "empty" else path.read_bytes().replace(b"0", b"1"))
    with refused("state", "restore this directory"):
        check(made)


def test_trusted_state_of_another_kind(made: Made) -> None:
    made.trust.write_bytes(b"")
    with pytest.raises(InputError, match="expected a directory"):
        made.open()
    made.trust.unlink()
    made.trust.mkdir()
    (made.trust / "current").symlink_to("states/../../elsewhere")
    with refused("state", "expected six digits"):
        made.open()
