"""Loopback ports: kept over restarts where they are still free, so that a bookmark of the UI stays good."""

import json
import random
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from stack.errors import StackError
from stack.files import write_private

HOST = "127.0.0.1"
PORT_NAMES = (
    "postgres",
    "redis",
    "nats",
    "temporal",
    "temporal_ui",
    "temporal_http",
    "temporal_metrics",
    "api",
    "oidc",
    "stripe",
    "btcpay",
    "s3",
    "s3_grpc",
    "s3_master",
    "s3_master_grpc",
    "s3_volume",
    "s3_volume_grpc",
    "s3_filer",
    "s3_filer_grpc",
)
# Below the range from which the kernel takes source ports (32768 on Linux): a client that keeps reconnecting to a
# stopped server there can be given the server's own port and so keep it from coming back.
_LOW, _HIGH = 15_000, 32_000
_TRIES = 200


def is_free(port: int) -> bool:
    return _obstacle(port) is None


def _obstacle(port: int) -> str | None:
    """Why a server could not listen on the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except PermissionError:
            return "may not be opened by this user"
        except OSError:
            return "is in use"
    return None


def allocate(path: Path, fixed: Mapping[str, int]) -> dict[str, int]:
    """A port per name of PORT_NAMES; `fixed` ones must be free, the others are remembered in `path` (JSON).

    Raises StackError when a fixed port cannot be had.
    """
    for name, port in fixed.items():
        if obstacle := _obstacle(port):
            option = "ui" if name == "temporal_ui" else name
            raise StackError(f"port {port} (--{option}-port) {obstacle} on {HOST}; choose another")
    remembered = _read(path)
    ports: dict[str, int] = dict(fixed)
    for name in PORT_NAMES:
        if name not in ports:
            ports[name] = _keep_or_pick(remembered.get(name), set(ports.values()))
    write_private(path, json.dumps(ports, indent=1))
    return ports


def _keep_or_pick(remembered: int | None, taken: set[int]) -> int:
    if remembered and remembered not in taken and is_free(remembered):
        return remembered
    return pick(taken)


def pick(taken: Sequence[int] | set[int] = ()) -> int:
    """A free port that is not in `taken`."""
    for _ in range(_TRIES):
        port = random.randint(_LOW, _HIGH)  # noqa: S311 - a port is no secret
        if port not in taken and is_free(port):
            return port
    raise StackError(f"no free port on {HOST} between {_LOW} and {_HIGH}")


def _read(path: Path) -> dict[str, int]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return {str(k): v for k, v in found.items() if isinstance(v, int)} if isinstance(found, dict) else {}
