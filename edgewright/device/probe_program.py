# SPDX-License-Identifier: Apache-2.0
"""The probe as one program: a Python file of the standard library's own, made of `plugins/module_utils`.

A device keeps it, so that a probe is one command over one connection and no transfer of a module; its timer
runs the same file. Made from the sources alone and in one order, it is the same bytes on every controller
with the same version of Edgewright: its SHA-256 is its name, and nothing is run whose digest is another.

Order of use:
    program = probe_program()
    command = kept_command("/usr/bin/python3", program.sha256)   # standard input: the wants, JSON
    answer = parse_answer(stdout, "reader-01")                   # None: the device does not keep it
    command = shipped_command("/usr/bin/python3", program)       # its input: shipped_input(program, wants)

Guarantees: neither command writes anything on the device. A program that arrived in part is not run.
"""

from __future__ import annotations

import functools
import hashlib
import json
import shlex
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewright.device.places import DEBIAN, places
from edgewright.errors import EdgewrightError, UnreachableError
from edgewright.paths import collection_root

__all__ = [
    "KEPT_DIRECTORY",
    "MARK",
    "SHA256",
    "Program",
    "build",
    "kept_command",
    "kept_path",
    "parse_answer",
    "probe_program",
    "shipped_command",
    "shipped_input",
]

# Root's own directory on a Debian device; on Ubuntu Core /var/lib is read-only, and `places` names another.
KEPT_DIRECTORY = places(DEBIAN).probe
# What the program's own answer, and the loader's "not here", begin with (module_utils/probe_main.py).
MARK = "EDGEWRIGHT-PROBE/v1 "
_PACKAGE = "ansible_collections.edgewright.factory.plugins.module_utils"

# Sources by the name of their module, each compiled when it is first imported.
_FRAME = '''# SPDX-License-Identifier: Apache-2.0
"""Edgewright's probe: reads a device's state and writes nothing. Made of plugins/module_utils."""
import sys
from importlib.machinery import ModuleSpec

PACKAGE = {package!r}
SOURCES = {{
{sources}}}


class Finder:
    """Finds the modules of this file."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name in SOURCES:
            return ModuleSpec(name, cls)
        if (PACKAGE + ".").startswith(name + "."):
            return ModuleSpec(name, cls, is_package=True)
        return None

    @staticmethod
    def create_module(spec):
        return None

    @staticmethod
    def exec_module(module):
        name = module.__name__
        if name in SOURCES:
            exec(compile(SOURCES[name], name.rpartition(".")[2] + ".py", "exec"), module.__dict__)


sys.meta_path.insert(0, Finder)


def run(argv, data):
    from {package}.probe_main import main

    return main(argv, data)


if __name__ == "__main__":
    if sys.argv[1:2] == ["watch"]:
        sys.exit(run(sys.argv[1:], b""))
    sys.exit(run(sys.argv[1:], sys.stdin.buffer.read()))
'''

# Python's own SHA-256 (to 3.11, from 3.12 on) before hashlib, which loads OpenSSL: 5 ms for half a one.
SHA256 = """\
try:from _sha256 import sha256 as h
except ImportError:
 try:from _sha2 import sha256 as h
 except ImportError:from hashlib import sha256 as h
"""

# Runs on the device, as the argument of `python3 -c`: reads the kept program, or takes it from standard
# input; compares its digest; runs it from memory, so that nobody can change it between the comparison and the
# run.
_LOADER = """\
import sys
{sha256_of}\
i=sys.stdin.buffer
n={size}
if n:
 import zlib
 try:p=zlib.decompress(i.read(n))
 except zlib.error:p=b''
else:
 try:
  with open({path!r},'rb') as f:p=f.read()
 except OSError:p=b''
g=h(p).hexdigest()
if g!={sha256!r}:
 import json
 print('\\n'+{mark!r}+json.dumps({{'absent':bool(p) and g or ''}}))
else:
 d={{'__name__':'probe'}}
 exec(compile(p,'probe','exec'),d)
 sys.exit(d['run']([],i.read()))
"""


@dataclass(frozen=True)
class Program:
    """The program.

    Attributes:
        data: the file's bytes, Python source in UTF-8.
        sha256: of `data`, small hex digits; also the stem of its name on a device.
    """

    data: bytes
    sha256: str

    @property
    def packed(self) -> bytes:
        """The bytes as they travel, compressed."""
        return zlib.compress(self.data, 9)


