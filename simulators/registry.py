"""Venue name → its simulator. A new venue is one line in `VENUES`."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from simulators.alpaca import AlpacaSimulator
from simulators.market import Simulator


def _token() -> str:
    return secrets.token_urlsafe(24)


@dataclass(frozen=True, slots=True)
class PaperVenue:
    """`make` takes the port (0: a free one); `settings` are the platform's variables that point at it.

    Their values may hold `{http}` and `{ws}`, the simulator's addresses. `key_id` and `new_secret` are those of the
    account that is ready from the start.
    """

    make: Callable[[int], Simulator]
    settings: Mapping[str, str]
    key_id: str = "paper"
    new_secret: Callable[[], str] = _token

    def variables(self, simulator: Simulator) -> dict[str, str]:
        addresses = {"http": simulator.url, "ws": simulator.url.replace("http", "ws", 1)}
        return {name: value.format_map(addresses) for name, value in self.settings.items()}


VENUES: Mapping[str, PaperVenue] = {
    "alpaca": PaperVenue(
        AlpacaSimulator, {"VANTA_ALPACA__PAPER_URL": "{http}", "VANTA_ALPACA__DATA_URL": "{http}"}, key_id="PK-PAPER"
    ),
}
