#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the table of docs/reference/os-choice.md from the facts in edgewright/data/os/facts.yml.

The table stands between the lines `<!-- facts -->` and `<!-- /facts -->`; all else is left as it is.

    python scripts/os_page.py            # write
    python scripts/os_page.py --check    # status 1 when the page is not as generated
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from edgewright.errors import EdgewrightError  # noqa: E402  the path above makes it importable
from edgewright.osadvice.facts import SYSTEMS, TOPICS, OsFacts, load_os_facts  # noqa: E402

BEGIN = "<!-- facts -->"
END = "<!-- /facts -->"
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
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        raise ValueError(f"expected one line {BEGIN} and, below it, one line {END}")
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n\n{table(facts)}\n\n{END}{rest.split(END)[1]}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script. Returns 0 when done, 1 when `--check` finds the page outdated, 2 on bad input."""
    parser = argparse.ArgumentParser(description="Write the table of docs/reference/os-choice.md.")
    parser.add_argument("--check", action="store_true", help="only tell whether the page is as generated")
    args = parser.parse_args(argv)
    name = PAGE.relative_to(ROOT)
    try:
        now = PAGE.read_text(encoding="utf-8")
        text = rendered(now, load_os_facts())
    except (EdgewrightError, OSError, ValueError) as error:
        print(f"os_page: {name}: {error}", file=sys.stderr)
        return 2
    if text == now:
        return 0
    if args.check:
        print(f"{name}: its table is not that of the facts; run python scripts/os_page.py")
        return 1
    PAGE.write_text(text, encoding="utf-8")
    print(f"{name}: written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
