# SPDX-License-Identifier: Apache-2.0
"""The identity's probe, on keys and certificates that openssl itself makes here."""

from __future__ import annotations

import base64
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.edgewright.factory.plugins.module_utils import identity
from ansible_collections.edgewright.factory.plugins.module_utils.system import LocalSystem, Result

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="asks openssl, which this host lacks")

STATUS = """Package: openssl
Status: install ok installed
Version: 3.0.17-1~deb12u2

Package: python3-apt
Status: install ok half-configured
Version: 2.6.0

Package: podman
Status: deinstall ok config-files
Version: 4.3.1
"""


class Device(LocalSystem):
    """This host with another dpkg status file, and, if so asked, without openssl."""

    def __init__(self, openssl: bool = True) -> None:
        self._openssl = openssl
        self.asked: list[str] = []

    def read_bytes(self, path: str) -> bytes | None:
        return STATUS.encode() if path == "/var/lib/dpkg/status" else super().read_bytes(path)

    def run(self, argv: list[str], timeout_s: float = 30.0) -> Result:
        self.asked.append(argv[1])
        return super().run(argv, timeout_s) if self._openssl else Result(127, "", "no such program: openssl")


def openssl(*argv: str, cwd: Path) -> None:
    subprocess.run(["openssl", *argv], cwd=cwd, check=True, capture_output=True)


def authority(directory: Path, name: str) -> None:
    """Root and issuing CA, as `name-root` and `name-issuing`, in the directory."""
    root, issuing = f"{name}-root", f"{name}-issuing"
    ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    ca = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
    constraint = "basicConstraints=critical,CA:TRUE,pathlen:"
    openssl(
        *["req", "-x509", *ec, "-keyout", f"{root}.key", "-out", f"{root}.crt", "-subj", f"/CN={root}"],
        *["-days", "3000", "-addext", f"{constraint}1", *ca],
        cwd=directory,
    )
    openssl(
        *[
            "req",
            "-x509",
            *ec,
            "-keyout",
            f"{issuing}.key",
            "-out",
            f"{issuing}.crt",
            "-subj",
            f"/CN={issuing}",
        ],
        *["-days", "2000", "-addext", f"{constraint}0", *ca, "-CA", f"{root}.crt", "-CAkey", f"{root}.key"],
        cwd=directory,
    )


def new_key(directory: Path) -> None:
    """A new device.key."""
    made = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "device.key"]
    openssl("genpkey", *made, cwd=directory)


def leaf(directory: Path, issuer: str, days: int = 825) -> None:
    """device.key when there is none, and device.crt for it, leaf then issuing CA."""
    if not (directory / "device.key").exists():
        new_key(directory)
    openssl(
        *[
            "req",
            "-x509",
            "-key",
            "device.key",
            "-out",
            "leaf.crt",
            "-subj",
            "/O=Edgewright site/OU=device/CN=reader-01",
        ],
        *["-days", str(days), "-addext", "basicConstraints=critical,CA:FALSE"],
        *[
            "-addext",
            "extendedKeyUsage=serverAuth,clientAuth",
            "-addext",
            "keyUsage=critical,digitalSignature",
        ],
        *["-addext", "subjectAltName=DNS:reader-01,IP:127.0.0.1,IP:fd00::1"],
        *["-CA", f"{issuer}-issuing.crt", "-CAkey", f"{issuer}-issuing.key"],
        cwd=directory,
    )
    chain = (directory / "leaf.crt").read_text() + (directory / f"{issuer}-issuing.crt").read_text()
    (directory / "device.crt").write_text(chain)


@pytest.fixture
def provisioned(tmp_path: Path) -> Path:
    """The directory of an identity as it should be, with a second authority beside it."""
    authority(tmp_path, "site")
    authority(tmp_path, "other")
    leaf(tmp_path, "site")
    (tmp_path / "device.key").chmod(0o400)
    shutil.copy(tmp_path / "site-root.crt", tmp_path / "kept.crt")
    return tmp_path


def read(directory: Path, renew_days: int = 90, device: Device | None = None) -> dict[str, Any]:
    scope = {
        "directory": str(directory),
        "renew_days": renew_days,
        "packages": {"openssl": "3", "python3-apt": "2", "podman": "4", "curl": "7"},
    }
    return identity.read(device or Device(), scope)


