"""What an order's owner does: attempts two to five, asking the venue, following it to its end, burying it."""

import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from temporalio import activity

from activities.errors import RETRY_LATER, STILL_OPEN, again_in, translated
from activities.legs import MoneyLegs
from activities.sending import Sending
from domain import retry
from domain.dispatch import Change, PendingOrder, absent, proof_due, reported
from domain.errors import SecretUnreadable, VantaError, VenueError
from domain.orders import CALLED_OFF, FOLLOWER_ENDS, FollowerState
from domain.ports import VenueOrder
from domain.sizing import plain

if TYPE_CHECKING:
    from adapters.store.dispatch import DispatchStore

_F = FollowerState
# Only the database is asked whether a broken credential has been replaced.
_MENDED = timedelta(seconds=5)
# The longest step takes two requests of 10 s, and so does an attempt with its look-up.
_LEGS_MOST_S = 4
_SOON = retry.POLL_S.index(Decimal(5)) + 1


@dataclass(frozen=True, slots=True)
class FollowerOrderKey:
    tenant_id: str
    fo_id: str


@dataclass(frozen=True, slots=True)
class BuryInput:
    order: FollowerOrderKey
    reason: str


@dataclass(frozen=True, slots=True)
class OrderStatus:
    """Where an order stands."""

    state: FollowerState
    attempts: int
    filled_qty: Decimal
    reason: str | None = None
    attempts_base: int = 0

    @property
    def tries(self) -> int:
        """Attempts since the order was sized, or last redriven."""
        return self.attempts - self.attempts_base


