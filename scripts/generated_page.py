# SPDX-License-Identifier: Apache-2.0
"""What scripts share that write a part of a page of docs/reference from data.

The part stands between the lines `<!-- facts -->` and `<!-- /facts -->`; all else of a page is left as it is.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from edgewright.errors import EdgewrightError

BEGIN = "<!-- facts -->"
END = "<!-- /facts -->"


def between_marks(page: str, part: str) -> str:
    """A page's text with this part in it.

    Raises:
        ValueError: the two marks are not there once each, in order.
    """
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        raise ValueError(f"expected one line {BEGIN} and, below it, one line {END}")
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n\n{part}\n\n{END}{rest.split(END)[1]}"


def write_page(
    argv: Sequence[str] | None, script: str, page: Path, root: Path, rendered: Callable[[str], str]
) -> int:
    """Run such a script.

    Args:
        argv: its words; the command line's when None.
        script: its name, such as `os_page`.
        page: the page that it writes.
        root: the checkout.
        rendered: gives the page's text anew from the text as it is.

    Returns:
        0 when done, 1 when `--check` finds the page outdated, 2 on bad input.
    """
    name = page.relative_to(root)
    parser = argparse.ArgumentParser(description=f"Write what {name} takes from data.")
    parser.add_argument("--check", action="store_true", help="only tell whether the page is as generated")
    args = parser.parse_args(argv)
    try:
        now = page.read_text(encoding="utf-8")
        text = rendered(now)
    except (EdgewrightError, OSError, ValueError) as error:
        print(f"{script}: {name}: {error}", file=sys.stderr)
        return 2
    if text == now:
        return 0
    if args.check:
        print(f"{name}: what is generated in it is not that of the facts; run python scripts/{script}.py")
        return 1
    page.write_text(text, encoding="utf-8")
    print(f"{name}: written")
    return 0
