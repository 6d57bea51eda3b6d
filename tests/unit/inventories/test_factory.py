# SPDX-License-Identifier: Apache-2.0
"""The example site has a device of each OS; both take the same release, from one depot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from edgewright.device.lock import load_lock
from edgewright.device.places import chosen_os
from edgewright.device.profile import carried_profiles, load_profile
from edgewright.snaps.grade import check_inventory
from edgewright.twin.spec import TwinSpec

ROOT = Path(__file__).resolve().parents[3]
FACTORY = ROOT / "inventories" / "factory"
HOSTS = yaml.safe_load((FACTORY / "hosts.yml").read_text(encoding="utf-8"))["devices"]["hosts"]


def variables(host: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(
        (FACTORY / "host_vars" / host / "edgewright.yml").read_text("utf-8")
    )
    return {**found, "edgewright_state_dir": "/srv/site"}


EXPECTED = {"reader-01": ("debian", "vm", "grub"), "reader-02": ("ubuntu_core", "snapd", "given")}


def test_these_are_its_devices() -> None:
    assert list(HOSTS) == list(EXPECTED)
    assert sorted(path.name for path in (FACTORY / "host_vars").iterdir()) == sorted(EXPECTED)


@pytest.mark.parametrize("host", EXPECTED)
def test_each_is_a_twin_of_its_os(host: str) -> None:
    system, kind, boot = EXPECTED[host]
    given = variables(host)
    profile = load_profile(given["edgewright_profile"], [carried_profiles()])
    assert (chosen_os(given), TwinSpec.from_hostvars(host, given).kind, profile.boot) == (system, kind, boot)


def test_they_share_the_depot_and_nothing_else() -> None:
    specs = [TwinSpec.from_hostvars(host, variables(host)) for host in HOSTS]
    assert len({spec.depot_port for spec in specs}) == 1
    assert len({(spec.address, spec.port) for spec in specs}) == len(specs)


@pytest.mark.parametrize("host", EXPECTED)
def test_each_may_hold_what_the_release_has_for_it(host: str) -> None:
    check_inventory(variables(host), load_lock(ROOT / "releases" / "label-reader" / "release.lock.yml"))
