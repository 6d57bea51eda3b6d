# SPDX-License-Identifier: Apache-2.0
"""The areas' Ubuntu Core way: what is wanted, that it can be written there, what differs, what is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from edgewright.device.areas import AREA_NAMES, AREAS, Area, drift_all, want_all
from edgewright.device.places import CORE24_WRITABLE, SYSTEMS, chosen_os, places, writable_on_core24
from edgewright.errors import InputError
from tests.unit.device.core_inputs import PROFILE, RUNTIME_SHA3, SNAPS, VARIABLES, lock

BOOTED = {**PROFILE, "name": "box", "boot": "snapd"}
# What is named and never written: programs, kernel files, and what snapd itself keeps.
_ONLY_READ = ("/usr/", "/bin/", "/sys/", "/proc/", "/dev/")


def _want(
    profile: dict[str, Any] = PROFILE, given: dict[str, Any] | None = None, **changes: Any
) -> dict[str, Any]:
    return want_all({**VARIABLES, **changes}, profile, given or lock())


def _have(want: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A device that is as wanted."""
    have = {
        area: {item: value for item, value in wanted.items() if item != "at"} for area, wanted in want.items()
    }
    have["acceptance"] = {
        "accepted_for": want["acceptance"]["accepted_for"],
        "verdict": "pass",
        "record": "r",
    }
    have["depot_client"]["snapd_version"] = "2.57.6"
    for path, value in changes.items():
        area, _, item = path.partition("__")
        have[area] = {**have[area], item: value}
    return have


