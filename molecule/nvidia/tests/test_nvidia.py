# SPDX-License-Identifier: Apache-2.0
"""What the device itself says: systemd, modprobe and dpkg. Driver, MIG, MPS and CDI: skipped, no GPU."""

from __future__ import annotations

from typing import Any

import pytest

STANDINS = ("libcuda1", "nvidia-smi", "nvidia-container-toolkit-base")
UNITS = ("mig", "persistence", "mps", "cdi")


def test_the_packages_are_there_and_held(host: Any) -> None:
    assert set(STANDINS) <= set(host.check_output("apt-mark showhold").split())
    assert host.check_output("dpkg --audit") == ""
    assert host.package("libcuda1").version == "535.309.01-1"


@pytest.mark.parametrize("unit", UNITS)
def test_units_start_at_boot_and_are_well_formed(host: Any, unit: str) -> None:
    name = f"edgewright-nvidia-{unit}.service"
    assert host.service(name).is_enabled
    # Programs of the stand-ins are missing, which systemd-analyze tells too: not a fault of the unit.
    said = host.run(f"systemd-analyze verify {name}").stderr.splitlines()
    assert [line for line in said if "edgewright-nvidia" in line and "is not executable" not in line] == []
    assert "edgewright-runtime-a.service" in host.check_output(f"systemctl show -P Before {name}")


def test_the_layout_is_made_before_what_uses_it(host: Any) -> None:
    after = host.check_output("systemctl show -P After edgewright-nvidia-cdi.service").split()
    assert {"edgewright-nvidia-mig.service", "edgewright-nvidia-mps.service"} <= set(after)
    assert "all=3g.40gb,3g.40gb" in host.check_output("systemctl cat edgewright-nvidia-mig.service")
    assert host.file("/usr/local/lib/edgewright/nvidia-mig-apply").mode == 0o755


def test_nouveau_is_kept_away(host: Any) -> None:
    assert "blacklist nouveau" in host.file("/etc/modprobe.d/edgewright-nvidia.conf").content_string


def test_the_old_hook_is_kept_but_not_in_force(host: Any) -> None:
    name = "usr/share/containers/oci/hooks.d/oci-nvidia-hook.json"
    assert not host.file(f"/{name}").exists
    assert host.file(f"/var/lib/edgewright/nvidia/replaced/{name}").exists
