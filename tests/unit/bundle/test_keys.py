# SPDX-License-Identifier: Apache-2.0
"""Keys: made, opened, protected, in tokens; roots signed apart, joined, rotated; each wrong step told."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from tuf.api.metadata import Metadata, Root

from edgewright.bundle import ceremony
from edgewright.bundle.ceremony import (
    HOLDERS,
    Holder,
    build_root,
    join,
    rotate_root,
    settle,
    sign_file,
    standing,
    start,
)
from edgewright.bundle.keyfile import PASSPHRASE_FILE, load_own, load_public, make_key, sign_with, write_file
from edgewright.bundle.keys import KEYS_FILE, KeyPlan, KeySet
from edgewright.cli.main import main
from edgewright.errors import EdgewrightError, InputError
from tests.unit.bundle import sticks
from tests.unit.bundle.sticks import EXPIRES

END = EXPIRES.replace(year=2035)
SOFTHSM = next(
    (
        path
        for path in map(Path, ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so"))
        if path.exists()
    ),
    None,
)


@pytest.fixture
def secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A passphrase file that the environment names."""
    path = tmp_path / "passphrase"
    path.write_text("correct horse\n")
    path.chmod(0o600)
    monkeypatch.setenv(PASSPHRASE_FILE, str(path))
    return path


def holders(*names: str) -> list[Holder]:
    return [Holder.parse(name) for name in names]


@pytest.fixture
def real(tmp_path: Path, secret: Path) -> Path:
    """A real set: alice, bob and carol have taken their keys away, to `tmp_path/NAME.pem`."""
    start(tmp_path / "real", holders("alice", "bob", "carol"), 2, None, END)
    for name in ("alice", "bob", "carol"):
        shutil.copy(tmp_path / "real" / HOLDERS / name / f"{name}.pem", tmp_path / f"{name}.pem")
    shutil.rmtree(tmp_path / "real" / HOLDERS)
    return tmp_path / "real"


def test_develop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = KeySet.develop(tmp_path / "keys")
    said = capsys.readouterr().err
    assert "NOTICE: made a DEVELOPMENT set of keys" in said
    assert keys.fingerprint[:4] + " " + keys.fingerprint[4:8] in said
    assert keys.development
    assert {role: told.threshold for role, told in keys.root.roles.items()} == {
        "root": 2,
        "targets": 1,
        "snapshot": 1,
        "timestamp": 1,
    }
    assert len(keys.root.roles["root"].keyids) == 3
    assert len({keys.root.roles[role].keyids[0] for role in ("targets", "snapshot", "timestamp")}) == 1
    assert keys.root.consistent_snapshot
    again = KeySet.develop(tmp_path / "keys")
    assert again.fingerprint == keys.fingerprint
    assert "NOTICE" not in capsys.readouterr().err
    for path in (tmp_path / "keys").glob("*.pem"):
        private = not path.name.endswith(".pub.pem")
        assert stat.S_IMODE(path.stat().st_mode) == (0o600 if private else 0o644), path


def test_develop_beside_other_keys_and_after_a_kill(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "release.key.asc").write_bytes(b"apt")
    (tmp_path / "keys" / "root-1.pem").write_bytes(b"half")
    keys = KeySet.develop(tmp_path / "keys")
    assert len(keys.signers("root")) == 3
    assert (tmp_path / "keys" / "release.key.asc").read_bytes() == b"apt"


def test_ceremony(real: Path, tmp_path: Path) -> None:
    keys = KeySet.open(real)
    assert not keys.development
    assert list(keys.roots) == [1]
    assert b"ENCRYPTED" in (tmp_path / "alice.pem").read_bytes()
    assert b"ENCRYPTED" in (real / "release.pem").read_bytes()
    with pytest.raises(InputError, match="2 must sign, and the private parts of 0 are named"):
        keys.signers("root")
    made = sticks.make(tmp_path / "b", keys)
    made.accept()
    with pytest.raises(InputError, match="there is a set already"):
        start(real, holders("dave"), 1, None, END)


def test_ceremony_goes_on_where_it_ended(tmp_path: Path, secret: Path) -> None:
    """Killed while keys are made: those that are there stay."""
    place = tmp_path / "keys" / HOLDERS / "alice"
    place.mkdir(parents=True)
    alice = make_key(place / "alice.pem", "correct horse")
    told = start(tmp_path / "keys", holders("alice", "bob", "carol"), 2, None, END)
    assert told.done
    assert told.signed == ("alice", "bob", "carol")
    assert alice.keyid in KeySet.open(tmp_path / "keys").root.roles["root"].keyids


