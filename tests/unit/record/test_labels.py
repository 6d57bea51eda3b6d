# SPDX-License-Identifier: Apache-2.0
"""Fresh labels, and the program that carries their tensors but not their texts."""

from __future__ import annotations

import json
import random
import re
import zipfile
from pathlib import Path

import numpy as np

from edgewright.labels import render, to_tensor
from edgewright.record.labels import fresh_labels, pack


def test_labels_differ_and_have_the_three_forms() -> None:
    labels = fresh_labels(64)
    assert len(set(labels)) == 64
    forms = (r"SN \d{4}-\d{4}", r"LOT [A-Z]20[23]\d-\d{2}", r"EW-\d{6}")
    for number, label in enumerate(labels):
        assert re.fullmatch(forms[number % 3], label)
        assert not re.search(r"LOT [IOQV]", label)


def test_each_time_others() -> None:
    assert fresh_labels(6) != fresh_labels(6)
    seeded = [fresh_labels(6, random.Random(1)) for _ in range(2)]  # noqa: S311 - a seed for a test
    assert seeded[0] == seeded[1]


def test_pack_carries_tensors_and_no_texts(tmp_path: Path) -> None:
    labels = ["SN 4711-0815", "EW-000042"]
    program = tmp_path / "program.py"
    program.write_text("print('hello')\n")
    first, second = tmp_path / "a.pyz", tmp_path / "b.pyz"
    assert pack(program, {"model": "m"}, labels, first) == first.stat().st_size
    pack(program, {"model": "m"}, labels, second)
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        names = archive.namelist()
        assert names == ["__main__.py", "plan.json", "0.f32", "1.f32"]
        plan = json.loads(archive.read("plan.json"))
        tensor = np.frombuffer(archive.read("1.f32"), "<f4").reshape(plan["shapes"][1])
        everything = b"".join(archive.read(name) for name in names)
    assert np.array_equal(tensor, to_tensor(render("EW-000042")))
    assert b"4711" not in everything and b"EW-0000" not in everything
