"""`python -m simulators.coinbase --port N`: prints one JSON line with its URL, then serves until SIGTERM or SIGINT."""

from simulators.coinbase.simulator import RATE_LIMIT, CoinbaseSimulator
from simulators.market.server import serve

if __name__ == "__main__":
    serve("simulators.coinbase", __doc__, lambda port, limit: CoinbaseSimulator(port, rate_limit=limit), RATE_LIMIT)
