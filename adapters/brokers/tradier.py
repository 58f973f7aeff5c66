"""Tradier's brokerage API behind `domain.ports.MarketBroker`, over httpx.

Tradier does not promise to refuse a second order under the same tag, so nothing here sends twice: an order goes out
once, and what may have arrived is searched for by its tag. Numbers are read from JSON without floats.
"""

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from adapters.brokers.tradier_account import (
    last_prices,
    priced,
    read_account,
    read_instrument,
    read_positions,
    read_quote,
    read_quotes,
)
from adapters.brokers.tradier_book import TradierBook, read, readable
from adapters.brokers.tradier_http import NotSentError, TradierHttp, account_path
from adapters.brokers.tradier_stream import TradierStream
from adapters.brokers.tradier_verdicts import UNREADABLE, VERDICTS
from adapters.brokers.tradier_wire import (
    Answer,
    UnsendableError,
    check_order,
    order_form,
    read_order,
    venue_error,
)
from domain.errors import VenueRefused, VenueUnavailable
from domain.ports import (
    AccountOrder,
    BrokerCredentials,
    ChildOrder,
    OutcomeKind,
    SendOutcome,
    VenueAccount,
    VenueOrder,
    VenuePosition,
    VenueStatus,
)
from domain.venues import Capabilities, Sessions, VenueFill, VenueInstrument, VenueQuote

_SYMBOLS_PER_REQUEST = 100
_OVER = frozenset({VenueStatus.FILLED, VenueStatus.CANCELLED, VenueStatus.EXPIRED, VenueStatus.REJECTED})


