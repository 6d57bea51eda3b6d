# SPDX-License-Identifier: Apache-2.0
"""Settings of snapd that keep it from every store, and its refreshes held.

Standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import time
from typing import Any, Dict

from ansible_collections.edgewright.factory.plugins.module_utils.snapd import Snapd

# A port of the device itself on which nobody listens: discard, of RFC 863. A proxy there ends every attempt
# before a name is asked for or a packet leaves.
CLOSED = "http://127.0.0.1:9"
# The longest that snapd 2.57 takes from now is 90 days; a year's hold is cut to that by none, it is refused.
HOLD_DAYS = 60
OFFLINE = {"proxy.http": CLOSED, "proxy.https": CLOSED}


def missing_settings(snapd: Snapd) -> Dict[str, Any]:
    """Settings to set so that snapd speaks to no store; empty where all are set.

    Raises:
        SnapdError: snapd does not answer.
    """
    found: Dict[str, Any] = {key: value for key, value in OFFLINE.items() if snapd.conf(key) != value}
    hold = str(snapd.conf("refresh.hold") or "")
    soon = time.strftime("%Y-%m-%d", time.gmtime(time.time() + HOLD_DAYS * 86400 / 2))
    if hold[:10] < soon:
        until = time.gmtime(time.time() + HOLD_DAYS * 86400)
        found["refresh.hold"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", until)
    return found