def test_ceremony_of_people_apart(tmp_path: Path, secret: Path) -> None:
    """Each holder made a key on a machine of their own; only public parts and signed copies travel."""
    for name in ("alice", "bob", "carol"):
        make_key(tmp_path / f"{name}.pem", f"secret of {name}" if name == "alice" else "correct horse")
    people = holders(*(f"{name}={tmp_path / f'{name}.pub.pem'}" for name in ("alice", "bob", "carol")))
    told = start(tmp_path / "keys", people, 2, None, END)
    assert (told.signed, told.missing) == ((), ((2, ("alice", "bob", "carol")),))
    assert told.file is not None
    with pytest.raises(InputError, match="its first root is not signed by enough holders yet"):
        KeySet.open(tmp_path / "keys")
    assert start(tmp_path / "keys", people, 2, None, END) == told  # the same command again
    with pytest.raises(InputError, match="is being signed already and says something else"):
        start(tmp_path / "keys", people, 3, None, END)
    copies = [shutil.copy(told.file, tmp_path / f"for-{name}.json") for name in ("alice", "carol")]
    (tmp_path / "hers").write_text("secret of alice")
    (tmp_path / "hers").chmod(0o600)
    os.environ["EDGEWRIGHT_PASSPHRASE_ALICE_FILE"] = str(tmp_path / "hers")
    try:
        assert sign_file(copies[0], str(tmp_path / "alice.pem"), "alice") == "alice"
    finally:
        del os.environ["EDGEWRIGHT_PASSPHRASE_ALICE_FILE"]
    assert sign_file(copies[1], str(tmp_path / "carol.pem"), "carol") == "carol"
    assert join(tmp_path / "keys", copies[:1]).missing == ((1, ("bob", "carol")),)
    assert join(tmp_path / "keys", copies[1:]).done
    assert KeySet.open(tmp_path / "keys").fingerprint
    assert standing(tmp_path / "keys").signed == ("alice", "carol")


def test_wrong_copies_are_not_joined(real: Path, tmp_path: Path) -> None:
    told = rotate_root(real, [], ["carol"], None, END)
    assert told.file is not None
    copy = tmp_path / "copy.json"
    shutil.copy(told.file, copy)
    make_key(tmp_path / "mallory.pem", "")
    name = sign_file(copy, str(tmp_path / "mallory.pem"), "mallory")
    with pytest.raises(InputError, match=f"key {name} signed it, which is no root key of this set"):
        join(real, [copy])
    shutil.copy(told.file, copy)
    sign_file(copy, str(tmp_path / "alice.pem"), "alice")
    metadata = Metadata[Root].from_file(str(copy))
    metadata.signed.version = 7
    metadata.to_file(str(tmp_path / "other.json"))
    with pytest.raises(InputError, match="it is another root than"):
        join(real, [tmp_path / "other.json"])
    metadata = Metadata[Root].from_file(str(copy))
    signature = next(iter(metadata.signatures.values()))
    signature.signature = "00" * 64
    metadata.to_file(str(copy))
    with pytest.raises(InputError, match="the signature of alice does not fit"):
        join(real, [copy])
    (tmp_path / "bad.json").write_bytes(b"[" * 5000)
    with pytest.raises(InputError, match="it is no TUF root"):
        join(real, [tmp_path / "bad.json"])
    assert standing(real).signed == ()


def test_rotating_the_root(real: Path, tmp_path: Path) -> None:
    """Carol goes, dave comes: enough of the old holders and of the new ones sign."""
    told = rotate_root(real, holders("dave"), ["carol"], None, END)
    assert told.signed == ("dave",)
    assert told.missing == ((2, ("alice", "bob", "carol")), (1, ("alice", "bob")))
    before = KeySet.open(real)
    assert list(before.roots) == [1], "the root of today stays until the next is signed"
    assert told.file is not None
    copy = Path(shutil.copy(told.file, tmp_path / "copy.json"))
    sign_file(copy, str(tmp_path / "alice.pem"), "alice")
    sign_file(copy, str(tmp_path / "carol.pem"), "carol")
    assert join(real, [copy]).done, "carol counts for the old root, dave for the new one"
    after = KeySet.open(real)
    assert list(after.roots) == [1, 2]
    assert after.plan.roles["root"].keys == ("alice", "bob", "dave")
    assert after.fingerprint == before.fingerprint


