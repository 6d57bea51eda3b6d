# SPDX-License-Identifier: Apache-2.0
"""What a depot says of itself: `depot.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgewright.errors import InputError, IntegrityError

__all__ = ["DEPOT_FILE", "SCHEMA", "load_depot"]

DEPOT_FILE = "depot.json"
SCHEMA = "edgewright.depot/v1"


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
