# SPDX-License-Identifier: Apache-2.0
"""Reads what keeps snapd to the site's depot. Asks snapd itself, and no store.

Items are described in `edgewright/device/depot_client_core.py`. Standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import datetime
from typing import Any, Dict, List, Mapping, Optional

from ansible_collections.edgewright.factory.plugins.module_utils.system import System

# A time nearer than this is no hold: the site may not come by so soon.
LEAST_HOLD_DAYS = 30
# Types of snaps that the device's own image has; the release names them where it updates them.
_SYSTEM_TYPES = ("base", "core", "gadget", "kernel", "os", "snapd")


def read(system: System, scope: Mapping[str, Any]) -> Dict[str, Any]:
    """Read the area.

    Args:
        system: the device.
        scope: the area's want: `names` of the release's snaps are used.
    """
    told = system.snapd("/v2/system-info")
    settings = system.snapd("/v2/snaps/system/conf")
    snaps = system.snapd("/v2/snaps")
    settings = settings if isinstance(settings, dict) else {}
    names = scope.get("names") or []
    return {
        "snapd_version": told.get("version") if isinstance(told, dict) else None,
        "refresh_hold": hold(_setting(settings, "refresh", "hold")),
        "store_access": _setting(settings, "store", "access"),
        "proxies": {name: _setting(settings, "proxy", name) for name in ("http", "https")},
        "proxy_store": _setting(settings, "proxy", "store") or None,
        "foreign_snaps": foreign(snaps if isinstance(snaps, list) else [], list(names)),
    }


def _setting(settings: Mapping[str, Any], group: str, name: str) -> Any:
    part = settings.get(group)
    return part.get(name) if isinstance(part, dict) else None


def hold(value: Any, now: Optional[datetime.datetime] = None) -> Optional[str]:
    """What `refresh.hold` comes to.

    Args:
        value: `forever`, a time as RFC 3339 has it, or nothing.
        now: the time; the device's own when None.

    Returns:
        `held`, `ends soon`, or None where nothing is held.
    """
    if value == "forever":
        return "held"
    try:
        until = datetime.datetime.fromisoformat(_plain(str(value)))
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=datetime.timezone.utc)
    now = now or datetime.datetime.now(datetime.timezone.utc)
    return "held" if until - now > datetime.timedelta(days=LEAST_HOLD_DAYS) else "ends soon"


def _plain(text: str) -> str:
    """RFC 3339 as Python 3.9 reads it: no Z, no parts of a second."""
    text = text[:-1] + "+00:00" if text.endswith("Z") else text
    head, dot, rest = text.partition(".")
    return head + rest.lstrip("0123456789") if dot else text


def foreign(snaps: List[Any], names: List[str]) -> List[str]:
    """Installed snaps that the release does not name, but for those that are the system itself."""
    return sorted(
        str(snap.get("name"))
        for snap in snaps
        if isinstance(snap, dict) and snap.get("name") not in names and snap.get("type") not in _SYSTEM_TYPES
    )
