"""Latest quotes from Alpaca's market data API, which has a host of its own."""

from collections.abc import Iterator, Mapping, Sequence

from adapters.brokers.alpaca_http import AlpacaHttp, readable
from adapters.brokers.alpaca_market import read_quotes
from adapters.brokers.alpaca_values import is_pair, is_stock, vendor_symbol
from adapters.brokers.alpaca_wire import UNREADABLE
from domain.errors import VenueUnavailable
from domain.ports import BrokerCredentials
from domain.venues import VenueQuote

SYMBOLS_AT_ONCE = 200  # of about seven characters each, so that the URL stays within what proxies take
_STOCKS, _CRYPTO = "/v2/stocks/quotes/latest", "/v1beta3/crypto/us/latest/quotes"


async def read_latest_quotes(
    http: AlpacaHttp, credentials: BrokerCredentials, symbols: Sequence[str]
) -> dict[str, VenueQuote]:
    """Symbols that cannot be the vendor's are not asked for. Raises VenueUnavailable or VenueRefused."""
    found: dict[str, VenueQuote] = {}
    for path, fits in ((_STOCKS, is_stock), (_CRYPTO, is_pair)):
        wanted = {vendor_symbol(symbol): symbol for symbol in sorted(symbols) if fits(symbol)}
        for part in _parts(list(wanted)):
            found |= await _ask(http, credentials, path, {name: wanted[name] for name in part})
    return found


async def _ask(
    http: AlpacaHttp, credentials: BrokerCredentials, path: str, ours: Mapping[str, str]
) -> dict[str, VenueQuote]:
    """One symbol that the vendor does not take fails the whole request: the list is then halved until it is alone."""
    answer = await http.ask_data(credentials, path, {"symbols": ",".join(ours)})
    if answer.status == 400:
        if len(ours) == 1:
            return {}
        names, half = list(ours), len(ours) // 2
        return {
            symbol: quote
            for part in (names[:half], names[half:])
            for symbol, quote in (await _ask(http, credentials, path, {name: ours[name] for name in part})).items()
        }
    quotes = read_quotes(readable(answer, credentials).body, ours)
    if quotes is None:
        raise VenueUnavailable(UNREADABLE.code, "HTTP 200 without readable quotes")
    return quotes


def _parts(names: list[str]) -> Iterator[list[str]]:
    return (names[start : start + SYMBOLS_AT_ONCE] for start in range(0, len(names), SYMBOLS_AT_ONCE))
