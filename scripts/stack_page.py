#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the tables of docs/reference/nvidia-stack.md from the facts in edgewright/data/facts.

The tables stand between the lines `<!-- facts -->` and `<!-- /facts -->`; all else is left as it is.

    python scripts/stack_page.py            # write
    python scripts/stack_page.py --check    # status 1 when the page is not as generated
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from edgewright.release.stack.facts import Facts, Row, load_facts  # noqa: E402  the path above makes it importable
from scripts.generated_page import between_marks, write_page  # noqa: E402

PAGE = ROOT / "docs" / "reference" / "nvidia-stack.md"

Column = tuple[str, str | Callable[[Row], str]]

TABLES: tuple[tuple[str, str, tuple[Column, ...]], ...] = (
    (
        "GPUs",
        "gpus",
        (
            ("GPU", "label"),
            ("`gpu_model`", "name"),
            ("compute capability", "compute_capability"),
            ("MIG", "mig"),
        ),
    ),
    (
        "Architectures",
        "architectures",
        (
            ("compute capability", "compute_capability"),
            ("architecture", "name"),
            ("first CUDA", "first_cuda"),
            ("last CUDA major", "last_cuda_major"),
            ("last driver branch", "last_driver_branch"),
            ("open modules", "open_modules"),
            ("proprietary modules", "proprietary_modules"),
        ),
    ),
    (
        "Driver branches",
        "branches",
        (
            ("branch", "branch"),
            ("type", "type"),
            ("support ends", "eol"),
            ("newest CUDA major", "max_cuda_major"),
            ("proprietary modules", "proprietary_modules"),
        ),
    ),
    (
        "Drivers",
        "drivers",
        (
            ("driver", "version"),
            ("from", "origin"),
            ("package", "package"),
            ("suites", "suites"),
            ("for", "arches"),
        ),
    ),
    (
        "Kernel modules",
        "modules",
        (
            ("module", "version"),
            ("flavour", "flavour"),
            ("from", "origin"),
            ("package", "package"),
            ("suites", "suites"),
            (
                "kernels",
                lambda row: (
                    f"up to {row['tested_kernel']}" if row["tested_kernel"] else _text(row["suite_kernels"])
                ),
            ),
        ),
    ),
    (
        "CUDA toolkits",
        "cuda",
        (("CUDA", "release"), ("came with driver", "toolkit_driver"), ("branch", "branch")),
    ),
    (
        "CUDA by minor-version compatibility",
        "cuda_majors",
        (("CUDA major", "major"), ("oldest driver that runs it", "driver_min")),
    ),
    (
        "cuDNN",
        "cudnn",
        (
            ("cuDNN", "release"),
            ("CUDA majors", "cuda_majors"),
            ("tested with CUDA up to", "max_tested_cuda"),
            ("compute capability from", "min_compute_capability"),
        ),
    ),
    (
        "TensorRT",
        "tensorrt",
        (
            ("TensorRT", "release"),
            ("CUDA it lists", "cuda"),
            ("CUDA majors", "cuda_majors"),
            ("compute capability from", "min_compute_capability"),
            ("to (as far as read)", "max_compute_capability"),
            ("cuDNN", "cudnn"),
            ("wheels for Python", "pythons"),
        ),
    ),
    (
        "onnxruntime-gpu",
        "onnxruntime-gpu",
        (
            ("onnxruntime-gpu", "release"),
            ("CUDA major", "cuda_major"),
            ("cuDNN major", "cudnn_major"),
            ("built with TensorRT", "tensorrt"),
            ("links `libnvinfer.so.`", "tensorrt_soname"),
            ("wheels for Python", "pythons"),
        ),
    ),
    (
        "NVIDIA Container Toolkit",
        "container-toolkit",
        (("toolkit", "release"), ("oldest driver", "driver_min"), ("suites", "suites")),
    ),
    ("Python of a suite", "pythons", (("suite", "suite"), ("Python", "python"))),
    (
        "Kernels",
        "kernels",
        (
            ("package", "package"),
            ("version", "package_version"),
            ("flavour", "flavour"),
            ("archive", "archive"),
            ("for", "arches"),
        ),
    ),
    (
        "JetPack",
        "jetpack",
        (
            ("JetPack", "jetpack"),
            ("L4T", "l4t"),
            ("Ubuntu", "suite"),
            ("kernel", "kernel"),
            ("CUDA", "cuda"),
            ("cuDNN", "cudnn"),
            ("TensorRT", "tensorrt"),
            ("modules", "families"),
        ),
    ),
    (
        "Jetson modules",
        "jetson-modules",
        (("module", "label"), ("`jetson_module`", "module"), ("family", "family")),
    ),
    (
        "Board firmware of a Jetson",
        "jetson-firmware",
        (("firmware", "firmware"), ("L4T", "l4t_major"), ("boots", "fits")),
    ),
    ("PREEMPT_RT on a Jetson", "jetson-rt", (("L4T", "l4t"), ("package", "package"))),
    ("PREEMPT_RT with NVIDIA's discrete driver", "preempt-rt", (("fact", "fact"), ("driver", "driver_min"))),
)
"""Title, kind of facts, columns with the value or function behind each."""


def tables(facts: Facts) -> str:
    """All tables, and the sources that they number, as Markdown."""
    sources: list[str] = []
    parts = []
    for title, kind, columns in TABLES:
        names = [name for name, _ in columns]
        lines = [f"### {title}", "", _line([*names, "source"]), _line(["---"] * (len(names) + 1))]
        for row in facts.all(kind):
            cells = [_text(row[what]) if isinstance(what, str) else what(row) for _, what in columns]
            told = f"{row.source} (read {row.date})" if row.verified else f"{row.source} (not verified)"
            if told not in sources:
                sources.append(told)
            lines.append(_line([*cells, f"[{sources.index(told) + 1}](#s{sources.index(told) + 1})"]))
        parts.append("\n".join(lines))
    listed = [f'{number}. <a id="s{number}"></a>{_cell(told)}' for number, told in enumerate(sources, 1)]
    return "\n\n".join([*parts, "### Sources\n\n" + "\n".join(listed)])


def rendered(page: str, facts: Facts) -> str:
    """A page's text with the tables in it.

    Raises:
        ValueError: The two marks are not there once each, in order.
    """
    return between_marks(page, tables(facts))


def _text(value: object) -> str:
    """A value as a cell; what is not known (or not there) is told as such."""
    if value is None:
        return "?"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return _cell(", ".join(map(str, value))) or "none"
    return _cell(str(value))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script. Returns 0 when done, 1 when `--check` finds the page outdated, 2 on bad input."""
    return write_page(argv, "stack_page", PAGE, ROOT, lambda page: rendered(page, load_facts()))


if __name__ == "__main__":
    sys.exit(main())
