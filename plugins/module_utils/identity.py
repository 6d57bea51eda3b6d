# SPDX-License-Identifier: Apache-2.0
"""Reads a device's identity: key, certificate and the root that it trusts.

Three calls of openssl at most, and none on a device without a certificate: each costs about half a
second on an emulated device. Standard library only, Python 3.9 and later. The items are described
in `edgewright/device/identity.py`.
"""

from __future__ import annotations

import binascii
import re
from typing import Dict, List, Mapping, Optional

from ansible_collections.edgewright.factory.plugins.module_utils.lean import sha256
from ansible_collections.edgewright.factory.plugins.module_utils.system import System

_PEM = re.compile("-----BEGIN CERTIFICATE-----\n(.*?)-----END CERTIFICATE-----", re.DOTALL)


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
    key_path = directory + "/device.key"
    public = _public_key(system, key_path)
    root = system.read(directory + "/site-root.crt")
    root_sha256 = fingerprint(root)
    return {
        "packages": installed(system, names),
        "key": _key(system, key_path, public),
        "certificate": _certificate(system, directory, public, int(str(scope["renew_days"]))),
        "site_root": None if root_sha256 is None else {"sha256": root_sha256},
    }


def fingerprint(pem: Optional[str]) -> Optional[str]:
    """SHA-256 of the first certificate's DER in lower-case hexadecimal; None when there is none."""
    found = _PEM.search(pem or "")
    if found is None:
        return None
    try:
        der = _decoded("".join(found.group(1).split()))
    except ValueError:
        return None
    return sha256(der) if der else None


def _decoded(text: str) -> bytes:
    """Bytes of a base64 text, in which nothing else may stand."""
    if not re.fullmatch("[A-Za-z0-9+/]*={0,2}", text):
        raise ValueError("no base64")
    return binascii.a2b_base64(text)


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


def _public_key(system: System, path: str) -> str:
    if system.stat(path) is None:
        return ""
    done = system.run(["openssl", "pkey", "-in", path, "-pubout", "-text_pub"])
    return done.out if done.rc == 0 else ""


def _key(system: System, path: str, public: str) -> Optional[Dict[str, object]]:
    access = system.stat(path)
    if access is None:
        return None
    if not public:
        kind = "unreadable"
    elif "NIST CURVE: P-256" in public:
        kind = "ec-p256"
    else:
        kind = public.partition("-----END PUBLIC KEY-----")[2].strip().split("\n")[0] or "unknown"
    return {"mode": access["mode"], "owner": access["owner"], "kind": kind}


def _certificate(system: System, directory: str, public: str, renew_days: int) -> Optional[Dict[str, object]]:
    path = directory + "/device.crt"
    pem = system.read(path)
    if not pem:
        return None
    argv = [
        "openssl",
        "x509",
        "-in",
        path,
        "-noout",
        "-subject",
        "-issuer",
        "-startdate",
        "-enddate",
        "-dateopt",
    ]
    argv += ["iso_8601", "-nameopt", "RFC2253", "-ext", "subjectAltName", "-pubkey"]
    argv += ["-checkend", str(renew_days * 86400)]
    shown = system.run(argv)
    # Status 1 is also "it will expire", which is an answer; a certificate that can't be read has no subject.
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
        "matches_key": bool(public) and _pubkey(shown.out) == _pubkey(public),
        "chain": _chain(system, directory),
        "renewal_due": "Certificate will expire" in shown.out,
    }


def _after(label: str, text: str) -> Optional[str]:
    for line in text.split("\n"):
        if line.startswith(label):
            return line[len(label) :].strip()
    return None


def _pubkey(text: str) -> Optional[str]:
    found = re.search("-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", text, re.DOTALL)
    return found.group(0) if found else None


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
