# SPDX-License-Identifier: Apache-2.0
"""Signatures of modules: made here, checked by OpenSSL; keys that cannot be used are refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgewright.errors import InputError, IntegrityError
from edgewright.modules.signing import Mok, check_signature, is_signed, split_signature
from tests.unit.modules.tiny import make_mok, tiny_module

MODULE = tiny_module("vermagic=1 ", "license=GPL")
VARIABLE = "EDGEWRIGHT_PASSPHRASE_MOK_FILE"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    make_mok(folder)
    make_mok(folder, name="other")
    return folder


def found(keys: Path) -> Mok:
    mok = Mok.find(keys)
    assert mok is not None
    return mok


def test_a_signed_module_is_the_module_its_signature_and_the_kernels_trailer(keys: Path) -> None:
    signed = found(keys).sign(MODULE)
    assert signed.startswith(MODULE)
    assert signed.endswith(b"~Module signature appended~\n")
    payload, signature = split_signature(signed, "x.ko")
    assert payload == MODULE
    trailer = signed[-28 - 12 : -28]
    assert trailer == bytes([0, 0, 2, 0, 0, 0, 0, 0]) + len(signature).to_bytes(4, "big")
    assert signed == MODULE + signature + trailer + signed[-28:]
    assert is_signed(signed)
    assert not is_signed(MODULE)


def test_the_same_key_signs_the_same_bytes(keys: Path) -> None:
    assert found(keys).sign(MODULE) == found(keys).sign(MODULE)


def test_openssl_accepts_it_for_this_key_and_these_bytes_only(keys: Path) -> None:
    signed = found(keys).sign(MODULE)
    check_signature(signed, keys / "mok.crt", "x.ko")
    with pytest.raises(
        IntegrityError, match=r"signature of x\.ko against .*other\.crt: it is not this key's"
    ):
        check_signature(signed, keys / "other.crt", "x.ko")
    changed = MODULE[:-1] + bytes([MODULE[-1] ^ 1]) + signed[len(MODULE) :]
    with pytest.raises(IntegrityError, match="or the module was changed"):
        check_signature(changed, keys / "mok.crt", "x.ko")
    with pytest.raises(IntegrityError, match="it carries none"):
        check_signature(MODULE, keys / "mok.crt", "x.ko")


def test_a_second_signature_is_refused(keys: Path) -> None:
    mok = found(keys)
    with pytest.raises(InputError, match="it carries a signature already"):
        mok.sign(mok.sign(MODULE))


@pytest.mark.parametrize("place", [4, 2, 11])
def test_a_wrong_trailer_is_refused(keys: Path, place: int) -> None:
    signed = bytearray(found(keys).sign(MODULE))
    signed[-28 - 12 + place if place != 11 else -28 - 4] ^= 0x40
    with pytest.raises(IntegrityError, match="its trailer is not what the kernel accepts"):
        split_signature(bytes(signed), "x.ko")


def test_no_key_is_no_error_and_half_a_key_is(tmp_path: Path) -> None:
    assert Mok.find(tmp_path) is None
    key, certificate = make_mok(tmp_path)
    certificate.unlink()
    with pytest.raises(InputError, match=r"mok\.crt is missing beside mok\.key"):
        Mok.find(tmp_path)
    make_mok(tmp_path)
    key.unlink()
    with pytest.raises(InputError, match=r"mok\.key is missing beside mok\.crt"):
        Mok.find(tmp_path)


@pytest.mark.parametrize(
    ("given", "fault"), [("right\n", ""), ("wrong\n", "passphrase is wrong"), ("", "empty")]
)
def test_the_passphrase_comes_from_the_file_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, fault: str
) -> None:
    make_mok(tmp_path, "right")
    (tmp_path / "word").write_text(given)
    (tmp_path / "word").chmod(0o600)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "word"))
    if not fault:
        assert found(tmp_path).sign(MODULE)
        return
    with pytest.raises(InputError, match=rf"reading the key .*mok\.key.*{fault}"):
        Mok.find(tmp_path)


@pytest.mark.parametrize(
    ("kind", "days", "said"),
    [
        ("ec", 30, "expected RSA of 2048 bits or more, .* got ECPrivateKey"),
        ("weak", 30, "got RSA of 1024 bits"),
        ("rsa", -1, "it ended on"),
    ],
)
def test_a_key_that_devices_would_not_take_is_refused(
    tmp_path: Path, kind: str, days: int, said: str
) -> None:
    make_mok(tmp_path, kind=kind, days=days)
    with pytest.raises(InputError, match=said):
        Mok.find(tmp_path)


def test_another_keys_certificate_is_refused(keys: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not the certificate of"):
        Mok.load(keys / "mok.key", keys / "other.crt")
    (tmp_path / "bad.crt").write_text("no certificate\n")
    with pytest.raises(InputError, match=r"expected X\.509 in PEM"):
        Mok.load(keys / "mok.key", tmp_path / "bad.crt")
    (tmp_path / "bad.key").write_text("no key\n")
    with pytest.raises(InputError, match="no private key in PEM"):
        Mok.load(tmp_path / "bad.key", keys / "mok.crt")
