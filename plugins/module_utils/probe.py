# SPDX-License-Identifier: Apache-2.0
"""Read the state of all areas on a device, in one go; the mirror of `edgewright.device.areas`.

Only reads. Standard library only, Python 3.9 and later.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Mapping, Tuple

from ansible_collections.edgewright.factory.plugins.module_utils import (
    acceptance,
    depot_client,
    identity,
    isolation,
    kernel,
    nvidia,
    runtime,
)
from ansible_collections.edgewright.factory.plugins.module_utils.system import System

Reader = Callable[[System, Mapping[str, Any]], Dict[str, Any]]

READERS: Tuple[Tuple[str, Reader], ...] = (
    ("identity", identity.read),
    ("depot_client", depot_client.read),
    ("kernel", kernel.read),
    ("nvidia", nvidia.read),
    ("isolation", isolation.read),
    ("runtime", runtime.read),
    ("acceptance", acceptance.read),
)


def probe(system: System, scopes: Mapping[str, Mapping[str, Any]]) -> Dict[str, Dict[str, Any]]:
    """Read the areas that have a scope.

    Args:
        system: the device.
        scopes: area to its want, which says where to look and never what to find.

    Returns:
        Area to have, in the areas' order.

    Raises:
        ValueError: a scope is of no known area.
    """
    names = [name for name, reader in READERS]
    for name in scopes:
        if name not in names:
            raise ValueError("there is no area %r to read: areas are %s" % (name, ", ".join(names)))
    return {name: reader(system, scopes[name]) for name, reader in READERS if name in scopes}
