# SPDX-License-Identifier: Apache-2.0
"""Area `depot_client`: the depot is the device's only source of packages and container images.

Pure: no IO. `want` holds the very text of each file, so that the role writes what the probe compares
and there is no second place that could differ.

Items of `have` and `want`:

    files              {path: text}, None for a file that is not there
    keyring            {sha256} of the key that apt trusts for the depot, or None
    registry_identity  {file in the registry's directory under certs.d: whether it is the identity's}
    other_sources      active apt sources that are not the depot's: [{file, line, text}]
    unqualified        lines that let an image be searched in registries: [{file, line, text}]
    release            {sha256} of the depot's InRelease that apt fetched last, or None; None also where
                       a list that it names is there with another digest

`want` has `depot` more: where the probe looks (url, host, port, suite, and the directory of the identity).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from edgewright.device import identity
from edgewright.device.drift import Drift, Have, Want
from edgewright.errors import InputError

__all__ = ["AREA", "CONTROLLER_FACTS", "REPLACED_DIRECTORY", "depot_address", "drift", "explain", "want"]

AREA = "depot_client"

# Facts about files on the controller that `want` needs: variable -> (how, where); None when missing.
CONTROLLER_FACTS: Mapping[str, tuple[str, str]] = {
    "__depot_client_archive_key_sha256": (
        "file_sha256",
        "{depot_client_depot_dir}/apt/edgewright-archive-key.asc",
    ),
    "__depot_client_release_sha256": (
        "file_sha256",
        "{depot_client_depot_dir}/apt/dists/{depot_client_suite}/InRelease",
    ),
}

SOURCE = "/etc/apt/sources.list.d/edgewright-depot.sources"
KEYRING = "/etc/apt/keyrings/edgewright-depot.asc"
APT_CONF = "/etc/apt/apt.conf.d/80edgewright-depot"
POLICY = "/etc/containers/policy.json"
REGISTRIES = "/etc/containers/registries.conf.d/80-edgewright-depot.conf"
REPLACED_DIRECTORY = "/var/lib/edgewright/depot_client/replaced"

# File in the registry's directory under certs.d -> file of the identity that it must equal.
REGISTRY_IDENTITY = {"ca.crt": "site-root.crt", "client.cert": "device.crt", "client.key": "device.key"}

_HEADER = "Written by Edgewright (role depot_client); changes made here are undone by the next run."
_WORD = re.compile(r"[a-z0-9][a-z0-9.+-]*")


def want(variables: Mapping[str, Any], profile: Mapping[str, Any], lock: Mapping[str, Any]) -> dict[str, Any]:
    """The depot as the device shall know it.

    Args:
        variables: `depot_client_*` of the role, and the facts of `CONTROLLER_FACTS`.
        profile: the device's hardware profile (not used: the lock names the architecture).
        lock: the release's lock.

    Raises:
        InputError: the depot's URL is not one, or the suite is not the lock's.
    """
    del profile
    url, host, port = _depot(variables.get("depot_client_url"))
    suite = variables.get("depot_client_suite")
    if not isinstance(suite, str) or not _WORD.fullmatch(suite):
        raise InputError(f"depot_client_suite: expected a suite such as bookworm, got {suite!r}")
    if suite != lock["os"]["suite"]:
        raise InputError(
            f"depot_client_suite is {suite}, but the lock of release {lock['release']['name']}"
            f" {lock['release']['version']} is for {lock['os']['suite']}: make them the same"
        )
    key = variables.get("__depot_client_archive_key_sha256")
    release = variables.get("__depot_client_release_sha256")
    return {
        "depot": {
            "url": url,
            "host": host,
            "port": port,
            "suite": suite,
            "source": SOURCE,
            "keyring": KEYRING,
            "identity": identity.DIRECTORY,
            "registry": f"/etc/containers/certs.d/{host}:{port}",
        },
        "suite": suite,
        "files": {
            SOURCE: _source(url, suite, lock["os"]["arch"]),
            APT_CONF: _apt_conf(host),
            POLICY: _policy(host, port),
            REGISTRIES: _registries(host, port),
        },
        "keyring": {"sha256": key},
        "registry_identity": dict.fromkeys(REGISTRY_IDENTITY, True),
        "other_sources": [],
        "unqualified": [],
        "release": {"sha256": release},
    }


def depot_address(variables: Mapping[str, Any]) -> tuple[str, int]:
    """Host and port of the depot.

    Raises:
        InputError: `depot_client_url` is not https, a host and a port.
    """
    return _depot(variables.get("depot_client_url"))[1:]


def _depot(value: object) -> tuple[str, str, int]:
    """URL without a trailing slash, host and port."""
    say = f"depot_client_url: expected https://HOST:PORT, such as https://10.0.2.100:8443, got {value!r}"
    if not isinstance(value, str):
        raise InputError(say)
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError as error:
        raise InputError(f"{say} ({error})") from error
    if parts.scheme != "https":
        raise InputError(f"{say}: the depot is served over TLS only")
    host = parts.hostname
    if not host or parts.path not in ("", "/") or parts.query or parts.fragment or parts.username:
        raise InputError(f"{say}: nothing but host and port")
    if ":" in host:
        raise InputError(f"{say}: apt's settings for one host take no IPv6 address; give the depot a name")
    identity.subject_alt_names([host])
    port = port or 443
    return f"https://{host}:{port}", host, port


def _source(url: str, suite: str, arch: str) -> str:
    return (
        f"# {_HEADER}\n"
        "Types: deb\n"
        f"URIs: {url}/apt\n"
        f"Suites: {suite}\n"
        "Components: main\n"
        f"Architectures: {arch}\n"
        f"Signed-By: {KEYRING}\n"
    )


def _apt_conf(host: str) -> str:
    # apt's settings are per host, not per port; the scheme and the source's URL fix the port.
    where = f"Acquire::https::{host}"
    return (
        f"// {_HEADER}\n"
        "// apt's https method runs as the user _apt, who owns the key for that reason.\n"
        f'{where}::CaInfo "{identity.DIRECTORY}/site-root.crt";\n'
        f'{where}::SslCert "{identity.DIRECTORY}/device.crt";\n'
        f'{where}::SslKey "{identity.DIRECTORY}/device.key";\n'
        f'{where}::Proxy "DIRECT";\n'
        "// Nobody sits at a device: a package whose settings were changed (podman's policy.json is)"
        " keeps them.\n"
        'DPkg::Options { "--force-confdef"; "--force-confold"; };\n'
    )


def _policy(host: str, port: int) -> str:
    # "insecureAcceptAnything" is the format's word for "no signature asked for": which bytes are good is
    # said by the digests of the lock, and who may hand them out by the depot's certificate.
    policy = {
        "default": [{"type": "reject"}],
        "transports": {"docker": {f"{host}:{port}": [{"type": "insecureAcceptAnything"}]}},
    }
    return json.dumps(policy, indent=2) + "\n"


def _registries(host: str, port: int) -> str:
    return (
        f"# {_HEADER}\n"
        "# An image is named with its registry, always; the short name of an image means nothing here.\n"
        "unqualified-search-registries = []\n"
        "\n"
        "[[registry]]\n"
        f'location = "{host}:{port}"\n'
        "insecure = false\n"
    )


_WHY_FILE = {
    SOURCE: "the apt source of the depot",
    APT_CONF: "apt's settings of the depot's certificate",
    POLICY: "the policy that accepts images of the depot only",
    REGISTRIES: "the registry of the depot",
}


def drift(have: Have, want: Want) -> list[Drift]:
    """What differs; a foreign source is named by file and line."""
    found = _suite(have, want)
    files = have.get("files") or {}
    for path, text in want["files"].items():
        if files.get(path) != text:
            state = "is missing" if files.get(path) is None else "was changed"
            found.append(
                Drift(AREA, f"files.{path}", files.get(path), text, f"{_WHY_FILE[path]} {state}: {path}")
            )
    found += _digest("keyring", have, want)
    registry = want["depot"]["registry"]
    for name in want["registry_identity"]:
        if not (have.get("registry_identity") or {}).get(name):
            why = (
                f"podman can't show the depot the device's certificate: {registry}/{name} is missing or stale"
            )
            found.append(Drift(AREA, f"registry_identity.{name}", False, True, why))
    found += _foreign("other_sources", "apt has sources that are not the depot", have)
    found += _foreign("unqualified", "podman would search registries for a short name", have)
    found += _digest("release", have, want)
    return found


def _suite(have: Have, want: Want) -> list[Drift]:
    """Packages of one release of Debian on another would leave a device that is neither."""
    got, wanted = have.get("suite"), want["suite"]
    if got in (None, wanted):
        return []
    why = (
        f"the device has Debian's {got}, the release's packages are for {wanted}: lock a release for {got},"
        f" or install {wanted} on the device first"
    )
    return [Drift(AREA, "suite", got, wanted, why)]


def _foreign(item: str, what: str, have: Have) -> list[Drift]:
    entries = have.get(item) or []
    if not entries:
        return []
    lines = [f"{entry['file']} line {entry['line']}: {entry['text']}" for entry in entries]
    places = ", ".join(f"{entry['file']} line {entry['line']}" for entry in entries)
    return [Drift(AREA, item, lines, [], f"{what}: {places}; moved to {REPLACED_DIRECTORY} by the next run")]


# Item -> what it is called, where it lies, and what another one than wanted means.
_DIGESTS = {
    "keyring": (
        "the key that signs the depot's packages",
        KEYRING,
        "apt would trust packages signed by another key than the depot's",
    ),
    "release": (
        "the depot's list of packages",
        "/var/lib/apt/lists",
        "the depot has another release than this device knows, or the device's lists of it are not whole",
    ),
}


def _digest(item: str, have: Have, want: Want) -> list[Drift]:
    what, path, other = _DIGESTS[item]
    wanted = want[item]["sha256"]
    got = (have.get(item) or {}).get("sha256")
    if wanted is None:
        why = f"{what} is not made yet; the role `depot` builds the depot on the controller"
    elif got == wanted:
        return []
    elif got is None:
        why = f"the device does not have {what} yet ({path})"
    else:
        why = f"{other} ({path})"
    return [Drift(AREA, item, got, wanted or "made with the depot (not built yet)", why)]


# What apt prints -> what happened and what to do. The first that matches counts; {url} is the depot's.
_CAUSES = (
    (
        r"Could not load client (certificate|or key)",
        "the device has no certificate that apt may read. Run the role identity for this device",
    ),
    (
        r"expired certificate|not yet (valid|activated)|has expired",
        "a certificate's time and the device's clock do not fit."
        " Compare `date` on the device with the controller's",
    ),
    (
        # apt 3 tells OpenSSL's words, which name no reason.
        r"SSL routines::certificate verify failed",
        "the machine at {url} has no certificate of this site's authority for that address, or its time and"
        " the device's clock do not fit; apt does not tell which. Look at authority_controller_names, compare"
        " `date` on the device with the controller's, run the role authority, and restart the depot",
    ),
    (
        r"SSL certificate problem|certificate verify failed|certificate is NOT trusted|self-signed cert"
        r"|issuer is unknown|doesn't match|does not match|hostname",
        "the machine at {url} has no certificate of this site's authority for that address."
        " Look at authority_controller_names, run the role authority, and restart the depot",
    ),
    (
        r"\b400\b +Bad Request|\b403\b|alert (certificate|bad certificate|unknown ca)|handshake failure"
        r"|certificate required|TLS alert",
        "the depot at {url} refused the device's certificate."
        " Run the role identity for this device, and check that the depot trusts the same authority",
    ),
    (
        r"NO_PUBKEY|BADSIG|not signed|EXPKEYSIG|signatures (couldn't|were) |/sqv returned an error",
        "the list of packages at {url} is not signed by the key that the device trusts for the depot."
        " Check who serves the depot, and build it again with `edgewright depot build`",
    ),
    (
        r"Hash Sum mismatch|File has unexpected size",
        "the depot at {url} serves files that do not match its signed list."
        " Build it again with `edgewright depot build`",
    ),
    (
        r"\b404\b",
        "the depot at {url} answers, but has no such list of packages."
        " Look at depot_client_suite and the depot's release",
    ),
    (
        r"Could not connect|Connection (refused|timed out|failed)|Unable to connect|No route to host"
        r"|unreachable|Could not resolve|Temporary failure|timed out"
        # A forward, such as a twin's, takes the connection and then finds nobody behind it.
        r"|TLS connection was non-properly terminated|Error in the pull function|Connection reset"
        r"|unexpected eof while reading",
        "the depot at {url} does not answer. Start it on the controller (role depot, or"
        " `edgewright depot up`) and check the cable and the address in depot_client_url",
    ),
)


def explain(output: str, url: str) -> str:
    """Why apt could not read the depot, for a person.

    Args:
        output: what apt, or Ansible's module for it, said.
        url: the depot's URL.

    Returns:
        One or two sentences with the cause, what to do next, and apt's own decisive line.
    """
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for pattern, sentence in _CAUSES:
        for line in lines:
            if re.search(pattern, line, re.IGNORECASE):
                return f"{sentence.format(url=url)}. apt said: {line[:400]}"
    said = lines[-1][:400] if lines else "nothing"
    return f"apt could not read the depot at {url}, for a reason not known here. apt said: {said}"