def test_a_good_identity(provisioned: Path) -> None:
    have = read(provisioned)
    assert have["key"]["mode"] == "0400"
    assert have["key"]["kind"] == "ec-p256"
    certificate = have["certificate"]
    assert certificate["subject"] == "CN=reader-01,OU=device,O=Edgewright site"
    assert certificate["names"] == ["DNS:reader-01", "IP:127.0.0.1", "IP:fd00::1"]
    assert certificate["issuer"] == "CN=site-issuing"
    assert (certificate["chain"], certificate["matches_key"], certificate["renewal_due"]) == (
        "verified",
        True,
        False,
    )
    shown = subprocess.run(
        ["openssl", "x509", "-in", provisioned / "leaf.crt", "-noout", "-fingerprint", "-sha256"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert certificate["sha256"] == shown.stdout.strip().partition("=")[2].replace(":", "").lower()


def test_a_bare_device_starts_no_program(tmp_path: Path) -> None:
    device = Device()
    have = read(tmp_path, device=device)
    assert (have["key"], have["certificate"], have["site_root"]) == (None, None, None)
    assert device.asked == []


def test_openssl_is_not_asked_for_what_the_bytes_of_a_good_key_say(provisioned: Path) -> None:
    device = Device()
    good = read(provisioned, device=device)
    assert device.asked == ["x509", "verify"]
    # The same key in another form: openssl reads it, and says the same.
    openssl("ec", "-in", "device.key", "-out", "device.key", cwd=provisioned)
    (provisioned / "device.key").chmod(0o400)
    device = Device()
    assert read(provisioned, device=device) == good
    assert device.asked == ["x509", "pkey", "verify"]


@pytest.mark.parametrize("at", [0, 20, 69, 75, 137], ids=["length", "curve", "middle", "point", "end"])
def test_a_key_with_one_bit_changed_is_openssls_to_judge(provisioned: Path, at: int) -> None:
    key = provisioned / "device.key"
    lines = key.read_text().splitlines()
    held = bytearray(base64.b64decode("".join(lines[1:-1])))
    assert len(held) == 138
    held[at] ^= 1
    key.chmod(0o600)
    key.write_text("\n".join([lines[0], base64.b64encode(held).decode(), lines[-1], ""]))
    device = Device()
    have = read(provisioned, device=device)
    assert "pkey" in device.asked
    assert have["certificate"]["matches_key"] is False
    judged = subprocess.run(["openssl", "pkey", "-in", key, "-noout"], capture_output=True, check=False)
    assert (have["key"]["kind"] == "unreadable") is bool(judged.returncode)


def test_the_first_key_of_a_file_counts(provisioned: Path) -> None:
    mine = (provisioned / "device.key").read_text()
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "first.key", cwd=provisioned)
    first = (provisioned / "first.key").read_text()
    assert first.startswith("-----BEGIN EC PRIVATE KEY-----")
    (provisioned / "device.key").chmod(0o600)
    (provisioned / "device.key").write_text(first + mine)
    assert read(provisioned)["certificate"]["matches_key"] is False
    (provisioned / "device.key").write_text(mine + first)
    assert read(provisioned)["certificate"]["matches_key"] is True


def test_only_packages_that_are_wholly_installed_count(tmp_path: Path) -> None:
    assert read(tmp_path)["packages"] == {
        "openssl": "3.0.17-1~deb12u2",
        "python3-apt": None,
        "podman": None,
        "curl": None,
    }


def test_a_certificate_near_its_end_or_past_it_is_due(provisioned: Path) -> None:
    leaf(provisioned, "site", days=30)
    assert read(provisioned)["certificate"]["renewal_due"] is True
    assert read(provisioned, renew_days=10)["certificate"]["renewal_due"] is False
    assert read(provisioned)["certificate"]["chain"] == "verified"


def test_another_authoritys_certificate_does_not_verify(provisioned: Path) -> None:
    leaf(provisioned, "other")
    certificate = read(provisioned)["certificate"]
    assert "issuer certificate" in certificate["chain"]
    assert certificate["matches_key"] is True


def test_an_authority_of_the_system_is_not_the_sites(
    provisioned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaf(provisioned, "other")
    store = provisioned / "store"
    store.mkdir()
    shown = subprocess.run(
        ["openssl", "x509", "-in", provisioned / "other-root.crt", "-noout", "-hash"],
        capture_output=True,
        text=True,
        check=True,
    )
    shutil.copy(provisioned / "other-root.crt", store / f"{shown.stdout.strip()}.0")
    monkeypatch.setenv("SSL_CERT_DIR", str(store))
    monkeypatch.setenv("SSL_CERT_FILE", str(provisioned / "other-root.crt"))
    asked = ["openssl", "verify", "-CAfile", "site-root.crt", "-untrusted", "device.crt", "device.crt"]
    # So openssl itself has it: the system's authorities count beside those that it is given.
    subprocess.run(asked, cwd=provisioned, check=True, capture_output=True)
    assert "issuer certificate" in read(provisioned)["certificate"]["chain"]


def test_a_certificate_for_another_key_is_told(provisioned: Path) -> None:
    (provisioned / "device.key").unlink()
    new_key(provisioned)
    have = read(provisioned)
    assert have["certificate"]["matches_key"] is False
    assert have["key"]["kind"] == "ec-p256"


def test_a_key_of_another_kind_or_damaged_is_told(provisioned: Path) -> None:
    (provisioned / "device.key").unlink()
    openssl("genpkey", "-algorithm", "RSA", "-out", "device.key", cwd=provisioned)
    assert read(provisioned)["key"]["kind"].startswith("Public-Key: (2048 bit")
    (provisioned / "device.key").write_text("-----BEGIN PRIVATE KEY-----\ncut")
    have = read(provisioned)
    assert have["key"]["kind"] == "unreadable"
    assert have["certificate"]["matches_key"] is False


@pytest.mark.parametrize(
    "text", ["", "no certificate\n", "-----BEGIN CERTIFICATE-----\n####\n-----END CERTIFICATE-----\n"]
)
def test_a_damaged_root_or_certificate_is_no_certificate(provisioned: Path, text: str) -> None:
    (provisioned / "site-root.crt").write_text(text)
    have = read(provisioned)
    assert have["site_root"] is None
    assert have["certificate"]["chain"] != "verified"
    (provisioned / "device.crt").write_text(text)
    certificate = read(provisioned)["certificate"]
    assert certificate is None if not text else certificate["chain"].startswith("not readable: ")


def test_without_openssl_a_certificate_is_not_taken_for_good(provisioned: Path) -> None:
    have = read(provisioned, device=Device(openssl=False))
    assert (have["key"]["kind"], have["certificate"]["matches_key"]) == ("unreadable", False)
    assert have["certificate"]["chain"] == "not readable: no such program: openssl"
