# SPDX-License-Identifier: Apache-2.0
"""Fresh labels for an acceptance, packed into the program that measures with them on the device.

Every acceptance draws its labels anew, so that a device can't have seen them before; what they say
stays on the controller. The program is a zip application: `roles/acceptance/files/measure.py`, the
plan as JSON, and a float32 tensor for each label, so that one file goes to the device.
"""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgewright.labels import render, to_tensor

__all__ = ["fresh_labels", "pack"]

# Letters of a lot number. I, O, Q and the like are left out, as on real labels: a person can't tell
# them from digits either. V and others beside a space are left out because the font draws no gap there.
_LOT_LETTERS = "BCDEFGHKMNPRSUX"

# Zip's own epoch: the same content gives the same file.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def fresh_labels(count: int, source: random.Random | None = None) -> list[str]:
    """Texts of labels, no two the same: serials, lots and part numbers in turn.

    Args:
        count: how many, at least one.
        source: of randomness; the operating system's when None.
    """
    rng = source or random.SystemRandom()
    found: dict[str, None] = {}
    while len(found) < count:
        kind = len(found) % 3
        if kind == 0:
            text = f"SN {rng.randrange(10000):04d}-{rng.randrange(10000):04d}"
        elif kind == 1:
            text = f"LOT {rng.choice(_LOT_LETTERS)}{rng.randrange(2020, 2040)}-{rng.randrange(1, 54):02d}"
        else:
            text = f"EW-{rng.randrange(1_000_000):06d}"
        found[text] = None
    return list(found)


def pack(program: Path, plan: Mapping[str, Any], labels: list[str], to: Path) -> int:
    """Write the program for the device.

    Args:
        program: the measuring program's source; Python files beside it are parts of it.
        plan: what to measure; goes along as `plan.json`, with the tensors' `shapes`.
        labels: texts, drawn and turned into tensors here.
        to: file to write.

    Returns:
        Size of the file in bytes.
    """
    tensors = [to_tensor(render(text)) for text in labels]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, "__main__.py", program.read_bytes())
        for part in sorted(program.parent.glob("*.py")):
            if part != program:
                _add(archive, part.name, part.read_bytes())
        shapes = [list(tensor.shape) for tensor in tensors]
        _add(archive, "plan.json", json.dumps({**plan, "shapes": shapes}, sort_keys=True).encode())
        for number, tensor in enumerate(tensors):
            _add(archive, f"{number}.f32", tensor.astype("<f4").tobytes())
    to.write_bytes(b"#!/usr/bin/python3\n" + buffer.getvalue())
    return to.stat().st_size


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(info, data)
