# SPDX-License-Identifier: Apache-2.0
"""The readers of Ubuntu Core's areas, on files and answers of snapd that a test writes down.

The answers have the fields that snapd 2.57.6 gives (its client/*.go).
"""

from __future__ import annotations

import base64
import datetime
import hashlib
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.edgewright.factory.plugins.module_utils import (
    depot_client_core,
    identity_core,
    isolation_core,
    kernel_core,
    probe,
    runtime_core,
    snap_digest,
    watch,
)
from ansible_collections.edgewright.factory.plugins.module_utils.runtime import Answer
from ansible_collections.edgewright.factory.plugins.module_utils.system import (
    Answering,
    LocalSystem,
    NoAnswerError,
    System,
)

from edgewright.device.areas import AREAS, want_all
from tests.unit.device.core_inputs import PROFILE, VARIABLES, lock
from tests.unit.plugins.made_system import MadeSystem

FILE = "/var/lib/snapd/snaps/edgewright-runtime_x2.snap"
SNAPS: list[dict[str, Any]] = [
    {"name": "snapd", "type": "snapd", "status": "active", "revision": "x1"},
    {"name": "core24", "type": "base", "status": "active", "revision": "x1"},
    {
        "name": "edgewright-runtime",
        "type": "app",
        "status": "active",
        "revision": "x2",
        "health": {"status": "okay", "revision": "x2", "timestamp": "2026-11-21T10:00:00Z"},
    },
    {"name": "edgewright-model-label-reader", "type": "app", "status": "installed", "revision": "x1"},
]
CONNECTIONS = {
    "established": [
        {
            "plug": {"snap": "edgewright-runtime", "plug": "network-bind"},
            "slot": {"snap": "snapd", "slot": "network-bind"},
            "interface": "network-bind",
        },
        {
            "plug": {"snap": "edgewright-runtime", "plug": "model-label-reader"},
            "slot": {"snap": "edgewright-model-label-reader", "slot": "model"},
            "interface": "content",
        },
    ]
}
SERVER = "snap.edgewright-runtime.server.service"
SHOW = (
    "systemctl",
    "show",
    "--property",
    "Id,ActiveState,UnitFileState,MainPID",
    "snap.edgewright-runtime.server.service",
    "snap.edgewright-runtime.frontend.service",
)
SHOWN = (
    "Id=snap.edgewright-runtime.server.service\nActiveState=active\nUnitFileState=enabled\nMainPID=77\n\n"
    "Id=snap.edgewright-runtime.frontend.service\nActiveState=active\nUnitFileState=disabled\nMainPID=78\n"
)


def _want() -> dict[str, Any]:
    return want_all(VARIABLES, PROFILE, lock())


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha3_384(data).digest()).decode()


def _ask(where: Any, identity: str | None) -> Answer:
    return Answer(200, {"edgewright-config": "abc"} if identity else {}, None)


def _device(**files: str) -> MadeSystem:
    return MadeSystem(
        {
            FILE: "squashfs",
            "/proc/77/cgroup": "0::/snap.edgert.slice/snap.edgewright-runtime.server.service\n",
            "/proc/77/status": "Name:\tpython3\nCpus_allowed_list:\t2-3\n",
            f"/sys/fs/cgroup/snap.edgert.slice/{SERVER}/cgroup.procs": "77\n79\n",
            "/proc/77/environ": "SNAP=/snap/edgewright-runtime/x2\0",
            "/proc/79/environ": "EDGEWRIGHT_THREADS=2\0PATH=/bin\0",
            **files,
        },
        {SHOW: SHOWN},
        {"/v2/snaps": SNAPS, "/v2/connections?snap=edgewright-runtime": CONNECTIONS},
    )


