# SPDX-License-Identifier: Apache-2.0
"""What an acceptance leaves on a device."""

from __future__ import annotations

import json
import re

from testinfra.host import Host


def test_receipt_says_for_what(host: Host) -> None:
    file = host.file("/var/lib/edgewright/acceptance/receipt.json")
    assert (file.user, file.mode) == ("root", 0o644)
    receipt = json.loads(file.content_string)
    assert receipt["schema"] == "edgewright.receipt/v1"
    assert re.fullmatch("[0-9a-f]{64}", receipt["accepted_for"])
    emulated = host.run("systemd-detect-virt").stdout.strip() == "qemu"
    assert receipt["verdict"] == ("inconclusive" if emulated else "pass")


def test_nothing_goes_on_after_the_measurement(host: Host) -> None:
    assert host.run("systemctl is-active edgewright-wakeup.service").rc != 0
    assert host.run("pgrep cyclictest").rc != 0
    assert host.check_output("sh -c 'ls /run/edgewright-wakeup-* 2>/dev/null || true'") == ""
