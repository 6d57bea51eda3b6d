# SPDX-License-Identifier: Apache-2.0
"""No way out, and a list of who tried: the network of a rehearsal.

The rehearsal's machines live in a network namespace with nothing but loopback. There, nftables refuses what
goes elsewhere and remembers it, and dnsmasq answers every question for a name with one address, so that the
connection that would have followed is remembered too. What a VM twin sends is written down by QEMU and read
by tcpdump. Nothing leaves in any case: there is no other interface.

    with Namespace(pid) as net:
        ...                            # commands in the namespace: [*net.enter, "curl", "https://example.org"]
    print(net.refused())               # [Attempt("controller", "tcp", "192.0.2.99", 443), ...]
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from edgewright.errors import EdgewrightError
from edgewright.twin.spec import VM_DEPOT_HOST, VM_DEPOT_PORT
from edgewright.twin.tools import need, run_quiet

__all__ = [
    "ELSEWHERE",
    "Attempt",
    "Namespace",
    "parse_capture",
    "parse_queries",
    "parse_table",
    "read_capture",
]

ELSEWHERE = "192.0.2.99"
"""What every name is told to be: an address of RFC 5737, which belongs to nobody."""

_TABLE = """table inet edgewright {
  set ports4 { type ipv4_addr . inet_proto . inet_service; size 65535; flags dynamic; }
  set ports6 { type ipv6_addr . inet_proto . inet_service; size 65535; flags dynamic; }
  set others4 { type ipv4_addr . inet_proto; size 65535; flags dynamic; }
  set others6 { type ipv6_addr . inet_proto; size 65535; flags dynamic; }
  chain output {
    type filter hook output priority 0; policy accept;
    ip daddr { 127.0.0.0/8, 224.0.0.0/24 } accept
    ip6 daddr { ::1, ff02::/16 } accept
    tcp flags & rst == rst accept comment "the refusals themselves"
    icmp type destination-unreachable accept
    icmpv6 type destination-unreachable accept
    meta l4proto { tcp, udp } add @ports4 { ip daddr . meta l4proto . th dport }
    meta l4proto { tcp, udp } add @ports6 { ip6 daddr . meta l4proto . th dport }
    meta l4proto != { tcp, udp } add @others4 { ip daddr . meta l4proto }
    meta l4proto != { tcp, udp } add @others6 { ip6 daddr . meta l4proto }
    meta l4proto tcp reject with tcp reset
    reject with icmpx admin-prohibited
  }
}
"""
_VM_MAC = "52:54:00:12:34:56"  # QEMU's first network card, always
# What a VM twin may do: speak to the depot, answer ssh, ask for its address, signal on its own link.
_ALLOWED = (
    f"(dst host {VM_DEPOT_HOST} and tcp dst port {VM_DEPOT_PORT})",
    "(dst host 10.0.2.2 and tcp src port 22)",
    "(udp src port 68 and udp dst port 67)",
    "dst net 224.0.0.0/24",
    "ip6 dst net ff02::/16",
)
_LINE = re.compile(r"IP6? (\S+) > (\S+): (.*)\Z")
_QUESTION = re.compile(r"\b(?:A|AAAA|SRV|MX|TXT|PTR|ANY|HTTPS|SVCB)\? (\S+?)\.? \(")
_QUERY = re.compile(r"query\[([A-Za-z0-9=]+)\] (\S+) from ")


@dataclass(frozen=True, order=True)
class Attempt:
    """Something that a machine of the rehearsal wanted from elsewhere, and did not get.

    Attributes:
        machine: `controller` or `device`.
        protocol: `tcp`, `udp`, `dns`, or another of IP's by its name.
        address: where to; empty for a name that was asked for.
        port: of tcp and udp; 0 where there is none.
        name: what a DNS question was about.
    """

    machine: str
    protocol: str
    address: str = ""
    port: int = 0
    name: str = ""

    def told(self) -> str:
        """For a person, such as `controller: tcp 192.0.2.99 port 443`."""
        if self.protocol == "dns":
            return f"{self.machine}: asked for the name {self.name}"
        return f"{self.machine}: {self.protocol} {self.address}" + (f" port {self.port}" if self.port else "")


@dataclass
class Namespace:
    """The network of a running process, shut and watched while this is entered.

    Args:
        pid: a process in it, such as a container's first; it has loopback and no other interface.
        log: dnsmasq's log.
    """

    pid: int
    log: Path
    _dns: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def enter(self) -> list[str]:
        """The words that run a command of this host in it."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", "--"]

    def __enter__(self) -> Self:
        need("nsenter", "ip", "nft", "dnsmasq")
        doing = "shutting the rehearsal's network"
        links = json.loads(run_quiet([*self.enter, "ip", "-j", "link", "show"], doing))
        others = [str(link["ifname"]) for link in links if link["ifname"] != "lo"]
        others = [name for name in others if not _is_template(name)]
        if others:
            raise EdgewrightError(
                f"{doing}: expected loopback alone in it, got {', '.join(others)}; nothing was rehearsed"
            )
        run_quiet([*self.enter, "ip", "link", "set", "lo", "up"], doing)
        # Every address is this machine's own: an attempt is seen and refused by the table, which a missing
        # route would prevent, and the refusal finds its way back.
        run_quiet([*self.enter, "ip", "route", "replace", "local", "0.0.0.0/0", "dev", "lo"], doing)
        run_quiet([*self.enter, "ip", "-6", "route", "replace", "local", "::/0", "dev", "lo"], doing)
        run_quiet([*self.enter, "nft", "-f", "-"], doing, stdin=_TABLE)
        with self.log.open("wb") as handle:
            self._dns = subprocess.Popen(
                [
                    *(*self.enter, "dnsmasq", "--keep-in-foreground", "--log-facility=-", "--log-queries"),
                    *(
                        "--conf-file=/dev/null",
                        "--no-resolv",
                        "--no-hosts",
                        "--user=root",
                        "--bind-interfaces",
                    ),
                    *("--interface=lo", "--pid-file=", f"--address=/#/{ELSEWHERE}", "--cache-size=0"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=handle,
                stderr=subprocess.STDOUT,
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._dns is not None:
            self._dns.terminate()
            self._dns.wait()

    def refused(self) -> list[Attempt]:
        """What the controller tried, sorted; ask before the namespace goes."""
        doing = "reading what was refused"
        table = json.loads(
            run_quiet([*self.enter, "nft", "-j", "list", "table", "inet", "edgewright"], doing)
        )
        if self._dns is None or self._dns.poll() is not None:
            raise EdgewrightError(
                f"{doing}: the name server that watches the controller's questions ended early; the end of "
                f"its log: {self.log.read_text('utf-8', 'replace')[-500:]}"
            )
        asked = parse_queries(self.log.read_text("utf-8", "replace"), "controller")
        return sorted({*parse_table(table, "controller"), *asked})


def _is_template(name: str) -> bool:
    """Whether it is one of the tunnels that some kernels put, down, into every namespace."""
    return name in {
        "tunl0",
        "gre0",
        "gretap0",
        "erspan0",
        "ip_vti0",
        "ip6_vti0",
        "sit0",
        "ip6tnl0",
        "ip6gre0",
    }


def parse_table(table: dict[str, Any], machine: str) -> Iterator[Attempt]:
    """The attempts in what `nft -j list table` prints.

    Args:
        table: libnftables' JSON.
        machine: whose they are.
    """
    for entry in table.get("nftables", []):
        for element in entry.get("set", {}).get("elem", []):
            parts = element.get("elem", {}).get("val", element) if "elem" in element else element
            address, protocol, *port = parts["concat"]
            yield Attempt(machine, str(protocol), str(address), int(port[0]) if port else 0)


def parse_queries(log: str, machine: str) -> Iterator[Attempt]:
    """The names that dnsmasq was asked for, by its log of queries."""
    for kind, name in _QUERY.findall(log):
        if kind != "PTR":  # of an address that somebody has: no connection follows from its name
            yield Attempt(machine, "dns", name=name.lower())


def read_capture(capture: Path) -> list[Attempt]:
    """What a VM twin sent elsewhere, by QEMU's own copy of its network card's traffic.

    Args:
        capture: the file in pcap form.

    Raises:
        EdgewrightError: tcpdump cannot read it.
    """
    need("tcpdump")
    base = f"ether src {_VM_MAC} and (ip or ip6) and not ({' or '.join(_ALLOWED)})"
    found: set[Attempt] = set()
    for protocol, which in (("tcp", "tcp"), ("udp", "udp"), ("other", "not tcp and not udp")):
        words = ["tcpdump", "-nn", "-t", "-r", str(capture), f"({base}) and ({which})"]
        printed = run_quiet(words, "reading what the device sent")
        found.update(parse_capture(printed.splitlines(), protocol, "device"))
    return sorted(found)


def parse_capture(lines: Sequence[str], protocol: str, machine: str) -> Iterator[Attempt]:
    """The attempts in lines of `tcpdump -nn -t`.

    Args:
        lines: what it printed.
        protocol: `tcp` or `udp`; anything else for packets without ports.
        machine: whose they are.
    """
    for line in lines:
        parsed = _LINE.match(line)
        if parsed is None:
            continue
        _, target, told = parsed.groups()
        if protocol not in ("tcp", "udp"):
            yield Attempt(machine, told.split(None, 1)[0].rstrip(",").lower() or "ip", target)
            continue
        address, _, port = target.rpartition(".")
        question = _QUESTION.search(told)
        if port == "53" and question:
            yield Attempt(machine, "dns", name=question[1].lower())
        else:
            yield Attempt(machine, protocol, address, int(port))
