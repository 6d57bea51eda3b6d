#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Lock the wheels that a bundle carries for controllers: run it after a change of the project's dependencies.

Resolves `project.dependencies` of pyproject.toml for each Python and machine that a controller may be, and
writes edgewright/data/installer/lock.json. Takes a network, a minute, and about 150 MB of downloads.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

from edgewright.bundle.installer_lock import MACHINES, PYTHONS, Environment, resolve_installer_lock
from edgewright.depot.blobs import BlobStore
from edgewright.errors import EdgewrightError

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Write the lock. Returns 0 when it is as it was or was written, else an error's status."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    environments = [Environment(python, arch) for python in PYTHONS.values() for arch in MACHINES]
    try:
        lock = resolve_installer_lock(project["dependencies"], environments, BlobStore())
    except EdgewrightError as error:
        print(f"lock_installer: {error}", file=sys.stderr)
        return error.exit_code
    path = ROOT / "edgewright" / "data" / "installer" / "lock.json"
    same = path.is_file() and path.read_bytes() == lock.dump()
    path.write_bytes(lock.dump())
    print(f"{path.relative_to(ROOT)}: {'unchanged' if same else 'written'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
