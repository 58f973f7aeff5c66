"""A stand-in for Alpaca's trading API that can be told how to misbehave."""

from simulators.alpaca.simulator import AlpacaSimulator
from simulators.market import Behaviour, Fault, FaultKind, Life

__all__ = ["AlpacaSimulator", "Behaviour", "Fault", "FaultKind", "Life"]