def _paths(value: Any) -> Iterator[str]:
    """Every absolute path that a want names, in keys, values and the texts of its files."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _paths(key)
            yield from _paths(each)
    elif isinstance(value, list):
        for each in value:
            yield from _paths(each)
    elif isinstance(value, str):
        yield from re.findall(r"(?<![\w.:/$])/(?:[\w.@-]+/)+[\w.@-]+", value)


@pytest.mark.parametrize("profile", [PROFILE, BOOTED], ids=lambda each: each["boot"])
def test_wants_name_writable_paths_only(profile: dict[str, Any]) -> None:
    want = _want(profile)
    assert list(want) == list(AREA_NAMES)
    paths = {path for area in want.values() for path in _paths(area)}
    served = {"/v2/health/ready"}
    wrong = {
        path for path in paths - served if not path.startswith(_ONLY_READ) and not writable_on_core24(path)
    }
    assert paths
    assert not wrong


@pytest.mark.parametrize(
    ("path", "good"),
    [
        ("/var/snap/edgewright-runtime/common/identity", True),
        ("/etc/systemd/system/edgewright-partition.service", True),
        ("/etc/systemd", True),
        ("/etc/systemd-other", False),
        ("/etc/edgewright/identity", False),
        ("/var/lib/edgewright/probe", False),
        ("/usr/local/lib/edgewright", False),
        ("/var/snap/../lib/edgewright", False),
    ],
)
def test_what_core24_lets_be_written(path: str, good: bool) -> None:
    assert writable_on_core24(path) is good


def test_a_place_on_ubuntu_core_is_writable_and_none_is_shared_by_chance() -> None:
    core = places("ubuntu_core")
    for place in (core.identity, core.own, core.run, core.programs, core.quiet_config, core.textfiles):
        assert writable_on_core24(place)
    assert all(place.startswith("/") for place in CORE24_WRITABLE)
    assert places("debian").identity == "/etc/edgewright/identity"


@pytest.mark.parametrize("value", ["ubuntu-core", "", None, 12, ["debian"]])
def test_an_unknown_os_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="edgewright_os: expected debian or ubuntu_core, got"):
        chosen_os({"edgewright_os": value})
    with pytest.raises(InputError, match="edgewright_os"):
        _want(edgewright_os=value)


def test_no_os_means_debian() -> None:
    assert chosen_os({}) == "debian"
    assert set(SYSTEMS) == {"debian", "ubuntu_core"}


def test_every_want_says_its_os_and_empty_ones_nothing() -> None:
    want = _want()
    assert want["nvidia"] == {}
    assert all(wanted["os"] == "ubuntu_core" for area, wanted in want.items() if wanted)
    json.dumps(want)


def test_a_device_as_wanted_has_no_drift() -> None:
    want = _want()
    assert drift_all(_have(want), want) == []


CASES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "no snapd": ({"identity__snapd": False}, ["identity.snapd"]),
    "no key": ({"identity__key": None}, ["identity.key"]),
    "a key of apt's": (
        {"identity__key": {"mode": "0400", "owner": "_apt", "kind": "ec-p256"}},
        ["identity.key.access"],
    ),
    "refreshes by itself": ({"depot_client__refresh_hold": None}, ["depot_client.refresh_hold"]),
    "a hold that ends": ({"depot_client__refresh_hold": "ends soon"}, ["depot_client.refresh_hold"]),
    "an old snapd knows no store.access": ({"depot_client__store_access": None}, []),
    "a store of its own": ({"depot_client__proxy_store": "abc"}, ["depot_client.proxy_store"]),
    "a stranger": ({"depot_client__foreign_snaps": ["htop"]}, ["depot_client.foreign_snaps"]),
    "sysctl": ({"kernel__sysctl": {"kernel.panic": "0"}}, ["kernel.sysctl"]),
    "the quota group is gone": ({"isolation__quota": None}, ["isolation.quota"]),
    "another group": ({"isolation__quota": {"cpus": "1"}}, ["isolation.quota"]),
    "the partition is gone": ({"isolation__partition": "member"}, ["isolation.partition"]),
    "no snaps": (
        {"runtime__snaps": {}},
        ["runtime.snaps.edgewright-model-label-reader", "runtime.snaps.edgewright-runtime"],
    ),
    "not connected": ({"runtime__connections": []}, ["runtime.connections"]),
    "unwell": ({"runtime__health": "error"}, ["runtime.health"]),
    "outside of the slice": ({"runtime__slice": "system.slice"}, ["runtime.slice"]),
    "old settings": ({"runtime__settings": {}}, ["runtime.settings"]),
    "never accepted": ({"acceptance__accepted_for": None}, ["acceptance.accepted_for"]),
    "no program": ({"drift_watch__program": None}, ["drift_watch.program"]),
}


@pytest.mark.parametrize("case", CASES)
def test_drift_is_named(case: str) -> None:
    changes, items = CASES[case]
    want = _want()
    found = drift_all(_have(want, **changes), want)
    assert [f"{drift.area}.{drift.item}" for drift in found] == items
    assert all(drift.why for drift in found)


def test_ubuntu_core_is_spoken_of_without_apt() -> None:
    want = _want()
    have = _have(want)
    have["identity"] = {**have["identity"], "key": {**have["identity"]["key"], "mode": "0644"}}
    (drift,) = drift_all(have, want)
    assert (drift.item, drift.why) == (
        "key.access",
        "the key may be read by others than root, or not by root",
    )
    for area in AREAS:
        words = json.dumps(dict(area.way("ubuntu_core").why))
        assert not re.search(r"\b(apt|dpkg|podman|nginx|package|packages)\b", words), area.name


# The acceptance's items are the controller's words on both OSes; nothing is wanted of nvidia.
TOLD = [area for area in AREAS if area.name not in ("nvidia", "acceptance")]


@pytest.mark.parametrize("area", TOLD, ids=lambda area: area.name)
def test_the_devices_own_watch_knows_what_each_area_means(area: Area) -> None:
    why = area.way("ubuntu_core").why
    assert set(why) & set(_want()[area.name]), "an item without a meaning has a cause without its consequence"


def test_a_watch_that_is_not_wanted_leaves_no_metrics_in_the_oss_own_place() -> None:
    at = _want(drift_watch_period_s=0)["drift_watch"]["at"]
    assert at["metrics"] == f"{places('ubuntu_core').textfiles}/edgewright_drift_watch.prom"


REMOVED = 'Remove quota group "edgert" at 2026-11-21T20:11:56Z (change 8 of snapd)'
QUOTAS: dict[str, tuple[dict[str, Any], str]] = {
    "removed, and snapd knows": (
        {"quota": None, "quota_change": REMOVED},
        f"{REMOVED}: snapd has no such quota group",
    ),
    "gone, and nobody knows": ({"quota": None}, "snapd has no such quota group"),
    "with other CPUs": ({"quota": {"cpus": "1"}}, "snapd has no quota group with these CPUs"),
}


@pytest.mark.parametrize("case", QUOTAS)
def test_a_quota_group_that_changed_is_named_with_its_cause(case: str) -> None:
    changes, words = QUOTAS[case]
    want = _want()
    have = _have(want)
    have["isolation"] |= changes
    (drift,) = drift_all(have, want)
    assert f"{drift.area}.{drift.item}" == "isolation.quota"
    assert drift.why.startswith(words)


def test_a_newer_snapd_is_asked_for_its_stores_access() -> None:
    want = _want()
    have = _have(want, depot_client__store_access=None)
    have["depot_client"]["snapd_version"] = "2.63+ubuntu24.04"
    assert [drift.item for drift in drift_all(have, want)] == ["store_access"]


def test_a_snap_of_one_changed_bit_is_named_and_a_local_revision_is_not_compared() -> None:
    want = _want()
    snaps = {
        name: {"revision": "x9", "sha3_384": each["sha3_384"]}
        for name, each in want["runtime"]["snaps"].items()
    }
    assert drift_all(_have(want, runtime__snaps=snaps), want) == []
    snaps["edgewright-runtime"]["sha3_384"] = "C" * 64
    (drift,) = drift_all(_have(want, runtime__snaps=snaps), want)
    assert drift.item == "snaps.edgewright-runtime"
    assert "is another than the lock's" in drift.why


def test_a_signed_snap_is_compared_by_its_revision_as_well() -> None:
    signed = [{**snap, "grade": "signed", "revision": 7} for snap in SNAPS]
    want = _want(given=lock(snaps=signed), edgewright_snap_grade="signed")
    installed = want["runtime"]["at"]["install"][1]
    assert (installed["revision"], installed["assertions"]) == (7, "edgewright-runtime_7.assert")
    snaps = {**want["runtime"]["snaps"], "edgewright-runtime": {"revision": 6, "sha3_384": RUNTIME_SHA3}}
    assert [drift.item for drift in drift_all(_have(want, runtime__snaps=snaps), want)] == [
        "snaps.edgewright-runtime"
    ]


def test_what_the_role_installs() -> None:
    at = _want()["runtime"]["at"]
    assert [snap["name"] for snap in at["install"]] == ["edgewright-model-label-reader", "edgewright-runtime"]
    assert at["connect"] == [
        ["edgewright-runtime:model-label-reader", "edgewright-model-label-reader:model"],
    ]
    assert at["install"][0]["assertions"] is None
    assert at["group"] == "edgert"


def test_a_release_without_snaps_is_refused_with_what_to_do() -> None:
    with pytest.raises(
        InputError, match=r"has no snap edgewright-model-label-reader, edgewright-runtime.*release\.yml"
    ):
        _want(given=lock(snaps=[]))


def test_snaps_without_assertions_need_the_inventorys_word() -> None:
    with pytest.raises(InputError, match="has no assertion"):
        _want(edgewright_snap_grade="signed")


def test_the_kernel_of_a_twin_is_skipped_by_name() -> None:
    kernel = _want()["kernel"]
    assert set(kernel["skipped"]) == {"cmdline_append", "realtime", "cmdline", "tickless"}
    assert "twin" in kernel["skipped"]["realtime"]
    assert not {"cmdline_append", "realtime", "cmdline", "tickless"} & set(kernel)


def test_a_device_that_snapd_boots_gets_parameters_and_the_kernel_snap() -> None:
    pc_kernel = {"name": "pc-kernel", "revision": 2011, "grade": "signed"}
    kernel = _want(BOOTED, lock(snaps=[*SNAPS, pc_kernel]))["kernel"]
    assert kernel["kernel_snap"] == {"name": "pc-kernel", "revision": 2011}
    assert kernel["cmdline_append"] == ["nohz_full=2-3", "rcu_nocbs=2-3", "irqaffinity=0-1", "skew_tick=1"]
    assert kernel["realtime"] is True
    plain = _want(BOOTED)["kernel"]
    assert "kernel_snap" not in plain
    assert "names no kernel snap" in plain["skipped"]["kernel_snap"]


@pytest.mark.parametrize("boot", ["grub", "extlinux", "none"])
def test_another_boot_loader_is_refused(boot: str) -> None:
    with pytest.raises(InputError, match="Ubuntu Core boots by snapd"):
        _want({**PROFILE, "boot": boot})


def test_metrics_of_the_watch_go_where_they_can_be_written() -> None:
    metrics = _want()["drift_watch"]["at"]["metrics"]
    assert metrics == "/var/snap/edgewright-runtime/common/edgewright/textfiles/edgewright_drift_watch.prom"
    with pytest.raises(InputError, match="read-only"):
        _want(drift_watch_textfile_directory="/srv/metrics")


def test_the_front_end_is_a_whole_configuration_that_names_itself() -> None:
    want = _want()["runtime"]
    text = want["files"]["/var/snap/edgewright-runtime/common/frontend.conf"]
    assert text.count("{") == text.count("}")
    assert f"add_header Edgewright-Config {want['frontend']['config']} always;" in text
    assert "ssl_verify_client on;" in text


def test_the_table_has_a_way_for_each_os() -> None:
    ways = {area.name: set(area.others) for area in AREAS}
    assert all(found == {"ubuntu_core"} for name, found in ways.items() if name != "drift_watch")
    assert ways["drift_watch"] == set()
