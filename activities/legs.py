"""The money of routed orders: what is changed is planned from what the account holds, and changed leg by leg.

Each call does one step and leaves it in the store, so that whoever comes next, after a crash at any point, goes on from
there: a quote's reference is stored before it is committed, and what may have been committed is asked for first.
"""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from temporalio import activity

from activities.errors import STILL_OPEN, again_in, translated
from activities.sending import Sending
from domain import retry, routing
from domain.credentials import broken_by
from domain.dispatch import PendingOrder
from domain.errors import VenueError, VenueRefused
from domain.legs import StoredLeg, due
from domain.orders import FOLLOWER_ENDS, OrderType
from domain.ports import BrokerCredentials, Converting, MarketBroker, MoneyBroker
from domain.routing import LegKind, LegState, RouteFacts, RoutingTerms
from domain.venues import Conversion, ConversionStatus

if TYPE_CHECKING:
    from adapters.store.legs import LegStore, Present

# The venue's clock may be behind ours.
_OVERLAP = timedelta(minutes=5)


class MoneyLegs:
    def __init__(self, store: "LegStore", sending: Sending, terms: RoutingTerms) -> None:
        self._store = store
        self._sending = sending
        self._terms = terms

    async def advance(self, order: PendingOrder) -> None:
        """One step towards the money that the order needs; the order must have passed its guards just now.

        Raises a retry of this activity where the venue cannot tell.
        """
        if order.guards.credential_broken:
            _later(order, "the credential is broken; what is open goes on with the next")
        async with translated():
            broker, credentials = self._sending.broker(order), self._sending.credentials(order)
        present = await self._store.present(order.tenant_id, order.fo_id)
        leg = due(present.legs)
        try:
            if leg is None:
                # Every adapter is a MarketBroker; the send path alone gets by with less.
                await self._plan(order, present, broker, credentials)  # type: ignore[arg-type]
            elif isinstance(broker, Converting):
                await self._step(order, leg, broker, credentials)
            else:
                await self._store.fail(order, leg, f"{order.route} does not change money")
        except VenueError as error:
            if not await self._store.break_credential(order, error.code):
                _later(order, str(error), error)

    async def close(self, order: PendingOrder) -> None:
        """Record what the venue took for an order that is over, where it tells; nothing depends on it."""
        present = await self._store.present(order.tenant_id, order.fo_id)
        told = any(leg.leg.kind is LegKind.TRADE and leg.received is not None for leg in present.legs)
        if present.planned_at is None or told:
            return
        broker, credentials = self._sending.broker(order), self._sending.credentials(order)
        if not isinstance(broker, MoneyBroker):
            return
        fills = await broker.fills_since(credentials, present.planned_at - _OVERLAP)
        fees = [fill.fee for fill in fills if fill.ref == order.broker_order_ref and fill.fee is not None]
        if fees:
            await self._store.traded(order, sum(fees, Decimal(0)))

    async def _plan(
        self, order: PendingOrder, present: "Present", broker: MarketBroker, credentials: BrokerCredentials
    ) -> None:
        balances, instruments, price = await asyncio.gather(
            broker.balances(credentials),
            broker.instruments(credentials, [order.symbol]),
            _price(broker, credentials, order),
        )
        instrument = instruments.get(order.symbol)
        if instrument is None or price is None or price <= 0:
            lacks = "price of" if instrument else "instrument"
            no = routing.NoPlan("no_route", f"{order.route} has no {lacks} {order.symbol}")
            await self._store.plan(order, balances, present.now, lambda _free: no)
            return
        facts = partial(
            RouteFacts,
            symbol=order.symbol,
            side=order.side,
            qty=order.qty - order.filled_qty,
            price=price,
            limited=order.order_type is OrderType.LIMIT,
            quote_currency=instrument.quote_currency,
            converts=broker.capabilities.converts,
            peg=present.peg,
        )

        def decide(free: Mapping[str, Decimal]) -> routing.Plan | routing.NoPlan:
            return routing.plan(facts(balances=free), self._terms)

        await self._store.plan(order, balances, present.now, decide)

    async def _step(
        self, order: PendingOrder, leg: StoredLeg, venue: Converting, credentials: BrokerCredentials
    ) -> None:
        if leg.state is LegState.PLANNED:
            await self._quote(order, leg, venue, credentials)
        elif leg.state is LegState.QUOTED:
            begun = await self._store.begin(order, leg)
            if begun is not None:
                await self._commit(order, begun, venue, credentials)
        else:
            await self._find_out(order, leg, venue, credentials)

    async def _quote(
        self, order: PendingOrder, leg: StoredLeg, venue: Converting, credentials: BrokerCredentials
    ) -> None:
        wanted = leg.leg
        try:
            quoted = await venue.quote_conversion(credentials, wanted.source, wanted.target, wanted.amount)
        except VenueRefused as error:
            if broken_by(error.code) is not None:
                raise
            await self._store.fail(order, leg, str(error))
            return
        fault = routing.quote_fault(wanted, quoted.received, quoted.fee, self._terms)
        if fault is not None:
            await self._store.fail(order, leg, fault)
            return
        await self._store.quoted(order.tenant_id, leg, quoted.ref, quoted.received, quoted.fee)

    async def _commit(
        self, order: PendingOrder, leg: StoredLeg, venue: Converting, credentials: BrokerCredentials
    ) -> None:
        with self._sending.flight(order) as refused:
            if (why := refused()) is not None:
                _later(order, why)
            try:
                result = await venue.commit_conversion(credentials, leg.quoted)
            except VenueRefused as error:
                # It may refuse what an earlier request of ours, whose answer was lost, has carried out.
                await self._find_out(order, leg, venue, credentials, refused=str(error))
                return
        await self._apply(order, leg, result)

    async def _find_out(
        self,
        order: PendingOrder,
        leg: StoredLeg,
        venue: Converting,
        credentials: BrokerCredentials,
        refused: str | None = None,
    ) -> None:
        """The venue decides what has come of a conversion that may have been carried out."""
        result = await venue.look_up_conversion(credentials, leg.quoted)
        if result.status is not ConversionStatus.QUOTED:
            await self._apply(order, leg, result)
        elif refused is not None or order.state in FOLLOWER_ENDS:
            await self._store.fail(order, leg, refused or "the order was over before")
        else:
            # Of one reference a second commit moves nothing more.
            await self._commit(order, leg, venue, credentials)

    async def _apply(self, order: PendingOrder, leg: StoredLeg, result: Conversion) -> None:
        if result.status is ConversionStatus.COMPLETED:
            await self._store.done(order.tenant_id, leg, result.received, result.fee)
        elif result.status is ConversionStatus.FAILED:
            await self._store.fail(order, leg, result.reason or "the venue did not carry it out")
        else:
            _later(order, f"{order.route} is still changing {leg.leg.source} into {leg.leg.target}")


async def _price(broker: MarketBroker, credentials: BrokerCredentials, order: PendingOrder) -> Decimal | None:
    """The limit, or what one unit costs now; else what it cost when the order was admitted."""
    if order.order_type is OrderType.LIMIT:
        return order.limit_price
    quote = (await broker.quotes(credentials, [order.symbol])).get(order.symbol)
    return order.price if quote is None or quote.ask is None else quote.ask


def _later(order: PendingOrder, why: str, cause: VenueError | None = None) -> NoReturn:
    poll = retry.poll_wait(activity.info().attempt)
    asked = timedelta(seconds=min((cause and cause.retry_after_s) or 0, retry.RETRY_AFTER_CAP_S))
    # A refusal (a revoked key) may be mended by its owner at any time; nothing is gained by asking often.
    often = cause is None or cause.retryable
    wait = max(poll, asked) if often else retry.poll_wait(len(retry.POLL_S))
    raise again_in(f"{order.route}, money for the order: {why}", wait, STILL_OPEN) from cause
