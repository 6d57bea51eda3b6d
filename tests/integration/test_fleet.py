# SPDX-License-Identifier: Apache-2.0
"""A fleet with faults: each is told on the right device, no device is called as wanted that is not, and a
later run mends what can be mended. Real sshd, real Ansible, twenty devices with roots of their own on this
machine.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgewright.device.probe_program import KEPT_DIRECTORY
from tests.integration.sshd_devices import BIN, RELEASE, ROOT, Device, SshdFleet, missing_tools

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing_tools()), reason=f"sshd devices need {', '.join(missing_tools())}"),
]
CONVERGE = "playbooks/converge_devices.yml"
COUNT = 20
# A file that the depot's area looks at; its loss is drift that the probe names.
POLICY = "/etc/containers/policy.json"
FULL = "head -c 1G /dev/zero > /var/lib/full 2> /dev/null || true"


def python_that(body: str) -> str:
    """Shell text that puts another program in the place of a device's Python, for faults in mid-probe."""
    path = "/usr/bin/python3"
    return f"mv {path} {path}.real; printf '#!/bin/sh\\n{body}\\n' > {path}; chmod 755 {path}"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshdFleet]:
    """Twenty devices as wanted."""
    with SshdFleet(tmp_path_factory.mktemp("fleet") / "site", COUNT) as made:
        made.provision()
        made.start()
        yield made


