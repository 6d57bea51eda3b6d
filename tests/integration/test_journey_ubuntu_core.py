# SPDX-License-Identifier: Apache-2.0
"""The journey on a snapd twin: a bare device becomes an accepted one, the way of Ubuntu Core.

Real are Debian's snapd, its confinement as far as Debian's kernel goes, services, hooks, the content
interface, revert and quota groups. Stand-ins are Canonical's base and snapd snaps. The tests of this file are
one story on one machine, in the order in which they stand: it is provisioned, spoilt and mended by the roles,
and then, served and in its quota group, given snaps that are new, bad, foreign, too big, or cut off by a loss
of power. All that it sends is kept from its first boot on, so that no question for a store goes unseen.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator

import pytest
from ansible_collections.edgewright.factory.plugins.module_utils.snapd import SnapdError

from edgewright.release.ocitar import Entry
from tests.integration.site import BIN, ROOT, Site
from tests.integration.snapd_site import IDENTITY, MODEL, RUNTIME, SnapdSite, twin_settings
from tests.unit.snaps.asserting import chain

pytestmark = [
    pytest.mark.vm,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="making a twin's image takes root"),
    pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="no qemu-system-x86_64"),
    pytest.mark.skipif(shutil.which("mksquashfs") is None, reason="no mksquashfs"),
    pytest.mark.skipif(shutil.which("tcpdump") is None, reason="no tcpdump"),
]

SLICE = "/sys/fs/cgroup/snap.edgert.slice"
# What a Debian way would touch: packages, users, images, and paths that are read-only on core24. Left out are
# those that it keeps writable, and what the twin's Debian writes by timers of its own (apt, logrotate, dbus).
NOT_OURS = (
    "dpkg-query -W | sha256sum; sha256sum < /etc/passwd; ls /var/lib/containers 2>/dev/null;"
    " find /usr /boot /opt /etc /var/lib -xdev -newer /tmp/begun -type f"
    " -not -path '/etc/systemd/*' -not -path '/etc/sysctl.d/*' -not -path '/var/lib/snapd/*'"
    " -not -path '/var/lib/systemd/*' -not -path '/etc/environment' -not -path '/var/lib/private/*'"
    " -not -path '/etc/apparmor.d/*' -not -path '/etc/udev/rules.d/*' -not -path '/var/lib/apt/daily_lock'"
    " -not -path '/var/lib/dbus/*' -not -path '/var/lib/logrotate/*'"
)
# What the kernel and systemd say: the partition, the CPUs left to all else, the server's cgroup, confinement,
# and settings (its unit's main process is a shell that starts it and waits), whether front end and watch run.
SAYS = f"""
pid=$(systemctl show -P MainPID snap.{RUNTIME}.server.service)
for try in $(seq 60); do
    has=$(for one in $(cat /proc/$pid/task/$pid/children); do tr '\\0' '\\n' < /proc/$one/environ; done)
    echo "$has" | grep -q ^EDGEWRIGHT_MODELS= && break
    sleep 1
done
echo "partition $(cat {SLICE}/cpuset.cpus.partition)"
echo "others $(cat /sys/fs/cgroup/system.slice/cpuset.cpus.effective)"
echo "cgroup $(cat /proc/$pid/cgroup)"
echo "profile $(cat /proc/$pid/attr/current)"
echo "settings $(echo "$has" | sort -u | grep -cxf /var/snap/{RUNTIME}/common/environment)"
echo "written $(grep -c = /var/snap/{RUNTIME}/common/environment)"
echo "frontend $(systemctl is-active snap.{RUNTIME}.frontend.service)"
echo "watch $(systemctl is-active edgewright-drift-watch.timer)"
"""
# The device's own identity, as a client of its own front end, and the same without it.
ASK_FRONTEND = f"""
python3 - <<'PYTHON'
import http.client, ssl
for known in (True, False):
    context = ssl.create_default_context(cafile="{IDENTITY}/site-root.crt")
    context.check_hostname = False
    if known:
        context.load_cert_chain("{IDENTITY}/device.crt", "{IDENTITY}/device.key")
    link = http.client.HTTPSConnection("127.0.0.1", 8443, context=context, timeout=60)
    link.request("GET", "/v2/health/ready")
    print("answer", link.getresponse().status)
