"""`python -m simulators.tradier --port N`: prints one JSON line with its URL, then serves until SIGTERM or SIGINT."""

from simulators.market.server import serve
from simulators.tradier.simulator import RATE_LIMIT, TradierSimulator

if __name__ == "__main__":
    serve("simulators.tradier", __doc__, lambda port, limit: TradierSimulator(port, rate_limit=limit), RATE_LIMIT)
