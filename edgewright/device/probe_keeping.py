# SPDX-License-Identifier: Apache-2.0
"""How a device comes to keep the probe's program: one command that puts it in place, and reads with it.

The program travels as in `shipped_command`; but its bytes are kept, whole or not at all, and programs of
other versions go. What it then reads has the digest of the kept file, so that the same command proves that it
is there. A probe never does this (ADR 0008): the role drift_watch does.

    command = keeping_command("/usr/bin/python3", program, path)   # its input: shipped_input(program, wants)
    have = parse_answer(stdout, "reader-01")                       # have.drift_watch.program is its digest
"""

from __future__ import annotations

import shlex

from edgewright.device.probe_program import MARK, SHA256, Program

__all__ = ["keeping_command"]

# Runs on the device, as the argument of `python3 -c`. A name with a dot in front and the process's number at
# its end is a program on its way; one whose process is gone is what a power cut left behind.
_KEEPER = """\
import json,os,sys,zlib
{sha256_of}\
def say(**w):print('\\n'+{mark!r}+json.dumps(w))
def drop(f):
 try:os.unlink(f)
 except FileNotFoundError:pass
i=sys.stdin.buffer
try:p=zlib.decompress(i.read({size}))
except zlib.error:p=b''
k={path!r}
d,n=os.path.split(k)
t='%s/.%s.%d'%(d,n,os.getpid())
if h(p).hexdigest()!={sha256!r}:
 say(absent='')
else:
 try:
  os.umask(0o022)
  os.makedirs(d,exist_ok=True)
  try:
   with open(t,'xb') as f:
    f.write(p)
    f.flush()
    os.fsync(f.fileno())
   os.rename(t,k)
  finally:drop(t)
  for o in os.listdir(d):
   x=o.rpartition('.')[2]
   if o.endswith('.py') and o!=n or o[0]=='.' and x.isdigit() and not os.path.exists('/proc/'+x):
    drop(d+'/'+o)
 except OSError as e:
  say(error='the program cannot be kept in %s: %s'%(d,e))
 else:
  g={{'__name__':'probe'}}
  exec(compile(p,'probe','exec'),g)
  sys.exit(g['run']([],i.read()))
"""


def keeping_command(python: str, program: Program, path: str) -> str:
    """Shell command that takes the program from standard input, keeps it, and runs it.

    Args:
        python: the device's interpreter.
        program: the program; the command's standard input is `shipped_input(program, wants)`.
        path: where the device shall keep it; `at.program` of the want of drift_watch.
    """
    sha256 = program.sha256
    keeper = _KEEPER.format(size=len(program.packed), path=path, sha256=sha256, mark=MARK, sha256_of=SHA256)
    return f"{shlex.quote(python)} -I -S -B -c {shlex.quote(keeper)}"
