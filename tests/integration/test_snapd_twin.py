# SPDX-License-Identifier: Apache-2.0
"""The label reader's snaps under Debian's real snapd, on one twin: installed, refreshed, reverted, faulty.

Real are snapd, its confinement as far as Debian's kernel goes, services, hooks, the content interface, revert
and quota groups. Stand-ins are the snaps `snapd` and `core24`.
"""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.bundle.rehearsal.egress import Attempt, read_capture
from edgewright.release.ocitar import Entry
from tests.integration.snapd_site import IDENTITY, MODEL, PAIR, RUNTIME, SnapdSite, snapd_site
from tests.unit.snaps.asserting import chain

pytestmark = [
    pytest.mark.vm,
    pytest.mark.slow,
    pytest.mark.machines,
    pytest.mark.skipif(os.geteuid() != 0, reason="making a twin's image takes root"),
    pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="no qemu-system-x86_64"),
    pytest.mark.skipif(shutil.which("mksquashfs") is None, reason="no mksquashfs"),
]

FRONTEND = f"""
user root;
worker_processes 1;
pid frontend.pid;
error_log stderr;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy;
  fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  server {{
    listen 127.0.0.1:9443 ssl;
    ssl_certificate {IDENTITY}/device.crt;
    ssl_certificate_key {IDENTITY}/device.key;
    ssl_client_certificate {IDENTITY}/site-root.crt;
    ssl_verify_client on;
    ssl_verify_depth 2;
    location / {{ proxy_pass http://unix:/var/snap/{RUNTIME}/current/run/server.sock; }}
  }}
}}
"""
ASK_FRONTEND = f"""
import http.client, ssl
for known in (True, False):
    context = ssl.create_default_context(cafile="{IDENTITY}/site-root.crt")
    if known:
        context.load_cert_chain("{IDENTITY}/device.crt", "{IDENTITY}/device.key")
    link = http.client.HTTPSConnection("127.0.0.1", 9443, context=context, timeout=60)
    link.request("GET", "/v2/health/ready")
    print(link.getresponse().status)
"""
# All but 4 MiB, those that ext4 keeps for root among it.
FILL = """
dd if=/dev/zero of=/var/tmp/room bs=1M count=4 status=none; sync
fallocate -l "$(df --output=avail -B1 /var/tmp | tail -n 1)" /var/tmp/filler
dd if=/dev/zero of=/var/tmp/rest bs=1M status=none; rm /var/tmp/room; sync
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SnapdSite]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with snapd_site(tmp_path_factory.mktemp("snapd"), port) as found:
        yield found


def attempts(site: SnapdSite) -> list[Attempt]:
    """What the device sent elsewhere since it booted."""
    return read_capture(site.twin.spec.capture_file)


def test_it_is_a_stand_in_and_says_so(site: SnapdSite) -> None:
    found = site.installed()
    assert sorted(found) == ["core24", "snapd"]
    assert all("standin" in snap["version"] for snap in found.values())
    assert all("stand-in" in snap["summary"].lower() for snap in found.values())


def test_from_nothing_to_serving(site: SnapdSite) -> None:
    checked = site.run(check=True)
    assert (checked["changed"], len(checked["installed"])) == (True, 2)
    assert sorted(site.installed()) == ["core24", "snapd"]
    done = site.run()
    assert not done["failed"], done["msg"]
    assert done["installed"] == [{"name": MODEL, "revision": "x1"}, {"name": RUNTIME, "revision": "x1"}]
    assert done["connected"] == [PAIR]
    assert "proxy.https" in done["settings"]
    found = site.installed()
    assert found[RUNTIME]["health"]["status"] == "okay"
    assert (found[RUNTIME]["confinement"], found[RUNTIME]["devmode"]) == ("strict", False)
    assert site.serves().startswith("200 ")
    # From here on a question for the store's name would leave the device and be seen.
    site.twin.run("echo nameserver 10.0.2.3 > /etc/resolv.conf")


def test_a_second_run_changes_nothing(site: SnapdSite) -> None:
    again = site.run()
    assert (again["failed"], again["changed"], again["settings"]) == (False, False, [])


def test_the_front_end_asks_for_a_certificate(site: SnapdSite) -> None:
    site.twin.run(f"cat > /var/snap/{RUNTIME}/common/frontend.conf", stdin=FRONTEND)
    script = "for i in $(seq 60); do ss -Hltn sport = :9443 | grep -q . && break; sleep 1; done; python3 -"
    done = site.twin.run(script, stdin=ASK_FRONTEND, timeout_s=600)
    assert done.stdout.split() == ["200", "400"], done.stderr


def test_cyclictest_runs_from_the_snap(site: SnapdSite) -> None:
    done = site.twin.run(f"/snap/{RUNTIME}/current/bin/cyclictest --loops=50 --interval=1000 --quiet")
    assert done.returncode == 0, done.stderr
    assert "C:     50" in done.stdout


def test_a_new_model_alone(site: SnapdSite, tmp_path: Path) -> None:
    site.offer_model("2", {"NOTE": Entry.file(b"another")}, tmp_path)
    done = site.run()
    assert not done["failed"], done["msg"]
    assert done["installed"] == [{"name": MODEL, "revision": "x2"}]
    assert site.installed()[MODEL]["version"] == "2"
    assert site.serves().startswith("200 ")


def test_a_model_that_does_not_serve_is_reverted(site: SnapdSite, tmp_path: Path) -> None:
    kept = dict(site.snaps[MODEL])
    site.offer_model("3", {"model.onnx": Entry.file(b"no model")}, tmp_path)
    done = site.run()
    assert done["failed"]
    assert f"snap {RUNTIME}: expected health okay within" in done["msg"]
    assert "got error (the model server ended by itself: status" in done["msg"]
    assert f"reverted {MODEL} to revision x2. Read its log" in done["msg"]
    assert done["reverted"] == [{"name": MODEL, "revision": "x2"}]
    found = site.installed()
    assert (found[MODEL]["revision"], found[RUNTIME]["revision"]) == ("x2", "x1")
    site.snaps[MODEL] = kept


def test_a_changed_bit_is_not_installed(site: SnapdSite, tmp_path: Path) -> None:
    kept = dict(site.snaps[MODEL])
    site.offer_model("4", {"NOTE": Entry.file(b"a fourth")}, tmp_path)
    with site.depot.changed(f"snaps/{MODEL}_dangerous.snap"):
        done = site.run()
    assert done["failed"]
    assert f"fetching snap {MODEL} (https://10.0.2.100:8443/snaps/" in done["msg"]
    assert f"expected sha3_384 {site.snaps[MODEL]['sha3_384']}, got " in done["msg"]
    site.snaps[MODEL] = kept


def test_assertions_of_a_stranger_are_refused_by_snapd(site: SnapdSite) -> None:
    kept = dict(site.snaps[MODEL])
    name = f"{MODEL}_7.assert"
    (site.depot.depot / "snaps" / name).write_bytes(chain())
    (site.depot.depot / "snaps" / name).chmod(0o644)
    # The digest of nothing that is installed: the file is fetched and its assertions are asked for.
    site.offer_locked(MODEL)
    site.snaps[MODEL] |= {"grade": "signed", "assertions": name, "revision": 7}
    done = site.run()
    assert done["failed"]
    assert f"acknowledging {name} of snap {MODEL}: expected assertions whose keys snapd trusts" in done["msg"]
    assert "nothing was installed" in done["msg"]
    site.snaps[MODEL] = kept


def test_a_full_disk_leaves_the_device_as_it_was(site: SnapdSite, tmp_path: Path) -> None:
    site.offer_model("5", {"NOTE": Entry.file(b"a fifth")}, tmp_path)
    site.twin.run(FILL, timeout_s=600)
    try:
        done = site.run()
    finally:
        site.twin.run("rm /var/tmp/filler /var/tmp/rest")
    assert done["failed"]
    assert "No space left on device" in done["msg"]
    assert "Free some space" in done["msg"]
    assert site.installed()[MODEL]["revision"] == "x2"


def test_a_power_cut_during_the_refresh_is_gone_on_from(site: SnapdSite) -> None:
    assert attempts(site) == []
    process = site.run(start=True)
    try:
        end = time.monotonic() + 600
        while not any(
            MODEL in one["summary"] for one in site.ask("GET", "/v2/changes?select=in-progress") or []
        ):
            assert time.monotonic() < end, "no change began"
            time.sleep(0.2)
        site.twin.kill()
    finally:
        process.kill()
        process.wait()
    site.twin.up()
    done = site.run()
    assert not done["failed"], done["msg"]
    assert site.installed()[MODEL]["version"] == "5"
    assert site.installed()[RUNTIME]["health"]["status"] == "okay"
    assert site.run()["changed"] is False


def test_a_quota_group_sets_cpus_apart_and_can_be_removed(site: SnapdSite) -> None:
    slice_cpus = "cat /sys/fs/cgroup/snap.edgert.slice/cpuset.cpus"
    made = site.twin.run(f"snap set-quota edgert --cpu-set=2,3 {RUNTIME} && {slice_cpus}", timeout_s=600)
    assert made.stdout.strip() == "2-3", made.stderr
    gone = site.twin.run("snap remove-quota edgert && snap quotas", timeout_s=600)
    assert gone.returncode == 0, gone.stderr
    assert "edgert" not in gone.stdout


def test_the_store_is_never_asked(site: SnapdSite) -> None:
    assert attempts(site) == []
    asked = site.twin.run("snap find label", timeout_s=300)
    assert asked.returncode != 0
    assert attempts(site) == [], "a person's own wish for the store stays on the device as well"
    # And the watch would have seen it: without its proxy the device asks for the store's name.
    site.twin.run(
        "snap unset system proxy.http proxy.https; systemctl restart snapd; timeout 300 snap find label",
        timeout_s=900,
    )
    assert any(one.protocol == "dns" and "snapcraft.io" in one.name for one in attempts(site))
