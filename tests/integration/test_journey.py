# SPDX-License-Identifier: Apache-2.0
"""The journey on a VM twin: a bare device becomes an accepted one, stays so, and is found when it does not.

The tests of this file are one story on one machine, in the order in which they stand.
"""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from tritonclient import http as triton

from edgewright.labels import decode, render, to_tensor
from tests.integration.site import BIN, ROOT, Site
from tests.integration.watch_faults import (
    DROP_IN,
    UPGRADED,
    at_once,
    declare_a_gpu,
    faults,
    next_look,
    start_without_parameters,
    take_back,
)

pytestmark = [pytest.mark.vm, pytest.mark.slow]

FINGERPRINT_OF_DEVICE = (
    "dpkg-query -W | sha256sum; find /etc /boot /usr/local /var/lib/edgewright -xdev -type f"
    " -printf '%p %s %T@\\n' 2>/dev/null | sort | sha256sum; cat /proc/sys/kernel/random/boot_id"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    # That it is measured is judged here; more labels and half a minute say no more under emulation.
    own = {"acceptance_duration_s": 10.0, "acceptance_labels": 3}
    with Site(tmp_path_factory.mktemp("site"), "journey-01", ssh_port=2211, depot_port=9443, own=own) as made:
        yield made


def test_check_mode_on_a_bare_device_predicts_the_drift_and_changes_nothing(site: Site) -> None:
    site.up()
    before = site.ssh(FINGERPRINT_OF_DEVICE)
    run = site.play("--check", "--diff", playbook="playbooks/converge_devices.yml")
    assert run.returncode == 0, run.text[-4000:]
    for area in ("identity", "depot_client", "kernel", "isolation", "runtime", "acceptance"):
        assert re.search(rf"\b{area}\.\w+", run.text), f"{area} is not in the predicted drift"
    assert site.ssh(FINGERPRINT_OF_DEVICE) == before


def test_power_is_lost_while_the_kernel_is_installed(site: Site) -> None:
    process, log = site.start()
    marker = re.compile(r"TASK \[.*kernel : install \| Install the locked kernel")
    for _ in range(2400):
        assert process.poll() is None, log.read_text()[-4000:]
        if marker.search(log.read_text(errors="replace")):
            break
        time.sleep(1)
    else:
        pytest.fail("the run never came to the kernel's installation")
    time.sleep(20)
    site.kill()
    assert process.wait(900) != 0, "the run says that the device went away"
    text = log.read_text()
    assert "UNREACHABLE" in text or "unreachable=1" in text or "FAILED" in text
    assert not site.records()


def test_the_next_run_finishes_the_job(site: Site) -> None:
    """Without a power loss it takes one reboot, too: `test_rehearsal` counts that."""
    run = site.play()
    assert run.returncode == 0, run.text[-6000:]
    assert "journey-01 is as wanted, and accepted" in run.text
    assert site.boots() == 3, "first boot, boot after the power loss, and one reboot"
    assert site.ssh("dpkg --audit") == ""


def test_system_says_so_itself(site: Site) -> None:
    assert "PREEMPT_RT" in site.ssh("uname -v")
    assert site.ssh("cat /sys/fs/cgroup/edgert.slice/cpuset.cpus.partition") == "isolated"
    assert "2-3" not in site.ssh("cat /sys/fs/cgroup/system.slice/cpuset.cpus.effective")
    assert "nohz_full=2-3" in site.ssh("cat /proc/cmdline")
    container = site.ssh("podman inspect -f '{{.State.Pid}}' edgewright-runtime-a")
    assert "/edgert.slice/" in site.ssh(f"cat /proc/{container}/cgroup")


def test_record_says_what_the_device_is_and_how_it_measured(site: Site) -> None:
    (record,) = site.records()
    text = (sorted((site.state / "records" / site.device).glob("*.json"))[0]).read_text()
    assert record["schema"] == "edgewright.record/v1"
    assert "PREEMPT_RT" in text
    assert '"isolated"' in text
    shown = site.edgewright(
        "record", "show", str(sorted((site.state / "records" / site.device).glob("*.json"))[0])
    ).stdout
    assert "observed" in shown
    assert "guaranteed" not in shown


def test_second_run_is_one_probe_and_changes_nothing(site: Site) -> None:
    boot = site.boot_id()
    before = site.ssh(FINGERPRINT_OF_DEVICE)
    run = site.play()
    assert run.returncode == 0, run.text[-4000:]
    assert run.recap(site.device)["changed"] == 0
    assert run.recap("localhost")["changed"] == 0
    on_device = [name for name in run.tasks_of(site.device) if "Validate" not in name and "twins" not in name]
    assert on_device == ["Read the state of all devices once and compare it with what is wanted"]
    assert site.boot_id() == boot
    assert site.ssh(FINGERPRINT_OF_DEVICE) == before
    assert len(site.records()) == 1


@pytest.fixture(scope="module")
def tunnel(site: Site) -> Iterator[int]:
    """A local port that leads to the device's own front end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    process = subprocess.Popen(
        [
            *("ssh", "-N", "-L", f"127.0.0.1:{port}:127.0.0.1:8443", "-p", str(site.ssh_port)),
            *("-i", str(site.state / "ssh" / "id_ed25519"), "-o", "StrictHostKeyChecking=yes"),
            *("-o", f"UserKnownHostsFile={site.state}/known_hosts", "-o", "ExitOnForwardFailure=yes"),
            "root@127.0.0.1",
        ]
    )
    try:
        for _ in range(120):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.5)
        yield port
    finally:
        process.terminate()
        process.wait()


def _authority(site: Site, name: str) -> Path:
    return site.state / "authority" / name


def _curl(site: Site, url: str, client: tuple[Path, Path] | None) -> subprocess.CompletedProcess[str]:
    presented = ["--cert", str(client[0]), "--key", str(client[1])] if client else []
    return subprocess.run(
        [
            "curl",
            "-sS",
            "-m",
            "90",
            "--cacert",
            str(_authority(site, "root.crt")),
            *presented,
            "-w",
            "%{http_code}",
            url,
        ],
        capture_output=True,
        text=True,
        check=False,
    )


def _foreign_certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate of somebody else's authority (self-signed), and its key."""
    certificate, key = directory / "foreign.crt", directory / "foreign.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *(
                "-keyout",
                str(key),
                "-out",
                str(certificate),
                "-days",
                "2",
                "-subj",
                "/CN=mallory/OU=operator",
            ),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


