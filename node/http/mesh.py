"""The mesh to look at: every address below /v1/mesh that only reads, and /metrics."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from node.http.json import ApiError
from node.http.router import Answer, Call, Reply, Route, Stream
from node.services.mesh import MeshViews
from node.services.metrics import CONTENT_TYPE, Metrics


class MeshApi:
    """Views of the mesh. metrics: None where the settings do not show them."""

    def __init__(self, views: MeshViews, metrics: Metrics | None) -> None:
        self._views = views
        self._metrics = metrics

    def routes(self) -> list[Route]:
        views = self._views
        return [
            Route("GET", "/v1/mesh", _plain(views.mesh)),
            Route("GET", "/v1/mesh/links", _plain(views.links)),
            Route("GET", "/v1/mesh/shards", _plain(views.shards)),
            Route("GET", "/v1/mesh/verify", _plain(views.verify), long=True),
            Route("GET", "/v1/mesh/why/{site}", self.why),
            Route("GET", "/v1/mesh/sites/{site}", self.site),
        ]

    def metrics_routes(self) -> list[Route]:
        """Prometheus does not log in: what it reads is open to whoever reaches the port."""
        return [Route("GET", "/metrics", self.metrics, login=False)]

    async def site(self, call: Call) -> Answer:
        return Reply(await self._views.site(call.names["site"]))

    async def why(self, call: Call) -> Answer:
        return Reply(await self._views.why(call.names["site"]))

    async def metrics(self, call: Call) -> Answer:
        if self._metrics is None:
            raise ApiError(
                404,
                "metrics are not shown here",
                "set metrics = true below [api] in config.toml",
            )
        text = await self._metrics.text()
        return Stream(io.BytesIO(text), len(text), CONTENT_TYPE)


def _plain(view: Callable[[], Awaitable[Mapping[str, Any]]]) -> Callable[[Call], Awaitable[Answer]]:
    async def handle(call: Call) -> Answer:
        return Reply(await view())

    return handle
