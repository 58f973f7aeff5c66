"""Where an identity provider sends people back to who log in at a terminal: this machine (RFC 8252)."""

import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

_PATH = "/callback"
_SAID = b"<!doctype html><title>VANTA</title><p>You may close this window and go back to the terminal."


class Callback(HTTPServer):
    """Listens on `port`, 0 for a free one, while it is entered."""

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.query: dict[str, list[str]] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_port}{_PATH}"

    def wait(self, seconds: float) -> dict[str, list[str]] | None:
        """The query that the person comes back with; None when nobody does in time."""
        deadline = time.monotonic() + seconds
        while self.query is None and (left := deadline - time.monotonic()) > 0:
            self.timeout = left
            self.handle_request()
        return self.query


class _Handler(BaseHTTPRequestHandler):
    server: Callback
    timeout = 5  # a browser that connects ahead of time must not keep the request from us that counts

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        if asked.path != _PATH:  # its icon, for one
            self.send_error(404)
            return
        self.server.query = parse_qs(asked.query)
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(_SAID)))
        self.end_headers()
        self.wfile.write(_SAID)

    def log_message(self, *_args: Any) -> None:
        """The request line holds the code."""
