# SPDX-License-Identifier: Apache-2.0
"""What the probe's program does once it is loaded: read, print one line, end; or watch (see `watch`).

The program is one file made of these modules by `edgewright/device/probe_program.py`. It gets the wants as
JSON on standard input and prints one line that begins with `MARK`, so that a banner or a message of the login
shell before it does no harm, and an answer that was cut off is no answer. Standard library only, Python 3.9
and later.
"""

from __future__ import annotations

import json
import sys
from typing import Any, Dict, List, Mapping

from ansible_collections.edgewright.factory.plugins.module_utils.system import (
    LocalSystem,
    NoAnswerError,
    System,
)

MARK = "EDGEWRIGHT-PROBE/v1 "


def answer(system: System, text: str) -> Dict[str, Any]:
    """Read the areas of a request.

    Args:
        system: the device.
        text: the request, JSON: area to want.

    Returns:
        `have` by area; or `error`, a sentence, where a reader could not go on.
    """
    from ansible_collections.edgewright.factory.plugins.module_utils import probe

    try:
        scopes = json.loads(text)
    except ValueError as error:
        return {"error": "the request did not arrive whole (%s)" % error}
    if not isinstance(scopes, Mapping):
        return {"error": "the request is no mapping of areas"}
    try:
        return {"have": probe.probe(system, scopes)}
    except Exception as error:  # whatever a file makes a reader do is told
        return {"error": told(error)}


def told(error: BaseException) -> str:
    """An error as one line: its kind, its words, and the module and line where it arose."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = ""
    if trace is not None:
        where = " (%s, line %d)" % (trace.tb_frame.f_code.co_filename, trace.tb_lineno)
    if isinstance(error, (NoAnswerError, ValueError)):
        return str(error)
    return "%s: %s%s" % (type(error).__name__, " ".join(str(error).split()), where)


def main(argv: List[str], data: bytes) -> int:
    """Run the program.

    Args:
        argv: empty to read once; `watch` and its arguments for the timer.
        data: standard input.
    """
    if argv[:1] == ["watch"]:
        from ansible_collections.edgewright.factory.plugins.module_utils import watch

        return watch.main(argv[1:])
    line = json.dumps(answer(LocalSystem(), data.decode("utf-8", "replace")))
    sys.stdout.write("\n" + MARK + line + "\n")
    sys.stdout.flush()
    return 0
