#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Read a label: what an application does with a device. Sends a picture over mTLS, prints its text.

    python examples/read_label.py examples/label.png
    python examples/read_label.py examples/label.png --via-ssh reader-02
    python examples/read_label.py label.png --device https://reader-01:8443 \\
        --cert application.crt --key application.key --ca root.crt

Without `--device` it speaks with a twin of the example site through an SSH tunnel, because a twin's
network reaches the depot and nothing else. The picture holds one line of text. Both sides show a
certificate of the site's authority; the one here is the application's, which may ask the model.

The request is the Open Inference Protocol's with its binary tensor extension; any client of it works,
such as `tritonclient`. This one needs numpy, Pillow and the standard library.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from PIL import Image, UnidentifiedImageError

from edgewright.errors import EdgewrightError, InputError, UnreachableError
from edgewright.labels import decode, to_tensor
from edgewright.twin.inventory import choose, read_twins
from edgewright.twin.ssh import ssh_command

CHECKOUT = Path(__file__).resolve().parent.parent
CLIENTS = CHECKOUT / ".edgewright" / "authority"
TUNNEL_TIMEOUT_S = 60.0
REQUEST_TIMEOUT_S = 60.0


def read_label(image: Image.Image, connection: http.client.HTTPSConnection, model: str) -> str:
    """Text on an image of one line.

    Args:
        image: any mode and size.
        connection: to the device, with the application's certificate.
        model: the model's name.

    Raises:
        UnreachableError: the device refused or did not answer as the protocol says.
    """
    metadata = json.loads(_ask(connection, "GET", f"/v2/models/{model}")[1])
    tensor = to_tensor(image)
    wanted = {"name": metadata["outputs"][0]["name"], "parameters": {"binary_data": True}}
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": metadata["inputs"][0]["name"],
                    "shape": list(tensor.shape),
                    "datatype": "FP32",
                    "parameters": {"binary_data_size": tensor.nbytes},
                }
            ],
            "outputs": [wanted],
        }
    ).encode()
    headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    body = head + tensor.astype("<f4").tobytes()
    answered, data = _ask(connection, "POST", f"/v2/models/{model}/infer", body, headers)
    head_bytes = int(answered["inference-header-content-length"])
    shape = json.loads(data[:head_bytes])["outputs"][0]["shape"]
    return decode(np.frombuffer(data[head_bytes:], "<f4").reshape(shape), metadata["parameters"]["alphabet"])


def _ask(
    connection: http.client.HTTPSConnection,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[dict[str, str], bytes]:
    """Headers, names in small letters, and body of an answer with status 200."""
    where = f"https://{connection.host}:{connection.port}{path}"
    try:
        connection.request(method, path, body=body, headers=headers or {})
        answer = connection.getresponse()
        data = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise UnreachableError(
            f"asking {where}: {type(error).__name__}: {error}; check the address, and that --cert and --ca"
            " are of the device's site"
        ) from error
    if answer.status != 200:
        said = data[:300].decode("utf-8", "replace").strip()
        raise UnreachableError(f"asking {where}: expected status 200, got {answer.status}: {said}")
    return {name.lower(): value for name, value in answer.getheaders()}, data


@contextlib.contextmanager
def tunnel(inventory: Path, twin: str, port: int) -> Iterator[int]:
    """A local port that leads to a port of a twin, through ssh, for as long as it is needed.

    Raises:
        UnreachableError: ssh ends, or the port does not open in time.
    """
    spec = choose(read_twins(inventory), [twin], inventory)[0]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        local = int(free.getsockname()[1])
    forward = ["-N", "-o", "ExitOnForwardFailure=yes", "-L", f"127.0.0.1:{local}:127.0.0.1:{port}"]
    with subprocess.Popen(ssh_command(spec, forward), stdin=subprocess.DEVNULL) as ssh:
        try:
            start = time.monotonic()
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", local), timeout=5):
                    break
                if ssh.poll() is not None or time.monotonic() - start > TUNNEL_TIMEOUT_S:
                    raise UnreachableError(
                        f"opening a tunnel to twin {twin}: ssh did not get through; start the twin with"
                        f" `edgewright twin up --inventory {inventory} {twin}`"
                    )
                time.sleep(0.2)
            yield local
        finally:
            ssh.terminate()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Send a picture of a label to a device and print its text.")
    parser.add_argument("image", type=Path, help="a picture of one line of text, in any format Pillow reads")
    parser.add_argument("--device", metavar="URL", help="https://HOST:PORT of a device; else a twin is asked")
    parser.add_argument("--model", default="label-reader")
    parser.add_argument(
        "--cert", type=Path, default=CLIENTS / "clients" / "application.crt", help="ours, PEM"
    )
    parser.add_argument(
        "--key", type=Path, default=CLIENTS / "clients" / "application.key", help="its key, PEM"
    )
    parser.add_argument("--ca", type=Path, default=CLIENTS / "root.crt", help="the site's root, PEM")
    parser.add_argument("--via-ssh", metavar="TWIN", default="reader-01", help="twin to reach by a tunnel")
    parser.add_argument("--port", type=int, default=8443, help="port of the model on that twin")
    parser.add_argument("-i", "--inventory", type=Path, default=CHECKOUT / "inventories" / "factory")
    return parser.parse_args()


def _trust(args: argparse.Namespace) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(args.ca))
        context.load_cert_chain(args.cert, args.key)
    except (OSError, ssl.SSLError) as error:
        raise InputError(
            f"reading the certificates {args.cert}, {args.key} and {args.ca}: {error}; `make provision` makes"
            " them for the example site"
        ) from error
    return context


def _open(path: Path) -> Image.Image:
    try:
        return Image.open(path).convert("RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise InputError(f"reading the picture {path}: {error}") from error


def main() -> int:
    """Read one label. Returns 0, or the exit code of what went wrong."""
    args = _options()
    try:
        image, context = _open(args.image), _trust(args)
        with contextlib.ExitStack() as stack:
            if args.device:
                url = urlsplit(args.device)
                if url.scheme != "https" or not url.hostname:
                    raise InputError(f"--device: expected https://HOST:PORT, got {args.device!r}")
                host, port = url.hostname, url.port or 443
            else:
                host = "127.0.0.1"
                port = stack.enter_context(tunnel(args.inventory, args.via_ssh, args.port))
            connection = http.client.HTTPSConnection(host, port, timeout=REQUEST_TIMEOUT_S, context=context)
            stack.enter_context(contextlib.closing(connection))
            print(read_label(image, connection, args.model))
    except EdgewrightError as error:
        print(f"read_label: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
