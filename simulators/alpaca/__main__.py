"""`python -m simulators.alpaca --port N`: prints one JSON line with its URL, then serves until SIGTERM or SIGINT."""

from simulators.alpaca.simulator import RATE_LIMIT, AlpacaSimulator
from simulators.market.server import serve

if __name__ == "__main__":
    serve("simulators.alpaca", __doc__, lambda port, limit: AlpacaSimulator(port, rate_limit=limit), RATE_LIMIT)
