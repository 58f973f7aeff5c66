"""The HTTP server: what it takes from the network, and how it stops."""

import logging
import secrets
import socket
import sys
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from api.errors import Problem
from settings import Settings

# Above what api.bounds answers to politely; more is cut off here, before it fills the memory.
_MAX_HEAD_BYTES = 65_536
_IDLE_S = 75  # longer than proxies keep an idle connection, so that they never send on one that is being closed


def serve(settings: Settings, app: FastAPI) -> bool:
    """Serve until SIGTERM or SIGINT; then take nothing new, finish what is being answered, and return.

    False: it could not start, and its log says why.
    """
    api = settings.api
    config = uvicorn.Config(
        app,
        host=api.host,
        port=api.port,
        http=Protocol,
        ws="none",
        log_config=None,
        access_log=False,  # ours says more, and no queries
        server_header=False,
        proxy_headers=bool(api.trusted_proxies),
        forwarded_allow_ips=[str(network) for network in api.trusted_proxies],
        h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
        timeout_keep_alive=_IDLE_S,
        timeout_graceful_shutdown=api.shutdown_s,
        lifespan="on",
    )
    server = Server(config)
    with suppress(KeyboardInterrupt):
        server.run()
    return server.started


class Server(uvicorn.Server):
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Tells streams to end before it waits for connections to do so."""
        services: Any = self.lifespan.state.get("services")
        if services is not None:
            services.live.stop()
        await super().shutdown(sockets)
        # uvicorn would raise the signal again that it has stopped for, and the process die of it though all went well.
        self._captured_signals.clear()


class Protocol(H11Protocol):
    """Who sends what is no HTTP, or a head without an end, hears of it in the words that all other errors have."""

    def send_400_response(self, msg: str) -> None:
        error = sys.exception()  # uvicorn calls this where it has caught h11's
        status = error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else 400
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            for event in _refusal(HTTPStatus(status), msg):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def _refusal(status: HTTPStatus, detail: str) -> list[h11.Event]:
    kind = "headers-too-large" if status == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE else "bad-request"
    request_id = secrets.token_hex(16)
    answer = Problem(status, kind, detail).response(request_id)
    logging.getLogger("vanta.access").info("no request", extra={"status": int(status), "request_id": request_id})
    headers = [*answer.raw_headers, (b"x-request-id", request_id.encode()), (b"connection", b"close")]
    return [
        h11.Response(status_code=status, headers=headers, reason=status.phrase.encode()),
        h11.Data(data=bytes(answer.body)),
        h11.EndOfMessage(),
    ]
