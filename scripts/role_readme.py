#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the variable table of each role's README.md from its argument specification.

The table stands between the lines `<!-- variables -->` and `<!-- /variables -->`; all else in the
file is left as it is.

    python scripts/role_readme.py            # write
    python scripts/role_readme.py --check    # status 1 and the names of those that are not as generated
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

BEGIN = "<!-- variables -->"
END = "<!-- /variables -->"
ROLES = Path(__file__).resolve().parent.parent / "roles"

# Ansible's markup in descriptions, such as C(code): written as Markdown.
_MARKUP = re.compile(r"\b([CVOIB])\(([^)]*)\)")


class ReadmeError(Exception):
    """A role's README or specification is not of the form that this script needs."""


def table(specs: Mapping[str, Any]) -> str:
    """The Markdown table of a role's variables.

    Args:
        specs: content of `meta/argument_specs.yml`.

    Returns:
        One row for each variable of any entry point, in the order of declaration; nested options are
        rows of their own below, as `variable.key`.
    """
    rows: dict[str, str] = {}
    for entry in specs["argument_specs"].values():
        _rows((entry or {}).get("options") or {}, "", rows)
    if not rows:
        return "This role has no variables.\n"
    head = "| variable | type | default | meaning |\n|---|---|---|---|\n"
    return head + "".join(f"{row}\n" for row in rows.values())


def _rows(options: Mapping[str, Any], prefix: str, rows: dict[str, str]) -> None:
    for name, option in options.items():
        full = f"{prefix}{name}"
        if full in rows:
            continue
        rows[full] = f"| `{full}` | {_type(option)} | {_default(option)} | {_meaning(option)} |"
        inside = f"{full}[]." if option.get("type") == "list" else f"{full}."
        _rows(option.get("options") or {}, inside, rows)


def _type(option: Mapping[str, Any]) -> str:
    kind = str(option.get("type", "str"))
    return f"{kind} of {option['elements']}" if kind == "list" and "elements" in option else kind


def _default(option: Mapping[str, Any]) -> str:
    if option.get("required"):
        return "required"
    if "default" not in option:
        return ""
    value = option["default"]
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    return f"`{_cell(text)}`"


def _meaning(option: Mapping[str, Any]) -> str:
    description = option.get("description", "")
    lines = [description] if isinstance(description, str) else [str(line) for line in description]
    text = _cell(_MARKUP.sub(r"`\2`", " ".join(lines)))
    choices = option.get("choices")
    if choices:
        text += " One of " + ", ".join(f"`{_cell(str(choice))}`" for choice in choices) + "."
    return text.strip()


def _cell(text: str) -> str:
    """Text of one table cell: no line ends, no bare bars."""
    return " ".join(text.split()).replace("|", "\\|")


def rendered(readme: str, specs: Mapping[str, Any], name: str) -> str:
    """A README's text with the table in it.

    Args:
        readme: its text now.
        specs: content of the role's `meta/argument_specs.yml`.
        name: the file, for messages.

    Raises:
        ReadmeError: the two marks are not there once each, in order.
    """
    if readme.count(BEGIN) != 1 or readme.count(END) != 1 or readme.index(BEGIN) > readme.index(END):
        raise ReadmeError(f"{name}: expected one line {BEGIN} and, below it, one line {END}")
    before, rest = readme.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n\n{table(specs)}\n{END}{after}"


def outdated(roles: Path) -> tuple[dict[Path, str], list[str]]:
    """READMEs that are not as generated, with the text that they should have; and what stands in the way.

    Returns:
        New texts by file, and one sentence for each README that is missing or lacks its marks.
    """
    found: dict[Path, str] = {}
    faults: list[str] = []
    for spec in sorted(roles.glob("*/meta/argument_specs.yml")):
        readme = spec.parent.parent / "README.md"
        if not readme.is_file():
            faults.append(
                f"{readme}: missing; write it, with the lines {BEGIN} and {END} where its table goes"
            )
            continue
        now = readme.read_text(encoding="utf-8")
        try:
            text = rendered(now, yaml.safe_load(spec.read_text(encoding="utf-8")), str(readme))
        except ReadmeError as error:
            faults.append(str(error))
            continue
        if text != now:
            found[readme] = text
    return found, faults


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script. Returns 0 when done, 1 when `--check` finds some outdated, 2 on bad input."""
    parser = argparse.ArgumentParser(description="Write the variable tables of the roles' READMEs.")
    parser.add_argument("--check", action="store_true", help="only tell which are not as generated")
    args = parser.parse_args(argv)
    found, faults = outdated(ROLES)
    for path, text in found.items():
        name = path.relative_to(ROLES.parent)
        if args.check:
            print(
                f"{name}: its table is not that of meta/argument_specs.yml; run python scripts/role_readme.py"
            )
        else:
            path.write_text(text, encoding="utf-8")
            print(f"{name}: written")
    for fault in faults:
        print(f"role_readme: {fault}", file=sys.stderr)
    if faults:
        return 2
    return 1 if args.check and found else 0


if __name__ == "__main__":
    sys.exit(main())