PYTHON
"""
# All but 4 MiB, those that ext4 keeps for root among it.
FILL = """
dd if=/dev/zero of=/var/tmp/room bs=1M count=4 status=none; sync
fallocate -l "$(df --output=avail -B1 /var/tmp | tail -n 1)" /var/tmp/filler
dd if=/dev/zero of=/var/tmp/rest bs=1M status=none; rm /var/tmp/room; sync
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    own = {
        "edgewright_os": "ubuntu_core",
        "edgewright_profile": "x86_vm_snapd",
        "edgewright_snap_grade": "dangerous",
        "edgewright_twin": twin_settings(9461),
        # What is judged here is that it is measured; half a minute says no more under emulation.
        "acceptance_duration_s": 10.0,
    }
    directory = tmp_path_factory.mktemp("core")
    with Site(directory, "core-journey", ssh_port=2261, depot_port=9461, twin="snapd", own=own) as made:
        yield made


@pytest.fixture(scope="module")
def snapd(site: Site) -> SnapdSite:
    return SnapdSite(site)


def check_it_runs_apart(told: str) -> None:
    """The server runs confined in the quota group's slice, whose CPUs nobody else may use."""
    said = dict(line.split(" ", 1) for line in told.splitlines())
    assert said["partition"] == "isolated", told
    assert "2-3" not in said["others"], told
    assert "/snap.edgert.slice/" in said["cgroup"], told
    assert f"snap.{RUNTIME}.server" in said["profile"], told
    assert said["settings"] == said["written"], f"it runs with other settings than are written: {told}"
    assert (said["frontend"], said["watch"]) == ("active", "active"), told


def test_a_bare_device_becomes_an_accepted_one(site: Site, snapd: SnapdSite) -> None:
    site.up()
    bare = snapd.look()["snaps"]
    assert sorted(bare) == ["core24", "snapd"]
    assert all("standin" in snap["version"] for snap in bare.values())
    assert all("stand-in" in snap["summary"].lower() for snap in bare.values())
    before = site.ssh(f"touch /tmp/begun; sleep 1; {NOT_OURS}").splitlines()
    run = site.play()
    assert run.returncode == 0, run.text[-6000:]
    assert "core-journey is as wanted, and accepted" in run.text
    assert site.boots() == 1, "nothing on this way takes a reboot"
    assert site.ssh(NOT_OURS).splitlines() == before
    # From here on a question for the store's name would leave the device and be seen.
    site.ssh("echo nameserver 10.0.2.3 > /etc/resolv.conf")


def test_the_system_says_so_itself(site: Site) -> None:
    told = site.ssh(f"{SAYS} echo begin; snap quota edgert; snap get system proxy.https; {ASK_FRONTEND}")
    says, _, rest = told.partition("begin\n")
    check_it_runs_apart(says)
    assert "- edgewright-runtime" in rest
    assert "http://127.0.0.1:9" in rest.splitlines()
    answers = [line for line in rest.splitlines() if line.startswith("answer")]
    assert answers == ["answer 200", "answer 400"], "the front end asks for a certificate"


def test_the_record_names_the_snaps_and_what_stands_in(site: Site) -> None:
    (record,) = site.records()
    assert record["release"]["snaps"]["grade"] == "dangerous"
    snaps = record["device"]["snaps"]
    assert {name for name, snap in snaps.items() if snap["stand_in"]} == {"core24", "snapd"}
    assert len(snaps["edgewright-runtime"]["sha3_384"]) == 64
    assert record["judged"]["function"]["verdict"] == "pass"
    assert record["wakeup"]["error"] is None, "cyclictest runs from the snap"
    path = next((site.state / "records" / site.device).glob("*.json"))
    shown = site.edgewright("record", "show", str(path)).stdout
    assert "STAND-INS    core24, snapd" in shown
    assert "GRADE        DANGEROUS" in shown


