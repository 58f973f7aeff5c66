"""Prices from a file that somebody else writes (`domain.pricefile`)."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from domain import pricefile
from domain.errors import InvalidInput, VenueUnavailable
from domain.ports import PriceQuote

MAX_BYTES = 16_000_000


class FilePrices:
    """Reads the whole file at every look; never writes to it."""

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self._path = path
        self._max_bytes = max_bytes

    async def latest(self, symbols: Sequence[str]) -> Mapping[str, PriceQuote]:
        """Raises VenueUnavailable where there is no file to read, InvalidInput where it is not whole."""
        found = await asyncio.to_thread(self.read)
        return {symbol: found[symbol] for symbol in symbols if symbol in found}

    def read(self) -> dict[str, PriceQuote]:
        """All that the file has; raises as `latest` does."""
        return pricefile.parse(self._text())

    def _text(self) -> str:
        try:
            with self._path.open("rb") as file:
                raw = file.read(self._max_bytes + 1)
        except OSError as error:
            raise VenueUnavailable("price-file", f"{self._path.name}: {error.strerror}") from None
        if len(raw) > self._max_bytes:
            raise InvalidInput("prices", f"{self._path.name} is larger than {self._max_bytes} bytes")
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise InvalidInput("prices", f"{self._path.name} is not UTF-8") from None
