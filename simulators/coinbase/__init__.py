"""A stand-in for Coinbase Advanced's API that can be told how to misbehave."""

from simulators.coinbase.simulator import CoinbaseSimulator
from simulators.market import Behaviour, Fault, FaultKind, Life

__all__ = ["Behaviour", "CoinbaseSimulator", "Fault", "FaultKind", "Life"]
