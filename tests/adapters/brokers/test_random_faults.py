"""Seeded runs of submit, look up and resubmit under random faults: one order per id, or none and a known reason."""

import asyncio
import random

import pytest

from domain.errors import VenueUnavailable
from domain.ports import OutcomeKind, VenueOrder
from tests.adapters.brokers.harness import Breakage, Venue, open_alpaca

ORDERS = 300
IN_FLIGHT = 20
_FAULTS: tuple[Breakage, ...] = (
    "error",
    "error_after_booking",
    "drop",
    "drop_after_booking",
    "rate_limited",
    "hang",
    "hang_after_booking",
)
_READ_FAULTS: tuple[Breakage, ...] = ("error", "rate_limited", "drop")
_WEIGHTS = (5, 5, 5, 5, 5, 1, 1)


async def _find(venue: Venue, client_order_id: str) -> VenueOrder | None:
    async with asyncio.timeout(10):
        while True:
            try:
                return await venue.broker.look_up(venue.credentials, client_order_id)
            except VenueUnavailable as error:
                venue.clock.advance(error.retry_after_s or 0)


async def _deliver(venue: Venue, client_order_id: str, *, looks_first: bool = True) -> None:
    """What an orchestrator does: resubmit only what is provably not there."""
    for _ in range(10):
        outcome = await venue.broker.submit(venue.credentials, venue.order(client_order_id))
        if outcome.kind is OutcomeKind.ACK:
            return
        assert outcome.kind is not OutcomeKind.FINAL, outcome
        venue.clock.advance(outcome.retry_after_s or 0)
        if outcome.kind is OutcomeKind.AMBIGUOUS and looks_first and await _find(venue, client_order_id):
            return
    raise AssertionError(f"{client_order_id} was never delivered")


async def _run(venue: Venue, seed: int, **how: bool) -> list[int]:
    """How many orders the venue booked under each id."""
    choose = random.Random(seed)
    ids = [f"FO-{seed}-{number}" for number in range(ORDERS)]
    gate = asyncio.Semaphore(IN_FLIGHT)

    async def one(client_order_id: str) -> None:
        async with gate:
            await _deliver(venue, client_order_id, **how)

    for _ in range(ORDERS // 2):
        venue.break_next(choose.choices(_FAULTS, _WEIGHTS)[0], times=choose.randint(1, 2))
    for _ in range(ORDERS // 10):
        venue.break_reads(choose.choice(_READ_FAULTS))
    await asyncio.gather(*(one(client_order_id) for client_order_id in ids))
    return [venue.booked(client_order_id) for client_order_id in ids]


@pytest.mark.parametrize("dedupes", [True, False], ids=["venue dedupes", "venue does not"])
async def test_every_id_is_booked_exactly_once_under_random_faults(dedupes: bool):
    async with open_alpaca(dedupes=dedupes) as venue:
        assert await _run(venue, seed=20_240_607) == [1] * ORDERS


async def test_resubmitting_without_looking_books_twice_so_the_run_above_can_fail():
    async with open_alpaca(dedupes=False) as venue:
        booked = await _run(venue, seed=20_240_607, looks_first=False)
    assert max(booked) > 1
