"""The HTTP server, which tells streams to end before it waits for connections to do so."""

import socket
from typing import Any

import uvicorn


class Server(uvicorn.Server):
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        services: Any = self.lifespan.state.get("services")
        if services is not None:
            services.live.stop()
        await super().shutdown(sockets)
