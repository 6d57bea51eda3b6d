# SPDX-License-Identifier: Apache-2.0
"""Reads where a device takes its packages and images from. Files only: no process is started.

Standard library only, Python 3.9 and later. The items are described in
`edgewright/device/depot_client.py`.
"""

from __future__ import annotations

import re
from typing import Dict, List, Mapping, Optional, Tuple

from ansible_collections.edgewright.factory.plugins.module_utils.lean import sha256
from ansible_collections.edgewright.factory.plugins.module_utils.system import System

_LISTS = "/var/lib/apt/lists"
_REGISTRY_FILES = {"ca.crt": "site-root.crt", "client.cert": "device.crt", "client.key": "device.key"}


def read(system: System, scope: Mapping[str, object]) -> Dict[str, object]:
    """Read the area.

    Args:
        system: the device.
        scope: the area's want: `depot` and the paths in `files` are used.

    Returns:
        `suite`, `files`, `keyring`, `registry_identity`, `other_sources`, `unqualified` and `release`.
    """
    depot = scope["depot"]
    files = scope["files"]
    if not isinstance(depot, dict) or not isinstance(files, dict):
        raise ValueError("depot_client: the want has no `depot` or no `files`")
    return {
        "suite": suite(system.read("/etc/os-release") or ""),
        "files": {path: system.read(path) for path in files},
        "keyring": _digest(system.read_bytes(depot["keyring"])),
        "registry_identity": _registry_identity(system, depot["registry"], depot["identity"]),
        "other_sources": other_sources(system, depot["source"]),
        "unqualified": unqualified(system, list(files)),
        "release": _release(system, depot),
    }


def suite(text: str) -> Optional[str]:
    """Debian's release as os-release(5) names it; None where it does not."""
    found = re.search(r"^VERSION_CODENAME=[\"']?([a-z0-9-]+)", text, re.MULTILINE)
    return found.group(1) if found else None


def _digest(data: Optional[bytes]) -> Optional[Dict[str, str]]:
    return None if data is None else {"sha256": sha256(data)}


def _registry_identity(system: System, registry: str, identity: str) -> Dict[str, bool]:
    """Whether each file that podman reads is the identity's own (a link to it, or the same bytes)."""
    same = {}
    for name, original in _REGISTRY_FILES.items():
        data = system.read_bytes(registry + "/" + name)
        same[name] = data is not None and data == system.read_bytes(identity + "/" + original)
    return same


def other_sources(system: System, own: str) -> List[Dict[str, object]]:
    """Active apt sources but the depot's, as `{file, line, text}`.

    apt reads /etc/apt/sources.list, and in sources.list.d only names that end in .list or .sources.
    """
    found = _one_line_style("/etc/apt/sources.list", system.read("/etc/apt/sources.list") or "")
    for name in system.listdir("/etc/apt/sources.list.d"):
        path = "/etc/apt/sources.list.d/" + name
        # apt ignores a file whose name has other characters than these.
        if path == own or not re.match(r"[A-Za-z0-9_.-]+$", name):
            continue
        if name.endswith(".list"):
            found += _one_line_style(path, system.read(path) or "")
        elif name.endswith(".sources"):
            found += _deb822_style(path, system.read(path) or "")
    return found


def _one_line_style(path: str, text: str) -> List[Dict[str, object]]:
    return [
        {"file": path, "line": number, "text": line.split("#")[0].strip()}
        for number, line in enumerate(text.split("\n"), 1)
        if re.match(r"\s*deb(-src)?\s", line)
    ]


def _deb822_style(path: str, text: str) -> List[Dict[str, object]]:
    """One entry for each stanza that is not switched off by `Enabled: no`."""
    found: List[Dict[str, object]] = []
    stanza: List[str] = []
    first = 0
    for number, line in enumerate([*text.split("\n"), ""], 1):
        if line.startswith("#"):
            continue
        if line.strip():
            first = first or number
            stanza.append(line)
            continue
        if stanza and not _switched_off(stanza):
            words = [
                part.strip() for part in stanza if re.match(r"(types|uris|suites)\s*:", part, re.IGNORECASE)
            ]
            found.append({"file": path, "line": first, "text": "; ".join(words) or stanza[0]})
        stanza, first = [], 0
    return found


def _switched_off(stanza: List[str]) -> bool:
    return any(
        re.match(r"enabled\s*:\s*(no|false|0|off|without|disable)\s*$", line, re.IGNORECASE)
        for line in stanza
    )


def unqualified(system: System, own: List[str]) -> List[Dict[str, object]]:
    """Settings that come after the depot's and let podman search registries: `{file, line, text}`.

    Files of registries.conf.d are read in order of their names, and the last one counts; the depot's
    own empties the list, so only later ones matter.
    """
    directory = "/etc/containers/registries.conf.d/"
    ours = [path[len(directory) :] for path in own if path.startswith(directory)]
    found: List[Dict[str, object]] = []
    for name in system.listdir(directory):
        if not name.endswith(".conf") or not ours or name <= max(ours):
            continue
        text = system.read(directory + name) or ""
        for number, line in enumerate(text.split("\n"), 1):
            if re.match(r"\s*unqualified-search-registries\s*=", line):
                found.append({"file": directory + name, "line": number, "text": line.strip()})
    return found


def _release(system: System, depot: Mapping[str, object]) -> Optional[Dict[str, str]]:
    """The depot's InRelease as apt fetched it last, where the lists that it names are whole.

    apt believes its lists as long as InRelease is the same, also one that a loss of power emptied.
    """
    # apt writes the URL's slashes as underscores.
    prefix = "{}/{}:{}_apt_dists_{}_".format(_LISTS, depot["host"], depot["port"], depot["suite"])
    data = system.read_bytes(prefix + "InRelease")
    for digest, path in _listed(data or b""):
        held = system.read_bytes(prefix + path.replace("/", "_"))
        if held is not None and sha256(held) != digest:
            return None
    return _digest(data)


def _listed(release: bytes) -> List[Tuple[str, str]]:
    """SHA-256 and path of each file in a Release file's section `SHA256`."""
    text = release.decode("utf-8", "replace")
    section = re.search(r"^SHA256:[^\n]*\n((?: [^\n]*\n)+)", text, re.MULTILINE)
    rows = [line.split() for line in section.group(1).splitlines()] if section else []
    return [(row[0], row[2]) for row in rows if len(row) == 3]