def test_how_the_model_is_served_is_read() -> None:
    have = runtime_core.read(_device(), _want()["runtime"], _ask)
    assert have["snaps"] == {"edgewright-runtime": {"revision": "x2", "sha3_384": _digest(b"squashfs")}}
    assert have["connections"] == [
        "edgewright-runtime:model-label-reader edgewright-model-label-reader:model"
    ]
    assert have["services"] == {
        "snap.edgewright-runtime.server.service": {"enabled": True, "active": True},
        "snap.edgewright-runtime.frontend.service": {"enabled": False, "active": True},
    }
    assert have["settings"] == {"EDGEWRIGHT_MAX_REQUEST_BYTES": None, "EDGEWRIGHT_THREADS": "2"}
    assert (have["slice"], have["cpus"], have["ready"], have["health"]) == (
        "snap.edgert.slice",
        "2-3",
        True,
        "okay",
    )
    assert have["frontend"]["status"] == 200


def test_a_bare_device_is_read_without_an_error() -> None:
    have = probe.probe(MadeSystem({}), _want())
    assert have["identity"]["snapd"] is False
    assert have["runtime"]["snaps"] == {}
    assert have["runtime"]["ready"] is False
    assert have["isolation"]["quota"] is None
    assert have["kernel"]["boot"] == "given"
    assert have["depot_client"]["refresh_hold"] is None


def test_each_way_has_its_reader_and_an_unknown_os_is_refused() -> None:
    for area in AREAS:
        module = probe.module_of(area.name, {"os": "ubuntu_core"})
        # acceptance and drift_watch are read as on Debian.
        expected = f"{area.name}_core" if area.name not in ("acceptance", "drift_watch") else area.name
        assert module == expected
        assert probe.module_of(area.name, {}) == area.name
    with pytest.raises(ValueError, match="no reader for the OS 'beos'"):
        probe.probe(MadeSystem({}), {"identity": {"os": "beos"}})


def test_snapd_is_told_from_none() -> None:
    scope = _want()["identity"]
    assert (
        identity_core.read(MadeSystem({}, answers={"/v2/system-info": {"version": "2.57"}}), scope)["snapd"]
        is True
    )
    assert "packages" not in identity_core.read(MadeSystem({}), scope)


NOW = datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("forever", "held"),
        ("2099-01-01T00:00:00Z", "held"),
        ("2099-01-01T00:00:00.123456789+01:00", "held"),
        ("2026-12-01T00:00:00Z", "ends soon"),
        ("2020-01-01T00:00:00Z", "ends soon"),
        (None, None),
        ("next year", None),
    ],
)
def test_what_a_hold_comes_to(value: Any, told: str | None) -> None:
    assert depot_client_core.hold(value, NOW) == told


def test_what_keeps_snapd_to_the_depot() -> None:
    settings = {
        "refresh": {"hold": "forever"},
        "store": {"access": "offline"},
        "proxy": {"store": "", "http": "h"},
    }
    answers = {
        "/v2/system-info": {"version": "2.63"},
        "/v2/snaps/system/conf": settings,
        "/v2/snaps": [*SNAPS, {"name": "htop", "type": "app"}],
    }
    assert depot_client_core.read(MadeSystem({}, answers=answers), _want()["depot_client"]) == {
        "snapd_version": "2.63",
        "refresh_hold": "held",
        "store_access": "offline",
        "proxies": {"http": "h", "https": None},
        "proxy_store": None,
        "foreign_snaps": ["htop"],
    }


def test_a_quota_group_is_read_as_the_kernel_writes_cpus() -> None:
    group = {"group-name": "edgert", "constraints": {"cpu-set": {"cpus": [3, 2]}}}
    system = MadeSystem({}, answers={"/v2/quotas/edgert": group})
    assert isolation_core.quota(system, "edgert") == {"cpus": "2-3"}
    assert isolation_core.quota(system, "other") is None
    empty = MadeSystem({}, answers={"/v2/quotas/edgert": {"group-name": "edgert"}})
    assert isolation_core.quota(empty, "edgert") is None


def _change(number: str, words: str, ready: str, status: str = "Done", kind: str = "quota-control") -> Any:
    """A change as snapd 2.57.6 tells it; the fields that nobody reads are left out."""
    task = {"kind": kind, "summary": words, "status": status, "ready-time": ready}
    return {"id": number, "kind": kind, "summary": words.split(' "', maxsplit=1)[0], "tasks": [task]}


