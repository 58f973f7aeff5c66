"""`python -m simulators.alpaca --port N`: prints one JSON line with its URL, then serves until SIGTERM or SIGINT."""

import argparse
import asyncio
import json
import signal
import sys

from simulators.alpaca.simulator import AlpacaSimulator


async def _serve(port: int, rate_limit: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AlpacaSimulator(port, rate_limit=rate_limit) as simulator:
        sys.stdout.write(json.dumps({"url": simulator.url}) + "\n")
        sys.stdout.flush()
        await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="simulators.alpaca", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 picks a free port")
    parser.add_argument("--rate-limit", type=int, default=200, help="requests per minute and account")
    given = parser.parse_args()
    try:
        asyncio.run(_serve(given.port, given.rate_limit))
    except OSError as error:
        sys.exit(f"cannot listen on port {given.port}: {error.strerror}")


if __name__ == "__main__":
    main()
