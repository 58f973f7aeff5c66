"""`python -m simulators.stripe --port N [--data DIR]`: prints one JSON line with its URL, then serves until SIGTERM."""

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from simulators.stripe.app import serve


def _ready(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def _main(port: int, data: Path | None) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(port, data, stop, _ready)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="simulators.stripe", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1; 0 picks a free one")
    parser.add_argument("--data", type=Path, help="a folder to keep the state in; none: it is forgotten")
    given = parser.parse_args()
    try:
        asyncio.run(_main(given.port, given.data))
    except OSError as error:
        sys.exit(f"cannot listen on port {given.port}: {error.strerror}")