MADE = _change("7", 'Create quota group "edgert"', "2026-11-21T20:10:52.93462565Z")
REMOVED = _change("8", 'Remove quota group "edgert"', "2026-11-21T20:11:56.32821041Z")
UPDATED = _change("9", 'Update quota group "edgert"', "2026-11-21T20:12:00.1Z")
CHANGES: dict[str, tuple[Any, str | None]] = {
    "snapd does not answer": (None, None),
    "it has forgotten": ([], None),
    "removed": ([MADE, REMOVED], 'Remove quota group "edgert" at 2026-11-21T20:11:56Z (change 8 of snapd)'),
    "the last counts, whatever the order": ([UPDATED, REMOVED, MADE], "Update quota group"),
    "another group": ([_change("8", 'Remove quota group "other"', "2026-11-21T20:11:56Z")], None),
    "one whose name ends alike": (
        [_change("8", 'Remove quota group "xedgert"', "2026-11-21T20:11:56Z")],
        None,
    ),
    "in vain": ([_change("8", 'Remove quota group "edgert"', "2026-11-21T20:11:56Z", "Error")], None),
    "of another kind": (
        [_change("8", 'Install "edgert"', "2026-11-21T20:11:56Z", kind="download-snap")],
        None,
    ),
    "without tasks": ([{"id": "8", "summary": "Remove quota group"}], None),
}


@pytest.mark.parametrize("case", CHANGES)
def test_who_changed_a_quota_group_is_asked_of_snapd(case: str) -> None:
    changes, told = CHANGES[case]
    scope = _want()["isolation"]
    have = isolation_core.read(MadeSystem({}, answers={"/v2/changes?select=all": changes}), scope)
    assert have["quota"] is None
    if told is None:
        assert "quota_change" not in have
    else:
        assert have["quota_change"].startswith(told)


def test_a_quota_group_as_wanted_is_not_asked_after() -> None:
    group = {"group-name": "edgert", "constraints": {"cpu-set": {"cpus": [2, 3]}}}
    answers = {"/v2/quotas/edgert": group, "/v2/changes?select=all": [REMOVED]}
    have = isolation_core.read(MadeSystem({}, answers=answers), _want()["isolation"])
    assert have["quota"] == {"cpus": "2-3"}
    assert "quota_change" not in have


def test_the_devices_own_watch_tells_why_the_quota_group_is_gone() -> None:
    want = _want()["isolation"]
    group = {"group-name": "edgert", "constraints": {"cpu-set": {"cpus": [2, 3]}}}
    accepted = isolation_core.read(MadeSystem({}, answers={"/v2/quotas/edgert": group}), want)
    have = isolation_core.read(MadeSystem({}, answers={"/v2/changes?select=all": [MADE, REMOVED]}), want)
    (area,) = (area for area in AREAS if area.name == "isolation")
    why = area.way("ubuntu_core").why
    found = {each["item"]: each["cause"] for each in watch.compare("isolation", have, accepted, want, why)}
    assert found["quota.cpus"].startswith("nothing, accepted was 2-3: snapd has no quota group")
    assert "quota" not in found, "each part of it is told, and not the whole besides"
    assert found["quota_change"].startswith('Remove quota group "edgert" at 2026-11-21T20:11:56Z')


def _look(answers: dict[str, Any]) -> dict[str, Any]:
    wants = {area: wanted for area, wanted in _want().items() if area != "drift_watch"}
    report: dict[str, Any] = watch.look(MadeSystem({}, answers=answers), {"want": wants})
    return report


def test_the_devices_own_watch_reads_every_area() -> None:
    report = _look({"/v2/system-info": {"version": "2.57.6"}})
    assert (report["success"], report["errors"]) == (True, [])
    assert set(report["items"]) == set(_want()) - {"drift_watch"}


class _Busy(MadeSystem):
    """A device whose snapd takes what it is asked, and says nothing."""

    def snapd(self, path: str) -> Any:
        raise NoAnswerError(f"snapd: no answer to {path} within 30 s")