def test_the_second_run_is_one_probe_and_changes_nothing(site: Site) -> None:
    run = site.play()
    assert run.returncode == 0, run.text[-4000:]
    assert run.recap(site.device)["changed"] == 0
    assert len(site.records()) == 1


def test_a_snap_of_one_changed_bit_is_found(site: Site) -> None:
    """The byte is in the padding after the file system, so what is mounted stays whole."""
    file = site.ssh("readlink -f /var/lib/snapd/snaps/edgewright-model-label-reader_x*.snap")
    flip = f"printf '\\{{}}' | dd of={file} bs=1 seek=$(($(stat -c %s {file}) - 1)) conv=notrunc status=none"
    site.ssh(flip.format("001"))
    run = site.play("--check", playbook="playbooks/converge_devices.yml")
    assert "runtime.snaps.edgewright-model-label-reader" in run.text, run.text[-3000:]
    site.ssh(flip.format("000"))


def test_the_roles_scenario_on_a_device_with_snapd(site: Site) -> None:
    """The molecule scenario of the roles' Ubuntu Core way: a fault for each area, told twice, and mended.

    One of them is the quota group, removed behind our back.
    """
    log = site.directory / "molecule-ubuntu_core.log"
    with log.open("wb") as stream:
        done = subprocess.run(
            [str(BIN / "molecule"), "test", "-s", "ubuntu_core"],
            cwd=ROOT,
            env=site.environment() | {"EDGEWRIGHT_MOLECULE_INVENTORY": str(site.inventory)},
            stdout=stream,
            stderr=subprocess.STDOUT,
            check=False,
        )
    assert done.returncode == 0, log.read_text(errors="replace")[-6000:]
    check_it_runs_apart(site.ssh(SAYS))
    assert len(site.records()) == 1, "what is accepted is the same, so nothing is measured anew"


def test_a_new_model_alone(snapd: SnapdSite) -> None:
    snapd.offer_model("2", {"NOTE": Entry.file(b"another")})
    checked = snapd.run(check=True)
    assert (checked["changed"], checked["installed"]) == (True, [{"name": MODEL, "revision": None}])
    assert snapd.look()["snaps"][MODEL]["revision"] == "x1", "check mode only tells"
    done = snapd.run()
    assert not done["failed"], done["msg"]
    assert done["installed"] == [{"name": MODEL, "revision": "x2"}]
    assert done["settings"] == [], "those that keep it from the store are set already"
    found = snapd.look()
    assert found["snaps"][MODEL]["version"] == "2"
    assert found["snaps"][RUNTIME]["health"]["status"] == "okay"
    assert found["serves"].startswith("200 ")


def test_a_model_that_does_not_serve_is_reverted(site: Site, snapd: SnapdSite) -> None:
    kept = dict(snapd.snaps[MODEL])
    snapd.offer_model("3", {"model.onnx": Entry.file(b"no model")})
    done = snapd.run()
    assert done["failed"]
    assert f"snap {RUNTIME}: expected health okay within" in done["msg"]
    assert "got error (the model server ended by itself: status" in done["msg"]
    assert f"reverted {MODEL} to revision x2. Read its log" in done["msg"]
    assert done["reverted"] == [{"name": MODEL, "revision": "x2"}]
    found = snapd.look()["snaps"]
    assert (found[MODEL]["revision"], found[RUNTIME]["revision"]) == ("x2", "x1")
    check_it_runs_apart(site.ssh(SAYS))
    snapd.snaps[MODEL] = kept