def rows(fleet: SshdFleet, *arguments: str, **environment: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """`edgewright drift --json`: exit code, and the devices by name."""
    fleet.disconnect()
    done = fleet.edgewright("drift", "--json", *arguments, **environment)
    assert done.stdout, done.stderr
    report = json.loads(done.stdout)
    return done.returncode, {row["host"]: row for row in report["devices"]}


def test_a_device_as_wanted_costs_one_command_and_no_transfer(fleet: SshdFleet) -> None:
    ran = fleet.play(CONVERGE, "-vvv", "--limit", "d01")
    assert ran.rc == 0, ran.text
    assert ran.text.count("> SSH: EXEC ") == 1
    assert "PUT " not in ran.text
    assert ran.row("d01") == {**ran.row("d01"), "ok": 1, "changed": 0, "failed": 0, "unreachable": 0}


def test_every_fault_is_told_on_its_device_and_the_others_are_right(fleet: SshdFleet) -> None:
    """All at once, as a bad morning has them."""
    named = dict(zip(_FAULTS, list(fleet.devices)[2:], strict=False))
    try:
        for case, name in named.items():
            how, device = _FAULTS[case][0], fleet.devices[name]
            if callable(how):
                how(fleet, device)
            elif how:
                device.run(how)
        fleet.write_inventory(**{named["stale address"]: {"ansible_port": 1}})
        code, found = rows(fleet, "--timeout", "25", ANSIBLE_TIMEOUT="5")
    finally:
        fleet.write_inventory()
        fleet.write_known_hosts()
        for case, name in named.items():
            if case in ("gone", "half-open", "killed", "slow", "read-only root", "no python"):
                fleet.devices[name].stop()
                fleet.devices[name].start()

    assert set(found) == set(fleet.devices)
    for case, name in named.items():
        state, words = _FAULTS[case][1:]
        assert found[name]["state"] == state, f"{case}: {found[name]}"
        told = found[name]["message"] or json.dumps(found[name]["drift"])
        assert words in told, f"{case}: {told}"
    for name in set(fleet.devices) - set(named.values()):
        assert found[name]["state"] == "as wanted", found[name]
    assert code == 1  # one device could not be read, and that comes before the others


def test_after_the_faults_all_are_read_again(fleet: SshdFleet) -> None:
    drifted = _drifted(fleet)
    code, found = rows(fleet)
    assert {name for name, row in found.items() if row["state"] != "as wanted"} == drifted
    assert code == (10 if drifted else 0)


def _drifted(fleet: SshdFleet) -> set[str]:
    """Devices whose file is gone, asked of the devices themselves."""
    return {
        name
        for name, device in fleet.devices.items()
        if "gone" in device.run(f"test -e {POLICY} || echo gone")
    }


def _strange_key(fleet: SshdFleet, device: Device) -> None:
    other = next(iter(fleet.devices.values()))
    known = fleet.state / "known_hosts"
    mine = f"[127.0.0.1]:{device.port} "
    lines = [line for line in known.read_text().splitlines() if not line.startswith(mine)]
    known.write_text("\n".join([*lines, mine + (other.base / "host_key.pub").read_text()]))


def _stop(_: SshdFleet, device: Device) -> None:
    device.stop()


def _pause(_: SshdFleet, device: Device) -> None:
    device.pause()


# Case -> how to make it (shell text for the device, or a function), the state of its row, and words that it
# has.
_FAULTS: dict[str, tuple[str | Callable[[SshdFleet, Device], None], str, str]] = {
    "stale address": ("", "unreachable", "nothing listens there"),
    "gone": (_stop, "unreachable", "nothing listens there"),
    "host key changed": (_strange_key, "unreachable", "another host key than the known one"),
    "half-open": (_pause, "unreachable", "nothing answers at its address"),
    # All of the device's processes that its first one does not hold; the connection ends without a word.
    "killed": (python_that("kill -9 -1"), "unreachable", "connection ended in the middle"),
    "slow": (python_that("sleep 120"), "failed", "25 second"),
    "no python": (
        "mv /usr/bin/python3 /usr/bin/python3.real",
        "failed",
        "it has no Python at /usr/bin/python3",
    ),
    # A probe never writes, so neither of these keeps it from telling the truth.
    "disk full": (FULL, "as wanted", "[]"),
    "read-only root": ("mount -o remount,ro /", "as wanted", "[]"),
    "drift": (f"rm {POLICY}", "drift", POLICY),
    "drift on a full disk": (f"rm {POLICY}; {FULL}", "drift", POLICY),
}


def _forget_probe(device: Device) -> None:
    device.run(f"rm -rf {KEPT_DIRECTORY}")


def test_a_run_that_cannot_write_fails_there_alone_and_the_next_one_converges(fleet: SshdFleet) -> None:
    names = ["d01", "d02", "d03"]
    for name in names:
        _forget_probe(fleet.devices[name])
    fleet.devices["d02"].run(FULL)
    fleet.devices["d03"].run("mount -o remount,ro /")
    ran = fleet.play(CONVERGE, "--limit", ",".join(names))
    assert ran.rc != 0
    assert [ran.row(name)["failed"] for name in names] == [0, 1, 1], ran.text
    assert "No space left on device" in ran.text
    assert "Read-only file system" in ran.text
    assert fleet.devices["d02"].run(f"ls {KEPT_DIRECTORY} 2>/dev/null || true").split() in ([], [""])

    fleet.devices["d02"].run("rm /var/lib/full")
    fleet.devices["d03"].run("mount -o remount,rw /")
    again = fleet.play(CONVERGE, "--limit", ",".join(names))
    assert again.rc == 0, again.text
    assert [again.row(name)["changed"] > 0 for name in names] == [False, True, True]
    code, found = rows(fleet, "--limit", ",".join(names))
    assert (code, {row["state"] for row in found.values()}) == (0, {"as wanted"})


def test_each_device_has_a_row_and_its_fault_is_its_own_task_s(fleet: SshdFleet) -> None:
    """One task reads all of them: what it found of each is told on each."""
    names = ["d07", "d08", "d09", "d10"]
    gone, bare, lacking, well = (fleet.devices[name] for name in names)
    gone.stop()
    bare.run("mv /usr/bin/python3 /usr/bin/python3.real")
    _forget_probe(lacking)
    try:
        ran = fleet.play(CONVERGE, "--limit", ",".join(names))
    finally:
        gone.start()
        bare.run("mv /usr/bin/python3.real /usr/bin/python3")
    assert ran.rc != 0
    told = {"ok": 0, "changed": 0, "failed": 0, "unreachable": 0}
    rows = {name: {key: ran.row(name)[key] for key in told} for name in names}
    assert rows[gone.name]["unreachable"] == 1, ran.text
    assert rows[bare.name]["failed"] == 1, ran.text
    assert rows[lacking.name] == {**told, "ok": 1, "changed": 1}, ran.text
    assert rows[well.name] == {**told, "ok": 1}, ran.text
    assert f"fatal: [{bare.name}]: FAILED!" in ran.text
    assert "it has no Python at /usr/bin/python3" in ran.text
    assert "Task failed: Task failed" not in ran.text
    assert f"fatal: [{gone.name}]: UNREACHABLE!" in ran.text
    again = fleet.play(CONVERGE, "--limit", ",".join(names))
    assert again.rc == 0, again.text
    assert [again.row(name)["changed"] for name in names] == [0, 0, 0, 0]


def test_a_wrong_variable_is_told_on_its_device_and_nothing_is_touched(fleet: SshdFleet) -> None:
    _forget_probe(fleet.devices["d18"])
    fleet.write_inventory(d19={"depot_client_ulr": "https://10.0.2.100:8443"})
    try:
        ran = fleet.play("site.yml", "--limit", "d18,d19")
    finally:
        fleet.write_inventory()
    assert ran.rc != 0
    assert "did you mean depot_client_url?" in ran.text
    assert [ran.row(name)["failed"] for name in ("d18", "d19")] == [0, 1], ran.text
    assert fleet.devices["d18"].run(f"ls -d {KEPT_DIRECTORY} 2>/dev/null || true") == ""
    assert fleet.play("site.yml", "--limit", "d18,d19").rc == 0


def test_each_device_is_compared_with_its_own_lock(fleet: SshdFleet, tmp_path: Path) -> None:
    """One site may hold several releases; the one task that asks all computes its options for each."""
    other, none = tmp_path / "other", tmp_path / "none"
    other.mkdir()
    text = (RELEASE / "release.lock.yml").read_text()
    (other / "release.lock.yml").write_text(
        text.replace("\n  name: label-reader\n", "\n  name: other-reader\n", 1)
    )
    dirs = {"d02": {"edgewright_release_dir": str(other)}, "d03": {"edgewright_release_dir": str(none)}}
    try:
        fleet.write_inventory(**dirs)
        code, found = rows(fleet, "--limit", "d01,d02,d03")
        checked = fleet.play("playbooks/validate_inventory.yml", "--limit", "d01,d02,d03")
    finally:
        fleet.write_inventory()
    assert code == 1
    assert found["d01"]["lock"] == str(RELEASE / "release.lock.yml")
    assert found["d02"]["lock"] == str(other / "release.lock.yml")
    assert found["d03"]["state"] == "failed"
    assert f"{none}/release.lock.yml does not exist" in found["d03"]["message"]
    assert (checked.row("d03")["failed"], checked.row("d01")["failed"], checked.row("d02")["failed"]) == (
        1,
        0,
        0,
    )
    assert f"{none}/release.lock.yml does not exist" in checked.text


def test_two_controllers_at_once_leave_the_device_as_wanted(fleet: SshdFleet) -> None:
    names = ["d04", "d05", "d06"]
    for name in names:
        fleet.devices[name].stop()
        fleet.devices[name].start()
        _forget_probe(fleet.devices[name])
    argv = [str(BIN / "ansible-playbook"), "-i", str(fleet.inventory), CONVERGE, "--limit", ",".join(names)]
    runs = [
        subprocess.Popen(
            argv,
            cwd=ROOT,
            env=fleet.environment(ANSIBLE_SSH_CONTROL_PATH_DIR=str(fleet.directory / f"cp{number}")),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        for number in (1, 2)
    ]
    said = [run.communicate(timeout=300)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], "\n".join(said)
    for name in names:
        assert len(fleet.devices[name].run(f"ls -A {KEPT_DIRECTORY}").split()) == 1
    code, _ = rows(fleet, "--limit", ",".join(names))
    assert code == 0


def test_a_changed_program_is_not_run_and_is_replaced(fleet: SshdFleet) -> None:
    device = fleet.devices["d01"]
    device.run(f'for file in {KEPT_DIRECTORY}/*; do echo \'open("/ran", "w")\' > $file; done')
    code, found = rows(fleet, "--limit", "d01")
    assert code == 10
    assert [item["item"] for item in found["d01"]["drift"]] == ["program"]
    ran = fleet.play(CONVERGE, "--limit", "d01")
    assert ran.rc == 0, ran.text
    assert device.run("test -e /ran && echo ran || true").strip() == ""
    assert rows(fleet, "--limit", "d01")[0] == 0


def test_check_mode_tells_and_writes_nothing(fleet: SshdFleet) -> None:
    device = fleet.devices["d01"]
    _forget_probe(device)
    ran = fleet.play(CONVERGE, "--check", "--diff", "--limit", "d01")
    assert ran.rc == 0, ran.text
    assert ran.row("d01")["changed"] == 1
    assert "drift_watch.program" in ran.text
    assert device.run(f"ls -d {KEPT_DIRECTORY} 2>/dev/null || true") == ""
    plan = fleet.edgewright("plan", "--limit", "d01")
    assert plan.returncode == 0, plan.stderr
    assert "drift_watch.program" in plan.stdout
    assert fleet.play(CONVERGE, "--limit", "d01").rc == 0


def test_past_runs_are_kept_for_the_next_plan(fleet: SshdFleet) -> None:
    found = sorted((fleet.state / "runs").glob("*.json"))
    assert found, "the runs above changed devices"
    devices = json.loads(found[-1].read_text(encoding="utf-8"))["devices"]
    assert devices["d01"]["profile"] == "x86_container"
    assert devices["d01"]["seconds"]["drift_watch"] > 0


def test_a_device_that_becomes_root_by_sudo_is_read(fleet: SshdFleet, tmp_path: Path) -> None:
    device = fleet.devices["d02"]
    device.run("useradd -m -p '*' worker; echo 'worker ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/worker")
    fleet.write_inventory(d02={"ansible_user": "worker", "ansible_become": True})
    try:
        code, found = rows(fleet, "--limit", "d02")
    finally:
        fleet.write_inventory()
    assert found["d02"]["state"] == "as wanted", found["d02"]
    assert code == 0
