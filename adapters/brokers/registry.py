"""Venue name → adapter. A new venue is one line in `build_brokers`."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from pydantic import SecretStr

from adapters.brokers.alpaca import AlpacaBroker
from adapters.brokers.coinbase import CoinbaseBroker
from adapters.brokers.tradier import TradierBroker
from domain.ports import Broker


class AlpacaConfig(Protocol):
    """What `settings.AlpacaSettings` offers."""

    @property
    def live_url(self) -> str: ...
    @property
    def paper_url(self) -> str: ...
    @property
    def data_url(self) -> str: ...
    @property
    def timeout_ms(self) -> int: ...
    @property
    def max_connections(self) -> int: ...
    @property
    def ping_s(self) -> int: ...


class CoinbaseConfig(Protocol):
    """What `settings.CoinbaseSettings` offers."""

    @property
    def live_url(self) -> str: ...
    @property
    def paper_url(self) -> str: ...
    @property
    def live_stream_url(self) -> str: ...
    @property
    def paper_stream_url(self) -> str: ...
    @property
    def timeout_ms(self) -> int: ...
    @property
    def max_connections(self) -> int: ...
    @property
    def look_back_days(self) -> int: ...


class TradierConfig(Protocol):
    """What `settings.TradierSettings` offers."""

    @property
    def live_url(self) -> str: ...
    @property
    def paper_url(self) -> str: ...
    @property
    def live_stream_url(self) -> str: ...
    @property
    def paper_stream_url(self) -> str: ...
    @property
    def timeout_ms(self) -> int: ...
    @property
    def max_connections(self) -> int: ...
    @property
    def silence_ms(self) -> int: ...
    @property
    def client_id(self) -> str: ...
    @property
    def client_secret(self) -> SecretStr: ...


@runtime_checkable
class _Closable(Protocol):
    async def close(self) -> None: ...


def build_brokers(*, alpaca: AlpacaConfig, coinbase: CoinbaseConfig, tradier: TradierConfig) -> dict[str, Broker]:
    """Adapters by venue name; give them to `close_brokers` at the end."""
    return {
        "alpaca": AlpacaBroker(
            live_url=alpaca.live_url,
            paper_url=alpaca.paper_url,
            data_url=alpaca.data_url,
            timeout_ms=alpaca.timeout_ms,
            max_connections=alpaca.max_connections,
            ping_s=alpaca.ping_s,
        ),
        "coinbase": CoinbaseBroker(
            live_url=coinbase.live_url,
            paper_url=coinbase.paper_url,
            live_stream_url=coinbase.live_stream_url,
            paper_stream_url=coinbase.paper_stream_url,
            timeout_ms=coinbase.timeout_ms,
            max_connections=coinbase.max_connections,
            look_back_days=coinbase.look_back_days,
        ),
        "tradier": TradierBroker(
            live_url=tradier.live_url,
            paper_url=tradier.paper_url,
            live_stream_url=tradier.live_stream_url,
            paper_stream_url=tradier.paper_stream_url,
            timeout_ms=tradier.timeout_ms,
            max_connections=tradier.max_connections,
            silence_ms=tradier.silence_ms,
            client_id=tradier.client_id,
            client_secret=tradier.client_secret.get_secret_value(),
        ),
    }


async def close_brokers(brokers: Mapping[str, Broker]) -> None:
    """Close the connections of every adapter that holds some."""
    for broker in brokers.values():
        if isinstance(broker, _Closable):
            await broker.close()
