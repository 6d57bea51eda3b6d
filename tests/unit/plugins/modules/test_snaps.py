# SPDX-License-Identifier: Apache-2.0
"""The module snaps against a simulator of snapd and a real HTTPS depot that asks for a certificate."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.edgewright.factory.plugins.module_utils import snap_digest, snap_fetch, snapd
from ansible_collections.edgewright.factory.plugins.module_utils.system import LocalSystem
from ansible_collections.edgewright.factory.plugins.modules import snaps

from tests.unit.plugins.modules.snapd_simulator import Simulator, TlsDepot

RUNTIME, MODEL = "edgewright-runtime", "edgewright-model-reader"
PAIR = [f"{RUNTIME}:model-reader", f"{MODEL}:model"]


@dataclass
class FakeModule:
    """What the module's run uses of Ansible's module."""

    params: dict[str, Any]
    check_mode: bool = False
    simulator: Simulator | None = None
    commands: list[list[str]] = field(default_factory=list)
    ran: Callable[[], None] = lambda: None

    def run_command(self, argv: list[str]) -> tuple[int, str, str]:
        if argv[0] == "systemctl":
            assert self.simulator is not None
            return 0, f"@{self.simulator.started}\n", ""
        self.commands.append(argv)
        self.ran()
        return 0, "", ""


@dataclass
class Site:
    """A device's snapd, a depot, and the wish."""

    simulator: Simulator
    depot: TlsDepot
    params: dict[str, Any]

    def wish(self, name: str, data: bytes, **more: Any) -> None:
        """Put a snap into the depot and ask for it."""
        filename = f"{name}_dangerous.snap"
        self.depot.files[filename] = data
        wanted = {"name": name, "filename": filename, "size": len(data), "revision": None, "assertions": None}
        wanted |= {"sha3_384": snap_digest.of_chunks([data]), "grade": "dangerous", **more}
        others = [snap for snap in self.params["snaps"] if snap["name"] != name]
        self.params["snaps"] = [*others, wanted]

    def run(self, check: bool = False) -> dict[str, Any]:
        run = snaps.Run(FakeModule(self.params, check, self.simulator), snapd.Snapd(str(self.simulator.path)))
        return run.go()

    def refused(self) -> tuple[str, dict[str, Any]]:
        """Run what must fail. Returns the sentence and what the module reports beside it."""
        run = snaps.Run(
            FakeModule(self.params, simulator=self.simulator), snapd.Snapd(str(self.simulator.path))
        )
        with pytest.raises((snaps.RefusedError, snap_fetch.FetchError, snapd.SnapdError)) as caught:
            run.go()
        return str(caught.value), run.result


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    short = Path(tempfile.mkdtemp(prefix="ew"))  # a socket's path has 108 bytes
    simulator, depot = Simulator(short), TlsDepot(tmp_path)
    monkeypatch.setattr(snaps, "SNAPS", str(simulator.snaps))
    monkeypatch.setattr(snapd, "PAUSE_S", 0.01)
    monkeypatch.setattr(snaps, "PAUSE_S", 0.01)
    monkeypatch.setattr(snaps, "MOUNTS", str(tmp_path / "snap"))
    kept = str(tmp_path / "digests.json")
    monkeypatch.setattr(snap_digest, "KEPT", kept)
    params: dict[str, Any] = {
        "depot": {"host": "127.0.0.1", "port": depot.server.server_port},
        "identity": str(depot.identity),
        "staging": str(tmp_path / "staging"),
        "snaps": [],
        "connect": [],
        "validation_sets": [],
        "hold_health": True,
        "health_timeout_s": 1,
        "offline": True,
    }
    server = simulator.serve()
    found = Site(simulator, depot, params)
    found.wish(RUNTIME, b"runtime 1" * 1000)
    found.wish(MODEL, b"model 1" * 100)
    params["connect"] = [PAIR]
    yield found
    server.shutdown()
    depot.server.shutdown()
    shutil.rmtree(short)


