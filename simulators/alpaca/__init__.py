"""A stand-in for Alpaca's trading API that can be told how to misbehave."""

from simulators.alpaca.behaviour import Behaviour, Fault, FaultKind, Life
from simulators.alpaca.simulator import AlpacaSimulator

__all__ = ["AlpacaSimulator", "Behaviour", "Fault", "FaultKind", "Life"]