class TradierBroker:
    """Holds one pooled client; `close()` it.

    `timeout_ms` bounds a whole request, `silence_ms` the time between two frames of a stream. `client_id` and
    `client_secret` are our application's, which refresh tokens are exchanged by.
    """

    capabilities = Capabilities(
        venue="tradier",
        rail="fiat",
        fractional=False,
        notional=False,
        client_id_dedupes=False,
        looks_up_by_client_id=False,
        absence_proven_after_s=30,
        streams=True,
        cancels=True,
        replaces=True,
        crosses_zero=False,
        sessions=Sessions.EXCHANGE,
        increments="whole shares; prices to the cent (below 1 USD: 4 places)",
        converts=False,
        requests_per_min=60,
        itemises_fills=False,
    )
    verdicts = VERDICTS

    def __init__(
        self, *, live_url: str, paper_url: str, live_stream_url: str, paper_stream_url: str,
        timeout_ms: int = 10_000, max_connections: int = 100, silence_ms: int = 150_000,
        client_id: str = "", client_secret: str = "", clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._http = TradierHttp(
            live_url=live_url, paper_url=paper_url, timeout_ms=timeout_ms, max_connections=max_connections, clock=clock
        )
        self._book = TradierBook(self._http)
        self._stream = TradierStream(self._http, live_stream_url, paper_stream_url, silence_ms / 1_000)
        self._application = (client_id, client_secret)

    async def submit(self, credentials: BrokerCredentials, order: ChildOrder) -> SendOutcome:
        """POST the order once. Raises ValueError for an order that no venue could take (a bug of the caller)."""
        try:
            form = await self._form(credentials, order)
        except (UnsendableError, VenueRefused) as refused:
            return SendOutcome(OutcomeKind.FINAL, refused.code, str(refused))
        except VenueUnavailable as error:  # of reading the position: the order has not left
            return _unheard(OutcomeKind.RETRYABLE, error)
        return await self._send(credentials, order, form)

    async def look_up(self, credentials: BrokerCredentials, client_order_id: str) -> VenueOrder | None:
        """By the vendor's id where it is known, else searched for by its tag."""
        return await self._book.find(credentials, client_order_id)

    async def cancel(self, credentials: BrokerCredentials, ref: str) -> None:
        answer = await self._http.request(credentials, "DELETE", account_path(credentials, "orders", ref))
        if answer.status == 200 and not answer.errors:
            return
        error = venue_error(answer, credentials)
        if answer.status not in {200, 400, 404, 409, 422}:
            raise error
        # The vendor has no word for an order that is over; the order itself tells.
        order = await self._book.by_ref(credentials, ref)
        if order is not None and order.status not in _OVER:
            raise error

    async def positions(self, credentials: BrokerCredentials) -> Sequence[VenuePosition]:
        positions = await self._positions(credentials)
        return priced(positions, last_prices(await self._quotes(credentials, [p.symbol for p in positions])))

    async def account(self, credentials: BrokerCredentials) -> VenueAccount:
        """Whether open orders have been taken off the vendor's buying power is unproven: its pages do not say."""
        answer = await read(self._http, credentials, account_path(credentials, "balances"))
        return readable(read_account(answer.body), "balances")

    async def balances(self, credentials: BrokerCredentials) -> Mapping[str, Decimal]:
        return {"USD": (await self.account(credentials)).buying_power}

    async def orders_since(self, credentials: BrokerCredentials, since: datetime) -> Sequence[AccountOrder]:
        found = await self._book.all_since(credentials, since, datetime.now(UTC))
        return sorted((o.order for o in found if o.order.submitted_at > since), key=lambda order: order.submitted_at)

    async def fills_since(self, credentials: BrokerCredentials, since: datetime) -> Sequence[VenueFill]:
        """One fill for each order that is over, as the vendor tells no executions of the day.

        Its history comes the night after, without times and order numbers. The fill's id is the order's, its price
        the average, its time that of the order's last change. What is still working is told once it is over, and of
        orders that were submitted earlier than a day before `since` nothing is told.
        """
        found = await self._book.all_since(credentials, since, datetime.now(UTC))
        over = [one for one in found if one.order.order.status in _OVER and one.changed_at > since]
        return sorted((fill for one in over if (fill := one.fill()) is not None), key=lambda fill: fill.at)

    async def instruments(
        self, credentials: BrokerCredentials, symbols: Sequence[str]
    ) -> Mapping[str, VenueInstrument]:
        found = [read_instrument(item) for item in await self._quotes(credentials, symbols)]
        return {one.symbol: one for one in found if one is not None}

    async def quotes(self, credentials: BrokerCredentials, symbols: Sequence[str]) -> Mapping[str, VenueQuote]:
        found = [read_quote(item) for item in await self._quotes(credentials, symbols)]
        return {one.symbol: one for one in found if one is not None}

    async def refresh(self, credentials: BrokerCredentials) -> BrokerCredentials:
        """For applications that the vendor has approved for it (documentation.tradier.com, oauth/refresh-token)."""
        if not credentials.refresh_token:
            raise VenueRefused("bad_credentials", f"{credentials.ref}: no refresh token")
        if not all(self._application):
            # Nothing is known of the token by that; whoever runs this may still set the application up.
            raise VenueUnavailable("no_application", f"{credentials.ref}: no application to refresh a token for")
        form = {"grant_type": "refresh_token", "refresh_token": credentials.refresh_token}
        path = "/v1/oauth/refreshtoken"
        answer = await self._http.request(credentials, "POST", path, form=form, basic=self._application)
        if answer.status == 400:
            raise VenueRefused("bad_credentials", answer.detail(credentials))
        if answer.status in {401, 403}:  # the application's own secret, which is no fault of the account
            raise VenueUnavailable("no_application", answer.detail(credentials))
        if answer.status != 200:
            raise venue_error(answer, credentials)
        return readable(_refreshed(credentials, answer.body, datetime.now(UTC)), "access token")

    async def reports(self, credentials: BrokerCredentials) -> AsyncIterator[VenueOrder | None]:
        async with aclosing(self._stream.events(credentials, partial(self._book.tag_of, credentials))) as events:
            async for event in events:
                if event is None:
                    yield None
                elif (order := event.order or await self._book.by_ref(credentials, event.ref)) is not None:
                    yield order

    async def close(self) -> None:
        await self._http.close()

    async def _form(self, credentials: BrokerCredentials, order: ChildOrder) -> dict[str, str]:
        """The vendor has four sides. Where the order does not say whether it closes, the position is read first."""
        check_order(order)
        if order.closes is not None:
            return order_form(order, closes=order.closes)
        held = sum((p.qty for p in await self._positions(credentials) if p.symbol == order.symbol), Decimal(0))
        closes = held * order.side.sign < 0
        if closes and abs(held) < order.qty:
            raise UnsendableError(f"it would cross zero: {held.normalize():f} held", "insufficient_funds")
        return order_form(order, closes=closes)

    async def _send(self, credentials: BrokerCredentials, order: ChildOrder, form: dict[str, str]) -> SendOutcome:
        try:
            answer = await self._http.request(credentials, "POST", account_path(credentials, "orders"), form=form)
        except VenueRefused as refused:
            return SendOutcome(OutcomeKind.FINAL, refused.code, str(refused))
        except NotSentError as error:
            return _unheard(OutcomeKind.RETRYABLE, error)
        except VenueUnavailable as error:
            return _unheard(OutcomeKind.AMBIGUOUS, error)
        return self._told(credentials, order, answer)

    def _told(self, credentials: BrokerCredentials, order: ChildOrder, answer: Answer) -> SendOutcome:
        if answer.status == 200 and not answer.errors:
            # The answer has the vendor's id and a state, no tag and no executions.
            venue_order = read_order(answer.body.get("order"), order.client_order_id)
            if venue_order is None or venue_order.client_order_id != order.client_order_id:
                return SendOutcome(*UNREADABLE, "HTTP 200 without our order", http_status=200)
            self._book.remember(credentials, venue_order.ref, order.client_order_id)
            rejected = venue_order.status is VenueStatus.REJECTED
            kind, code = (OutcomeKind.FINAL, "rejected") if rejected else (OutcomeKind.ACK, "accepted")
            return SendOutcome(kind, code, venue_order.reason, http_status=200, venue_order=venue_order)
        verdict, detail = answer.verdict(), answer.detail(credentials)
        return SendOutcome(*verdict, detail, http_status=answer.status, retry_after_s=answer.retry_after_s)

    async def _positions(self, credentials: BrokerCredentials) -> list[VenuePosition]:
        answer = await read(self._http, credentials, account_path(credentials, "positions"))
        return readable(read_positions(answer.body), "positions")

    async def _quotes(self, credentials: BrokerCredentials, symbols: Sequence[str]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for start in range(0, len(symbols), _SYMBOLS_PER_REQUEST):
            query = {"symbols": ",".join(symbols[start : start + _SYMBOLS_PER_REQUEST]), "greeks": "false"}
            answer = await read(self._http, credentials, "/v1/markets/quotes", query)
            found += readable(read_quotes(answer.body), "quotes")
        return found


def _unheard(kind: OutcomeKind, error: VenueUnavailable) -> SendOutcome:
    return SendOutcome(kind, error.code, str(error), retry_after_s=error.retry_after_s)


def _refreshed(credentials: BrokerCredentials, body: Mapping[str, Any], now: datetime) -> BrokerCredentials | None:
    token, lasts, renewed = (body.get(name) for name in ("access_token", "expires_in", "refresh_token"))
    if not isinstance(token, str) or not token or not isinstance(lasts, int) or lasts <= 0:
        return None
    refresh_token = renewed if isinstance(renewed, str) and renewed else credentials.refresh_token
    return replace(
        credentials, secret=token, refresh_token=refresh_token, expires_at=now + timedelta(seconds=min(lasts, 10**9))
    )
