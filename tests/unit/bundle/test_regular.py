# SPDX-License-Identifier: Apache-2.0
"""The plain checks of an index say what its schema says: nothing is right by one and wrong by the other."""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from edgewright.bundle.layout import MAX_FILE_BYTES, SCHEMA
from edgewright.bundle.regular import find_fault, is_regular, schema

A, B, C = "a" * 64, "b" * 64, "c" * 64
VALIDATOR = jsonschema.Draft202012Validator(schema())
GOOD: dict[str, Any] = {
    "schema": SCHEMA,
    "release": "label-reader",
    "version": "1.0.0",
    "lock_sha256": C,
    "signed_at": "2026-11-19T02:12:54Z",
    "expires": "2027-11-19T02:12:54Z",
    "development": False,
    "blobs": {
        A: {"size": 3},
        B: {
            "size": MAX_FILE_BYTES + 1,
            "parts": [
                {"name": f"{B}.000", "size": MAX_FILE_BYTES, "sha256": A},
                {"name": f"{B}.001", "size": 1, "sha256": C},
            ],
        },
    },
    "depot": {"apt/x": A, "v2/y": B},
    "depot_sha256": C,
    "documents": {"release.yml": {"sha256": A, "size": 0}},
}
ODD: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        1.5,
        1 << 50,
        (1 << 50) + 1,
        1 << 32,
        MAX_FILE_BYTES,
        "",
        "a",
        A,
        "A" * 64,
    ),
    *("a" * 63, "a" * 65, f"{A}.000", f"{A}.0000", "../x", ".x", "x" * 100, "x" * 101, "\u0661" * 64),
    *("2026-11-19T02:12:54Z", "2026-11-19t02:12:54Z", "2026-11-19T02:12:54+00:00", "9999-99-99T99:99:99Z"),
    *(
        [],
        {},
        [1],
        {"size": 1},
        {"size": -1},
        {"sha256": A},
        {"sha256": A, "size": 1},
        {A: A},
        {A: {"size": 1}},
    ),
    *(
        {"size": 1, "more": 1},
        {"size": 1, "parts": []},
        {"size": 1, "parts": {}},
        {"size": 1, "parts": [1, 2]},
    ),
    {"size": 2, "parts": [{"name": f"{A}.000", "size": 1, "sha256": A}] * 2},
    {"size": 2, "parts": [{"name": f"{A}.000", "size": 1, "sha256": A}] * 1001},
    {"size": 2, "parts": [{"name": f"{A}.000", "size": 0, "sha256": A}] * 2},
]


def _places(value: Any, steps: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield steps
    entries = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, each in entries:
        yield from _places(each, (*steps, key))


def _with(steps: tuple[Any, ...], value: Any) -> Any:
    if not steps:
        return value
    made = copy.deepcopy(GOOD)
    here: Any = made
    for step in steps[:-1]:
        here = here[step]
    here[steps[-1]] = value
    return made


def _without(steps: tuple[Any, ...]) -> Any:
    made = copy.deepcopy(GOOD)
    here: Any = made
    for step in steps[:-1]:
        here = here[step]
    del here[steps[-1]]
    return made


def _agree(content: Any) -> None:
    first = next(iter(VALIDATOR.iter_errors(content)), None)
    assert is_regular(content) == (first is None), first
    fault = find_fault(content)
    assert (fault is None) == (first is None)
    if fault is not None and first is not None:
        assert fault[0][:1] == tuple(first.absolute_path)[:1]


def test_a_right_index_is_right_by_both() -> None:
    assert is_regular(GOOD)
    assert find_fault(GOOD) is None
    assert VALIDATOR.is_valid(GOOD)


@pytest.mark.parametrize("steps", list(_places(GOOD)), ids=lambda steps: "/".join(str(s)[:9] for s in steps))
def test_any_value_at_any_place_is_judged_alike(steps: tuple[Any, ...]) -> None:
    for value in ODD:
        _agree(_with(steps, value))
    if steps:
        _agree(_without(steps))
    here = GOOD
    for step in steps:
        here = here[step]
    if isinstance(here, dict):
        for key in ("more", "parts", A[:63], A.upper(), C):
            _agree(_with((*steps, key), 1))
            _agree(_with((*steps, key), A))


def test_two_changes_at_once_are_judged_alike() -> None:
    rng = random.Random(7)  # noqa: S311 - the same changes each time
    places = [steps for steps in _places(GOOD) if steps]
    for _ in range(500):
        made = _with(rng.choice(places), rng.choice(ODD))
        key = rng.choice(["blobs", "depot", "documents", "more"])
        if isinstance(made.get(key), dict):
            made[key][rng.choice(ODD[12:20])] = rng.choice(ODD)
        _agree(made)


@pytest.mark.parametrize(
    ("steps", "value", "place", "told"),
    [
        (("blobs", A, "size"), -1, ("blobs", A, "size"), "-1 is less than the minimum of 0"),
        (("blobs", B, "parts"), [], ("blobs", B, "parts"), "[]"),
        (("depot", "apt/x"), "x", ("depot", "apt/x"), "'x' does not match"),
        (("documents", "release.yml", "more"), 1, ("documents", "release.yml"), "'more' was unexpected"),
        (("development",), "yes", ("development",), "'yes' is not of type 'boolean'"),
    ],
)
def test_the_schema_s_own_message_is_told(
    steps: tuple[Any, ...], value: Any, place: tuple[Any, ...], told: str
) -> None:
    fault = find_fault(_with(steps, value))
    assert fault is not None
    assert fault[0] == place
    assert told in fault[1]


def test_a_line_s_end_that_the_schema_lets_pass_is_not_regular() -> None:
    """The schema's `$` lets it pass; `BundleIndex.load` refuses it by its own grammar."""
    odd = {**GOOD, "release": "reader\n"}
    assert not is_regular(odd)
    assert find_fault(odd) is None
    assert VALIDATOR.is_valid(odd)


@pytest.mark.parametrize(("name", "most"), [("blobs", 200_000), ("depot", 200_000), ("documents", 10_000)])
def test_there_is_a_most_of_entries(name: str, most: int) -> None:
    entry = next(iter(GOOD[name].values()))
    assert is_regular({**GOOD, name: {f"{number:064x}": entry for number in range(most)}})
    fault = find_fault({**GOOD, name: {f"{number:064x}": entry for number in range(most + 1)}})
    assert fault is not None
    assert fault[0] == (name,)
    assert fault[1].endswith("has too many properties")


def test_one_wrong_entry_among_many_is_found_at_once() -> None:
    many = {f"{number:064x}": {"size": 1} for number in range(50_000)}
    begun = time.process_time()
    fault = find_fault({**GOOD, "blobs": many | {"f" * 64: {"size": -1}}})
    assert fault == (("blobs", "f" * 64, "size"), "-1 is less than the minimum of 0")
    assert time.process_time() - begun < 2, "the validator alone takes longer for so many"
