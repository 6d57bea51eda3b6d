# SPDX-License-Identifier: Apache-2.0
"""CPU lists: the kernel's notation, and which CPUs a device can give."""

from __future__ import annotations

import pytest

from edgewright.device.cpulist import format_cpus, housekeeping, isolated_cpus, parse_cpus
from edgewright.errors import InputError

READABLE = {
    "one": ("3", {3}),
    "number": (3, {3}),
    "range": ("2-3", {2, 3}),
    "range of one": ("2-2", {2}),
    "both": ("1,4-6", {1, 4, 5, 6}),
    "unsorted": ("3,1", {1, 3}),
    "spaces": (" 1, 3 ", {1, 3}),
    "none": ("", set()),
    "blank": ("  ", set()),
}

UNREADABLE = {
    "word": ("two", "cannot read 'two'"),
    "open range": ("2-", "cannot read '2-'"),
    "negative": ("-1", "cannot read '-1'"),
    "stride": ("0-7:2/4", "cannot read '0-7:2/4'"),
    "trailing comma": ("1,", "cannot read ''"),
    "backwards": ("3-2", "runs backwards: write 2-3"),
    "twice": ("1-3,2", "names CPU 2 twice"),
    "huge": ("0-99999", "CPU 99999 in '0-99999' is above 8191"),
    "other digits": ("\u0662", "cannot read"),
    "list": ([2, 3], "expected a CPU list in quotes"),
    "truth": (True, "expected a CPU list in quotes"),
    "number below": (-1, "cannot read '-1'"),
}

REFUSED = {
    "not set": (None, 4, "isolation_cpus is not set: a device of profile box has 4 CPUs (0-3)"),
    "lacks one": ("3-4", 4, "names CPU 4, but a device of profile box has 4 CPUs (0-3)"),
    "lacks all": ("8-11", 4, "names CPU 8-11, but"),
    "leaves none": ("0-3", 4, "leaves no CPU for the system"),
    "only CPU": ("0", 1, "leaves no CPU for the system: a device of profile box has 1 CPU (0)"),
    "boot CPU": ("0,3", 4, "names CPU 0, which must stay with the system"),
    "no list": ("2..3", 4, "cannot read"),
}


@pytest.mark.parametrize(("text", "cpus"), READABLE.values(), ids=READABLE.keys())
def test_reads(text: object, cpus: set[int]) -> None:
    assert parse_cpus(text) == cpus


@pytest.mark.parametrize(("text", "message"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_refuses_what_is_no_list(text: object, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_cpus(text, "spare_cpus")
    assert message in str(caught.value)
    assert str(caught.value).startswith("spare_cpus")


@pytest.mark.parametrize(("text", "count", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_refuses_what_the_device_cannot_give(text: object, count: int, message: str) -> None:
    with pytest.raises(InputError) as caught:
        isolated_cpus(text, count, "box")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("cpus", "text"), [((), ""), ((3,), "3"), ((2, 3), "2-3"), ((6, 1, 4, 5), "1,4-6"), ((0, 2, 4), "0,2,4")]
)
def test_writes_as_the_kernel_prints(cpus: tuple[int, ...], text: str) -> None:
    assert format_cpus(cpus) == text
    assert parse_cpus(text) == frozenset(cpus)


def test_the_rest_is_the_systems() -> None:
    isolated = isolated_cpus("1,3", 4, "box")
    assert housekeeping(isolated, 4) == {0, 2}
    assert isolated_cpus("", 4, "box") == frozenset()
