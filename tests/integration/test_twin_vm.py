# SPDX-License-Identifier: Apache-2.0
"""A VM twin for real: it boots, is bare, reaches the depot and nothing else, and survives a power cut."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from edgewright.archives import address
from edgewright.bundle.rehearsal.egress import read_capture
from edgewright.errors import EdgewrightError, UnreachableError
from edgewright.twin import TwinSpec, VmTwin, qemu
from edgewright.twin.keys import forget_host_key, remember_host_key
from tests.integration.host_keys import assert_another_host_key_is_refused

pytestmark = [
    pytest.mark.vm,
    pytest.mark.skipif(os.geteuid() != 0, reason="making a twin's image takes root"),
    pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="no qemu-system-x86_64"),
]

# Tried from inside the device, each on a thread of its own. The device is made to have routes and an
# IPv6 address that its DHCP gave it not, so that what stops it is the network and not its own table.
PROBE = r"""
import json, socket, subprocess, sys, threading
wish = json.load(sys.stdin)
def run(*argv):
    return subprocess.run(argv, capture_output=True, text=True).returncode
device = next(n for n in __import__("os").listdir("/sys/class/net") if n != "lo")
routes = [run("ip", "route", "replace", "default", "via", "10.0.2.2"),
          run("ip", "-6", "address", "replace", "fec0::15/64", "dev", device, "nodad"),
          run("ip", "-6", "route", "replace", "default", "via", "fec0::2", "dev", device)]
found = {}
def tcp(name, host, port):
    try:
        with socket.create_connection((host, port), timeout=8) as link:
            link.settimeout(8)
            link.sendall(b"GET / HTTP/1.0\r\n\r\n")
            found[name] = link.recv(64).decode("latin-1") or "connected"
    except OSError as error:
        found[name] = "refused: %s" % type(error).__name__
def udp(name, host, port):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as link:
            link.settimeout(8)
            # a DNS question for the root's name servers, which any resolver answers
            link.sendto(bytes.fromhex("123401000001000000000000" "00" "0002" "0001"), (host, port))
            found[name] = link.recv(512).hex()
    except OSError as error:
        found[name] = "refused: %s" % type(error).__name__
threads = [threading.Thread(target={"tcp": tcp, "udp": udp}[kind], args=(name, host, port))
           for name, (kind, host, port) in wish.items()]
[t.start() for t in threads]
[t.join() for t in threads]
print(json.dumps({"routes": routes, "found": found}))
"""


@dataclass
class Listener:
    """A server on this host that says its name and remembers who came."""

    port: int
    visitors: list[str] = field(default_factory=list)


def _listen(address: str, text: bytes) -> tuple[http.server.ThreadingHTTPServer, Listener]:
    listener = Listener(0)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            listener.visitors.append(self.client_address[0])
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_args: object) -> None:
            """Keep the test's output clean."""

    server = http.server.ThreadingHTTPServer((address, 0), Handler)
    listener.port = server.server_port
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server, listener


@pytest.fixture(scope="module")
def depot() -> Iterator[Listener]:
    """What stands at the depot's port: on loopback only."""
    server, listener = _listen("127.0.0.1", b"depot")
    yield listener
    server.shutdown()


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Listener]:
    """Another server of this host, on all of its addresses."""
    server, listener = _listen("0.0.0.0", b"elsewhere")  # noqa: S104 - that is the point
    yield listener
    server.shutdown()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory, depot: Listener) -> Iterator[VmTwin]:
    spec = TwinSpec(
        name="twin-under-test",
        kind="vm",
        state_dir=tmp_path_factory.mktemp("state"),
        port=_free_port(),
        memory_mib=1024,
        depot_port=depot.port,
        capture=True,
    )
    machine = VmTwin(spec)
    try:
        assert machine.up() is True
        yield machine
    finally:
        machine.purge()


def test_it_is_up_and_says_so_the_second_time(twin: VmTwin) -> None:
    pid = twin.pid()
    assert twin.up() is False
    assert twin.pid() == pid


def test_it_is_a_bare_device_of_its_own(twin: VmTwin) -> None:
    done = twin.run(
        "hostname; nproc; uname -r; systemctl --failed --plain --no-legend; echo --;"
        "dpkg-query -W -f '${db:Status-Status} ${Package}\\n' |"
        " grep -E '^installed (python3|openssl|ca-certificates|python3-apt|podman|nginx)$';"
        "echo --; cat /etc/apt/sources.list; python3 --version;"
        "test -d /sys/firmware/efi && echo EFI"
    )
    assert done.returncode == 0, done.stderr
    first, packages, rest = done.stdout.split("--\n")
    assert first.split()[:2] == ["twin-under-test", "4"]
    assert first.split()[2].endswith("-cloud-amd64")
    assert len(first.splitlines()) == 3, f"failed units: {first}"
    assert packages == "installed python3\n", "a bare device has none of what provisioning brings"
    assert f"deb {address('archive:debian')} bookworm main" in rest
    assert "Python 3.11" in rest
    assert "EFI" in rest


def test_the_claim_about_kvm_is_true(twin: VmTwin) -> None:
    claimed = twin.accelerator()
    really = "kvm" if qemu.monitor(twin.spec.directory, "query-kvm")["enabled"] else "tcg"
    inside = twin.run("systemd-detect-virt").stdout.strip()
    assert claimed == really
    assert inside == {"kvm": "kvm", "tcg": "qemu"}[really]