def test_check_real_check_real(site: Site) -> None:
    checked = site.run(check=True)
    assert checked["changed"] is True
    assert {each["name"] for each in checked["installed"]} == {RUNTIME, MODEL}
    assert site.simulator.calls == []
    assert site.depot.asked == []

    done = site.run()
    assert done["changed"] is True
    assert done["installed"] == [{"name": MODEL, "revision": "x1"}, {"name": RUNTIME, "revision": "x1"}]
    assert done["connected"] == [PAIR]
    assert done["settings"] == ["proxy.http", "proxy.https", "refresh.hold"]
    assert site.simulator.calls[1:3] == [f"install {MODEL} dangerous", f"install {RUNTIME} dangerous"]
    assert not Path(site.params["staging"]).exists()

    assert site.run(check=True)["changed"] is False
    calls, asked = len(site.simulator.calls), len(site.depot.asked)
    again = site.run()
    assert (again["changed"], again["installed"], again["connected"]) == (False, [], [])
    assert (len(site.simulator.calls), len(site.depot.asked)) == (calls, asked)


def test_a_new_model_is_installed_alone_and_its_user_restarted(site: Site) -> None:
    site.run()
    site.simulator.calls.clear()
    site.wish(MODEL, b"model 2")
    assert site.run()["installed"] == [{"name": MODEL, "revision": "x2"}]
    assert site.simulator.calls == [
        f"install {MODEL} dangerous",
        f'POST /v2/apps {{"action": "restart", "names": ["{RUNTIME}.server"]}}',
    ]


def test_a_server_that_missed_its_new_model_is_restarted(site: Site) -> None:
    """As after a power cut between the refresh of a model and the restart of its user."""
    site.run()
    site.simulator.started = site.simulator.clock - 100
    assert site.run(check=True)["restarted"] == [f"{RUNTIME}.server"]
    done = site.run()
    assert (done["changed"], done["installed"], done["restarted"]) == (True, [], [f"{RUNTIME}.server"])
    assert site.run()["changed"] is False


def test_a_change_that_is_under_way_is_waited_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.simulator.interrupted[MODEL] = 3
    assert site.run()["changed"] is True
    assert site.simulator.interrupted[MODEL] == 0
    site.simulator.interrupted[MODEL] = 10**6
    impatient = snapd.Snapd(str(site.simulator.path), change_s=0.05)
    with pytest.raises(snapd.SnapdError, match=rf"change 9 \(Refresh {MODEL}\) has not ended after 0 s"):
        impatient.wait_for_others([MODEL])


def test_what_snapd_does_by_itself_is_waited_for(site: Site) -> None:
    """As with services that a power cut stopped: a change that names no snap."""
    site.simulator.conflicts = 3
    assert site.run()["changed"] is True
    assert site.simulator.conflicts == 0
    site.simulator.conflicts = 3
    patient = snapd.Snapd(str(site.simulator.path))
    patient.restart([f"{RUNTIME}.server"])
    assert site.simulator.conflicts == 0
    site.simulator.conflicts = 10**6
    impatient = snapd.Snapd(str(site.simulator.path), change_s=0.05)
    with pytest.raises(snapd.SnapdError, match='"service-control" change in progress'):
        impatient.restart([f"{RUNTIME}.server"])


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("1970-01-01T00:00:10Z", 10),
        ("1970-01-01T01:00:10.123456789+01:00", 10),
        ("", 0),
        ("yesterday", 0),
    ],
)
def test_moments_as_snapd_writes_them(moment: str, expected: int) -> None:
    assert snaps.seconds(moment) == expected


def test_one_bit_of_an_installed_file_is_seen_and_mended(site: Site) -> None:
    site.run()
    file = site.simulator.snaps / f"{MODEL}_x1.snap"
    data = bytearray(file.read_bytes())
    data[5] ^= 1
    file.write_bytes(bytes(data))
    assert site.run()["installed"] == [{"name": MODEL, "revision": "x2"}]
    assert site.run()["changed"] is False


def test_an_unhealthy_refresh_is_reverted(site: Site) -> None:
    site.run()
    site.simulator.health[b"bad"] = {"status": "error", "message": "the model server ended: exit-code 2"}
    site.wish(RUNTIME, b"bad")
    said, result = site.refused()
    assert said.startswith(
        f"snap {RUNTIME}: expected health okay within 1 s, got error (the model server ended"
    )
    assert f"reverted {RUNTIME} to revision x1. Read its log with `snap logs" in said
    assert (result["installed"], result["reverted"]) == ([], [{"name": RUNTIME, "revision": "x1"}])
    assert site.simulator.installed[RUNTIME]["revision"] == "x1"


