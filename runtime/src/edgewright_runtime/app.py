# SPDX-License-Identifier: Apache-2.0
"""The HTTP interface: Open Inference Protocol v2, and `/metrics`.

Every refusal is JSON: `{"error": "..."}`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from edgewright_runtime import __version__
from edgewright_runtime.backend import TensorSpec
from edgewright_runtime.body import header_length, read_body
from edgewright_runtime.config import ServerConfig
from edgewright_runtime.errors import RequestError, shown
from edgewright_runtime.metrics import Metrics
from edgewright_runtime.protocol import HEADER_LENGTH, InferRequest, encode_response, parse_request
from edgewright_runtime.repository import Repository, ServedModel
from edgewright_runtime.work import Work

__all__ = ["make_app"]

_NAME = "edgewright-runtime"
_EXTENSIONS = ["binary_tensor_data"]
# Seconds until a second try makes sense; and no second request after a body that never came.
_HEADERS = {503: {"Retry-After": "1"}, 408: {"Connection": "close"}}


def _json(data: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    content = json.dumps(data, separators=(",", ":")).encode()
    return Response(content, status, headers, "application/json")


def _refusal(error: RequestError) -> Response:
    return _json({"error": str(error)}, error.status, _HEADERS.get(error.status))


def _tensors(specs: tuple[TensorSpec, ...]) -> list[dict[str, Any]]:
    return [{"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)} for spec in specs]


class _Handlers:
    """One method per kind of request."""

    def __init__(self, config: ServerConfig, repository: Repository, work: Work, metrics: Metrics) -> None:
        self._config = config
        self._repository = repository
        self._work = work
        self._metrics = metrics

    async def live(self, _request: Request) -> Response:
        return _json({"live": True})

    async def ready(self, _request: Request) -> Response:
        if self._work.stopping:
            return _json({"ready": False, "error": "the server is stopping"}, 503)
        return _json({"ready": True})

    async def server(self, _request: Request) -> Response:
        return _json({"name": _NAME, "version": __version__, "extensions": _EXTENSIONS})

    async def model(self, request: Request) -> Response:
        model = self._model(request)
        return _json(
            {
                "name": model.package.name,
                "versions": self._repository.versions(model.package.name),
                "platform": model.backend.platform,
                "inputs": _tensors(model.backend.inputs),
                "outputs": _tensors(model.backend.outputs),
                "parameters": model.package.parameters,
            }
        )

    async def model_ready(self, request: Request) -> Response:
        model = self._model(request)
        return _json(
            {"name": model.package.name, "ready": not self._work.stopping},
            503 if self._work.stopping else 200,
        )

    async def metrics(self, _request: Request) -> Response:
        self._metrics.ready.set(not self._work.stopping)
        self._metrics.waiting.set(self._work.in_flight)
        return Response(self._metrics.text(), media_type=self._metrics.content_type)

    async def infer(self, request: Request) -> Response:
        labels = ("", "")
        try:
            model = self._model(request)
            labels = (model.package.name, model.package.version)
            with self._work.admitted():
                response = await self._infer(request, model)
        except RequestError as error:
            self._metrics.refused.labels(error.reason).inc()
            response = _refusal(error)
        except ClientDisconnect:
            response = _refusal(
                RequestError("the client went away before its body was complete", reason="gone")
            )
        except Exception:
            self._metrics.requests.labels(*labels, "500").inc()
            raise
        self._metrics.requests.labels(*labels, str(response.status_code)).inc()
        return response

    async def _infer(self, request: Request, model: ServedModel) -> Response:
        json_bytes = header_length(request.headers)
        body = await read_body(
            request.headers, request.stream(), self._config.max_request_bytes, self._config.body_timeout
        )
        arrived = time.perf_counter()
        content, answer_json_bytes = await self._work.run(
            partial(self._compute, model, body, json_bytes, arrived)
        )
        if answer_json_bytes is None:
            return Response(content, media_type="application/json")
        headers = {HEADER_LENGTH: str(answer_json_bytes)}
        return Response(content, headers=headers, media_type="application/octet-stream")

    def _compute(
        self, model: ServedModel, body: bytes, json_bytes: int | None, arrived: float
    ) -> tuple[bytes, int | None]:
        """Runs on a worker thread: parse, compute, encode."""
        labels = (model.package.name, model.package.version)
        self._metrics.queue_seconds.labels(*labels).observe(time.perf_counter() - arrived)
        parsed: InferRequest = parse_request(body, json_bytes, model.backend.inputs, model.backend.outputs)
        began = time.perf_counter()
        arrays = model.backend.run(parsed.inputs, [output.name for output in parsed.outputs])
        self._metrics.compute_seconds.labels(*labels).observe(time.perf_counter() - began)
        answer = encode_response(*labels, parsed, arrays)
        self._metrics.request_seconds.labels(*labels).observe(time.perf_counter() - arrived)
        return answer

    def _model(self, request: Request) -> ServedModel:
        return self._repository.get(request.path_params["model"], request.path_params.get("version"))


async def _on_refusal(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)  # noqa: S101 # Starlette gives only what is registered
    return _refusal(error)


async def _on_http(request: Request, error: Exception) -> Response:
    """Starlette's own refusals: no such path, a wrong method."""
    assert isinstance(error, HTTPException)  # noqa: S101 # Starlette gives only what is registered
    found = f"{request.method} {shown(request.url.path)}"
    return _json({"error": f"{found}: {error.detail}"}, error.status_code, dict(error.headers or {}))


async def _on_fault(_request: Request, _error: Exception) -> Response:
    """A fault of this server: the client learns that, and the server's log has the rest."""
    return _json({"error": "internal error; the server's log has the reason"}, 500)


def make_app(config: ServerConfig, repository: Repository, work: Work, metrics: Metrics) -> Starlette:
    """The ASGI application.

    Args:
        config: limits of size and time.
        repository: the models, already checked.
        work: admits and computes; the application is not ready while it is stopping.
        metrics: counted into, and given out at `/metrics`.
    """
    for model in repository.all():
        package = model.package
        metrics.model.labels(package.name, package.version, model.backend.platform, package.sha256).set(1)
    handlers = _Handlers(config, repository, work, metrics)
    endpoint = Callable[[Request], Awaitable[Response]]
    per_model: list[tuple[str, endpoint, str]] = [
        ("", handlers.model, "GET"),
        ("/ready", handlers.model_ready, "GET"),
        ("/infer", handlers.infer, "POST"),
    ]
    routes = [
        Route("/v2/health/live", handlers.live),
        Route("/v2/health/ready", handlers.ready),
        Route("/v2", handlers.server),
        Route("/metrics", handlers.metrics),
    ]
    for base in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        routes += [Route(base + path, handler, methods=[method]) for path, handler, method in per_model]
    app = Starlette(
        routes=routes,
        exception_handlers={RequestError: _on_refusal, HTTPException: _on_http, Exception: _on_fault},
    )
    app.router.redirect_slashes = False
    return app
