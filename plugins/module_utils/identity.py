# SPDX-License-Identifier: Apache-2.0
"""Reads a device's identity: key, certificate and the root that it trusts.

Two calls of openssl on a device as it shall be, three at most, and none on one without a key and a
certificate: each costs about half a second on an emulated device. Standard library only, Python 3.9 and
later. The items are described in `edgewright/device/identity.py`.
"""

from __future__ import annotations

import binascii
import re
from typing import Dict, List, Mapping, Optional, Tuple

from ansible_collections.edgewright.factory.plugins.module_utils.lean import sha256
from ansible_collections.edgewright.factory.plugins.module_utils.system import Result, System

# A private key for P-256 as openssl and Python's `cryptography` write it (RFC 5958, RFC 5915): every byte but
# those of its two numbers is given. `_P256` names the curve, in it and in a public key (RFC 5480).
_P256 = bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107")
_P256_BEGIN = bytes.fromhex("308187020100") + _P256 + bytes.fromhex("046d306b0201010420")
_P256_MIDDLE = bytes.fromhex("a144")
_P256_SECRET_END = len(_P256_BEGIN) + 32


def read(system: System, scope: Mapping[str, object]) -> Dict[str, object]:
    """Read the area.

    Args:
        system: the device.
        scope: the area's want: `directory`, `renew_days` and the names in `packages` are used.

    Returns:
        `packages`, `key`, `certificate` and `site_root`.
    """
    directory = str(scope["directory"])
    packages = scope.get("packages")
    names = list(packages) if isinstance(packages, dict) else []
    pem = system.read(directory + "/device.crt")
    shown = _shown(system, directory, int(str(scope["renew_days"]))) if pem else Result(0, "", "")
    certified = _block("PUBLIC KEY", shown.out)
    kind, public = _public_key(system, directory + "/device.key", certified)
    root_sha256 = fingerprint(system.read(directory + "/site-root.crt"))
    return {
        "packages": installed(system, names),
        "key": _key(system, directory + "/device.key", kind),
        "certificate": _certificate(system, directory, pem, shown, bool(public) and public == certified)
        if pem
        else None,
        "site_root": None if root_sha256 is None else {"sha256": root_sha256},
    }


def fingerprint(pem: Optional[str]) -> Optional[str]:
    """SHA-256 of the first certificate's DER in lower-case hexadecimal; None when there is none."""
    der = _block("CERTIFICATE", pem or "")
    return sha256(der) if der else None


def _block(label: str, pem: str) -> bytes:
    """What the first block of a label holds; nothing when there is none, or it is no base64."""
    found = re.search("-----BEGIN %s-----\n(.*?)-----END %s-----" % (label, label), pem, re.DOTALL)
    text = "".join(found.group(1).split()) if found else ""
    if not re.fullmatch("[A-Za-z0-9+/]*={0,2}", text):
        return b""
    try:
        return binascii.a2b_base64(text)
    except ValueError:
        return b""


def installed(system: System, names: List[str]) -> Dict[str, Optional[str]]:
    """Versions of packages from dpkg's own status file: no process, unlike dpkg-query."""
    found: Dict[str, Optional[str]] = dict.fromkeys(names)
    text = "\n" + (system.read("/var/lib/dpkg/status") or "")
    for stanza in text.split("\nPackage: ")[1:]:
        name = stanza[: stanza.find("\n")]
        if name not in found:
            continue
        version = re.search(r"^Version: (\S+)", stanza, re.MULTILINE)
        if version and re.search(r"^Status: \S+ ok installed$", stanza, re.MULTILINE):
            found[name] = version.group(1)
    return found


