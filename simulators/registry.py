"""Venue name → its simulator. A new venue is one line in `VENUES`."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from simulators.alpaca import AlpacaSimulator
from simulators.coinbase import CoinbaseSimulator
from simulators.market import Simulator
from simulators.tradier import TradierSimulator


def _token() -> str:
    return secrets.token_urlsafe(24)


def _private_key() -> str:
    return (
        ec.generate_private_key(ec.SECP256R1())
        .private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
        .decode()
    )


@dataclass(frozen=True, slots=True)
class PaperVenue:
    """`make` takes the port (0: a free one); `settings` are the platform's variables that point at it.

    Their values may hold `{http}` and `{ws}`, the simulator's addresses. `key_id`, `new_secret` and
    `wallets` (money other than USD) are those of the account that is ready from the start.
    """

    make: Callable[[int], Simulator]
    settings: Mapping[str, str]
    key_id: str = "paper"
    new_secret: Callable[[], str] = _token
    wallets: Mapping[str, Decimal] = field(default_factory=dict)

    def variables(self, simulator: Simulator) -> dict[str, str]:
        addresses = {"http": simulator.url, "ws": simulator.url.replace("http", "ws", 1)}
        return {name: value.format_map(addresses) for name, value in self.settings.items()}


VENUES: Mapping[str, PaperVenue] = {
    "alpaca": PaperVenue(
        AlpacaSimulator, {"VANTA_ALPACA__PAPER_URL": "{http}", "VANTA_ALPACA__DATA_URL": "{http}"}, key_id="PK-PAPER"
    ),
    "coinbase": PaperVenue(
        CoinbaseSimulator,
        {"VANTA_COINBASE__PAPER_URL": "{http}", "VANTA_COINBASE__PAPER_STREAM_URL": "{ws}"},
        key_id="organizations/paper/apiKeys/paper",
        new_secret=_private_key,
        wallets={"USDC": Decimal(0)},
    ),
    "tradier": PaperVenue(
        TradierSimulator,
        {"VANTA_TRADIER__PAPER_URL": "{http}", "VANTA_TRADIER__PAPER_STREAM_URL": "{ws}"},
        key_id="VA-PAPER",
    ),
}
