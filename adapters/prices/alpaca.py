"""Last trades from Alpaca's market data API: `/v2/stocks/trades/latest` and `/v1beta3/crypto/us/latest/trades`.

The last trade and not the middle of the quote: out of hours a quote can have a side of zero, and a trade's own time
says how old it is. The vendor leaves out trades that would not move a bar, such as odd lots.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import aiohttp
from pydantic import SecretStr

from adapters.brokers.alpaca_wire import json_value
from domain.errors import VenueRefused, VenueUnavailable
from domain.ports import PriceQuote

SOURCE = "alpaca"
SYMBOLS_AT_ONCE = 200  # of about seven characters each, so that the URL stays within what proxies take
_STOCKS, _CRYPTO = "/v2/stocks/trades/latest", "/v1beta3/crypto/us/latest/trades"
_MAX_ANSWER_BYTES = 4_000_000
_STOCK = re.compile(r"[A-Z]{1,6}(\.[A-Z]{1,3})?")
_PAIR = re.compile(r"[A-Z0-9]{2,10}-USD")


class AlpacaPrices:
    """Connections are opened at first use; call `close` at the end. `feed`: iex, sip or delayed_sip; none: the plan's.

    Our `BTC-USD` is the vendor's `BTC/USD`. Symbols that cannot be the vendor's are not asked for.
    """

    def __init__(self, *, url: str, key_id: SecretStr, secret: SecretStr, feed: str | None, timeout_ms: int) -> None:
        self._url = url.rstrip("/")
        self._feed = {} if feed is None else {"feed": feed}
        self._headers = {"APCA-API-KEY-ID": key_id.get_secret_value(), "APCA-API-SECRET-KEY": secret.get_secret_value()}
        self._timeout = aiohttp.ClientTimeout(total=timeout_ms / 1_000)
        self._session: aiohttp.ClientSession | None = None

    async def latest(self, symbols: Sequence[str]) -> Mapping[str, PriceQuote]:
        stocks = sorted({s for s in symbols if _STOCK.fullmatch(s)})
        pairs = {s.replace("-", "/"): s for s in sorted(symbols) if _PAIR.fullmatch(s)}
        found: dict[str, PriceQuote] = {}
        for part in _parts(stocks):
            found |= await self._ask(_STOCKS, part, self._feed)
        for part in _parts(list(pairs)):
            found |= {pairs[name]: quote for name, quote in (await self._ask(_CRYPTO, part, {})).items()}
        return found

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _ask(self, path: str, symbols: list[str], more: dict[str, str]) -> dict[str, PriceQuote]:
        """One symbol that the vendor does not take fails the whole request: the list is then halved until it is alone.

        Raises VenueUnavailable, VenueRefused.
        """
        status, body = await self._get(path, {"symbols": ",".join(symbols), **more})
        if status == 200:
            trades = body.get("trades")
            given = trades.items() if isinstance(trades, dict) else ()
            return {name: quote for name, trade in given if name in symbols and (quote := _quote(trade)) is not None}
        if status == 400:
            if len(symbols) == 1:
                return {}
            half = len(symbols) // 2
            return await self._ask(path, symbols[:half], more) | await self._ask(path, symbols[half:], more)
        message = f"HTTP {status}: {str(body.get('message', 'no message'))[:200]}"
        if status == 429 or status >= 500 or status < 400:
            raise VenueUnavailable("prices-unavailable", message)
        raise VenueRefused("prices-refused", message)

    async def _get(self, path: str, params: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout, headers=self._headers)
        try:
            async with self._session.get(self._url + path, params=params, allow_redirects=False) as response:
                raw = await response.content.read(_MAX_ANSWER_BYTES)
                while len(raw) < _MAX_ANSWER_BYTES and (more := await response.content.read(_MAX_ANSWER_BYTES)):
                    raw += more
                body = json_value(raw)
                return response.status, body if isinstance(body, dict) else {}
        except (aiohttp.ClientError, OSError) as error:
            raise VenueUnavailable("prices-unavailable", type(error).__name__) from None


def _parts(symbols: list[str]) -> Iterator[list[str]]:
    return (symbols[start : start + SYMBOLS_AT_ONCE] for start in range(0, len(symbols), SYMBOLS_AT_ONCE))


def _quote(trade: Any) -> PriceQuote | None:
    """None for a trade that we cannot trust; `t` has nanoseconds, of which microseconds are kept."""
    if not isinstance(trade, dict):
        return None
    price, time = trade.get("p"), trade.get("t")
    if isinstance(price, bool) or not isinstance(price, int | Decimal) or not isinstance(time, str):
        return None
    try:
        asof = datetime.fromisoformat(time)
    except ValueError:
        return None
    price = Decimal(price)
    if asof.tzinfo is None or not price.is_finite() or price <= 0:
        return None
    return PriceQuote(price, asof.astimezone(UTC), SOURCE)