def test_wrong_client_certificate_is_refused_by_depot_and_runtime(
    site: Site, tunnel: int, tmp_path: Path
) -> None:
    good = (_authority(site, "clients/controller.crt"), _authority(site, "clients/controller.key"))
    for url in (
        f"https://127.0.0.1:{site.depot_port}/apt/edgewright-archive-key.asc",
        f"https://localhost:{tunnel}/v2/health/ready",
    ):
        assert _curl(site, url, good).stdout.endswith("200"), url
        for client in (None, _foreign_certificate(tmp_path)):
            refused = _curl(site, url, client)
            assert refused.stdout[-3:] in {"400", "403"} or refused.returncode != 0, (url, refused.stdout)
            assert not refused.stdout.endswith("200")


def test_client_of_triton_works_unchanged(site: Site, tunnel: int) -> None:

    context = ssl.create_default_context(cafile=str(_authority(site, "root.crt")))
    context.load_cert_chain(
        _authority(site, "clients/controller.crt"), _authority(site, "clients/controller.key")
    )
    client = triton.InferenceServerClient(
        f"localhost:{tunnel}", ssl=True, ssl_context_factory=lambda: context, network_timeout=120.0
    )
    assert client.is_model_ready("label-reader")
    metadata = client.get_model_metadata("label-reader")
    tensor = to_tensor(render("LOT B2026-11"))
    wanted = triton.InferInput("x", list(tensor.shape), "FP32")
    wanted.set_data_from_numpy(tensor.astype(np.float32))
    answer = client.infer("label-reader", [wanted])
    output = answer.as_numpy(metadata["outputs"][0]["name"])
    assert decode(output, metadata["parameters"]["alphabet"]) == "LOT B2026-11"


