# SPDX-License-Identifier: Apache-2.0
"""What a depot says of itself: `depot.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgewright.errors import InputError, IntegrityError

__all__ = ["ARCHIVE_KEY", "DEPOT_FILE", "LAYOUT", "SCHEMA", "describe_depot", "load_depot"]

DEPOT_FILE = "depot.json"
SCHEMA = "edgewright.depot/v1"
ARCHIVE_KEY = "apt/edgewright-archive-key.asc"

LAYOUT = 2
"""Raised when the trees of the same lock would look otherwise, so that depots are built anew."""


def describe_depot(
    release: str, version: str, lock_sha256: str, files: Mapping[str, Mapping[str, Any]], **more: str
) -> bytes:
    """The bytes of `depot.json`.

    Args:
        release: The release's name.
        version: Its version.
        lock_sha256: Digest of its lock.
        files: `sha256` and `size` of each file, by path; the apt repository's key among them.
        more: Further fields.
    """
    told = {
        "schema": SCHEMA,
        "release": release,
        "version": version,
        "lock_sha256": lock_sha256,
        "layout": LAYOUT,
        "key_sha256": files[ARCHIVE_KEY]["sha256"],
        **more,
        "files": files,
    }
    return json.dumps(told, indent=1).encode() + b"\n"


def load_depot(depot: Path) -> dict[str, Any]:
    """Read what a depot says of itself.

    Raises:
        InputError: There is no depot.
        IntegrityError: Its `depot.json` is damaged.
    """
    path = depot / DEPOT_FILE
    try:
        told = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(
            f"reading the depot {depot}: there is no {DEPOT_FILE}; build it with "
            f"`edgewright depot build RELEASE_DIR -o {depot}`"
        ) from error
    except ValueError as error:
        raise IntegrityError(f"reading {path}: it is not JSON: {error}; build the depot anew") from error
    if not isinstance(told, dict) or told.get("schema") != SCHEMA or not isinstance(told.get("files"), dict):
        raise IntegrityError(f"reading {path}: expected schema {SCHEMA} with files; build the depot anew")
    return told