def test_it_reaches_the_depot(twin: VmTwin, depot: Listener) -> None:
    done = twin.run(f"python3 -c {_quoted(PROBE)}", stdin=json.dumps({"depot": ["tcp", "10.0.2.100", 8443]}))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["found"]["depot"].startswith("HTTP/1.0 200")
    assert depot.visitors == ["127.0.0.1"]


def _quoted(script: str) -> str:
    return "'" + script.replace("'", "'\\''") + "'"


def _own_address() -> str:
    """This host's address towards others, found without sending anything; loopback when it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        try:
            link.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        address: str = link.getsockname()[0]
    return address


def test_it_reaches_nothing_else(twin: VmTwin, depot: Listener, elsewhere: Listener) -> None:
    own = _own_address()
    with socket.create_connection((own, elsewhere.port), timeout=5) as link:
        link.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert link.recv(16).startswith(b"HTTP/1.0 200"), "the other server can be reached at all"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(("0.0.0.0", 0))  # noqa: S104 - that is the point
        datagrams.settimeout(1)
        wish = {
            "depot": ("tcp", "10.0.2.100", 8443),
            "depot's port at the gateway": ("tcp", "10.0.2.2", depot.port),
            "8443 at the gateway": ("tcp", "10.0.2.2", 8443),
            "another server at the gateway": ("tcp", "10.0.2.2", elsewhere.port),
            "another server at this host's address": ("tcp", own, elsewhere.port),
            "ssh at the gateway": ("tcp", "10.0.2.2", 22),
            "another port at the depot's address": ("tcp", "10.0.2.100", elsewhere.port),
            "datagrams at the gateway": ("udp", "10.0.2.2", datagrams.getsockname()[1]),
            "datagrams at this host's address": ("udp", own, datagrams.getsockname()[1]),
            "QEMU's DNS": ("udp", "10.0.2.3", 53),
            "QEMU's DNS over TCP": ("tcp", "10.0.2.3", 53),
            "a public resolver": ("udp", "9.9.9.9", 53),
            "a public address": ("tcp", "1.1.1.1", 443),
            "a Debian mirror": ("tcp", "151.101.2.132", 80),
            "the gateway over IPv6": ("tcp", "fec0::2", elsewhere.port),
            "QEMU's DNS over IPv6": ("udp", "fec0::3", 53),
            "a public address over IPv6": ("tcp", "2606:4700:4700::1111", 443),
        }
        visitors = len(elsewhere.visitors)
        done = twin.run(f"python3 -c {_quoted(PROBE)}", stdin=json.dumps(wish), timeout_s=180)
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        with pytest.raises(TimeoutError):
            datagrams.recv(512)
    assert answer["routes"] == [0, 0, 0], "the device really tried: it had routes"
    assert set(answer["found"]) == set(wish)
    reached = {name for name, what in answer["found"].items() if not what.startswith("refused: ")}
    assert reached == {"depot"}, answer["found"]
    assert len(elsewhere.visitors) == visitors
    # And each attempt was written down: what a rehearsal's certificate rests on.
    seen = {(one.protocol, one.address, one.port) for one in read_capture(twin.spec.capture_file)}
    assert seen >= {way for name, way in wish.items() if name != "depot" and ":" not in way[1]}
    assert ("tcp", "10.0.2.100", 8443) not in seen


def test_another_host_key_is_refused(twin: VmTwin, tmp_path: Path) -> None:
    assert_another_host_key_is_refused(twin, f"[127.0.0.1]:{twin.spec.port}", tmp_path)


def test_an_impostor_is_not_taken_for_the_twin(twin: VmTwin) -> None:
    """What `up` says when the key in known_hosts is not the device's."""
    path = twin.spec.directory / "ssh_host_ed25519_key"
    kept = {file: file.read_bytes() for file in (path, path.with_name(f"{path.name}.pub"))}
    try:
        for file in kept:
            file.unlink()
        with pytest.raises(UnreachableError, match="not as this twin"):
            twin.up(timeout_s=60)
    finally:
        for file, data in kept.items():
            file.write_bytes(data)
        path.chmod(0o600)
        remember_host_key(twin.spec)
    assert twin.run("true").returncode == 0


def test_a_taken_port_is_named(twin: VmTwin) -> None:
    other = VmTwin(replace(twin.spec, name="second"))
    with pytest.raises(
        EdgewrightError, match=f"port {twin.spec.port} of 127.0.0.1 is held by process {twin.pid()} "
    ):
        other.up(timeout_s=10)
    other.purge()
    forget_host_key(twin.spec)
    remember_host_key(twin.spec)


def test_it_survives_a_power_cut(twin: VmTwin) -> None:
    before = twin.run("cat /proc/sys/kernel/random/boot_id; echo kept > /root/kept; sync").stdout
    assert before.strip()
    assert twin.kill() is True
    assert twin.is_up() is False
    assert twin.kill() is False
    with pytest.raises(
        UnreachableError, match=r"within 1 s \(last phase: [a-z ]+\); the end of .*serial\.log"
    ):
        twin.up(timeout_s=1)
    assert twin.up() is False, "it was starting already: only waited for"
    after = twin.run("cat /proc/sys/kernel/random/boot_id /root/kept; systemctl --failed --plain --no-legend")
    boot_id, *rest = after.stdout.splitlines()
    assert boot_id != before.strip()
    assert rest == ["kept"]


def test_it_shuts_down_in_order(twin: VmTwin) -> None:
    assert twin.down() is True
    assert twin.is_up() is False
    assert twin.down() is False
    assert "reboot: Power down" in twin.serial_log.read_text(encoding="utf-8", errors="replace")
