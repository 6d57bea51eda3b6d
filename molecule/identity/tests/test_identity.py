# SPDX-License-Identifier: Apache-2.0
"""What the device's own openssl says of its identity, and who may read the key."""

from __future__ import annotations

from typing import Any

import pytest

IDENTITY = "/etc/edgewright/identity"


def test_the_certificate_leads_to_the_sites_root(host: Any) -> None:
    leaf = f"{IDENTITY}/device.crt"
    for purpose in ("sslclient", "sslserver"):
        host.check_output(
            f"openssl verify -CAfile {IDENTITY}/site-root.crt -untrusted {leaf} -purpose {purpose} {leaf}"
        )


def test_the_certificate_is_the_devices_own(host: Any) -> None:
    shown = host.check_output(f"openssl x509 -in {IDENTITY}/device.crt -noout -pubkey")
    assert shown == host.check_output(f"openssl pkey -in {IDENTITY}/device.key -pubout")
    subject = host.check_output(f"openssl x509 -in {IDENTITY}/device.crt -noout -subject -nameopt RFC2253")
    assert subject == "subject=CN=trust-01,OU=device,O=Edgewright site"
    assert "P-256" in host.check_output(f"openssl pkey -in {IDENTITY}/device.key -noout -text_pub")


@pytest.mark.parametrize(("user", "may"), [("_apt", True), ("root", True), ("nobody", False)])
def test_who_may_read_the_key(host: Any, user: str, may: bool) -> None:
    done = host.run(f"setpriv --reuid={user} --regid=nogroup --clear-groups cat {IDENTITY}/device.key")
    assert (done.rc == 0) is may


def test_the_key_is_nowhere_else(host: Any) -> None:
    assert host.file(f"{IDENTITY}/device.key").mode == 0o400
    found = host.check_output(
        "grep -rlE --exclude-dir=ssh 'BEGIN (EC )?PRIVATE KEY' /etc /root /tmp /var/tmp || true"
    )
    assert found.split() == [f"{IDENTITY}/device.key"]


def test_the_first_packages_are_whole(host: Any) -> None:
    for name in ("openssl", "python3-apt", "python3-cryptography"):
        assert host.package(name).is_installed
    assert host.check_output("dpkg --audit") == ""