def build(directory: Path) -> Program:
    """Make the program of a directory of modules.

    Args:
        directory: `plugins/module_utils`.

    Raises:
        EdgewrightError: it has no `probe_main.py`, or a file can't be read: the installation is damaged.
    """
    try:
        sources = {
            f"{_PACKAGE}.{path.stem}": _lean(path.read_text(encoding="utf-8"))
            for path in sorted(directory.glob("*.py"))
            if path.stem != "__init__"
        }
    except (OSError, UnicodeDecodeError) as error:
        raise EdgewrightError(
            f"making the probe's program of {directory}: {error}; install Edgewright anew"
        ) from error
    if f"{_PACKAGE}.probe_main" not in sources:
        raise EdgewrightError(
            f"making the probe's program: {directory} has no probe_main.py; install Edgewright anew"
        )
    listed = "".join(f"    {name!r}: {json.dumps(text)},\n" for name, text in sources.items())
    data = _FRAME.format(package=_PACKAGE, sources=listed).encode()
    return Program(data, hashlib.sha256(data).hexdigest())


def _lean(source: str) -> str:
    """A source for a device: `typing`, whose import takes longer than reading an area, is only named."""
    return source.replace("\nfrom typing import ", f"\nfrom {_PACKAGE}.lean import ")


@functools.lru_cache(maxsize=1)
def probe_program() -> Program:
    """The program of this installation, made once a process."""
    return build(collection_root() / "plugins" / "module_utils")


def kept_path(sha256: str, directory: str | None = None) -> str:
    """Where a device keeps the program of a digest; `directory` is the one of its OS, Debian's when None."""
    return f"{directory or KEPT_DIRECTORY}/{sha256}.py"


def kept_command(python: str, sha256: str, directory: str | None = None) -> str:
    """Shell command that runs the kept program, or says that it is not there or another.

    Args:
        python: the device's interpreter.
        sha256: digest that the program must have.
        directory: where the device's OS has it; Debian's when None.
    """
    return _command(python, 0, sha256, directory)


def shipped_command(python: str, program: Program) -> str:
    """Shell command that takes the program from standard input and runs it; nothing is kept."""
    return _command(python, len(program.packed), program.sha256)


def shipped_input(program: Program, wants: bytes) -> bytes:
    """Standard input of `shipped_command`: the packed program, then the wants."""
    return program.packed + wants


def _command(python: str, size: int, sha256: str, directory: str | None = None) -> str:
    path = kept_path(sha256, directory)
    loader = _LOADER.format(size=size, path=path, sha256=sha256, mark=MARK, sha256_of=SHA256)
    # -I and -S: neither the environment nor the device's site-packages have a say in what runs.
    return f"{shlex.quote(python)} -I -S -B -c {shlex.quote(loader)}"


def parse_answer(output: str, host: str) -> dict[str, Any] | None:
    """What the device answered.

    Args:
        output: the command's standard output; lines before the answer are passed over.
        host: the device's name, for messages.

    Returns:
        Area to have; None where the device does not keep the program (or keeps another one by its name).

    Raises:
        UnreachableError: there is no whole answer: the device, or the connection, ended in mid-probe.
        EdgewrightError: a reader failed on the device; says where.
    """
    lines = [line for line in output.splitlines() if line.startswith(MARK)]
    answer: Any = None
    if lines:
        try:
            answer = json.loads(lines[-1][len(MARK) :])
        except ValueError:
            answer = None
    if not isinstance(answer, Mapping):
        said = f"it said {len(output)} bytes, none of them an answer" if output.strip() else "it said nothing"
        raise UnreachableError(
            f"reading the state of {host}: the probe began and gave no whole answer: {said}. The device or"
            " its connection ended in mid-probe; nothing was changed. Look at its power, its network and its"
            " memory (`journalctl -k`), then run again"
        )
    if "absent" in answer:
        return None
    if "error" in answer:
        raise EdgewrightError(
            f"reading the state of {host}: the probe could not go on: {answer['error']}. Nothing was changed;"
            " where it names a file, look at that file on the device"
        )
    have = answer.get("have")
    if not isinstance(have, dict):
        raise EdgewrightError(
            f"reading the state of {host}: expected an answer with have, got {sorted(answer)}"
        )
    return have