class DeliveryActivities:
    """`legs` see to the money of orders that need some changed first; only a venue's workers have such orders."""

    def __init__(self, store: "DispatchStore", sending: Sending, legs: MoneyLegs | None = None) -> None:
        self._store = store
        self._sending = sending
        self._legs = legs

    @activity.defn
    async def deliver(self, key: FollowerOrderKey) -> OrderStatus:
        """Bring the order to the other side: one attempt at most each time this runs.

        Fails with next_retry_delay while another attempt or look-up is due; returns once the order has been taken
        over, refused, stopped or buried.
        """
        order = await self._take_with_money(key)
        if order.state is _F.UNKNOWN and order.is_webhook:
            order = await self._take(key)
        if order.state is _F.UNKNOWN:
            return await self._ask(order)
        if order.state is _F.SENT:
            outcome = await self._sending.send(order)
            [change] = await self._store.record(key.tenant_id, [(order, outcome)])
            return await self._after(order, change)
        if _to_be_sent(order):
            why = "waits for Redis, without which nothing opens" if self._sending.opens_held else "waits for its order"
            # Every 5 s at the longest: what it waits for is over within moments, and then it must not be late.
            raise again_in(why, retry.poll_wait(min(activity.info().attempt, _SOON)), STILL_OPEN)
        return _status(order)

    @activity.defn
    async def confirm(self, key: FollowerOrderKey) -> OrderStatus:
        """Ask the venue for the order and book what has been filled; fails with next_retry_delay until it is over."""
        order = await self._read(key)
        if order.state in FOLLOWER_ENDS:
            return await self._closed(order)
        if order.guards.manager_state in CALLED_OFF:
            await self._cancel_there(order)
        # A receiver that has confirmed a part cannot be asked for the rest.
        venue = None if order.is_webhook else await self._look_up(order)
        if venue is not None:
            order = await self._apply(order, venue)
        if order.state in FOLLOWER_ENDS:
            return await self._closed(order)
        words = f"{order.state}: {plain(order.filled_qty)} of {plain(order.qty)} filled"
        raise again_in(words, retry.poll_wait(activity.info().attempt), STILL_OPEN)

    @activity.defn
    async def cancel_at_venue(self, key: FollowerOrderKey) -> None:
        """Ask the venue to cancel an order that is open there; `confirm` then sees what came of it."""
        order = await self._read(key)
        if _open_at_venue(order):
            async with translated():
                await self._cancel(order)

    @activity.defn
    async def bury(self, bury: BuryInput) -> OrderStatus:
        """Make a dead letter of an order whose fate nobody could establish."""
        key = bury.order
        async with self._store.locked(key.tenant_id, key.fo_id) as (cursor, order):
            if order.state not in FOLLOWER_ENDS:
                change = Change(order.fo_id, order.state, (_F.DEAD_LETTER,), reason=bury.reason)
                await self._store.change(cursor, change)
        return _status(await self._read(key))

    async def _take_with_money(self, key: FollowerOrderKey) -> PendingOrder:
        """Its guards are asked again after each step towards its money.

        Where the steps take long it comes again for the attempt, which needs the activity's time for itself.
        """
        began = time.monotonic()
        order = await self._take(key)
        while self._legs is not None and order.money_due and not (_to_be_sent(order) and self._sending.opens_held):
            await self._legs.advance(order)
            if time.monotonic() - began > _LEGS_MOST_S:
                raise again_in("money for the order: one step at a time", timedelta(milliseconds=1), STILL_OPEN)
            order = await self._take(key)
        return order

    async def _take(self, key: FollowerOrderKey) -> PendingOrder:
        mark, held = self._sending.mark, self._sending.opens_held
        return await self._store.take(key.tenant_id, key.fo_id, datetime.now(UTC), mark=mark, opens_held=held)

    async def _ask(self, order: PendingOrder) -> OrderStatus:
        """The venue decides what `unknown` means: it has the order, or it provably has not and it may go again."""
        venue = await self._look_up(order)
        if venue is not None:
            return await self._closed(await self._apply(order, venue))
        wait = proof_due(order, self._sending.broker(order).capabilities.absence_proven_after_s)
        if wait:
            seconds = plain(Decimal(int(wait.total_seconds() * 1000)) / 1000)
            words = f"{order.route} does not show the order; that proves nothing for another {seconds} s"
            raise again_in(words, wait, STILL_OPEN)
        async with self._store.locked(order.tenant_id, order.fo_id) as (cursor, now):
            # An answer that took so long that there has been another attempt says nothing of that one.
            asked = now.state is _F.UNKNOWN and now.attempts == order.attempts
            change = absent(now) if asked else Change(now.fo_id, now.state)
            await self._store.change(cursor, change)
        return await self._after(order, change)

    async def _cancel_there(self, order: PendingOrder) -> None:
        """For an owner that no cancel has reached: one that was started by a redrive, or found its order late.

        Whatever the venue says to it, the look-up that follows tells what has come of the order.
        """
        if _open_at_venue(order):
            with suppress(VantaError):
                await self._cancel(order)

    async def _cancel(self, order: PendingOrder) -> None:
        assert order.broker_order_ref is not None
        await self._sending.broker(order).cancel(self._sending.credentials(order), order.broker_order_ref)

    async def _look_up(self, order: PendingOrder) -> VenueOrder | None:
        """Raises a retry of this activity where the venue cannot tell, or the credential waits to be replaced."""
        if order.guards.credential_broken:
            raise again_in(f"the {order.route} credential is broken; asked again with the next", _MENDED, STILL_OPEN)
        try:
            async with translated(but=(SecretUnreadable,)):
                broker, credentials = self._sending.broker(order), self._sending.credentials(order)
            return await broker.look_up(credentials, order.fo_id)
        except SecretUnreadable as error:
            await self._store.break_credential(order, error.code)
            raise again_in(str(error), _MENDED, STILL_OPEN) from error
        except VenueError as error:
            if await self._store.break_credential(order, error.code):
                raise again_in(f"{order.route} refuses the credential: {error}", _MENDED, STILL_OPEN) from error
            poll = retry.poll_wait(activity.info().attempt)
            asked = timedelta(seconds=min(error.retry_after_s or 0, retry.RETRY_AFTER_CAP_S))
            # A refusal (a revoked key) may be mended by its owner at any time; nothing is gained by asking often.
            wait = max(poll, asked) if error.retryable else retry.poll_wait(len(retry.POLL_S))
            raise again_in(f"{order.route} cannot tell: {error}", wait, STILL_OPEN) from error

    async def _apply(self, order: PendingOrder, venue: VenueOrder) -> PendingOrder:
        """Book the report against the order as it is now, not as it was when the venue was asked."""
        key = FollowerOrderKey(order.tenant_id, order.fo_id)
        async with self._store.locked(key.tenant_id, key.fo_id) as (cursor, now):
            if now.state not in FOLLOWER_ENDS:
                await self._store.change(cursor, reported(now, venue, source=now.route))
        return await self._read(key)

    async def _after(self, order: PendingOrder, change: Change) -> OrderStatus:
        if change.target in {_F.RETRY, _F.UNKNOWN} and change.wait is not None:
            said = change.last_error or change.detail.get("code", "")
            seconds = plain(Decimal(int(change.wait.total_seconds() * 1000)) / 1000)
            words = f"attempt {order.tries} of {retry.MAX_ATTEMPTS}: {said}; again in {seconds} s"
            raise again_in(words, max(change.wait, timedelta(milliseconds=1)), RETRY_LATER)
        return await self._closed(await self._read(FollowerOrderKey(order.tenant_id, order.fo_id)))

    async def _closed(self, order: PendingOrder) -> OrderStatus:
        """Where it stands; with what the venue took for it, if it is over and the venue tells that."""
        if self._legs is not None and order.routed and order.filled_qty > 0 and order.state in FOLLOWER_ENDS:
            with suppress(VantaError):
                await self._legs.close(order)
        return _status(order)

    async def _read(self, key: FollowerOrderKey) -> PendingOrder:
        async with self._store.locked(key.tenant_id, key.fo_id) as (_, order):
            return order


def _to_be_sent(order: PendingOrder) -> bool:
    return order.state in {_F.SIZED, _F.RETRY}


def _open_at_venue(order: PendingOrder) -> bool:
    return order.state in {_F.ACK, _F.PARTIALLY_FILLED} and not order.is_webhook and order.broker_order_ref is not None


def _status(order: PendingOrder) -> OrderStatus:
    return OrderStatus(order.state, order.attempts, order.filled_qty, order.last_error, order.attempts_base)
