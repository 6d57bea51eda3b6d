# SPDX-License-Identifier: Apache-2.0
"""The `edgewright` command line: finds its commands, one file each, and turns errors into exit codes.

A command is a module in `edgewright.cli` named `cmd_<verb>.py` with `add(subparsers) -> None`, which
registers one parser with `set_defaults(run=function)`; `function(args) -> int`.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Sequence

import edgewright
import edgewright.cli
from edgewright.errors import EdgewrightError

__all__ = ["main"]


def _parser(asked: str = "") -> argparse.ArgumentParser:
    """The parser: of one command where that is asked for, since loading all of them takes half a second."""
    parser = argparse.ArgumentParser(prog="edgewright", description=edgewright.__doc__)
    parser.add_argument("--version", action="version", version=f"edgewright {edgewright.__version__}")
    subparsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    found = sorted(info.name for info in pkgutil.iter_modules(edgewright.cli.__path__))
    commands = [name for name in found if name.startswith("cmd_")]
    for name in [f"cmd_{asked}"] if f"cmd_{asked}" in commands else commands:
        importlib.import_module(f"edgewright.cli.{name}").add(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit code: 0 done, 1-5 by family of error, 130 interrupted."""
    words = sys.argv[1:] if argv is None else list(argv)
    args = _parser(words[0] if words else "").parse_args(words)
    try:
        code: int = args.run(args)
    except EdgewrightError as error:
        print(f"edgewright: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("edgewright: interrupted; run the same command again to go on", file=sys.stderr)
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main())