def test_example_reads_a_picture(site: Site, tunnel: int, tmp_path: Path) -> None:

    picture = tmp_path / "label.png"
    render("SN 4711-0815").save(picture)
    done = subprocess.run(
        [
            *(sys.executable, str(ROOT / "examples" / "read_label.py"), str(picture)),
            *("--device", f"https://localhost:{tunnel}", "--ca", str(_authority(site, "root.crt"))),
            *("--cert", str(_authority(site, "clients/controller.crt"))),
            *("--key", str(_authority(site, "clients/controller.key"))),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "SN 4711-0815", done.stderr


@pytest.mark.parametrize("scenario", ["kernel", "isolation", "runtime", "acceptance"])
def test_role_scenario_on_a_real_kernel(site: Site, scenario: str) -> None:
    """The molecule scenarios of the roles that need a kernel of their own, on this device."""
    log = site.directory / f"molecule-{scenario}.log"
    with log.open("wb") as stream:
        done = subprocess.run(
            [str(BIN / "molecule"), "test", "-s", scenario],
            cwd=ROOT,
            env=site.environment() | {"EDGEWRIGHT_MOLECULE_INVENTORY": str(site.inventory)},
            stdout=stream,
            stderr=subprocess.STDOUT,
            check=False,
        )
    assert done.returncode == 0, log.read_text(errors="replace")[-6000:]


def test_power_loss_of_an_accepted_device_needs_no_work(site: Site) -> None:
    records = len(site.records())
    site.kill()
    site.up()
    # The model server makes its socket once the model agrees with its golden outputs: nobody has to start it.
    site.ssh("timeout 300 sh -c 'until test -S /run/edgewright/runtime/a/server.sock; do sleep 1; done'")
    run = site.play()
    assert run.returncode == 0, run.text[-4000:]
    assert run.recap(site.device)["changed"] == 0, "the partition and the runtime come back by themselves"
    assert len(site.records()) == records, "nothing was measured again"


def test_wrong_digest_in_the_depot_is_named_and_nothing_is_started(site: Site) -> None:

    lock = yaml.safe_load((ROOT / "releases/label-reader/release.lock.yml").read_text())
    (model,) = (image for image in lock["images"] if image["role"] == "model")
    manifest = site.depot / "v2" / model["name"] / "manifests" / model["digest"]
    kept = manifest.read_bytes()
    site.ssh("systemctl stop edgewright-runtime-a && podman rmi -f -a")
    try:
        manifest.unlink()  # it may share its bytes with the cache: never write through the name
        manifest.write_bytes(kept.replace(b'"size"', b'"sizE"', 1))
        run = site.play(playbook="playbooks/converge_devices.yml")
    finally:
        manifest.unlink()
        manifest.write_bytes(kept)
    assert run.returncode != 0
    assert model["digest"] in run.text
    assert site.ssh("systemctl is-active edgewright-runtime-a", check=False) != "active"


def test_the_next_run_mends_that_and_sets_up_what_was_declared_meanwhile(site: Site) -> None:
    """The GPU is declared only, and its module is a stand-in."""
    declare_a_gpu(site)
    mended = site.play(playbook="playbooks/converge_devices.yml")
    assert mended.returncode == 0, mended.text[-4000:]
    assert site.ssh("systemctl is-active edgewright-runtime-a") == "active"


def test_faults_are_found_within_one_period_and_named(site: Site) -> None:
    """All at once; the device's own timer looks."""
    wanted = faults(site)
    at_once(site, wanted)
    look = next_look(site)
    causes = look.causes()
    for fault in wanted:
        assert re.search(fault.cause, causes.get(fault.item, "")), f"{fault.name}: {causes}"
        assert fault.item in look.labels(), fault.name
    (claim,) = (line for line in look.metrics if "claims CPU 2-3" in line)
    assert DROP_IN in claim
    take_back(site)


def test_boot_without_the_parameters_is_found_and_named(site: Site) -> None:
    """What only was in force is gone with the boot, what was changed on the disk is not."""
    start_without_parameters(site)
    causes = next_look(site).causes()
    assert causes["kernel.cmdline"].startswith("no longer nohz_full=2-3; rcu_nocbs=2-3; irqaffinity=0-1: ")
    assert causes["kernel.tickless"].startswith("nothing, accepted was 2-3: ")
    assert f"runtime.packages.{UPGRADED}" in causes
    assert not {"isolation.claims", "isolation.partition", "isolation.strays", "nvidia.nouveau"} & set(causes)


def test_unreachable_depot_is_told_by_its_address(site: Site) -> None:
    site.edgewright("depot", "down", "--state", str(site.state / "depot-service"))
    site.ssh("rm -r /etc/apt/sources.list.d/edgewright-depot.sources /var/lib/apt/lists/*")
    run = site.play(playbook="playbooks/converge_devices.yml")
    assert run.returncode != 0
    assert "the depot at https://10.0.2.100:8443 does not answer" in run.text
    mended = site.play()
    assert mended.returncode == 0, mended.text[-4000:]


def test_the_run_after_the_faults_mended_them_all(site: Site) -> None:
    """The run that has just ended found the package and the boot menu as the faults had left them."""
    look = next_look(site)
    assert (look.report["success"], look.report["drift"], look.labels()) == (True, [], set())
    assert "nohz_full=2-3" in site.ssh("cat /proc/cmdline")
