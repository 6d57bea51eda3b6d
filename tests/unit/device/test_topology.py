# SPDX-License-Identifier: Apache-2.0
"""Choosing CPUs by what they are, and what a profile may say of them."""

from __future__ import annotations

from typing import Any

import pytest

from edgewright.device.cpulist import format_cpus
from edgewright.device.topology import chosen_cpus, cut_cores, parse_topology
from edgewright.errors import InputError

SMT = {"cores": ["0,4", "1,5", "2,6", "3,7"]}
# Two fast cores with two threads each, four slow ones with one.
HYBRID = {
    "cores": ["0-1", "2-3"],
    "core_types": {"performance": "0-3", "efficient": "4-7"},
}
TWO_NODES = {"numa": {"0": "0-3", "1": "4-7"}, "caches": ["0-1", "2-3", "4-5", "6-7"]}


def chosen(text: object, topology: dict[str, Any], count: int = 8) -> str:
    profile = {"name": "box", "cpus": count, "topology": topology}
    return format_cpus(chosen_cpus({"isolation_cpus": text}, profile))


CHOICES = {
    "a list": ("2-3", {}, "2-3"),
    "a number": (3, {}, "3"),
    "none": ("", SMT, ""),
    "all but one": ("all but 1", {}, "1-7"),
    "all but two": ("all but 2", {}, "2-7"),
    "whole cores stay": ("all but 1", SMT, "1-3,5-7"),
    "three mean two cores": ("all but 3", SMT, "2-3,6-7"),
    "a type": ("type efficient", HYBRID, "4-7"),
    "the type of CPU 0 keeps its core": ("type performance", HYBRID, "2-3"),
    "a type, less some": ("type efficient but 1", HYBRID, "5-7"),
    "a node": ("numa 1", TWO_NODES, "4-7"),
    "the node of CPU 0": ("numa 0", TWO_NODES, "1-3"),
    "a cache": ("cache 2", TWO_NODES, "4-5"),
    "blanks": ("  all   but 2 ", {}, "2-7"),
    "siblings named together": ("3,7", SMT, "3,7"),
}


@pytest.mark.parametrize(("text", "topology", "cpus"), CHOICES.values(), ids=CHOICES.keys())
def test_chooses(text: object, topology: dict[str, Any], cpus: str) -> None:
    assert chosen(text, topology) == cpus


REFUSED = {
    "siblings cut apart": ("3", SMT, "cuts a core apart: CPUs 3,7 are threads of one core"),
    "sibling of CPU 0": ("4", SMT, "CPUs 0,4 are threads of one core"),
    "no core left": ("all but 8", SMT, "leaves nothing to set apart"),
    "nothing kept": ("all but 0", {}, "leaves no CPU for the system"),
    "all": ("all", {}, "cannot read 'all'"),
    "another word": ("most", {}, 'one of "all but N", "type NAME"'),
    "a group that is not there": (
        "numa 2",
        TWO_NODES,
        "has no '2' among its numa: there are 0 (0-3), 1 (4-7)",
    ),
    "a part that the profile lacks": ("numa 1", SMT, "of which profile box says nothing: give topology.numa"),
    "only the core of CPU 0": ("type one", {"core_types": {"one": "0", "two": "1-7"}}, "leaves nothing"),
    "not there": ("8-9", {}, "names CPU 8-9, but a device of profile box has 8 CPUs"),
    "CPU 0": ("0-1", {}, "names CPU 0"),
    "not set": (None, {}, "isolation_cpus is not set"),
}


@pytest.mark.parametrize(("text", "topology", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_refuses(text: object, topology: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        chosen(text, topology)
    assert message in str(caught.value)


def test_a_profile_is_given_out_as_the_probe_writes_it() -> None:
    raw = {"cores": ["2,3", "1,0"], "numa": {0: "1,0,2-3", 1: "4-7"}, "caches": []}
    assert parse_topology(raw, "profile box", 8) == {
        "cores": ["0-1", "2-3"],
        "numa": {"0": "0-3", "1": "4-7"},
    }


BAD_PROFILES = {
    "no mapping": (["0-3"], "expected a mapping"),
    "unknown part": ({"nodes": {}}, "topology has no 'nodes'"),
    "list for names": ({"numa": ["0-3"]}, "topology.numa: expected groups"),
    "names for a list": ({"caches": {"0": "0-3"}}, "topology.caches: expected groups"),
    "not a CPU list": ({"caches": ["a"]}, "topology.caches 0: cannot read 'a'"),
    "lacks the CPU": ({"cores": ["3,8"]}, "topology.cores 0: names CPU 8, but the profile says 8 CPUs"),
    "twice": ({"cores": ["0,1", "1,2"]}, "topology.cores: CPU 1 is in 0 and in 1"),
    "empty": ({"numa": {"0": ""}}, "topology.numa 0: names no CPU"),
    "bad name": ({"core_types": {"P cores": "0"}}, "'P cores' is no name of a group"),
    "core over two nodes": ({"cores": ["3,4"], "numa": {"0": "0-3", "1": "4-7"}}, "cuts a core apart"),
}


@pytest.mark.parametrize(("raw", "message"), BAD_PROFILES.values(), ids=BAD_PROFILES.keys())
def test_refuses_a_profile(raw: object, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_topology(raw, "profile box", 8)
    assert message in str(caught.value)
    assert "profile box" in str(caught.value)


def test_cut_cores() -> None:
    assert cut_cores({2, 3, 7}, SMT) == [frozenset({2, 6})]
    assert cut_cores({2, 3}, {}) == []
