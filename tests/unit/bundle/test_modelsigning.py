# SPDX-License-Identifier: Apache-2.0
"""Models' signatures, judged by the command line of the `model-signing` package itself."""

from __future__ import annotations

import base64
import io
import json
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from edgewright.bundle.modelsigning import ModelKey, extract_model, sign_model, verify_model
from edgewright.depot.blobs import BlobStore
from edgewright.errors import InputError, IntegrityError
from edgewright.release.ocitar import Entry, Layer, make_image, write_layer
from tests.unit.bundle import locks

COMMAND = Path(sys.executable).with_name("model_signing")


@dataclass(frozen=True)
class Signed:
    """A model's directory, its signature and public key as files, and what they were made with."""

    directory: Path
    signature: Path
    public_key: Path
    digest: str
    store: BlobStore
    key: ModelKey

    def command(self) -> subprocess.CompletedProcess[str]:
        """Verify with the package's own command line."""
        return subprocess.run(
            [
                *(str(COMMAND), "verify", "key", str(self.directory)),
                *("--signature", str(self.signature), "--public_key", str(self.public_key)),
            ],
            capture_output=True,
            text=True,
            check=False,
        )

    def own(self) -> None:
        """Verify with our function."""
        verify_model(self.directory, self.signature.read_bytes(), self.public_key.read_bytes())


@pytest.fixture
def signed(tmp_path: Path) -> Signed:
    store = BlobStore(tmp_path / "store")
    key = ModelKey(tmp_path / "keys")
    digest = locks.model_image(store).digest
    found = Signed(tmp_path / "reader", tmp_path / "model.sig", tmp_path / "model.pub", digest, store, key)
    found.signature.write_bytes(sign_model("reader", digest, store, key))
    found.public_key.write_bytes(key.ensure())
    extract_model(digest, store, found.directory)
    return found


def test_the_command_line_accepts_it(signed: Signed) -> None:
    done = signed.command()
    assert done.returncode == 0, done.stderr
    assert "Verification succeeded" in done.stdout
    signed.own()


def _flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(bytes(data))


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "first byte": (lambda root: _flip(root / "model.onnx", 0), "Hash mismatch for 'model.onnx'"),
    "last byte": (lambda root: _flip(root / "model.onnx", -1), "Hash mismatch for 'model.onnx'"),
    "golden output": (
        lambda root: _flip(root / "golden/serial.x.npy", 3),
        "Hash mismatch for 'golden/serial",
    ),
    "description": (lambda root: _flip(root / "model.yml", 1), "Hash mismatch for 'model.yml'"),
    "file missing": (lambda root: (root / "LICENSE").unlink(), "Missing files"),
    "file added": (lambda root: (root / "golden/other.npy").write_bytes(b"x"), "Extra files"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_command_line_refuses_a_changed_model(signed: Signed, name: str) -> None:
    change, told = CHANGES[name]
    change(signed.directory)
    done = signed.command()
    assert done.returncode != 0
    assert told in done.stderr
    with pytest.raises(IntegrityError, match=told):
        signed.own()


def test_a_file_that_the_command_line_leaves_out_is_refused_here(signed: Signed) -> None:
    (signed.directory / ".gitattributes").write_text("x")
    assert signed.command().returncode == 0  # the package's own default; ours is stricter
    with pytest.raises(IntegrityError, match="Extra files"):
        signed.own()


def test_another_key_is_refused(signed: Signed, tmp_path: Path) -> None:
    signed.public_key.write_bytes(ModelKey(tmp_path / "others").ensure())
    assert signed.command().returncode != 0
    with pytest.raises(IntegrityError, match="expected a signature by the key"):
        signed.own()


def _change_payload(raw: dict[str, Any]) -> None:
    told = json.loads(base64.b64decode(raw["dsseEnvelope"]["payload"]))
    told["predicate"]["resources"] = told["predicate"]["resources"][1:]
    raw["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(told).encode()).decode()


SIGNATURE_CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "a file taken out of it": _change_payload,
    "another payload type": lambda raw: raw["dsseEnvelope"].update(payloadType="text/plain"),
    "no signature": lambda raw: raw["dsseEnvelope"].update(signatures=[]),
    "signature of another": lambda raw: raw["dsseEnvelope"]["signatures"][0].update(sig="MEUCIQ=="),
    "no envelope": lambda raw: raw.pop("dsseEnvelope"),
    "no material": lambda raw: raw.pop("verificationMaterial"),
}


@pytest.mark.parametrize("name", SIGNATURE_CHANGES)
def test_a_changed_signature_is_refused(signed: Signed, name: str) -> None:
    raw = json.loads(signed.signature.read_bytes())
    SIGNATURE_CHANGES[name](raw)
    signed.signature.write_text(json.dumps(raw))
    assert signed.command().returncode != 0
    with pytest.raises(IntegrityError):
        signed.own()


@pytest.mark.parametrize("data", [b"", b"[]", b"{" * 100_000, b'{"dsseEnvelope": 7}'], ids=repr)
def test_what_is_no_signature_is_refused(signed: Signed, data: bytes) -> None:
    with pytest.raises(IntegrityError, match="this is none"):
        verify_model(signed.directory, data, signed.public_key.read_bytes())


def test_the_same_model_and_key_have_one_signature(signed: Signed, tmp_path: Path) -> None:
    first = signed.signature.read_bytes()
    again = sign_model("reader", signed.digest, signed.store, ModelKey(tmp_path / "keys"))
    assert again == first
    kept = list((tmp_path / "keys/signatures").iterdir())
    assert [path.read_bytes() for path in kept] == [first]
    kept[0].unlink()
    assert sign_model("reader", signed.digest, signed.store, signed.key) != first  # why it is kept


def test_a_kept_signature_that_is_damaged_or_of_another_model_is_made_anew(
    signed: Signed, tmp_path: Path
) -> None:
    kept = next((tmp_path / "keys/signatures").iterdir())
    other = sign_model("other", signed.digest, signed.store, signed.key)
    for wrong in (kept.read_bytes()[:-9], other):
        kept.write_bytes(wrong)
        signed.signature.write_bytes(sign_model("reader", signed.digest, signed.store, signed.key))
        assert signed.command().returncode == 0
        assert kept.read_bytes() == signed.signature.read_bytes()


def test_the_key_is_readable_by_its_owner_alone(signed: Signed) -> None:
    assert stat.S_IMODE(signed.key.path.stat().st_mode) == 0o600
    signed.key.path.chmod(0o640)
    with pytest.raises(InputError, match="expected mode 0600, got 0640"):
        signed.key.ensure()


def _pem(key: Any, password: bytes | None = None) -> bytes:
    protection = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    data: bytes = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)
    return data


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"nothing", "expected a private key in PEM"),
        (_pem(ed25519.Ed25519PrivateKey.generate()), "expected an EC key on secp256r1, got Ed25519"),
        (_pem(ec.generate_private_key(ec.SECP384R1())), "expected an EC key on secp256r1, got secp384r1"),
    ],
    ids=["no key", "ed25519", "another curve"],
)
def test_a_key_of_another_kind_is_refused(tmp_path: Path, data: bytes, told: str) -> None:
    (tmp_path / "model.key.pem").write_bytes(data)
    (tmp_path / "model.key.pem").chmod(0o600)
    with pytest.raises(InputError, match=told):
        ModelKey(tmp_path).ensure()


