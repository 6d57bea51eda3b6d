# SPDX-License-Identifier: Apache-2.0
"""What nft, dnsmasq and tcpdump print, read as attempts."""

from __future__ import annotations

from typing import Any

import pytest

from edgewright.bundle.rehearsal.egress import Attempt, parse_capture, parse_queries, parse_table


def _set(name: str, *elements: Any) -> dict[str, Any]:
    return {"set": {"family": "inet", "table": "edgewright", "name": name, "elem": list(elements)}}


def test_table_of_nft() -> None:
    table = {
        "nftables": [
            {"metainfo": {"json_schema_version": 1}},
            _set(
                "ports4",
                {"concat": ["192.0.2.99", "tcp", 443]},
                {"elem": {"val": {"concat": ["9.9.9.9", "udp", 53]}}},
            ),
            _set("ports6", {"concat": ["2001:db8::1", "tcp", 80]}),
            _set("others4", {"concat": ["192.0.2.7", "icmp"]}),
            {"set": {"name": "others6"}},
            {"chain": {"name": "output"}},
        ]
    }
    assert sorted(parse_table(table, "controller")) == [
        Attempt("controller", "icmp", "192.0.2.7"),
        Attempt("controller", "tcp", "192.0.2.99", 443),
        Attempt("controller", "tcp", "2001:db8::1", 80),
        Attempt("controller", "udp", "9.9.9.9", 53),
    ]


def test_questions_for_names() -> None:
    log = """dnsmasq[7]: started, version 2.90 cache disabled
dnsmasq[7]: query[A] pypi.ORG from 127.0.0.1
dnsmasq[7]: config pypi.org is 192.0.2.99
dnsmasq[7]: query[AAAA] pypi.org from 127.0.0.1
dnsmasq[7]: query[type=65] registry.example from 127.0.0.1
dnsmasq[7]: query[PTR] 1.0.0.127.in-addr.arpa from 127.0.0.1
"""
    assert set(parse_queries(log, "controller")) == {
        Attempt("controller", "dns", name="pypi.org"),
        Attempt("controller", "dns", name="registry.example"),
    }


@pytest.mark.parametrize(
    ("line", "protocol", "expected"),
    [
        pytest.param(
            "IP 10.0.2.15.43210 > 192.0.2.7.443: Flags [S], seq 1, win 64240, length 0",
            "tcp",
            Attempt("device", "tcp", "192.0.2.7", 443),
            id="tcp",
        ),
        pytest.param(
            "IP 10.0.2.15.39214 > 10.0.2.3.53: 4711+ A? archive.example. (33)",
            "udp",
            Attempt("device", "dns", name="archive.example"),
            id="a name",
        ),
        pytest.param(
            "IP 10.0.2.15.39214 > 10.0.2.3.53: 4711+ [1au] AAAA? Archive.example. (44)",
            "udp",
            Attempt("device", "dns", name="archive.example"),
            id="a name, with EDNS",
        ),
        pytest.param(
            "IP 10.0.2.15.123 > 192.0.2.9.123: NTPv4, Client, length 48",
            "udp",
            Attempt("device", "udp", "192.0.2.9", 123),
            id="time",
        ),
        pytest.param(
            "IP6 2001:db8::15.5000 > 2001:db8::1.80: Flags [S], seq 0, length 0",
            "tcp",
            Attempt("device", "tcp", "2001:db8::1", 80),
            id="IPv6",
        ),
        pytest.param(
            "IP 10.0.2.15 > 192.0.2.8: ICMP echo request, id 1, seq 1, length 64",
            "other",
            Attempt("device", "icmp", "192.0.2.8"),
            id="ping",
        ),
    ],
)
def test_lines_of_tcpdump(line: str, protocol: str, expected: Attempt) -> None:
    assert list(parse_capture([line, ""], protocol, "device")) == [expected]


@pytest.mark.parametrize(
    ("attempt", "told"),
    [
        (Attempt("device", "tcp", "192.0.2.7", 443), "device: tcp 192.0.2.7 port 443"),
        (Attempt("controller", "dns", name="pypi.org"), "controller: asked for the name pypi.org"),
        (Attempt("device", "icmp", "192.0.2.8"), "device: icmp 192.0.2.8"),
    ],
)
def test_an_attempt_is_told(attempt: Attempt, told: str) -> None:
    assert attempt.told() == told
