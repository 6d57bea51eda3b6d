# SPDX-License-Identifier: Apache-2.0
"""What ssh does when the controller knows another key for a twin's address."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

from edgewright.twin import Twin
from edgewright.twin.keys import host_key, merge_known_hosts
from edgewright.twin.ssh import ssh_command


def assert_another_host_key_is_refused(twin: Twin, address: str, folder: Path) -> None:
    """Connect while known_hosts has a stranger's key for the twin's address (in known_hosts' notation)."""
    stranger = replace(twin.spec, state_dir=folder, name="stranger")
    known = folder / "known_hosts"
    known.write_text(merge_known_hosts("", address, host_key(stranger)))
    argv = [
        f"UserKnownHostsFile={known}" if word.startswith("UserKnownHostsFile=") else word
        for word in ssh_command(twin.spec, ["true"])
    ]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 255
    assert "Host key verification failed" in done.stderr