def _passphrase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    path = tmp_path / "passphrase"
    path.write_text(text)
    path.chmod(0o600)
    monkeypatch.setenv("EDGEWRIGHT_PASSPHRASE_MODEL_FILE", str(path))


def test_a_key_with_a_passphrase_signs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _passphrase(tmp_path, monkeypatch, "correct horse\n")
    store = BlobStore(tmp_path / "store")
    digest = locks.model_image(store).digest
    made = sign_model("reader", digest, store, ModelKey(tmp_path / "keys", protect=True))
    assert b"ENCRYPTED" in (tmp_path / "keys/model.key.pem").read_bytes()
    extract_model(digest, store, tmp_path / "reader")
    verify_model(tmp_path / "reader", made, ModelKey(tmp_path / "keys").ensure())
    _passphrase(tmp_path, monkeypatch, "wrong\n")
    with pytest.raises(InputError, match="and its passphrase"):
        ModelKey(tmp_path / "keys").ensure()


def _image(store: BlobStore, members: list[tuple[tarfile.TarInfo, bytes]]) -> str:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    data = buffer.getvalue()
    return make_image([Layer(f"sha256:{store.put(data)}", len(data))], {}, "amd64", store).digest


def _member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info, b"x" if kind == tarfile.REGTYPE else b""


@pytest.mark.parametrize(
    ("member", "told"),
    [
        (_member("../out"), "no name of a model's file"),
        (_member("golden/../../out"), "no name of a model's file"),
        (_member("/etc/out"), "no name of a model's file"),
        (_member(".wh.model.onnx"), "no name of a model's file"),
        (_member("model.onnx", tarfile.SYMTYPE, "/etc/passwd"), "no plain file"),
        (_member("model.onnx", tarfile.LNKTYPE, "other"), "no plain file"),
        (_member("pipe", tarfile.FIFOTYPE), "no plain file"),
        (_member("device", tarfile.CHRTYPE), "no plain file"),
        (_member(".gitattributes"), "would go unsigned"),
        (_member("."), "no plain file"),
    ],
    ids=lambda value: value[0].name if isinstance(value, tuple) else "",
)
def test_an_image_of_other_things_than_files_is_refused(
    tmp_path: Path, member: tuple[tarfile.TarInfo, bytes], told: str
) -> None:
    store = BlobStore(tmp_path / "store")
    with pytest.raises(IntegrityError, match=told):
        extract_model(_image(store, [member]), store, tmp_path / "below" / "reader")
    assert not (tmp_path / "below" / "out").exists()
    assert not (tmp_path / "out").exists()


def test_an_image_without_files_or_a_store_without_it_is_refused(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "store")
    empty = _image(store, [_member("golden", tarfile.DIRTYPE)])
    with pytest.raises(IntegrityError, match="it holds no files"):
        extract_model(empty, store, tmp_path / "one")
    with pytest.raises(IntegrityError, match="does not hold it whole"):
        extract_model(f"sha256:{'0' * 64}", store, tmp_path / "two")


def test_a_layer_that_is_no_tar_is_refused(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "store")
    layer = Layer(f"sha256:{store.put(b'no tar')}", 6)
    with pytest.raises(IntegrityError, match="is no tar"):
        extract_model(make_image([layer], {}, "amd64", store).digest, store, tmp_path / "reader")


def test_the_files_are_those_of_the_image(signed: Signed) -> None:
    found = {
        str(path.relative_to(signed.directory)) for path in signed.directory.rglob("*") if path.is_file()
    }
    assert found == set(locks.FILES)
    assert (signed.directory / "model.onnx").read_bytes() == locks.FILES["model.onnx"].data


def test_a_later_layer_replaces_a_file(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "store")
    layers = [write_layer({"model.yml": Entry.file(text)}, store) for text in (b"old", b"new")]
    extract_model(make_image(layers, {}, "amd64", store).digest, store, tmp_path / "reader")
    assert (tmp_path / "reader/model.yml").read_bytes() == b"new"
