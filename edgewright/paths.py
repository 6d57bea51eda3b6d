# SPDX-License-Identifier: Apache-2.0
"""Where things lie: the collection's tree (checkout or wheel) and the cache outside the checkout."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path

__all__ = ["cache_dir", "collection_root", "programs"]


@functools.cache
def collection_root() -> Path:
    """Root of the collection `edgewright.factory`: holds `roles/`, `plugins/`, `runtime/src/`.

    Returns:
        The checkout when Edgewright runs from one, else the tree that the wheel put into
        `site-packages/ansible_collections/edgewright/factory`.
    """
    beside = Path(__file__).resolve().parent.parent
    if (beside / "galaxy.yml").is_file():
        return beside
    return beside / "ansible_collections" / "edgewright" / "factory"


def programs() -> Path:
    """Directory of the programs of this environment: Edgewright's and Ansible's, on `PATH` or not."""
    return Path(sys.executable).parent


def cache_dir() -> Path:
    """Directory for downloads and images that every checkout shares; made when missing.

    `EDGEWRIGHT_CACHE` names it; else `$XDG_CACHE_HOME/edgewright`, else `~/.cache/edgewright`.
    """
    named = os.environ.get("EDGEWRIGHT_CACHE")
    base = (
        Path(named)
        if named
        else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgewright"
    )
    base.mkdir(parents=True, exist_ok=True)
    return base
