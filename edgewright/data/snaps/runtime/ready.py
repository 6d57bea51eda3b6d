# SPDX-License-Identifier: Apache-2.0
"""Status 0 when the model server says that it is ready, 1 when not, on its Unix socket."""

import os
import socket
import sys

TIMEOUT_S = 10

with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
    link.settimeout(TIMEOUT_S)
    try:
        link.connect(os.environ["EDGEWRIGHT_SOCKET"])
        link.sendall(b"GET /v2/health/ready HTTP/1.0\r\nHost: localhost\r\n\r\n")
        first = link.recv(1024).split(b"\r\n", 1)[0].split(b" ")
    except OSError as error:
        sys.exit(f"the model server does not answer: {error}")
sys.exit(0 if first[1:2] == [b"200"] else 1)
