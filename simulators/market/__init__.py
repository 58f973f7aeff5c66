"""What all simulated venues share: orders and their scripted lives, accounts, faults, the exchange and its control.

A venue's package adds only its wire (`market.wire.Wire`): credentials, paths, parsing, rendering, error bodies.
"""

from simulators.market.behaviour import Behaviour, Fault, FaultKind, Life
from simulators.market.server import Simulator

__all__ = ["Behaviour", "Fault", "FaultKind", "Life", "Simulator"]