def _public_key(system: System, path: str, certified: bytes) -> Tuple[str, bytes]:
    """Kind of the private key, and its public key as DER (nothing: it can't be read).

    Where the file begins with a P-256 key that has the certificate's public key, openssl would say nothing
    else and is not asked. Anything else is openssl's to judge.
    """
    pem = system.read(path) or ""
    held = _block("PRIVATE KEY", pem) if pem.startswith("-----BEGIN PRIVATE KEY-----") else b""
    if held.startswith(_P256_BEGIN) and held.startswith(_P256_MIDDLE, _P256_SECRET_END):
        public = b"\x30\x59" + _P256 + held[_P256_SECRET_END + len(_P256_MIDDLE) :]
        if public == certified:
            return "ec-p256", public
    if system.stat(path) is None:
        return "", b""
    done = system.run(["openssl", "pkey", "-in", path, "-pubout", "-text_pub"])
    if done.rc != 0 or not done.out:
        return "unreadable", b""
    kind = done.out.partition("-----END PUBLIC KEY-----")[2].strip().split("\n")[0] or "unknown"
    return "ec-p256" if "NIST CURVE: P-256" in done.out else kind, _block("PUBLIC KEY", done.out)


def _key(system: System, path: str, kind: str) -> Optional[Dict[str, object]]:
    access = system.stat(path)
    return None if access is None else {"mode": access["mode"], "owner": access["owner"], "kind": kind}


def _shown(system: System, directory: str, renew_days: int) -> Result:
    """What openssl says of the certificate.

    Its status is 1 also where "it will expire", which is an answer; one that can't be read has no subject.
    """
    argv = ["openssl", "x509", "-in", directory + "/device.crt", "-noout", "-subject", "-issuer"]
    argv += ["-startdate", "-enddate", "-dateopt", "iso_8601", "-nameopt", "RFC2253"]
    argv += ["-ext", "subjectAltName", "-pubkey", "-checkend", str(renew_days * 86400)]
    return system.run(argv)


def _certificate(
    system: System, directory: str, pem: str, shown: Result, matches_key: bool
) -> Dict[str, object]:
    subject = _after("subject=", shown.out)
    if subject is None:
        words = (shown.err.strip() or "no answer from openssl").split("\n")
        return {
            "subject": None,
            "names": [],
            "issuer": None,
            "sha256": fingerprint(pem),
            "not_before": None,
            "not_after": None,
            "matches_key": False,
            "chain": "not readable: " + words[0],
            "renewal_due": True,
        }
    return {
        "subject": subject,
        "names": _names(shown.out),
        "issuer": _after("issuer=", shown.out),
        "sha256": fingerprint(pem),
        "not_before": _after("notBefore=", shown.out),
        "not_after": _after("notAfter=", shown.out),
        "matches_key": matches_key,
        "chain": _chain(system, directory),
        "renewal_due": "Certificate will expire" in shown.out,
    }


def _after(label: str, text: str) -> Optional[str]:
    for line in text.split("\n"):
        if line.startswith(label):
            return line[len(label) :].strip()
    return None


def _names(text: str) -> List[str]:
    found = re.search(r"Subject Alternative Name: *\n +(.*)", text)
    if found is None:
        return []
    names = [name.strip().replace("IP Address:", "IP:") for name in found.group(1).split(",")]
    return sorted(_compressed(name) for name in names)


def _compressed(name: str) -> str:
    """An address as Python writes it: openssl writes an IPv6 address in full, in capitals."""
    if not name.startswith("IP:") or ":" not in name[3:]:
        return name
    import ipaddress  # only for these: it is as large as all of the identity's reading

    try:
        return "IP:" + str(ipaddress.ip_address(name[3:]))
    except ValueError:
        return name


def _chain(system: System, directory: str) -> str:
    """`verified`, or openssl's own sentence on why the certificate does not lead to the site's root.

    The times are left out: whether the certificate is about to end is an item of its own, and a
    device whose clock has stopped must not take a good chain for a foreign one.
    """
    leaf = directory + "/device.crt"
    argv = ["openssl", "verify", "-no_check_time", "-purpose", "sslclient"]
    done = system.run([*argv, "-CAfile", directory + "/site-root.crt", "-untrusted", leaf, leaf])
    if done.rc == 0:
        return "verified"
    found = re.search(r"^error \d+ at .*?: (.*)", done.out + "\n" + done.err, re.MULTILINE)
    return found.group(1) if found else "not verified: " + (done.err.strip().split("\n")[0] or "no answer")
