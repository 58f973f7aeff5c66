"""Venue name → adapter. A new venue is one line in `build_brokers`."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from adapters.brokers.alpaca import AlpacaBroker
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


@runtime_checkable
class _Closable(Protocol):
    async def close(self) -> None: ...


def build_brokers(*, alpaca: AlpacaConfig) -> dict[str, Broker]:
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
    }


async def close_brokers(brokers: Mapping[str, Broker]) -> None:
    """Close the connections of every adapter that holds some."""
    for broker in brokers.values():
        if isinstance(broker, _Closable):
            await broker.close()