def test_a_kill_while_the_root_is_put_in_place(
    real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = rotate_root(real, [], ["carol"], None, END)
    assert told.file is not None
    copy = Path(shutil.copy(told.file, tmp_path / "copy.json"))
    for name in ("alice", "bob"):
        sign_file(copy, str(tmp_path / f"{name}.pem"), name)
    write = ceremony.write_file

    def killed(path: Path, data: bytes, mode: int = 0o644) -> None:
        if path == real / KEYS_FILE:
            raise KeyboardInterrupt
        write(path, data, mode)

    with monkeypatch.context() as patch:
        patch.setattr(ceremony, "write_file", killed)
        with pytest.raises(KeyboardInterrupt):
            join(real, [copy])
    assert (real / "roots" / "2.root.json").exists()
    keys = KeySet.open(real)  # finishes it
    assert keys.plan.roles["root"].keys == ("alice", "bob")
    assert not settle(real)


def test_wrong_holders(real: Path, tmp_path: Path) -> None:
    for wrong, told in (
        (lambda: rotate_root(real, [], ["zoe"], None, END), "the holders of"),
        (lambda: rotate_root(real, holders("alice"), [], None, END), "there is a key of this name already"),
        (lambda: rotate_root(real, [], ["alice", "bob"], None, END), "2 of 1 cannot sign"),
        (lambda: start(tmp_path / "x", holders("a", "a"), 1, None, END), "a name of their own"),
        (lambda: start(tmp_path / "x", holders("a"), 2, None, END), "2 of 1 holders cannot sign"),
        (lambda: holders("Alice Smith"), "expected small letters"),
        (lambda: start(tmp_path / "x", holders("a=/nowhere.pem"), 1, None, END), "No such file"),
        (lambda: start(tmp_path / "x", holders("a"), 1, "release.pem", END), "expected a token's address"),
    ):
        with pytest.raises(InputError, match=told):
            wrong()


def test_passphrases(tmp_path: Path, secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_key(tmp_path / "key.pem", "correct horse")
    load_own(str(tmp_path / "key.pem"), "key")
    secret.write_text("wrong\n")
    with pytest.raises(InputError, match="the passphrase of key key is wrong"):
        load_own(str(tmp_path / "key.pem"), "key")
    secret.chmod(0o644)
    with pytest.raises(InputError, match="others may read it; run `chmod 600"):
        load_own(str(tmp_path / "key.pem"), "key")
    secret.unlink()
    with pytest.raises(InputError, match=f"passphrase file .* that {PASSPHRASE_FILE} names"):
        load_own(str(tmp_path / "key.pem"), "key")
    monkeypatch.delenv(PASSPHRASE_FILE)
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: PTH123, SIM115
    with pytest.raises(InputError, match="there is no terminal; name a file that holds it"):
        load_own(str(tmp_path / "key.pem"), "key")
    (tmp_path / "empty").touch(0o600)
    monkeypatch.setenv(PASSPHRASE_FILE, str(tmp_path / "empty"))
    with pytest.raises(InputError, match="is empty"):
        start(tmp_path / "x", holders("a"), 1, None, END)


def test_key_files(tmp_path: Path) -> None:
    make_key(tmp_path / "key.pem", "")
    with pytest.raises(InputError, match="never overwritten"):
        make_key(tmp_path / "key.pem", "")
    (tmp_path / "key.pem").chmod(0o640)
    with pytest.raises(InputError, match="run `chmod 600"):
        load_own(str(tmp_path / "key.pem"), "key")
    for content in (b"", b"\xff" * 100, (tmp_path / "key.pub.pem").read_bytes(), b"x" * 100_000):
        (tmp_path / "bad.pem").write_bytes(content)
        (tmp_path / "bad.pem").chmod(0o600)
        with pytest.raises(InputError, match=r"bad\.pem"):
            load_own(str(tmp_path / "bad.pem"), "bad")
    small = rsa.generate_private_key(65537, 2048).public_key()
    (tmp_path / "small.pem").write_bytes(small.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(InputError, match="RSA keys need 3072 bits"):
        load_public(tmp_path / "small.pem")


def test_files_on_a_stick_without_modes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAT refuses fchmod: metadata is written all the same, a private key is not."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchmod", refuse)
    write_file(tmp_path / "timestamp.json", b"{}")
    assert (tmp_path / "timestamp.json").read_bytes() == b"{}"
    with pytest.raises(EdgewrightError, match="Operation not permitted"):
        write_file(tmp_path / "key.pem", b"secret", 0o600)
    assert [path.name for path in tmp_path.iterdir()] == ["timestamp.json"]


def test_other_kinds_of_keys_sign_the_same_bytes_twice(tmp_path: Path) -> None:
    """ECDSA draws at random for each signature; the history keeps the first."""
    keys = KeySet.develop(tmp_path / "keys")
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _replace_release(
        keys, pem, private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    keys = KeySet.open(keys.directory)
    one, two = sticks.make(tmp_path, keys, "one"), sticks.make(tmp_path, keys, "two")
    assert sticks.snapshot_of(one.stick) == sticks.snapshot_of(two.stick)
    two.accept()


def _replace_release(
    keys: KeySet, private: bytes | None, public: bytes, reference: str | None = None
) -> None:
    """Make the set anew around another release key."""
    directory = keys.directory
    (directory / "release.pub.pem").write_bytes(public)
    if private is not None:
        (directory / "release.pem").write_bytes(private)
    plan = yaml.safe_load((directory / KEYS_FILE).read_bytes())
    plan["keys"]["release"]["private"] = reference or "release.pem"
    (directory / KEYS_FILE).write_text(yaml.safe_dump(plan))
    changed = KeySet(directory, KeyPlan.load(directory / KEYS_FILE), {})
    root = build_root(changed.public, changed.plan, 1, END)
    for signer in changed.signers("root"):
        sign_with(root, signer)
    root.to_file(str(directory / "roots" / "1.root.json"))


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A SoftHSM token with an ECDSA key; returns the key's address."""
    if SOFTHSM is None or shutil.which("softhsm2-util") is None:
        pytest.skip("softhsm2 is not installed")
    (tmp_path / "tokens").mkdir()
    (tmp_path / "softhsm2.conf").write_text(f"directories.tokendir = {tmp_path / 'tokens'}\n")
    (tmp_path / "pin").write_text("1234\n")
    (tmp_path / "pin").chmod(0o600)
    monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "softhsm2.conf"))
    monkeypatch.setenv("PYKCS11LIB", str(SOFTHSM))
    monkeypatch.setenv(PASSPHRASE_FILE, str(tmp_path / "pin"))
    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    (tmp_path / "token.pem").write_bytes(key)
    for options in (
        ["--init-token", "--free", "--label", "release", "--pin", "1234", "--so-pin", "1234"],
        [
            "--import",
            str(tmp_path / "token.pem"),
            "--token",
            "release",
            "--label",
            "release",
            "--id",
            "02",
            "--pin",
            "1234",
        ],
    ):
        subprocess.run(["softhsm2-util", *options], check=True, capture_output=True)
    return "hsm:2?label=release"


# A PKCS#11 library is loaded once in a process and keeps the tokens that it saw: hence one of its own.
_IN_ITS_OWN_PROCESS = """
import sys
from pathlib import Path
from edgewright.bundle.ceremony import start, rotate_release
from edgewright.bundle.keys import KeySet
from edgewright.errors import EdgewrightError, InputError
from tests.unit.bundle import sticks
from tests.unit.bundle.test_keys import END, holders
place, reference, pin = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
told = start(place / "keys", holders("alice", "bob"), 2, reference, END)
assert told.done, told
keys = KeySet.open(place / "keys")
assert not (place / "keys" / "release.pem").exists()
assert next(iter(keys.signers("targets"))).public_key.scheme == "ecdsa-sha2-nistp256"
one = sticks.make(place, keys, "one")
two = sticks.make(place, KeySet.open(place / "keys"), "two")
assert sticks.snapshot_of(one.stick) == sticks.snapshot_of(two.stick)
two.accept()
pin.write_text("9999")
try:
    sticks.make(place, KeySet.open(place / "keys"), "three", {"x": b"three"})
except InputError as error:
    assert "label, key id and PIN are right" in str(error), error
else:
    raise AssertionError("a wrong PIN signed")
pin.write_text("1234")
try:
    rotate_release(place / "keys", "hsm:9?label=release", END)
except InputError as error:
    assert "could not find ECDSA key" in str(error), error
else:
    raise AssertionError("a key that is not there was taken")
print("passed")
"""


def test_a_release_key_in_a_token(tmp_path: Path, token: str) -> None:
    command = [sys.executable, "-c", _IN_ITS_OWN_PROCESS, str(tmp_path), token, str(tmp_path / "pin")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3], check=False)
    assert done.stdout == "passed\n", done.stderr


