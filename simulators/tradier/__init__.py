"""A stand-in for Tradier's brokerage API that can be told how to misbehave."""

from simulators.market import Behaviour, Fault, FaultKind, Life
from simulators.tradier.simulator import TradierSimulator

__all__ = ["Behaviour", "Fault", "FaultKind", "Life", "TradierSimulator"]