def test_a_snapd_that_does_not_answer_is_no_finding() -> None:
    wants = {area: wanted for area, wanted in _want().items() if area != "drift_watch"}
    report = watch.look(_Busy({}), {"want": wants})
    assert not report["success"]
    assert any(
        "snapd: no answer to /v2/quotas/edgert within 30 s" in line and "isolation" in line
        for line in report["errors"]
    ), report["errors"]
    assert not any(each["area"] == "isolation" for each in report["drift"])


def test_what_names_no_answers_hands_on_all_that_a_device_is_asked() -> None:
    """What readers may ask, and it did not hand on, would leave them blind."""
    interface = {name: each for name, each in vars(System).items() if callable(each) and name[0] != "_"}
    system = Answering(MadeSystem({}))
    asked = {name: getattr(system, name) for name in interface}
    blind = [
        name for name, ask in asked.items() if ask.__self__ is system and ask.__func__ is interface[name]
    ]
    assert set(asked) >= {"read", "run", "snapd", "fingerprint"}
    assert not blind


def test_the_drop_in_stands_for_the_slice_until_snapd_writes_it() -> None:
    scope = _want()["isolation"]
    assert isolation_core.read(MadeSystem({}), scope)["slice"] is None
    made = MadeSystem({scope["at"]["drop_in"]: "[Slice]"})
    assert isolation_core.read(made, scope)["slice"] == "snap.edgert.slice"


def test_the_kernel_of_a_machine_that_snapd_boots() -> None:
    scope = want_all(
        VARIABLES, {**PROFILE, "boot": "snapd"}, lock(snaps=[*lock()["snaps"], _pc_kernel(2011)]), ["kernel"]
    )["kernel"]
    answers = {
        "/v2/snaps": [{"name": "pc-kernel", "type": "kernel", "status": "active", "revision": "2010"}],
        "/v2/snaps/system/conf": {"system": {"kernel": {"cmdline-append": "skew_tick=1 quiet"}}},
    }
    files = {"/var/lib/snapd/modeenv": "mode=run", "/proc/cmdline": "skew_tick=1 ro"}
    have = kernel_core.read(MadeSystem(files, answers=answers), scope)
    assert have["boot"] == "snapd"
    assert have["kernel_snap"] == {"name": "pc-kernel", "revision": 2010}
    assert have["cmdline_append"] == ["skew_tick=1", "quiet"]
    assert have["cmdline"] == ["skew_tick=1"]


def _pc_kernel(revision: int) -> dict[str, Any]:
    return {"name": "pc-kernel", "revision": revision, "grade": "signed"}


class Counting(LocalSystem):
    """The machine, with the reads of files counted."""

    def __init__(self) -> None:
        self.fed: list[str] = []

    def feed(self, path: str, take: Any) -> bool:
        self.fed.append(path)
        return super().feed(path, take)


def test_a_digest_is_kept_for_one_state_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snap_digest, "KEPT", str(tmp_path / "run" / "digests.json"))
    file, system = tmp_path / "a_x1.snap", Counting()
    file.write_bytes(b"one")
    first = snap_digest.sha3_384(system, str(file))
    assert first == _digest(b"one")
    assert not (tmp_path / "run").exists()  # reading wrote nothing
    snap_digest.remember(system, str(file), first)
    assert snap_digest.sha3_384(system, str(file)) == first
    assert len(system.fed) == 1
    file.write_bytes(b"two")
    assert snap_digest.sha3_384(system, str(file)) == _digest(b"two")
    file.unlink()
    assert snap_digest.sha3_384(system, str(file)) is None


@pytest.mark.parametrize("kept", ["", "{", "[]", '{"F": "x"}', '{"F": {"as": "1"}}', '{"F": [1, 8]}'])
def test_a_damaged_record_of_digests_is_not_believed(kept: str) -> None:
    system = MadeSystem({snap_digest.KEPT: kept.replace("F", FILE), FILE: "squashfs"})
    assert snap_digest.sha3_384(system, FILE) == _digest(b"squashfs")


def test_without_a_snapd_nothing_is_answered() -> None:
    if Path("/run/snapd.socket").exists():
        pytest.skip("this machine has a snapd of its own")
    assert LocalSystem().snapd("/v2/system-info") is None
    assert LocalSystem().fingerprint("/no/such/file") is None