def test_a_token_without_its_library(tmp_path: Path, secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYKCS11LIB", raising=False)
    with pytest.raises(InputError, match="PYKCS11LIB names its PKCS#11 library"):
        start(tmp_path / "keys", holders("a"), 1, "hsm:2?label=x", END)
    with pytest.raises(InputError, match="expected hsm:KEYID"):
        start(tmp_path / "keys", holders("a"), 1, "hsm:two", END)


def _plan(change: Callable[[dict], object]) -> Callable[[Path], object]:  # type: ignore[type-arg]
    def apply(directory: Path) -> None:
        path = directory / KEYS_FILE
        content = yaml.safe_load(path.read_bytes())
        change(content)
        path.write_text(yaml.safe_dump(content))

    return apply


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda directory: (directory / KEYS_FILE).unlink(), "edgewright keys ceremony"),
        (lambda directory: (directory / KEYS_FILE).write_text("{"), "keys.yml"),
        (_plan(lambda plan: plan.update(schema="x")), "schema: 'edgewright.keys/v1' was expected"),
        (_plan(lambda plan: plan.update(extra=1)), "'extra' was unexpected"),
        (_plan(lambda plan: plan["roles"]["root"].update(threshold=4)), "4 of 3 keys can never sign"),
        (_plan(lambda plan: plan["roles"]["root"]["keys"].append("zoe")), "key 'zoe' is not listed"),
        (_plan(lambda plan: plan["roles"]["root"].update(threshold=1)), "do not edit it by hand"),
        (_plan(lambda plan: plan["keys"]["release"].update(public="../x.pem")), "does not match"),
        (lambda directory: (directory / "release.pub.pem").unlink(), r"release\.pub\.pem: No such file"),
        (lambda directory: (directory / "roots" / "1.root.json").unlink(), r"1\.root\.json is missing"),
        (
            lambda directory: (directory / "roots" / "1.root.json").write_text("{}"),
            "restore it from the backup",
        ),
    ],
)
def test_a_damaged_set(keys: KeySet, spoil: Callable[[Path], object], told: str) -> None:
    spoil(keys.directory)
    with pytest.raises(InputError, match=told):
        KeySet.open(keys.directory)


