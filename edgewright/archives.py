# SPDX-License-Identifier: Apache-2.0
"""Debian's archives by name, with this host's addresses: locked against one mirror, fetched from another.

A release and its lock say *which* archive a package comes from (`archive:debian`), never *where* this
build host finds it. The address is the one that this host's own apt uses for an archive of that origin and
label, so a company mirror, a snapshot or a proxy counts without a word in the release. Digests and Debian's
signatures decide what is accepted, whatever the address.

    address("archive:debian/pool/main/o/openssl/openssl_3.0.17-1_amd64.deb")
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from edgewright.errors import InputError, MissingToolError

__all__ = ["ARCHIVES", "VARIABLE", "address", "parse_targets", "parse_variable", "release_date"]

ARCHIVES: Mapping[str, tuple[str, str]] = {
    "debian": ("Debian", "Debian"),
    "debian-security": ("Debian", "Debian-Security"),
}
"""Archive name -> Origin and Label of its Release files (https://wiki.debian.org/DebianRepository/Format)."""

VARIABLE = "EDGEWRIGHT_ARCHIVES"
"""Environment variable that names addresses by hand: `debian=URI debian-security=URI`."""

_REFERENCE = re.compile(r"^archive:(?P<name>[a-z0-9-]+)(?P<path>/.*)?$")
_FORMAT = "$(ORIGIN)|$(LABEL)|$(REPO_URI)"


def address(reference: str) -> str:
    """Where this host finds what a release or a lock names.

    Args:
        reference: `archive:NAME` or `archive:NAME/PATH`; an http or https address is returned as it is.

    Returns:
        An http or https address, without a slash at its end where the reference has none.

    Raises:
        InputError: no such archive is known, this host has no source of it, or `EDGEWRIGHT_ARCHIVES` is
            wrong.
        MissingToolError: there is no apt here to ask.
    """
    if reference.startswith(("http://", "https://")):
        return reference
    match = _REFERENCE.match(reference)
    name = match["name"] if match else ""
    if match is None or name not in ARCHIVES:
        raise InputError(
            f"finding {reference}: expected an http or https address, or one of "
            f"{', '.join(f'archive:{known}' for known in ARCHIVES)}"
        )
    found = parse_variable(os.environ.get(VARIABLE, "")) or {}
    base = found.get(name) or _host_archives().get(name)
    if base is None:
        raise InputError(
            f"finding {reference}: this host's apt lists no source of the archive {name}; run: "
            f"apt-get update; or name its address: {VARIABLE}='{name}=http://MIRROR/{name}'"
        )
    return base + (match["path"] or "")


def parse_variable(text: str) -> dict[str, str]:
    """Addresses by archive, from the environment variable's text.

    Raises:
        InputError: an entry is not `NAME=http://...` with a known name.
    """
    found = {}
    for word in text.split():
        name, _, base = word.partition("=")
        if name not in ARCHIVES or not base.startswith(("http://", "https://")):
            raise InputError(
                f"reading {VARIABLE}: expected NAME=http://ADDRESS with NAME one of {', '.join(ARCHIVES)}, "
                f"got {word!r}; correct it or unset it"
            )
        found[name] = base.rstrip("/")
    return found


def parse_targets(text: str) -> dict[str, str]:
    """Addresses by archive, from `apt-get indextargets`.

    Args:
        text: one line per index, `Origin|Label|address of the repository`; the first of an archive counts.
    """
    names = {key: name for name, key in ARCHIVES.items()}
    found: dict[str, str] = {}
    for line in text.splitlines():
        origin, label, base = [*line.split("|"), "", ""][:3]
        name = names.get((origin, label))
        if name is not None and base.startswith(("http://", "https://")):
            found.setdefault(name, base.rstrip("/"))
    return found


@functools.cache
def _host_archives() -> dict[str, str]:
    try:
        done = subprocess.run(
            ["apt-get", "indextargets", "--format", _FORMAT, "Created-By: Packages"],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
    except FileNotFoundError as error:
        raise MissingToolError(
            f"finding Debian's archives: apt-get is not installed here; name them in {VARIABLE}"
        ) from error
    return parse_targets(done.stdout)


def release_date(text: str) -> datetime:
    """A date of an archive's Release file, RFC 5322, in UTC; one without a zone is UTC.

    Raises:
        ValueError: it is no such date.
    """
    found = parsedate_to_datetime(text)
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