def test_what_never_gets_healthy_is_reverted_after_the_time(site: Site) -> None:
    site.run()
    site.simulator.health[b"slow"] = {"status": "waiting", "message": "not ready yet"}
    site.wish(RUNTIME, b"slow")
    said, result = site.refused()
    assert "got waiting (not ready yet); reverted" in said
    assert result["reverted"] == [{"name": RUNTIME, "revision": "x1"}]


def test_a_snap_with_a_hook_is_asked_until_it_is_healthy(site: Site, tmp_path: Path) -> None:
    hook = tmp_path / "snap" / RUNTIME / "current" / snaps.HOOK
    hook.parent.mkdir(parents=True)
    hook.touch()
    site.simulator.health[b"slow"] = {"status": "waiting", "message": "not ready yet"}
    site.wish(RUNTIME, b"slow")
    module = FakeModule(site.params, simulator=site.simulator)

    def ran() -> None:
        if len(module.commands) == 2:
            site.simulator.installed[RUNTIME]["health"] = {"status": "okay"}

    module.ran = ran
    assert snaps.Run(module, snapd.Snapd(str(site.simulator.path))).go()["changed"] is True
    asked = ["snap", "run", "--shell", f"{RUNTIME}.server", "-c", 'exec "$SNAP/meta/hooks/check-health"']
    assert module.commands == [asked, asked]


@pytest.mark.parametrize(("now", "good"), [("okay", True), ("error", False)])
def test_an_error_told_before_a_revert_is_asked_anew(
    site: Site, tmp_path: Path, now: str, good: bool
) -> None:
    """What was told of a model that is gone again does not fail the next run, which installs nothing."""
    site.run()
    hook = tmp_path / "snap" / RUNTIME / "current" / snaps.HOOK
    hook.parent.mkdir(parents=True)
    hook.touch()
    site.simulator.installed[RUNTIME]["health"] = {"status": "error", "message": "it ended"}
    module = FakeModule(site.params, simulator=site.simulator)
    module.ran = lambda: site.simulator.installed[RUNTIME].update(health={"status": now, "message": "asked"})
    run = snaps.Run(module, snapd.Snapd(str(site.simulator.path)))
    if good:
        assert run.go()["changed"] is False
    else:
        with pytest.raises(snaps.RefusedError, match=r"got error \(asked\); there is no revision"):
            run.go()
    assert len(module.commands) == 1


def test_a_first_install_has_nothing_to_go_back_to(site: Site) -> None:
    site.simulator.health[b"bad"] = {"status": "blocked", "message": "no"}
    site.wish(RUNTIME, b"bad")
    assert "there is no revision before to go back to" in site.refused()[0]


def test_a_failed_install_takes_back_the_one_before_it(site: Site) -> None:
    site.run()
    site.wish(MODEL, b"model 2")
    site.wish(RUNTIME, b"runtime 2")
    site.simulator.fail_install[b"runtime 2"] = "cannot copy: no space left on device"
    said, result = site.refused()
    assert said.startswith(f"installing snap {RUNTIME} from ")
    assert "no space left on device; revision x1 stays. Free space below" in said
    assert result["reverted"] == [{"name": MODEL, "revision": "x1"}]
    del site.simulator.fail_install[b"runtime 2"]
    assert len(site.run()["installed"]) == 2


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"sha3_384": "A" * 64}, "expected sha3_384 AAAA"),
        ({"size": 5}, "expected 5 bytes, the depot has 9000"),
        ({"filename": "none_1.snap"}, "expected status 200 or 206, got 404"),
        ({"filename": "../../secret"}, "is no file name of a snap"),
        ({"sha3_384": "short"}, "expected 64 characters"),
        ({"grade": "signed"}, "no assertions, and its grade is signed"),
    ],
    ids=["another digest", "another size", "not there", "a path", "no digest", "no assertions"],
)
def test_a_wrong_file_changes_nothing(site: Site, wrong: dict[str, Any], words: str) -> None:
    site.wish(RUNTIME, b"runtime 1" * 1000, **wrong)
    said, result = site.refused()
    assert words in said
    assert RUNTIME in said
    assert site.simulator.installed == {}
    assert not list(Path(site.params["staging"]).glob(f"{RUNTIME}*"))
    assert result["reverted"] == []


