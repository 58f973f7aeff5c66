"""Which source of prices the settings name."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from pydantic import SecretStr

from adapters.prices.alpaca import AlpacaPrices
from adapters.prices.file import FilePrices
from domain.ports import PriceSource


class PricesConfig(Protocol):
    """What `settings.PriceSettings` offers."""

    @property
    def source(self) -> str: ...
    @property
    def path(self) -> Path | None: ...
    @property
    def url(self) -> str: ...
    @property
    def key_id(self) -> SecretStr: ...
    @property
    def secret(self) -> SecretStr: ...
    @property
    def feed(self) -> str | None: ...
    @property
    def timeout_ms(self) -> int: ...


@asynccontextmanager
async def open_source(config: PricesConfig) -> AsyncIterator[PriceSource | None]:
    """None for source `none`: prices are then imported by hand."""
    if config.source == "file":
        assert config.path is not None, "the settings refuse source file without a path"
        yield FilePrices(config.path)
    elif config.source == "alpaca":
        prices = AlpacaPrices(
            url=config.url,
            key_id=config.key_id,
            secret=config.secret,
            feed=config.feed,
            timeout_ms=config.timeout_ms,
        )
        try:
            yield prices
        finally:
            await prices.close()
    else:
        yield None
