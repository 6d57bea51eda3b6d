# SPDX-License-Identifier: Apache-2.0
"""A device that loses power in the middle of its first run: the next run finishes the job."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from tests.integration.site import Site

pytestmark = [pytest.mark.vm, pytest.mark.slow]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("site"), "power-01", ssh_port=2221, depot_port=9453) as made:
        yield made


def test_power_loss_while_the_kernel_is_installed(site: Site) -> None:
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

    again = site.play()
    assert again.returncode == 0, again.text[-6000:]
    assert "power-01 is as wanted, and accepted" in again.text
    assert len(site.records()) == 1
    assert site.boots() == 3, "first boot, boot after the power loss, and one reboot"
    assert site.ssh("dpkg --audit") == ""
    assert site.ssh("cat /sys/fs/cgroup/edgert.slice/cpuset.cpus.partition") == "isolated"
