# SPDX-License-Identifier: Apache-2.0
"""Computing off the event loop: a few worker threads, a bounded number of requests, an orderly end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from edgewright_runtime.errors import RequestError

__all__ = ["Work"]

_T = TypeVar("_T")


class Work:
    """Admits requests and computes them. Belongs to one event loop; only `run`'s function leaves it.

    A request is admitted before its body is read, so that memory is bounded too: at most `workers` + `queue`
    bodies exist at a time.

    Args:
        workers: requests that are computed at the same time.
        queue: further requests that may wait.
        cpu: CPU number that the worker thread is bound to; None to leave it to the scheduler.
    """

    def __init__(self, workers: int, queue: int, cpu: int | None = None) -> None:
        self.limit = workers + queue
        self.in_flight = 0
        self.stopping = False
        self._pool = ThreadPoolExecutor(
            max_workers=workers,
            thread_name_prefix="inference",
            initializer=None if cpu is None else lambda: os.sched_setaffinity(0, {cpu}),
        )

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Counts a request as in flight for the duration of the block.

        Raises:
            RequestError: 503, the server is stopping or has as many requests as it takes.
        """
        if self.stopping:
            raise RequestError(
                "the server is stopping; send the request to another", status=503, reason="stopping"
            )
        if self.in_flight >= self.limit:
            raise RequestError(
                f"the queue is full: {self.in_flight} requests are in flight; try again later",
                status=503,
                reason="queue_full",
            )
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1

    async def run(self, function: Callable[[], _T]) -> _T:
        """The result of a function that a worker thread runs; what it raises is raised here."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function)

    def close(self) -> None:
        """Let the worker threads end."""
        self._pool.shutdown(wait=False, cancel_futures=True)
