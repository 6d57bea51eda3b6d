# SPDX-License-Identifier: Apache-2.0
"""Read the state of all areas on a device, in one go; the mirror of `edgewright.device.areas`.

Only reads. Standard library only, Python 3.9 and later.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Mapping, Tuple

from ansible_collections.edgewright.factory.plugins.module_utils.system import System

Reader = Callable[[System, Mapping[str, Any]], Dict[str, Any]]
_PACKAGE = "ansible_collections.edgewright.factory.plugins.module_utils."


# Areas that another OS than Debian has a reader of its own for, by the `os` of the want; elsewhere Debian's
# reads it.
_OTHERS = {
    "ubuntu_core": ("identity", "depot_client", "kernel", "nvidia", "isolation", "runtime"),
}
_ENDINGS = {"ubuntu_core": "_core"}


def _reader(area: str) -> Reader:
    """The area's `read`, loaded when it is first called: a device pays for the areas that it has."""

    def read(system: System, scope: Mapping[str, Any]) -> Dict[str, Any]:
        from importlib import import_module

        found: Dict[str, Any] = import_module(_PACKAGE + module_of(area, scope)).read(system, scope)
        return found

    return read


def module_of(area: str, scope: Mapping[str, Any]) -> str:
    """Name of the module that reads an area, for the OS that the want says.

    Raises:
        ValueError: the want is of an OS that this program does not know.
    """
    system = scope.get("os", "debian")
    if system == "debian":
        return area
    if system not in _OTHERS:
        raise ValueError("no reader for the OS %r: known are debian, %s" % (system, ", ".join(_OTHERS)))
    return area + _ENDINGS[system] if area in _OTHERS[system] else area


READERS: Tuple[Tuple[str, Reader], ...] = (
    ("identity", _reader("identity")),
    ("depot_client", _reader("depot_client")),
    ("kernel", _reader("kernel")),
    ("nvidia", _reader("nvidia")),
    ("isolation", _reader("isolation")),
    ("runtime", _reader("runtime")),
    ("acceptance", _reader("acceptance")),
    ("drift_watch", _reader("drift_watch")),
)


def probe(system: System, scopes: Mapping[str, Mapping[str, Any]]) -> Dict[str, Dict[str, Any]]:
    """Read the areas that have a scope.

    Args:
        system: the device.
        scopes: area to its want, which says where to look and never what to find. One that is empty has
            nothing to read, and gives an empty have.

    Returns:
        Area to have, in the areas' order.

    Raises:
        ValueError: a scope is of no known area.
    """
    names = [name for name, reader in READERS]
    for name in scopes:
        if name not in names:
            raise ValueError("there is no area %r to read: areas are %s" % (name, ", ".join(names)))
    return {
        name: reader(system, scopes[name]) if scopes[name] else {}
        for name, reader in READERS
        if name in scopes
    }
