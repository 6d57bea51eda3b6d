# SPDX-License-Identifier: Apache-2.0
"""Reading a request's body: a size limit, a time limit, gzip and deflate.

uvicorn has already undone chunking.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator

from starlette.datastructures import Headers

from edgewright_runtime.errors import RequestError, shown
from edgewright_runtime.protocol import HEADER_LENGTH

__all__ = ["header_length", "read_body"]

# zlib's wbits: 31 reads gzip, 15 reads the zlib format that HTTP calls deflate.
_ENCODINGS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


def header_length(headers: Headers) -> int | None:
    """The value of `Inference-Header-Content-Length`, or None without it.

    Raises:
        RequestError: the header is doubled or no whole number.
    """
    values = headers.getlist(HEADER_LENGTH)
    if not values:
        return None
    text = values[0].strip()
    if len(values) > 1 or not text.isascii() or not text.isdigit() or len(text) > 15:
        raise RequestError(
            f"{HEADER_LENGTH}: expected one whole number of bytes, found {shown(', '.join(values))}"
        )
    return int(text)


def _too_large(limit: int, found: str) -> RequestError:
    return RequestError(
        f"the request's body is too large: at most {limit} bytes are taken, found {found}",
        status=413,
        reason="too_large",
    )


async def read_body(headers: Headers, chunks: AsyncIterator[bytes], limit: int, seconds: float) -> bytes:
    """The whole body, uncompressed.

    Args:
        headers: the request's headers.
        chunks: the body as it arrives.
        limit: largest size in bytes, before and after decompression.
        seconds: how long the client may take to send it.

    Raises:
        RequestError: 413 too large, 408 too slow, 415 an unknown encoding, 400 damaged compressed data.
    """
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in _ENCODINGS and encoding != "identity":
        raise RequestError(
            f"Content-Encoding: expected gzip, deflate or identity, found {shown(encoding)}",
            status=415,
            reason="encoding",
        )
    declared = headers.get("content-length", "")
    if declared.isdigit() and int(declared[:19]) > limit:
        raise _too_large(limit, declared[:19])
    received = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in chunks:
                received += chunk
                if len(received) > limit:
                    raise _too_large(limit, f"at least {len(received)}")
    except TimeoutError:
        raise RequestError(
            f"the request's body did not arrive within {seconds:g} s", status=408, reason="too_slow"
        ) from None
    if encoding == "identity":
        return bytes(received)
    return _decompressed(bytes(received), encoding, limit)


def _decompressed(received: bytes, encoding: str, limit: int) -> bytes:
    reader = zlib.decompressobj(wbits=_ENCODINGS[encoding])
    try:
        content = reader.decompress(received, limit + 1)
    except zlib.error as error:
        raise RequestError(
            f"the request's body is not what Content-Encoding {encoding} says: {error}"
        ) from None
    if len(content) > limit:
        raise _too_large(limit, "more after decompression")
    if not reader.eof or reader.unused_data:
        raise RequestError(f"the request's body is not one complete {encoding} stream")
    return content
