#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the table of docs/reference/os-choice.md from the facts in edgewright/data/os/facts.yml.

The table stands between the lines `<!-- facts -->` and `<!-- /facts -->`; all else is left as it is.

    python scripts/os_page.py            # write
    python scripts/os_page.py --check    # status 1 when the page is not as generated
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from edgewright.osadvice.facts import SYSTEMS, TOPICS, OsFacts, load_os_facts  # noqa: E402  the path above makes it importable
from scripts.generated_page import between_marks, write_page  # noqa: E402

PAGE = ROOT / "docs" / "reference" / "os-choice.md"


def table(facts: OsFacts) -> str:
    """The table, and the sources that it numbers, as Markdown."""
    sources: list[str] = []
    lines = [f"| question | {' | '.join(SYSTEMS.values())} |", "|---|---|---|"]
    for topic, words in TOPICS.items():
        cells = []
        for os in SYSTEMS:
            row = facts.row(topic, os)
            told = f"{' '.join(row.source.split())} ({row.date})"
            if told not in sources:
                sources.append(told)
            number = sources.index(told) + 1
            cells.append(
                f"**{row.answer}**, {row.how}: {row.says} [{number}](#s{number})".replace("|", "\\|")
            )
        lines.append(f"| `{topic}`: {words} | {' | '.join(cells)} |")
    listed = [f'{number}. <a id="s{number}"></a>{told}' for number, told in enumerate(sources, 1)]
    return "\n".join([*lines, "", "### Sources", "", *listed])


def rendered(page: str, facts: OsFacts) -> str:
    """A page's text with the table in it.

    Raises:
        ValueError: The two marks are not there once each, in order.
    """
    return between_marks(page, table(facts))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script. Returns 0 when done, 1 when `--check` finds the page outdated, 2 on bad input."""
    return write_page(argv, "os_page", PAGE, ROOT, lambda page: rendered(page, load_os_facts()))


if __name__ == "__main__":
    sys.exit(main())
