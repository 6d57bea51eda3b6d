# SPDX-License-Identifier: Apache-2.0
"""Status 0 when the model server says that it is ready on its Unix socket, 1 when not.

python ready.py SECONDS ENDED: asks until it is, until the time is over, or until the file ENDED is there,
which says that the server ended by itself.
"""

import os
import socket
import sys
import time
from pathlib import Path

TIMEOUT_S = 10
PAUSE_S = 0.5


def ready() -> bool:
    """Whether the server answers, and answers that it is ready."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.settimeout(TIMEOUT_S)
        try:
            link.connect(os.environ["EDGEWRIGHT_SOCKET"])
            link.sendall(b"GET /v2/health/ready HTTP/1.0\r\nHost: localhost\r\n\r\n")
            first = link.recv(1024).split(b"\r\n", 1)[0].split(b" ")
        except OSError as error:
            print(f"the model server does not answer: {error}", file=sys.stderr)
            return False
    return first[1:2] == [b"200"]


end = time.monotonic() + float(sys.argv[1])
while not (found := ready()) and time.monotonic() < end and not Path(sys.argv[2]).exists():
    time.sleep(PAUSE_S)
sys.exit(0 if found else 1)