def test_a_changed_bit_is_not_installed(snapd: SnapdSite) -> None:
    kept = dict(snapd.snaps[MODEL])
    snapd.offer_model("4", {"NOTE": Entry.file(b"a fourth")}, flip=True)
    done = snapd.run()
    assert done["failed"]
    assert f"fetching snap {MODEL} (https://10.0.2.100:8443/snaps/" in done["msg"]
    assert f"expected sha3_384 {snapd.snaps[MODEL]['sha3_384']}, got " in done["msg"]
    snapd.snaps[MODEL] = kept


def test_assertions_of_a_stranger_are_refused_by_snapd(snapd: SnapdSite) -> None:
    kept = dict(snapd.snaps[MODEL])
    name = f"{MODEL}_7.assert"
    snapd.put(name, chain())
    # The digest of nothing that is installed: the file is fetched and its assertions are asked for.
    snapd.snaps[MODEL] = snapd.locked(MODEL) | {"grade": "signed", "assertions": name, "revision": 7}
    done = snapd.run()
    assert done["failed"]
    assert f"acknowledging {name} of snap {MODEL}: expected assertions whose keys snapd trusts" in done["msg"]
    assert "nothing was installed" in done["msg"]
    snapd.snaps[MODEL] = kept


def test_a_full_disk_leaves_the_device_as_it_was(snapd: SnapdSite) -> None:
    snapd.offer_model("5", {"NOTE": Entry.file(b"a fifth")})
    snapd.twin.run(FILL, timeout_s=600)
    try:
        done = snapd.run()
    finally:
        snapd.twin.run("rm /var/tmp/filler /var/tmp/rest")
    assert done["failed"]
    assert "No space left on device" in done["msg"]
    assert "Free some space" in done["msg"]
    assert snapd.look()["snaps"][MODEL]["revision"] == "x2"


def test_a_service_that_snapd_restarts_already_is_waited_for(snapd: SnapdSite) -> None:
    """As it does by itself after a loss of power, in a change that no question for a snap's changes finds."""
    server = f"{RUNTIME}.server"
    wish = json.dumps({"action": "restart", "names": [server]}).encode()
    with snapd.link() as link:
        link.call("POST", "/v2/apps", wish)
        with pytest.raises(SnapdError, match='"service-control" change in progress') as told:
            link.call("POST", "/v2/apps", wish)
        assert told.value.busy
        link.restart([server])


def test_a_power_cut_during_the_refresh_is_gone_on_from(site: Site, snapd: SnapdSite) -> None:
    assert snapd.attempts() == [], "nothing left the device since its first boot"
    process = snapd.start()
    try:
        end = time.monotonic() + 600
        while not any(MODEL in summary for summary in snapd.look()["changes"]):
            assert time.monotonic() < end, "no change began"
        snapd.twin.kill()
    finally:
        process.kill()
        process.wait()
    snapd.twin.up()
    done = snapd.run()
    assert not done["failed"], done["msg"]
    found = snapd.look()
    assert found["snaps"][MODEL]["version"] == "5"
    assert found["snaps"][RUNTIME]["health"]["status"] == "okay"
    assert found["serves"].startswith("200 ")
    assert snapd.run()["changed"] is False
    assert site.boots() == 2
    check_it_runs_apart(site.ssh(SAYS))


def test_the_store_is_never_asked(snapd: SnapdSite) -> None:
    assert snapd.attempts() == []
    asked = snapd.twin.run("snap find label", timeout_s=300)
    assert asked.returncode != 0
    assert snapd.attempts() == [], "a person's own wish for the store stays on the device as well"
    # And the watch would have seen it: without its proxy the device asks for the store's name.
    snapd.twin.run(
        "snap unset system proxy.http proxy.https; systemctl restart snapd; timeout 300 snap find label",
        timeout_s=900,
    )
    assert any(one.protocol == "dns" and "snapcraft.io" in one.name for one in snapd.attempts())