def test_assertions_are_acknowledged_before_anything_is_installed(site: Site) -> None:
    site.depot.files[f"{RUNTIME}_7.assert"] = b"type: snap-revision\n"
    more = {"grade": "signed", "assertions": f"{RUNTIME}_7.assert", "revision": 7}
    site.wish(RUNTIME, b"runtime 7", **more)
    site.simulator.refuse_ack = "cannot find public key"
    said, _ = site.refused()
    assert f"acknowledging {RUNTIME}_7.assert of snap {RUNTIME}: expected assertions whose keys" in said
    assert site.simulator.installed == {}
    site.simulator.refuse_ack = ""
    site.run()
    assert site.simulator.acked == [b"type: snap-revision\n"]
    assert f"install {RUNTIME} asserted" in site.simulator.calls


PART = f"{RUNTIME}+extra"


def _component(site: Site, data: bytes = b"component" * 50) -> None:
    site.depot.files[f"{RUNTIME}_7.assert"] = b"type: snap-resource-revision\n"
    site.depot.files[f"{PART}_12.comp"] = data
    more = {"filename": f"{PART}_12.comp", "grade": "signed", "assertions": f"{RUNTIME}_7.assert"}
    site.wish(PART, data, revision=12, **more)


def test_a_component_is_installed_beside_its_snap_and_once(site: Site) -> None:
    """A simulator's word: Debian's snapd knows no components."""
    site.run()
    _component(site)
    assert site.run(check=True)["installed"] == [{"name": PART, "revision": None}]
    done = site.run()
    assert done["installed"] == [{"name": PART, "revision": "12"}]
    assert site.simulator.calls[-1] == f"install {PART} asserted"
    assert site.simulator.acked == [b"type: snap-resource-revision\n"]
    assert site.run()["changed"] is False
    (site.simulator.snaps / f"{PART}_12.comp").write_bytes(b"another")
    assert site.run()["installed"] == [{"name": PART, "revision": "12"}]


def test_a_component_without_its_snap_is_refused(site: Site) -> None:
    site.params["snaps"], site.params["connect"] = [], []
    _component(site)
    said, result = site.refused()
    assert f"installing snap {PART}" in said
    assert "is not installed" in said
    assert result["installed"] == []


def test_what_fails_after_a_component_does_not_revert_it(site: Site) -> None:
    """It comes and goes with its snap: there is no revert of a component alone."""
    site.run()
    _component(site)
    site.run()
    _component(site, b"component 2" * 50)
    site.wish(RUNTIME, b"runtime 2")
    site.simulator.health[b"runtime 2"] = {"status": "error", "message": "model missing"}
    _, result = site.refused()
    assert [each["name"] for each in result["reverted"]] == [RUNTIME]


def _set(site: Site, data: bytes = b"validation-set Pb2/edge=3\n", **more: Any) -> None:
    site.depot.files["validation-set-edge_3.assert"] = data
    wanted = {"account": "Pb2", "name": "edge", "sequence": 3, "revision": 0}
    wanted |= {"filename": "validation-set-edge_3.assert", "sha256": hashlib.sha256(data).hexdigest()}
    site.params["validation_sets"] = [{**wanted, **more}]


def test_a_validation_set_is_acknowledged_once(site: Site) -> None:
    _set(site)
    assert site.run(check=True)["acknowledged"] == ["Pb2/edge=3"]
    assert site.simulator.acked == []
    done = site.run()
    assert (done["changed"], done["acknowledged"]) == (True, ["Pb2/edge=3"])
    assert site.simulator.acked == [b"validation-set Pb2/edge=3\n"]
    again = site.run()
    assert (again["changed"], again["acknowledged"]) == (False, [])
    assert len(site.simulator.acked) == 1


def test_an_older_revision_of_a_set_is_acknowledged_anew(site: Site) -> None:
    site.simulator.sets["Pb2/edge=3"] = 1
    _set(site, revision=2)
    assert site.run()["acknowledged"] == ["Pb2/edge=3"]
    site.simulator.sets["Pb2/edge=3"] = (
        3  # newer than the release's: the probe tells, nothing is acknowledged
    )
    assert site.run()["acknowledged"] == []


@pytest.mark.parametrize(
    ("more", "refuse", "words"),
    [
        ({"sha256": "0" * 64}, "", "fetching validation set Pb2/edge=3 .*expected sha256 0000"),
        ({}, "cannot find public key", "acknowledging validation set Pb2/edge=3 .*cannot find public key"),
        ({"filename": "validation-set-other_3.assert"}, "", "expected status 200 or 206, got 404"),
        ({"name": "Edge&x"}, "", "validation_sets: expected an account-id"),
        ({"account": "a/b"}, "", "validation_sets: expected an account-id"),
        ({"sequence": 0}, "", "validation_sets: expected an account-id"),
    ],
)
def test_a_wrong_validation_set_changes_nothing(
    site: Site, more: dict[str, Any], refuse: str, words: str
) -> None:
    _set(site, **more)
    site.simulator.refuse_ack = refuse
    said, _ = site.refused()
    assert re.search(words, said)
    assert site.simulator.installed == {}


