"""Cheap readiness probes; each is called many times and never raises for a server that is not there yet."""

import contextlib
import http.client
import socket
from pathlib import Path

from stack.ports import HOST

_TIMEOUT_S = 2.0


def accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), _TIMEOUT_S):
        return True
    return False


def exchanges(port: int, request: bytes, wanted: bytes) -> bool:
    """Send `request` and look for `wanted` in the first answer."""
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), _TIMEOUT_S) as connection:
        connection.sendall(request)
        return wanted in connection.recv(65_536)
    return False


def http_status(port: int, path: str) -> int | None:
    """The status of a GET, or None when there is no HTTP answer."""
    connection = http.client.HTTPConnection(HOST, port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def http_says(port: int, path: str, wanted: bytes) -> bool:
    """Whether the body of a GET contains `wanted`."""
    connection = http.client.HTTPConnection(HOST, port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", path)
        return wanted in connection.getresponse().read(1_000_000)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def exists(path: Path) -> bool:
    return path.exists()