def test_the_command(tmp_path: Path, secret: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole way of docs/how-to/keys.md, by its commands."""
    place = str(tmp_path / "keys")
    assert main(["keys", "ceremony", place, "--holder", "alice", "--holder", "bob", "--holder", "carol"]) == 0
    assert "root 1 is in place, signed by alice, bob, carol" in capsys.readouterr().out
    (tmp_path / "keys" / HOLDERS).rename(tmp_path / "people")
    assert main(["keys", "fingerprint", place]) == 0
    printed = capsys.readouterr().out
    assert main(["keys", "fingerprint", str(tmp_path / "keys" / "roots" / "1.root.json")]) == 0
    assert capsys.readouterr().out == printed
    assert len(printed.split()) == 16
    assert main(["keys", "rotate", "release", place]) == 0
    assert "still to sign: 2 of alice, bob, carol" in capsys.readouterr().out
    assert main(["keys", "rotate", "release", place]) == 0, "the same command again goes on"
    assert main(["keys", "show", place]) == 1
    draft = tmp_path / "keys" / "roots" / "next" / "2.root.json"
    for name in ("alice", "carol"):
        copy = str(shutil.copy(draft, tmp_path / f"{name}.json"))
        assert (
            main(["keys", "sign-root", copy, "--key", str(tmp_path / "people" / name / f"{name}.pem")]) == 0
        )
        seen = capsys.readouterr()
        assert "You are about to sign:\nroot 2, until" in seen.err
        assert f"signed as {name}" in seen.out
    assert main(["keys", "join", place, str(tmp_path / "alice.json"), str(tmp_path / "carol.json")]) == 0
    assert "root 2 is in place, signed by alice, carol" in capsys.readouterr().out
    assert main(["keys", "show", place]) == 0
    assert "targets: 1 of release-2" in capsys.readouterr().out
    assert main(["keys", "fingerprint", str(tmp_path / "keys" / "roots" / "2.root.json")]) == 2
    assert main(["keys", "rotate", "root", place, "--years", "30"]) == 2
    assert main(["keys", "develop", str(tmp_path / "dev")]) == 0
    assert main(["keys", "show", str(tmp_path / "nowhere")]) == 2