def test_a_cut_connection_is_gone_on_with(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snap_fetch, "PIECE", 4000)
    site.depot.cut_after = 2
    said, _ = site.refused()
    assert "What came stays, the next run goes on with it" in said
    site.depot.cut_after = None
    site.depot.asked.clear()
    site.run()
    assert site.depot.asked[0] == f"{RUNTIME}_dangerous.snap bytes=8000-8999"


def test_a_full_disk_is_told_with_what_is_wanted(site: Site) -> None:
    """/dev/full takes no byte, as a disk without space."""
    staging = Path(site.params["staging"])
    staging.mkdir()
    wanted = next(snap for snap in site.params["snaps"] if snap["name"] == MODEL)
    (staging / f"{wanted['filename']}.{wanted['sha3_384'][:12]}.part").symlink_to("/dev/full")
    said, result = site.refused()
    assert "No space left on device: 9700 bytes are wanted there, and as many below" in said
    assert "nothing was installed. Free some space" in said
    assert (site.simulator.installed, result["installed"]) == ({}, [])


def test_without_room_for_snapds_own_copy_nothing_is_installed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snaps, "free_below", lambda path: 8_999 if path == snaps.SNAPS else 10**9)
    said, result = site.refused()
    assert f"as many below {snaps.SNAPS}, 8999 are free now; nothing was installed. Free some space" in said
    assert (site.simulator.installed, result["installed"]) == ({}, [])


def test_what_was_never_installed_makes_room(tmp_path: Path) -> None:
    wanted = {"filename": "a_1.snap", "sha3_384": "D" * 64}
    for name in ("a_1.snap.DDDDDDDDDDDD.part", "a_1.snap.EEEEEEEEEEEE", "b_1.snap.FFFFFFFFFFFF.part"):
        (tmp_path / name).touch()
    snap_fetch.forget_others(str(tmp_path), [wanted])
    assert [path.name for path in tmp_path.iterdir()] == ["a_1.snap.DDDDDDDDDDDD.part"]


def test_without_a_certificate_nothing_comes(site: Site, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    stranger = TlsDepot(tmp_path / "other")
    stranger.server.shutdown()
    for name in ("device.crt", "device.key"):
        shutil.copy(stranger.identity / name, site.depot.identity / name)
    assert "does it trust this device's certificate?" in site.refused()[0]
    (site.depot.identity / "device.key").unlink()
    assert "let the role identity make it first" in site.refused()[0]


def test_a_device_without_snapd_is_told(site: Site) -> None:
    site.simulator.path.unlink()
    assert "is snapd installed and running?" in site.refused()[0]


def test_a_hold_that_runs_out_is_renewed(site: Site) -> None:
    site.run()
    site.simulator.conf["refresh.hold"] = "2020-01-01T00:00:00Z"
    assert site.run()["settings"] == ["refresh.hold"]
    site.params["offline"] = False
    site.simulator.conf.clear()
    assert site.run()["changed"] is False


def test_a_digest_is_read_again_only_when_the_file_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, kept, device = tmp_path / "a.snap", tmp_path / "run" / "digests.json", LocalSystem()
    monkeypatch.setattr(snap_digest, "KEPT", str(kept))
    file.write_bytes(b"one")
    first = snap_digest.installed(device, str(file))
    kept.write_text(kept.read_text().replace(str(first), "B" * 64))
    assert snap_digest.installed(device, str(file)) == "B" * 64, "kept by inode, size and time"
    file.write_bytes(b"two")
    assert snap_digest.installed(device, str(file)) == snap_digest.of_chunks([b"two"])
    kept.write_text("no JSON")
    assert snap_digest.sha3_kept(device, str(file)) is None
    assert snap_digest.installed(device, str(file)) == snap_digest.of_chunks([b"two"])
    assert snap_digest.installed(device, str(tmp_path / "none")) is None
    monkeypatch.setattr(snap_digest, "KEPT", str(file / "cannot"))
    assert snap_digest.installed(device, str(file)) == snap_digest.of_chunks([b"two"])
